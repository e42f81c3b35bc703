"""Reads scores that others measured, from a file or from Python, and checks each of them.

A score has a treatment, a seed, and where there are several a group of what was evaluated and a
task. Heads of columns may be in any case.
"""

import contextlib
import csv
import io
import math
import re
import reprlib
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from numbers import Number
from pathlib import Path
from typing import Any

import numpy as np

from blocksearch.ablation.stats import LARGEST
from blocksearch.errors import ConfigError
from blocksearch.files import read_text

NEEDED, MAY = ("treatment", "seed", "score"), ("group", "task")  # the order of tuples, too
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
_WHOLE = re.compile(r"(-?[0-9]{1,18})(\.0*)?")  # data frames write whole numbers as 1.0
_PLAIN = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")  # Python takes 5_0 as 50

Key = tuple[str, str]  # task and treatment
Seed = int | str
_Row = tuple[str, Mapping[Any, Any]]  # where it stands, and its values by column


@dataclass(frozen=True, kw_only=True)
class ScoreTable:
    """Scores by task and treatment, then by the number of a seed, then by group.

    `seeds` are what users call them, by number. Whole numbers are their own; where some seed is
    another text, all are counted from 0 in their order. `ignored` are columns of no use here.
    """

    scores: dict[Key, dict[int, dict[str, float]]]
    seeds: dict[int, Seed]
    ignored: tuple[str, ...]

    def named(self, numbers: Iterable[int]) -> tuple[Seed, ...]:
        """Return what seeds are called, in their order."""
        return tuple(self.seeds[number] for number in sorted(numbers))

    def of(self, task: str) -> Iterable[float]:
        """Yield all scores of a task."""
        for key, seeds in self.scores.items():
            if key[0] == task:
                for groups in seeds.values():
                    yield from groups.values()


def read_scores(scores: Any) -> ScoreTable:
    """Read scores from a CSV file, rows, columns, {treatment: scores by seed} or a data frame.

    Raises ConfigError, in one line, for what is missing, no number, or given twice.

    >>> read_scores([("old", 0, 90.0), ("new", 0, 92.0)]).scores
    {('', 'old'): {0: {'': 90.0}}, ('', 'new'): {0: {'': 92.0}}}
    """
    ignored: dict[str, None] = {}
    named: dict[Key, dict[str, dict[str, float]]] = {}
    for where, row in _rows(scores):
        known, other = _folded(row, where)
        ignored |= dict.fromkeys(other)
        if _is_nan(known.get("score")):
            raise ConfigError(f"scores: {where} has a score that is not a number")
        if missing := [name for name in NEEDED if _is_blank(known.get(name))]:
            has = ", ".join(str(name) for name in row if not _is_blank(row[name])) or "nothing"
            raise ConfigError(f"scores: {where} has no {missing[0]}, but only {has}")
        treatment, group, task = (
            _label(known.get(name), where, name) for name in ("treatment", *MAY)
        )
        seed, score = _seed(known["seed"], where), _number(known["score"], where)
        own = named.setdefault((task, treatment), {}).setdefault(seed, {})
        if group in own:
            raise ConfigError(
                f"scores: {where} gives treatment {treatment!r} and seed {seed} again; only a "
                f"column group or task tells such scores apart"
            )
        own[group] = score
    if not named:
        raise ConfigError("scores have no rows")
    called = {seed for seeds in named.values() for seed in seeds}
    if whole := all(map(_WHOLE.fullmatch, called)):
        numbers = {seed: int(seed) for seed in called}
    else:
        numbers = {seed: n for n, seed in enumerate(sorted(called))}
    return ScoreTable(
        scores={key: {numbers[s]: own for s, own in seeds.items()} for key, seeds in named.items()},
        seeds={n: n if whole else seed for seed, n in numbers.items()},
        ignored=tuple(ignored),
    )


def _rows(scores: Any) -> list[_Row]:
    if isinstance(scores, str | Path):
        return _file(Path(scores))
    if not isinstance(scores, Mapping):
        scores = _unframed(scores)
    if not isinstance(scores, Mapping):
        rows = enumerate(_listed(scores, "scores"), 1)
        return [(f"row {n}", _row(own, f"row {n}")) for n, own in rows]
    if sum(_fold(name) in NEEDED for name in scores) >= 2:  # one may be a treatment's name
        return _columns(scores)
    return [
        (
            f"treatment {_shown(name)}, seed {_shown(seed)}",
            dict(zip(NEEDED, (name, seed, score), strict=True)),
        )
        for name, own in scores.items()
        for seed, score in _by_seed(own, f"treatment {_shown(name)}")
    ]


def _unframed(table: Any) -> Any:
    """Return the rows of a data frame (polars, pyarrow, pandas), without its library; what is none
    as it is.
    """
    ways: Sequence[tuple[str, tuple[str, ...], dict[str, str]]] = (
        ("to_dicts", (), {}),
        ("to_pylist", (), {}),
        ("to_dict", ("records",), {}),
        ("to_dict", (), {"orient": "records"}),
    )
    for name, words, named in ways:
        if callable(way := getattr(table, name, None)):
            with contextlib.suppress(TypeError, ValueError, AttributeError, LookupError):
                return way(*words, **named)
    return table


def _by_seed(own: Any, what: str) -> Iterable[tuple[Any, Any]]:
    """Return pairs of seed and score: of a dict or a pandas series as named, of a list by place."""
    named = isinstance(own, Mapping) or callable(getattr(own, "items", None))
    if named and not isinstance(own, type):
        return list(own.items())
    return enumerate(_listed(own, what))


