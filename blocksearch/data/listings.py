"""Lists the pictures of a folder or of a listing, with class, part and group; opens none."""

import csv
import io
import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from hashlib import sha256
from pathlib import Path

from blocksearch.data.config import DataConfig
from blocksearch.data.datasets import one_line
from blocksearch.errors import ConfigError, DataError
from blocksearch.files import check_regular

NO_PICTURES = (
    ".csv", ".tsv", ".txt", ".md", ".json", ".xml", ".html", ".yaml", ".yml", ".db", ".ini",
    ".py", ".npy", ".npz", ".log", ".url",
)  # fmt: skip
# files that may lie beside pictures; all others are pictures, or are refused
LEFT_BEHIND = "__MACOSX"  # a folder beside pictures, in archives of that system
MOST_BYTES = 2**28  # of a listing


class Purpose(StrEnum):
    """What images are for, where a user says so."""

    TRAIN = "train"
    VALIDATION = "val"
    TEST = "test"


PART_NAMES = {"train": Purpose.TRAIN, "training": Purpose.TRAIN, "": Purpose.TRAIN} | {
    **dict.fromkeys(("val", "valid", "validation"), Purpose.VALIDATION),
    **dict.fromkeys(("test", "testing"), Purpose.TEST),
}
PARTS_SAID = "split must be train, val or test"
SAME = "training, valid, validation and testing mean the same"
COLUMNS = {
    "path": ("path", "file", "filename", "image"),
    "label": ("label", "class", "target"),
    "group": ("group",),
    "split": ("split", "part"),
}


@dataclass(frozen=True, kw_only=True)
class ListedPicture:
    """A picture: its file, the name of its class, what it is for, and its group or None.

    `damage` says why a folder of pictures cannot be looked into, and is in the place of them. What
    would be a class, but is none, has no label.
    """

    path: Path
    label: str
    part: Purpose
    group: str | None
    damage: str = ""


@dataclass(frozen=True)
class Listing:
    """The pictures of a source, in an order that does not depend on the machine. `what` is how
    messages call it.
    """

    what: str
    entries: tuple[ListedPicture, ...]

    @property
    def stamp(self) -> str:
        """Digest what changes if a picture does: paths, sizes and times of change, and labels."""
        whole = sha256()
        for each in self.entries:
            try:
                stat = each.path.stat()
                seen = (stat.st_size, stat.st_mtime_ns)
            except OSError:
                seen = (-1, -1)
            told = (os.fsencode(each.path), seen, os.fsencode(each.label), each.part, each.group)
            whole.update(f"{told!r}{each.damage}".encode("utf-8", "surrogateescape"))
        return whole.hexdigest()


def listing(source: Path, config: DataConfig) -> Listing:
    """List the pictures of a folder or a .csv file. Raises DataError or ConfigError."""
    try:
        if source.is_dir():
            return Listing(f"{source.name or source}/", tuple(_folder(source, config)))
        return Listing(source.name, tuple(_table(source, config)))
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"{error.filename or source} cannot be read: {reason}") from error


def _folder(folder: Path, config: DataConfig) -> Iterator[ListedPicture]:
    group = _by_path(config.group_by)
    for part, below in _parts(folder):
        above = (_real(folder), _real(below))
        found: dict[str, list[tuple[Path, str]]] = {}
        for entry in _inside(below):
            path = Path(entry)
            if _is(entry.is_dir) and not _leads_back(_real(path), above):
                found[entry.name] = list(_walk(path, above))
            elif not is_picture(entry.name):
                continue
            elif _is(entry.is_file):
                raise DataError(
                    f"{below}: pictures lie in a folder for each class, but {entry.name} does not"
                )
            else:  # a class that is not there, or that is all of them again
                for each, damage in _walk(path, above):
                    yield ListedPicture(path=each, label="", part=part, group=None, damage=damage)
        if not found:
            raise DataError(f"{below}: there must be a folder for each class, but there is none")
        _check_spelling(found, below)
        for label, files in sorted(found.items()):
            if not files and part is Purpose.TRAIN:
                raise DataError(f"{below}: each class has pictures, but {label!r} has none")
            for path, damage in files:
                own = None if damage else group(path.relative_to(folder).as_posix())
                yield ListedPicture(path=path, label=label, part=part, group=own, damage=damage)


