"""Decides which trial comes next (a new network, a promotion or a seed), and which trials count.

Results count in the order of proposals, so a search depends on its seed alone, not on timing or on
the order in which trainings end. A killed search and an uninterrupted one, or one with more
workers, run the same trials.

A promotion is successive halving for several objectives: of the networks that came to a rung, the
best by Pareto rank are trained further. Costs are known exactly, so only accuracy decides. A
network is compared with those that cost no more, by the accuracy that the model predicts for the
last epoch, which allows for the noise of a single early result.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from blocksearch.runs.metrics import Floats
from blocksearch.search.config import MAX_PENDING, StudyConfig
from blocksearch.search.definition import StudyDefinition, opening
from blocksearch.search.evolution import Evolution
from blocksearch.search.identity import is_optuna
from blocksearch.search.objectives import Prices, front, ranks
from blocksearch.search.samplers import OPTUNA, SAMPLERS, Guarded, Sampler, Untrained
from blocksearch.search.trials import Trial, TrialKind, TrialState
from blocksearch.space.candidates import Candidates

# once there are `AGAIN_AFTER` networks, one trial in so many repeats a network of the front with
# another seed
AGAIN_EVERY = 8
AGAIN_AFTER = 16
SHARE = 3  # one of so many goes on from a rung


class Policy:
    """Decides trials. `opening` are the rows, with their names, that the study begins with; they
    are trained to the last epoch. So are the first `repeated` networks of the study, with two
    seeds. They show the noise between seeds without bias, because they were chosen before they had
    results.

    `rungs` are the epochs after which a network must have earned to be trained further; the last is
    the last of a whole training.
    """

    def __init__(
        self,
        pool: Candidates,
        sampler: Sampler,
        judge: Evolution,
        opening: Sequence[tuple[str, int]],
        config: StudyConfig,
        rungs: Sequence[int],
        repeated: int = 0,
    ) -> None:
        self.pool, self.config, self.rungs = pool, config, tuple(rungs)
        self._repeated = repeated
        self.sampler, self.opening = sampler, tuple(opening)
        self._judge = judge

    def decide(self, told: Sequence[Trial], pending: Sequence[Trial], trials: int) -> Trial | None:
        """Return the trial after those told and pending, or None if there is none as far as is
        known; `trials` is how many networks are to be sampled in all.
        """
        step, every = len(told) + len(pending), [*told, *pending]
        new = sum(trial.kind == TrialKind.NEW for trial in every)
        if second := self._second(step, every):
            return second
        if new < len(self.opening):
            return self._begin(step, new, *self.opening[new], self.rungs[-1])
        if new >= AGAIN_AFTER and step % AGAIN_EVERY == AGAIN_EVERY - 1:
            again = self._again(step, self._front(told, self._judge.settled), every)
            if again:
                return again
        if further := self._promoted(step, told, every):
            return further
        if new < len(self.opening) + trials and (found := self._new(step, new, told, pending)):
            return found
        return self._again(step, self.front(told), every)

    def _second(self, step: int, every: Sequence[Trial]) -> Trial | None:
        """Repeat a network that is to show the noise between seeds and has one seed so far."""
        first = [t.row for t in every if t.kind == TrialKind.NEW and t.number < self._repeated]
        done = {trial.row for trial in every if trial.seed == 1}
        row = next((row for row in first if row not in done), None)
        if row is None:
            return None
        return self._next(step, row, TrialKind.SEED, 1, self.rungs[-1], every)

    def _new(
        self, step: int, new: int, told: Sequence[Trial], pending: Sequence[Trial]
    ) -> Trial | None:
        rng = np.random.default_rng([self.config.seed, new])
        found = self.sampler.propose(told, pending, self._untrained((*told, *pending)), rng)
        if found is None:
            return None
        until = self.rungs[-1] if new < self._repeated else self.rungs[0]
        begun = self._begin(step, new, self.sampler.name, int(found.row), until)
        return replace(begun, memory=found.memory)

    def _untrained(self, trials: Sequence[Trial]) -> Untrained:
        taken = np.zeros(len(self.pool), bool)
        taken[[trial.row for trial in trials]] = True
        return Untrained(self.pool, taken | ~self.pool.members)

    def why_no_more(self, told: Sequence[Trial]) -> str:
        """Say why a search ends before it has as many networks as were asked for."""
        if self._untrained(told).draw(np.random.default_rng(self.config.seed)) is None:
            return "no network is left that is within the budgets and untrained"
        return f"{self.sampler.name} proposes no more networks"

    @staticmethod
    def _begin(step: int, number: int, origin: str, row: int, epochs: int) -> Trial:
        return Trial(
            step=step,
            number=number,
            kind=TrialKind.NEW,
            origin=origin,
            row=row,
            seed=0,
            epochs=epochs,
        )

    def _promoted(self, step: int, told: Sequence[Trial], every: Sequence[Trial]) -> Trial | None:
        """Take a network further that has earned it, one of the highest rung first."""
        if len(self.rungs) == 1 or not any(trial.accuracies for trial in told):
            return None
        # the last trial of a run goes farthest
        reached = {trial.row: trial.epochs for trial in every if trial.seed == 0}
        rows, means = self._judge.settled(told)
        points, keeps = self._judge.points(rows, means, told)
        for place in reversed(range(len(self.rungs) - 1)):
            there = {t.row for t in told if t.seed == 0 and len(t.accuracies) > place}
            raced = [at for at, row in enumerate(rows) if row in there]
            rung = {rows[at]: float(means[at]) for at in raced}
            row = promoted(rung, reached, self.rungs[place], points[raced, 1:], keeps[raced])
            if row is not None:
                further = self.rungs[place + 1]
                return self._next(step, row, TrialKind.PROMOTION, 0, further, every)
        return None

    def _again(self, step: int, rows: Sequence[int], every: Sequence[Trial]) -> Trial | None:
        """Repeat the network of the front that has the fewest seeds, where one has fewer than are
        wanted.
        """
        seeds: dict[int, int] = {}
        for trial in every:
            seeds[trial.row] = max(seeds.get(trial.row, 0), trial.seed + 1)
        short = [row for row in rows if seeds[row] < self.config.seeds]
        if not short:
            return None
        row = min(short, key=lambda row: seeds[row])
        return self._next(step, row, TrialKind.SEED, seeds[row], self.rungs[-1], every)

    @staticmethod
    def _next(
        step: int, row: int, kind: TrialKind, seed: int, epochs: int, every: Sequence[Trial]
    ) -> Trial:
        first = next(trial for trial in every if trial.row == row)
        return Trial(
            step=step,
            number=first.number,
            kind=kind,
            origin=first.origin,
            row=row,
            seed=seed,
            epochs=epochs,
        )

    def front(self, told: Sequence[Trial]) -> list[int]:
        """Return the rows of the front by the means of a model of everything told, cheapest first.

        Networks that were not trained to the last epoch are no members, and neither are those that
        are expected to break a limit.
        """
        return self._front(told, self._judge.whole)

    def _front(
        self,
        told: Sequence[Trial],
        settled: Callable[[Sequence[Trial]], tuple[Sequence[int], Floats]],
    ) -> list[int]:
        whole = {t.row for t in told if t.accuracies and t.epochs == self.rungs[-1]}
        if not whole:
            return []
        rows, means = settled(told)
        points, keeps = self._judge.points(rows, means, told)
        places = [place for place, row in enumerate(rows) if row in whole and keeps[place]]
        return [rows[places[place]] for place in front(points[places])]


class TrialQueue:
    """A search under way. `trials` is how many networks are to be sampled in all, `told` the trials
    that have counted.

    A trial is decided by the results of all before it but the last few, which may be in training.
    """

    def __init__(self, policy: Policy, trials: int, told: Sequence[Trial] = ()) -> None:
        self.policy, self.trials, self.told = policy, trials, list(told)
        self._pending: list[Trial] = []
        self._finished: dict[int, Trial] = {}

    @property
    def networks(self) -> int:
        """How many networks have counted."""
        return sum(trial.kind == TrialKind.NEW for trial in self.told)

    @property
    def sampled(self) -> int:
        """How many of these are beyond those that the study begins with."""
        return max(0, self.networks - len(self.policy.opening))

    def next(self) -> Trial | None:
        """Decide a trial from the results that it may know; None if it has to wait for some, or
        nothing is left to do.
        """
        step = len(self.told) + len(self._pending)
        pending = self.policy.config.max_pending or MAX_PENDING
        for known in range(max(0, step - pending + 1), len(self.told) + 1):
            unknown = self.told[known:] + self._pending
            trial = self.policy.decide(self.told[:known], unknown, self.trials)
            if trial is not None:
                self._pending.append(trial)
                return trial
        return None

    def finish(self, trial: Trial) -> list[Trial]:
        """Take a trial with its result, and return those that count now: each waits for those
        before it.
        """
        if trial.state == TrialState.PROPOSED:
            raise ValueError(f"step {trial.step} has no result")
        self._finished[trial.step] = trial
        counted = []
        while self._pending and self._pending[0].step in self._finished:
            counted.append(self._finished.pop(self._pending.pop(0).step))
        self.told += counted
        return counted


def policy_of(prices: Prices, definition: StudyDefinition) -> Policy:
    """Make the policy that decides the trials of a study."""
    config, pool = definition.config, prices.pool
    measures = [each.measure for each in config.measured]
    judge = Evolution(prices, definition.frame, definition.rungs, measures, config.limits)
    begun = opening(pool.grammar, config)
    start = [(name, pool.row(network)) for name, network in begun]
    sampler = _sampler(prices, definition, judge)
    return Policy(pool, sampler, judge, start, config, definition.rungs, definition.repeated)


def _sampler(prices: Prices, definition: StudyDefinition, judge: Evolution) -> Sampler:
    chosen = definition.config.sampler
    if chosen in OPTUNA or is_optuna(chosen):
        from blocksearch.search.optuna_samplers import OptunaSampler

        own = OptunaSampler(chosen, prices, judge.further.measures, judge.further.limits)
        return own if isinstance(chosen, str) else Guarded(own)
    if chosen == "evolution":
        return judge
    if isinstance(chosen, str):
        kind = SAMPLERS[chosen]
        assert kind is not None, f"sampler {chosen!r} has a name and is made nowhere"
        return kind()
    return Guarded(chosen)


def promoted(
    rung: Mapping[int, float],
    reached: Mapping[int, int],
    epochs: int,
    costs: Floats,
    keeps: NDArray[np.bool_] | None = None,
) -> int | None:
    """Return the row to take further from a rung at `epochs`, or None if no more have earned it.

    `rung` holds the accuracies (percent) that are raced by row, `reached` the epochs that each row
    has or is on its way to, `costs` those of each row of `rung`, N × costs. Those of which `keeps`
    says that they keep the limits come first.
    """
    rows = list(rung)
    accuracies = np.array([rung[row] for row in rows])
    order = best_first(accuracies, costs)
    if keeps is not None:
        order = sorted(order, key=lambda place: not keeps[place])
    order = order[: len(rows) // SHARE]
    return next((rows[place] for place in order if reached[rows[place]] <= epochs), None)


def best_first(accuracies: Floats, costs: Floats) -> Sequence[int]:
    """Order networks by Pareto rank, and within a rank by how far they are above the best that
    costs no more.
    """
    if not len(accuracies):
        return []
    cheaper = (costs[None, :, :] <= costs[:, None, :]).all(2) & ~np.eye(len(costs), dtype=bool)
    rival = np.where(cheaper, accuracies[None, :], 0.0).max(1, initial=0.0)
    order = np.lexsort((rival - accuracies, ranks(np.column_stack([accuracies, costs]))))
    return [int(place) for place in order]
