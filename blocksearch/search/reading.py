"""Reads what a study knows of a trial from its run, where alone it is stored."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from blocksearch.errors import StoreError
from blocksearch.runs.ledger import Ledger
from blocksearch.runs.measures import ACCURACY, Metric, TrueClasses, read_metric
from blocksearch.runs.records import Run, RunKey


class Reader:
    """Reads accuracies of runs at the `rungs`, the epochs at which a study looks. Another metric is
    that of the images after the last epoch, the only rung; `judged` has their classes.
    """

    def __init__(
        self, rungs: Sequence[int], metric: Metric, judged: Callable[[RunKey], TrueClasses]
    ) -> None:
        self._rungs, self._metric, self._judged = tuple(rungs), metric, judged

    @classmethod
    def of(cls, definition: Mapping[str, Any], ledger: Ledger) -> "Reader":
        """Return the reader of a stored study. Raises StoreError where its images are unknown."""

        @cache
        def judged(data: str, split: str) -> TrueClasses:
            images = ledger.images(data, split)
            if images is None:
                raise StoreError(
                    f"{ledger.location}: there is nothing of the images {data[:12]}, by which "
                    f"runs of split {split} are judged; the file was damaged or edited"
                )
            return TrueClasses(images.labels.astype(np.int64), images.classes, images.groups)

        metric = read_metric(definition["wishes"].get("metric", str(ACCURACY)))
        return cls(definition["rungs"], metric, lambda key: judged(key.data, key.protocol))

    @property
    def wants_predictions(self) -> bool:
        """Whether what a run predicted of each image has to be known."""
        return self._metric != ACCURACY

    def accuracies(self, run: Run, epochs: int) -> tuple[float, ...]:
        """Return percent at each rung up to `epochs`; nothing where the run did not come so far."""
        if self.wants_predictions and run.accuracy is not None:
            value = self._judged(run.key).measure(self._metric, run)
            assert value is not None
            return (value,)
        found = [run.accuracy_at(rung) for rung in self._rungs if rung <= epochs]
        return tuple(each for each in found if each is not None) if None not in found else ()
