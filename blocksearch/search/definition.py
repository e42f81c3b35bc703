"""What defines a search: everything that decides which networks it proposes and how they are
trained.

A definition is stored with the study when it begins; a later command that means something else by
the same name is refused.
"""

import hashlib
import inspect
import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from types import CodeType
from typing import Any

from blocksearch.arch.constraints import read_budget
from blocksearch.arch.cost import cost
from blocksearch.arch.network import Network, Task
from blocksearch.arch.zoo import named_network
from blocksearch.errors import ConfigError, SpecError, unknown
from blocksearch.runs.plan import Conditions, network_from
from blocksearch.search.objectives import Frame
from blocksearch.space.candidates import COSTS
from blocksearch.space.grammar import Grammar

OPTUNA = ("nsga2", "tpe", "gp")
SAMPLERS = ("evolution", "random", *OPTUNA)
NAMED = (
    "baseline",
    "mobilenet",
    "mobilenet_v2",
    "shufflenet",
    "effnet",
    "mob_imp",
)  # in every study
SEEDS = 5  # for what is reported
LAG = 3  # steps in flight at most: keeps two workers busy
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Wishes:
    """What a user asks of a search beside its space and its trainings.

    `objectives` are accuracy, first, and costs; `seeds` how many the reported front gets; `lag` how
    many steps may be in flight, None for as many as suit the machine on which the study begins;
    `rungs` are epochs after which a network must have earned to go on. Raises ConfigError for what
    cannot be.
    """

    objectives: tuple[str, ...] = ("accuracy", "flops")
    sampler: str = "evolution"
    seed: int = 0
    seeds: int = SEEDS
    lag: int | None = None
    start_with: tuple[str, ...] = ()
    rungs: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.sampler not in SAMPLERS:
            raise unknown("sampler", self.sampler, SAMPLERS)
        if self.objectives[:1] != ("accuracy",) or len(self.objectives) < 2:
            raise ConfigError(
                f"objectives must be accuracy and then costs, such as accuracy,flops, but got {self.objectives_text}"
            )
        for name in self.objectives[1:]:
            if name not in COSTS:
                raise unknown("objective", name, ("accuracy", *COSTS))
        if len(set(self.objectives)) < len(self.objectives):
            raise ConfigError(f"objectives must be distinct, but got {self.objectives_text}")
        if list(self.rungs) != sorted(set(self.rungs)) or min(self.rungs, default=1) < 1:
            raise ConfigError(
                f"--rungs must be epochs in rising order such as 2,5, but got {','.join(map(str, self.rungs))}"
            )
        if self.rungs and self.sampler in OPTUNA:
            raise ConfigError(
                f"--rungs goes with the samplers evolution and random, but got {self.sampler}"
            )
        for name, least in (("seed", 0), ("seeds", 1), ("lag", 1)):
            if (value := getattr(self, name)) is not None and value < least:
                raise ConfigError(f"--{name} must be at least {least}, but got {value}")

    @property
    def objectives_text(self) -> str:
        return ",".join(self.objectives)

    @property
    def costs(self) -> tuple[str, ...]:
        """The objectives that are known before anything is trained."""
        return self.objectives[1:]


@dataclass(frozen=True)
class Judged:
    """How accuracies come about, in words: by trainings on a data set, or by a function of the
    user's own.

    `epochs` is the horizon of a training, 1 for a function.
    """

    dataset: str
    data: str
    protocol: str
    recipe: str
    epochs: int
    title: str

    @classmethod
    def by(cls, shared: Conditions) -> "Judged":
        """Describe trainings, with every reduction named."""
        images = f"{shared.training_images:,}"
        if shared.training_images < shared.available_images:
            images = f"only {shared.training_images:,} of {shared.available_images:,}"
        title = (
            f"{shared.protocol.dataset}: {images} training images, {shared.recipe.title}, judged on "
            f"{shared.evaluation_images:,} images of validation split {shared.protocol.number}"
        )
        return cls(
            shared.protocol.dataset,
            shared.data,
            shared.protocol.id,
            shared.recipe.text,
            shared.recipe.epochs,
            title,
        )

    @classmethod
    def by_function(cls, function: Callable[..., object]) -> "Judged":
        """Describe a function by its name and source, a callable object by its class's; what it
        reads elsewhere is not seen.
        """
        name, source = _described(function)
        return cls(
            name, hashlib.sha256(source.encode()).hexdigest(), "", "", 1, f"accuracy by {name}"
        )


