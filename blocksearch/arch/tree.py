"""Defines layers made of layers (joins, custom ops, models of a user's), and stores trees.

Networks are equal if their trees are: `fingerprint` is the digest of a tree, `encode` and `decode`
its stored form.
"""

import hashlib
import json
import re
from dataclasses import Field, dataclass, field, fields
from typing import Any, Literal, assert_never, get_args

from blocksearch.arch.cost import LAYERS, Cost, Layer, Layers, Place, branch_cost, flat
from blocksearch.arch.shape import Shape
from blocksearch.errors import SpecError, as_python

JoinKind = Literal["add", "concatenate", "multiply"]
_JOIN_KINDS = get_args(JoinKind)
_COUNTS = ("macs", "params", "activations", "peak")


@dataclass(frozen=True, repr=False)
class Join(Layer):
    """Run branches on one input and add, concatenate or multiply their outputs.

    An empty branch is the identity. A factor of a product may be one value per channel (C×1×1)
    after the first branch.
    """

    input: Shape
    kind: JoinKind
    branches: tuple[Layers, ...]

    countable = False

    def __post_init__(self) -> None:
        if self.kind not in _JOIN_KINDS or not self.branches:
            raise SpecError(
                f"a join adds, concatenates or multiplies one branch or more, but got "
                f"{self.kind!r} of {len(self.branches)}"
            )
        shapes = self.branch_outputs
        first, per_channel = shapes[0], Shape(shapes[0].channels, 1, 1)
        match self.kind:
            case "add":
                fits = all(shape == first for shape in shapes)
            case "concatenate":
                fits = all(shape.map == first.map for shape in shapes)
            case "multiply":
                fits = all(shape in (first, per_channel) for shape in shapes)
            case _:
                assert_never(self.kind)
        if not fits:
            raise SpecError(
                f"branches to {self.kind} must match, but got {' and '.join(map(str, shapes))}"
            )

    @property
    def branch_outputs(self) -> tuple[Shape, ...]:
        return tuple(branch[-1].output if branch else self.input for branch in self.branches)

    @property
    def output(self) -> Shape:
        first, *rest = self.branch_outputs
        if self.kind != "concatenate":
            return first
        return first.with_channels(first.channels + sum(shape.channels for shape in rest))

    @property
    def cost(self) -> Cost:
        """Count the branches in order: the input is held for those to come, outputs for the join.

        A branch whose first layer reads the input counts it itself, so it is held only behind that.
        """
        total, finished = Cost(), 0
        for index, branch in enumerate(self.branches):
            held = self.input.elements if index < len(self.branches) - 1 else 0
            total = total.then(branch_cost(branch, self.input, held).beside(finished))
            finished += self.branch_outputs[index].elements
        return total.then(Cost(peak_activations=_joined(self.kind, finished)))

    @property
    def label(self) -> str:
        return self.kind

    @property
    def traffic(self) -> int:
        inside = sum(layer.traffic for branch in self.branches for layer in flat(branch))
        return inside + 2 * self.output.elements


def _joined(kind: JoinKind, held: int) -> int:
    """Return the elements alive at a join: concatenating copies, all else is done in place."""
    return 2 * held if kind == "concatenate" else held


def shortcut_cost(kind: JoinKind, entry: Shape, body: Shape, shortcut: Layers) -> Cost:
    """Count what follows the body of a block, whose output is held: the shortcut and the join."""
    held = body.elements + (shortcut[-1].output if shortcut else entry).elements
    around = branch_cost(shortcut, entry, held=0).beside(body.elements)
    return around.then(Cost(peak_activations=_joined(kind, held)))


@dataclass(frozen=True, repr=False)
class CustomOp(Layer, stored_as="Custom"):
    """Layers that a user's op expands to. A changed definition is another network.

    `origin` is the op's text, `namespace.name(parameters)`, and `source` the digest of its code.
    """

    input: Shape
    origin: str
    source: str
    body: Layers

    @property
    def output(self) -> Shape:
        return self.body[-1].output if self.body else self.input

    @property
    def inner(self) -> Layers:
        return self.body

    @property
    def cost(self) -> Cost:
        raise AssertionError("a custom op is counted by its layers")


