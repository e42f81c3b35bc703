"""What a space holds and what a network costs, the slow way: every combination is built, every
output position counted.
"""

import json
from functools import cache
from itertools import product

from blocksearch.arch.block import Block
from blocksearch.arch.layers import Layers, encode
from blocksearch.arch.network import Network, Task
from blocksearch.errors import SpecError

PLAN = ("task", "base", "widths", "stem", "head", "depth", "per_stage")


def combinations(declared: dict) -> int:
    """Count the combinations of a declaration's options."""
    blocks = 1
    for name, values in declared.items():
        blocks *= 1 if name in PLAN else len(values)
    total = 0
    for widths, stem, _ in product(declared["widths"], declared["stem"], _heads(declared)):
        stages = len(widths) - (stem == "conv")
        total += (
            (blocks * len(declared["depth"])) ** stages
            if declared["per_stage"]
            else blocks * len(declared["depth"])
        )
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
    for widths, stem, head in product(declared["widths"], declared["stem"], _heads(declared)):
        stages = len(widths) - (stem == "conv")
        chosen = (
            product(choices, repeat=stages)
            if declared["per_stage"]
            else ((one,) * stages for one in choices)
        )
        deep = (
            product(declared["depth"], repeat=stages)
            if declared["per_stage"]
            else [(d,) * stages for d in declared["depth"]]
        )
        for values, depths in product(list(chosen), list(deep)):
            try:
                network = _network(declared, widths, (stem, head), values, depths)
            except SpecError:
                continue
            found.setdefault(network.digest, network)
    return list(found.values())


def _heads(declared: dict) -> list[str]:
    return declared.get("head", ["flatten"])


def _network(declared, widths, ends, values, depths) -> Network:
    stem, head = ends
    blocks, repeated = [], list(widths[:1]) if stem == "conv" else []
    for width, chosen, depth in zip(widths[len(repeated) :], values, depths, strict=True):
        own = declared["base"].values() | chosen
        blocks += [Block(**own)] + [Block(**own | {"pooling": "none"})] * (depth - 1)
        repeated += [width] * depth
    old = declared["task"]
    task = Task(input=old.input, widths=tuple(repeated), classes=old.classes, dropout=old.dropout)
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
