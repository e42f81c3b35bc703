"""Computes accuracy, balanced accuracy, macro-F1 or the recall of a class from the stored
predictions of a run, so that any can be asked of runs that exist.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, assert_never

import numpy as np
from numpy.typing import NDArray

from blocksearch.data.splits import SplitSummary
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

    @classmethod
    def of(cls, images: SplitSummary) -> "TrueClasses":
        """Return those of the images that judge runs of a split."""
        return cls(labels=images.labels, classes=images.classes, groups=images.groups)

    def check(self, metric: Metric) -> None:
        """Raise ConfigError unless a metric can be asked of these images."""
        if metric.kind is MetricKind.RECALL:
            self._wanted(metric)

    def measure(self, metric: Metric, run: Run) -> float | None:
        """Return what is measured of a run, in percent, or None if it did not complete.

        Raises ConfigError if the run has not stored what the metric needs, or no image is of
        the wanted class.
        """
        if run.accuracy is None or metric.kind is MetricKind.ACCURACY:
            return run.accuracy
        self._check_fits(metric, run)
        return 100 * self._value(metric, run)

    def measured(self, metric: Metric, run: Run) -> Run:
        """Return a run with what is asked of it in the place of its accuracies.

        Raises ConfigError if it has not stored what that needs.
        """
        value = None if metric == ACCURACY else self.measure(metric, run)
        return run if value is None else replace(run, accuracies=(value,))

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
        images, whole = np.arange(len(labels)), np.ones(len(labels))
        if metric.kind is not MetricKind.ACCURACY:
            self._check_fits(metric, run)
        match metric.kind:
            case MetricKind.ACCURACY:
                return accuracy_interval(right, groups)
            case MetricKind.RECALL:
                own = labels == self._wanted(metric)
                return accuracy_interval(right[own], None if groups is None else groups[own])
            case MetricKind.BALANCED:
                shares = Shares(classes=labels, right=right, sizes=whole, images=images)
                return mean_share_interval(shares, groups)
            case MetricKind.MACRO_F1:
                # of F1 = TP / (TP + FP/2 + FN/2) a wrong image is half in its class, half where it
                # is put
                wrong = images[~right]
                put = self._predicted(metric, run)[wrong]
                shares = Shares(
                    classes=np.concatenate([labels, put]),
                    right=np.concatenate([right, np.zeros(len(wrong), bool)]),
                    sizes=np.concatenate([np.where(right, 1.0, 0.5), np.full(len(wrong), 0.5)]),
                    images=np.concatenate([images, wrong]),
                )
                return mean_share_interval(shares, groups)
        assert_never(metric.kind)

    def _check_fits(self, metric: Metric, run: Run) -> None:
        if len(run.right) != len(self.labels):
            raise ConfigError(
                f"{metric} needs the classes of the {len(run.right):,} images that judged a run, "
                f"but {len(self.labels):,} are known"
            )

    def _predicted(self, metric: Metric, run: Run) -> NDArray[np.int64]:
        if run.predictions is None:
            raise ConfigError(
                f"{metric} needs the predicted class of each image, and the run of seed "
                f"{run.key.seed} is of a version that did not store it: ask for another metric"
            )
        return run.predictions.astype(np.int64)

    def _value(self, metric: Metric, run: Run) -> float:
        """Return what is measured, as a share."""
        labels, right = self.labels.astype(np.int64), run.right
        true, hits = np.bincount(labels), np.bincount(labels, right)
        match metric.kind:
            case MetricKind.ACCURACY:
                return float(right.mean())
            case MetricKind.RECALL:
                wanted = self._wanted(metric)
                return float(hits[wanted] / true[wanted])
            case MetricKind.BALANCED:
                return float((hits[true > 0] / true[true > 0]).mean())
            case MetricKind.MACRO_F1:
                both = np.bincount(np.concatenate([labels, self._predicted(metric, run)]))
                there = both > 0
                hits = np.bincount(labels, right, len(both))
                return float((2 * hits[there] / both[there]).mean())
        assert_never(metric.kind)

    def _wanted(self, metric: Metric) -> int:
        size = int(self.labels.max()) + 1
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