@dataclass(frozen=True, kw_only=True)
class ModelSource:
    """How a worker process makes a model again: the pickled callable and block, and the digest of
    the operators that its model runs. It is handed over and never stored.
    """

    name: str
    code: bytes = field(repr=False)
    block: bytes = field(repr=False)
    outline: str


@dataclass(frozen=True, kw_only=True, repr=False)
class UserModel(Layer, stored_as="Model"):
    """A user's whole PyTorch model: N×C×H×W in, N×classes out.

    `graph` is the digest of its exported graph. `activations` and `peak` are elements. Without a
    `source`, as read from a database, it has its costs and cannot be made.
    """

    input: Shape
    classes: int
    graph: str
    macs: int
    params: int
    activations: int
    peak: int
    source: ModelSource | None = field(
        default=None, compare=False, repr=False, metadata={"stored": False}
    )

    place, label, countable = Place.OPENS, "model", False

    def __post_init__(self) -> None:
        own: dict[str, Any] = vars(self)
        counts = [own[name] for name in _COUNTS]
        if not isinstance(own["input"], Shape) or not isinstance(own["classes"], int):
            raise SpecError("a model needs an input shape and a number of classes")
        if any(not isinstance(count, int) or count < 0 for count in counts):
            raise SpecError(f"counts of a model must be whole numbers from 0, but got {counts}")
        if not isinstance(own["graph"], str) or not re.fullmatch(r"[0-9a-f]{64}", self.graph):
            raise SpecError("a model needs the digest of its graph")

    @property
    def output(self) -> Shape:
        return Shape(self.classes, 1, 1)

    @property
    def cost(self) -> Cost:
        return Cost(
            macs=self.macs,
            params=self.params,
            layer_activations=(self.activations,),
            peak_activations=self.peak,
        )

    @property
    def traffic(self) -> int:
        return 3 * self.input.elements + 4 * self.activations


def encode(layers: Layers) -> str:
    """Write a layer tree as canonical JSON: the form that is stored and digested."""
    return json.dumps([_to_data(layer) for layer in layers], separators=(",", ":"))


def decode(text: str) -> Layers:
    """Read back what `encode` wrote. Raises SpecError on anything else."""
    try:
        return tuple(_layer(data) for data in json.loads(text))
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise SpecError(f"stored layers do not decode: {type(error).__name__}: {error}") from error


def fingerprint(layers: Layers) -> str:
    """Digest a layer tree: equal exactly where the trees are equal."""
    return hashlib.sha256(encode(layers).encode()).hexdigest()


def _to_data(value: Any) -> Any:
    match value:
        case tuple():
            return [_to_data(item) for item in value]
        case Layer() | Shape():
            kind = value.stored_as if isinstance(value, Layer) else "Shape"
            own = fields(value)  # type: ignore[arg-type]
            names = [each.name for each in own if _is_stored(each, getattr(value, each.name))]
            return {"": kind} | {name: _to_data(getattr(value, name)) for name in names}
        case _:
            return as_python(value)


def _is_stored(field: Field[Any], value: Any) -> bool:
    """Say whether a field is part of what a network is; one that was added later is where it is not
    as before, so that stored networks keep their digest.
    """
    if field.metadata.get("added"):
        return bool(value != field.default)
    return bool(field.metadata.get("stored", True))


def _layer(data: dict[str, Any]) -> Layer:
    return LAYERS[data[""]](**{name: _value(value) for name, value in data.items() if name})


def _value(data: Any) -> Any:
    if isinstance(data, list):
        return tuple(_value(item) for item in data)
    if isinstance(data, dict):
        own = {name: value for name, value in data.items() if name}
        return Shape(**own) if data[""] == "Shape" else _layer(data)
    return data
