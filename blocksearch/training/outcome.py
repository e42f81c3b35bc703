"""Records what one training gave, without torch."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Divergence:
    """Epoch and step, from 1, at which a loss stopped being finite, and what it became; nan, too,
    where the last step left weights that are not.
    """

    epoch: int
    step: int
    value: float

    def __str__(self) -> str:
        return f"the loss became {self.value} at step {self.step} of epoch {self.epoch}"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one training gave.

    `accuracies` (percent) and `losses` (mean over the epoch) have one entry per finished epoch, but
    only the last accuracy is there where images judge once. `predictions` hold the class of each
    evaluated image after the last epoch, and `right` whether it is the image's own, both in the
    split's order; a run that diverged has none. `seconds` is a seed's share.
    """

    divergence: Divergence | None
    accuracies: tuple[float, ...]
    losses: tuple[float, ...]
    predictions: NDArray[np.uint16]
    right: NDArray[np.bool_]
    seconds: float
