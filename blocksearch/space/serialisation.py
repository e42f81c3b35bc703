"""Writes a declared part of a space as data that is read back, as lines, and as a call."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain
from typing import Any

from blocksearch.arch.factors import factor_named
from blocksearch.arch.layers import fingerprint
from blocksearch.arch.network import HEADS, Task
from blocksearch.arch.notation import EARLIER_STEMS, parse_block
from blocksearch.arch.ops import Op, Ops
from blocksearch.arch.shape import read_shape
from blocksearch.arch.skeleton import COUNTED
from blocksearch.arch.values import Value
from blocksearch.arch.zoo import TASKS
from blocksearch.errors import SpecError, check_type
from blocksearch.space.constraints import Check, Constraint, read_constraint
from blocksearch.space.declaration import Part, make_part
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


def from_data(
    data: Mapping[str, Any], options: Ops, functions: Mapping[str, Callable[..., object]]
) -> Part:
    """Read back what `as_data` wrote, with a user's options and constraint functions by their
    names.

    Raises SpecError if one of them is not loaded, or is not what it was when the grammar was
    stored.
    """
    check_type("a stored grammar", data, Mapping[str, Any])
    if lacks := {"input", "usual_widths", "classes", "dropout", "base", "options"} - data.keys():
        raise SpecError(f"a stored grammar has {', '.join(sorted(lacks))}, but this one has not")
    if "skeleton" in data:
        raise SpecError(
            "a stored grammar is inside a model, whose function is not stored: declare it anew"
        )
    shape = read_shape(data["input"])
    if shape is None:
        raise SpecError(
            f"a stored grammar has the input {data['input']!r}; it must be written like 3x32x32"
        )
    part = make_part(
        Task(
            input=shape,
            widths=tuple(data["usual_widths"]),
            classes=data["classes"],
            dropout=data["dropout"],
        ),
        parse_block(data["base"], options),
        [{}] * len(data["options"]) if len(data["options"]) > 1 else data["per_stage"],
        _around(data),
    )
    stages, constraints = _chosen(data, options, functions)
    part = replace(part, options=tuple(stages), constraints=tuple(constraints))
    if changed := [
        name
        for name, source in data["sources"].items()
        if as_data(part)["sources"].get(name) != source
    ]:
        raise SpecError(
            f"{changed[0]} is not what it was when the grammar was stored: "
            "its definition has changed"
        )
    return part


def _around(data: Mapping[str, Any]) -> dict[str, Any]:
    """Read what a stored grammar lists of the network around the blocks."""
    own_widths = data["widths"] != [data["usual_widths"]] or data.get("own_widths", False)
    around: dict[str, Any] = {
        "stem": [EARLIER_STEMS.get(stem, stem) for stem in data["first_layer"]],
        "head": data.get("head", HEADS[:1]),
        "resolution": data.get("resolution"),
        "channels": data.get("channels"),
    }
    if "stages" in data:
        around["stages"] = data["stages"]
    else:
        around["widths"] = [tuple(widths) for widths in data["widths"]] if own_widths else None
        around["depth"] = data["depth"]
    return around


def _function(name: str, text: str, functions: Mapping[str, Callable[..., object]]) -> Constraint:
    """Find the function of a stored constraint; only functions have a stored source."""
    function = text.removesuffix("(network)")
    if function not in functions:
        file = function.split(".", maxsplit=1)[0]
        raise SpecError(
            f"constraint {name} is the function {function}, "
            f"defined in {file}.py, which is not loaded"
        )
    return read_constraint(functions[function], name)


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


def _chosen(
    data: Mapping[str, Any], options: Ops, functions: Mapping[str, Callable[..., object]]
) -> tuple[list[tuple[tuple[str, tuple[Value, ...]], ...]], list[Constraint]]:
    """Read the values of each factor by stage, and the constraints on them."""
    stages = [
        tuple(
            (name, tuple(factor_named(name).parse(value, options) for value in values))
            for name, values in stage.items()
        )
        for stage in data["options"]
    ]
    known: dict[str, list[Value]] = {}
    for name, values in chain(*stages):
        known.setdefault(name, []).extend(values)
    constraints = [
        _function(name, text, functions)
        if text in data["sources"]
        else read_constraint(text, name, known)
        for name, text in data["constraints"].items()
    ]
    return stages, constraints
