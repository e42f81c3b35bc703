"""Our sampler: children of the front and their like, judged by a model of accuracy at costs that
are known exactly.

Candidates are mutations of good networks, crosses between two of them, and networks drawn from the
space; a space that is small enough is a candidate whole. The one with the largest expected gain of
hypervolume is proposed. A candidate whose optimistic accuracy is dominated at its cost is left out.
"""

from collections.abc import Callable, Sequence
from math import erfc

import numpy as np
from numpy.typing import NDArray

from blocksearch.search.objectives import Boxes, Floats, Frame, Prices, dominated, ranks
from blocksearch.search.observations import Known, Observation, Observations, Reading, Whole
from blocksearch.search.samplers import Proposal, Untrained
from blocksearch.search.surrogate import Features, Model, Scales, Seen, choose_scales
from blocksearch.search.trials import Trial, TrialKind

LEARNS_AFTER = 6  # networks with results; before, candidates are spread over the costs
MODELLED = ("flops", "params", "peak_activations")  # the costs that the model sees
REFITS, LATER_REFITS = 16, 64  # results between fits, at first and once there are
LATER = 256  # results
WATCHED = 1024  # candidates whose variance is followed
CHILDREN = 128
OPTIMISM = 3.0  # deviations above the mean


class Evolution:
    """Proposes rows of a pool, by what it is told and by the generator alone."""

    def __init__(self, prices: Prices, frame: Frame) -> None:
        self.pool, self.frame, self._prices = prices.pool, frame, prices
        self.features = Features(self.pool.encoding.sizes, self.pool.costs(MODELLED))
        self._fit: _Fit | None = None

    def propose(
        self,
        results: Sequence[Observation],
        pending: Sequence[int],
        taken: NDArray[np.bool_],
        rng: np.random.Generator,
    ) -> int | None:
        """Return the row to train next; None where no member is left.

        `results` are in the order in which they came to count; `pending` rows are in training;
        `taken` rows are not proposed.
        """
        if not _enough(results):
            return self._spread([each.row for each in results] + list(pending), taken, rng)
        fit = self._fitted(results)
        # a fit may have added members of a large space
        taken = np.pad(taken, (0, len(self.pool) - len(taken)))
        left = fit.watched[~taken[fit.watched]]
        return self._best(fit, left, pending) if len(left) else self.pool.draw(rng, taken)

    def settled(self, results: Sequence[Observation]) -> tuple[list[int], Floats]:
        """Return the rows that have results, and the model's means of their accuracy."""
        if not _enough(results):
            reading = Reading.of(results)
            known = reading.gather(results)
            seen = self._seen(known)
            model = Model(self.features, self._scales(known, reading), seen)
            return [each.row for each in known], model.settled_means(seen)
        fit = self._fitted(results)
        return fit.trained, fit.model.settled_means(fit.seen)

    def whole(self, results: Sequence[Observation]) -> tuple[tuple[int, ...], Floats]:
        """Return the same by one fit to all results."""
        found = Whole.of(
            results,
            self.pool.encoding.sizes,
            lambda rows: (self.pool.codes[rows], self.pool.costs(MODELLED)[rows]),
        )
        return found.rows, found.model.settled_means(found.seen)

    def prices(self) -> Floats:
        """Return the costs that are objectives, of all rows of the pool."""
        return self._prices.all()

    def _scales(self, known: Sequence[Known], reading: Reading) -> Scales:
        return choose_scales(self.features, self._seen(known), reading.seeds)

    def _spread(
        self, there: Sequence[int], taken: NDArray[np.bool_], rng: np.random.Generator
    ) -> int | None:
        """Draw several, and take the one whose costs are farthest from those that are there."""
        drawn = [row for row in (self.pool.draw(rng, taken) for _ in range(8)) if row is not None]
        if not drawn or not there:
            return drawn[0] if drawn else None
        prices = self.prices()
        costs = (
            self.frame.scaled_costs(prices)
            if any(self.frame.linear)
            else np.log10(np.maximum(prices, 1.0))
        )
        far = np.abs(costs[drawn][:, None] - costs[there][None]).sum(2).min(1)
        return drawn[int(far.argmax())]

    def _fitted(self, results: Sequence[Observation]) -> "_Fit":
        """Fit at every `REFITS`-th result, and fold in what came since: the same state however the
        search was cut up.
        """
        base = len(results) - len(results) % (REFITS if len(results) < LATER else LATER_REFITS)
        if not _enough(results[:base]):
            base = len(results)
        if self._fit is None or not self._fit.leads_to(results, base):
            # scales are chosen anew at 8, 16, 32, … results
            doubled = 1 << (base.bit_length() - 1)
            first = results[: doubled if doubled >= REFITS else base]
            reading = Reading.of(first)
            scales = self._scales(reading.gather(first), reading)
            known = reading.gather(results[:base])
            seen = self._seen(known)
            model = Model(self.features, scales, seen)
            self._fit = _Fit(
                results[:base],
                reading,
                known,
                model,
                self._candidates(model, known, seen, base),
                self._rows,
            )
        self._fit.take_up(results)
        return self._fit

    def _candidates(
        self, model: Model, known: Sequence[Known], seen: Seen, seed: int
    ) -> NDArray[np.int64]:
        rng = np.random.default_rng(seed)
        trained = [each.row for each in known]
        listed = np.arange(self.pool.listed)
        free = listed[~np.isin(listed, trained)]
        if self.pool.whole and len(free) <= WATCHED:
            return free
        rows = self._rows(free)
        optimistic = model.mean(rows) + np.sqrt(model.scales.unexplained + model.variance(rows))
        points = self._front(model, seen, trained, (), np.zeros(0))
        gain = self._gain(
            free, optimistic, np.full(len(free), 1e-6), Boxes.around(self.frame.scaled(points))
        )
        best = free[np.argsort(-gain, kind="stable")[: WATCHED - CHILDREN]]
        drawn = rng.choice(free, min(len(free), CHILDREN), replace=False)
        found = np.unique(
            np.concatenate([best, drawn, self._children(self._parents(model, known, seen), rng)])
        )
        found = found[self.pool.members[found] & ~np.isin(found, trained)]
        order = np.argsort([self.pool.rank(int(row)) for row in found])
        ordered: NDArray[np.int64] = found[order]
        return ordered

    def _parents(self, model: Model, known: Sequence[Known], seen: Seen) -> list[int]:
        means = model.settled_means(seen)
        points = np.column_stack([means, self.prices()[[each.row for each in known]]])
        order = np.lexsort((-means, ranks(points)))
        return [known[place].row for place in order[: max(8, int((ranks(points) == 0).sum()))]]

    def _children(self, parents: Sequence[int], rng: np.random.Generator) -> NDArray[np.int64]:
        found: dict[int, None] = {}
        for _ in range(CHILDREN):
            one, other = map(int, rng.choice(parents, 2))
            child = self.pool.cross(one, other, rng) if rng.random() < 0.5 else one
            child = self.pool.mutate(one if child is None else child, rng)
            if child is not None:
                found[child] = None
        return np.array(list(found), np.int64)

    def _best(self, fit: "_Fit", left: NDArray[np.int64], pending: Sequence[int]) -> int:
        model = fit.model
        means, deviations = fit.expected(left, pending)
        points = self._front(model, fit.seen, fit.trained, pending, fit.believed(pending))
        boxes = Boxes.around(self.frame.scaled(points))
        gain = self._gain(left, means, deviations, boxes)
        reached = boxes.reached(self.frame.scaled(self._with_costs(means, left))[:, 1:])
        optimism = OPTIMISM
        for _ in range(8):  # where the model sees no hope, it is believed less
            hopeful = (
                self.frame.scaled(self._with_costs(means + optimism * deviations, left))[:, 0]
                > reached
            )
            if hopeful.any():
                break
            optimism *= 2
        return int(left[int(np.where(hopeful, gain, -1.0).argmax())])

    def _gain(
        self, rows: NDArray[np.int64], means: Floats, deviations: Floats, boxes: Boxes
    ) -> Floats:
        """Return the expected gain of hypervolume of rows whose accuracy is normal."""
        scaled = self.frame.scaled(self._with_costs(means, rows))
        deviations = np.maximum(deviations / (100 - self.frame.chance), 1e-9)
        z = (scaled[:, :1] - boxes.best[None]) / deviations[:, None]
        surplus = deviations[:, None] * (
            z * _below(z) + np.exp(-0.5 * np.square(z)) / np.sqrt(2 * np.pi)
        )
        found: Floats = (boxes.weights(scaled[:, 1:]) * surplus).sum(1)
        return found

    def _front(
        self,
        model: Model,
        seen: Seen,
        trained: Sequence[int],
        pending: Sequence[int],
        believed: Floats,
    ) -> Floats:
        """Return the front of what is known by the model's means, what is pending being believed to
        come out as expected.
        """
        means = model.settled_means(seen)
        points = self._with_costs(
            np.concatenate([means, believed]), np.array([*trained, *pending], np.int64)
        )
        return points[~dominated(points)]

    def _with_costs(self, accuracy: Floats, rows: NDArray[np.int64]) -> Floats:
        return np.column_stack([accuracy, self.prices()[rows]])

    def _rows(self, rows: NDArray[np.int64]) -> Floats:
        return self.features.rows(self.pool.codes[rows], self.pool.costs(MODELLED)[rows])

    def _seen(self, known: Sequence[Known]) -> Seen:
        rows = self._rows(np.array([each.row for each in known]))
        return Seen(
            rows, np.array([each.mean for each in known]), np.array([each.count for each in known])
        )


