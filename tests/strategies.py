"""Random blocks and networks for the laws that must hold for all of them."""

import os
from fractions import Fraction

from hypothesis import assume, settings
from hypothesis import strategies as st

from blocksearch.arch.block import Block
from blocksearch.arch.factors import FACTORS
from blocksearch.arch.layers import Shape
from blocksearch.arch.network import Network, Task
from blocksearch.arch.stem import STEMS, STRIDES, ConvStem
from blocksearch.arch.values import Expand, Groups, Reduce
from blocksearch.errors import SpecError

_odd = st.sampled_from([1, 3, 5])
_free = {  # more values than an ablation tries; all other factors take those
    "bottleneck": st.one_of(
        st.just("none"),
        st.integers(1, 9).map(Reduce),
        st.fractions(Fraction(1, 4), Fraction(6), max_denominator=4).map(Expand),
    ),
    "minimum": st.integers(1, 8),
    "kernel": st.lists(
        st.tuples(_odd, _odd, st.sampled_from([1, 1, 2, 3])), min_size=1, max_size=3
    ).map(lambda layers: "+".join(f"{h}x{w}" + (f"d{d}" if d > 1 else "") for h, w, d in layers)),
    "depth_multiplier": st.integers(1, 3),
    "pooling": st.sampled_from([*FACTORS["pooling"].values, "none"]),
    "groups": st.one_of(
        st.just("none"), st.builds(Groups, st.sampled_from(["last", "both"]), st.integers(1, 7))
    ),
}


@st.composite
def blocks(draw):
    values = {
        name: draw(_free.get(name, st.sampled_from(factor.values)))
        for name, factor in FACTORS.items()
    }
    try:
        return Block(**values)
    except SpecError:
        assume(False)


@st.composite
def tasks_(draw):
    size = st.integers(4, 33)
    shape = Shape(draw(st.integers(1, 4)), draw(size), draw(size))
    widths = tuple(draw(st.lists(st.integers(1, 13), min_size=1, max_size=3)))
    return Task(
        input=shape,
        widths=widths,
        classes=draw(st.integers(2, 11)),
        dropout=draw(st.sampled_from([0.0, 0.5, 0.25])),
    )


own_stems = st.builds(
    ConvStem,
    kernel=st.sampled_from([1, 3, 5]),
    stride=st.sampled_from(STRIDES),
    width=st.sampled_from([1, 2, 3, 4, 8]),
).map(str)


@st.composite
def networks(draw):
    task, stem = draw(tasks_()), draw(st.one_of(st.sampled_from(STEMS), own_stems))
    stages = len(task.widths) - (stem == "conv")
    count = draw(st.sampled_from(sorted({1, max(1, stages)})))
    try:
        own = tuple(draw(blocks()) for _ in range(count))
        head = draw(st.sampled_from(["flatten", "global_pool"]))
        return Network(task=task, blocks=own, stem=stem, head=head)
    except SpecError:
        assume(False)


_some_options = {  # texts that make blocks coincide
    "bottleneck": ["none", "reduce(1)", "reduce(2)", "reduce(4)", "expand(1)", "expand(1/3)"],
    "minimum": ["1", "3"],
    "kernel": ["3x3", "1x3+3x1", "1x1", "3x3+3x3", "1x1+3x3", "3x3+1x1", "3x3d2"],
    "pooling": [*map(str, FACTORS["pooling"].values), "none"],
    "groups": ["none", "last(2)", "both(3)", "both(4)"],
}
OPTIONS = {
    name: _some_options.get(name, list(map(str, factor.values))) for name, factor in FACTORS.items()
}


def _some(values, most):
    return st.lists(st.sampled_from(values), min_size=1, max_size=most, unique=True)


def _stages(count, *, plain):
    """Stages with options of their own; the first may be plain, so that a stem can take its
    place.
    """
    stage = st.fixed_dictionaries(
        {
            "width": _some([1, 2, 3, 4, 8], 2),
            "depth": st.one_of(st.just([1]), _some([1, 2], 2)),
            "stride": _some([1, 2], 2),
        }
    )
    first = st.fixed_dictionaries(
        {"width": _some([1, 2, 4], 2), "depth": st.just([1]), "stride": st.just([2])}
    )
    rest = st.lists(stage, min_size=count - 1, max_size=count - 1)
    return st.builds(lambda a, b: [a, *b], st.one_of(first, stage) if plain else stage, rest)


@st.composite
def declarations(draw):
    """Draw the arguments of a small grammar, collisions wanted: few channels, equal widths, stages
    that may look alike.
    """
    size = st.integers(1, 9)
    shape = Shape(draw(st.integers(1, 4)), draw(size), draw(size))
    stages = st.lists(st.sampled_from([1, 2, 3, 4, 4, 8]), min_size=1, max_size=3).map(tuple)
    widths = draw(st.lists(stages, min_size=1, max_size=2, unique=True))
    deep, staged = draw(st.booleans()), draw(st.booleans())
    first = ["conv", "block"] if min(map(len, widths)) > 1 else ["block"]
    around = {"widths": widths, "depth": draw(_some([1, 2], 2)) if deep else [1]}
    if staged:
        around = {"stages": draw(_stages(len(widths[0]), plain=len(widths[0]) > 1))}
        plain = around["stages"][0]["depth"] == [1] and around["stages"][0]["stride"] == [2]
        first = ["conv", "block"] if plain and len(widths[0]) > 1 else ["block"]
    if draw(st.booleans()):
        sizes = st.tuples(st.integers(1, 9), st.integers(1, 9))
        around["resolution"] = draw(st.lists(sizes, min_size=1, max_size=2, unique=True))
        around["channels"] = draw(_some([1, 3], 2))
    factors = draw(st.lists(st.sampled_from(sorted(OPTIONS)), max_size=5, unique=True))
    per_stage = draw(st.booleans())
    return {
        "task": Task(input=shape, widths=widths[0], classes=draw(st.integers(2, 4))),
        "base": Block(spatial="dense", last="none", pooling="none")
        if draw(st.booleans())
        else Block(),
        **around,
        "stem": draw(_some([*first, *draw(st.lists(own_stems, max_size=2))], 2)),
        "head": draw(_some(["flatten", "global_pool"], 2)),
        "per_stage": per_stage,
        **{factor: draw(_some(OPTIONS[factor], 2 if per_stage else 3)) for factor in factors},
    }


def tries(most: int) -> settings:
    """Try a law so often where laws are tried often, and a fifth of it in the quick tier."""
    thorough = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"
    return settings(max_examples=most if thorough else max(5, most // 5))
