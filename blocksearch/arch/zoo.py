"""Lists reference networks by name, as rows that read like the EffNet paper, and tasks.

The paper gives widths for CIFAR-10 alone; the others, and the counting convention, are recovered
from its FLOPs columns. Positions of normalisation and most activations are not in the paper:
choices of ours, the same in every row.
"""

import re
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, replace
from fractions import Fraction

from blocksearch.arch.block import Block
from blocksearch.arch.cost import cost
from blocksearch.arch.layers import Shape
from blocksearch.arch.network import Network, Task
from blocksearch.arch.scale import rescaled
from blocksearch.arch.shape import read_shape
from blocksearch.arch.stem import stages_without_block
from blocksearch.arch.values import SEPARATED, Expand, Groups, Reduce
from blocksearch.errors import check_type, unknown

_SHAPE = Shape(3, 32, 32)
TASK_TEXT = re.compile(
    r"(?P<name>[^:/]+)(:(?P<input>[0-9]{1,5}(x[0-9]{1,5}){2}))?(/(?P<classes>[0-9]{1,6}))?"
)
OWN_WIDTHS = (8, 16, 32)  # of reference networks on a task that has none
TASKS = {
    "cifar10": Task(input=_SHAPE, widths=(64, 128, 256), classes=10),
    "svhn": Task(input=_SHAPE, widths=(12, 24, 48), classes=10),
    "gtsrb": Task(input=_SHAPE, widths=(8, 16, 32), classes=43, dropout=0.5),
    "digits": Task(input=_SHAPE, widths=(8, 16, 32), classes=10),
}


def task_of(named: Task | str) -> Task:
    """Return a task, or the one of a data set by its name, which may have another input and number
    of classes. Raises ConfigError or SpecError.

    >>> str(task_of("gtsrb").input), task_of("cifar10:3x48x48/7").classes
    ('3x32x32', 7)
    """
    given: object = named
    if isinstance(given, Task):
        return given
    match = TASK_TEXT.fullmatch(given) if isinstance(given, str) else None
    if match is None or match["name"] not in TASKS:
        raise unknown("task", str(given), TASKS, "; or a Task of your own")
    found = TASKS[match["name"]]
    if match["input"] and (shape := read_shape(match["input"])):
        found = replace(found, input=shape)
    return replace(found, classes=int(match["classes"])) if match["classes"] else found


def dataset_of(task: Task | str) -> str | None:
    """Return the data set that a task's text names; None for a task.

    >>> dataset_of("cifar10:3x48x48/7")
    'cifar10'
    """
    return re.split("[:/]", task)[0] if isinstance(task, str) else None


def with_stages(named: Task | str) -> Task:
    """Return a task, or the one of a name, with the widths 8,16,32 where it has none.

    >>> with_stages(Task(input=(3, 32, 32), classes=7)).widths
    (8, 16, 32)
    """
    own = task_of(named)
    return own if own.widths else replace(own, widths=OWN_WIDTHS)


@dataclass(frozen=True)
class Named:
    """A reference network: its stem, its block, and where the paper describes it.

    `last_block` replaces the block of the last stage on CIFAR-10 and SVHN, where the published
    FLOPs demand it. `fills` rescales the widths to the FLOPs of the baseline: of the `network`, or
    as `published`, with its classifier on a map 16 times as large.
    """

    name: str
    source: str
    stem: str
    block: Block
    _: KW_ONLY
    last_block: Block | None = None
    fills: str = ""


def _mobilenet_v2(rate: int) -> Block:
    return Block(
        bottleneck=Expand(Fraction(rate)),
        pooling="stride",
        spatial_activation="relu",
        activation="linear",
    )


def _effnet_revised(rate: int, pooling: str = "separable") -> Block:
    """1×1 to ⌊c_in·r/2⌋, depth multiplier 2, separable pooling, leaky ReLU at the end (Section
    6.2).
    """
    expansion = Expand(Fraction(rate, 2))
    return Block(
        bottleneck=expansion,
        kernel=SEPARATED,
        depth_multiplier=2,
        pooling=pooling,
        activation="leaky",
    )


