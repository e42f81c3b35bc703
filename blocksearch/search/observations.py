"""What trials say of networks: accuracies as observations, early ones read by a learning-curve
model, and the model of everything observed that is reported.

The learning-curve model is a line for each rung, from the accuracy there to the one after the last
epoch, learnt from runs that have both.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from blocksearch.search.averaging import averaged
from blocksearch.search.measured import ACCURACY, Measure
from blocksearch.search.objectives import Floats
from blocksearch.search.surrogate import (
    Codes,
    FeatureRows,
    Features,
    Model,
    SeedNoise,
    Seen,
    choose_scales,
)
from blocksearch.search.trials import Trial

SLOPE, SLOPE_WORTH = (
    0.7,
    2.0,
)  # before anything is known: differences shrink by a third, a guess worth two runs
SPREAD, SPREAD_WORTH = 4.0, 2.0  # percentage points around the line, a guess worth two runs


@dataclass(frozen=True)
class Observation:
    """What a sampler is told of a training: the network's row in the pool, the seed, and its
    accuracy (percent).

    `epochs` is after how many; None is the horizon.
    """

    row: int
    accuracy: float
    seed: int = 0
    epochs: int | None = None


@dataclass(frozen=True)
class _Line:
    """Final accuracy is about `middle + slope·(accuracy − start)`, with a variance around it."""

    start: float
    middle: float
    slope: float
    variance: float


class LearningCurves:
    """Expects final accuracies from earlier ones."""

    def __init__(self, results: Sequence[Observation]) -> None:
        finals = {(each.row, each.seed): each.accuracy for each in results if each.epochs is None}
        self._lines: dict[int, _Line] = {}
        for rung in {each.epochs for each in results if each.epochs is not None}:
            early = {
                (each.row, each.seed): each.accuracy for each in results if each.epochs == rung
            }
            both = [key for key in early if key in finals]
            x, y = np.array([early[key] for key in both]), np.array([finals[key] for key in both])
            self._lines[rung] = _fitted(x, y, list(early.values()))

    def final(self, result: Observation) -> tuple[float, float]:
        """Return the expected accuracy after the last epoch, and the variance that this adds."""
        if result.epochs is None:
            return result.accuracy, 0.0
        line = self._lines.get(result.epochs) or _fitted(
            np.zeros(0), np.zeros(0), [result.accuracy]
        )
        return line.middle + line.slope * (result.accuracy - line.start), line.variance


def _fitted(x: Floats, y: Floats, early: Sequence[float]) -> _Line:
    if not len(x):  # nothing came to the end yet: early results are as good as themselves
        middle = float(np.mean(early))
        return _Line(middle, middle, SLOPE, 4 * SPREAD**2)
    start, middle = float(x.mean()), float(y.mean())
    own = float(((x - start) ** 2).sum())
    prior = SLOPE_WORTH * max(own / len(x), 1.0)
    slope = (float(((x - start) * (y - middle)).sum()) + prior * SLOPE) / (own + prior)
    squares = float(((y - middle - slope * (x - start)) ** 2).sum())
    return _Line(
        start,
        middle,
        slope,
        (SPREAD_WORTH * SPREAD**2 + squares) / (SPREAD_WORTH + max(0, len(x) - 1)),
    )


@dataclass(frozen=True)
class Known:
    """All that is known of a network: its row in the pool, and by seed its final accuracy
    (percent), as far as it is known.

    `worth` is 1 for a seed that was trained to the end, and less the less its early result says of
    that.
    """

    row: int
    accuracies: Mapping[int, float]
    worth: Mapping[int, float]

    @property
    def count(self) -> float:
        return sum(self.worth.values())

    @property
    def mean(self) -> float:
        return sum(self.accuracies[seed] * worth for seed, worth in self.worth.items()) / self.count

    @property
    def finals(self) -> list[float]:
        return [self.accuracies[seed] for seed, worth in self.worth.items() if worth == 1]


@dataclass(frozen=True)
class Reading:
    """How results are read: what early ones say of the last epoch, and the noise between seeds that
    this is held against.
    """

    curves: LearningCurves
    noise: SeedNoise

    @property
    def seeds(self) -> float:
        """The variance between seeds."""
        return self.noise.variance

    @classmethod
    def of(cls, results: Sequence[Observation]) -> "Reading":
        """Learn it from results."""
        finals: dict[int, list[float]] = {}
        for each in results:
            if each.epochs is None:
                finals.setdefault(each.row, []).append(each.accuracy)
        return cls(LearningCurves(results), SeedNoise.of(list(finals.values())))

    def with_result(self, known: Known | None, result: Observation) -> Known:
        """Add a result to what is known of its network; it takes the place of an earlier one of the
        same run.
        """
        accuracy, added = self.curves.final(result)
        worth = self.seeds / (self.seeds + added) if self.seeds + added else 1.0
        if known is None:
            return Known(result.row, {result.seed: accuracy}, {result.seed: worth})
        return Known(
            result.row,
            {**known.accuracies, result.seed: accuracy},
            {**known.worth, result.seed: worth},
        )

    def gather(self, results: Sequence[Observation]) -> list[Known]:
        """Bring the results of each network together, networks in the order of their first."""
        found: dict[int, Known] = {}
        for each in results:
            found[each.row] = self.with_result(found.get(each.row), each)
        return list(found.values())


@dataclass(frozen=True)
class Whole:
    """The model of everything known at once, and of which rows: what is reported, once further
    seeds have confirmed it.
    """

    rows: tuple[int, ...]
    features: Features
    model: Model
    seen: Seen
    noise: SeedNoise

    @classmethod
    def of(
        cls,
        results: Sequence[Observation],
        levels: Sequence[int],
        made_of: Callable[[list[int]], tuple[Codes, Floats]],
    ) -> "Whole":
        """Fit it; `made_of` returns the codes N×F of rows and their modelled costs."""
        reading = Reading.of(results)
        known = reading.gather(results)
        rows = [each.row for each in known]
        codes, costs = made_of(rows)
        features = Features(levels, costs)
        means, counts = (
            np.array([each.mean for each in known]),
            np.array([each.count for each in known]),
        )
        seen = Seen(FeatureRows(features, codes, costs), means, counts)
        return cls(
            tuple(rows),
            features,
            Model(features, choose_scales(features, seen, reading.seeds), seen),
            seen,
            reading.noise,
        )

    def averaged(self) -> tuple[Floats, Floats]:
        """Return mean and deviation of the true accuracy of each network, averaged over what the
        noise between seeds, and what features do not explain, may be.
        """
        return averaged(self.features, self.seen, self.noise, self.model.scales)


class Observations:
    """Reads accuracies from trials, in their order, those at earlier rungs of a run first; what was
    read before is kept.

    Another measure is read as points, at the last rung alone.
    """

    def __init__(self, rungs: Sequence[int], measure: Measure = ACCURACY) -> None:
        self._rungs, self._measure = tuple(rungs), measure
        self._read: list[Trial] = []
        self._found: dict[tuple[int, int, int], Observation] = {}

    def of(self, trials: Sequence[Trial]) -> list[Observation]:
        """Return what some trials observed."""
        read = len(self._read)
        if len(trials) < read or (self._read and trials[read - 1] is not self._read[-1]):
            self._read, self._found = [], {}
        for trial in trials[len(self._read) :]:
            row, seed = trial.row, trial.seed
            for rung, value in self._values(trial):
                epochs = None if rung == self._rungs[-1] else rung
                own = Observation(row, value, seed, epochs)
                self._found.setdefault((row, seed, rung), own)
            self._read.append(trial)
        return list(self._found.values())

    def _values(self, trial: Trial) -> list[tuple[int, float]]:
        if self._measure is ACCURACY:
            return list(zip(self._rungs, trial.accuracies, strict=False))
        value = trial.measured.get(self._measure.name)
        return [] if value is None else [(self._rungs[-1], self._measure.points(value))]
