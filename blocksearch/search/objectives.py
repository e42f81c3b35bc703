"""Defines objectives, and computes Pareto dominance, non-dominated ranks and hypervolume.

Points are rows: accuracy, to be maximised, then costs, to be minimised. For volumes, accuracy is
scaled so that chance is 0 and 100 % is 1, and each cost so that the space's least is 0 and its
largest, the reference, is 1: on a logarithmic axis, and a user's own objective on a linear one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blocksearch.arch.network import Network
from blocksearch.errors import ConfigError, PluginError, check_fields, typed
from blocksearch.runs.measures import Metric
from blocksearch.runs.metrics import Floats
from blocksearch.search.identity import source_digest
from blocksearch.search.measured import EvaluatedRun, Measure, is_finite
from blocksearch.space.candidates import Candidates

_MOST_CELLS = 4096  # beyond, the axes of a volume's boxes are thinned


@dataclass(frozen=True, kw_only=True)
class Objective:
    """An objective of one's own, known without training a network, or measured of a training.

    `function` returns a finite number, the same whenever it is asked; its name and source are part
    of the study. It is called with every `Network` that a search considers, or, with `measured`,
    with the `EvaluatedRun` of each training that came to its end. A measured objective is between
    its `bounds`, percent unless said otherwise; it has no function in a study whose own objective
    returns its values. It stands beside accuracy and never in its place, because the noise between
    seeds and early stopping go by accuracy.

    >>> Objective(name="layers", function=lambda network: len(network.layers)).name
    'layers'
    >>> def errors(run):  # of the first class
    ...     return 100 * float((run.predictions != run.labels)[run.labels == 0].mean())
    >>> Objective(name="errors", function=errors, measured=True).bounds
    (0.0, 100.0)
    """

    name: str
    function: Callable[[Any], float] | None = field(default=None, repr=False)
    maximise: bool = False
    measured: bool = False
    bounds: tuple[float, float] = (0.0, 100.0)
    metric: Metric | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        check_fields(self)
        if self.metric is None and not self.name.isidentifier():
            raise ConfigError(f"an objective's name is a word, but got {self.name!r}")
        if self.function is None and not self.measured:
            raise ConfigError(f"objective {self.name} needs a function of a network")
        low, high = self.bounds
        if not (is_finite(low) and is_finite(high) and low < high):
            raise ConfigError(
                f"the bounds of objective {self.name} must be a lower and a higher number, but got "
                f"{self.bounds}"
            )

    @classmethod
    @typed
    def of_metric(cls, metric: Metric) -> "Objective":
        """Return a metric of stored predictions as an objective.

        >>> from blocksearch.runs.measures import read_metric
        >>> Objective.of_metric(read_metric("recall:stop")).name
        'recall:stop'
        """
        return cls(name=str(metric), maximise=True, measured=True, metric=metric)

    @property
    def measure(self) -> Measure:
        """What is measured, by its name, direction and bounds."""
        low, high = map(float, self.bounds)
        return Measure(name=self.name, maximise=self.maximise, low=low, high=high)

    def __call__(self, subject: Network | EvaluatedRun) -> float:
        """Return the value of a network, or of a run where it is measured. Raises PluginError for
        what is no finite number.
        """
        assert self.function is not None
        try:
            found = self.function(subject)
        except Exception as error:
            raise PluginError(
                f"objective {self.name} raised {type(error).__name__}: {error}"
            ) from error
        if self.measured:
            return self.measure.checked(found)
        if not is_finite(found):
            raise PluginError(
                f"objective {self.name} must be a finite number, but got {found!r:.80}"
            )
        return float(found)

    def as_data(self) -> dict[str, Any]:
        """Return what is stored of it."""
        source = {} if self.function is None else {"source": source_digest(self.function)[1]}
        return source | (self.measure.as_data() if self.measured else {"maximise": self.maximise})


class Prices:
    """The costs of the rows of a pool that are objectives; a user's own is asked once a row.

    What is to be maximised is negated, so that less is always better.
    """

    def __init__(self, pool: Candidates, costs: Sequence[str | Objective]) -> None:
        self.pool, self.costs = pool, tuple(costs)
        self._own = {each.name: each for each in costs if isinstance(each, Objective)}
        self._known: dict[str, Floats] = {name: np.zeros(0) for name in self._own}

    def all(self) -> Floats:
        """Return the costs of all rows, rows × costs."""
        if not self._own:
            return self.pool.costs([each for each in self.costs if isinstance(each, str)])
        columns = [
            self.pool.costs([each])[:, 0] if isinstance(each, str) else self._of_own(each)
            for each in self.costs
        ]
        return np.column_stack(columns)

    def named(self, row: int) -> dict[str, float]:
        """Return a user's own objectives of a row, as they are."""
        return {
            name: float(self._of_own(each)[row]) * (-1 if each.maximise else 1)
            for name, each in self._own.items()
        }

    def _of_own(self, objective: Objective) -> Floats:
        known = self._known[objective.name]
        sign = -1 if objective.maximise else 1
        rows = range(len(known), len(self.pool))
        if rows:
            added = [sign * objective(self.pool.network(row)) for row in rows]
            known = self._known[objective.name] = np.append(known, added)
        return known


