"""Search, price and ablate convolution blocks: which block gives the most accuracy per operation,
and is that true or noise?
"""

from typing import TYPE_CHECKING

from blocksearch.arch.block import Block as Block
from blocksearch.arch.cost import METRICS as METRICS
from blocksearch.arch.cost import Cost as Cost
from blocksearch.arch.cost import cost as cost
from blocksearch.arch.layers import Shape as Shape
from blocksearch.arch.network import Network as Network
from blocksearch.arch.network import Task as Task
from blocksearch.arch.notation import parse as parse
from blocksearch.arch.notation import parse_block as parse_block
from blocksearch.arch.ops import op as op
from blocksearch.arch.scale import rescaled as rescaled
from blocksearch.arch.zoo import TASKS as TASKS
from blocksearch.arch.zoo import named_network as named_network
from blocksearch.errors import BlocksearchError as BlocksearchError
from blocksearch.space.grammar import Grammar as Grammar

if TYPE_CHECKING:
    from blocksearch.search.study import Study as Study

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """Load `Study` when it is first asked for: what describes and prices networks stays light
    without it.
    """
    if name != "Study":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from blocksearch.search.study import Study

    return Study
