"""Search, price and ablate convolution blocks: which block gives the most accuracy per operation, and is that true or noise?"""

from typing import TYPE_CHECKING

from blocksearch.errors import BlocksearchError as BlocksearchError
from blocksearch.space.block import Block as Block
from blocksearch.space.cost import Cost as Cost
from blocksearch.space.cost import cost as cost
from blocksearch.space.grammar import Grammar as Grammar
from blocksearch.space.layers import Shape as Shape
from blocksearch.space.named import SETTINGS as SETTINGS
from blocksearch.space.named import named_network as named_network
from blocksearch.space.network import Network as Network
from blocksearch.space.network import Setting as Setting
from blocksearch.space.notation import parse_block as parse_block
from blocksearch.space.notation import parse_network as parse_network
from blocksearch.space.options import option as option
from blocksearch.space.rescale import rescaled as rescaled

if TYPE_CHECKING:
    from blocksearch.experiments.search.library import Study as Study

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """Load `Study` when it is first asked for: what describes and prices networks stays light without it."""
    if name != "Study":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from blocksearch.experiments.search.library import Study

    return Study
