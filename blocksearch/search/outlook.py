"""What an accuracy after a few epochs says of the one after the last: a line for each rung, learnt
from runs that have both.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from blocksearch.search.objectives import Floats

SLOPE, SLOPE_WORTH = (
    0.7,
    2.0,
)  # before anything is known: differences shrink by a third, a guess worth two runs
SPREAD, SPREAD_WORTH = 4.0, 2.0  # percentage points around the line, a guess worth two runs


@dataclass(frozen=True)
class Result:
    """What a sampler is told of a training: the network's row in the pool, the seed, and its
    accuracy (percent).

    `epochs` is after how many; None is the horizon.
    """

    row: int
    accuracy: float
    seed: int = 0
    epochs: int | None = None


@dataclass(frozen=True)
class _Line:
    """Final accuracy is about `middle + slope·(accuracy − start)`, with a variance around it."""

    start: float
    middle: float
    slope: float
    variance: float


class Outlook:
    """Expects final accuracies from earlier ones."""

    def __init__(self, results: Sequence[Result]) -> None:
        finals = {(each.row, each.seed): each.accuracy for each in results if each.epochs is None}
        self._lines: dict[int, _Line] = {}
        for rung in {each.epochs for each in results if each.epochs is not None}:
            early = {
                (each.row, each.seed): each.accuracy for each in results if each.epochs == rung
            }
            both = [key for key in early if key in finals]
            x, y = np.array([early[key] for key in both]), np.array([finals[key] for key in both])
            self._lines[rung] = _fitted(x, y, list(early.values()))

    def final(self, result: Result) -> tuple[float, float]:
        """Return the expected accuracy after the last epoch, and the variance that this adds."""
        if result.epochs is None:
            return result.accuracy, 0.0
        line = self._lines.get(result.epochs) or _fitted(
            np.zeros(0), np.zeros(0), [result.accuracy]
        )
        return line.middle + line.slope * (result.accuracy - line.start), line.variance


def _fitted(x: Floats, y: Floats, early: Sequence[float]) -> _Line:
    if not len(x):  # nothing came to the end yet: early results are as good as themselves
        middle = float(np.mean(early))
        return _Line(middle, middle, SLOPE, 4 * SPREAD**2)
    start, middle = float(x.mean()), float(y.mean())
    own = float(((x - start) ** 2).sum())
    prior = SLOPE_WORTH * max(own / len(x), 1.0)
    slope = (float(((x - start) * (y - middle)).sum()) + prior * SLOPE) / (own + prior)
    squares = float(((y - middle - slope * (x - start)) ** 2).sum())
    return _Line(
        start,
        middle,
        slope,
        (SPREAD_WORTH * SPREAD**2 + squares) / (SPREAD_WORTH + max(0, len(x) - 1)),
    )
