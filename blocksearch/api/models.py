"""Puts blocks into a user's PyTorch model."""

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeAlias

from blocksearch.api.answer import Answer
from blocksearch.arch.block import Block
from blocksearch.arch.notation import parse
from blocksearch.arch.skeleton import Skeleton
from blocksearch.arch.zoo import TASKS
from blocksearch.errors import ConfigError, check_type
from blocksearch.runs.plan import Plugins, loaded
from blocksearch.space.load import made_in, value_in

if TYPE_CHECKING:
    from torch import nn

Maker: TypeAlias = Skeleton | Callable[[Block], Any] | str | None  # a function makes a module


def replace(
    model: "nn.Module",
    block: str | Block = "effnet",
    example_input: Any = (3, 32, 32),
    *,
    where: Any = None,
    plugins: Plugins = (),
) -> "tuple[nn.Module, Answer[list[dict[str, Any]]]]":
    """Return a copy of a model with blocks for its convolutions, and a table of what was replaced.

    A vanilla convolution (one group, more than one pixel) gives way to a block with the same input
    and output, and so do the normalisation, activation and 2×2 pooling that follow it. `block` is
    a block, its text, or a named network whose block is meant. `example_input` is a tensor N×C×H×W,
    or a shape (channels, height, width). `where` are patterns of module names such as
    `"layer2.*"`, or a function of name and module; without it, all but the first convolution.
    Weights elsewhere are kept, those of the blocks are drawn by torch. Raises ConfigError or
    PluginError.
    Source of the aim: EffNet paper, Section 1.

    >>> from torch import nn
    >>> conv = nn.Sequential(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
    >>> new, table = replace(conv, "effnet", (16, 32, 32), where="0")
    >>> [(row["name"], row["flops"], row["new_flops"]) for row in table.records()]
    [('0', 9437184, 1196032)]
    """
    from torch import nn

    from blocksearch.report.networks import replaced_report
    from blocksearch.training.replace import read_example, replace_convolutions

    check_type("model", model, nn.Module)
    own = _block(block, plugins)
    new, rows, counts = replace_convolutions(model, own, read_example(example_input), where)
    found = [asdict(row) for row in rows]
    flops, params = zip(*(each.total for each in counts), strict=True)
    title = f"{type(model).__name__}, convolutions replaced by [{own}]"
    return new, Answer(found=found, report=replaced_report(title, found, flops, params))


def _block(given: str | Block, plugins: Plugins) -> Block:
    if isinstance(given, Block):
        return given
    blocks = parse(given, TASKS["cifar10"], loaded(plugins).options).blocks
    if len(set(blocks)) > 1:
        raise ConfigError(f"{given} has several blocks; write out the one that is meant")
    return blocks[-1]


def model_from(place: str) -> "nn.Module":
    """Run a user's file and return the model that a name in it is or makes: `my_model.py:make`.

    Raises SpecError, ConfigError or PluginError in one line.
    """
    from torch import nn

    made = made_in(place, "model", lambda own: isinstance(own, nn.Module))
    if not isinstance(made, nn.Module):
        raise ConfigError(f"{place} must be or return a torch.nn.Module, but is {type(made)}")
    return made


def read_skeleton(given: "Maker") -> Skeleton | None:
    """Return a skeleton: one, a function from a block to a model, or where it is, FILE:NAME.

    Raises ConfigError for what is none of these.
    """
    if given is None or isinstance(given, Skeleton):
        return given
    made = value_in(given, "model") if isinstance(given, str) else given
    if hasattr(made, "forward") and not isinstance(made, type):
        raise ConfigError(
            f"{given if isinstance(given, str) else 'a skeleton'} is a model: give a function "
            "that takes a block and returns the model around it"
        )
    return Skeleton(made)
