"""Defines what a study measures beside accuracy, and the limits on it, by names, directions and
bounds.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blocksearch.arch.cost import Budget, read_bound, read_budget
from blocksearch.arch.network import Network
from blocksearch.arch.quantities import EARLIER_NAMES, METRICS
from blocksearch.errors import ConfigError, PluginError, unknown
from blocksearch.runs.measures import is_metric, read_metric
from blocksearch.runs.metrics import Floats


@dataclass(frozen=True, kw_only=True)
class EvaluatedRun:
    """A training that came to its end, as a measured objective of one's own is given it.

    `labels` and `predictions` are the true and the predicted class of each evaluated image, N;
    `groups` say which images belong together, where they do, and `classes` name the classes, where
    they have names. `accuracy` is in percent.
    """

    network: Network
    seed: int
    accuracy: float
    labels: NDArray[Any]
    predictions: NDArray[Any]
    classes: tuple[str, ...] = ()
    groups: NDArray[np.int32] | None = None


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A measured objective beside accuracy: which way it is better, and between what its volumes
    are measured.

    Models read it as points: 0 at the worse bound, 100 at the better one.
    """

    name: str
    maximise: bool = True
    low: float = 0.0
    high: float = 100.0

    @classmethod
    def read(cls, name: str, data: Mapping[str, Any]) -> "Measure":
        """Read what `as_data` returned."""
        low, high = data["bounds"]
        return cls(name=name, maximise=data["maximise"], low=low, high=high)

    def as_data(self) -> dict[str, Any]:
        """Return what is stored of it."""
        return {"maximise": self.maximise, "bounds": [self.low, self.high]}

    @property
    def sign(self) -> int:
        """What turns a value into a loss."""
        return -1 if self.maximise else 1

    @property
    def losses(self) -> tuple[float, float]:
        """The least and the largest loss."""
        return (-self.high, -self.low) if self.maximise else (self.low, self.high)

    def points(self, value: float) -> float:
        """Return a value as points."""
        share = (value - self.low) / (self.high - self.low)
        return 100 * (share if self.maximise else 1 - share)

    def values(self, points: Floats) -> Floats:
        """Return the values of points."""
        best, worst = (self.high, self.low) if self.maximise else (self.low, self.high)
        found: Floats = worst + points / 100 * (best - worst)
        return found

    def checked(self, value: Any) -> float:
        """Return a value as a number. Raises PluginError if it is none within the bounds."""
        if not is_finite(value):
            raise PluginError(
                f"objective {self.name} must be a finite number, but got {value!r:.80}"
            )
        if not self.low <= float(value) <= self.high:
            raise PluginError(
                f"objective {self.name} must be between its bounds, {self.low:g} and "
                f"{self.high:g}, but got {float(value):g}"
            )
        return float(value)


def is_finite(value: Any) -> bool:
    """Say whether a value is a number that a float can be."""
    try:
        return isinstance(value, Real) and math.isfinite(float(value))
    except OverflowError:  # a whole number that no float can be
        return False


ACCURACY = Measure(name="accuracy")


def read_limit(text: str, measured: Iterable[str] = (), first: str = "accuracy") -> Budget:
    """Read a budget: on the `first` objective or what else is measured, or on an exact cost. Raises
    ConfigError.

    Studies know their first objective as accuracy, whatever metric it is; the budget's name says
    which.

    >>> str(read_limit("accuracy >= 90.5")), read_limit("macro_f1 > 80", first="macro-f1").quantity
    ('accuracy >= 90.5', 'accuracy')
    """
    quantity, relation, bound = read_bound(text)
    names, metric = ("accuracy", *measured), is_metric(quantity)
    quantity = str(read_metric(quantity)) if metric else quantity
    if quantity in (first, *names):
        limit = Budget(name="", quantity=quantity, relation=relation, bound=float(bound))
        own = "accuracy" if quantity == first else quantity
        return replace(limit, name=str(limit), quantity=own)
    if metric:
        raise ConfigError(
            f"the budget {text!r} is on {quantity}, which the study does not measure: make it an "
            "objective"
        )
    if quantity not in (*METRICS, *EARLIER_NAMES):
        raise unknown("cost or measured objective", quantity, (*METRICS, first, *measured))
    return read_budget(text)


class Shown(StrEnum):
    """Whether a network keeps the limits on what is measured, by the 95 % intervals of its values.

    A limit within an interval is undecided.
    """

    SHOWN = "shown"
    NOT_SHOWN = "not shown"
    UNDECIDED = "undecided"


def shown(limits: Sequence[Budget], intervals: Mapping[str, tuple[float, float]]) -> Shown:
    """Say whether all limits are kept, by an interval of each measured value.

    >>> shown([read_limit("accuracy >= 90")], {"accuracy": (89.1, 91.5)})
    <Shown.UNDECIDED: 'undecided'>
    """
    ends = [[limit.holds(end) for end in intervals[limit.quantity]] for limit in limits]
    if not all(any(each) for each in ends):
        return Shown.NOT_SHOWN
    return Shown.SHOWN if all(all(each) for each in ends) else Shown.UNDECIDED


def violation(limit: Budget, value: float) -> float:
    """Return by how much a value is beyond a limit, as Optuna reads it: 0 or less where it holds.

    >>> violation(read_limit("accuracy >= 90"), 89.0)
    1.0
    """
    over = value - limit.bound if limit.relation.is_upper else limit.bound - value
    return min(over, 0.0) if limit.holds(value) else max(over, np.finfo(float).tiny)
