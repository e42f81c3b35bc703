"""Holds the costs of many networks as arrays, and counts them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from blocksearch.arch.quantities import COUNTED, Priced


class Costs(Priced):
    """Costs of members as arrays, one entry per network; see `Cost` for their meaning."""

    flops: NDArray[np.int64]
    macs: NDArray[np.int64]
    params: NDArray[np.int64]
    activations: NDArray[np.int64]
    peak_activations: NDArray[np.int64]

    def __init__(self, rows: Mapping[str, NDArray[np.int64]]) -> None:
        self.rows = rows
        self.counts = tuple(rows[name] for name in COUNTED if name in rows)
        vars(self).update(rows)

    def __len__(self) -> int:
        return len(self.macs)

    def __repr__(self) -> str:
        flops = f", flops {self.flops.min():,} to {self.flops.max():,}" if len(self) else ""
        return f"<Costs of {len(self):,} networks{flops}>"

    @classmethod
    def joined(cls, chunks: Sequence["Costs"]) -> "Costs":
        """Join costs of several sets of networks, in order."""
        return cls(
            {row: np.concatenate([each.rows[row] for each in chunks]) for row in chunks[0].rows}
        )


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
