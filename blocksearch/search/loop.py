"""Steps ▶ workers ▶ ledger. One driver owns a study.

A run is in the ledger before its step is in the study, and a step before its mirrored trial:
whoever is killed in between leaves nothing that the next driver cannot complete.
"""

import hashlib
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from numbers import Real
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from threadpoolctl import threadpool_limits

from blocksearch.arch.constraints import read_budget
from blocksearch.arch.network import Network
from blocksearch.arch.notation import format_network
from blocksearch.errors import ConfigError
from blocksearch.runs.executor import Workers
from blocksearch.runs.ledger import Ledger
from blocksearch.runs.location import file_of, without_password
from blocksearch.runs.peek import contents
from blocksearch.runs.plan import Request, conditions
from blocksearch.runs.scheduler import opened
from blocksearch.search.course import Course
from blocksearch.search.definition import (
    OPTUNA,
    Definition,
    Judged,
    Wishes,
    check_name,
    define,
    opening,
)
from blocksearch.search.evolution import Evolution
from blocksearch.search.optuna_export import Mirror, forget
from blocksearch.search.policy import ByChance, ByEvolution, Policy, Sampler, Step, Told
from blocksearch.search.storage import StepRow, Studies
from blocksearch.search.trainings import Trainings
from blocksearch.space.candidates import Candidates
from blocksearch.space.grammar import Grammar

Objective = Callable[[Network, int], float | None]


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
    """What is searched: a space and its file's name, budgets in any order, and what else is wished.

    Raises ConfigError for an unfit name or budget.
    """

    space: str
    grammar: Grammar
    budgets: tuple[str, ...]
    wishes: Wishes
    name: str

    def __post_init__(self) -> None:
        check_name(self.name)
        object.__setattr__(
            self, "budgets", tuple(sorted({str(read_budget(text)) for text in self.budgets}))
        )

    @property
    def affordable(self) -> Grammar:
        """The space within the budgets. Raises SpecError where they leave nothing."""
        return self.grammar.where(*(read_budget(text) for text in self.budgets))

    def defined(self, affordable: Grammar, judged: Judged) -> Definition:
        """Return what defines the search. Raises ConfigError or SpecError for what cannot be asked."""
        list(opening(affordable, self.wishes.start_with, self.budgets))
        return define(self.space, self.grammar, self.budgets, affordable, judged, self.wishes)


@dataclass(frozen=True)
class Effort:
    """How long to search: until a study has so many trials and its front its seeds, or `timeout`
    seconds have passed.
    """

    trials: int
    timeout: float | None = None

    def __post_init__(self) -> None:
        if self.trials < 1:
            raise ConfigError(f"--trials must be at least 1, but got {self.trials}")
        if self.timeout is not None and not self.timeout > 0:
            raise ConfigError(f"--timeout must be above 0 seconds, but got {self.timeout:g}")


def search(question: Question, request: Request, effort: Effort, audience: Audience) -> None:
    """Search by training. Raises ConfigError where another driver has the study, or where it was
    begun with something else.
    """
    grammar = question.affordable
    if grammar.enumeration.streamable:
        # so that budgets which leave nothing are said before anything is written
        grammar.enumeration.count()
    shared = conditions(
        request, next(iter(question.grammar.sample(1, 0)))
    )  # of the budgets' few none might be drawn
    definition = question.defined(grammar, Judged.by(shared))
    _refuse_foreign(request.ledger, question.name)
    with (
        _alone(request.ledger, question.name),
        Workers(request.workers, request.device) as workers,
        closing(opened(request.ledger, workers)) as ledger,
    ):
        study = _Study(
            question.name, definition, grammar, ledger, effort, audience, workers.count + 1
        )
        with (
            study.ending(),
            closing(Trainings(study, definition.rungs, shared, ledger, workers)) as trainings,
        ):
            workers.train_as_they_come(trainings.following, trainings.done, lambda _: None)


