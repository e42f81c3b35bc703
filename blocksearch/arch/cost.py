"""Counts what a network costs, exactly and without torch, over the layers of its module.

Convention (EffNet paper, recovered from its tables): one multiply-accumulate is two FLOPs;
convolutions and the classifier count, for one image; biases, normalisation, activations, pooling
and additions do not. Parameters include those of normalisation and the classifier's bias.
A budget is a bound on a cost.
"""

import operator
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum, auto
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, assert_never

from blocksearch.arch.quantities import COUNTED, COUNTERS, Priced, metric_named
from blocksearch.arch.shape import Shape
from blocksearch.errors import ConfigError, SpecError

if TYPE_CHECKING:
    from blocksearch.arch.network import Network


class Relation(StrEnum):
    """On which side of its bound a budget holds, as it is written."""

    AT_MOST = "<="
    AT_LEAST = ">="
    BELOW = "<"
    ABOVE = ">"

    @property
    def is_upper(self) -> bool:
        """Whether the bound is an upper one: smaller values hold."""
        match self:
            case Relation.AT_MOST | Relation.BELOW:
                return True
            case Relation.AT_LEAST | Relation.ABOVE:
                return False
        assert_never(self)


_HOLDS: dict[Relation, Callable[[Any, Any], Any]] = {
    Relation.AT_MOST: operator.le,
    Relation.AT_LEAST: operator.ge,
    Relation.BELOW: operator.lt,
    Relation.ABOVE: operator.gt,
}
_BUDGET = re.compile(  # the last relation counts, so that a long text is read in one go
    rf"(.+)({'|'.join(Relation)})\s*"
    r"(-?[0-9][0-9_]{0,17}(?:\.[0-9]{1,6})?(?:e[0-9]{1,2})?)\s*([kKMG]?)"
)
_SCALES = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9}


@dataclass(frozen=True, kw_only=True)
class Cost(Priced):
    """Exact counts for one image; each of `METRICS` is an attribute.

    `layer_activations` holds the elements that each convolution and the classifier give, pooling
    folded in (Table 1), in order of execution. `peak_activations` is the largest sum of elements
    alive at once, without weights: normalisation, activations and additions work in place, and a
    shortcut's source lives until the shortcut has read it.

    >>> from blocksearch import TASKS, named_network
    >>> own = named_network("effnet", TASKS["gtsrb"]).cost
    >>> own.flops, own.params, own.peak_activations
    (344064, 24245, 12288)
    """

    macs: int = 0
    params: int = 0
    layer_activations: tuple[int, ...] = ()
    peak_activations: int = 0
    counts: tuple[int, ...] = ()  # what is `COUNTED` of layers, if anything is

    @property
    def flops(self) -> int:
        """Return 2 · macs, as the paper and `torch.utils.flop_counter` count."""
        return 2 * self.macs

    @property
    def activations(self) -> int:
        """Return the elements that convolutions and the classifier give, summed."""
        return sum(self.layer_activations)

    def then(self, other: "Cost") -> "Cost":
        """Return the cost of running this, then the other."""
        return Cost(
            macs=self.macs + other.macs,
            params=self.params + other.params,
            layer_activations=self.layer_activations + other.layer_activations,
            peak_activations=max(self.peak_activations, other.peak_activations),
            counts=_sums(self.counts, other.counts),
        )

    def beside(self, held: int) -> "Cost":
        """Return the same cost while another tensor of `held` elements is alive."""
        return replace(self, peak_activations=self.peak_activations + held)


