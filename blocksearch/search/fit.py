"""A model that is fitted once in a while: the candidates that it follows, and the results that were
folded in since.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from blocksearch.search.objectives import Floats
from blocksearch.search.observations import Known, Observation, Reading
from blocksearch.search.surrogate import Model, Seen

LATER_REFITS = 64  # results between fits, once there are many: new networks for which there is room


class FoldedModel:
    """A model fitted to the first results, and what came since.

    `watched` are rows of candidates.
    """

    def __init__(
        self,
        base: Sequence[Observation],
        reading: Reading,
        known: Sequence[Known],
        model: Model,
        watched: NDArray[np.int64],
        features: Callable[[NDArray[np.int64]], Floats],
    ) -> None:
        self.model, self.watched = model, watched
        self._base, self._taken_up = len(base), list(base)
        self._reading = reading
        self._known = {each.row: each for each in known}
        self._features = features
        self._rows = features(watched)
        self._variance = model.variance(self._rows)
        self._place = {int(row): place for place, row in enumerate(watched)}
        self._order = {each.row: place for place, each in enumerate(known)}
        room = ((0, LATER_REFITS), (0, 0))
        self._known_rows = np.pad(features(np.array(self.trained)), room)
        self._means = np.pad([each.mean for each in known], room[0])
        self._counts = np.pad([each.count for each in known], room[0])

    def leads_to(self, results: Sequence[Observation], base: int) -> bool:
        """Say whether this fit was made of the first `base` results and saw no others."""
        seen = len(self._taken_up)
        return self._base == base and seen <= len(results) and self._taken_up == results[:seen]

    @property
    def trained(self) -> list[int]:
        return list(self._known)

    @property
    def seen(self) -> Seen:
        known = len(self._known)
        return Seen(self._known_rows[:known], self._means[:known], self._counts[:known])

    def take_up(self, results: Sequence[Observation]) -> None:
        """Fold in, one by one, the results that this fit has not seen."""
        for each in results[len(self._taken_up) :]:
            old = self._known.get(each.row)
            place = self._order.setdefault(each.row, len(self._known))
            if old is None:
                self._known_rows[place] = self._features(np.array([each.row]))[0]
            new = self._known[each.row] = self._reading.with_result(old, each)
            self._means[place], self._counts[place] = new.mean, new.count
            row = self._known_rows[place]
            before = (self.model.weight(row, old.count), old.mean) if old else (0.0, 0.0)
            step = self.model.fold_in(row, before, (self.model.weight(row, new.count), new.mean))
            self._variance = np.maximum(self._variance - (self._rows @ step) ** 2, 0.0)
            self._taken_up.append(each)

    def believed(self, pending: Sequence[int]) -> Floats:
        """Return the accuracies that are expected of pending rows."""
        return (
            self.model.mean(self._features(np.array(pending, np.int64)))
            if len(pending)
            else np.zeros(0)
        )

    def expected(self, rows: NDArray[np.int64], pending: Sequence[int]) -> tuple[Floats, Floats]:
        """Return mean and deviation of the accuracy of watched rows, less what pending results will
        tell of them.
        """
        places = [self._place[int(row)] for row in rows]
        variance, covariance = self._variance[places], self.model.covariance
        for row in self._features(np.array(pending, np.int64)) if len(pending) else ():
            across = covariance @ row
            step = across / np.sqrt(1 / self.model.weight(row, 1) + float(row @ across))
            covariance = covariance - np.outer(step, step)
            variance = variance - (self._rows[places] @ step) ** 2
        return self.model.mean(self._rows[places]), np.sqrt(
            self.model.scales.unexplained + np.maximum(variance, 0.0)
        )
