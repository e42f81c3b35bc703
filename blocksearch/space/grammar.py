"""A space of networks: options per factor in one setting, and its distinct members."""

from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import product

from blocksearch.errors import SpaceError
from blocksearch.space.block import Block
from blocksearch.space.factors import Value, factor_named
from blocksearch.space.network import FIRST_LAYERS, Network, Setting


class Grammar:
    """Options per factor of a block shared by every stage; factors not named keep the base block's value.

        Grammar(SETTINGS["gtsrb"], bottleneck=["reduce(2)", "reduce(4)"], residual=["none", "add"])

    Members are distinct resolved networks: equal spellings count once, and combinations that break a rule are left out.
    Raises UsageError for an unknown factor, SpaceError for a value it does not have or a space without members.
    """

    def __init__(
        self,
        setting: Setting,
        *,
        base: Block | None = None,
        first_layer: Iterable[str] = ("block",),
        **options: Iterable[Value],
    ) -> None:
        self.setting, self.base, self.first_layers = setting, base or Block(), tuple(first_layer)
        for first in self.first_layers:
            if first not in FIRST_LAYERS:
                raise SpaceError(f"first_layer must be {' or '.join(FIRST_LAYERS)}, but got {first!r}")
        self.options = {name: _options(name, values) for name, values in options.items()}

    @property
    def size(self) -> int:
        """Number of distinct networks."""
        return len(self._members)

    def __iter__(self) -> Iterator[Network]:
        """Walk the members in a fixed order: factors as they were given, the last one fastest."""
        return iter(self._members)

    def sample(self, count: int, seed: int) -> list[Network]:
        """Draw distinct members, each set equally likely."""
        if not 1 <= count <= self.size:
            raise SpaceError(f"a sample must hold 1 to {self.size} of the grammar's networks, but got {count}")
        import numpy as np  # half the time that importing the package would take

        chosen = np.random.default_rng(seed).choice(self.size, count, replace=False)
        return [self._members[index] for index in chosen]

    @cached_property
    def _members(self) -> tuple[Network, ...]:
        members: dict[str, Network] = {}
        reason = "it has no options"
        for first_layer in self.first_layers:
            for values in product(*self.options.values()):
                try:
                    network = self._network(first_layer, dict(zip(self.options, values, strict=True)))
                except SpaceError as error:
                    reason = str(error)
                else:
                    members.setdefault(network.fingerprint, network)
        if not members:
            raise SpaceError(f"the grammar is empty: {reason}")
        return tuple(members.values())

    def _network(self, first_layer: str, values: dict[str, Value]) -> Network:
        return Network(setting=self.setting, blocks=(self.base.with_factors(values),), first_layer=first_layer)


def _options(name: str, values: Iterable[Value]) -> tuple[Value, ...]:
    factor = factor_named(name)
    chosen = [values] if isinstance(values, str) else values
    options = tuple(dict.fromkeys(factor.value(value) for value in chosen))
    if not options:
        raise SpaceError(f"{name} needs at least one option")
    return options
