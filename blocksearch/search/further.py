"""Predicts the measured objectives of networks other than accuracy, and decides which networks meet
the limits on what is measured.

Each is modelled as accuracy is, by itself, from trainings that came to the last epoch alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import erfc

import numpy as np
from numpy.typing import NDArray

from blocksearch.arch.cost import Budget
from blocksearch.runs.metrics import Floats
from blocksearch.search.measured import Measure
from blocksearch.search.observations import Fitted, MadeOf, Observation, Observations
from blocksearch.search.trials import Trial

Rows = Sequence[int] | NDArray[np.int64]
NOTHING_KNOWN = (50.0, 25.0)  # mean and deviation, in points, before any result

_erfc = np.frompyfunc(erfc, 1, 1)


def below(z: Floats) -> Floats:
    """Return the standard normal distribution function."""
    found: Floats = 0.5 * _erfc(-z / np.sqrt(2)).astype(float)
    return found


@dataclass(frozen=True)
class Expected:
    """What is expected of N networks: means and deviations of M measured values, N×M."""

    means: Floats
    deviations: Floats


class Further:
    """The measured objectives of a study beside accuracy, and the limits on what is measured.

    `made_of` returns the codes N×F of rows and their modelled costs, `levels` how many options each
    factor has; `horizon` is the last epoch. What is reported is `averaged` over the noise between
    seeds.
    """

    def __init__(
        self,
        measures: Sequence[Measure],
        limits: Sequence[Budget],
        horizon: int,
        levels: Sequence[int],
        made_of: MadeOf,
        *,
        averaged: bool = False,
    ) -> None:
        self._averaged = averaged
        self.measures, self.limits = tuple(measures), tuple(limits)
        self._levels, self._made_of = levels, made_of
        self._observations = [Observations((horizon,), each) for each in measures]
        self._fits: dict[int, tuple[list[Observation], Fitted]] = {}
        self._signs = np.array([each.sign for each in measures], float)

    def expected(self, trials: Sequence[Trial], rows: Rows) -> Expected:
        """Return what is expected of networks by their rows, results of their own or not."""
        shape = len(rows), len(self.measures)
        means, deviations = np.zeros(shape), np.zeros(shape)
        for place, measure in enumerate(self.measures):
            mean, deviation = self._points(place, trials, rows)
            means[:, place] = measure.values(mean)
            deviations[:, place] = deviation / 100 * (measure.high - measure.low)
        return Expected(means, deviations)

    def losses(self, found: Expected, steps: Sequence[float] | Floats = ()) -> Floats:
        """Return what is expected as losses, N×M, each so many deviations worse as `steps` say."""
        worse = found.deviations * np.asarray(steps) if len(steps) else 0.0
        losses: Floats = found.means * self._signs + worse
        return losses

    @staticmethod
    def drawn(found: Expected, rng: np.random.Generator) -> Expected:
        """Draw what each network has, values being independent and normal."""
        noise = rng.standard_normal(found.means.shape)
        values = found.means + found.deviations * noise
        return Expected(values, np.zeros_like(values))

    def outcomes(self) -> Floats:
        """Return outcomes of all measured objectives, in deviations from what is expected. With
        equal weights they have the mean and the deviation of independent normal values.
        """
        if not self.measures:
            return np.zeros((1, 0))
        far = np.sqrt(len(self.measures)) * np.eye(len(self.measures))
        return np.vstack([far, -far])

    def feasible(self, accuracies: Floats, found: Expected) -> NDArray[np.bool_]:
        """Say which of N networks keep the limits, by what is expected."""
        values = self._values(accuracies, found.means)
        holds = np.ones(len(accuracies), bool)
        for limit in self.limits:
            holds &= limit.holds(values[limit.quantity])
        return holds

    def likely(self, accuracies: Floats, deviations: Floats, found: Expected) -> Floats:
        """Return how likely each of N networks keeps the limits, values being independent."""
        means = self._values(accuracies, found.means)
        spread = self._values(deviations, found.deviations)
        share = np.ones(len(accuracies))
        for limit in self.limits:
            name, sign = limit.quantity, -1 if limit.relation.is_upper else 1
            share *= below(sign * (means[name] - limit.bound) / np.maximum(spread[name], 1e-9))
        return share

    def _values(self, accuracies: Floats, others: Floats) -> Mapping[str, Floats]:
        names = ["accuracy", *(each.name for each in self.measures)]
        return dict(zip(names, [accuracies, *others.T], strict=True))

    def _points(self, place: int, trials: Sequence[Trial], rows: Rows) -> tuple[Floats, Floats]:
        """Return means and deviations of one measured objective, in points."""
        results = self._observations[place].of(trials)
        if not results:
            mean, deviation = NOTHING_KNOWN
            return np.full(len(rows), mean), np.full(len(rows), deviation)
        known, fit = self._fits.get(place, ([], None))
        if fit is None or known != results:
            fit = Fitted.of(results, self._levels, self._made_of)
            self._fits[place] = results, fit
        model = fit.model
        features = model.features.rows(*self._made_of(list(rows)))
        means = model.mean(features)
        deviations = np.sqrt(model.unexplained(features) + model.variance(features))
        own = {row: at for at, row in enumerate(fit.rows)}
        here = np.array([at for at, row in enumerate(rows) if row in own], int)
        there = [own[row] for row in rows if row in own]
        settled, apart = fit.averaged() if self._averaged else model.settled(fit.seen)
        means[here], deviations[here] = settled[there], apart[there]
        return means, deviations
