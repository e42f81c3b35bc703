"""Train what an ablation needs, everything but one factor and the seeds paired, and answer it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from blocksearch.ablation.answer import Ablation
from blocksearch.ablation.config import MARGIN, AblationConfig
from blocksearch.ablation.design import INPUT_FACTORS, RECIPE
from blocksearch.ablation.images import ImageGroups
from blocksearch.ablation.outlook import Needed, outlook
from blocksearch.ablation.results import Lookup, Splits, compare_variants
from blocksearch.ablation.variant import Arm, Variant
from blocksearch.arch.network import Network
from blocksearch.runs.measures import ACCURACY
from blocksearch.runs.plan import Conditions, Request, conditions
from blocksearch.runs.provenance import mixture, notes
from blocksearch.runs.questions import Asked, Question, remembered
from blocksearch.runs.recall import is_shipped, recall
from blocksearch.runs.records import Job, Run, RunKey
from blocksearch.runs.scheduler import Plan, Watch, ensure, foresee


def ablate(
    name: str,
    found: Sequence[Variant],
    config: AblationConfig,
    request: Request,
    watch: Watch,
    splits: Sequence[int] = (),
) -> Ablation:
    """Train what is missing for the variants that `design.ask` lists, and compare them.

    If `config` has stages, seeds are added to undecided comparisons only. With further validation
    `splits`, by number, everything is trained on each of them, too. Raises ConfigError before
    anything is trained, except if stored runs are of different kinds and `config` is strict.
    """
    shared, title = _planned(name, found, config, request, splits)
    others = _on_splits(found[0].reference, request, splits)
    runs: dict[RunKey, Run] = {}

    def train(wanted: Iterable[Variant], seeds: Sequence[int]) -> None:
        missing = _crossed_jobs(list(wanted), (shared, *others), seeds)
        runs.update(ensure(missing, request.ledger, request.workers, watch, *request.means))

    # other images: of accuracies alone, and of one split, as several have an error of their own
    groups = ImageGroups.of(shared) if shared.metric == ACCURACY and not others else None
    crossed = _crossed(shared, others, runs)
    results = compare_variants(found, config, _lookup(shared, runs), train, groups, crossed)
    mixed = mixture(runs.values(), strict=config.strict)
    return Ablation(
        title=f"{title}; {mixed}" if mixed else title,
        results=tuple(results),
        notes=tuple(notes("the first reference", found[0].reference, runs.values(), shared)),
        asked=_remembered(found, config, (shared, *others), request),
    )


def _on_splits(
    reference: Network, request: Request, splits: Sequence[int]
) -> tuple[Conditions, ...]:
    """Return the conditions on further validation splits."""
    return tuple(
        conditions(replace(request, protocol=replace(request.protocol, number=number)), reference)
        for number in splits
    )


def _crossed(
    shared: Conditions, others: Sequence[Conditions], runs: Mapping[RunKey, Run]
) -> Splits | None:
    """Say on what else than one split comparisons are; None if on nothing.

    Under a cap on images, splits overlap as little as the share of all images that they judge.
    """
    if not others:
        return None
    every = (shared, *others)
    judged = sum(each.images.evaluation for each in every)
    learnt = sum(each.images.available for each in every)
    lookups = tuple(_lookup(each, runs) for each in others)
    return Splits(others=lookups, overlap=judged / learnt)


def _crossed_jobs(
    wanted: Sequence[Variant], every: Sequence[Conditions], seeds: Sequence[int]
) -> list[Job]:
    return [job for shared in every for job in jobs(wanted, shared, seeds)]


def _remembered(
    found: Sequence[Variant],
    config: AblationConfig,
    every: Sequence[Conditions],
    request: Request,
) -> Asked:
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
    location = request.ledger
    return remembered(question, location, request.sources, shipped=is_shipped(location))


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
    request: Request,
    watch: Watch,
    splits: Sequence[int] = (),
) -> Foreseen:
    """Say what an ablation would train, and how many seeds its comparisons need on one split."""
    shared, title = _planned(name, found, config, request, splits)
    others = _on_splits(found[0].reference, request, splits)
    every = wanted = _crossed_jobs(found, (shared, *others), config.seed_list)
    later, known = 0, recall(every, request.ledger, *request.sources)
    if config.stages:
        wanted = _next_stage(found, config, (shared, *others), known)
        keys, arms = {job.key for job in wanted}, {_arm(job.key) for job in wanted}
        later = sum(
            _arm(job.key) in arms and job.key not in keys and job.key not in known for job in every
        )
    own = foresee(wanted, request.ledger, request.workers, watch, *request.means)
    return Foreseen(
        title=title,
        plan=own,
        later=later,
        effect=config.effect,
        margin=config.margin,
        needed=() if others else tuple(outlook(found, config, _lookup(shared, known))),
    )


def _planned(
    name: str,
    found: Sequence[Variant],
    config: AblationConfig,
    request: Request,
    splits: Sequence[int],
) -> tuple[Conditions, str]:
    reference = found[0].reference
    arms = [network.task.input for variant in found for network in variant.networks]
    asked = {v.factor for v in found} | {v.given_factor for v in found}
    shared = conditions(request, reference, arms if asked & {*INPUT_FACTORS} else ())
    rescaled = any(variant.rescaled for variant in found)
    name += ", also at equal FLOPs (widths rescaled)" if rescaled else ""
    others = {
        (own.given_value if own.given_factor == RECIPE else own.value): own.recipe
        for own in found
        if own.recipe and own.recipe != request.recipe
    }
    told = "".join(
        f"; recipe {name}: {recipe.title}{shared.trained_by(recipe).doubts}"
        for name, recipe in others.items()
    )
    seeds = f"seeds {','.join(map(str, config.seed_list))}"
    if config.stages:
        seeds = f"interim analyses at {', '.join(map(str, config.stages))} seeds"
    margin = "" if config.margin == MARGIN else f"; margin ±{config.margin:g} points"
    again = f"; again on validation split {', '.join(map(str, splits))}" if splits else ""
    return shared, f"{shared.title(name, reference)}{again}{told}; {seeds}{margin}"


class _MissingError(Exception):
    """What an analysis needs has not been trained."""


def _next_stage(
    found: Sequence[Variant],
    config: AblationConfig,
    every: Sequence[Conditions],
    runs: Mapping[RunKey, Run],
) -> list[Job]:
    """Return the jobs of the first analysis for which runs are missing, none if there is none."""
    asked: list[Job] = []

    def train(wanted: Iterable[Variant], seeds: Sequence[int]) -> None:
        needed = _crossed_jobs(list(wanted), every, seeds)
        if any(job.key not in runs for job in needed):
            asked[:] = needed
            raise _MissingError

    shared, *others = every
    crossed = _crossed(shared, others, runs)
    try:
        compare_variants(found, config, _lookup(shared, runs), train, splits=crossed)
    except _MissingError:
        return asked
    return []


def jobs(found: Iterable[Variant], shared: Conditions, seeds: Sequence[int]) -> list[Job]:
    """List the trainings that variants and their references need, seed by seed, so that an
    interrupted experiment has whole pairs; equal layers share them.
    """
    arms = {
        own: arm for each in found for own, arm in zip(each.arm_digests, each.arms, strict=True)
    }
    every = [
        shared.trained_by(recipe).job(network, seed)
        for seed in seeds
        for network, recipe in arms.values()
    ]
    return list({job.key: job for job in every}.values())


def _arm(key: RunKey) -> tuple[str, str, str]:
    return key.network, key.protocol, key.recipe


def _lookup(shared: Conditions, runs: Mapping[RunKey, Run]) -> Lookup:
    def find(arm: Arm, seed: int) -> Run | None:
        network, recipe = arm
        run = runs.get(shared.trained_by(recipe).job(network, seed).key)
        return run and shared.measured(run)

    return find
