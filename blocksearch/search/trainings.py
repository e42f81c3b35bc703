"""The steps of a search as trainings, unless the ledger has them or another search on it is at
them.
"""

import time
from collections.abc import Sequence
from typing import Protocol

from blocksearch.runs.executor import Workers
from blocksearch.runs.ledger import FINAL, Ledger
from blocksearch.runs.locks import PAUSE, Holds
from blocksearch.runs.plan import Conditions
from blocksearch.runs.records import Group, Job, Run
from blocksearch.search.policy import Step
from blocksearch.space.candidates import Candidates
from blocksearch.training import weights as checkpoint


class Steps(Protocol):
    """Gives out the steps of a search, and takes what became of them."""

    pool: Candidates

    def next(self) -> Step | None:
        """Return the step to take now; None where that has to wait, nothing is left, or the time is
        up.
        """

    def finish(
        self, step: Step, accuracies: tuple[float, ...], otherwise: str, *, reused: bool = False
    ) -> None:
        """Take the accuracies of a step, or none and what became of it `otherwise`."""


class Trainings:
    """What workers are given, and where what they bring goes. `rungs` are the epochs at which
    accuracies count.
    """

    def __init__(
        self,
        steps: Steps,
        rungs: Sequence[int],
        shared: Conditions,
        ledger: Ledger,
        workers: Workers,
    ) -> None:
        self._from, self._rungs, self._shared, self._ledger, self._workers = (
            steps,
            rungs,
            shared,
            ledger,
            workers,
        )
        self._holds, self._steps, self._waiting = Holds(), dict[Group, Step](), list[Step]()

    def close(self) -> None:
        """Let other searches have what was not finished."""
        self._holds.close()

    def following(self) -> Group | None:
        """Return the next training that has to be done; None too where another search is at it and
        some are running here.
        """
        while (step := self._waiting.pop() if self._waiting else self._from.next()) is not None:
            group = self._group(
                self._shared.job(self._from.pool.network(step.row), step.seed), step.epochs
            )
            held = self._holds.take(group)
            known = self._ledger.reached(group.jobs[0].key, step.epochs)
            if held and known is None:
                self._steps[group] = step
                return group
            if known is not None:
                if held:
                    self._holds.let_go(group)
                self._from.finish(step, self._accuracies(step, known), known.state, reused=True)
                continue
            self._waiting.append(step)
            if self._holds.any:
                return None
            time.sleep(PAUSE)
        return None

    def done(self, group: Group, runs: list[Run]) -> None:
        """Store what a training gave, then let its step count."""
        self._ledger.add_all(zip(group.jobs, runs, strict=True))
        self._holds.let_go(group)
        if group.checkpoint is not None and runs[0].state in FINAL:
            checkpoint.forget(group.checkpoint)
        step = self._steps.pop(group)
        self._from.finish(step, self._accuracies(step, runs[0]), runs[0].state)

    def _group(self, job: Job, epochs: int) -> Group:
        return Group((job,), None, self._workers.place.device, until=epochs).kept_in(
            self._ledger.checkpoints
        )

    def _accuracies(self, step: Step, run: Run) -> tuple[float, ...]:
        """Return the accuracies at each rung up to the step's epochs; none where the run did not
        come so far.
        """
        found = [run.accuracy_at(rung) for rung in self._rungs if rung <= step.epochs]
        return tuple(each for each in found if each is not None) if None not in found else ()
