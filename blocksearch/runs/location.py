"""Locates a database, by a file or by a server's URL that is never shown whole.

No URL is ever made from a path: a file is opened by its name alone, whatever letters it has.
"""

import os
import re
import sqlite3
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus

from blocksearch.errors import StoreError, check_type
from blocksearch.files import SQLITE, read_start

if TYPE_CHECKING:
    import sqlalchemy as sa  # loaded once a URL is read: files need none

PATIENCE = 60  # seconds to wait for another command's transaction
LONGEST_NAME = 255 - len("-checkpoints")  # bytes: what lies beside a file has a longer name
LONGEST_PATH = 500  # bytes: SQLite's own limit, less the ending of its log
BESIDE = ("-journal", "-wal", "-shm")  # SQLite opens these by itself
_STEPS, _EVERY = 500, 1_000_000  # a statement ends after so many calls of so many instructions
_SERVER = re.compile(r"(postgres\w*|mysql|mariadb|oracle|mssql|cockroachdb)(\+\w+)?:", re.ASCII)
_BARE = re.compile(r"([A-Za-z][\w+.-]+:)/?[^/@:]*:[^@]*@")  # a URL that lost slashes
_FORM = "is not a database URL that can be used here"


class Location(str):
    """A path, or a URL as SQLAlchemy reads it. As a text it is already safe: no password, no query.

    `file` is None for a server's database and for one in memory. Raises StoreError for what can be
    neither.

    >>> Location("postgresql+psycopg://me:secret@host/runs")
    'postgresql+psycopg://***@host/runs'
    >>> Location("my runs.db").file
    PosixPath('my runs.db')
    """

    file: Path | None
    secret_url: "sa.URL | None"  # of a server: to be handed on, never to be shown
    _hidden: tuple[str, ...] | None  # what a driver must not repeat; None where that is not known

    def __new__(cls, location: str | Path) -> "Location":
        if isinstance(location, Location):
            return location
        check_type("a database", location, str | Path)
        text = os.fspath(location)
        is_url = "://" in text and not text.startswith(("/", "."))
        if not is_url and (server := _SERVER.match(text)) and "@" in text:
            raise StoreError(f"{server[0]}*** {_FORM}: it begins as {server[0]}//")
        if not is_url and (bare := _BARE.match(text)):
            raise StoreError(f"{bare[1]}*** {_FORM}; a file of such a name begins with ./")
        return _read_url(text) if is_url else _made(text, expanded(text))

    def scrubbed(self, said: object) -> str:
        """Return the first line of what a driver said, without what must not be shown."""
        line = next(iter(str(said).splitlines()), "")
        if self._hidden is None or any(len(each) < 4 and each in line for each in self._hidden):
            return "its driver refused it"
        for each in self._hidden:
            line = line.replace(each, "***")
        return line

    @property
    def is_server(self) -> bool:
        """Whether this is a server's database."""
        return self.secret_url is not None

    def connect(self, *, read_only: bool = False) -> sqlite3.Connection:
        """Open the file, or a database in memory, under exactly its name."""
        if self.file is None:
            return _connected(":memory:")
        # with no authority, which a path that begins with two slashes would else be taken for
        name = f"file://{quote(os.fsencode(self.file.absolute()))}?mode="
        if not read_only:
            return _connected(f"{name}rwc")
        if _was_cut_off(self.file):
            found = _connected(f"{name}rw")
            found.execute("PRAGMA query_only=ON")
            return found
        return _connected(f"{name}ro{'&immutable=1' * _is_settled(self.file)}")


def _was_cut_off(file: Path) -> bool:
    """Whether a transaction may have been cut off, which SQLite must roll back before anybody can
    read, and does on a writable connection only.
    """
    try:
        return file.with_name(f"{file.name}-journal").stat().st_size > 0
    except OSError:
        return False


def _is_settled(file: Path) -> bool:
    """Whether a file says that it has a write-ahead log that is not there: readers make one.

    So it is with a copy of the file alone.
    """
    try:
        start = read_start(file, 20)
        return start[18:] == b"\2\2" and not file.with_name(f"{file.name}-wal").exists()
    except OSError:
        return False


class _Connection(sqlite3.Connection):
    """A connection whose statements have a time limit."""

    calls = 0

    def cursor(self, *arguments: Any) -> Any:
        self.calls = 0
        return super().cursor(*arguments)

    def ends(self) -> bool:
        self.calls += 1
        return self.calls > _STEPS


