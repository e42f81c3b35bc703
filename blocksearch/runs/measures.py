"""What is measured of a run: accuracy, balanced accuracy, macro-F1, or the recall of a class, all
computed from what is stored of it, so that any can be asked of runs that exist.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, assert_never

import numpy as np
from numpy.typing import NDArray

from blocksearch.errors import ConfigError, check_type, unknown
from blocksearch.runs.records import Run


class MetricKind(StrEnum):
    """How predicted and true classes become a number, in percent."""

    ACCURACY = "accuracy"
    BALANCED = "balanced-accuracy"
    MACRO_F1 = "macro-f1"
    RECALL = "recall"


FORMS = f"{MetricKind.ACCURACY}, {MetricKind.BALANCED}, {MetricKind.MACRO_F1} or recall:CLASS"


@dataclass(frozen=True)
class Metric:
    """What is measured, in percent. `wanted` is the class of a recall, by its name or number.

    Balanced accuracy is the mean recall of the classes that the images have; macro-F1 is the mean
    F1 of the classes that the images or the predictions have, 0 where nothing is right.
    """

    kind: MetricKind = MetricKind.ACCURACY
    wanted: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.wanted}" if self.wanted else str(self.kind)

    @property
    def title(self) -> str:
        """Name it in words."""
        match self.kind:
            case MetricKind.BALANCED:
                return "balanced accuracy"
            case MetricKind.MACRO_F1:
                return "macro-F1"
            case MetricKind.RECALL:
                return f"recall of {self.wanted}"
            case MetricKind.ACCURACY:
                return str(self.kind)
        assert_never(self.kind)


ACCURACY = Metric()


def read_metric(text: str) -> Metric:
    """Read a metric. Raises ConfigError for what is none.

    >>> read_metric("recall:stop sign").title, str(read_metric("recall(3)"))
    ('recall of stop sign', 'recall:3')
    """
    check_type("metric", text, str)
    kind, wanted = _parts(text)
    if kind not in list(MetricKind) or (kind == MetricKind.RECALL) != bool(wanted):
        raise ConfigError(f"a metric is {FORMS}, but got {text!r}")
    return Metric(MetricKind(kind), wanted)


def is_metric(text: str) -> bool:
    """Say whether a text means a metric, right or wrong in what follows its name.

    >>> is_metric("recall:7"), is_metric("latency")
    (True, False)
    """
    return _parts(text)[0] in list(MetricKind)


def _parts(text: str) -> tuple[str, str]:
    called = re.fullmatch(r"([\w-]+)\((.*)\)", text.strip())
    kind, _, wanted = (":".join(called.groups()) if called else text).partition(":")
    return kind.strip().lower().replace("_", "-"), wanted.strip()


@dataclass(frozen=True, kw_only=True)
class TrueClasses:
    """The true classes of the evaluated images, N, with the classes' names and the images' groups
    where there are any.
    """

    labels: NDArray[Any]
    classes: tuple[str, ...] = ()
    groups: NDArray[np.int32] | None = None

    def check(self, metric: Metric) -> None:
        """Raise ConfigError unless a metric can be asked of these images."""
        if metric.kind is MetricKind.RECALL:
            self._wanted(metric, int(self.labels.max()) + 1)

    def measure(self, metric: Metric, run: Run) -> float | None:
        """Return what is measured of a run, in percent, or None where it did not complete.

        Raises ConfigError where the run has not stored what the metric needs, or no image is of
        the wanted class.
        """
        if run.accuracy is None or metric.kind is MetricKind.ACCURACY:
            return run.accuracy
        return 100 * self._value(metric, self._predicted(metric, run), run.right)

    def interval(self, metric: Metric, run: Run) -> tuple[float, float] | None:
        """Return the 95 % interval over what other images might have given, in percent. A recall
        has that of an accuracy on the images of its class.
        """
        from blocksearch.runs.metrics import (  # scipy, once it is needed
            Shares,
            accuracy_interval,
            mean_share_interval,
        )

        if run.accuracy is None:
            return None
        labels, right, groups = self.labels.astype(np.int64), run.right, self.groups
        if metric.kind is MetricKind.ACCURACY:
            return accuracy_interval(right, groups)
        predicted, images = self._predicted(metric, run), np.arange(len(labels))
        if metric.kind is MetricKind.RECALL:
            own = labels == self._wanted(metric, int(labels.max()) + 1)
            return accuracy_interval(right[own], None if groups is None else groups[own])
        if metric.kind is MetricKind.BALANCED:
            return mean_share_interval(
                Shares(classes=labels, right=right, sizes=np.ones(len(labels)), images=images),
                groups,
            )
        assert predicted is not None
        # of F1 = TP / (TP + FP/2 + FN/2) a wrong image is half in its class, half where it is put
        wrong = images[~right]
        classes = np.concatenate([labels, predicted[wrong].astype(np.int64)])
        sizes = np.concatenate([np.where(right, 1.0, 0.5), np.full(len(wrong), 0.5)])
        hits = np.concatenate([right, np.zeros(len(wrong), bool)])
        shares = Shares(
            classes=classes, right=hits, sizes=sizes, images=np.concatenate([images, wrong])
        )
        return mean_share_interval(shares, groups)

    def _predicted(self, metric: Metric, run: Run) -> NDArray[Any] | None:
        if len(run.right) != len(self.labels):
            raise ConfigError(
                f"{metric} needs the classes of the {len(run.right):,} images that judged a run, "
                f"but {len(self.labels):,} are known"
            )
        if run.predictions is None and metric.kind is MetricKind.MACRO_F1:
            raise ConfigError(
                f"{metric} needs the predicted class of each image, and the run of seed "
                f"{run.key.seed} is of a version that did not store it: ask for another metric"
            )
        return run.predictions

    def _value(
        self,
        metric: Metric,
        predicted: NDArray[Any] | None,
        right: NDArray[np.bool_],
    ) -> float:
        """Return what is measured, as a share."""
        labels = self.labels.astype(np.int64)
        size = int(max(labels.max(), 0 if predicted is None else predicted.max())) + 1
        true = np.bincount(labels, minlength=size)
        hits = np.bincount(labels, right, size)
        if metric.kind is MetricKind.RECALL:
            wanted = self._wanted(metric, size)
            return float(hits[wanted] / true[wanted])
        if metric.kind is MetricKind.BALANCED:
            return float((hits[true > 0] / true[true > 0]).mean())
        assert predicted is not None
        both = true + np.bincount(predicted.astype(np.int64), minlength=size)
        return float((2 * hits[both > 0] / both[both > 0]).mean())

    def _wanted(self, metric: Metric, size: int) -> int:
        if metric.wanted in self.classes:
            found = self.classes.index(metric.wanted)
        elif metric.wanted.isdecimal() and int(metric.wanted) < size:
            found = int(metric.wanted)
        else:
            raise unknown("class", metric.wanted, self.classes or [f"0 to {size - 1}"])
        if not (self.labels == found).any():
            raise ConfigError(f"{metric}: no evaluated image is of this class")
        return found


def recalls(run: Run, judged: TrueClasses) -> Sequence[tuple[str, float]]:
    """Return each class that the images have with its recall, in percent."""
    found = []
    for label in np.unique(judged.labels):
        own = judged.labels == label
        name = judged.classes[label] if label < len(judged.classes) else str(label)
        found.append((name, 100 * float(run.right[own].mean())))
    return found
