"""Runs worker processes, which are given a Group and return its Runs. One process per core with one
thread each; they know no database.

Each worker is a pool of its own, so that one that dies takes one training with it and nothing else.
All hold one end of a lifeline: when the driver closes it or dies, they end at once.
"""

import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from multiprocessing import resource_tracker, spawn
from multiprocessing.context import SpawnContext, SpawnProcess
from types import FrameType, ModuleType
from typing import Any, TypeVar

from blocksearch.errors import BlocksearchError, RunError
from blocksearch.runs import worker as process
from blocksearch.runs.devices import find_places
from blocksearch.runs.records import Group, Machine, Run

A = TypeVar("A")
T = TypeVar("T")
Following = Callable[[], Group | None]
Done = Callable[[Group, list[Run]], None]
Begun = Callable[[Group], None]

ATTEMPTS = 2
PATIENCE = 5  # attempts in a search, which may run for days: a step that is given up is lost to it
_STARTING = threading.RLock()  # a start replaces names of the whole process: one thread at a time
ON_ONE_GPU = 2  # while one waits for the processor, the other keeps the device busy


def available_cores() -> int:
    """Return the cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Recorded(SpawnContext):
    """Starts processes anew, and knows which."""

    def __init__(self) -> None:
        super().__init__()
        self.started: list[SpawnProcess] = []
        _quieten_tracker()

    # its name in multiprocessing, where it is a class
    def Process(  # type: ignore[override]  # noqa: N802
        self, *args: Any, **own: Any
    ) -> SpawnProcess:
        made = SpawnProcess(*args, **own)
        self.started = [each for each in self.started if each.exitcode is None] + [made]
        return made


def _quieten_tracker() -> None:
    """Start the process that removes semaphores of a killed driver so that it says nothing."""
    sys.warnoptions.append("ignore:resource_tracker:UserWarning")
    try:
        resource_tracker.ensure_running()
    finally:
        sys.warnoptions.remove("ignore:resource_tracker:UserWarning")


@dataclass(frozen=True)
class Failure:
    """Why a job gave no result."""

    reason: str


class Workers:
    """Worker processes on one or several devices, started when first used; see `Executor`.

    `device` is what `find_places` reads. Worker i, counted from 0, has device i modulo their
    number. Without a `count` there is one for each core, or two that share each GPU.
    """

    def __init__(self, count: int | None = None, device: str = "cpu") -> None:
        self._asked, self._device = count, device
        self._context = _Recorded()
        self._far_end, self._lifeline = self._context.Pipe(duplex=False)
        self._pools = [self._new_pool()]

    @property
    def place(self) -> Machine:
        """Where the first worker trains; all devices are of its kind. Raises ConfigError if
        there is no such device, and RunError if no worker lives long enough to say.
        """
        return self.places[0]

    @cached_property
    def places(self) -> tuple[Machine, ...]:
        """The devices of the workers, in turn."""
        for _ in range(PATIENCE):
            try:
                return _submit(self._pools[0], find_places, self._device).result()
            except BrokenProcessPool:  # killed while it was asked
                self._pools[0] = self._new_pool()
        raise RunError(_died(PATIENCE))

    def check(self) -> None:
        """Raise ConfigError if a GPU was asked for by name and is not there; nothing is started
        for `cpu` or `auto`.
        """
        if self._device not in ("cpu", "auto"):
            _ = self.place

    @cached_property
    def count(self) -> int:
        """How many there are."""
        usual = ON_ONE_GPU * len(self.places)
        return self._asked or (available_cores() if self.place.device == "cpu" else usual)

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._lifeline.close()
        if kind is not None:  # one that is importing torch would hear of the lifeline seconds later
            for worker in self._context.started:
                if worker.is_alive():
                    worker.kill()
        for pool in self._pools:
            pool.shutdown(wait=True, cancel_futures=True)
        self._far_end.close()

    def train(
        self, groups: Iterable[Group | None], done: Done, begun: Begun = lambda _: None
    ) -> None:
        """See `Executor`."""
        for group, answer in self._each(process.train_group, groups, begun):
            done(group, _runs(group, answer))

    def probe(self, groups: Iterable[Group]) -> dict[Group, float]:
        """See `Executor`."""
        return {
            group: seconds
            for group, seconds in self._each(process.probe_group, groups)
            if isinstance(seconds, float)
        }

    def together(self, function: Callable[[Group], T], group: Group) -> list[T]:
        """Run a function in every worker at the same time, so that what it measures has busy
        neighbours.
        """
        self._start()
        running = [self._hand_over(slot, function, group) for slot in range(len(self._pools))]
        return [future.result() for future in running]

    def train_as_they_come(self, following: Following, done: Done, begun: Begun) -> None:
        """See `Executor`."""
        for group, answer in self._stream(process.train_group, following, begun, PATIENCE):
            done(group, _runs(group, answer))

    def _each(
        self,
        function: Callable[[Group], T],
        groups: Iterable[Group | None],
        begun: Begun = lambda _: None,
    ) -> Iterator[tuple[Group, T | Failure]]:
        coming = iter(groups)
        yield from self._stream(function, lambda: next(coming, None), begun)

    def _stream(
        self,
        function: Callable[[Group], T],
        following: Following,
        begun: Begun,
        attempts: int = ATTEMPTS,
    ) -> Iterator[tuple[Group, T | Failure]]:
        again: deque[tuple[Group, int]] = deque()
        free: list[int] | None = None
        running: dict[Future[T], tuple[int, Group, int]] = {}
        while True:
            while free is None or free:
                group = again[0][0] if again else following()
                if group is None:
                    break
                attempt = again.popleft()[1] if again else 1
                if free is None:
                    self._start()
                    free = list(range(self.count))
                slot = free.pop()
                running[self._hand_over(slot, function, group)] = (slot, group, attempt)
                if attempt == 1:
                    begun(group)
            if not running:
                return
            assert free is not None
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                slot, group, attempt = running.pop(future)
                free.append(slot)
                try:
                    yield group, future.result()
                except BlocksearchError:
                    raise
                except BrokenProcessPool:
                    self._pools[slot] = self._new_pool()
                    if attempt < attempts:
                        again.append((group, attempt + 1))
                    else:
                        yield group, Failure(_died(attempts))
                except Exception as error:
                    # whatever a training raised becomes the reason of its row
                    yield group, Failure(process.reason_of(error))

    def _hand_over(self, slot: int, function: Callable[[Group], T], group: Group) -> Future[T]:
        here = group
        if self._device != "cpu":
            here = replace(group, device=self.places[slot % len(self.places)].device)
        try:
            return _submit(self._pools[slot], function, here)
        except BrokenProcessPool:  # the worker was killed while it had nothing to do
            self._pools[slot] = self._new_pool()
            return _submit(self._pools[slot], function, here)

    def _start(self) -> None:
        self._pools += [self._new_pool() for _ in range(self.count - len(self._pools))]

    def _new_pool(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            1, self._context, initializer=process.start_worker, initargs=(self._far_end,)
        )


def _died(times: int) -> str:
    return f"its worker process died {times} times (killed, or out of memory)"


def _submit(pool: ProcessPoolExecutor, function: Callable[[A], T], argument: A) -> Future[T]:
    """Hand over work, which may start a worker."""
    # A worker starts with the driver's signals blocked, because one could come before it is ignored
    # by `start_worker`, or while the driver has only half started it.
    before = (
        signal.pthread_sigmask(signal.SIG_BLOCK, process.DRIVERS)
        if hasattr(signal, "pthread_sigmask")
        else ()
    )
    try:
        with _STARTING, _deferring(), _quiet_starts():
            return pool.submit(function, argument)
    finally:
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _quiet_starts() -> Iterator[None]:
    """Hide the user's script while a worker starts, because the worker would run it again and needs
    only our modules. So one that trains works without `if __name__ == "__main__"`.

    End a worker whose driver is killed while it starts without a traceback, because its input
    and the semaphores are gone. A killed process closes its files a moment before its children have
    another parent.
    """
    script, command = sys.modules["__main__"], spawn.get_command_line

    def quiet(**ends: Any) -> list[str]:
        line = command(**ends)
        if "-c" in line:
            program = line.index("-c") + 1
            line[program] = (
                f"import os, time\ntry: {line[program]}\nexcept (EOFError, OSError):\n"
                f"  time.sleep(1)\n  if os.getppid() == {os.getpid()}: raise"
            )
        return line

    sys.modules["__main__"], spawn.get_command_line = ModuleType("__main__"), quiet
    try:
        yield
    finally:
        sys.modules["__main__"] = script
        spawn.get_command_line = command


@contextmanager
def _deferring() -> Iterator[None]:
    """Defer signals, because a worker killed during its start would print a traceback."""
    came: list[tuple[int, FrameType | None]] = []
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        heard = [each for each in process.DRIVERS if callable(signal.getsignal(each))]
        before = {
            each: signal.signal(each, lambda *signalled: came.append(signalled)) for each in heard
        }
    try:
        yield
    finally:
        for each, answer in before.items():
            signal.signal(each, answer)
    for number, frame in came:
        before[number](number, frame)


def _runs(group: Group, answer: list[Run] | Failure) -> list[Run]:
    return (
        [process.failed_run(job, answer.reason) for job in group.jobs]
        if isinstance(answer, Failure)
        else answer
    )
