"""Turns trials into observations, predicts final accuracy from early accuracy, and fits the models
of accuracy. What is reported is fitted at once; what a search goes by is fitted once in a while.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blocksearch.runs.metrics import Floats
from blocksearch.search.averaging import averaged
from blocksearch.search.measured import ACCURACY, Measure
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

# the prior shrinks differences by a third, and is worth two runs
SLOPE, SLOPE_WORTH = 0.7, 2.0
SPREAD, SPREAD_WORTH = 4.0, 2.0  # percentage points around the line, a guess worth two runs
LATER_REFITS = 64  # results between fits, once there are many: new networks for which there is room
# by seed, a network's accuracy after the last epoch and its weight
Finals = dict[int, tuple[float, float]]
MadeOf = Callable[[list[int]], tuple[Codes, Floats]]  # codes N×F and modelled costs of rows


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What a sampler is told of a training: the network's row in the pool, the seed, and its
    accuracy (percent).

    `epochs` is after how many; None is the horizon.
    """

    row: int
    accuracy: float
    seed: int = 0
    epochs: int | None = None


@dataclass(frozen=True, kw_only=True)
class _Line:
    """Final accuracy is about `middle + slope·(accuracy − start)`, with a variance around it."""

    start: float
    middle: float
    slope: float
    variance: float

    @classmethod
    def through(cls, x: Floats, y: Floats, early: Sequence[float]) -> "_Line":
        """Fit it to accuracies x of runs that also have y; `early` are those of all runs that have
        x.
        """
        if not len(x):  # nothing came to the end yet: early results are as good as themselves
            middle = float(np.mean(early))
            return cls(start=middle, middle=middle, slope=SLOPE, variance=4 * SPREAD**2)
        start, middle = float(x.mean()), float(y.mean())
        own = float(((x - start) ** 2).sum())
        prior = SLOPE_WORTH * max(own / len(x), 1.0)
        slope = (float(((x - start) * (y - middle)).sum()) + prior * SLOPE) / (own + prior)
        squares = float(((y - middle - slope * (x - start)) ** 2).sum())
        freedom = SPREAD_WORTH + max(0, len(x) - 1)
        return cls(
            start=start,
            middle=middle,
            slope=slope,
            variance=(SPREAD_WORTH * SPREAD**2 + squares) / freedom,
        )


class Reading:
    """Predicts final accuracy from early accuracy, by one regression line for each rung, learnt
    from runs that have both, and knows the noise between seeds.
    """

    def __init__(self, results: Sequence[Observation]) -> None:
        finals = {(each.row, each.seed): each.accuracy for each in results if each.epochs is None}
        by_row: dict[int, list[float]] = {}
        for (row, _), accuracy in finals.items():
            by_row.setdefault(row, []).append(accuracy)
        self.noise = SeedNoise.of(list(by_row.values()))
        self._lines: dict[int, _Line] = {}
        for rung in {each.epochs for each in results if each.epochs is not None}:
            early = {
                (each.row, each.seed): each.accuracy for each in results if each.epochs == rung
            }
            both = [key for key in early if key in finals]
            x, y = np.array([early[key] for key in both]), np.array([finals[key] for key in both])
            self._lines[rung] = _Line.through(x, y, list(early.values()))

    def final(self, result: Observation) -> tuple[float, float]:
        """Return the expected accuracy after the last epoch, and the variance that this adds."""
        if result.epochs is None:
            return result.accuracy, 0.0
        line = self._lines.get(result.epochs)
        line = line or _Line.through(np.zeros(0), np.zeros(0), [result.accuracy])
        return line.middle + line.slope * (result.accuracy - line.start), line.variance

    def read(self, result: Observation) -> tuple[float, float]:
        """Return the known or predicted accuracy after the last epoch, and its weight, which is 1
        for a run that came there, and smaller the less its early result predicts.
        """
        accuracy, added = self.final(result)
        seeds = self.noise.variance
        return accuracy, seeds / (seeds + added) if seeds + added else 1.0

    def gather(self, results: Sequence[Observation]) -> dict[int, Finals]:
        """Gather the results of each network, networks in the order of their first. A later result
        of a run replaces an earlier one.
        """
        found: dict[int, Finals] = {}
        for each in results:
            found.setdefault(each.row, {})[each.seed] = self.read(each)
        return found


def mean_and_count(finals: Finals) -> tuple[float, float]:
    """Return the mean accuracy of a network over its seeds, and how many seeds that is worth."""
    count = sum(worth for _, worth in finals.values())
    return sum(accuracy * worth for accuracy, worth in finals.values()) / count, count


