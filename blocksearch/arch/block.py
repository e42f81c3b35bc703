"""Defines a block by its factors, and rules between these. Its layers are made in `expansion`."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from blocksearch.arch.factors import DEFAULTS, factor_named
from blocksearch.arch.values import POOLINGS, Value
from blocksearch.errors import SpecError, check_type

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
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
    """At least one condition holds in every block. The factors that it reads are known, so that
    whole spaces can be counted.
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


_AT_LAST = tuple(name for name, pooling in POOLINGS.items() if pooling.needs_last)
RULES = (
    Rule(
        "last=none needs spatial=dense: a depthwise layer cannot change the channels to the "
        "block's width",
        (
            Condition(factor="last", values=("pointwise",)),
            Condition(factor="spatial", values=("dense",)),
        ),
    ),
    Rule(
        f"pooling={' or '.join(_AT_LAST)} pools at the last pointwise layer, "
        "but last=none leaves none",
        (
            Condition(factor="last", values=("pointwise",)),
            Condition(factor="pooling", values=_AT_LAST, negated=True),
        ),
    ),
)


class Block:
    """One block of a network. Its attributes are the factors of `FACTORS`, whose defaults it has.

    >>> Block(bottleneck="reduce(2)", residual="add").residual
    'add'

    A factor takes a value or its text. Raises SpecError if a value is not one of its factor's or
    two factors contradict each other, ConfigError for an unknown factor. Source of the factors:
    EffNet paper, Sections 3, 4.2 and 6.2.
    """

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    def __init__(self, **factors: Any) -> None:
        self.__dict__.update(_checked(DEFAULTS, factors))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a block does not change; make another with_factors({name}=…)")

    def __eq__(self, other: object) -> bool:
        return self.__dict__ == other.__dict__ if isinstance(other, Block) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self.__dict__.values()))

    def __str__(self) -> str:
        """Write the factors that differ from their defaults, in the order of `FACTORS`."""
        return " ".join(f"{name}={value}" for name, value in self.changed().items())

    def __repr__(self) -> str:
        changed = self.changed().items()
        return f"Block({', '.join(f'{name}={str(value)!r}' for name, value in changed)})"

    def changed(self) -> dict[str, Value]:
        """Return the values that are not their factor's default."""
        return {name: value for name, value in self.__dict__.items() if value != DEFAULTS[name]}

    def values(self) -> dict[str, Value]:
        """Return every factor's value by name."""
        return dict(self.__dict__)

    def with_factors(self, values: Mapping[str, Any]) -> "Block":
        """Return this block with other values, or their texts, for some factors.

        >>> Block(residual="add").with_factors({"kernel": "1x3+3x1"})
        Block(kernel='1x3+3x1', residual='add')
        """
        check_type("values of factors", values, Mapping[str, Any])
        block = object.__new__(Block)
        block.__dict__.update(_checked(self.__dict__, values))
        return block

    def module(self, in_shape: Any, width: int, seed: int | None = None) -> "nn.Module":
        """Build it in PyTorch for an input of C×H×W: N×C×H×W floats in, N×width×h×w out.

        The module's `output` is the shape that it gives; with `residual=concatenate` that has the
        channels of the input as well. Without a seed, torch's own generator draws the weights, as
        in any module.

        >>> str(Block(residual="concatenate").module((16, 32, 32), width=24).output)
        '40x16x16'
        """
        make = import_module("blocksearch.training.build").block_module
        made: nn.Module = make(self, in_shape, width, seed)
        return made


Block.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
    [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default)
        for name, default in DEFAULTS.items()
    ]
)


def _checked(base: Mapping[str, Value], changes: Mapping[str, Value]) -> dict[str, Value]:
    values = {**base}
    for name, value in changes.items():
        values[name] = factor_named(name).value(value)
    for rule in RULES:
        if not rule.holds(values):
            raise SpecError(rule.name)
    return values
