"""Random blocks and networks for the laws that must hold for all of them."""

from fractions import Fraction

from hypothesis import assume
from hypothesis import strategies as st

from blocksearch.errors import SpaceError
from blocksearch.space.block import Block
from blocksearch.space.factors import FACTORS, Expand, Groups, Reduce
from blocksearch.space.layers import Shape
from blocksearch.space.network import Network, Setting

_odd = st.sampled_from([1, 3, 5])
_free = {
    "bottleneck": st.one_of(
        st.just("none"),
        st.integers(1, 9).map(Reduce),
        st.fractions(Fraction(1, 4), Fraction(6), max_denominator=4).map(Expand),
    ),
    "minimum": st.integers(1, 8),
    "kernel": st.lists(st.tuples(_odd, _odd, st.sampled_from([1, 1, 2, 3])), min_size=1, max_size=3).map(
        lambda layers: "+".join(f"{h}x{w}" + (f"d{d}" if d > 1 else "") for h, w, d in layers)
    ),
    "depth_multiplier": st.integers(1, 3),
    "pooling": st.sampled_from([*FACTORS["pooling"].values, "none"]),
    "groups": st.one_of(st.just("none"), st.builds(Groups, st.sampled_from(["last", "both"]), st.integers(1, 7))),
}


@st.composite
def blocks(draw):
    values = {name: draw(_free.get(name, st.sampled_from(factor.values))) for name, factor in FACTORS.items()}
    try:
        return Block(**values)
    except SpaceError:
        assume(False)


@st.composite
def settings_(draw):
    size = st.integers(4, 33)
    shape = Shape(draw(st.integers(1, 4)), draw(size), draw(size))
    widths = tuple(draw(st.lists(st.integers(1, 13), min_size=1, max_size=3)))
    return Setting(input=shape, widths=widths, classes=draw(st.integers(2, 11)), dropout=draw(st.sampled_from([0.0, 0.5, 0.25])))


@st.composite
def networks(draw):
    setting, first_layer = draw(settings_()), draw(st.sampled_from(["vanilla", "block"]))
    stages = len(setting.widths) - (first_layer == "vanilla")
    count = draw(st.sampled_from(sorted({1, max(1, stages)})))
    try:
        return Network(setting=setting, blocks=tuple(draw(blocks()) for _ in range(count)), first_layer=first_layer)
    except SpaceError:
        assume(False)