def as_seen(known: Mapping[int, Finals], rows: Floats | FeatureRows) -> Seen:
    """Return what is known of networks as a model takes it, by their features."""
    values = [mean_and_count(finals) for finals in known.values()]
    means, counts = np.array(values, float).reshape(len(values), 2).T.copy()
    return Seen(rows=rows, means=means, counts=counts)


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """The model fitted to all observations at once, with its rows and their codes N×F, from which
    results are reported.
    """

    rows: tuple[int, ...]
    codes: Codes
    model: Model
    seen: Seen
    noise: SeedNoise

    @classmethod
    def of(cls, results: Sequence[Observation], levels: Sequence[int], made_of: MadeOf) -> "Fitted":
        """Fit it; `levels` says how many options each factor has."""
        reading = Reading(results)
        known = reading.gather(results)
        codes, costs = made_of(list(known))
        features = Features(levels, costs)
        found = as_seen(known, FeatureRows(features=features, codes=codes, costs=costs))
        model = Model(features, choose_scales(features, found, reading.noise.variance), found)
        return cls(rows=tuple(known), codes=codes, model=model, seen=found, noise=reading.noise)

    def averaged(self) -> tuple[Floats, Floats]:
        """Return mean and deviation of the true accuracy of each network, averaged over what the
        noise between seeds, and what features do not explain, may be.
        """
        return averaged(self.model.features, self.seen, self.noise, self.model.scales)


class FoldedModel:
    """A model fitted to the first results, with later ones folded in.

    `watched` are rows of candidates.
    """

    def __init__(
        self,
        base: Sequence[Observation],
        reading: Reading,
        known: dict[int, Finals],
        seen: Seen,
        model: Model,
        watched: NDArray[np.int64],
        features: Callable[[NDArray[np.int64]], Floats],
    ) -> None:
        self.model, self.watched = model, watched
        self._base, self._taken_up = len(base), list(base)
        self._reading, self._known, self._features = reading, known, features
        self._rows = features(watched)
        self._variance = model.variance(self._rows)
        self._place = {int(row): place for place, row in enumerate(watched)}
        self._order = {row: place for place, row in enumerate(known)}
        room = (0, LATER_REFITS)
        self._known_rows = np.pad(seen.rows[:], (room, (0, 0)))
        self._means, self._counts = np.pad(seen.means, room), np.pad(seen.counts, room)

    def leads_to(self, results: Sequence[Observation], base: int) -> bool:
        """Say whether this fit was made of the first `base` results and saw no others."""
        seen = len(self._taken_up)
        return self._base == base and seen <= len(results) and self._taken_up == results[:seen]

    @property
    def trained(self) -> list[int]:
        return list(self._known)

    @property
    def seen(self) -> Seen:
        known = len(self._known)
        return Seen(
            rows=self._known_rows[:known], means=self._means[:known], counts=self._counts[:known]
        )

    def take_up(self, results: Sequence[Observation]) -> None:
        """Fold in, one by one, the results that this fit has not seen."""
        for each in results[len(self._taken_up) :]:
            place = self._order.setdefault(each.row, len(self._known))
            before = (0.0, 0.0)
            if each.row in self._known:
                before = self._weight_and_mean(place)
            else:
                self._known_rows[place] = self._features(np.array([each.row]))[0]
            finals = self._known.setdefault(each.row, {})
            finals[each.seed] = self._reading.read(each)
            self._means[place], self._counts[place] = mean_and_count(finals)
            row, after = self._known_rows[place], self._weight_and_mean(place)
            step = self.model.fold_in(row, before, after)
            self._variance = np.maximum(self._variance - (self._rows @ step) ** 2, 0.0)
            self._taken_up.append(each)

    def _weight_and_mean(self, place: int) -> tuple[float, float]:
        row, mean, count = self._known_rows[place], self._means[place], self._counts[place]
        return self.model.weight(row, count), float(mean)

    def believed(self, pending: Sequence[int]) -> Floats:
        """Return the predicted accuracies of pending rows."""
        return self.model.mean(self._features(np.array(pending, np.int64)))

    def expected(self, rows: NDArray[np.int64], pending: Sequence[int]) -> tuple[Floats, Floats]:
        """Return mean and deviation of the accuracy of watched rows, less what pending results will
        tell of them.
        """
        places = [self._place[int(row)] for row in rows]
        variance, covariance = self._variance[places], self.model.covariance
        for row in self._features(np.array(pending, np.int64)):
            across = covariance @ row
            step = across / np.sqrt(1 / self.model.weight(row, 1) + float(row @ across))
            covariance = covariance - np.outer(step, step)
            variance = variance - (self._rows[places] @ step) ** 2
        return self.model.mean(self._rows[places]), np.sqrt(
            self.model.scales.unexplained + np.maximum(variance, 0.0)
        )


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
                own = Observation(row=row, accuracy=value, seed=seed, epochs=epochs)
                self._found.setdefault((row, seed, rung), own)
            self._read.append(trial)
        return list(self._found.values())

    def _values(self, trial: Trial) -> list[tuple[int, float]]:
        if self._measure is ACCURACY:
            return list(zip(self._rungs, trial.accuracies, strict=False))
        value = trial.measured.get(self._measure.name)
        return [] if value is None else [(self._rungs[-1], self._measure.points(value))]