def _rates(
    name: str,
    source: str,
    block: Callable[[int], Block],
    last: Callable[[int], Block] | None = None,
) -> list[Named]:
    """One row for each expansion rate of Tables 5-7; the bare name is rate 6."""
    rows = {name: 6, f"{name}_4": 4, f"{name}_2": 2}
    return [
        Named(row, source, "conv", block(rate), last_block=last(rate) if last else None)
        for row, rate in rows.items()
    ]


_EFFNET = Block(bottleneck=Reduce(2), minimum=6, kernel=SEPARATED, pooling="separable_conv")

# fmt: off
NAMED: dict[str, Named] = {row.name: row for row in (
    Named("baseline", "Table 1", "block",
          Block(spatial="dense", last="none", pooling="last")),
    Named("mobilenet", "Table 1", "conv",
          Block(pooling="stride", spatial_activation="relu")),
    Named("shufflenet", "Table 1", "conv",
          Block(bottleneck=Reduce(4), pooling="stride", groups=Groups("both", 4),
                residual="concatenate", activation="linear", join_activation="relu")),
    Named("effnet", "Section 4.2, Table 1", "block", _EFFNET),
    Named("effnet_large", "Tables 2-4, widths ours", "block", _EFFNET, fills="network"),
    Named("effnet_large_published", "Tables 2-4, widths ours", "block", _EFFNET, fills="published"),
    *_rates("mobilenet_v2", "Section 6.1, Tables 5-7", _mobilenet_v2),
    *_rates("effnet_revised", "Section 6.2, Tables 5-7", _effnet_revised,
            lambda rate: _effnet_revised(rate, "first")),
    Named("mob_imp", "Section 6.3, Tables 5-7", "conv",
          Block(bottleneck=Expand(Fraction(6)), pooling="last", spatial_activation="relu",
                activation="leaky")),
)}
# fmt: on


def named(name: str) -> Named:
    """Find a reference network; `_6` may be added if the bare name is rate 6.

    Raises ConfigError with the known names.
    """
    check_type("a network's name", name, str)
    name = name.removesuffix("_6") if f"{name.removesuffix('_6')}_4" in NAMED else name
    if name not in NAMED:
        raise unknown("network", name, NAMED, "; or write a block such as 'kernel=1x3+3x1'")
    return NAMED[name]


def reference(
    name: str, task: Task, *, dataset: str | None = None, as_written: bool = False
) -> tuple[str, tuple[Block, ...], tuple[int, ...]]:
    """Return stem, blocks and widths of a reference network on a task; see `named_network`."""
    row = named(name)
    stages = len(task.widths) - stages_without_block(row.stem)
    blocks: tuple[Block, ...] = (row.block,)
    if row.last_block and dataset in ("cifar10", "svhn") and stages > 0 and not as_written:
        blocks = (row.block,) * (stages - 1) + (row.last_block,)
    if not row.fills:
        return row.stem, blocks, task.widths
    network = Network(task=task, blocks=blocks, stem=row.stem)
    filled = rescaled(network, f"flops <= {baseline_flops(task, row.fills)}")
    return row.stem, blocks, filled.widths


def named_network(
    name: str, task: Task | str, *, dataset: str | None = None, as_written: bool = False
) -> Network:
    """Place a reference network on a task, or the one of a shipped data set, at the task's widths
    (8,16,32 where it has none).

    >>> named_network("effnet", TASKS["gtsrb"]).cost.flops
    344064

    On CIFAR-10 and SVHN the last block of effnet_revised pools as the published FLOPs demand,
    whatever the widths; elsewhere, and with `as_written`, it pools as Section 6.2 is written.
    """
    dataset, task = dataset_of(task) or dataset, with_stages(task)
    stem, blocks, widths = reference(name, task, dataset=dataset, as_written=as_written)
    return Network(task=task, blocks=blocks, widths=widths, stem=stem)


def baseline_flops(task: Task, which: str = "network") -> int:
    """Count the baseline: the `network`, or as `published`, with a 16 times larger classifier."""
    baseline = named_network("baseline", task)
    classifier = cost(baseline.stages[-1][-1:]).flops
    return baseline.cost.flops + (15 * classifier if which == "published" else 0)
