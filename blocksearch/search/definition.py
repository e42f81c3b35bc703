"""Defines a study by everything that decides which networks it proposes and how they are judged.

A definition is stored with the study when it begins; a later command that means something else by
the same name is refused.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from blocksearch.arch.network import Network
from blocksearch.arch.notation import EARLIER_STEMS, parse
from blocksearch.arch.ops import ops_in
from blocksearch.arch.skeleton import COUNTED
from blocksearch.arch.zoo import named_network
from blocksearch.data import Split
from blocksearch.errors import ConfigError, PluginError, SpecError
from blocksearch.runs.measures import ACCURACY
from blocksearch.runs.plan import Experiment
from blocksearch.search.config import NAMED, StudyConfig, words
from blocksearch.search.identity import apart, source_digest
from blocksearch.search.measured import Measure
from blocksearch.search.objectives import Frame, Objective, Prices
from blocksearch.space.grammar import Grammar
from blocksearch.space.statistics import reference_task
from blocksearch.training.recipe import Recipe

REPEATED = 6  # networks that a study begins with get two seeds: six degrees of freedom


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How accuracies come about, in words: by trainings on a data set, or by a function of the
    user's own.

    `epochs` are those of a whole training, 1 for a function.
    """

    dataset: str
    data: str
    protocol: str
    recipe: str
    epochs: int
    title: str

    @classmethod
    def by(cls, shared: Experiment) -> "Evaluation":
        """Describe trainings, with every reduction named."""
        known = shared.images
        images = f"{known.training:,}"
        if known.training < known.available:
            images = f"only {known.training:,} of {known.available:,}"
        by = "" if shared.metric == ACCURACY else f" by {shared.metric.title}"
        title = (
            f"{shared.what}: {images} training images, "
            f"{shared.recipe.title}{shared.doubts}, judged on "
            f"{known.evaluation:,} images of validation split {shared.protocol.number}{by}"
        )
        return cls(
            dataset=shared.protocol.dataset,
            data=known.digest,
            protocol=shared.protocol.id,
            recipe=shared.recipe.text,
            epochs=shared.recipe.epochs,
            title=title,
        )

    @classmethod
    def by_function(cls, function: Callable[..., object]) -> "Evaluation":
        """Describe a function by its name and source, a callable object by its class's."""
        name, digest = source_digest(function)
        return cls(
            dataset=name, data=digest, protocol="", recipe="", epochs=1, title=f"accuracy by {name}"
        )


@dataclass(frozen=True, kw_only=True)
class StudyDefinition:
    """A study as it is stored: what was asked, and everything else that decides what it proposes.

    `grammar` is the digest of the space within its budgets, `choices` what codes of networks mean,
    `described` the space as data. `rungs` are the epochs at which the search looks, the last that
    of a whole training. `baseline` are the FLOPs of the baseline network, 0 where its maps would be
    too small. `around` names the function that puts blocks into a user's model. `repeated` is how
    many networks get a second seed at the start.
    """

    space: str
    grammar: str
    config: StudyConfig
    judged: Evaluation
    frame: Frame
    baseline: int
    choices: dict[str, list[str]]
    rungs: tuple[int, ...]
    described: Sequence[Any] = ()
    repeated: int = REPEATED
    around: str = ""

    @property
    def title(self) -> str:
        """What is searched, and how networks are judged, with every reduction named."""
        budgets = self.config.budgets
        around = f" inside {self.around}, {COUNTED}" if self.around else ""
        within = f" within {' and '.join(budgets)}" if budgets else ""
        return f"{self.space}{around}{within}; {self.judged.title}"

    def as_data(self) -> dict[str, Any]:
        """Return what is stored."""
        found: dict[str, Any] = json.loads(
            json.dumps(
                {
                    "space": self.space,
                    "grammar": self.grammar,
                    "budgets": self.config.budgets,
                    "dataset": self.judged.dataset,
                    "data": self.judged.data,
                    "protocol": self.judged.protocol,
                    "recipe": self.judged.recipe,
                    "wishes": self.config.as_data(),
                    "sampled_by": self.config.sampler_name,
                    "frame": asdict(self.frame),
                    "title": self.title,
                    "baseline": self.baseline,
                    "choices": self.choices,
                    "rungs": self.rungs,
                    "described": self.described,
                    "repeated": self.repeated,
                }
            )
        )
        return found

    def differences(self, stored: Mapping[str, Any]) -> list[str]:
        """Say in what a stored definition differs from this one."""
        mine = self.as_data()
        plain = ("dataset", "data", "protocol", "recipe", "budgets")
        found = [name for name in plain if mine[name] != stored[name]]
        found += ["space"] * (mine["grammar"] != stored["grammar"] and "budgets" not in found)
        said = [_difference(name, mine, stored) for name in found]
        own, old = (_UNSAID | each["wishes"] for each in (mine, stored))
        old["sampler"], own["sampler"] = apart(old["sampler"], own["sampler"])
        return said + [
            f"{words(name)} was {_text(old[name])}, now {_text(own[name])}"
            for name in own
            if own[name] != old[name]
        ]


