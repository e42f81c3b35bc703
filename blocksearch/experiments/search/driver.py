"""Steps ▶ workers ▶ ledger. One driver owns a study; a killed search and an uninterrupted one take the same steps.

A step is decided by the study's seed, its number, and the results of all steps but the last few (the lag): never by the order in
which trainings happen to end. A run is in the ledger before its step is in the study, and a step before its mirrored trial.
"""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock, Timeout

from blocksearch.errors import UsageError
from blocksearch.experiments.plan import Conditions, Request, conditions
from blocksearch.experiments.search.evolution import Evolution
from blocksearch.experiments.search.mirror import Mirror
from blocksearch.experiments.search.policy import ByChance, ByEvolution, Policy, Sampler, Step, Told
from blocksearch.experiments.search.pool import Pool
from blocksearch.experiments.search.study import OPTUNA, Definition, Wishes, check_name, define, opening
from blocksearch.runs.ledger import Ledger
from blocksearch.runs.spec import Group, Job, Run
from blocksearch.runs.studies import StepRow, Studies
from blocksearch.runs.workers import Workers
from blocksearch.space.grammar import Grammar
from blocksearch.space.notation import format_network
from blocksearch.space.rules import read_budget


class Audience:
    """Hears how a search goes, and says nothing; views have one that speaks."""

    def began(self, title: str, steps: int, trials: int) -> None:
        """A search begins, or goes on after so many steps."""

    def told(self, row: StepRow, trials: int, reused: bool) -> None:
        """A step has counted; `reused` where the ledger had its run."""

    def ended(self, reason: str) -> None:
        """No more steps will come."""


@dataclass(frozen=True)
class Question:
    """What is searched: a space and its file's name, budgets, and what else is wished."""

    space: str
    grammar: Grammar
    budgets: tuple[str, ...]
    wishes: Wishes
    name: str

    def __post_init__(self) -> None:
        check_name(self.name)


def search(question: Question, request: Request, trials: int, audience: Audience, timeout: float | None = None) -> Definition:
    """Search until the study has so many trials and its front its seeds, or `timeout` seconds have passed.

    Raises UsageError where another driver has the study, or where the study was begun with something else.
    """
    if trials < 1:
        raise UsageError(f"--trials must be at least 1, but got {trials}")
    if timeout is not None and timeout <= 0:
        raise UsageError(f"--timeout must be above 0 seconds, but got {timeout:g}")
    grammar = question.grammar.where(*(read_budget(text) for text in question.budgets))
    shared = conditions(request, grammar.members.network(grammar.members.genes_at(grammar.members.places(1, 0)[0])))
    definition = define(question.space, question.grammar, question.budgets, grammar, shared, question.wishes)
    with _alone(request.ledger, question.name), Workers(request.workers, request.device) as workers:
        workers.check()
        with closing(Ledger(request.ledger)) as ledger:
            studies = Studies(ledger)
            _agree(studies, question.name, definition)
            pool = Pool(grammar, question.wishes.seed)
            policy = _policy(pool, definition, question.wishes)
            mirror = Mirror(request.ledger, question.name, definition, pool.encoding)
            driver = _Driver(question, shared, ledger, studies, pool, policy, mirror, audience, trials)
            driver.run(workers, None if timeout is None else time.monotonic() + timeout)
    return definition


