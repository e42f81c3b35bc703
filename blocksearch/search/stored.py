"""What a study's rows say, each field held against its kind and range: anybody may have written it.

Names of costs are today's, whatever they were when the row was written.
"""

from collections.abc import Mapping
from itertools import pairwise
from sys import intern
from typing import Any

from blocksearch.arch.cost import EARLIER_NAMES
from blocksearch.errors import BlocksearchError, ConfigError
from blocksearch.runs.fields import SEED, Fields
from blocksearch.runs.measures import read_metric
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
        "number": fields.whole("number"),
        "candidate": fields.whole("trial"),
        "row": fields.whole("trial"),
        "origin": fields.text("origin"),
        "network": fields.text("network"),
        "text": fields.text("text"),
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


def _today(name: str) -> str:
    """Return today's name of a stored cost; objectives of a user's have their own."""
    return intern(EARLIER_NAMES.get(name, name))  # a million rows share them