def evaluate(
    question: Question, objective: Objective, location: str, effort: Effort, audience: Audience
) -> None:
    """Search by calling a function of a network and a seed; it returns percent, or None for a
    network that came to nothing.

    Raises ConfigError for a result that is no percentage; what the function raises is passed on,
    and that step is not stored.
    """
    grammar = question.affordable
    definition = question.defined(grammar, Judged.by_function(objective))
    _refuse_foreign(location, question.name)
    with _alone(location, question.name), closing(Ledger(location)) as ledger:
        study = _Study(question.name, definition, grammar, ledger, effort, audience, 1)
        with study.ending():
            while (step := study.next()) is not None:
                found = objective(study.pool.network(step.row), step.seed)
                if found is not None and not _is_percent(found):
                    raise ConfigError(
                        f"an objective must return percent between 0 and 100, or None, but got {found!r}"
                    )
                study.finish(step, () if found is None else (float(found),), "diverged")


class _Study:
    """A driver's hold on a study: its course, and where each step that counts is written."""

    def __init__(
        self,
        name: str,
        definition: Definition,
        grammar: Grammar,
        ledger: Ledger,
        effort: Effort,
        audience: Audience,
        lag: int,
    ) -> None:
        self._name, self._effort, self._audience = name, effort, audience
        self._studies = Studies(ledger)
        stored, rows = self._studies.definition(name), self._studies.steps(name)
        definition = replace(definition, wishes=_settled(definition.wishes, stored, lag))
        url = ledger.engine.url.render_as_string(hide_password=False)
        if (
            stored is not None and definition.differences(stored) and not rows
        ):  # a first attempt that came to nothing
            forget(url, name)
            self._studies.forget(name)
            stored = None
        _agree(stored, name, definition, ledger)
        self.pool = Candidates(grammar, definition.wishes.seed)
        policy = policy_of(self.pool, definition)
        if stored is None:
            self._studies.add(name, definition.as_data())
        with _making_tables(url):
            self._mirror = Mirror(url, name, definition, self.pool)
        self.course = Course(policy, effort.trials, [self._remembered(row) for row in rows])
        self._mirror.catch_up(rows)
        self._deadline = None if effort.timeout is None else time.monotonic() + effort.timeout
        self._late, self._begun = False, len(rows)
        self._states: dict[int, tuple[str, bool]] = {}
        audience.began(name, len(rows), effort.trials)

    def next(self) -> Step | None:
        """Return the step to take now; None where that has to wait, nothing is left, or the time is
        up.
        """
        self._late = self._deadline is not None and time.monotonic() >= self._deadline
        return None if self._late else self.course.next()

    def finish(
        self, step: Step, accuracies: tuple[float, ...], otherwise: str, *, reused: bool = False
    ) -> None:
        """Take the accuracies of a step, or none and what became of it `otherwise`, and write what
        counts now.
        """
        state = (
            otherwise
            if not accuracies
            else "complete"
            if step.epochs == self.course.policy.rungs[-1]
            else "partial"
        )
        self._states[step.number] = (state, reused)
        counted = [
            (self._row(told), self._states.pop(told.step.number)[1])
            for told in self.course.finish(step, accuracies)
        ]
        self._studies.append(self._name, [row for row, _ in counted])
        for row, was_known in counted:
            self._mirror.add(row)
            self._audience.told(row, self._effort.trials, was_known)

    @contextmanager
    def ending(self) -> Iterator[None]:
        """Let a search run, and say how it ended."""
        try:
            with threadpool_limits(
                1, user_api="blas"
            ):  # small matrices beside busy workers: more threads wait for each other
                yield
        except KeyboardInterrupt:
            self._audience.ended(
                f"interrupted after {self.course.networks} trials; the same command goes on from there"
            )
            raise
        finally:
            self._mirror.close()
        self._audience.ended(self._reason())

    def _reason(self) -> str:
        networks, trials = self.course.networks, self._effort.trials
        if self._late:
            return f"the time is up after {networks} of {trials} trials; the same command goes on from there"
        if networks < trials:
            return f"no network is left that is within the budgets and untrained: the search ends after {networks} trials"
        if len(self.course.told) == self._begun:
            return (
                f"nothing to do: the study has {networks} trials, and --trials {trials} is a total"
            )
        return f"{networks} trials, {len(self.course.told)} steps"

    def _row(self, told: Told) -> StepRow:
        step, network = told.step, self.pool.network(told.step.row)
        memory = step.memory | {"code": [int(level) for level in self.pool.codes[step.row]]}
        return StepRow(
            step.number,
            step.trial,
            step.kind,
            step.origin,
            network.digest,
            format_network(network),
            self.pool.cost(step.row),
            step.seed,
            step.epochs,
            self._states[step.number][0],
            told.accuracies,
            memory,
        )

    def _remembered(self, row: StepRow) -> Told:
        found = self.pool.recall(row.network, row.memory["code"], row.text)
        step = Step(
            row.number, row.trial, row.kind, row.origin, found, row.seed, row.epochs, row.memory
        )
        return Told(step, row.accuracies)