class EvolutionSampler:
    """Our sampler, told of trials."""

    name = "evolution"

    def __init__(self, evolution: Evolution, rungs: Sequence[int]) -> None:
        self._evolution, self._observations = evolution, Observations(rungs)

    def propose(
        self,
        trials: Sequence[Trial],
        pending: Sequence[Trial],
        candidates: Untrained,
        rng: np.random.Generator,
    ) -> Proposal | None:
        """See `Sampler`."""
        rows = list(dict.fromkeys(each.row for each in pending if each.kind == TrialKind.NEW))
        observed = self._observations.of(trials)
        row = self._evolution.propose(observed, rows, candidates.taken, rng)
        return None if row is None else Proposal(row)


class _Fit:
    """A model fitted to the first results, the candidates it follows, and the results folded in
    since.
    """

    def __init__(
        self,
        base: Sequence[Observation],
        reading: Reading,
        known: Sequence[Known],
        model: Model,
        watched: NDArray[np.int64],
        features: Callable[[NDArray[np.int64]], Floats],
    ) -> None:
        self.model, self.watched = model, watched
        self._base, self._taken_up = len(base), list(base)
        self._reading = reading
        self._known = {each.row: each for each in known}
        self._features = features
        self._rows = features(watched)
        self._variance = model.variance(self._rows)
        self._place = {int(row): place for place, row in enumerate(watched)}
        self._order = {each.row: place for place, each in enumerate(known)}
        room = ((0, LATER_REFITS), (0, 0))  # as many new networks as may come before the next fit
        self._known_rows = np.pad(features(np.array(self.trained)), room)
        self._means = np.pad([each.mean for each in known], room[0])
        self._counts = np.pad([each.count for each in known], room[0])

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
        return Seen(self._known_rows[:known], self._means[:known], self._counts[:known])

    def take_up(self, results: Sequence[Observation]) -> None:
        """Fold in, one by one, the results that this fit has not seen."""
        for each in results[len(self._taken_up) :]:
            old = self._known.get(each.row)
            place = self._order.setdefault(each.row, len(self._known))
            if old is None:
                self._known_rows[place] = self._features(np.array([each.row]))[0]
            new = self._known[each.row] = self._reading.with_result(old, each)
            self._means[place], self._counts[place] = new.mean, new.count
            row = self._known_rows[place]
            before = (self.model.weight(row, old.count), old.mean) if old else (0.0, 0.0)
            step = self.model.fold_in(row, before, (self.model.weight(row, new.count), new.mean))
            self._variance = np.maximum(self._variance - (self._rows @ step) ** 2, 0.0)
            self._taken_up.append(each)

    def believed(self, pending: Sequence[int]) -> Floats:
        """Return the accuracies that are expected of pending rows."""
        return (
            self.model.mean(self._features(np.array(pending, np.int64)))
            if len(pending)
            else np.zeros(0)
        )

    def expected(self, rows: NDArray[np.int64], pending: Sequence[int]) -> tuple[Floats, Floats]:
        """Return mean and deviation of the accuracy of watched rows, less what pending results will
        tell of them.
        """
        places = [self._place[int(row)] for row in rows]
        variance, covariance = self._variance[places], self.model.covariance
        for row in self._features(np.array(pending, np.int64)) if len(pending) else ():
            across = covariance @ row
            step = across / np.sqrt(1 / self.model.weight(row, 1) + float(row @ across))
            covariance = covariance - np.outer(step, step)
            variance = variance - (self._rows[places] @ step) ** 2
        return self.model.mean(self._rows[places]), np.sqrt(
            self.model.scales.unexplained + np.maximum(variance, 0.0)
        )


def _enough(results: Sequence[Observation]) -> bool:
    """Say whether there are as many networks as a model is worth."""
    rows: set[int] = set()
    for each in results:
        rows.add(each.row)
        if len(rows) == LEARNS_AFTER:
            return True
    return False


_erfc = np.frompyfunc(erfc, 1, 1)


def _below(z: Floats) -> Floats:
    """Return the standard normal distribution function."""
    found: Floats = 0.5 * _erfc(-z / np.sqrt(2)).astype(float)
    return found