def dominated(points: Floats) -> NDArray[np.bool_]:
    """Say of each point whether another is as good in everything and better in something."""
    losses = points * np.array([-1.0] + [1.0] * (points.shape[1] - 1))
    return _dominated_by_sorting(losses) if losses.shape[1] == 2 else _dominated_by_turns(losses)


def _dominated_by_sorting(losses: Floats) -> NDArray[np.bool_]:
    """Compare the first of two losses with the least at the same second one, and with the least at
    any smaller.
    """
    if not len(losses):
        return np.zeros(0, bool)
    _, group = np.unique(losses[:, 1], return_inverse=True)
    least = np.full(group.max() + 1, np.inf)
    np.minimum.at(least, group, losses[:, 0])
    before = np.minimum.accumulate(least)[np.maximum(group - 1, 0)]
    found: NDArray[np.bool_] = (least[group] < losses[:, 0]) | (
        (group > 0) & (before <= losses[:, 0])
    )
    return found


def _dominated_by_turns(losses: Floats) -> NDArray[np.bool_]:
    """Take points that nothing left dominates, in order, and strike out all that each dominates."""
    found = np.zeros(len(losses), bool)
    left = np.lexsort(losses.T[::-1])  # in this order, whatever beats a point comes before it
    while len(left):
        first, left = losses[left[0]], left[1:]
        beaten = (first <= losses[left]).all(1) & (first < losses[left]).any(1)
        found[left[beaten]] = True
        left = left[~beaten]
    return found


def front(points: Floats) -> list[int]:
    """Return the rows that no other dominates, by their costs; equal points are all there.

    >>> front(np.array([[90.0, 2.0], [80.0, 1.0], [80.0, 1.0], [70.0, 2.0]]))
    [1, 2, 0]
    """
    rows = [int(row) for row in np.flatnonzero(~dominated(points))]
    return sorted(rows, key=lambda row: tuple(points[row, 1:]))


def ranks(points: Floats) -> NDArray[np.int64]:
    """Return each point's Pareto rank: 0 on the front, 1 on the front of what is left, …"""
    found = np.zeros(len(points), np.int64)
    left, rank = np.arange(len(points)), 0
    while len(left):
        beaten = dominated(points[left])
        found[left[~beaten]] = rank
        left, rank = left[beaten], rank + 1
    return found


@dataclass(frozen=True, kw_only=True)
class Frame:
    """How points become shares of the unit cube: chance accuracy in percent, and the least and
    largest of each cost.
    """

    chance: float
    least: tuple[float, ...]
    largest: tuple[float, ...]
    linear: tuple[bool, ...] = ()

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> "Frame":
        """Read a frame as it is stored."""
        least, largest = tuple(data["least"]), tuple(data["largest"])
        return cls(
            chance=data["chance"],
            least=least,
            largest=largest,
            linear=tuple(data.get("linear", ())),
        )

    def first(self, costs: int) -> "Frame":
        """Return the frame of the first costs alone."""
        return Frame(
            chance=self.chance,
            least=self.least[:costs],
            largest=self.largest[:costs],
            linear=self.linear[:costs],
        )

    def scaled(self, points: Floats) -> Floats:
        """Scale rows of accuracy and costs; what is worse than the reference leaves the cube."""
        accuracy = (points[:, :1] - self.chance) / (100 - self.chance)
        return np.hstack([accuracy, self.scaled_costs(points[:, 1:])])

    def scaled_costs(self, costs: Floats) -> Floats:
        """Scale rows of costs."""
        least, largest = self._on_axes(np.array(self.least)), self._on_axes(np.array(self.largest))
        # if all cost the same, a factor of ten is the unit
        spans = np.where(largest > least, largest - least, 1.0)
        found: Floats = (self._on_axes(costs) - least) / spans
        return found

    def _on_axes(self, costs: Floats) -> Floats:
        logarithms: Floats = np.log10(np.maximum(costs, 1.0))
        return np.where(self.linear, costs, logarithms) if any(self.linear) else logarithms

    def volume(self, points: Floats) -> float:
        """Return the hypervolume that rows of accuracy and costs dominate, between 0 and 1 if no
        point is cheaper than the space.
        """
        return hypervolume(self.scaled(points)) if len(points) else 0.0


