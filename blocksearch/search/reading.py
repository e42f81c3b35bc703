"""Reads a study's rows, and checks each field for kind and range, because anybody may have written
it; reads a trial's accuracies from its run, if they are stored there alone.

Names of costs and factors are today's, whatever they were when the row was written.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import pairwise
from sys import intern
from typing import Any

from blocksearch.arch.notation import EARLIER_STEMS, todays
from blocksearch.arch.quantities import EARLIER_NAMES
from blocksearch.errors import BlocksearchError, ConfigError, StoreError
from blocksearch.runs.fields import SEED, Fields
from blocksearch.runs.ledger import Ledger
from blocksearch.runs.measures import ACCURACY, Metric, TrueClasses, read_metric
from blocksearch.runs.records import Run, RunKey
from blocksearch.search.measured import read_limit

LARGE = 1e100  # of a cost: differences and products of such are still numbers


def definition_of(row: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Read what defines a study. Raises StoreError for a row of another shape.

    Only what an answer reads is held against its kind; a version to come may have more.
    """
    fields = Fields(row, where).json("definition").object("definition")
    found = dict(fields.row)
    wishes = fields.object("wishes")
    objectives = wishes.texts("objectives")
    if len(objectives) < 2:
        raise wishes.error("objectives", "accuracy and one or more costs")
    found["wishes"] = {**wishes.row, "objectives": [_today(name) for name in objectives]}
    _check_measured(wishes)
    wishes.text("sampler")
    _check_metric(wishes)
    for name in ("seed", "seeds", "lag"):
        wishes.whole(name, high=SEED)
    if wishes.has("functions"):
        functions = wishes.object("functions")
        for name in functions.row:
            functions.object(name).truth("maximise")
    _check_frame(fields.object("frame"), len(objectives) - 1)
    fields.number("baseline", 0, LARGE)
    rungs = fields.wholes("rungs", 1)
    if not rungs or any(low >= high for low, high in pairwise(rungs)):
        raise fields.error("rungs", "one or more epochs, each later than the one before")
    choices = fields.object("choices")
    if not choices.row or not all(choices.texts(name) for name in choices.row):
        raise fields.error("choices", "one or more factors, each with its values")
    found["choices"] = dict(map(_todays_choice, choices.row.items()))
    fields.text("title")
    for name in ("space", "grammar", "dataset", "data", "protocol", "sampled_by"):
        _ = fields.has(name) and fields.text(name)
    for budget in fields.texts("budgets"):
        try:
            read_limit(budget, wishes.row.get("measured", {}), wishes.row.get("metric", "accuracy"))
        except (BlocksearchError, ValueError, ArithmeticError) as error:
            raise fields.error("budgets", "budgets") from error
    if fields.has("recipe") and fields.text("recipe"):
        fields.json("recipe").object("recipe")  # its pieces may be a user's, and not known here
    return found


def _check_metric(wishes: Fields) -> None:
    try:
        _ = wishes.has("metric") and read_metric(wishes.text("metric"))
    except ConfigError as error:
        raise wishes.error("metric", "a metric") from error


def _check_measured(wishes: Fields) -> None:
    for name in wishes.object("measured").row if wishes.has("measured") else ():
        own = wishes.object("measured").object(name)
        own.truth("maximise")
        bounds = own.numbers("bounds", -LARGE, LARGE)
        if len(bounds) != 2 or bounds[0] >= bounds[1]:
            raise own.error("bounds", "a lower and a higher number")


def trial_of(row: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the fields of a trial from its row. Raises StoreError for a row of another shape."""
    fields = Fields(row, where).json("costs", "accuracies", "memory")
    refers = isinstance(fields.row["accuracies"], str)
    memory = fields.object("memory")
    memory.wholes("code", -1)
    _ = memory.has("measured") and memory.named_numbers("measured", -LARGE, LARGE)
    costs = fields.named_numbers("costs", -LARGE, LARGE)
    for name in ("flops", "params"):  # their powers enter the model of accuracies
        _ = name in costs and fields.object("costs").number(name, 0, 1e18)
    return {
        "step": fields.whole("number"),
        "number": fields.whole("trial"),
        "row": fields.whole("trial"),
        "origin": fields.text("origin"),
        "network": fields.text("network"),
        "text": todays(fields.text("text")),
        "seed": fields.whole("seed", high=SEED),
        "epochs": fields.whole("epochs", 1),
        "costs": {_today(name): value for name, value in costs.items()},
        "accuracies": () if refers else fields.numbers("accuracies", 0, 100),
        "run": fields.text("accuracies") if refers else "",
        "memory": memory.row,
    }


def _check_frame(frame: Fields, costs: int) -> None:
    frame.number("chance", 0, 99.999)
    for name in ("least", "largest"):
        if len(frame.numbers(name, -LARGE, LARGE)) != costs:
            raise frame.error(name, f"one for each of {costs} costs")
    if frame.has("linear") and len(frame.truths("linear")) not in (0, costs):
        raise frame.error("linear", f"one for each of {costs} costs")


def _todays_choice(stored: tuple[str, list[str]]) -> tuple[str, list[str]]:
    name, values = stored
    if name != "first_layer":
        return stored
    return "stem", [EARLIER_STEMS.get(each, each) for each in values]


def _today(name: str) -> str:
    """Return today's name of a stored cost; objectives of a user's have their own."""
    return intern(EARLIER_NAMES.get(name, name))  # a million rows share them


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
        """Return the reader of a stored study. Raises StoreError if its images are unknown."""

        @cache
        def judged(data: str, split: str) -> TrueClasses:
            images = ledger.images(data, split)
            if images is None:
                raise StoreError(
                    f"{ledger.location}: there is nothing of the images {data[:12]}, by which "
                    f"runs of split {split} are judged; the file was damaged or edited"
                )
            return TrueClasses.of(images)

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
