"""One driver at a time for a study, by a lock on a file beside the study's."""

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from blocksearch.errors import ConfigError, StoreError
from blocksearch.runs.location import PATIENCE, Location

LONGEST = 200  # bytes of a lock's name; file systems take 255, and some need a few of their own


@contextmanager
def alone(location: str, name: str) -> Iterator[None]:
    """Hold a study. Raises ConfigError where another driver does; one that dies lets go."""
    with ExitStack() as stack:
        try:
            stack.enter_context(_locked(_lock_file(location, f"-{name}"), timeout=0))
        except Timeout as error:
            raise ConfigError(
                f"another search is running study {name} in {Location(location)}: end "
                "it, or give this one another name"
            ) from error
        yield


@contextmanager
def making_tables(location: str) -> Iterator[None]:
    """Wait until no other driver is opening Optuna's tables: Optuna makes those that it misses as
    if nobody else did. Raises StoreError where one goes on to for longer than a transaction may.
    """
    held = _lock_file(location, ".tables")
    with ExitStack() as stack:
        try:
            stack.enter_context(_locked(held, timeout=PATIENCE))
        except Timeout as error:
            raise StoreError(
                f"{Location(location)}: another search has been opening it for {PATIENCE} seconds "
                f"(it holds {held}): let that one go on, or end it"
            ) from error
        yield


def _lock_file(location: str, ending: str) -> Path:
    """Return a file beside the study's, or for a server's database one on this machine: drivers
    elsewhere do not see that.
    """
    where = Location(location)
    if where.secret_url is not None:
        url = where.secret_url.render_as_string(hide_password=False)
        digest = hashlib.sha256(url.encode(errors="surrogateescape")).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"blocksearch-{digest}{ending}.lock"
    if where.file is None:
        raise ConfigError(f"a study needs a file that remains, but got {where}")
    file = where.file.resolve()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{file.parent} cannot be made: {error.strerror}") from error
    name = f"{file.name}{ending}.lock"
    if len(name.encode(errors="surrogateescape")) > LONGEST:
        name = f"{hashlib.sha256(name.encode(errors='surrogateescape')).hexdigest()[:32]}.lock"
    return file.with_name(name)


@contextmanager
def _locked(held: Path, timeout: float) -> Iterator[None]:
    """Hold a lock. Raises Timeout where another process does after so many seconds."""
    lock = FileLock(held, timeout=timeout)
    try:
        lock.acquire()
    except Timeout:
        raise
    except OSError as error:
        raise StoreError(f"{held} cannot be made: {error.strerror}") from error
    try:
        yield
    finally:
        with suppress(OSError):  # a file that stays holds nobody up
            held.unlink(missing_ok=True)
        lock.release()
