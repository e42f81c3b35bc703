"""Reads and checks one product of options as a user declares it."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice, product
from math import prod
from numbers import Integral
from typing import Any

from blocksearch.arch.block import Block, Rule
from blocksearch.arch.cost import Budget
from blocksearch.arch.factors import factor_named
from blocksearch.arch.layers import Shape
from blocksearch.arch.network import HEADS, Task, read_channels, read_resolution
from blocksearch.arch.skeleton import Skeleton
from blocksearch.arch.stem import Stem, read_stem, stages_without_block
from blocksearch.arch.values import Value
from blocksearch.arch.zoo import task_of
from blocksearch.errors import SpecError, as_python, check_type, unknown
from blocksearch.space.constraints import Check, Constraint
from blocksearch.space.layouts import HALVING, Layout, Product, StageOptions

_MOST_OPTIONS = 10_000  # a list that never ends is a mistake
_MOST_LAYOUTS = 200_000
Options = tuple[tuple[str, tuple[Value, ...]], ...]


@dataclass(frozen=True, kw_only=True)
class Part:
    """One product of options. A grammar is made of one, a union of several.

    With `stages`, which have widths, depths and strides of their own, `widths` are their first.
    Without `resolutions` or `channels` the input has those of the task.
    """

    task: Task
    widths: tuple[tuple[int, ...], ...]
    stems: tuple[Stem, ...]
    depths: tuple[int, ...]
    per_stage: bool
    base: Block
    options: tuple[Options, ...]  # one for all stages alike, or one for each
    constraints: tuple[Constraint, ...] = ()
    heads: tuple[str, ...] = ("flatten",)
    own_widths: bool = False  # a user's, which stay in another task
    stages: tuple[StageOptions, ...] = ()
    resolutions: tuple[tuple[int, int], ...] = ()
    channels: tuple[int, ...] = ()
    skeleton: Skeleton | None = None

    def __post_init__(self) -> None:
        if self.skeleton and (around := self._around_the_block):
            raise SpecError(
                "a skeleton takes one block: a space inside of it lists values of factors alone, "
                f"as squeeze and gates do, but this one has {', '.join(around)}"
            )
        if "conv" in self.stems and self.stages[:1] and self.stages[0][1:] != ((1,), (HALVING,)):
            raise SpecError(
                "stem=conv takes the place of the first stage, which has depth 1 and stride 2: "
                "conv(kernel=3,stride=2,width=16) stands before it"
            )
        if (count := self._layout_count) > _MOST_LAYOUTS:
            raise SpecError(
                f"what is around the blocks has {count:,} combinations, but may have "
                f"{_MOST_LAYOUTS:,}: list fewer widths, depths or strides"
            )
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
    def _around_the_block(self) -> list[str]:
        """The options of everything around the blocks, as the author wrote them."""
        given = {
            f"stem={','.join(map(str, self.stems))}": self.stems != ("block",),
            f"head={','.join(self.heads)}": self.heads != HEADS[:1],
            f"depth={','.join(map(str, self.depths))}": self.depths != (1,),
            "stages": bool(self.stages),
            f"{len(self.widths)} widths": len(self.widths) > 1,
            "per_stage=True": self.per_stage,
            f"{len(self.resolutions)} resolutions": len(self.resolutions) > 1,
            f"{len(self.channels)} numbers of channels": len(self.channels) > 1,
        }
        return [text for text, is_so in given.items() if is_so]

    @property
    def inputs(self) -> tuple[Shape, ...]:
        """What networks read, in the order of the options."""
        own = self.task.input
        return tuple(
            Shape(channels, height, width)
            for height, width in self.resolutions or (own.map,)
            for channels in self.channels or (own.channels,)
        )

    @property
    def layouts(self) -> tuple[Layout, ...]:
        around = [
            (s, head, input) for s in self.stems for head in self.heads for input in self.inputs
        ]
        shared = not self.per_stage
        if self.stages:
            chosen = product(*(product(*stage) for stage in self.stages))
            staged = [tuple(zip(*choice, strict=True)) for choice in chosen]
            return tuple(
                Layout(widths, depths, strides, stem, shared, head, input)
                for stem, head, input in around
                for widths, depths, strides in staged
            )
        return tuple(
            Layout(widths, depths, (HALVING,) * len(widths), stem, shared, head, input)
            for widths in self.widths
            for stem, head, input in around
            for depths in self._depths_of(len(widths), stem)
        )

    def _depths_of(self, stages: int, stem: Stem) -> Iterator[tuple[int, ...]]:
        fixed = stages_without_block(stem)
        blocks = stages - fixed
        deep = (
            product(self.depths, repeat=blocks)
            if self.per_stage
            else ((depth,) * blocks for depth in self.depths)
        )
        return ((1,) * fixed + depths for depths in deep)

    @property
    def _layout_count(self) -> int:
        found = prod(len(values) for stage in self.stages for values in stage)
        return found * len(self.stems) * len(self.heads) * len(self.inputs)

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
            task=self.task,
            base=self.base,
            options=tuple(dict(each) for each in options),
            rules=rules,
            layouts=self.layouts,
            stages=self.stages,
        )

    @property
    def filters(self) -> tuple[Budget | Check, ...]:
        return tuple(each for each in self.constraints if not isinstance(each, Rule))


def _limited(name: str, values: Iterable[Any]) -> list[Any]:
    single = isinstance(values, str) or not isinstance(values, Iterable)
    single = single or getattr(values, "ndim", 1) == 0
    chosen = [values] if single else list(islice(values, _MOST_OPTIONS + 1))
    if not chosen:
        raise SpecError(f"{name} needs at least one option")
    if len(chosen) > _MOST_OPTIONS:
        raise SpecError(f"{name} has more than {_MOST_OPTIONS:,} options: does its list ever end?")
    return chosen


def with_widths(task: Task | str) -> Task:
    """Return a task with widths, which tell apart blocks inside a user's model with widths of its
    own.
    """
    own = task_of(task)
    return own if own.widths else replace(own, widths=(16, 32, 64))


def make_part(
    task: Task | str,
    base: Block,
    per_stage: bool | Sequence[Mapping[str, Iterable[Value]]],
    declared: Mapping[str, Any],
) -> Part:
    """Read what a user declares: options of factors by their names, and of the network around the
    blocks. Raises ConfigError or SpecError for what cannot be.
    """
    check_type("base", base, Block)
    check_type("per_stage", per_stage, bool | Sequence[Mapping[str, Any]])
    task = task_of(task)
    around = {name: values for name, values in declared.items() if name in AROUND}
    options = {name: values for name, values in declared.items() if name not in AROUND}
    common = {name: options_of(name, values) for name, values in options.items()}
    stages: Sequence[Mapping[str, Iterable[Value]]] = (
        [{}] if isinstance(per_stage, bool) else per_stage
    )
    if not stages:
        raise SpecError("per_stage lists no stage; give one mapping of options for each, or True")
    own = [
        common | {name: options_of(name, values) for name, values in stage.items()}
        for stage in stages
    ]
    found = {
        AROUND[name]: around_values(task, name, values)
        for name, values in around.items()
        if values is not None
    }
    if "stages" in found:
        if len({"widths", "depths"} & set(found)):
            raise SpecError(
                "stages have widths and depths of their own: leave out widths and depth"
            )
        found["widths"] = (tuple(each.widths[0] for each in found["stages"]),)
    if "widths" not in found and not task.widths:
        raise SpecError(
            "the task has no usual widths: list some, such as widths=[(16, 32, 64)]; only a space "
            "with a skeleton needs none"
        )
    usual = {"widths": (task.widths,), "stems": ("block",), "depths": (1,), "heads": HEADS[:1]}
    return Part(
        task=task,
        per_stage=bool(per_stage),
        base=base,
        options=tuple(tuple(each.items()) for each in own),
        own_widths="widths" in found,
        **usual | found,
    )


def _stages(values: Any) -> tuple[StageOptions, ...]:
    """Read a mapping of widths, depths and strides for each stage."""
    return tuple(_stage(number, each) for number, each in enumerate(_limited("stages", values), 1))


def _stage(number: int, given: Any) -> StageOptions:
    known = ("width", "depth", "stride")
    if not isinstance(given, Mapping) or "width" not in given:
        raise SpecError(
            "stages are mappings such as dict(width=[16, 24], depth=[1, 2], stride=2), but stage "
            f"{number} is {given!r}"
        )
    for name in given:
        if name not in known:
            raise unknown("choice of a stage", str(name), known)
    return StageOptions(
        whole_numbers(f"width of stage {number}", given["width"], 10**6),
        _depths(given.get("depth", 1)),
        whole_numbers(f"stride of stage {number}", given.get("stride", HALVING), HALVING),
    )


def options_of(name: str, values: Iterable[Any], known: Sequence[Value] = ()) -> tuple[Value, ...]:
    """Read options of a factor, as values or texts; `known` are a user's, that a text may stand
    for.
    """
    factor, texts = factor_named(name), {str(value): value for value in known}
    values = _limited(name, values)
    return tuple(dict.fromkeys(texts.get(str(value)) or factor.value(value) for value in values))


def _listed(name: str, values: Iterable[Any], known: Sequence[Any]) -> tuple[Any, ...]:
    chosen = _limited(name, values)
    if wrong := [value for value in chosen if not isinstance(value, str) or value not in known]:
        raise SpecError(f"{name} must be {' or '.join(map(str, known))}, but got {wrong[0]!r}")
    return tuple(dict.fromkeys(chosen))


def _depths(values: Any) -> tuple[int, ...]:
    return whole_numbers("depth", values, 100)


def whole_numbers(name: str, values: Any, most: int) -> tuple[int, ...]:
    chosen = [*map(as_python, _limited(name, values))]
    if wrong := [
        value
        for value in chosen
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most
    ]:
        raise SpecError(f"{name} must be whole numbers from 1 to {most}, but got {wrong[0]!r}")
    return tuple(dict.fromkeys(chosen))


def _widths(values: Any, task: Task) -> tuple[tuple[int, ...], ...]:
    """Read one tuple of stage widths, or several."""
    several = _limited("widths", values)
    if all(isinstance(width, Integral) for width in several):
        several = [several]
    try:
        found = [tuple(widths) for widths in several]
        if () in found:
            raise SpecError("widths must be one or more whole numbers from 1, but got none")
        return tuple(dict.fromkeys(replace(task, widths=widths).widths for widths in found))
    except TypeError as error:
        raise SpecError(
            "widths must be stage widths such as (8, 16, 32), or a list of these, "
            f"but got {several}"
        ) from error


AROUND = {  # what a user may list of the network around the blocks, and where a part has it
    "widths": "widths",
    "stem": "stems",
    "depth": "depths",
    "head": "heads",
    "stages": "stages",
    "resolution": "resolutions",
    "channels": "channels",
}
_READERS: dict[str, Callable[[Any], Any]] = {
    "stem": read_stem,
    "resolution": read_resolution,
    "channels": read_channels,
}


def around_values(task: Task, name: str, values: Any) -> tuple[Any, ...]:
    """Read the options of something around the blocks. Raises SpecError."""
    match name:
        case "widths":
            return _widths(values, task)
        case "head":
            return _listed(name, values, HEADS)
        case "stages":
            return _stages(values)
        case "stem" | "resolution" | "channels":
            return tuple(dict.fromkeys(map(_READERS[name], _limited(name, values))))
        case _:
            return _depths(values)
