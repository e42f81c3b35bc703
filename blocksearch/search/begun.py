"""Resumes a study as it was begun, or refuses a command that means another one. A lock on a file
beside the study's allows one driver at a time.
"""

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from blocksearch.errors import BlocksearchError, ConfigError, StoreError
from blocksearch.files import check_folder
from blocksearch.runs.ledger import Ledger
from blocksearch.runs.location import PATIENCE, Location
from blocksearch.runs.peek import contents
from blocksearch.search.config import StudyConfig
from blocksearch.search.definition import StudyDefinition
from blocksearch.search.trials import TABLES, Studies, foreign
from blocksearch.space.grammar import Grammar

LONGEST = 200  # bytes of a lock's name; file systems take 255, and some need a few of their own


def in_its_order(grammar: Grammar, config: StudyConfig, location: str) -> Grammar:
    """Return a space with its factors in the order of the study, if there is one, because the order
    of keywords numbers networks, though it makes no other space.
    """
    stored, _ = _stored(location, config.name)
    described = stored.get("described") if stored else None
    if not described or len(described) != len(grammar.parts):
        return grammar
    if any(
        len(part.options) != len(own["options"])
        for part, own in zip(grammar.parts, described, strict=True)
    ):
        return grammar
    return grammar.in_order_of(described)


def _stored(location: str, name: str) -> tuple[dict[str, Any] | None, bool]:
    """Return the definition of a study, if there is one, and whether it has trials."""
    file = Location(location).file
    if (file is not None and not file.is_file()) or (not contents(location).tables & TABLES):
        return None, False
    with closing(Ledger(location, create=False)) as ledger:
        studies = Studies(ledger)
        return studies.definition(name), bool(studies.trials(name))


def check_goes_on(definition: StudyDefinition, location: str) -> None:
    """Raise ConfigError if a search would not begin a study, nor go on with one; nothing is
    written.
    """
    name = definition.config.name
    refuse_foreign(location, name)
    stored, has_trials = _stored(location, name)
    if stored is not None and has_trials:
        agree(stored, replace(definition, config=settled(definition.config, stored, 0)), location)


def settled(config: StudyConfig, stored: dict[str, Any] | None, pending: int) -> StudyConfig:
    """Set how many trainings a study has in flight, to what suits this machine if it is new and the
    user gave no number, else to what it had.
    """
    if config.max_pending is not None:
        return config
    known = pending if stored is None else int(stored["wishes"]["lag"])
    return replace(config, max_pending=known)


def agree(stored: dict[str, Any] | None, definition: StudyDefinition, location: str) -> None:
    """Raise ConfigError if a study of this name is there and means something else."""
    name = definition.config.name
    if stored is None:
        there = contents(location)
        if name in foreign(there, location, {*there.optuna} - {name}):
            raise _foreign(location, name)
    elif differences := definition.differences(stored):
        raise ConfigError(
            f"study {name} was begun otherwise ({'; '.join(differences)}): give it another "
            "`name`, or the old values"
        )


def refuse_foreign(location: str, name: str) -> None:
    """Raise ConfigError if only Optuna has a study of this name, before anything is written."""
    file = Location(location).file
    if file is None or not file.is_file():
        return
    there = contents(location)
    if not there.tables & TABLES and name in foreign(there, location, ()):
        raise _foreign(location, name)


def _foreign(location: str, name: str) -> ConfigError:
    return ConfigError(
        f"{Location(location)} has a study {name} that was made elsewhere: give this one "
        "another name"
    )


def alone(location: str, name: str) -> AbstractContextManager[None]:
    """Hold a study. Raises ConfigError if another driver does; one that dies lets go."""
    busy = ConfigError(
        f"another search is running study {name} in {Location(location)}: end it, or give this one "
        "another name"
    )
    return _locked(_lock_file(location, f"-{name}"), 0, busy)


def making_tables(location: str) -> AbstractContextManager[None]:
    """Wait until no other driver opens Optuna's tables, because Optuna creates missing ones without
    a lock. Raises StoreError after the time limit of a transaction.
    """
    held = _lock_file(location, ".tables")
    busy = StoreError(
        f"{Location(location)}: another search has been opening it for {PATIENCE} seconds "
        f"(it holds {held}): let that one go on, or end it"
    )
    return _locked(held, PATIENCE, busy)


def _lock_file(location: str, ending: str) -> Path:
    """Return a file beside the study's, or for a server's database one on this machine, which
    drivers elsewhere do not see.
    """
    where = Location(location)
    if where.secret_url is not None:
        url = where.secret_url.render_as_string(hide_password=False)
        digest = hashlib.sha256(url.encode(errors="surrogateescape")).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"blocksearch-{digest}{ending}.lock"
    if where.file is None:
        raise ConfigError(f"a study needs a file that remains, but got {where}")
    check_folder(where.file, "a database")
    file = where.file.resolve()
    try:
        file.parent.mkdir(exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{file.parent} cannot be made: {error.strerror}") from error
    name = f"{file.name}{ending}.lock"
    if len(name.encode(errors="surrogateescape")) > LONGEST:
        name = f"{hashlib.sha256(name.encode(errors='surrogateescape')).hexdigest()[:32]}.lock"
    return file.with_name(name)


@contextmanager
def _locked(held: Path, timeout: float, busy: BlocksearchError) -> Iterator[None]:
    """Hold a lock. Raises `busy` where another process does after so many seconds."""
    lock = FileLock(held, timeout=timeout)
    try:
        lock.acquire()
    except Timeout as error:
        if held.exists():
            raise busy from error
        raise StoreError(f"{held} cannot be made") from error  # which looks as if it were held
    except OSError as error:
        raise StoreError(f"{held} cannot be made: {error.strerror}") from error
    try:
        yield
    finally:
        with suppress(OSError):  # a file that stays holds nobody up
            held.unlink(missing_ok=True)
        lock.release()