def _described(function: Any) -> tuple[str, str]:
    """Return the name of a callable, and a text that changes with what it does."""
    if isinstance(function, partial):
        name, source = _described(function.func)
        return f"partial {name}", repr((source, function.args, sorted(function.keywords.items())))
    named = function if hasattr(function, "__qualname__") else type(function)
    try:
        source = inspect.getsource(named)
        if named.__qualname__.endswith("<lambda>"):  # its lines may hold others
            source += _code(named.__code__)
    except (OSError, TypeError):  # typed into a console, or written in another language
        source = _code(named.__code__) if hasattr(named, "__code__") else ""
    return f"{named.__module__}.{named.__qualname__}", source


def _code(code: CodeType) -> str:
    # a set is printed in another order by each process
    ordered = (
        sorted(map(repr, each)) if isinstance(each, frozenset) else each for each in code.co_consts
    )
    constants = [_code(each) if isinstance(each, CodeType) else repr(each) for each in ordered]
    return repr((code.co_code.hex(), code.co_names, constants))


@dataclass(frozen=True)
class Definition:
    """Everything that decides what a search proposes, as plain words and numbers."""

    space: str
    grammar: str  # digest, budgets included
    budgets: tuple[str, ...]
    dataset: str
    data: str
    protocol: str
    recipe: str
    wishes: Wishes
    frame: Frame
    title: str
    # FLOPs of the baseline network in this task, 0 where there is none: its maps are too small, say
    baseline: int
    choices: dict[str, list[str]]  # what codes of networks mean
    rungs: tuple[int, ...]  # epochs at which the search looks; the last is the horizon
    described: Sequence[Any] = ()

    def as_data(self) -> dict[str, Any]:
        """Return what is stored."""
        found: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return found

    def differences(self, stored: dict[str, Any]) -> list[str]:
        """Say what of a stored definition is otherwise here."""
        mine = self.as_data()
        found = [
            name
            for name in ("dataset", "data", "protocol", "recipe", "budgets")
            if mine[name] != stored[name]
        ]
        found += (
            ["space"] if mine["grammar"] != stored["grammar"] and "budgets" not in found else []
        )
        wishes = stored["wishes"]
        found += [
            f"--{name.replace('_', '-')}"
            for name, value in mine["wishes"].items()
            if value != wishes[name]
        ]
        return [_said(name, mine, stored) for name in found]


def _said(name: str, mine: dict[str, Any], stored: dict[str, Any]) -> str:
    own = name.removeprefix("--").replace("-", "_")
    if own in mine["wishes"]:
        return f"{name} was {_text(stored['wishes'][own])}, now {_text(mine['wishes'][own])}"
    if own == "recipe":
        old, new = json.loads(stored["recipe"]), json.loads(mine["recipe"])
        if not (stored["recipe"] and mine["recipe"]):
            return "trainings were by another kind of judge"
        return ", ".join(
            f"recipe: {key} was {old.get(key)}, now {new[key]}"
            for key in new
            if new[key] != old.get(key)
        )
    if own == "space":
        return _changed(stored["choices"], mine["choices"])
    if own == "data":
        return (
            "the images changed" if mine["recipe"] else f"the source of {mine['dataset']} changed"
        )
    return f"{own} was {_text(stored[own])}, now {_text(mine[own])}"


def _changed(old: dict[str, list[str]], new: dict[str, list[str]]) -> str:
    """Say which choices of a space changed."""
    said = [
        f"{name} was {_text(old.get(name, ['one value']))}, now {_text(new.get(name, ['one value']))}"
        for name in dict.fromkeys((*old, *new))
        if old.get(name) != new.get(name)
    ]
    return f"the space changed: {'; '.join(said) or 'its widths, its rules, its task, or the source of an option'}"


