"""Describes answers as data, in tables of plain values and reports of tables, figures and notes.

Nothing here draws. Renderers read `Table.cells` (texts for people) or `Table.records` (all digits,
named fields, for programs).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from enum import IntEnum
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast, overload

from blocksearch.errors import clean

if TYPE_CHECKING:
    from blocksearch.report.figure import Figure

Row = Mapping[str, Any]
Anything = TypeVar("Anything")


class Priority(IntEnum):
    """Say where a column is shown."""

    MAIN = 0  # everywhere
    ROOM = 1  # on a terminal where the width allows
    WIDE = 2  # on a terminal on request, and on pages


def plain(value: Any) -> str:
    """Write a value of any kind for people: counts whole, other numbers to four digits.

    >>> plain(1234567), plain(0.123456), plain((1, 2.5)), plain(None), plain(True)
    ('1,234,567', '0.1235', '1 2.5', '', 'yes')
    """
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
        case list() | tuple():
            return " ".join(map(plain, value))
        case _:
            return str(value)


def form(spec: str) -> Callable[[Any], str]:
    """Make a format for a number, for an interval (low, high), or for a mean with its interval.

    >>> form("+.2f")(1.234), form(".1f")((1, 2)), form(".0%")((0.5, 0.4, 0.6)), form(".2f")(None)
    ('+1.23', '[1.0, 2.0]', '50% [40%, 60%]', '')
    """
    return partial(_formatted, spec)  # which can be pickled, as answers are


def _formatted(spec: str, value: Any) -> str:
    match value:
        case None:
            return ""
        case (low, high):
            return f"[{low:{spec}}, {high:{spec}}]"
        case (mean, low, high):
            return f"{mean:{spec}} [{low:{spec}}, {high:{spec}}]"
        case _:
            return f"{value:{spec}}"


def called_by(names: Mapping[str, str]) -> Callable[[Any], str]:
    """Make a format that writes the name of a value, where it has one.

    >>> called_by({"effnet_v1": "EffNet V1"})("effnet_v1")
    'EffNet V1'
    """
    return partial(_called, names)


def _called(names: Mapping[str, str], value: Any) -> str:
    return names.get(value, str(value))


@dataclass(frozen=True, kw_only=True)
class Column:
    """Describe a printed column.

    `name` is its key in a row, `label` its head (by default the name in words), `unit` what a
    number counts, `form` writes a value.
    """

    name: str
    label: str = ""
    unit: str = ""
    form: Callable[[Any], str] = plain
    left: bool = False
    priority: Priority = Priority.MAIN

    @property
    def head(self) -> str:
        """What stands over the column."""
        return ", ".join(filter(None, (self.label or self.name.replace("_", " "), self.unit)))


class Made(Sequence[Row]):
    """Rows that are made where they are read, each of something: a million take no memory.

    >>> list(Made([1, 2], lambda size: {"size": size}))
    [{'size': 1}, {'size': 2}]
    """

    def __init__(self, of: Sequence[Any], make: Callable[[Any], Row]) -> None:
        self.of, self.make = of, make

    def __len__(self) -> int:
        return len(self.of)

    def __reduce__(self) -> tuple[type, tuple[tuple[Row, ...]]]:
        """Pickle the rows: what makes them may be a function inside another."""
        return tuple, (tuple(self),)

    @overload
    def __getitem__(self, place: int) -> Row: ...
    @overload
    def __getitem__(self, place: slice) -> "Made": ...
    def __getitem__(self, place: int | slice) -> "Row | Made":
        if isinstance(place, slice):
            return Made(self.of[place], self.make)
        return self.make(self.of[place])


@dataclass(frozen=True, kw_only=True)
class Table:
    """Hold an answer's rows by column name; a value that a row lacks is None.

    `name` is the table's field in JSON; without one it is for people alone. `about` explains
    columns by their names, under the table where they are shown. `data` are the records of JSON and
    CSV, with `units` by field; without them they are the columns' values. Rows at `breaks` begin a
    new section; `totals` are printed under a rule and are no records. A table that is `grouped` by
    a key of its rows is printed as one table for each of its values. A table that is not for the
    `terminal` is shown on pages and in files alone.
    """

    name: str
    columns: tuple[Column, ...]
    rows: Sequence[Row]
    title: str = ""
    notes: tuple[str, ...] = ()
    about: Mapping[str, str] = field(default_factory=dict)
    data: Sequence[Row] | None = None
    units: Mapping[str, str] = field(default_factory=dict)
    totals: tuple[Row, ...] = ()
    breaks: frozenset[int] = frozenset()
    grouped: str = ""
    terminal: bool = True

    def cells(self, most: Priority) -> tuple[list[Column], list[list[str]]]:
        """Return the columns up to a priority that say something, and their texts, row by row."""
        rows = (*self.rows, *self.totals)
        kept = [
            column
            for column in self.columns
            if column.priority <= most
            and (not rows or any(row.get(column.name) is not None for row in rows))
        ]
        return kept, [[column.form(row.get(column.name)) for column in kept] for row in rows]

    def noted(self, columns: Iterable[Column]) -> tuple[str, ...]:
        """Return the notes, and what explains the columns that are shown."""
        shown = {column.name for column in columns}
        return (*self.notes, *(text for name, text in self.about.items() if name in shown))

    def begins_section(self, place: int) -> bool:
        """Say whether a rule stands over a row."""
        return place in self.breaks or (bool(self.totals) and place == len(self.rows))

    def records(self) -> list[dict[str, Any]]:
        """Return the rows as flat dictionaries: every digit, one name for each field."""
        if self.data is not None:
            return list(map(dict, self.data))
        names = [column.name for column in self.columns]
        return [{name: row.get(name) for name in names} for row in self.rows]

    def parts(self) -> Iterator["Table"]:
        """Yield the table as it is printed: one for each value of what it is grouped by."""
        if not self.grouped:
            yield self
            return
        groups: dict[str, list[Row]] = {}
        for row in self.rows:
            groups.setdefault(row.get(self.grouped) or "", []).append(row)
        for place, (title, rows) in enumerate(groups.items()):
            heads = (self.title if place == 0 else "", title)
            last = place == len(groups) - 1
            yield replace(
                self,
                title="\n".join(filter(None, heads)),
                rows=tuple(rows),
                grouped="",
                notes=self.notes if last else (),
                about=self.about if last else {},
            )


@dataclass(frozen=True, kw_only=True)
class Report:
    """Hold a whole answer: tables (the main one first), figures, and notes under them.

    `facts` are numbers and words of the whole answer, by their fields in JSON, and `units` those of
    such fields. `main` is the name of the table that was asked for, where the others are beside
    it: its records are the answer's. Where there are no figures, `undrawn` is what the answer is
    instead.
    """

    title: str = ""
    tables: tuple[Table, ...] = ()
    figures: tuple["Figure", ...] = ()
    notes: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    main: str = ""
    undrawn: str = ""

    @property
    def asked(self) -> list[Table]:
        """The tables with a name: the main one alone, where there is one."""
        named = [table for table in self.tables if table.name]
        return [table for table in named if table.name == self.main] or named

    @property
    def drawable(self) -> tuple["Figure", ...]:
        """The figures that have something to draw."""
        return tuple(figure for figure in self.figures if figure.series)

    def data(self) -> dict[str, Any]:
        """Return everything that the answer says as plain words and numbers with named fields."""
        units = {
            table.name: {column.name: column.unit for column in table.columns if column.unit}
            | dict(table.units)
            for table in self.tables
            if table.name
        }
        return {
            "title": self.title,
            **self.facts,
            **{table.name: table.records() for table in self.tables if table.name},
            "units": {**self.units, **{name: own for name, own in units.items() if own}},
            "notes": [
                *self.notes,
                *(note for table in self.tables for note in table.noted(table.columns)),
            ],
        }


def rows_table(name: str, rows: Sequence[Row], title: str = "", **labels: str) -> Table:
    """Make a table of rows that are plain already; words stand to the left.

    >>> rows_table("sizes", [{"name": "a", "size": 2}]).records()
    [{'name': 'a', 'size': 2}]
    """
    first = rows[0] if rows else {}
    columns = [
        Column(name=key, label=labels.get(key, ""), left=isinstance(value, str))
        for key, value in first.items()
    ]
    return Table(name=name, title=title, columns=tuple(columns), rows=tuple(rows))


def shared_words(texts: Iterable[Sequence[str]]) -> int:
    """Return how many words before the first bracket all of several texts begin with; each has one
    more at least.

    >>> shared_words([["a=1", "b=2", "[c]"], ["a=1", "b=3", "[d]"]])
    1
    """
    first: Sequence[str] = ()
    alike = count = 0
    for count, own in enumerate(texts, 1):
        first, alike = (own, len(own)) if count == 1 else (first, alike)
        most = min(alike, len(own) - 1)
        differs = (at for at in range(most) if own[at] != first[at] or own[at].startswith("["))
        alike = next(differs, most)
    return alike if count > 1 else 0


def cleaned(value: Anything) -> Anything:
    """Clean every text of a report, table or figure. Renderers call this first."""
    known: Any = value  # what kind it is is known at run time alone
    found = known
    match known:
        case str():
            found = clean(known)
        case Made():
            found = Made(known.of, lambda own: cleaned(known.make(own)))
        case tuple() | list() | frozenset():
            found = type(known)(map(cleaned, known))
        case Mapping():
            found = {cleaned(key): cleaned(own) for key, own in known.items()}
        case _ if is_dataclass(known) and not isinstance(known, type):
            own = {each.name: cleaned(getattr(known, each.name)) for each in fields(known)}
            found = replace(known, **own)
    return cast(Anything, found)