class _Driver:
    def __init__(
        self,
        question: Question,
        shared: Conditions,
        ledger: Ledger,
        studies: Studies,
        pool: Pool,
        policy: Policy,
        mirror: Mirror,
        audience: Audience,
        trials: int,
    ) -> None:
        self._name, self._wishes, self._shared, self._trials = question.name, question.wishes, shared, trials
        self._ledger, self._studies, self._pool, self._policy = ledger, studies, pool, policy
        self._mirror, self._audience = mirror, audience
        self.told: list[Told] = []
        self._pending: list[Step] = []
        self._jobs: dict[int, Job] = {}
        self._finished: dict[int, tuple[Run, bool]] = {}
        self._steps: dict[Group, Step] = {}

    def run(self, workers: Workers, deadline: float | None) -> None:
        rows = self._studies.steps(self._name)
        self.told = [self._remembered(row) for row in rows]
        self._mirror.catch_up(rows)
        self._audience.began(self._name, len(rows), self._trials)
        late = False

        def following() -> Group | None:
            nonlocal late
            while (step := self._next()) is not None:
                late = deadline is not None and time.monotonic() >= deadline
                if late:
                    return None
                self._pending.append(step)
                job = self._jobs[step.number] = self._job(step)
                known = self._ledger.find([job.spec]).get(job.spec)
                if known is None:
                    group = Group((job,), None, workers.place.device)
                    folder = self._ledger.checkpoints
                    group = replace(group, checkpoint=folder / group.file_name) if folder else group
                    self._steps[group] = step
                    return group
                self._finish(step, known, reused=True)
            return None

        def done(group: Group, runs: list[Run]) -> None:
            self._ledger.add_all(zip(group.jobs, runs, strict=True))
            if group.checkpoint is not None:
                group.checkpoint.unlink(missing_ok=True)
            self._finish(self._steps.pop(group), runs[0], reused=False)

        try:
            workers.train_as_they_come(following, done, lambda _: None)
        except KeyboardInterrupt:
            self._audience.ended(f"interrupted after {self._trials_told} trials; the same command goes on from there")
            raise
        self._audience.ended(self._reason(late))

    @property
    def _trials_told(self) -> int:
        return sum(each.step.kind == "new" for each in self.told)

    def _next(self) -> Step | None:
        """Decide the next step from no more results than it may know; None where that has to wait, or nothing is left to do."""
        number = len(self.told) + len(self._pending)
        for known in range(max(0, number - self._wishes.lag + 1), len(self.told) + 1):
            pending = [each.step for each in self.told[known:]] + self._pending
            step = self._policy.decide(self.told[:known], pending, self._trials)
            if step is not None:
                return step
        return None

    def _finish(self, step: Step, run: Run, *, reused: bool) -> None:
        """Let results count in the order of their steps."""
        self._finished[step.number] = (run, reused)
        counted = []
        while self._pending and self._pending[0].number in self._finished:
            first = self._pending.pop(0)
            run, was_known = self._finished.pop(first.number)
            self.told.append(Told(first, run.accuracy))
            counted.append((self._row(first, run), was_known))
        self._studies.append(self._name, [row for row, _ in counted])
        for row, was_known in counted:
            self._mirror.add(row)
            self._audience.told(row, self._trials, was_known)

    def _row(self, step: Step, run: Run) -> StepRow:
        network, costs = self._pool.network(step.row), self._pool.cost(step.row)
        text = format_network(network)
        where = (step.number, step.trial, step.kind, step.origin, network.fingerprint, text)
        return StepRow(*where, costs, step.seed, run.state, run.accuracy, self._memory(step))

    def _memory(self, step: Step) -> dict[str, object]:
        return step.memory | {"code": [int(level) for level in self._pool.codes[step.row]]}

    def _remembered(self, row: StepRow) -> Told:
        found = self._pool.recall(row.network, row.memory["code"], row.text)
        return Told(Step(row.number, row.trial, row.kind, row.origin, found, row.seed, row.memory), row.accuracy)

    def _job(self, step: Step) -> Job:
        return self._shared.job(self._pool.network(step.row), step.seed)

    def _reason(self, late: bool) -> str:
        new = self._trials_told
        if late:
            return f"the time is up after {new} of {self._trials} trials; the same command goes on from there"
        if new < self._trials:
            return f"no network is left that is within the budgets and untrained: the search ends after {new} trials"
        return f"{new} trials, {len(self.told)} trainings counted"


def _policy(pool: Pool, definition: Definition, wishes: Wishes) -> Policy:
    judge = Evolution(pool, definition.frame, wishes.costs)
    sampler: Sampler = ByEvolution(judge) if wishes.sampler == "evolution" else ByChance(pool)
    if wishes.sampler in OPTUNA:
        from blocksearch.experiments.search.optuna_samplers import ByOptuna

        sampler = ByOptuna(wishes.sampler, pool, wishes)
    return Policy(
        pool, sampler, judge, [(name, pool.row(network)) for name, network in opening(pool.grammar, wishes.start_with)], wishes
    )


def _agree(studies: Studies, name: str, definition: Definition) -> None:
    stored = studies.definition(name)
    if stored is None:
        studies.add(name, definition.as_data())
    elif differences := definition.differences(stored):
        raise UsageError(
            f"study {name} was begun otherwise ({'; '.join(differences)}): give it another --name, or the old values"
        )


@contextmanager
def _alone(location: str, name: str) -> Iterator[None]:
    """Hold a study. Raises UsageError where another driver does; one that dies lets go."""
    if "://" in location and not location.startswith("sqlite:///"):
        yield  # a server's database: there is no file to lock
        return
    file = Path(location.removeprefix("sqlite:///")).expanduser()
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f"{file}-{name}.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise UsageError(
            f"another search is running study {name} in {location}: end it, or give this one another --name"
        ) from error
    try:
        yield
    finally:
        lock.release()
