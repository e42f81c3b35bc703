"""Constraints of a space, each with a name: rules between the factors of a block, budgets of cost,
and functions of a network.

residual=none or pooling!=stride|separable        a rule: at least one of its conditions holds in
every block flops <= 12e6                                     a budget: macs, flops, params, floats
or peak (activation floats)
"""

import hashlib
import inspect
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeAlias

from blocksearch.arch.factors import Value, factor_named
from blocksearch.errors import ConfigError, SpecError, unknown

QUANTITIES = ("macs", "flops", "params", "floats", "peak")
_RELATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "<=": operator.le,
    "<": operator.lt,
    ">=": operator.ge,
    ">": operator.gt,
}
_BUDGET = re.compile(
    r"\s*([a-z_]+)\s*(<=|>=|<|>)\s*([0-9][0-9_]*(?:\.[0-9]+)?(?:e[0-9]{1,2})?)\s*([kKMG]?)\s*"
)
_SCALES = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9}


@dataclass(frozen=True)
class Condition:
    """A factor has one of some values, or none of them."""

    factor: str
    values: tuple[Value, ...]
    negated: bool = False

    def __str__(self) -> str:
        return f"{self.factor}{'!=' if self.negated else '='}{'|'.join(map(str, self.values))}"

    def holds(self, values: Mapping[str, Value]) -> bool:
        return (values[self.factor] in self.values) != self.negated


@dataclass(frozen=True)
class Rule:
    """At least one condition holds in every block; which factors it reads is known, so that whole
    spaces can be counted.
    """

    name: str
    conditions: tuple[Condition, ...]

    def __str__(self) -> str:
        return " or ".join(map(str, self.conditions))

    @property
    def factors(self) -> frozenset[str]:
        return frozenset(condition.factor for condition in self.conditions)

    def holds(self, values: Mapping[str, Value]) -> bool:
        return any(condition.holds(values) for condition in self.conditions)


@dataclass(frozen=True)
class Budget:
    """A bound on a cost of the whole network."""

    name: str
    quantity: str
    relation: str
    bound: int

    def __str__(self) -> str:
        return f"{self.quantity} {self.relation} {self.bound}"

    def holds(self, value: Any) -> Any:
        """Compare a cost, or an array of costs."""
        return _RELATIONS[self.relation](value, self.bound)


@dataclass(frozen=True)
class Check:
    """A user's function that says of a network whether it belongs; equal where name and source are."""

    name: str
    origin: str
    source: str
    function: Callable[[Any], object] = field(compare=False, repr=False)
    where: str = field(compare=False, repr=False, default="")

    def __str__(self) -> str:
        return f"{self.origin}(network)"

    def holds(self, network: object) -> bool:
        """Ask the function. Raises SpecError, with the function's place, where it raises or answers
        neither yes nor no.
        """
        try:
            answer = self.function(network)
        except Exception as error:  # a user's function may raise anything: say where
            raise SpecError(
                f"{self.where}: constraint {self.name} raises {type(error).__name__}: {error}"
            ) from error
        if not isinstance(answer, bool):
            raise SpecError(
                f"{self.where}: constraint {self.name} must answer True or False, but got {answer!r}"
            )
        return answer


Constraint: TypeAlias = Rule | Budget | Check


Known = Mapping[str, Sequence[Value]]
_NOTHING: Known = {}


def read_constraint(
    given: str | Constraint | Callable[[Any], object], name: str = "", known: Known = _NOTHING
) -> Constraint:
    """Take a constraint, its text, or a function of a network. Its text is its name where none is
    given.

    `known` has, by factor, the values of a user's that the text of a rule may name.
    """
    if isinstance(given, Rule | Budget | Check):
        return given
    if callable(given):
        return _check(given, name)
    if not isinstance(given, str):
        raise ConfigError(f"a constraint is text or a function of a network, but got {given!r}")
    if re.search(r"[<>]", given):
        return _budget(given, name)
    conditions = tuple(
        _condition(part, given, known) for part in re.split(r"\s+or\s+", given.strip())
    )
    return Rule(name or " or ".join(map(str, conditions)), conditions)


def together(given: Sequence[Constraint], new: Sequence[Constraint]) -> tuple[Constraint, ...]:
    """Add constraints to others; one that is there counts once. Raises ConfigError for a name that
    means something else there.
    """
    found = {each.name: each for each in given}
    for each in new:
        known = found.setdefault(each.name, each)
        if known != each or (
            isinstance(each, Check)
            and isinstance(known, Check)
            and not _same(known.function, each.function)
        ):
            raise ConfigError(
                f"there is a constraint {each.name} already ({known}): name this one otherwise, where(name=…)"
            )
    return tuple(found.values())


def _same(one: object, other: object) -> bool:
    """Whether functions of one name and source are one: two lambdas of a line have both in common."""
    return one is other or getattr(one, "__code__", None) == getattr(other, "__code__", None)


def read_budget(text: str) -> Budget:
    """Read a budget such as `flops <= 12e6`. Raises ConfigError."""
    return _budget(text, "")


def _budget(text: str, name: str) -> Budget:
    match = _BUDGET.fullmatch(text)
    if match is None:
        raise ConfigError(f"a budget is written like 'flops <= 12e6', but got {text!r}")
    quantity, relation, number, scale = match.groups()
    if quantity not in QUANTITIES:
        raise unknown("cost", quantity, QUANTITIES)
    bound = Decimal(number) * _SCALES[scale]
    if bound != int(bound):
        raise ConfigError(f"a cost is a whole number, but the budget is {text!r}")
    budget = Budget("", quantity, relation, int(bound))
    return replace(budget, name=name or str(budget))


def _condition(text: str, rule: str, known: Known) -> Condition:
    match = re.fullmatch(r"([a-z_]+)(!?=)(\S+)", text)
    if match is None:
        raise ConfigError(
            f"a rule is conditions such as residual=none joined by 'or', but got {text!r} in {rule!r}"
        )
    factor = factor_named(match[1])
    own = {str(value): value for value in known.get(factor.name, ())}
    values = tuple(
        own[value] if value in own else factor.parse(value) for value in match[3].split("|")
    )
    return Condition(factor.name, values, match[2] == "!=")


def _check(function: Callable[[Any], object], name: str) -> Check:
    try:
        file, (source, line) = inspect.getfile(function), inspect.getsourcelines(function)
    except (TypeError, OSError) as error:
        raise ConfigError(
            f"a constraint's function must be written in a file, but got {function!r}"
        ) from error
    origin = f"{Path(file).stem}.{getattr(function, '__name__', 'function')}"
    digest = hashlib.sha256("".join(source).encode()).hexdigest()
    return Check(name or origin, origin, digest, function, f"{file}:{line}")
