"""What a space holds and what a network costs, the slow way: every combination is built, every
output position counted.
"""

import json
from functools import cache
from itertools import product

from blocksearch.arch.block import Block
from blocksearch.arch.layers import Layers, Shape, encode
from blocksearch.arch.network import Network, Task
from blocksearch.errors import SpecError

PLAN = (
    "task", "base", "widths", "stem", "head", "depth", "per_stage", "stages", "resolution",
    "channels",
)  # fmt: skip


def combinations(declared: dict) -> int:
    """Count the combinations of a declaration's options."""
    blocks = 1
    for name, values in declared.items():
        blocks *= 1 if name in PLAN else len(values)
    total = 0
    for stem, *_ in _around(declared):
        for widths, _, _ in _bodies(declared, stem):
            slots = len(widths) - (stem == "conv")
            total += blocks**slots if declared["per_stage"] else blocks
    return total


def members(declared: dict, keeps=lambda values: True) -> list[Network]:
    """Build every combination of a declaration whose blocks are kept, equal networks once."""
    names = [name for name in declared if name not in PLAN]
    choices = [
        dict(zip(names, values, strict=True))
        for values in product(*(declared[name] for name in names))
    ]
    base = {name: str(value) for name, value in declared["base"].values().items()}
    choices = [values for values in choices if keeps(base | values)]
    found: dict[str, Network] = {}
    for around in _around(declared):
        for body in _bodies(declared, around[0]):
            slots = len(body[0]) - (around[0] == "conv")
            chosen = (
                product(choices, repeat=slots)
                if declared["per_stage"]
                else ((one,) * slots for one in choices)
            )
            for values in chosen:
                try:
                    network = _network(declared, around, body, values)
                except SpecError:
                    continue
                found.setdefault(network.digest, network)
    return list(found.values())


def _around(declared: dict):
    """Every stem, head and input."""
    own = declared["task"].input
    inputs = [
        Shape(channels, *size)
        for size in declared.get("resolution", [own.map])
        for channels in declared.get("channels", [own.channels])
    ]
    return list(product(declared["stem"], declared.get("head", ["flatten"]), inputs))


def _bodies(declared: dict, stem: str):
    """Every choice of the stages' widths, depths and strides; a plain stem is the first stage."""
    if "stages" in declared:
        each = [
            product(stage["width"], stage.get("depth", [1]), stage.get("stride", [2]))
            for stage in declared["stages"]
        ]
        return [tuple(zip(*choice, strict=True)) for choice in product(*map(list, each))]
    found = []
    for widths in declared["widths"]:
        slots = len(widths) - (stem == "conv")
        deep = (
            product(declared["depth"], repeat=slots)
            if declared["per_stage"]
            else [(d,) * slots for d in declared["depth"]]
        )
        ends = (1,) * (stem == "conv"), (2,) * len(widths)
        found += [(widths, ends[0] + depths, ends[1]) for depths in deep]
    return found


def _network(declared, around, body, values) -> Network:
    (stem, head, shape), (widths, depths, strides) = around, body
    first = int(stem == "conv")
    blocks, repeated = [], list(widths[:first])
    for width, depth, stride, chosen in zip(
        widths[first:], depths[first:], strides[first:], values, strict=True
    ):
        block = Block(**declared["base"].values() | chosen)
        kept = Block(**block.values() | {"pooling": "none"})
        blocks += [block if stride == 2 else kept] + [kept] * (depth - 1)
        repeated += [width] * depth
    old = declared["task"]
    task = Task(input=shape, widths=tuple(repeated), classes=old.classes, dropout=old.dropout)
    return Network(task=task, blocks=tuple(blocks), stem=stem, head=head)


def macs(layers: Layers) -> int:
    """Count multiply-accumulates from the stored form of a network alone, output value by output
    value.
    """
    return sum(_macs(layer) for layer in json.loads(encode(layers)))


def _macs(layer: dict) -> int:
    match layer[""]:
        case "Conv":
            shape = layer["input"]
            sides = tuple(
                zip(
                    (shape["height"], shape["width"]), layer["kernel"], layer["stride"], strict=True
                )
            )
            return _conv(shape["channels"], layer["out_channels"], layer["groups"], sides)
        case "Linear":
            shape = layer["input"]
            return sum(
                1 for _ in product(range(layer["classes"]), range(shape["channels"]), _cells(shape))
            )
        case "Join":
            return sum(_macs(part) for branch in layer["branches"] for part in branch)
        case "Custom":
            return sum(_macs(part) for part in layer["body"])
        case _:
            return 0


def _cells(shape: dict):
    return list(product(range(shape["height"]), range(shape["width"])))


@cache
def _conv(inputs: int, outputs: int, groups: int, sides) -> int:
    """Walk the output positions; each output channel sees the inputs of its group, channels dealt
    to groups in even shares.
    """
    per_position = sum(
        kernel_taps
        for output in range(outputs)
        for channel in range(inputs)
        if _group(channel, inputs, groups) == _group(output, outputs, groups)
        for kernel_taps in (sides[0][1] * sides[1][1],)
    )
    positions = 0
    for _row in range(0, sides[0][0], sides[0][2]):
        for _column in range(0, sides[1][0], sides[1][2]):
            positions += 1
    return positions * per_position


@cache
def _group(channel: int, channels: int, groups: int) -> int:
    """Deal channels to groups so that sizes differ by at most one, larger groups first."""
    sizes = [0] * groups
    for dealt in range(channels):
        sizes[dealt % groups] += 1
    for group, size in enumerate(sizes):
        if channel < size:
            return group
        channel -= size
    raise AssertionError
