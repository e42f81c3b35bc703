"""Writes a declared part of a space as data, as lines, and as a call."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from blocksearch.arch.layers import fingerprint
from blocksearch.arch.network import HEADS
from blocksearch.arch.notation import EARLIER_STEMS
from blocksearch.arch.ops import Op
from blocksearch.arch.skeleton import COUNTED
from blocksearch.arch.values import Value
from blocksearch.arch.zoo import TASKS
from blocksearch.errors import SpecError
from blocksearch.space.constraints import Check, Constraint
from blocksearch.space.declaration import Part
from blocksearch.space.layouts import StageOptions

_STORED_STEMS = {stem: stored for stored, stem in EARLIER_STEMS.items()}


def as_data(part: Part) -> dict[str, Any]:
    """Write a part as plain words and numbers."""
    task = part.task
    chosen: dict[str, Any] = (
        {"own_widths": True} if part.own_widths and part.widths == (task.widths,) else {}
    )  # else the widths say so
    if part.heads != HEADS[:1]:  # spaces of before have no other
        chosen["head"] = list(part.heads)
    if part.stages:  # nor any of these
        chosen["stages"] = [_stage_data(each) for each in part.stages]
    if part.resolutions:
        chosen["resolution"] = [list(each) for each in part.resolutions]
    if part.channels:
        chosen["channels"] = list(part.channels)
    if part.skeleton:
        chosen["skeleton"] = _graph_of(part)
    sources = {
        str(v): v.source
        for stage in part.options
        for _, vs in stage
        for v in vs
        if isinstance(v, Op)
    }
    return {
        "input": str(task.input),
        "classes": task.classes,
        "dropout": task.dropout,
        "usual_widths": list(task.widths),
        "widths": [list(widths) for widths in part.widths],
        "first_layer": [_STORED_STEMS.get(str(stem), str(stem)) for stem in part.stems],
        "depth": list(part.depths),
        "per_stage": part.per_stage,
        "base": str(part.base),
        "options": [
            {name: [str(value) for value in values] for name, values in stage}
            for stage in part.options
        ],
        "constraints": {each.name: str(each) for each in part.constraints},
        "sources": sources
        | {str(each): each.source for each in part.constraints if isinstance(each, Check)},
    } | chosen


def _graph_of(part: Part) -> str:
    """Return the digest of the model around the base block; "" where that does not fit."""
    assert part.skeleton is not None
    try:
        return fingerprint(part.skeleton.layers(part.base, part.task.input, part.task.classes))
    except SpecError:
        return ""


def lines(part: Part) -> Iterator[str]:
    """Print a part."""
    task = part.task
    dropout = f" dropout={task.dropout!r}" if task.dropout else ""
    yield f"input={task.input} classes={task.classes}{dropout}"
    if part.skeleton:
        yield f"inside {part.skeleton.name}, {COUNTED}"
    widths = " | ".join(",".join(map(str, each)) for each in part.widths)
    head = "" if part.heads == HEADS[:1] else f" head={'|'.join(part.heads)}"
    depth = "|".join(map(str, part.depths))
    around = "" if part.stages else f"widths={widths} "
    around += f"stem={text(part.stems)}{'' if part.stages else f' depth={depth}'}{head}"
    if part.resolutions:
        around += f" resolution={text(f'{h}x{w}' for h, w in part.resolutions)}"
    yield around + (f" channels={text(part.channels)}" if part.channels else "")
    for number, own in enumerate(part.stages, 1):
        yield f"stage {number}: " + " ".join(
            f"{name}={text(values)}" for name, values in _stage_data(own).items()
        )
    block = "a block for each stage" if part.per_stage else "one block for all stages"
    rest = "with every other factor" if any(part.options) else "with every factor"
    yield f"{block} [{part.base}]" if str(part.base) else f"{block}, {rest} at its default"
    for number, stage in enumerate(part.options):
        if len(part.options) > 1:
            yield f"stage {number + 1}"
        yield from (f"  {name}: {text(values)}" for name, values in stage)
    yield from (
        f"where {each.name}" + ("" if str(each) == each.name else f": {each}")
        for each in part.constraints
    )


def _stage_data(options: StageOptions) -> dict[str, list[int]]:
    """Write the options of a stage as a user does."""
    found = zip(("width", "depth", "stride"), options, strict=True)
    return {name: list(values) for name, values in found}


def text(values: Iterable[Any]) -> str:
    return "|".join(map(str, values))


def as_call(part: Part) -> str:
    """Write a part as the call that makes it, with a user's ops and functions by their names."""
    task = next((f'TASKS["{name}"]' for name, task in TASKS.items() if task == part.task), None)
    arguments = [task or repr(part.task)]
    if changed := part.base.changed():
        written = ", ".join(f"{name}={_written(value)}" for name, value in changed.items())
        arguments.append(f"base=Block({written})")
    if part.stages:
        stages = ", ".join(f"dict({_keywords(_stage_data(each))})" for each in part.stages)
        arguments.append(f"stages=[{stages}]")
    elif part.own_widths:
        arguments.append(f"widths={list(part.widths)}")
    if part.stems != ("block",):
        arguments.append(f"stem={_listed(map(str, part.stems))}")
    if part.heads != HEADS[:1]:
        arguments.append(f"head={_listed(part.heads)}")
    if part.depths != (1,):
        arguments.append(f"depth={list(part.depths)}")
    if part.resolutions:
        arguments.append(f"resolution={list(part.resolutions)}")
    if part.channels:
        arguments.append(f"channels={list(part.channels)}")
    if len(part.options) > 1:
        own = (
            ", ".join(f'"{name}": {_listed(values)}' for name, values in stage)
            for stage in part.options
        )
        arguments.append(f"per_stage=[{', '.join(f'{{{stage}}}' for stage in own)}]")
    else:
        arguments += ["per_stage=True"] if part.per_stage else []
        arguments += [f"{name}={_listed(values)}" for name, values in part.options[0]]
    if part.skeleton:
        arguments.append(f"skeleton={part.skeleton.name}")
    called = f"Grammar({', '.join(arguments)})"
    return f"{called}.where({_conditions(part)})" if part.constraints else called


def _keywords(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items())


def _conditions(part: Part) -> str:
    unnamed = [each for each in part.constraints if each.name in (str(each), _source(each))]
    named = [each for each in part.constraints if each not in unnamed]
    return ", ".join([*map(_source, unnamed), *(f"{each.name}={_source(each)}" for each in named)])


def _source(constraint: Constraint) -> str:
    return constraint.origin if isinstance(constraint, Check) else f'"{constraint}"'


def _listed(values: Iterable[Value]) -> str:
    return f"[{', '.join(map(_written, values))}]"


def _written(value: Value) -> str:
    return str(value) if isinstance(value, int | Op) else f'"{value}"'