def _connected(name: str) -> sqlite3.Connection:
    found = sqlite3.connect(
        name, uri=True, timeout=PATIENCE, check_same_thread=False, factory=_Connection
    )
    found.set_progress_handler(found.ends, _EVERY)
    return found


def _made(shown: str, file: Path | None, url: "sa.URL | None" = None) -> Location:
    found = str.__new__(Location, shown)
    found.file, found.secret_url, found._hidden = file, url, ()
    return found


def _read_url(text: str) -> Location:
    import sqlalchemy as sa
    from sqlalchemy.exc import ArgumentError

    driver = text.partition("://")[0]
    driver = driver if re.fullmatch(r"[\w+]+", driver) else "***"
    try:
        url = sa.make_url(text)
        backend = url.get_backend_name()
    except (ArgumentError, ValueError) as error:
        raise StoreError(
            f"{driver}://*** {_FORM}: it must be as driver://user:password@host/database"
        ) from error
    if backend == "sqlite":
        plain = url.drivername in ("sqlite", "sqlite+pysqlite") and "?" not in text
        if not plain or url.host or url.username or url.password or url.port:
            raise StoreError(f"{driver}://*** {_FORM}: of SQLite it is sqlite:///PATH")
        in_memory = (url.database or ":memory:") == ":memory:"
        return _made(text, None if in_memory else expanded(url.database or ""))
    host, database = url.host or "", url.database or ""
    # a password with a slash or an @ in it, or without a host, is read as one of the other parts
    odd = not re.fullmatch(r"[\w.:-]*", host) or not re.fullmatch(r"[\w.-]*", database)
    odd = odd or (url.port is not None and not (url.username or database))
    whole = not (odd or url.password or url.query)
    shown = text if whole else f"{driver}://***" + ("" if odd else f"@{host}/{database}")
    found = _made(shown, None, url)
    found._hidden = None if odd else _secrets(url)
    return found


def _secrets(url: "sa.URL") -> tuple[str, ...]:
    values = [str(url.password or "")]
    for value in url.query.values():
        values += [value] if isinstance(value, str) else value
    written = {form for value in values for form in (value, quote(value, ""), quote_plus(value))}
    return tuple(sorted(filter(None, written), key=len, reverse=True))


def expanded(location: str | Path) -> Path:
    """Return a path with its `~` filled in. Raises StoreError for what can name no file."""
    try:
        path = Path(location).expanduser()
        with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            path.lstat()
        name, whole = len(os.fsencode(path.name)), len(os.fsencode(path.absolute()))
    except (OSError, RuntimeError, ValueError) as error:  # a home that is not there, say
        raise StoreError(f"{str(location)!r} is no path of a file: {error}") from error
    if not path.name or str(location).endswith(("/", "/.")):
        raise StoreError(f"{str(location)!r} is a folder, or nothing: a database is a file")
    if name > LONGEST_NAME or whole > LONGEST_PATH:
        raise StoreError(
            f"{str(location)!r} is too long: a database's name has at most {LONGEST_NAME} bytes, "
            f"and its path {LONGEST_PATH}"
        )
    return path


def check_file(path: Path) -> None:
    """Raise StoreError if a file that is there is no database, if it has the name of a log, or if
    something beside it is no log: SQLite would wait for that, write into it or delete it.
    """
    start = b""
    if path.name.endswith(BESIDE):
        raise StoreError(f"{path} has a name that SQLite gives to a log, not to a database")
    for each in (path, *(path.with_name(path.name + ending) for ending in BESIDE)):
        try:
            kind = each.stat().st_mode
            if stat.S_ISDIR(kind):
                raise StoreError(f"{each} is a folder, not a database file")
            if not stat.S_ISREG(kind):
                raise StoreError(f"{each} is not a regular file")
            begins = read_start(each, len(SQLITE))
            if each == path:
                start = begins
            elif begins == SQLITE:
                raise StoreError(f"{each} is a database, which SQLite would take for {path}'s log")
        except FileNotFoundError:
            continue
        except OSError as error:
            raise StoreError(f"{each} cannot be read: {error.strerror}") from error
    if start and start != SQLITE:
        raise StoreError(f"{path} is not a database: it does not begin as one of SQLite")


def check_one_name(path: Path) -> None:
    """Raise StoreError if a file to be written has several names (hard links), because each would
    have its own log, and what is written under one would be lost under the other.
    """
    try:
        found = path.stat()
    except OSError:
        return
    if stat.S_ISREG(found.st_mode) and found.st_nlink > 1:
        raise StoreError(
            f"{path} has {found.st_nlink} names (hard links), of which each would have a log of "
            "its own: write into a copy"
        )
