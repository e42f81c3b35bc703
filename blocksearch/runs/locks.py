"""Locks files, so that two commands on one database do not train the same group. The one that comes
second waits for the runs of the first.

A hold is a lock on a file beside the checkpoint, let go when its process ends in whatever way.
Where there are no checkpoints (a server's database), or no file can be made, nothing is held: a
training may then be done twice, and its first run counts.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from blocksearch.runs.ledger import Ledger
from blocksearch.runs.records import Group, Run

PAUSE = 1.0  # seconds between two looks at what another command trains


class Holds:
    """The groups that this command holds; all are let go on `close`."""

    def __init__(self) -> None:
        self._locks: dict[Path, FileLock] = {}

    @property
    def any(self) -> bool:
        """Whether a group is held."""
        return bool(self._locks)

    def take(self, group: Group) -> bool:
        """Hold a group; False if another command does."""
        if group.checkpoint is None:
            return True
        file = group.checkpoint.with_suffix(".lock")
        lock = FileLock(file, timeout=0)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout:
            return False
        except OSError:  # nothing can be written there: a training goes on without
            return True
        self._locks[file] = lock
        return True

    def let_go(self, group: Group) -> None:
        """Release a group, because its runs are in the ledger or it is not trained here."""
        if group.checkpoint is not None:
            self._let_go(group.checkpoint.with_suffix(".lock"))

    def close(self) -> None:
        """Release all groups."""
        for file in list(self._locks):
            self._let_go(file)

    def _let_go(self, file: Path) -> None:
        if lock := self._locks.pop(file, None):
            with suppress(OSError):  # a file that stays holds nobody up
                file.unlink(missing_ok=True)
            lock.release()
            with suppress(OSError):  # others are trained there, or it is gone
                file.parent.rmdir()


def in_turn(
    groups: Sequence[Group],
    ledger: Ledger,
    holds: Holds,
    elsewhere: Callable[[Group, list[Run]], None],
) -> Iterator[Group | None]:
    """Yield groups in order, each locked; None if others train all that are left, while some are
    locked here.

    A group that another command has finished meanwhile is passed to `elsewhere`; one that another
    is training comes last.
    """
    waiting = deque(groups)
    while waiting:
        for _ in range(len(waiting)):
            group = waiting.popleft()
            if not holds.take(group):
                waiting.append(group)
                continue
            known = ledger.find(job.key for job in group.jobs)
            if len(known) < len(group.jobs) or any(job.lacks_weights for job in group.jobs):
                yield group
                break
            holds.let_go(group)
            elsewhere(group, [known[job.key] for job in group.jobs])
        else:
            if not waiting:
                return
            if holds.any:
                yield None
            else:
                time.sleep(PAUSE)