def _columns(columns: Mapping[Any, Any]) -> list[_Row]:
    own = {name: _listed(values, f"column {name!r}") for name, values in columns.items()}
    sizes = {name: len(values) for name, values in own.items()}
    if len(set(sizes.values())) > 1:
        said = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise ConfigError(f"scores: columns must be of one length, but have {said} values")
    rows = zip(*own.values(), strict=True)
    return [(f"row {n}", dict(zip(own, row, strict=True))) for n, row in enumerate(rows, 1)]


def _row(own: Any, where: str) -> Mapping[Any, Any]:
    if callable(named := getattr(own, "_asdict", None)):
        own = named()
    if isinstance(own, Mapping):
        return own
    names = (*NEEDED, *MAY)
    if isinstance(own, tuple | list) and len(NEEDED) <= len(own) <= len(names):
        return dict(zip(names, own, strict=False))
    raise ConfigError(
        f"scores: {where} must be a dict, or (treatment, seed, score[, group[, task]]), but is "
        f"{_shown(own)}"
    )


def _listed(own: Any, what: str) -> list[Any]:
    """Return values in their order, which a set or a dict does not have."""
    try:
        if not isinstance(own, str | bytes | Set | Mapping):
            return list(own)
    except TypeError:
        pass
    raise ConfigError(f"{what} must be a list of values, but got {_shown(own)}")


# ---- files


def _file(file: Path) -> list[_Row]:
    try:
        text = read_text(file)
        first = next((line for line in re.split("[\r\n]", text) if line.strip()), "")
        separator = _separator(first)
        reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=separator)
        lines = [(reader.line_num, line) for line in reader if any(map(str.strip, line))]
    except FileNotFoundError as error:
        raise ConfigError(f"{file} is not there") from error
    except (OSError, ValueError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{file} cannot be read as CSV: {reason}") from error
    wanted = ",".join(NEEDED)
    if not lines:
        raise ConfigError(f"{file} is empty; its first line must be {wanted}, then each score")
    (_, heads), *rest = lines
    if missing := [name for name in NEEDED if name not in map(_fold, heads)]:
        raise ConfigError(
            f"{file} needs the columns {wanted}, but lacks {missing[0]}; its first line is "
            f"{_shown(first)}, read with {SEPARATORS[separator]} between columns"
        )
    _check_heads(heads, str(file))
    return [(f"{file}, line {n}", _fields(heads, line, f"{file}, line {n}")) for n, line in rest]


def _separator(first: str) -> str:
    """Return what divides the first line into most of the columns that have a meaning here."""

    def known(separator: str) -> int:
        heads = next(csv.reader([first], delimiter=separator), [])
        return len({_fold(head) for head in heads} & {*NEEDED, *MAY})

    return max(SEPARATORS, key=lambda each: (known(each), first.count(each)))


def _fields(heads: Sequence[str], line: Sequence[str], where: str) -> Mapping[str, str]:
    if any(map(str.strip, line[len(heads) :])):
        raise ConfigError(
            f"scores: {where} has {len(line)} fields under {len(heads)} heads; decimals need a "
            "point, and a comma inside of a text needs quotes around it"
        )
    return dict(zip(heads, line, strict=False))


# ---- values


def _fold(name: Any) -> str:
    return str(name).strip().casefold()


def _check_heads(names: Iterable[Any], where: str) -> None:
    heads = [_fold(name) for name in names]
    if twice := [name for name in (*NEEDED, *MAY) if heads.count(name) > 1]:
        raise ConfigError(f"scores: {where} has the column {twice[0]} twice")


def _folded(row: Mapping[Any, Any], where: str) -> tuple[dict[str, Any], list[str]]:
    """Return the values of columns that have a meaning here, and the names of others."""
    _check_heads(row, where)
    values = {_fold(name): value for name, value in row.items()}
    known = {name: values[name] for name in (*NEEDED, *MAY) if name in values}
    return known, [str(name) for name in row if _fold(name) not in ("", *known)]


def _is_blank(value: Any) -> bool:
    missing = value is None or _is_nan(value)  # as data frames write it
    return missing or (isinstance(value, str) and not value.strip())


def _is_nan(value: Any) -> bool:
    return isinstance(value, Number) and bool(value != value)


def _label(value: Any, where: str, what: str) -> str:
    if _is_blank(value):
        return ""
    if not isinstance(value, str | Number):
        raise ConfigError(
            f"scores: {where} has a {what} that is neither a text nor a number: {_shown(value)}"
        )
    return str(value).strip()


def _seed(value: Any, where: str) -> str:
    """Return a seed as text; a whole number is the same however it is written."""
    text = _label(value, where, "seed")
    return str(int(found[1])) if (found := _WHOLE.fullmatch(text)) else text


def _number(value: Any, where: str) -> float:
    try:
        odd = isinstance(value, str) and not _PLAIN.fullmatch(value.strip())
        number = math.nan if odd or isinstance(value, bool | np.bool_) else float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # the last of torch's tensors
        number = math.nan
    if abs(number) <= LARGEST:
        return number
    rule = "is no finite number" if not math.isfinite(number) else f"is not at most {LARGEST:g}"
    comma = isinstance(value, str) and re.fullmatch(r"\s*[-+]?[0-9]+,[0-9]+\s*", value)
    advice = "; decimals need a point" if comma else ""
    raise ConfigError(f"scores: {where} has a score that {rule}: {_shown(value)}{advice}")


def _shown(value: Any) -> str:
    return reprlib.repr(value)