def hypervolume(scaled: Floats) -> float:
    """Return the exact volume between scaled points and the reference (accuracy 0, costs 1)."""
    inside = scaled[(scaled[:, 0] > 0) & (scaled[:, 1:] < 1).all(1)]
    losses = np.hstack([-inside[:, :1], inside[:, 1:]])
    return _volume(losses, np.array([0.0] + [1.0] * (scaled.shape[1] - 1)))


def _volume(losses: Floats, reference: Floats) -> float:
    """Sum slices along the last axis, each an exact volume with one axis less."""
    if not len(losses):
        return 0.0
    if losses.shape[1] == 1:
        return float(reference[0] - losses.min())
    order = np.argsort(losses[:, -1], kind="stable")
    losses = losses[order]
    ends = np.append(losses[1:, -1], reference[-1])
    if losses.shape[1] == 2:
        reached = np.minimum.accumulate(losses[:, 0])
        return float(((reference[0] - reached) * (ends - losses[:, -1])).sum())
    found = 0.0
    for count, (start, end) in enumerate(zip(losses[:, -1], ends, strict=True), 1):
        if end > start:
            found += (end - start) * _volume(losses[:count, :-1], reference[:-1])
    return found


@dataclass(frozen=True, kw_only=True)
class Boxes:
    """The cost space between the origin and the reference, cut so that the best known accuracy is
    constant in each box.

    `low` and `high` are boxes × costs, `best` the accuracy in each, all scaled; `best` is 0 where
    nothing as cheap is known.
    """

    low: Floats
    high: Floats
    best: Floats

    @classmethod
    def around(cls, scaled: Floats) -> "Boxes":
        """Cut the cost space at the coordinates of some scaled points."""
        costs = scaled[:, 1:]
        most = int(_MOST_CELLS ** (1 / costs.shape[1])) - 1
        axes = []
        for axis in costs.T:
            cuts = np.unique(axis[axis < 1])
            if len(cuts) > most:
                cuts = np.unique(np.quantile(cuts, np.linspace(0, 1, most), method="nearest"))
            axes.append(
                np.concatenate([[min(-1.0, *cuts, 0.0) if len(cuts) else -1.0], cuts, [1.0]])
            )
        low = _corners([axis[:-1] for axis in axes])
        high = _corners([axis[1:] for axis in axes])
        known = (costs[:, None, :] <= low[None] + 1e-12).all(2)
        best = np.where(known, scaled[:, :1], 0.0).max(0, initial=0.0)
        return cls(low=low, high=high, best=best)

    def weights(self, costs: Floats) -> Floats:
        """Return, points × boxes, how much of each box costs at least as much as a point."""
        found: Floats = np.clip(
            self.high[None] - np.maximum(self.low[None], costs[:, None, :]), 0.0, None
        ).prod(2)
        return found

    def reached(self, costs: Floats) -> Floats:
        """Return the best accuracy known at no more than a point's costs; 0 where none is."""
        inside = (
            (self.low[None] <= costs[:, None, :] + 1e-12) & (costs[:, None, :] < self.high[None])
        ).all(2)
        found: Floats = np.where(inside, self.best[None], 0.0).max(1, initial=0.0)
        return found


def _corners(axes: list[Floats]) -> Floats:
    return np.stack([corner.ravel() for corner in np.meshgrid(*axes, indexing="ij")], axis=1)
