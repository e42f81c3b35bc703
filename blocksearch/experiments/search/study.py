"""What defines a search: everything that decides which networks it proposes and how they are trained.

A definition is stored with the study when it begins; a later command that means something else by the same name is refused.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from blocksearch.errors import SpaceError, UsageError, unknown
from blocksearch.experiments.plan import Conditions, network_from
from blocksearch.experiments.search.front import Frame
from blocksearch.experiments.search.pool import COSTS, Encoding
from blocksearch.space.cost import cost
from blocksearch.space.grammar import Grammar
from blocksearch.space.named import named_network
from blocksearch.space.network import Network, Setting

OPTUNA = ("nsga2", "tpe", "gp")
SAMPLERS = ("evolution", "random", *OPTUNA)
NAMED = ("baseline", "mobilenet", "mobilenet_v2", "shufflenet", "effnet", "mob_imp")  # in every study
SEEDS = 5  # for what is reported
LAG = 4  # steps in flight at most, whatever the machine
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Wishes:
    """What a user asks of a search beside its space and its trainings.

    `objectives` are accuracy, first, and costs; `seeds` how many the reported front gets; `lag` how many steps may be in flight.
    Raises UsageError for what cannot be.
    """

    objectives: tuple[str, ...] = ("accuracy", "flops")
    sampler: str = "evolution"
    seed: int = 0
    seeds: int = SEEDS
    lag: int = LAG
    start_with: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.sampler not in SAMPLERS:
            raise unknown("sampler", self.sampler, SAMPLERS)
        for name in self.objectives[1:]:
            if name not in COSTS:
                raise unknown("objective", name, ("accuracy", *COSTS))
        if self.objectives[:1] != ("accuracy",) or len(self.objectives) < 2:
            raise UsageError(
                f"objectives must be accuracy and then costs, such as accuracy,flops, but got {self.objectives_text}"
            )
        if len(set(self.objectives)) < len(self.objectives):
            raise UsageError(f"objectives must be distinct, but got {self.objectives_text}")
        for name, least in (("seed", 0), ("seeds", 1), ("lag", 1)):
            if getattr(self, name) < least:
                raise UsageError(f"--{name} must be at least {least}, but got {getattr(self, name)}")

    @property
    def objectives_text(self) -> str:
        return ",".join(self.objectives)

    @property
    def costs(self) -> tuple[str, ...]:
        """The objectives that are known before anything is trained."""
        return self.objectives[1:]


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
    baseline: int  # FLOPs of the baseline network in this setting
    choices: dict[str, list[str]]  # what codes of networks mean
    described: Sequence[Any] = ()

    def as_data(self) -> dict[str, Any]:
        """Return what is stored."""
        found: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return found

    def differences(self, stored: dict[str, Any]) -> list[str]:
        """Say what of a stored definition is otherwise here."""
        mine = self.as_data()
        found = [name for name in ("dataset", "data", "protocol", "recipe", "budgets") if mine[name] != stored[name]]
        found += ["space"] if mine["grammar"] != stored["grammar"] and "budgets" not in found else []
        wishes = stored["wishes"]
        found += [f"--{name.replace('_', '-')}" for name, value in mine["wishes"].items() if value != wishes[name]]
        return [_said(name, mine, stored) for name in found]


def _said(name: str, mine: dict[str, Any], stored: dict[str, Any]) -> str:
    own = name.removeprefix("--").replace("-", "_")
    if own in mine["wishes"]:
        return f"{name} was {_text(stored['wishes'][own])}, now {_text(mine['wishes'][own])}"
    if own == "recipe":
        old, new = json.loads(stored["recipe"]), json.loads(mine["recipe"])
        return ", ".join(f"recipe: {key} was {old.get(key)}, now {new[key]}" for key in new if new[key] != old.get(key))
    if own in ("space", "data"):
        return f"the {'space' if own == 'space' else 'images'} changed"
    return f"{own} was {_text(stored[own])}, now {_text(mine[own])}"


def _text(value: Any) -> str:
    return ",".join(map(str, value)) or "none" if isinstance(value, list) else str(value)


def opening_setting(grammar: Grammar) -> Setting:
    """Return the setting of the named points: the grammar's, with the first of its widths."""
    return replace(grammar.setting, widths=grammar.parts[0].widths[0])


def opening(grammar: Grammar, start_with: Sequence[str] = ()) -> Iterator[tuple[str, Network]]:
    """Name the networks that every study begins with: the named points in the grammar's setting, and what the user adds."""
    setting = opening_setting(grammar)
    seen: set[str] = set()
    for name in dict.fromkeys((*NAMED, *start_with)):
        try:
            network = named_network(name, setting) if name in NAMED else network_from(name, setting)
        except SpaceError:
            if name in NAMED:  # too small a map, say: there is no such network here
                continue
            raise
        if network.fingerprint not in seen:
            seen.add(network.fingerprint)
            yield name, network


def check_name(name: str) -> str:
    """Return a study's name. Raises UsageError where it could not be one of a file's."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"a study's name has up to 64 letters, digits, dots, dashes and underscores, but got {name!r}")
    return name


def define(
    space: str, whole: Grammar, budgets: Sequence[str], grammar: Grammar, shared: Conditions, wishes: Wishes
) -> Definition:
    """Bring together what defines a search. `whole` is the space without the budgets: its costs are the frame of volumes."""
    least, largest = whole.members.extremes()
    frame = Frame(
        100 / whole.setting.classes,
        tuple(float(least.of(name)[0]) for name in wishes.costs),
        tuple(float(largest.of(name)[0]) for name in wishes.costs),
    )
    images = f"{shared.training_images:,}"
    if shared.training_images < shared.available_images:
        images = f"only {shared.training_images:,} of {shared.available_images:,}"
    title = (
        f"{space}{' within ' + ' and '.join(budgets) if budgets else ''}; {shared.protocol.dataset}: {images} training images, "
        f"{shared.recipe.epochs} epochs ({shared.recipe.schedule} schedule, batch {shared.recipe.batch}), judged on "
        f"{shared.evaluation_images:,} images of validation split {shared.protocol.number}"
    )
    return Definition(
        space,
        grammar.digest,
        tuple(budgets),
        shared.protocol.dataset,
        shared.data,
        shared.protocol.id,
        shared.recipe.text,
        wishes,
        frame,
        title,
        cost(named_network("baseline", opening_setting(whole)).layers).flops,
        {name: [str(value) for value in values] for name, values in Encoding(grammar).levels.items()},
        grammar.data(),
    )