def _text(value: Any) -> str:
    return ",".join(map(str, value)) or "none" if isinstance(value, list) else str(value)


def read_rungs(text: str) -> tuple[int, ...]:
    """Read epochs such as `2,5`; nothing is no race. Raises ConfigError."""
    if not text.strip():
        return ()
    if not re.fullmatch(r"\s*[0-9]{1,6}(\s*,\s*[0-9]{1,6})*\s*", text):
        raise ConfigError(f"--rungs must be epochs such as 2,5, but got {text!r}")
    return tuple(int(part) for part in text.split(","))


def opening_setting(grammar: Grammar) -> Task:
    """Return the task of the named points: the grammar's, with the first of its widths."""
    return replace(grammar.task, widths=grammar.parts[0].widths[0])


def opening(
    grammar: Grammar, start_with: Sequence[str] = (), budgets: Sequence[str] = ()
) -> Iterator[tuple[str, Network]]:
    """Name the networks that every study begins with: the named points in the grammar's task, and
    what the user adds.

    Named points that are over a budget are left out. Raises ConfigError for a network of the user's
    that is.
    """
    task, limits = opening_setting(grammar), [read_budget(text) for text in budgets]
    seen: set[str] = set()
    for name in dict.fromkeys((*NAMED, *start_with)):
        try:
            network = named_network(name, task) if name in NAMED else network_from(name, task)
        except SpecError:
            if name in NAMED:  # too small a map, say: there is no such network here
                continue
            raise
        if (network.task.input, network.task.classes) != (task.input, task.classes):
            raise ConfigError(
                f"--start-with {name} reads {network.task.input} and tells {network.task.classes} classes apart, "
                f"but the space is of {task.input} in {task.classes}"
            )
        over = [limit for limit in limits if not limit.holds(_cost_of(network, limit.quantity))]
        if over and name in start_with:
            raise ConfigError(
                f"--start-with {name} is not within {over[0]}: it has {_cost_of(network, over[0].quantity):,}"
            )
        if not over and network.digest not in seen:
            seen.add(network.digest)
            yield name, network


def _cost_of(network: Network, quantity: str) -> int:
    return int(
        getattr(cost(network.layers), "peak_activation_floats" if quantity == "peak" else quantity)
    )


def check_name(name: str) -> str:
    """Return a study's name. Raises ConfigError where it could not be one of a file's."""
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"a study's name has up to 64 letters, digits, dots, dashes and underscores, but got {name!r}"
        )
    return name


def _baseline(task: Task) -> int:
    with suppress(SpecError):
        return cost(named_network("baseline", task).layers).flops
    return 0


def define(
    space: str,
    whole: Grammar,
    budgets: Sequence[str],
    grammar: Grammar,
    judged: Judged,
    wishes: Wishes,
) -> Definition:
    """Bring together what defines a search. `whole` is the space without the budgets: its costs are
    the frame of volumes.

    Raises ConfigError where a rung is not below the horizon.
    """
    if wishes.rungs and wishes.rungs[-1] >= judged.epochs:
        raise ConfigError(
            f"--rungs must be below the {judged.epochs} epochs of a whole training, but got {wishes.rungs[-1]}"
        )
    least, largest = whole.enumeration.extremes()
    frame = Frame(
        100 / whole.task.classes,
        tuple(float(least.of(name)[0]) for name in wishes.costs),
        tuple(float(largest.of(name)[0]) for name in wishes.costs),
    )
    return Definition(
        space,
        grammar.digest,
        tuple(budgets),
        judged.dataset,
        judged.data,
        judged.protocol,
        judged.recipe,
        wishes,
        frame,
        f"{space}{' within ' + ' and '.join(budgets) if budgets else ''}; {judged.title}",
        _baseline(opening_setting(whole)),
        {
            name: [str(value) for value in values]
            for name, values in grammar.encoding.levels.items()
        },
        (*wishes.rungs, judged.epochs),
        grammar.data(),
    )