def _parts(folder: Path) -> list[tuple[Purpose, Path]]:
    """Find the folders of training, validation and test pictures: the folder itself where it is
    not divided.
    """
    folders = [entry.name for entry in _inside(folder) if _is(entry.is_dir)]
    known = {name: PART_NAMES[name.lower()] for name in folders if name.lower() in PART_NAMES}
    others = [name for name in folders if name not in known]
    if Purpose.TRAIN not in known.values() or (others and len(known) == 1):
        if known and (same := _same_inside([folder / name for name in folders])):
            raise DataError(
                f"{folder}: pictures are divided into folders train, and maybe val and test, but "
                f"there are {', '.join(folders)[:100]}, with {same!r} in each"
            )
        for name in known:
            inside = {each.name for each in _inside(folder / name) if _is(each.is_dir)}
            if own := inside & {*others}:
                where = f"{folder}: {min(own)!r} lies both beside {name} and in it"
                raise DataError(f"{where}: then what is learned from lies in train")
        return [(Purpose.TRAIN, folder)]
    if others:
        raise DataError(
            f"{folder}: beside {', '.join(known)} there is no other folder, but there is "
            f"{others[0]}"
        )
    if len(set(known.values())) < len(known):
        raise DataError(f"{folder}: {', '.join(known)} mean the same twice")
    return sorted((part, folder / name) for name, part in known.items())


def _same_inside(folders: Sequence[Path]) -> str:
    """Return a folder that several folders have inside, where these have nothing else: a class, so
    that they are parts of a set, whatever they are called.
    """
    inside = [_inside(each) for each in folders]
    if len(inside) < 2 or not all(_is(each.is_dir) for entries in inside for each in entries):
        return ""
    return min(set.intersection(*({each.name for each in own} for own in inside)), default="")


def _inside(folder: Path) -> list["os.DirEntry[str]"]:
    with os.scandir(folder) as entries:
        shown = (each for each in entries if each.name[0] != "." and each.name != LEFT_BEHIND)
        return sorted(shown, key=lambda each: each.name)


def _is(kind: Callable[[], bool]) -> bool:
    """Whether something is of a kind, such as `entry.is_dir`; what cannot be reached is of none."""
    try:
        return kind()
    except OSError:  # such as a link to itself: who opens it says what is wrong
        return False


def _real(path: Path) -> Path:
    """Return where a path leads; unlike pathlib's, a link to itself is no error."""
    return Path(os.path.realpath(path))


def _leads_back(real: Path, above: Sequence[Path]) -> bool:
    """Whether a folder has one of those in it that it was reached by."""
    return any(each.is_relative_to(real) for each in above)


