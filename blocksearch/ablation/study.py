"""Trains the networks of an ablation on paired seeds, and answers it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from blocksearch.ablation.collapse import collapsed
from blocksearch.ablation.config import MARGIN, AblationConfig
from blocksearch.ablation.design import INPUT_FACTORS, RECIPE
from blocksearch.ablation.images import ImageGroups
from blocksearch.ablation.outlook import Needed, outlook
from blocksearch.ablation.results import Lookup, VariantResult, compare_variants
from blocksearch.ablation.stats import Comparison
from blocksearch.ablation.variant import Arm, Variant
from blocksearch.runs.callback import Callback
from blocksearch.runs.measures import ACCURACY
from blocksearch.runs.plan import Experiment, RunSettings, experiment
from blocksearch.runs.provenance import mixture, notes
from blocksearch.runs.questions import Question, QuestionHistory, remembered
from blocksearch.runs.recall import is_shipped, recall
from blocksearch.runs.records import Job, Plan, Run, RunKey, RunState
from blocksearch.runs.scheduler import ensure, foresee


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """The answer of an ablation.

    The title states every reduction. `results` are in the order asked, references before their
    variants; `notes` say where the runs came from. `asked` are all questions about these runs, if
    they are remembered.
    """

    title: str
    results: tuple[VariantResult, ...]
    notes: tuple[str, ...]
    asked: QuestionHistory | None = None

    @property
    def comparisons(self) -> list[Comparison]:
        """What was compared, without the rows that only say why not."""
        return [result.comparison for result in self.results if result.comparison]

    @property
    def collapsed(self) -> dict[str, tuple[int, ...]]:
        """The seeds of each network, by its digest, whose runs lie far below its others."""
        runs: dict[tuple[str, str], dict[int, float]] = {}
        for each in self.results:
            for run in () if each.variant.is_interaction else each.runs:
                if run.accuracy is not None:
                    own = runs.setdefault((each.digest, run.key.protocol), {})
                    own[run.key.seed] = run.accuracy
        found: dict[str, tuple[int, ...]] = {}
        for (digest, _), seeds in collapsed(runs).items():
            found[digest] = tuple(sorted({*found.get(digest, ()), *seeds}))
        return found

    @property
    def failed(self) -> bool:
        """Whether a training failed; one that diverged is a result."""
        return any(run.state is RunState.FAILED for result in self.results for run in result.failed)

    def records(self) -> list[dict[str, object]]:
        """Return a flat record for each result: see `VariantResult.record`."""
        fallen = self.collapsed
        return [
            {**result.record(self.asked), "collapsed": list(fallen.get(result.digest, ()))}
            for result in self.results
        ]


def ablate(
    name: str,
    found: Sequence[Variant],
    config: AblationConfig,
    settings: RunSettings,
    callback: Callback,
    splits: Sequence[int] = (),
) -> Ablation:
    """Train what is missing for the variants that `design.ask` lists, and compare them.

    If `config` has stages, seeds are added to undecided comparisons only. With further validation
    `splits`, by number, everything is trained on each of them, too. Raises ConfigError before
    anything is trained, except if stored runs are of different kinds and `config` is strict.
    """
    every, title = _planned(name, found, config, settings, splits)
    shared, runs = every[0], dict[RunKey, Run]()

    def train(wanted: Iterable[Variant], seeds: Sequence[int]) -> None:
        runs.update(ensure(jobs(wanted, every, seeds), settings, callback))

    # other images: of accuracies alone, and of one split, as several have an error of their own
    groups = ImageGroups.of(shared) if shared.metric == ACCURACY and not splits else None
    lookup, *others = (_lookup(each, runs) for each in every)
    results = compare_variants(found, config, lookup, train, groups, others, _overlap(every))
    mixed = mixture(runs.values(), strict=config.strict)
    return Ablation(
        title=f"{title}; {mixed}" if mixed else title,
        results=tuple(results),
        notes=tuple(notes("the first reference", found[0].reference, runs.values(), shared)),
        asked=_remembered(found, config, every, settings),
    )


def _overlap(every: Sequence[Experiment]) -> float:
    """Return how many images splits judge for each that they learn from.

    Under a cap on images, splits overlap as little as the share of all images that they judge.
    """
    judged = sum(each.images.evaluation for each in every)
    return judged / sum(each.images.available for each in every)


def _remembered(
    found: Sequence[Variant],
    config: AblationConfig,
    every: Sequence[Experiment],
    settings: RunSettings,
) -> QuestionHistory:
    """Remember what was asked, beside the runs, and return all questions about them."""
    pairs = [
        (own.reference.digest, own.network.digest)
        for own in found
        if own.network and own.compared and not own.is_interaction
    ]
    question = Question.about(
        [each.job(found[0].reference, 0).key for each in every],
        pairs,
        seeds=config.seed_list,
        stages=config.stages,
        metric=str(every[0].metric),
    )
    location = settings.ledger
    return remembered(question, location, settings.sources, shipped=is_shipped(location))


@dataclass(frozen=True, kw_only=True)
class Foreseen:
    """What an ablation would train up to its next analysis: at most `later` runs come after it.

    `needed` says for each comparison with stored runs how many seeds would show an `effect` (if one
    was asked about), or a difference within the `margin`, in points.
    """

    title: str
    plan: Plan
    later: int
    effect: float | None
    margin: float
    needed: tuple[Needed, ...]


def foresee_ablation(
    name: str,
    found: Sequence[Variant],
    config: AblationConfig,
    settings: RunSettings,
    callback: Callback,
    splits: Sequence[int] = (),
) -> Foreseen:
    """Say what an ablation would train, and how many seeds its comparisons need on one split."""
    every, title = _planned(name, found, config, settings, splits)
    whole = wanted = jobs(found, every, config.seed_list)
    later, known = 0, recall(whole, settings.ledger, *settings.sources)
    if config.stages:
        wanted = _next_stage(found, config, every, known)
        keys, arms = {job.key for job in wanted}, {_arm(job.key) for job in wanted}
        later = sum(
            _arm(job.key) in arms and job.key not in keys and job.key not in known for job in whole
        )
    return Foreseen(
        title=title,
        plan=foresee(wanted, settings, callback),
        later=later,
        effect=config.effect,
        margin=config.margin,
        needed=() if splits else tuple(outlook(found, config, _lookup(every[0], known))),
    )


def _planned(
    name: str,
    found: Sequence[Variant],
    config: AblationConfig,
    settings: RunSettings,
    splits: Sequence[int],
) -> tuple[tuple[Experiment, ...], str]:
    """Return the experiment on each validation split, and the title of the answer."""
    reference = found[0].reference
    arms = [network.task.input for variant in found for network in variant.networks]
    asked = {v.factor for v in found} | {v.given_factor for v in found}
    shared = experiment(settings, reference, arms if asked & {*INPUT_FACTORS} else ())
    rescaled = any(variant.rescaled for variant in found)
    name += ", also at equal FLOPs (widths rescaled)" if rescaled else ""
    recipes = {
        (own.given_value if own.given_factor == RECIPE else own.value): own.recipe
        for own in found
        if own.recipe and own.recipe != settings.recipe
    }
    told = "".join(
        f"; recipe {name}: {recipe.title}{shared.trained_by(recipe).doubts}"
        for name, recipe in recipes.items()
    )
    seeds = f"seeds {','.join(map(str, config.seed_list))}"
    if config.stages:
        seeds = f"interim analyses at {', '.join(map(str, config.stages))} seeds"
    margin = "" if config.margin == MARGIN else f"; margin ±{config.margin:g} points"
    again = f"; again on validation split {', '.join(map(str, splits))}" if splits else ""
    further = (
        experiment(replace(settings, protocol=replace(settings.protocol, number=number)), reference)
        for number in splits
    )
    title = f"{shared.title(name, reference)}{again}{told}; {seeds}{margin}"
    return (shared, *further), title


def _next_stage(
    found: Sequence[Variant],
    config: AblationConfig,
    every: Sequence[Experiment],
    runs: Mapping[RunKey, Run],
) -> list[Job]:
    """Return the jobs of the first analysis for which runs are missing, none if there is none."""
    asked: list[Job] = []

    def train(wanted: Iterable[Variant], seeds: Sequence[int]) -> None:
        needed = jobs(wanted, every, seeds)
        if not asked and any(job.key not in runs for job in needed):
            asked.extend(needed)

    lookup, *others = (_lookup(each, runs) for each in every)
    compare_variants(found, config, lookup, train, None, others, _overlap(every))
    return asked


def jobs(found: Iterable[Variant], every: Sequence[Experiment], seeds: Sequence[int]) -> list[Job]:
    """List the trainings that variants and their references need on each split, seed by seed, so
    that an interrupted experiment has whole pairs; equal layers share them.
    """
    arms = {
        own: arm for each in found for own, arm in zip(each.arm_digests, each.arms, strict=True)
    }
    wanted = [
        shared.trained_by(recipe).job(network, seed)
        for shared in every
        for seed in seeds
        for network, recipe in arms.values()
    ]
    return list({job.key: job for job in wanted}.values())


def _arm(key: RunKey) -> tuple[str, str, str]:
    return key.network, key.protocol, key.recipe


def _lookup(shared: Experiment, runs: Mapping[RunKey, Run]) -> Lookup:
    def find(arm: Arm, seed: int) -> Run | None:
        network, recipe = arm
        run = runs.get(shared.trained_by(recipe).job(network, seed).key)
        return run and shared.measured(run)

    return find
