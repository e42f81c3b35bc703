"""Writes files whole or not at all, and refuses to open what is no regular file."""

import errno
import glob
import os
import platform
import re
import secrets
import stat
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import IO

from blocksearch.errors import ConfigError

RESULTS = Path("results")  # the one folder that is made for what a command keeps; git ignores it
NEW = ".new"  # ends the name of a file that is not in its place yet
_HERE = sha256(platform.node().encode()).hexdigest()[:6]  # a folder may be shared by machines
_LONGEST_NAME = 200  # bytes of it that the new file's name has; a file system takes 255
MOST_TEXT = 2**30  # bytes of a text that is read whole
_SCHEME = re.compile(r"[A-Za-z][\w+.-]+:(?:[^:@]*:.*@.*)?")
SQLITE = b"SQLite format 3\0"  # begins a database
_DATABASES = (  # how SQLite's files begin: a database, its journal, its log of either byte order
    SQLITE,
    b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7",
    b"\x37\x7f\x06\x82",
    b"\x37\x7f\x06\x83",
)
_OWN_FILES = Path("/dev/fd")  # the descriptors of this process, where a system has such a folder
_KINDS = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}


def check_regular(path: Path, *, may_be_new: bool = False) -> None:
    """Refuse what is no regular file, which might be waited for without end. Raises OSError.

    >>> check_regular(Path("."))
    Traceback (most recent call last):
    IsADirectoryError: [Errno 21] it is a folder, not a regular file: '.'
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        if may_be_new:
            return
        raise
    except (ValueError, RuntimeError) as error:  # a null byte, or links in a circle
        raise OSError(errno.EINVAL, str(error), str(path)) from error
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "a device")
        code = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
        raise OSError(code, f"it is {kind}, not a regular file", str(path))


def check_output(path: Path) -> None:
    """Refuse to replace what is no regular file, and any database of SQLite or the log of one.
    Raises OSError.
    """
    check_regular(path, may_be_new=True)
    try:
        begins = read_start(path, len(SQLITE))
    except OSError:  # not there, or one that may be written only
        return
    if begins.startswith(_DATABASES):
        raise OSError(errno.EEXIST, "it is a database, which is not replaced", str(path))


def check_suffix(suffix: str) -> str:
    """Return a suffix under which a format is registered. Raises ConfigError for another text.

    >>> check_suffix(".onnx")
    '.onnx'
    """
    if not re.fullmatch(r"\.[a-z0-9_-]+", suffix):
        raise ConfigError(
            f"a suffix is one dot, then lower case letters or digits, but got {suffix!r}"
        )
    return suffix


def check_folder(path: Path, what: str) -> None:
    """Refuse what would be kept in a folder that is missing, unless that is `results`, which is
    made: a misspelt path makes no folders. Raises ConfigError.

    >>> check_folder(Path("results/a.db"), "a database")
    >>> check_folder(Path("no/a.db"), "a database")
    Traceback (most recent call last):
    blocksearch.errors.ConfigError: a database is saved in a folder that exists, but got no/a.db
    """
    try:
        if path.parent != RESULTS and not path.parent.is_dir():
            raise ConfigError(f"{what} is saved in a folder that exists, but got {path}")
    except (OSError, ValueError) as error:
        raise _unwritable(path, error) from error


def check_place(path: Path, what: str) -> None:
    """Refuse a place in which a file cannot be written, before anything is made for it.

    Raises ConfigError.

    >>> check_place(Path("no/a.html"), "an answer")
    Traceback (most recent call last):
    blocksearch.errors.ConfigError: an answer is saved in a folder that exists, but got no/a.html
    """
    check_folder(path, what)
    try:
        check_output(path)
        if not os.access(path.parent if path.parent.exists() else Path(), os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except (OSError, ValueError) as error:
        raise _unwritable(path, error) from error


def read_start(path: Path, count: int) -> bytes:
    """Read the first bytes of a file that may be a database, which stays locked as it was.

    A process loses its locks of a file when it closes any descriptor of it (POSIX, close); SQLite's
    too, so that another process takes a log away that is in use here. Where this process has the
    file open, it is read through that. Raises OSError.
    """
    this = path.stat()
    with suppress(OSError):
        for each in [int(own.name) for own in _OWN_FILES.iterdir()]:
            with suppress(OSError):  # one that has been closed, as that of the list itself
                if os.path.samestat(os.fstat(each), this):
                    return os.pread(each, count, 0)
    with path.open("rb") as file:
        return file.read(count)


def read_text(path: Path) -> str:
    """Read a text in UTF-8, with a byte-order mark or without, and every end of a line as it is.

    Raises OSError for what is no regular file or has more than `MOST_TEXT` bytes,
    UnicodeDecodeError for other ones.
    """
    check_regular(path)
    if path.stat().st_size > MOST_TEXT:
        raise OSError(errno.EFBIG, f"it has more than {MOST_TEXT:,} bytes", str(path))
    with path.open(encoding="utf-8-sig", newline="") as file:
        return file.read()


def check_is_path(path: Path) -> Path:
    """Refuse a URL where a folder is made: it would be one of its name; and what can name nothing.
    Raises OSError.
    """
    first, *rest = path.parts or ("",)
    try:
        with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            path.stat()
    except ValueError as error:
        raise OSError(errno.EINVAL, f"{str(path)!r} is no path: {error}") from error
    if rest and _SCHEME.fullmatch(first) and not Path(first).exists():
        raise OSError(errno.EINVAL, f"it is a URL ({first}//…), not a path of this machine")
    return path


def replace_file(path: Path, content: bytes | Callable[[IO[bytes]], object]) -> None:
    """Write beside a file, sync, and put the new one in its place; where that fails, what stood
    there stays as it was. Raises OSError.

    `content` is the file's, or a function that writes it.
    """
    check_output(path)
    target = path.resolve()  # through a link, so that the link stays
    own = f"{_HERE}-{os.getpid()}-{secrets.token_hex(4)}"
    start = os.fsdecode(os.fsencode(target.name)[:_LONGEST_NAME])
    new = target.with_name(f"{start}.{own}{NEW}")
    _remove_left(target.parent, f"{start}.{_HERE}-")
    try:
        with new.open("xb") as file:
            if isinstance(content, bytes):
                file.write(content)
            else:
                content(file)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileNotFoundError):
            new.chmod(stat.S_IMODE(target.stat().st_mode))
        new.replace(target)
    except BaseException:
        with suppress(OSError):
            new.unlink()
        raise
    _sync_folder(target.parent)


def write_file(path: Path, content: bytes | Callable[[IO[bytes]], object]) -> None:
    """Write a file as `replace_file` does. Raises ConfigError if it cannot be written."""
    try:
        if path.parent == RESULTS:
            RESULTS.mkdir(exist_ok=True)
        replace_file(path, content)
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: Exception) -> ConfigError:
    return ConfigError(f"{path} cannot be written: {getattr(error, 'strerror', None) or error}")


def _remove_left(folder: Path, begins: str) -> None:
    """Remove what processes of this machine that were killed have left of a file."""
    for left in folder.glob(f"{glob.escape(begins)}*{NEW}"):
        writer = left.name.removeprefix(begins).partition("-")[0]
        with suppress(OSError, ValueError):
            try:
                os.kill(int(writer), 0)
            except ProcessLookupError:
                left.unlink()


def _sync_folder(folder: Path) -> None:
    """Have the new name on the disk, too, where the system can."""
    with suppress(OSError):
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