def _is_percent(value: object) -> bool:
    return isinstance(value, Real) and 0 <= float(value) <= 100


def policy_of(pool: Candidates, definition: Definition) -> Policy:
    """Put together what decides the steps of a study."""
    wishes = definition.wishes
    judge = Evolution(pool, definition.frame, wishes.costs)
    sampler: Sampler = (
        ByEvolution(judge, definition.rungs) if wishes.sampler == "evolution" else ByChance(pool)
    )
    if wishes.sampler in OPTUNA:
        from blocksearch.search.samplers import ByOptuna

        sampler = ByOptuna(wishes.sampler, pool, wishes)
    start = [
        (name, pool.row(network))
        for name, network in opening(pool.grammar, wishes.start_with, definition.budgets)
    ]
    return Policy(pool, sampler, judge, start, wishes, definition.rungs)


def _settled(wishes: Wishes, stored: dict[str, Any] | None, lag: int) -> Wishes:
    """Let a new study have the lag that suits this machine, where none is wished, and one that goes
    on the lag that it has.
    """
    if wishes.lag is not None:
        return wishes
    return replace(wishes, lag=lag if stored is None else int(stored["wishes"]["lag"]))


def _agree(
    stored: dict[str, Any] | None, name: str, definition: Definition, ledger: Ledger
) -> None:
    """Raise ConfigError where a study of this name is there and means something else."""
    if stored is None:
        if (
            name
            in contents(ledger.engine.url.render_as_string(hide_password=False), "search").optuna
        ):
            raise _foreign(ledger.location, name)
    elif differences := definition.differences(stored):
        raise ConfigError(
            f"study {name} was begun otherwise ({'; '.join(differences)}): give it another --name, or the old values"
        )


def _refuse_foreign(location: str, name: str) -> None:
    """Raise ConfigError where only Optuna has a study of this name, before anything is written."""
    file = file_of(location)
    if file is None or not file.is_file():
        return
    there = contents(location, "search")
    if name in there.optuna and "search_studies" not in there.tables:
        raise _foreign(location, name)


def _foreign(location: str, name: str) -> ConfigError:
    return ConfigError(
        f"{location} has a study {name} that was made elsewhere: give this one another --name"
    )


@contextmanager
def _alone(location: str, name: str) -> Iterator[None]:
    """Hold a study. Raises ConfigError where another driver does; one that dies lets go."""
    with ExitStack() as stack:
        try:
            stack.enter_context(_locked(_lock_file(location, f"-{name}"), timeout=0))
        except Timeout as error:
            raise ConfigError(
                f"another search is running study {name} in {without_password(location)}: end it, or give this one another --name"
            ) from error
        yield


@contextmanager
def _making_tables(location: str) -> Iterator[None]:
    """Wait until no other driver is opening Optuna's tables: Optuna makes those that it misses as
    if nobody else did.
    """
    with _locked(_lock_file(location, ".tables"), timeout=-1):
        yield


def _lock_file(location: str, ending: str) -> Path:
    """Return a file beside the study's, or for a server's database one on this machine: drivers
    elsewhere do not see that.
    """
    file = file_of(location)
    if file is None:
        digest = hashlib.sha256(location.encode()).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"blocksearch-{digest}{ending}.lock"
    file = file.resolve()
    if file.name in ("", ":memory:"):
        raise ConfigError(f"a study needs a file that remains, but got {location}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{file.parent} cannot be made: {error.strerror}") from error
    return file.with_name(f"{file.name}{ending}.lock")


@contextmanager
def _locked(held: Path, timeout: float) -> Iterator[None]:
    """Hold a lock. Raises Timeout where another process does after so many seconds; -1 waits for it
    to let go, or to end.
    """
    lock = FileLock(held, timeout=timeout)
    lock.acquire()
    try:
        yield
    finally:
        held.unlink(missing_ok=True)
        lock.release()
