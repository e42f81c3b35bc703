"""What is said of many networks at once: their costs as arrays, and how many there are."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from blocksearch.arch.cost import metric_named

ROWS = ("macs", "params", "activations", "peak_activations")  # of `Costs`, in order


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Costs of members as arrays, one entry per network; see `Cost` for their meaning."""

    macs: NDArray[np.int64]
    params: NDArray[np.int64]
    activations: NDArray[np.int64]
    peak_activations: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.macs)

    def __repr__(self) -> str:
        flops = f", flops {self.flops.min():,} to {self.flops.max():,}" if len(self) else ""
        return f"<Costs of {len(self):,} networks{flops}>"

    @classmethod
    def joined(cls, chunks: Sequence["Costs"]) -> "Costs":
        """Join costs of several sets of networks, in order."""
        return cls(**{row: np.concatenate([getattr(each, row) for each in chunks]) for row in ROWS})

    @property
    def flops(self) -> NDArray[np.int64]:
        """2 · macs."""
        return 2 * self.macs

    def of(self, quantity: str) -> NDArray[np.int64]:
        """Return one cost by name. Raises ConfigError for an unknown one."""
        found: NDArray[np.int64] = getattr(self, metric_named(quantity))
        return found


@dataclass(frozen=True, kw_only=True)
class Count:
    """A number of networks: exact, or an estimate with its 95 % interval."""

    value: int
    exact: bool = True
    interval: tuple[int, int] | None = None

    def __str__(self) -> str:
        if self.exact:
            return f"{self.value:,}"
        if self.interval is None:
            return f"at most {self.value:,}"
        low, high = self.interval
        return f"about {self.value:,} (estimate; 95 % interval {low:,} to {high:,})"


def estimate(size: int, share: float, surveyed: int) -> Count:
    """Scale a share up to the space, with Wilson's interval."""
    z = 1.959964
    centre = (share + z * z / (2 * surveyed)) / (1 + z * z / surveyed)
    half = (
        z
        * sqrt(share * (1 - share) / surveyed + z * z / (4 * surveyed**2))
        / (1 + z * z / surveyed)
    )
    low, high = max(0.0, centre - half), min(1.0, centre + half)
    return Count(
        value=round(share * size), exact=False, interval=(int(low * size), int(high * size))
    )
