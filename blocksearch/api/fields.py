"""Types the keyword arguments of calls, which are the fields of the configuration classes. If those
hold a path or a value of an enum, a text does as well. A test holds both to be equal.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

from blocksearch.ablation.config import Given, Variance
from blocksearch.api.models import Maker
from blocksearch.runs.plan import Plugins
from blocksearch.search.objectives import Objective
from blocksearch.training.recipe_text import RecipeLike


class NetworkFields(TypedDict, total=False):
    """Those that `network` takes beside a text and a task."""

    widths: str | Sequence[int] | None
    input: str | None
    classes: int | None
    plugins: Plugins
    as_written: bool
    scale_to: str | None
    resize: str | None
    grey: bool
    skip_damaged: bool
    skeleton: Maker


class DataFields(TypedDict, total=False):
    resize: str | None
    grey: bool
    group_by: str | None
    skip_damaged: bool


class WhereFields(TypedDict, total=False):
    """Those of `RunConfig` that say where is trained, and where weights are kept: all that `test`
    takes, as the rest is the study's.
    """

    data_root: str | Path | None
    workers: int | None
    device: str
    executor: str
    keep_weights: str | Path | None


class TrainingFields(DataFields, WhereFields, total=False):
    """Those of `RunConfig` but for the database, which a `Study` has already."""

    epochs: int | None
    max_images: int | None
    recipe: RecipeLike
    batch: int | None
    label_smoothing: float | None
    dropout: float | None
    precision: str | None
    val_split: int | str | Sequence[int]


class RunFields(TrainingFields, total=False):
    db: str | Path | None


class AblationFields(RunFields, total=False):
    values: Sequence[Any] | None
    given: Given | str | None
    equal_flops: bool
    seeds: int | str | Sequence[int]
    margin: float
    effect: float | None
    variance: Variance | str
    strict: bool


class ScoresFields(TypedDict, total=False):
    reference: str | None
    margin: float | None
    variance: Variance | str
    look: int


class GainFields(RunFields, total=False):
    sample: int
    draw: int
    seeds: int | str | Sequence[int]
    margin: float


class StudyFields(TrainingFields, total=False):
    name: str
    objectives: Sequence[str | Objective]
    metric: str
    budgets: Sequence[str]
    sampler: Any
    seed: int
    seeds: int
    references: str | Sequence[str]
    enqueue: Sequence[str]
    plugins: Plugins
    rungs: Sequence[int]
    max_pending: int | None