_UNSAID: dict[str, Any] = {
    "references": list(NAMED),
    "rungs": [],
    "functions": {},
    "metric": str(ACCURACY),
    "measured": {},
}


def _difference(name: str, mine: Mapping[str, Any], stored: Mapping[str, Any]) -> str:
    if name == "recipe":
        if not (stored["recipe"] and mine["recipe"]):
            return "trainings were by another kind of judge"
        old, new = json.loads(stored["recipe"]), json.loads(mine["recipe"])
        old, new = Recipe.defaults() | old, Recipe.defaults() | new
        return ", ".join(
            f"recipe: {key} was {old.get(key)}, now {new.get(key)}"
            for key in new | old
            if new.get(key) != old.get(key)
        )
    if name == "space":
        return _changed(stored, mine)
    if name == "protocol" and stored["protocol"] and mine["protocol"]:
        old, new = (Split.from_id(own["dataset"], own[name]) for own in (stored, mine))
        if found := new.changes(old):
            return ", ".join(found)
    if name == "data":
        judge = mine["dataset"]
        return "the images changed" if mine["recipe"] else f"the source of {judge} changed"
    return f"{words(name)} was {_text(stored[name])}, now {_text(mine[name])}"


def _changed(stored: Mapping[str, Any], mine: Mapping[str, Any]) -> str:
    """Say what changed in a space, its choices first, then the rest."""
    one, old, new = ["one value"], stored["choices"], mine["choices"]
    said = [
        f"{name} was {_text(old.get(name, one))}, now {_text(new.get(name, one))}"
        for name in dict.fromkeys((*old, *new))
        if old.get(name) != new.get(name)
    ] or list(_described(stored.get("described") or [], mine["described"]))
    return f"the space changed: {'; '.join(said) or 'its widths, rules, task or ops'}"


# what a part of a space says of itself, by the words under which it is stored
_SAID = {
    "usual_widths": "widths",
    "own_widths": "whether it has widths of its own",
    "base": "the base block",
    "options": "values",
    "constraints": "rules",
}


def _described(old: Sequence[Any], new: Sequence[Any]) -> Iterator[str]:
    """Say which words of stored spaces differ; nothing where the old one has none."""
    if old and len(old) != len(new):
        yield f"it had {len(old)} parts, now {len(new)}"
        return
    for before, now in zip(old, new, strict=False):
        for name in dict.fromkeys((*before, *now)):
            was, is_now = before.get(name), now.get(name)
            if was == is_now:
                continue
            if name == "sources":
                ops = {key for key in (*was, *is_now) if was.get(key) != is_now.get(key)}
                yield f"the source of {' and '.join(sorted(ops))}"
            elif name == "skeleton":
                yield "the model around the block"
            elif name == "first_layer":
                stems = (
                    _text([EARLIER_STEMS.get(one, one) for one in own]) for own in (was, is_now)
                )
                yield "stem was {}, now {}".format(*stems)
            else:
                yield f"{_SAID.get(name, name)} was {_plain(was)}, now {_plain(is_now)}"


def _plain(value: Any) -> str:
    """Write what is stored in a few words."""
    match value:
        case dict():
            return _text([f"{key}={_plain(own)}" for key, own in value.items()])
        case list():
            return _text([_plain(own) for own in value])
        case _:
            return str(value)