def _walk(folder: Path, above: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """Yield the pictures below a folder, in order, and instead of a folder's that cannot be looked
    into the reason, such as a link back to what it was reached by: the folders `above`, and on.

    A folder to which several links lead is looked into once.
    """
    seen = set()
    waiting = [(folder, True, tuple(above))]
    while waiting:
        path, is_folder, above = waiting.pop()
        if not is_folder:
            yield path, ""
        elif _leads_back(real := _real(path), above):
            yield path, f"{path} is a link back to a folder that it lies in"
        elif real not in seen:
            seen.add(real)
            try:
                inner = _inside(path)
            except OSError as error:
                yield path, f"{path} cannot be read: {error.strerror or error}"
                continue
            below = (*above, real)
            found = [(Path(each), _is(each.is_dir), below) for each in reversed(inner)]
            waiting += [each for each in found if each[1] or is_picture(each[0].name)]


def is_picture(name: str) -> bool:
    """Return whether a file of a folder is taken for a picture, by its name."""
    return not name.lower().endswith(NO_PICTURES) and name.lower() != "readme"


def _check_spelling(names: Iterable[str], where: Path) -> None:
    """Raise DataError for names of one class that differ in nothing but how they are written."""
    seen: dict[str, str] = {}
    for name in sorted(names):
        plain = unicodedata.normalize("NFKC", name)
        key = re.sub(r"[\s_-]+", " ", plain).strip()
        key = key if len(key) == 1 else key.casefold()  # letters as classes: a and A are two
        if key in seen:
            raise DataError(
                f"{where}: classes have one spelling each, but there are {seen[key]!r} and {name!r}"
            )
        seen[key] = name


def _by_path(pattern: str | None, columns: Sequence[str] = ()) -> Callable[[str], str | None]:
    """Return what finds the group of a picture by its path. Raises ConfigError for no pattern.

    A listing's `columns` are said where the pattern may have been meant for one.
    """
    there = f"; columns are {', '.join(columns)}"[:200] if columns else ""
    if pattern is None:
        return lambda _: None
    try:
        known = re.compile(pattern)
    except re.error as error:
        raise ConfigError(
            f"group_by must be a column or a regular expression, but {pattern!r} is not: {error}"
            f"{there}"
        ) from error

    def group(path: str) -> str:
        if (found := known.search(path)) is None:
            what = "be a column or match each path" if columns else "match each path"
            raise ConfigError(f"group_by must {what}, but {pattern!r} is not in {path!r}{there}")
        if not (name := found[1 if known.groups else 0]):
            raise ConfigError(f"group_by must give a group, but {pattern!r} gives none of {path!r}")
        return name

    return group


def _table(file: Path, config: DataConfig) -> Iterator[ListedPicture]:
    """Read a listing: a head with path and label, and maybe group and split, then a picture a row.

    Columns are separated by commas, semicolons or tabs, as a spreadsheet writes them.
    """
    names, rows = _rows(file)
    if twice := [name for name in names if name and names.count(name) > 1]:
        raise DataError(f"{file}: columns have a name each, but {twice[0][:50]!r} is there twice")
    places = {key: _column(names, COLUMNS[key]) for key in COLUMNS}
    if places["path"] is None or places["label"] is None:
        raise DataError(
            f"{file}: a listing begins with the columns path and label, but with "
            f"{','.join(names)[:100]!r}"
        )
    by_path = _by_path(None)
    if config.group_by is not None:
        places["group"] = _column(names, (config.group_by.strip().lower(),))
        by_path = _by_path(config.group_by, names) if places["group"] is None else by_path
    seen: dict[str, int] = {}
    entries = []
    read = [(number, _cells(row, places)) for number, row in rows]
    divided = any(cells["split"] for _, cells in read)
    for number, cells in read:
        where = f"{file}, row {number}"
        if divided and not cells["split"]:
            raise DataError(f"{where}: {PARTS_SAID} as in other rows, but is empty")
        entries.append(_entry(cells, file.parent, where, grouped=places["group"] is not None))
        plain = os.path.normpath(entries[-1].path)
        if again := seen.get(plain):
            raise DataError(
                f"{where}: each picture is listed once, but {cells['path']!r} was in row {again}"
            )
        seen[plain] = number
        if entries[-1].group is None and config.group_by is not None:
            entries[-1] = replace(entries[-1], group=by_path(cells["path"]))
    if not entries:
        raise DataError(f"{file} lists no pictures")
    _check_spelling(list(dict.fromkeys(each.label for each in entries)), file)
    yield from entries


def _cells(row: Sequence[str], places: Mapping[str, int | None]) -> dict[str, str]:
    return {key: "" if k is None or k >= len(row) else row[k].strip() for key, k in places.items()}


def _entry(cells: dict[str, str], folder: Path, where: str, *, grouped: bool) -> ListedPicture:
    for name in ("path", "label", *(["group"] if grouped else [])):
        if not cells[name]:
            raise DataError(f"{where}: there must be a {name}, but there is none")
    if "\0" in cells["path"]:
        raise DataError(f"{where}: a path has no NUL, but there is {cells['path'][:50]!r}")
    if cells["split"].lower() not in PART_NAMES:
        raise DataError(f"{where}: {PARTS_SAID}, but is {cells['split'][:50]!r}; {SAME}")
    part = PART_NAMES[cells["split"].lower()]
    return ListedPicture(
        path=folder / cells["path"],
        label=cells["label"],
        part=part,
        group=cells["group"] if grouped else None,
    )


def _rows(file: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Return the names of a listing's columns, in small letters, and its numbered rows that are not
    empty.
    """
    check_regular(file)
    if file.stat().st_size > MOST_BYTES:
        raise DataError(f"{file}: a listing has at most {MOST_BYTES:,} bytes")
    try:
        text = file.read_text(encoding="utf-8-sig")
        head = text.partition("\n")[0]
        separator = max(",;\t", key=head.count)
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator))
    except UnicodeDecodeError as error:
        raise DataError(f"{file} must be text in UTF-8, but is not") from error
    except csv.Error as error:
        raise DataError(f"{file} is not a table that can be read: {one_line(error)}") from error
    names = [name.strip().lower() for name in (rows[0] if rows else [])]
    filled = [(k, row) for k, row in enumerate(rows[1:], 2) if any(cell.strip() for cell in row)]
    return names, filled


def _column(names: Sequence[str], known: Sequence[str]) -> int | None:
    return next((names.index(name) for name in known if name in names), None)
