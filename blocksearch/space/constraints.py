"""Defines the constraints that the networks of a space have to meet, each with a name.

residual=none or pooling!=stride|separable     a rule: one of its conditions holds in each block
flops <= 12e6                                  a budget: a bound on a cost of the network
def thin(network): ...                         a function that answers True or False
"""

import hashlib
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from blocksearch.arch.block import Condition, Rule
from blocksearch.arch.cost import Budget, read_budget
from blocksearch.arch.factors import factor_named
from blocksearch.arch.values import Value
from blocksearch.errors import ConfigError, PluginError


@dataclass(frozen=True, kw_only=True)
class Check:
    """A user's function that says whether a network belongs; equal if name and source are."""

    name: str
    origin: str
    source: str
    function: Callable[[Any], object] = field(compare=False, repr=False)
    where: str = field(compare=False, repr=False, default="")

    def __str__(self) -> str:
        return f"{self.origin}(network)"

    def holds(self, network: object) -> bool:
        """Ask the function. Raises PluginError, with the function's place, where it raises or
        answers neither yes nor no.
        """
        try:
            answer = self.function(network)
        except Exception as error:  # a user's function may raise anything: say where
            raise PluginError(
                f"{self.where}: constraint {self.name} raises {type(error).__name__}: {error}"
            ) from error
        if not isinstance(answer, bool | np.bool_):
            raise PluginError(
                f"{self.where}: constraint {self.name} must answer True or False, "
                f"but got {answer!r}"
            )
        return bool(answer)


Constraint: TypeAlias = Rule | Budget | Check
Values: TypeAlias = Mapping[str, Sequence[Value]]  # of each factor
_NONE: Values = {}


def read_constraint(
    given: str | Constraint | Callable[[Any], object], name: str = "", known: Values = _NONE
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
        return read_budget(given, name)
    parts = " ".join(given.split()).split(" or ")
    conditions = tuple(_condition(part, given, known) for part in parts)
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
                f"there is a constraint {each.name} already ({known}): "
                "name this one otherwise, where(name=…)"
            )
    return tuple(found.values())


def _same(one: object, other: object) -> bool:
    """Say whether functions of one name and source are one: lambdas of a line share both."""
    return one is other or getattr(one, "__code__", None) == getattr(other, "__code__", None)


def _condition(text: str, rule: str, known: Values) -> Condition:
    match = re.fullmatch(r"([a-z_]+)(!?=)(\S+)", text)
    if match is None:
        raise ConfigError(
            f"a rule is conditions such as residual=none joined by 'or', "
            f"but got {text!r} in {rule!r}"
        )
    factor = factor_named(match[1])
    own = {str(value): value for value in known.get(factor.name, ())}
    values = tuple(
        own[value] if value in own else factor.parse(value) for value in match[3].split("|")
    )
    return Condition(factor=factor.name, values=values, negated=match[2] == "!=")


def _check(function: Callable[[Any], object], name: str) -> Check:
    try:
        file, (source, line) = inspect.getfile(function), inspect.getsourcelines(function)
    except (TypeError, OSError) as error:
        raise ConfigError(
            f"a constraint's function must be written in a file, but got {function!r}"
        ) from error
    origin = f"{Path(file).stem}.{getattr(function, '__name__', 'function')}"
    digest = hashlib.sha256("".join(source).encode()).hexdigest()
    return Check(
        name=name or origin, origin=origin, source=digest, function=function, where=f"{file}:{line}"
    )