def _text(value: Any) -> str:
    return ",".join(map(str, value)) or "none" if isinstance(value, list) else str(value)


def opening(grammar: Grammar, asked: StudyConfig | None = None) -> Iterator[tuple[str, Network]]:
    """List the networks that a study begins with: reference networks in the grammar's task, and
    what the user adds.

    Reference networks that are over a budget are left out. Raises ConfigError for a network of the
    user's that is.
    """
    config = asked or StudyConfig()
    task, ops, enqueue = reference_task(grammar), ops_in(config.plugins), config.enqueue
    seen: set[str] = set()
    for name in dict.fromkeys((*config.references, *enqueue)):
        try:
            network = named_network(name, task) if name in NAMED else parse(name, task, ops)
            if grammar.skeleton:
                network = network.inside(grammar.skeleton)
                _ = network.cost  # a reference network that does not fit is left out
        except SpecError:
            if name in NAMED:  # too small a map, say: there is no such network here
                continue
            raise
        except PluginError as error:
            raise PluginError(f"{name}, which a study begins with: {error}") from error
        inputs = tuple(dict.fromkeys((task.input, *grammar.inputs)))
        if network.task.input not in inputs or network.task.classes != task.classes:
            raise ConfigError(
                f"{name} reads {network.task.input} and tells {network.task.classes} classes "
                f"apart, but the space is of {' or '.join(map(str, inputs))} in {task.classes}"
            )
        over = [
            limit
            for limit in config.exact_budgets
            if not limit.holds(_cost_of(network, limit.quantity))
        ]
        if over and name in enqueue:
            has = f"{_cost_of(network, over[0].quantity):,}"
            raise ConfigError(f"{name} is not within {over[0]}: it has {has}")
        if not over and network.digest not in seen:
            seen.add(network.digest)
            yield name, network


def _cost_of(network: Network, quantity: str) -> int:
    return int(network.cost.of(quantity))


def _baseline(grammar: Grammar) -> int:
    with suppress(SpecError):
        found = named_network("baseline", reference_task(grammar))
        own = grammar.skeleton
        return (found.inside(own) if own else found).cost.flops
    return 0


def define(
    space: str, whole: Grammar, prices: Prices, judged: Evaluation, config: StudyConfig
) -> StudyDefinition:
    """Bring together what defines a study. `whole` is the space without the budgets: its costs are
    the frame of volumes; without a name, it is called by what it varies.

    Raises ConfigError if a rung is not below the last epoch, and for a space without a choice.
    """
    config.check_rungs(judged.epochs)
    pool, levels = prices.pool, prices.pool.encoding.levels
    if not levels:
        raise ConfigError(
            "nothing to search: give a factor several values, such as residual=['none', 'add']"
        )
    return StudyDefinition(
        space=space or f"a grammar of {', '.join(levels)}",
        grammar=pool.grammar.digest,
        config=config,
        judged=judged,
        frame=_frame(whole, prices, [each.measure for each in config.measured]),
        baseline=_baseline(whole),
        choices={name: [str(value) for value in values] for name, values in levels.items()},
        rungs=(*config.rungs, judged.epochs),
        described=pool.grammar.data(),
        around=whole.skeleton.name if whole.skeleton else "",
    )


def _frame(whole: Grammar, prices: Prices, measures: Sequence[Measure]) -> Frame:
    """Return the bounds of volumes. A user's own objective has the range of the networks that the
    pool lists, and a measured one its own bounds.
    """
    least, largest = whole.enumeration.extremes()
    listed = prices.all()[: prices.pool.listed]
    sides = [
        (float(low), float(high))
        if isinstance(each, Objective)
        else (float(least.of(each)[0]), float(largest.of(each)[0]))
        for each, low, high in zip(prices.costs, listed.min(0), listed.max(0), strict=True)
    ] + [each.losses for each in measures]
    return Frame(
        chance=100 / whole.task.classes,
        least=tuple(low for low, _ in sides),
        largest=tuple(high for _, high in sides),
        linear=(*(isinstance(each, Objective) for each in prices.costs), *(True for _ in measures)),
    )