def _sums(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(map(operator.add, one, other)) if one and other else one or other


class Place(StrEnum):
    """What a layer does to the row of a layer table, which a convolution opens."""

    OPENS = auto()  # its output is counted as activations
    RIDES = auto()  # it leaves the row open: a pool may still follow
    FOLDS = auto()  # its smaller output replaces the one counted
    CLOSES = auto()


class Layer:
    """The base of all layers. A subclass is a frozen dataclass that begins with `input: Shape`.

    It must define `cost` (of itself alone) and, if its shape changes, `output`; the rest have
    defaults. Its name, or `stored_as`, is its kind in stored networks. `training.build` needs a
    builder for it. A field that a layer gets once networks are stored is `added(default)`.
    """

    input: Shape
    stored_as: ClassVar[str]
    place: ClassVar[Place] = Place.CLOSES
    in_place: ClassVar[bool] = False  # writes over its input, if nobody else reads that
    countable: ClassVar[bool] = True  # what is `COUNTED` of layers is counted of it

    def __init_subclass__(cls, stored_as: str = "") -> None:
        if cls.cost is Layer.cost:
            raise TypeError(f"layer {cls.__name__} must define its cost")
        cls.stored_as = stored_as or cls.__name__
        known = LAYERS.setdefault(cls.stored_as, cls)
        if (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
            raise TypeError(f"there is a layer {cls.stored_as} already")
        LAYERS[cls.stored_as] = cls

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.label}, {self.input} to {self.output}>"

    @property
    def output(self) -> Shape:
        return self.input

    @property
    def cost(self) -> Cost:
        """Return what the layer costs by itself."""
        raise NotImplementedError

    @property
    def label(self) -> str:
        """Return its name in a layer table."""
        return type(self).__name__.lower()

    @property
    def suffix(self) -> str:
        """Return what it adds to the row of the layer before it."""
        return f" + {self.label}"

    @property
    def traffic(self) -> int:
        """Return the elements that training reads and writes, forward and backward, at least."""
        return 2 * (self.input.elements + self.output.elements)

    @property
    def inner(self) -> "Layers | None":
        """Return the layers that it stands for, or None if it is one itself."""
        return None


Layers: TypeAlias = tuple[Layer, ...]
LAYERS: dict[str, type[Layer]] = {}


def added(default: Any) -> Any:
    """Declare a field added after networks were stored. If it has its default, they keep their
    digest.
    """
    return field(default=default, metadata={"added": True})


def moves(layer: Layer) -> Cost:
    """Return the cost of a layer without arithmetic that writes its output beside its input."""
    return Cost(peak_activations=layer.input.elements + layer.output.elements)


def flat(layers: Iterable[Layer]) -> Iterator[Layer]:
    """Walk layers with the bodies of custom ops in their place; a join keeps its branches.

    Raises SpecError for what is no layer.
    """
    for layer in layers:
        if not isinstance(layer, Layer):
            raise SpecError(f"{type(layer).__name__} is no layer, so its cost is not known")
        inner = layer.inner
        if inner is None:
            yield layer
        else:
            yield from flat(inner)


def cost(priced: "Network | Iterable[Layer]") -> Cost:
    """Count a network or a sequence of layers.

    >>> from blocksearch import TASKS, named_network
    >>> cost(named_network("effnet", TASKS["gtsrb"])).flops
    344064
    """
    counted, opened, counts = list[int](), False, tuple[int, ...]()
    macs = params = peak = 0
    layers: Iterable[Layer] = getattr(priced, "layers", priced)  # type: ignore[arg-type]
    for layer in flat(layers):
        own = layer.cost
        macs, params = macs + own.macs, params + own.params
        peak = max(peak, own.peak_activations)
        counted += own.layer_activations
        if opened and layer.place is Place.FOLDS:
            counted[-1] = layer.output.elements
        opened = _is_open(layer, opened)
        if COUNTED:
            counts = _sums(counts, _counts(layer, own))
    return Cost(
        macs=macs,
        params=params,
        layer_activations=tuple(counted),
        peak_activations=peak,
        counts=counts,
    )


def _counts(layer: Layer, own: Cost) -> tuple[int, ...]:
    """Count what is `COUNTED` of a layer; one made of layers has theirs in its own cost."""
    return tuple(f(layer) for f in COUNTERS) if layer.countable else own.counts


def _is_open(layer: Layer, opened: bool) -> bool:
    return layer.place is Place.OPENS or (opened and layer.place is not Place.CLOSES)


def layer_cost(layer: Layer, folding: int = 0) -> tuple[Cost, int]:
    """Count one layer of a sequence; `layer_activations` is one number, what it adds to the sum.

    `folding` is what the convolution before gave, if a pool would fold into it, else 0; the second
    answer is the same for the next layer. Sums of this are `cost` of the whole sequence.
    """
    total, added = Cost(), 0
    for part in flat((layer,)):
        own = part.cost
        total = total.then(replace(own, counts=_counts(part, own)) if COUNTED else own)
        if folding and part.place is Place.FOLDS:
            added += part.output.elements - folding
        folding = part.output.elements if _is_open(part, folding > 0) else 0
    return replace(total, layer_activations=(total.activations + added,)), folding


def branch_cost(branch: Layers, entry: Shape, held: int) -> Cost:
    """Count a branch of a join, with `held` elements of the join's input alive behind the first.

    The first layer reads the join's input, which other branches read too: it is not in place.
    """
    branch = tuple(flat(branch))
    if not branch:
        return Cost(peak_activations=entry.elements)
    first, rest = cost(branch[:1]), cost(branch[1:]).beside(held)
    if branch[0].in_place:
        first = first.beside(branch[0].output.elements)
    return replace(
        cost(branch), peak_activations=max(first.peak_activations, rest.peak_activations)
    )


@dataclass(frozen=True, kw_only=True)
class Budget:
    """A bound on a cost of the whole network, or on what is measured of it."""

    name: str
    quantity: str
    relation: Relation
    bound: float

    def __str__(self) -> str:
        return f"{self.quantity} {self.relation} {str(self.bound).removesuffix('.0')}"

    def of(self, cost: Cost) -> int:
        """Return the number of a cost that the bound is for."""
        return int(getattr(cost, self.quantity))

    def holds(self, value: Any) -> Any:
        """Compare a cost, or an array of costs."""
        return _HOLDS[self.relation](value, self.bound)


def read_budget(text: str, name: str = "") -> Budget:
    """Read a budget such as `flops <= 12e6`; its text is its name where none is given. Raises
    ConfigError.
    """
    quantity, relation, bound = read_bound(text)
    quantity = metric_named(quantity)
    if bound != int(bound) or bound < 0:
        raise ConfigError(f"a cost is a whole number, but the budget is {text!r}")
    budget = Budget(name="", quantity=quantity, relation=relation, bound=int(bound))
    return replace(budget, name=name or str(budget))


def read_bound(text: str) -> tuple[str, Relation, Decimal]:
    """Return what a budget bounds, its relation and the bound. Raises ConfigError.

    >>> read_bound("accuracy >= 92.5")
    ('accuracy', <Relation.AT_LEAST: '>='>, Decimal('92.5'))
    """
    match = _BUDGET.fullmatch(text.strip())
    if match is None:
        raise ConfigError(f"a budget is written like 'flops <= 12e6', but got {text!r}")
    quantity, relation, number, scale = match.groups()
    return quantity.strip(), Relation(relation), Decimal(number) * _SCALES[scale]
