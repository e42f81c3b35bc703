"""Exchanges one choice in each network of a study, and counts what the changed networks cost.

Costs of layers add, those of factors do not, so the costs of an exchanged network are counted. A
choice that a text cannot change (depth, width or stride of one stage, the part of a union, an op
whose file is not loaded), or a network that cannot be built with it, has no count.
"""

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np

from blocksearch.arch.factors import FACTORS, factor_named
from blocksearch.arch.network import Network
from blocksearch.arch.notation import parse
from blocksearch.arch.stem import stages_without_block
from blocksearch.errors import BlocksearchError, ConfigError, SpecError
from blocksearch.runs.metrics import Floats
from blocksearch.space.encoding import Choice


class Exchange:
    """Counts costs of networks, given as texts, with a level of a choice exchanged.

    `choices` are the study's.
    """

    def __init__(
        self, texts: Sequence[str], choices: Iterable[Choice], costs: Sequence[str]
    ) -> None:
        self._networks = [read(text) for text in texts]
        self._costs, self.count = tuple(costs), len(costs)
        self._slots = max(choice.slot or 1 for choice in choices)
        self._known: dict[Network, tuple[float, ...]] = {}

    def costs(self, place: int, choice: Choice, level: str) -> tuple[float, ...] | None:
        """Return what a network costs with a level in place of its own; None if it has none."""
        network = self._networks[place]
        if network is None:
            return None
        with suppress(BlocksearchError):
            return self._counted(self._exchanged(network, choice, level))
        return None

    def _exchanged(self, network: Network, choice: Choice, level: str) -> Network:
        match factor := choice.factor:
            case "widths":  # stored as Python writes a tuple
                return replace(network, widths=tuple(map(int, re.findall(r"[0-9]+", level))))
            case "stem" | "head" | "resolution" | "channels":
                return network.with_factor(factor, level)
            case _ if factor not in FACTORS:
                raise ConfigError(f"{factor} is no choice that a network's text has")
        value = factor_named(factor).parse(level)
        if choice.slot is None:
            return network.with_factor(factor, value)
        blocks = list(network.blocks)
        if len(blocks) == 1:
            blocks *= len(network.widths) - stages_without_block(network.stem)
        own = choice.slot - 1 - self._slots  # the last slots of all layouts have one number
        if -own > len(blocks):
            raise SpecError(f"{choice}: the network has {len(blocks)} blocks")
        blocks[own] = blocks[own].with_factors({factor: value})
        return replace(network, blocks=tuple(blocks))

    def _counted(self, network: Network) -> tuple[float, ...]:
        if network not in self._known:
            price = network.cost
            self._known[network] = tuple(float(getattr(price, each)) for each in self._costs)
        return self._known[network]


def read(text: str) -> Network | None:
    """Return the network that a text means; None if that cannot be said."""
    with suppress(BlocksearchError):
        return parse(text)
    return None


def exchanged_costs(
    exchange: Exchange, places: Sequence[int], choice: Choice, levels: Sequence[str]
) -> tuple[list[int], Floats]:
    """Return the places at which every level can be exchanged for the network's own, and the costs:
    levels × places × costs.
    """
    kept, found = [], []
    for place in places:
        own = [exchange.costs(place, choice, level) for level in levels]
        counted = [each for each in own if each is not None]
        if len(counted) == len(levels):
            kept.append(place)
            found.append(counted)
    shape = len(kept), len(levels), exchange.count
    return kept, np.array(found, float).reshape(shape).swapaxes(0, 1)
