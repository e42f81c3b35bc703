"""Defines a skeleton, which is a user's callable that puts a block into a PyTorch model.

`training.traced` finds the costs of such a model and the digest of its graph, and is loaded when
first asked. Nothing stored leads to a callable.
"""

import inspect
import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blocksearch.arch.block import Block
from blocksearch.arch.cost import Cost, Layers
from blocksearch.arch.shape import Shape
from blocksearch.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn

COUNTED = "FLOPs counted by torch"


class Skeleton:
    """A callable from a block to a PyTorch model, with the traced costs of its models.

    >>> from torch import nn
    >>> def make(block):
    ...     body = block.module((3, 8, 8), width=4)
    ...     return nn.Sequential(body, nn.Flatten(), nn.Linear(4 * 4 * 4, 10))
    >>> Skeleton(make).cost(Block(), Shape(3, 8, 8), 10).params
    703

    The model of seed s is what `make` returns after `torch.manual_seed(s)`; weights that it loads
    are kept. Raises ConfigError for what is no callable.
    """

    def __init__(self, make: "Callable[[Block], nn.Module]") -> None:
        if not callable(make):
            raise ConfigError(f"a skeleton is a function from a block to a model, but got {make!r}")
        self.make, self.name = make, name_of(make)
        self.checked = False  # whether torch's seed decides its weights
        self._layers: dict[Any, Layers] = {}
        self._costs: dict[Any, Cost] = {}

    def __repr__(self) -> str:
        return f"<Skeleton {self.name}>"

    def cost(self, block: Block, input: Shape, classes: int) -> Cost:
        """Count a model without exporting it. Raises SpecError if the block does not fit,
        ConfigError or PluginError for a model that cannot be trained.
        """
        key = block, input, classes
        if key not in self._costs:
            known = self._layers.get(key)
            self._costs[key] = known[0].cost if known else _traced().price(self, *key)
        return self._costs[key]

    def layers(self, block: Block, input: Shape, classes: int) -> Layers:
        """Return a model as one layer, with the digest of its graph. Raises as `cost` does."""
        key = block, input, classes
        if key not in self._layers:
            self._layers[key] = (_traced().layer_of(self, *key),)
        return self._layers[key]

    def module(self, block: Block, seed: int = 0) -> "nn.Module":
        """Return the model of a block with the weights that a training of this seed begins with."""
        made: nn.Module = _traced().made(self, block, seed)
        return made


def _traced() -> Any:
    return import_module("blocksearch.training.traced")


def name_of(make: Any) -> str:
    """Name a callable by its file and its own name.

    >>> name_of(name_of)
    'skeleton.name_of'
    """
    inner = getattr(make, "func", make)  # of a partial
    named = inner if hasattr(inner, "__qualname__") else type(inner)
    try:
        file = Path(inspect.getfile(named)).stem
    except (OSError, TypeError):  # typed into a console
        file = "console"
    own = re.sub(r"\W+", "", named.__qualname__.rpartition("<locals>.")[2])
    return f"{file if file.isidentifier() else 'notebook'}.{own or 'make'}"
