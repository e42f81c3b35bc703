"""One product of options as a user declares it: read and checked, restricted, extended, moved."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice, product
from typing import Any

from blocksearch.arch.block import Block
from blocksearch.arch.constraints import Budget, Rule
from blocksearch.arch.factors import Value, factor_named
from blocksearch.arch.network import HEADS, STEMS, Task
from blocksearch.errors import SpecError
from blocksearch.space.constraints import Check, Constraint
from blocksearch.space.layouts import Layout, Product

_MOST_OPTIONS = 10_000  # a list that never ends is a mistake
Options = tuple[tuple[str, tuple[Value, ...]], ...]


@dataclass(frozen=True)
class Part:
    """One product of options: what a grammar is made of, and what a union adds up."""

    task: Task
    widths: tuple[tuple[int, ...], ...]
    stems: tuple[str, ...]
    depths: tuple[int, ...]
    per_stage: bool
    base: Block
    options: tuple[Options, ...]  # one for all stages alike, or one for each
    constraints: tuple[Constraint, ...] = ()
    heads: tuple[str, ...] = ("flatten",)
    own_widths: bool = False  # a user's, which stay in another task

    def __post_init__(self) -> None:
        for widths in self.widths:
            shown = ",".join(map(str, widths))
            if "conv" in self.stems and len(widths) < 2:
                raise SpecError(f"stem=conv leaves no stage for a block where widths={shown}")
            if len(self.options) not in {1, len(widths)}:
                raise SpecError(
                    f"{len(self.options)} stages have options of their own, "
                    f"but widths={shown} has {len(widths)}"
                )

    @property
    def layouts(self) -> tuple[Layout, ...]:
        return tuple(
            layout
            for widths in self.widths
            for stem in self.stems
            for head in self.heads
            for layout in self._layouts(widths, stem, head)
        )

    def _layouts(self, widths: tuple[int, ...], stem: str, head: str) -> Iterator[Layout]:
        fixed = 1 if stem == "conv" else 0
        blocks = len(widths) - fixed
        deep = (
            product(self.depths, repeat=blocks)
            if self.per_stage
            else ((depth,) * blocks for depth in self.depths)
        )
        for depths in deep:
            yield Layout(widths, (1,) * fixed + depths, stem, not self.per_stage, head)

    @property
    def product(self) -> Product:
        """The part as the machine spells it."""
        options = (
            self.options * max(len(widths) for widths in self.widths)
            if len(self.options) == 1
            else self.options
        )
        rules = tuple(each for each in self.constraints if isinstance(each, Rule))
        return Product(
            self.task, self.base, tuple(dict(each) for each in options), rules, self.layouts
        )

    @property
    def filters(self) -> tuple[Budget | Check, ...]:
        return tuple(each for each in self.constraints if not isinstance(each, Rule))


def _limited(name: str, values: Iterable[Any]) -> list[Any]:
    single = isinstance(values, str) or not isinstance(values, Iterable)
    chosen = [values] if single else list(islice(values, _MOST_OPTIONS + 1))
    if not chosen:
        raise SpecError(f"{name} needs at least one option")
    if len(chosen) > _MOST_OPTIONS:
        raise SpecError(f"{name} has more than {_MOST_OPTIONS:,} options: does its list ever end?")
    return chosen


def make_part(
    task: Task,
    base: Block,
    widths: Any,
    stems: Iterable[str],
    depths: Iterable[int],
    per_stage: bool | Sequence[Mapping[str, Iterable[Value]]],
    options: Mapping[str, Iterable[Value]],
    heads: Iterable[str] = HEADS[:1],
) -> Part:
    """Read what a user declares. Raises ConfigError or SpecError for what cannot be."""
    common = {name: _options(name, values) for name, values in options.items()}
    if widths is None and not task.widths:
        raise SpecError("the task has no usual widths: list some, such as widths=[(16, 32, 64)]")
    stages: Sequence[Mapping[str, Iterable[Value]]] = (
        [{}] if isinstance(per_stage, bool) else per_stage
    )
    if not stages:
        raise SpecError("per_stage lists no stage; give one mapping of options for each, or True")
    own = [
        common | {name: _options(name, values) for name, values in stage.items()}
        for stage in stages
    ]
    return Part(
        task,
        (task.widths,) if widths is None else _widths(widths, task),
        _listed("stem", stems, STEMS),
        _depths(depths),
        bool(per_stage),
        base,
        tuple(tuple(each.items()) for each in own),
        heads=_listed("head", heads, HEADS),
        own_widths=widths is not None,
    )


def _options(name: str, values: Iterable[Any], known: Sequence[Value] = ()) -> tuple[Value, ...]:
    """Read options of a factor, as values or texts; `known` are a user's, that a text may stand
    for.
    """
    factor, texts = factor_named(name), {str(value): value for value in known}
    values = _limited(name, values)
    return tuple(dict.fromkeys(texts.get(str(value)) or factor.value(value) for value in values))


def _listed(name: str, values: Iterable[Any], known: Sequence[Any]) -> tuple[Any, ...]:
    chosen = tuple(dict.fromkeys(_limited(name, values)))
    if wrong := [value for value in chosen if value not in known]:
        raise SpecError(f"{name} must be {' or '.join(map(str, known))}, but got {wrong[0]!r}")
    return chosen


def _depths(values: Iterable[Any]) -> tuple[int, ...]:
    chosen = tuple(dict.fromkeys(_limited("depth", values)))
    if wrong := [
        value
        for value in chosen
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 100
    ]:
        raise SpecError(f"depth must be whole numbers from 1 to 100, but got {wrong[0]!r}")
    return chosen


def _widths(values: Any, task: Task) -> tuple[tuple[int, ...], ...]:
    """Read one tuple of stage widths, or several."""
    several = _limited("widths", values)
    if all(isinstance(width, int) for width in several):
        several = [several]
    if any(widths == () for widths in several):
        raise SpecError("widths must be one or more whole numbers from 1, but got none")
    try:
        return tuple(
            dict.fromkeys(replace(task, widths=tuple(widths)).widths for widths in several)
        )
    except TypeError as error:
        raise SpecError(
            "widths must be stage widths such as (8, 16, 32), or a list of these, "
            f"but got {several}"
        ) from error


_LAYOUT_OPTIONS = {"widths": "widths", "stem": "stems", "depth": "depths", "head": "heads"}


def _layout_values(part: Part, name: str, values: Iterable[Any]) -> tuple[Any, ...]:
    match name:
        case "widths":
            return _widths(values, part.task)
        case "stem":
            return _listed(name, values, STEMS)
        case "head":
            return _listed(name, values, HEADS)
        case _:
            return _depths(values)


def restricted(part: Part, options: Mapping[str, Iterable[Any]]) -> Part | None:
    """Keep some options of some factors; None where none is left."""
    for name, values in options.items():
        if field := _LAYOUT_OPTIONS.get(name):
            wanted = _layout_values(part, name, values)
            kept = tuple(value for value in getattr(part, field) if value in wanted)
            if not kept:
                return None
            part = part if kept == getattr(part, field) else _with(part, field, kept)
            continue
        stages = [_kept(part, dict(stage), name, values) for stage in part.options]
        if any(stage is None for stage in stages):
            return None
        part = replace(
            part, options=tuple(tuple(stage.items()) for stage in stages if stage is not None)
        )
    return part


def _with(part: Part, field: str, values: tuple[Any, ...]) -> Part:
    changes: dict[str, Any] = {field: values}
    return replace(part, **changes, own_widths=part.own_widths or field == "widths")


def _kept(
    part: Part, stage: dict[str, tuple[Value, ...]], name: str, values: Iterable[Any]
) -> dict[str, tuple[Value, ...]] | None:
    own = stage.get(name, (part.base.values()[factor_named(name).name],))
    wanted = _options(name, values, own)
    kept = tuple(value for value in own if value in wanted)
    return stage | {name: kept} if kept else None


def extended(part: Part, options: Mapping[str, Iterable[Any]]) -> Part:
    """Add options to factors."""
    for name, values in options.items():
        if field := _LAYOUT_OPTIONS.get(name):
            more = (*getattr(part, field), *_layout_values(part, name, values))
            part = _with(part, field, tuple(dict.fromkeys(more)))
            continue
        base, stages = part.base.values()[factor_named(name).name], []
        for stage in map(dict, part.options):
            own = stage.get(name, (base,))
            stages.append(stage | {name: tuple(dict.fromkeys((*own, *_options(name, values))))})
        part = replace(part, options=tuple(tuple(stage.items()) for stage in stages))
    return part


def ordered(part: Part, stored: Mapping[str, Any]) -> Part:
    """Put the factors and rules of a part in the order of a stored one; what that has not, last."""
    stages = tuple(
        tuple(sorted(stage, key=lambda each: _place(each[0], own)))
        for stage, own in zip(part.options, stored["options"], strict=True)
    )
    rules = sorted(part.constraints, key=lambda each: _place(each.name, stored["constraints"]))
    return replace(part, options=stages, constraints=tuple(rules))


def _place(name: str, names: Iterable[str]) -> int:
    known = list(names)
    return known.index(name) if name in known else len(known)


def moved(part: Part, task: Task) -> Part:
    """Put a part into another task: other input and classes, the same widths."""
    own_widths = part.own_widths or part.widths != (task.widths,)
    return replace(part, task=task, own_widths=own_widths)
