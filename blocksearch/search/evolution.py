"""Proposes children of the front and of networks near it, ranked by a model of accuracy at exactly
known costs. This is our own sampler.

Candidates are mutations of good networks, crosses between two of them, and networks drawn from the
space; a space that is small enough is a candidate whole. The one with the largest expected gain of
hypervolume is proposed. A candidate whose optimistic accuracy is dominated at its cost is left out.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from blocksearch.arch.cost import Budget
from blocksearch.runs.metrics import Floats
from blocksearch.search.further import Expected, Further, below
from blocksearch.search.measured import Measure
from blocksearch.search.objectives import Boxes, Frame, Prices, dominated, ranks
from blocksearch.search.observations import (
    LATER_REFITS,
    Finals,
    Fitted,
    FoldedModel,
    Observation,
    Observations,
    Reading,
    as_seen,
)
from blocksearch.search.samplers import Proposal, Untrained
from blocksearch.search.surrogate import (
    MODELLED,
    Codes,
    Features,
    Model,
    Scales,
    Seen,
    choose_scales,
)
from blocksearch.search.trials import Trial, TrialKind

LEARNS_AFTER = 6  # networks with results; before, candidates are spread over the costs
REFITS = 16  # results between fits, at first
LATER = 256  # results from which on there are fewer fits
WATCHED = 1024  # candidates whose variance is followed
CHILDREN = 128
OPTIMISM = 3.0  # deviations above the mean


class Evolution:
    """Proposes rows of a pool, by trials and by the generator alone, and says what is expected of
    the networks that have results. `rungs` are the epochs at which the search looks.
    """

    name = "evolution"

    def __init__(
        self,
        prices: Prices,
        frame: Frame,
        rungs: Sequence[int],
        measures: Sequence[Measure] = (),
        limits: Sequence[Budget] = (),
    ) -> None:
        self.pool, self.frame, self._prices = prices.pool, frame, prices
        levels = self.pool.encoding.sizes
        self.features = Features(levels, self.pool.costs(MODELLED))
        self.further = Further(measures, limits, rungs[-1], levels, self._made_of)
        self._observations = Observations(rungs)
        self._fit: FoldedModel | None = None

    def propose(
        self,
        trials: Sequence[Trial],
        pending: Sequence[Trial],
        candidates: Untrained,
        rng: np.random.Generator,
    ) -> Proposal | None:
        """See `Sampler`."""
        results = self._observations.of(trials)
        awaited = list(dict.fromkeys(each.row for each in pending if each.kind == TrialKind.NEW))
        if not _enough(results):
            there = [each.row for each in results] + awaited
            row = self._spread(there, candidates.taken, rng)
            return None if row is None else Proposal(row)
        fit = self._fitted(results, trials)
        # a fit may have added members of a large space
        taken = np.pad(candidates.taken, (0, len(self.pool) - len(candidates.taken)))
        left = fit.watched[~taken[fit.watched]]
        if len(left):
            return Proposal(self._best(fit, left, awaited, trials))
        row = self.pool.draw(rng, taken)
        return None if row is None else Proposal(row)

    def settled(self, trials: Sequence[Trial]) -> tuple[Sequence[int], Floats]:
        """Return the rows that have results, and the model's means of their accuracy."""
        results = self._observations.of(trials)
        if not _enough(results):
            reading = Reading(results)
            known = reading.gather(results)
            seen = self._seen(known)
            model = Model(self.features, self._scales(seen, reading), seen)
            return list(known), model.settled_means(seen)
        fit = self._fitted(results, trials)
        return fit.trained, fit.model.settled_means(fit.seen)

    def whole(self, trials: Sequence[Trial]) -> tuple[Sequence[int], Floats]:
        """Return the same by one fit to all results."""
        results = self._observations.of(trials)
        found = Fitted.of(results, self.pool.encoding.sizes, self._made_of)
        return found.rows, found.model.settled_means(found.seen)

    def points(
        self, rows: Sequence[int], means: Floats, trials: Sequence[Trial]
    ) -> tuple[Floats, NDArray[np.bool_]]:
        """Return rows of accuracy and of all losses, N×objectives, by what is expected of networks,
        and which of these keep the limits.
        """
        found = self.further.expected(trials, rows)
        costs = self._prices.all()[list(rows)]
        points = np.column_stack([means, costs, self.further.losses(found)])
        return points, self.further.feasible(means, found)

    def _made_of(self, rows: list[int]) -> tuple[Codes, Floats]:
        return self.pool.codes[rows], self.pool.costs(MODELLED)[rows]

    def _scales(self, seen: Seen, reading: Reading) -> Scales:
        return choose_scales(self.features, seen, reading.noise.variance)

    def _spread(
        self, there: Sequence[int], taken: NDArray[np.bool_], rng: np.random.Generator
    ) -> int | None:
        """Draw several, and take the one whose costs are farthest from those that are there."""
        drawn = [row for row in (self.pool.draw(rng, taken) for _ in range(8)) if row is not None]
        if not drawn or not there:
            return drawn[0] if drawn else None
        prices = self._prices.all()
        costs = (
            self.frame.first(prices.shape[1]).scaled_costs(prices)
            if any(self.frame.linear)
            else np.log10(np.maximum(prices, 1.0))
        )
        far = np.abs(costs[drawn][:, None] - costs[there][None]).sum(2).min(1)
        return drawn[int(far.argmax())]

    def _fitted(self, results: Sequence[Observation], trials: Sequence[Trial]) -> FoldedModel:
        """Fit at every `REFITS`-th result, and fold in later ones, so that an interrupted search
        has the same state.
        """
        base = len(results) - len(results) % (REFITS if len(results) < LATER else LATER_REFITS)
        if not _enough(results[:base]):
            base = len(results)
        if self._fit is None or not self._fit.leads_to(results, base):
            # scales are chosen anew at 8, 16, 32, … results
            doubled = 1 << (base.bit_length() - 1)
            first = results[: doubled if doubled >= REFITS else base]
            reading = Reading(first)
            scales = self._scales(self._seen(reading.gather(first)), reading)
            based = results[:base]
            known = reading.gather(based)
            seen = self._seen(known)
            model = Model(self.features, scales, seen)
            watched = self._candidates(model, list(known), seen, base, trials)
            self._fit = FoldedModel(based, reading, known, seen, model, watched, self._rows)
        self._fit.take_up(results)
        return self._fit

    def _candidates(
        self, model: Model, trained: Sequence[int], seen: Seen, seed: int, trials: Sequence[Trial]
    ) -> NDArray[np.int64]:
        rng = np.random.default_rng(seed)
        listed = np.arange(self.pool.listed)
        free = listed[~np.isin(listed, trained)]
        if self.pool.whole and len(free) <= WATCHED:
            return free
        rows = self._rows(free)
        optimistic = model.mean(rows) + np.sqrt(model.scales.unexplained + model.variance(rows))
        points = self._front(trained, model.settled_means(seen), trials)
        boxes = Boxes.around(self.frame.scaled(points))
        further = self.further.expected(trials, free)
        gain = self._gain(free, optimistic, np.full(len(free), 1e-6), boxes, further)
        best = free[np.argsort(-gain, kind="stable")[: WATCHED - CHILDREN]]
        drawn = rng.choice(free, min(len(free), CHILDREN), replace=False)
        children = self._children(self._parents(model, trained, seen, trials), rng)
        found = np.unique(np.concatenate([best, drawn, children]))
        found = found[self.pool.members[found] & ~np.isin(found, trained)]
        order = np.argsort([self.pool.rank(int(row)) for row in found])
        ordered: NDArray[np.int64] = found[order]
        return ordered

    def _parents(
        self, model: Model, trained: Sequence[int], seen: Seen, trials: Sequence[Trial]
    ) -> list[int]:
        means = model.settled_means(seen)
        points, keeps = self.points(trained, means, trials)
        order = np.lexsort((-means, ranks(points), ~keeps))
        best = int(((ranks(points) == 0) & keeps).sum())
        return [trained[place] for place in order[: max(8, best)]]

    def _children(self, parents: Sequence[int], rng: np.random.Generator) -> NDArray[np.int64]:
        found: dict[int, None] = {}
        for _ in range(CHILDREN):
            one, other = map(int, rng.choice(parents, 2))
            child = self.pool.cross(one, other, rng) if rng.random() < 0.5 else one
            child = self.pool.mutate(one if child is None else child, rng)
            if child is not None:
                found[child] = None
        return np.array(list(found), np.int64)

    def _best(
        self,
        fit: FoldedModel,
        left: NDArray[np.int64],
        pending: Sequence[int],
        trials: Sequence[Trial],
    ) -> int:
        means, deviations = fit.expected(left, pending)
        known = np.concatenate([fit.model.settled_means(fit.seen), fit.believed(pending)])
        points = self._front([*fit.trained, *pending], known, trials)
        boxes = Boxes.around(self.frame.scaled(points))
        further = self.further.expected(trials, left)
        gain = self._gain(left, means, deviations, boxes, further)
        optimism = OPTIMISM
        for _ in range(8):  # if no candidate improves the front, widen the bound and try again
            losses = self._losses(left, further, [-optimism] * len(self.further.measures))
            hopes = self.frame.scaled(np.column_stack([means + optimism * deviations, losses]))
            hopeful = hopes[:, 0] > boxes.reached(hopes[:, 1:])
            if hopeful.any():
                break
            optimism *= 2
        return int(left[int(np.where(hopeful, gain, -1.0).argmax())])

    def _gain(
        self,
        rows: NDArray[np.int64],
        means: Floats,
        deviations: Floats,
        boxes: Boxes,
        further: Expected,
    ) -> Floats:
        """Return the expected gain of hypervolume of rows whose accuracy is normal, by how likely
        they keep the limits. Of what else is measured, a mean over a few outcomes is taken.
        """
        likely = self.further.likely(means, deviations, further)
        deviations = np.maximum(deviations / (100 - self.frame.chance), 1e-9)
        outcomes = self.further.outcomes()
        found = np.zeros(len(rows))
        for outcome in outcomes:
            points = np.column_stack([means, self._losses(rows, further, outcome)])
            scaled = self.frame.scaled(points)
            z = (scaled[:, :1] - boxes.best[None]) / deviations[:, None]
            surplus = deviations[:, None] * (
                z * below(z) + np.exp(-0.5 * np.square(z)) / np.sqrt(2 * np.pi)
            )
            found += (boxes.weights(scaled[:, 1:]) * surplus).sum(1) / len(outcomes)
        return found * likely

    def _front(self, rows: Sequence[int], means: Floats, trials: Sequence[Trial]) -> Floats:
        """Return the front of what is expected of networks within the limits."""
        points, keeps = self.points(rows, means, trials)
        points = points[keeps]
        return points[~dominated(points)]

    def _losses(
        self, rows: NDArray[np.int64], further: Expected, steps: Sequence[float] | Floats
    ) -> Floats:
        return np.column_stack([self._prices.all()[rows], self.further.losses(further, steps)])

    def _rows(self, rows: NDArray[np.int64]) -> Floats:
        return self.features.rows(self.pool.codes[rows], self.pool.costs(MODELLED)[rows])

    def _seen(self, known: Mapping[int, Finals]) -> Seen:
        return as_seen(known, self._rows(np.array(list(known))))


def _enough(results: Sequence[Observation]) -> bool:
    """Say whether there are enough networks to fit a model."""
    rows: set[int] = set()
    for each in results:
        rows.add(each.row)
        if len(rows) == LEARNS_AFTER:
            return True
    return False
