"""Rules between the factors of a block, and budgets of cost."""

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from blocksearch.arch.cost import Cost, metric_named
from blocksearch.arch.factors import Value
from blocksearch.errors import ConfigError

_RELATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "<=": operator.le,
    "<": operator.lt,
    ">=": operator.ge,
    ">": operator.gt,
}
_BUDGET = re.compile(  # the last relation counts, so that a long text is read in one go
    r"(.+)(<=|>=|<|>)\s*(-?[0-9][0-9_]{0,17}(?:\.[0-9]{1,6})?(?:e[0-9]{1,2})?)\s*([kKMG]?)"
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
    """A bound on a cost of the whole network, or on what is measured of it."""

    name: str
    quantity: str
    relation: str
    bound: float

    def __str__(self) -> str:
        return f"{self.quantity} {self.relation} {str(self.bound).removesuffix('.0')}"

    def of(self, cost: Cost) -> int:
        """Return the number of a cost that the bound is for."""
        return int(getattr(cost, self.quantity))

    def holds(self, value: Any) -> Any:
        """Compare a cost, or an array of costs."""
        return _RELATIONS[self.relation](value, self.bound)


def read_budget(text: str, name: str = "") -> Budget:
    """Read a budget such as `flops <= 12e6`; its text is its name where none is given. Raises
    ConfigError.
    """
    quantity, relation, bound = read_bound(text)
    quantity = metric_named(quantity)
    if bound != int(bound) or bound < 0:
        raise ConfigError(f"a cost is a whole number, but the budget is {text!r}")
    budget = Budget("", quantity, relation, int(bound))
    return replace(budget, name=name or str(budget))


def read_bound(text: str) -> tuple[str, str, Decimal]:
    """Return what a budget bounds, its relation and the bound. Raises ConfigError.

    >>> read_bound("accuracy >= 92.5")
    ('accuracy', '>=', Decimal('92.5'))
    """
    match = _BUDGET.fullmatch(text.strip())
    if match is None:
        raise ConfigError(f"a budget is written like 'flops <= 12e6', but got {text!r}")
    quantity, relation, number, scale = match.groups()
    return quantity.strip(), relation, Decimal(number) * _SCALES[scale]
