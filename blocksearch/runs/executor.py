"""Defines an executor, which is given groups of jobs, trains them and returns their runs; it knows
no database.

A user's own, for a cluster say, is a class with the methods of `Executor`, made with a count of
workers and a device, and put into `EXECUTORS` by its name.
"""

from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Protocol, Self

from blocksearch.errors import BlocksearchError, unknown
from blocksearch.runs import worker
from blocksearch.runs.devices import find_places
from blocksearch.runs.processes import Begun, Done, Following, Workers
from blocksearch.runs.records import Group, Machine


class Executor(Protocol):
    """Trains groups of jobs somewhere; a context manager that ends what it started.

    What a group gives depends on the group and the kind of device alone, never on which worker
    trains it. Groups are returned as they were given.
    """

    @property
    def place(self) -> Machine:
        """Where trainings run. Raises ConfigError if there is no such device."""

    @property
    def count(self) -> int:
        """How many groups are trained at once."""

    def check(self) -> None:
        """Raise ConfigError if a device was asked for that is not there."""

    def probe(self, groups: Iterable[Group]) -> dict[Group, float]:
        """Estimate the seconds that each group would take; one that fails is left out. Groups are
        given until the time for probes is over, so ask for the next one as late as possible.
        """

    def train(
        self, groups: Iterable[Group | None], done: Done, begun: Begun = lambda _: None
    ) -> None:
        """Train every group, and call `begun` and `done` in the caller's thread for each, failed
        ones too. None among the groups means that nothing can start until a running one is done.
        """

    def train_as_they_come(self, following: Following, done: Done, begun: Begun) -> None:
        """Train what `following` gives, asked whenever a worker is free; it ends when none is given
        and none is running.
        """

    def __enter__(self) -> Self:
        """Begin."""

    def __exit__(self, kind: object, *_: object) -> None:
        """End what was started, at once where something was raised."""


class Serial:
    """Trains in this process, one group after the other: for a debugger, and where no process can
    be started. The bits are those of a worker.
    """

    count = 1

    def __init__(self, count: int | None = None, device: str = "cpu") -> None:
        self._device = device

    @cached_property
    def place(self) -> Machine:
        """See `Executor`."""
        return find_places(self._device)[0]

    def check(self) -> None:
        """See `Executor`."""
        _ = self.place

    def __enter__(self) -> Self:
        self._restore = worker.set_up_torch()
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def probe(self, groups: Iterable[Group]) -> dict[Group, float]:
        """See `Executor`."""
        found = {}
        for group in groups:
            try:
                found[group] = worker.probe_group(group)
            except Exception as error:  # what is no error of ours is said by its training
                if isinstance(error, BlocksearchError):
                    raise
        return found

    def train(
        self, groups: Iterable[Group | None], done: Done, begun: Begun = lambda _: None
    ) -> None:
        """See `Executor`."""
        coming = iter(groups)
        self.train_as_they_come(lambda: next(coming, None), done, begun)

    def train_as_they_come(self, following: Following, done: Done, begun: Begun) -> None:
        """See `Executor`."""
        while (group := following()) is not None:
            begun(group)
            try:
                runs = worker.train_group(group)
            except BlocksearchError:
                raise
            except Exception as error:
                runs = [worker.failed_run(job, worker.reason_of(error)) for job in group.jobs]
            done(group, runs)


EXECUTORS: dict[str, Callable[[int | None, str], Executor]] = {
    "processes": Workers,
    "serial": Serial,
}


def start(executor: str, workers: int | None, device: str) -> Executor:
    """Make an executor by its name. Raises ConfigError for an unknown one."""
    if executor not in EXECUTORS:
        raise unknown("executor", executor, EXECUTORS)
    return EXECUTORS[executor](workers, device)
