"""Trains the trials of a search, unless the ledger has their runs or another search trains them.

A failed training is a fault of the machine and says nothing about its network, so it is tried
again. If that fails, too, the search ends with the reason, and the same command resumes it later.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from blocksearch.errors import ConfigError, RunError
from blocksearch.runs.executor import Executor
from blocksearch.runs.ledger import Ledger
from blocksearch.runs.locks import PAUSE, Holds
from blocksearch.runs.measures import ACCURACY
from blocksearch.runs.plan import Experiment
from blocksearch.runs.records import FINAL, Group, Job, Run, RunState
from blocksearch.runs.scheduler import remember_images
from blocksearch.search.measured import EvaluatedRun
from blocksearch.search.objectives import Objective
from blocksearch.search.reading import Reader
from blocksearch.search.trials import Trial, TrialState
from blocksearch.training import weights as checkpoint

if TYPE_CHECKING:
    from blocksearch.search.loop import Driver  # which loads this module

ATTEMPTS = 3  # of a training that fails


def check_judge(shared: Experiment, measured: Sequence[Objective]) -> None:
    """Raise ConfigError for what cannot be measured by the images that judge trainings."""
    for each in measured:
        if each.metric is not None:
            shared.judged.check(each.metric)
        elif each.function is None:
            raise ConfigError(f"objective {each.name} needs a function of an evaluated run")


def check_returned(metric: str, measured: Sequence[Objective]) -> None:
    """Raise ConfigError for what a function of a network and a seed cannot return."""
    if metric != str(ACCURACY):
        raise ConfigError(
            f"metric is of trainings, but got {metric}: an objective of your own returns what it "
            "measures"
        )
    for each in measured:
        if each.function is not None:
            raise ConfigError(
                f"objective {each.name} has a function of a training, but the study has none: its "
                "own objective returns all that is measured"
            )


class Trainings:
    """Gives the trials of a driver to workers and stores their runs, until none is to be trained
    now. `rungs` are the epochs at which accuracies count; what else is `measured` counts at the
    last.
    """

    def __init__(
        self,
        driver: "Driver",
        rungs: Sequence[int],
        shared: Experiment,
        ledger: Ledger,
        workers: Executor,
        measured: Sequence[Objective] = (),
    ) -> None:
        self._measured = tuple(measured)
        self._driver, self._rungs, self._shared = driver, rungs, shared
        self._judged = judged = shared.judged
        self._read = Reader(rungs, shared.metric, lambda _: judged)
        self._ledger, self._workers, self._holds = ledger, workers, Holds()
        self._running: dict[Group, Trial] = {}
        self._waiting: list[Trial] = []
        splits = [(shared.protocol, shared.images.digest), *shared.beside.values()]
        remember_images(splits, shared.root, ledger)
        self._failures: Counter[int] = Counter()  # by step
        self._given_up: str | None = None

    def close(self) -> None:
        """Release what was not finished to other searches."""
        self._holds.close()

    def check(self) -> None:
        """Raise RunError if a training was given up."""
        if self._given_up is not None:
            raise RunError(self._given_up)

    def following(self) -> Group | None:
        """Return the next training to be done; None also if another search trains it and some are
        running here, or if one was given up.
        """
        while self._given_up is None and (trial := self._following()) is not None:
            job = self._shared.job(self._driver.pool.network(trial.row), trial.seed)
            group = self._group(job, trial.epochs)
            held = self._holds.take(group)
            known = self._ledger.reached(group.jobs[0].key, trial.epochs)
            if held and known is None:
                self._running[group] = trial
                return group
            if known is not None:
                if held:
                    self._forget(group, known)  # which a driver left that was killed in between
                    self._holds.let_go(group)
                self._finish(trial, known, reused=True)
                continue
            self._waiting.append(trial)
            if self._holds.any:
                return None
            time.sleep(PAUSE)
        return None

    def _following(self) -> Trial | None:
        return self._waiting.pop() if self._waiting else self._driver.next()

    def done(self, group: Group, runs: list[Run]) -> None:
        """Store what a training gave, then let its trial count; one that failed is tried again."""
        self._ledger.add_all(zip(group.jobs, runs, strict=True))
        trial, run = self._running.pop(group), runs[0]
        self._forget(group, run)
        self._holds.let_go(group)
        if run.state is not RunState.FAILED:
            stored = self._ledger.reached(run.key, trial.epochs)
            assert stored is not None
            self._finish(trial, stored)
            return
        self._failures[trial.step] += 1
        self._waiting.append(trial)
        if self._failures[trial.step] == ATTEMPTS:
            self._given_up = (
                f"the training of trial {trial.number}, seed {trial.seed}, failed {ATTEMPTS} "
                f"times ({' '.join(run.reason.split())}): the same command goes on with it"
            )

    def _forget(self, group: Group, run: Run) -> None:
        if group.checkpoint is not None and run.state in FINAL:
            checkpoint.forget(group.checkpoint)

    def _finish(self, trial: Trial, run: Run, *, reused: bool = False) -> None:
        found, trial = self._read.accuracies(run, trial.epochs), replace(trial, run=run.row)
        if found and trial.epochs == self._rungs[-1]:
            trial = trial.with_measured(self._others(trial, run))
        self._driver.finish(trial, found, TrialState(run.state), reused=reused)

    def _others(self, trial: Trial, run: Run) -> dict[str, float]:
        """Measure what a whole training says beside its accuracy."""
        found = dict[str, float]()
        for each in self._measured:
            if each.metric is not None:
                found[each.name] = each.measure.checked(self._judged.measure(each.metric, run))
            else:
                found[each.name] = each(self._evaluated(trial, run))
        return found

    def _evaluated(self, trial: Trial, run: Run) -> EvaluatedRun:
        judged = self._judged
        if run.predictions is None:
            raise ConfigError(
                f"the run of trial {trial.number}, seed {trial.seed}, is of a version that did "
                "not store what it predicted: search in another database"
            )
        assert run.accuracy is not None
        return EvaluatedRun(
            network=self._driver.pool.network(trial.row),
            seed=trial.seed,
            accuracy=run.accuracy,
            labels=judged.labels,
            predictions=run.predictions,
            classes=judged.classes,
            groups=judged.groups,
        )

    def _group(self, job: Job, epochs: int) -> Group:
        return Group(
            jobs=(job,), checkpoint=None, device=self._workers.place.device, until=epochs
        ).kept_in(self._ledger.checkpoints)
