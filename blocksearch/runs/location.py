"""Where a database is: a file or an SQLAlchemy URL, checked before it is opened."""

import re
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError

from blocksearch.errors import StoreError

_SQLITE_HEADER = b"SQLite format 3\0"


def without_password(location: str) -> str:
    """Return a location as it may be shown."""
    return re.sub(r"(://[^:/@]*):[^@/]*@", r"\1:***@", location)


def expanded(location: str | Path) -> Path:
    """Return a path with its `~` filled in. Raises StoreError for what can name no file."""
    try:
        path = Path(location).expanduser()
        path.exists()
    except (
        OSError,
        RuntimeError,
        ValueError,
    ) as error:  # a name that is too long, a home that is not there
        raise StoreError(f"{str(location)!r} is no path of a file: {error}") from error
    return path


def file_url(path: Path, create: bool, made_by: str) -> str:
    """Return the URL of a ledger's file, or say in a StoreError why there is, or can be, none."""
    if path.is_dir():
        raise StoreError(f"{path} is a folder, not a ledger file")
    if not path.exists():
        if not create:
            raise StoreError(
                f"{path} is not there; `blocksearch "
                f"{made_by or f'ablate --factor residual --db {path}'}` would make it"
            )
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{path.parent} cannot be made: {error.strerror}") from error
    elif not path.is_file():
        raise StoreError(f"{path} is not a regular file")
    else:
        try:
            with path.open("rb") as file:
                start = file.read(len(_SQLITE_HEADER))
        except OSError as error:
            raise StoreError(f"{path} cannot be read: {error.strerror}") from error
        if start and start != _SQLITE_HEADER:
            raise StoreError(f"{path} is not a ledger: it does not begin as an SQLite database")
    return f"sqlite:///{path}"


def url_of(location: str) -> str:
    """Return the URL by which another library opens a location, with whatever password it has: to
    be handed on, never to be shown.
    """
    file = file_of(location)
    if file is None:
        return location
    return sa.URL.create("sqlite", database=str(file)).render_as_string(hide_password=False)


def file_of(location: str) -> Path | None:
    """Return the file of a location; None where it is a server's database. Raises StoreError where
    it can be no file.
    """
    if "://" not in location:
        return expanded(location)
    try:
        url = sa.make_url(location)
    except (ArgumentError, ValueError):
        return None
    return expanded(url.database or ":memory:") if url.get_backend_name() == "sqlite" else None
