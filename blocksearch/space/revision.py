"""Changes a declared part of a space, by restricting, extending or reordering it."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from blocksearch.arch.factors import factor_named
from blocksearch.arch.network import Task
from blocksearch.arch.values import Value
from blocksearch.errors import SpecError, typed
from blocksearch.space.declaration import (
    AROUND,
    Part,
    around_values,
    options_of,
    whole_numbers,
)
from blocksearch.space.layouts import HALVING

_OF_A_STAGE = re.compile(r"stage([1-9][0-9]?)_(width|depth|stride)")


def restricted(part: Part, options: Mapping[str, Iterable[Any]]) -> Part | None:
    """Keep some options of some factors; None if none is left."""
    for name, values in options.items():
        if name in AROUND or _OF_A_STAGE.fullmatch(name):
            own, wanted = _around(part, name), _wanted(part, name, values)
            kept = tuple(value for value in own if value in wanted)
            if not kept:
                return None
            part = part if kept == own else _with(part, name, kept)
            continue
        stages = [_kept(part, dict(stage), name, values) for stage in part.options]
        if any(stage is None for stage in stages):
            return None
        part = replace(
            part, options=tuple(tuple(stage.items()) for stage in stages if stage is not None)
        )
    return part


def _around(part: Part, name: str) -> tuple[Any, ...]:
    """Return a part's options of something around the blocks."""
    if match := _OF_A_STAGE.fullmatch(name):
        number = int(match[1])
        if number > len(part.stages):
            raise SpecError(f"{name} is none of the choices of {len(part.stages)} stages")
        found: tuple[Any, ...] = getattr(part.stages[number - 1], f"{match[2]}s")
        return found
    if name == "resolution":
        return part.resolutions or (part.task.input.map,)
    if name == "channels":
        return part.channels or (part.task.input.channels,)
    if part.stages and name in ("widths", "depth", "stages"):
        raise SpecError(f"{name} is chosen by stage here, such as stage1_width=[16]")
    own: tuple[Any, ...] = getattr(part, AROUND[name])
    return own


def _wanted(part: Part, name: str, values: Any) -> tuple[Any, ...]:
    if match := _OF_A_STAGE.fullmatch(name):
        limits = {"width": 10**6, "depth": 100, "stride": HALVING}
        return whole_numbers(name, values, limits[match[2]])
    return around_values(part.task, name, values)


def _with(part: Part, name: str, values: tuple[Any, ...]) -> Part:
    if match := _OF_A_STAGE.fullmatch(name):
        stages, place = list(part.stages), int(match[1]) - 1
        stages[place] = stages[place]._replace(**{f"{match[2]}s": values})
        first = tuple(each.widths[0] for each in stages)
        return replace(part, stages=tuple(stages), widths=(first,))
    changes: dict[str, Any] = {AROUND[name]: values}
    return replace(part, **changes, own_widths=part.own_widths or name == "widths")


def _kept(
    part: Part, stage: dict[str, tuple[Value, ...]], name: str, values: Iterable[Any]
) -> dict[str, tuple[Value, ...]] | None:
    own = stage.get(name, (part.base.values()[factor_named(name).name],))
    wanted = options_of(name, values, own)
    kept = tuple(value for value in own if value in wanted)
    return stage | {name: kept} if kept else None


def extended(part: Part, options: Mapping[str, Iterable[Any]]) -> Part:
    """Add options to factors."""
    for name, values in options.items():
        if name in AROUND or _OF_A_STAGE.fullmatch(name):
            more = (*_around(part, name), *_wanted(part, name, values))
            part = _with(part, name, tuple(dict.fromkeys(more)))
            continue
        base, stages = part.base.values()[factor_named(name).name], []
        for stage in map(dict, part.options):
            own = stage.get(name, (base,))
            stages.append(stage | {name: tuple(dict.fromkeys((*own, *options_of(name, values))))})
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


@typed
def moved(part: Part, task: Task) -> Part:
    """Put a part into another task: other input and classes, the same widths."""
    own_widths = part.own_widths or part.widths != (task.widths,)
    return replace(part, task=task, own_widths=own_widths)
