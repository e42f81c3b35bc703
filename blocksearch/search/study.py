"""A search from a program of one's own: a space, what accuracy is, and the file that remembers
everything.

Accuracy comes from trainings, on a data set by its name or on images handed over as arrays, or from
a function.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from blocksearch.arch.network import Task
from blocksearch.data import Own, get
from blocksearch.data.splits import Split
from blocksearch.errors import ConfigError
from blocksearch.runs.plan import Request
from blocksearch.search.definition import Wishes
from blocksearch.search.loop import Audience, Effort, Objective, Question, evaluate, search
from blocksearch.search.results import Summary
from blocksearch.search.summary import summarise
from blocksearch.space.grammar import Grammar
from blocksearch.training.recipe import recipe_named

Images: TypeAlias = tuple[NDArray[np.uint8], NDArray[np.integer[Any]]]


class Study:
    """A multi-objective search of `grammar`, kept in `file` under `name`; the same lines go on with
    it after a stop.

    `data` is the name of a data set, to which the grammar is moved, or images N×H×W×C uint8 and
    labels N; `test` are test images of the same form, which only `blocksearch final` opens; they
    are part of what the study is. `objective` instead is a function of a network and a seed that
    returns percent, or None for a network that came to nothing; its name and source are part of
    what the study is. The rest is as in `blocksearch search`. Raises ConfigError or DataError for
    what cannot be.
    """

    def __init__(
        self,
        grammar: Grammar,
        file: str | Path,
        *,
        data: str | Images | None = None,
        test: Images | None = None,
        objective: Objective | None = None,
        name: str = "study",
        objectives: Sequence[str] = ("accuracy", "flops"),
        budgets: Sequence[str] = (),
        sampler: str = "evolution",
        seed: int = 0,
        seeds: int = 5,
        start_with: Sequence[str] = (),
        rungs: Sequence[int] = (),
        epochs: int | None = None,
        images: int | None = None,
        workers: int | None = None,
        device: str = "auto",
        root: Path | None = None,
    ) -> None:
        if (data is None) == (objective is None):
            raise ConfigError(
                "a study takes data to train on, or an objective to call, and not both"
            )
        self.file, self._objective = str(file), objective
        named = objectives.split(",") if isinstance(objectives, str) else objectives
        wishes = Wishes(
            tuple(named), sampler, seed, seeds, start_with=_texts(start_with), rungs=tuple(rungs)
        )
        self._request: Request | None = None
        self._own: Own | None = None
        if data is not None:
            if not isinstance(data, str):
                self._own = _own(data, test, grammar.task)
            dataset = self._own.name if self._own else str(data)
            known = get(dataset)
            grammar = grammar.on(
                replace(grammar.task, input=known.task.input, classes=known.task.classes)
            )
            recipe = recipe_named("fast", known.epochs if epochs is None else epochs, {})
            self._request = Request(
                Split(dataset, images=images), recipe, root, self.file, workers, device
            )
        self._question = Question(name, grammar, _texts(budgets), wishes, name)

    def search(
        self, trials: int, timeout: float | None = None, audience: Audience | None = None
    ) -> Summary:
        """Search until the study has so many networks and its front its seeds, or `timeout` seconds
        have passed.
        """
        effort, heard = Effort(trials, timeout), audience or Audience()
        if self._request is not None:
            if self._own:
                self._own.keep(self._request.root)
            search(self._question, self._request, effort, heard)
        else:
            assert self._objective is not None
            evaluate(self._question, self._objective, self.file, effort, heard)
        return self.summary()

    def summary(self) -> Summary:
        """Return what was found so far. Raises StoreError or ConfigError where nothing was."""
        return summarise(self.file, self._question.name)


def _texts(given: str | Sequence[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def _own(data: Images, test: Images | None, task: Task) -> Own:
    """Check that images are those that the space is of: for others its costs would be others."""
    own = Own(data, test)
    if (task.input, task.classes) != (own.task.input, own.task.classes):
        asked = f"{task.input} in {task.classes} classes"
        raise ConfigError(
            f"the grammar is of images {asked}, but those handed over are {own.task.input} in "
            f"{own.task.classes}"
        )
    return own
