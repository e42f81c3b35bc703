"""Runs a search from a user's program, on a space, an accuracy and the file that remembers them.

Accuracy comes from trainings, on a data set by its name or on images of one's own, or from a
function.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from blocksearch.api.answer import Answer
from blocksearch.api.asked import divided
from blocksearch.api.fields import StudyFields
from blocksearch.api.models import Maker, read_skeleton
from blocksearch.api.studies import front, importance, on_images, opened
from blocksearch.arch.network import Network
from blocksearch.arch.notation import parse, parse_inside
from blocksearch.arch.ops import ops_in
from blocksearch.data import open_dataset
from blocksearch.data.datasets import is_own
from blocksearch.data.opening import DatasetLike, foreseen_name, label_of
from blocksearch.data.own import ProgressFunction
from blocksearch.errors import ConfigError, MissingError, SpecError
from blocksearch.files import RESULTS
from blocksearch.runs.callback import Callback, together
from blocksearch.runs.config import RunConfig
from blocksearch.runs.location import Location
from blocksearch.runs.plan import RunSettings
from blocksearch.search.config import StudyConfig, made_name
from blocksearch.search.definition import opening
from blocksearch.search.importance import Effects
from blocksearch.search.loop import Function, StoppingRule, evaluate, search
from blocksearch.search.results import Entry, Summary, as_rows
from blocksearch.search.stored_study import StoredStudy, open_study, weights_of
from blocksearch.search.trials import Trial
from blocksearch.space.grammar import Grammar

if TYPE_CHECKING:
    import optuna


OPTUNAS = {  # what people look for who know Optuna
    "optimize": "study.search(trials=…) searches",
    "best_trial": "study.best(flops=…) is the most accurate within costs",
    "best_trials": "study.front has these, and study.to_optuna() is a study of Optuna's",
    "trials_dataframe": "study.records() has the networks, and study.to_optuna() has it",
}


class _Ending(Callback):
    """Remembers what is remarkable about the end of a search."""

    remark = ""

    def search_ended(self, reason: str, remark: str) -> None:
        self.remark = remark


class Study:
    """A multi-objective search of `grammar`, kept in `file`; the same lines go on with it after a
    stop. A space that is shipped, or in a file, may be named. Nothing is written before `search`.

    Without a `file`, `results/` has one for each data set, and results that are shipped count.

    `dataset` is a data set's name, a folder, a listing or a file, arrays (images N×H×W×C uint8,
    labels N, and maybe groups N), a Dataset of PyTorch's, or an iterable of (image, label); the
    grammar takes input and classes from it. `test` are test images in any of these forms, which
    only the one test of the study opens. `objective` instead is a function of a network and a seed
    that returns percent, or None for a network that came to nothing; its name and source are part
    of what the study is. Where more is measured than accuracy, it returns all values by name, such
    as {"accuracy": 91.5, "latency": 2.3}. With a `skeleton`, a function from a block to a PyTorch
    model, blocks are searched inside of that model. The rest are the fields of `StudyConfig`, and
    those of `RunConfig`, which say how networks are trained. A space by its name gives the study
    one, such as "section3-gtsrb". Raises ConfigError or DataError for what cannot be.

    >>> from blocksearch import TASKS, Grammar
    >>> space = Grammar(TASKS["digits"], residual=["none", "add"])
    >>> study = Study(space, "mine.db", dataset="digits", seeds=3)
    >>> study.config.seeds
    3
    """

    def __init__(
        self,
        grammar: Grammar | str | Path,
        file: str | Path | None = None,
        *,
        dataset: DatasetLike = None,
        test: DatasetLike = None,
        objective: Function | None = None,
        skeleton: Maker = None,
        **fields: Unpack[StudyFields],
    ) -> None:
        beside = ("dataset", "test", "objective", "skeleton")
        asked, self._runs = divided(
            fields, StudyConfig, RunConfig, without=("dataset", "db"), beside=beside
        )
        if (dataset is None) == (objective is None):
            lacks = "neither was given" if dataset is None else "both were given"
            raise ConfigError(
                "a study takes a data set to train on (dataset='digits'), or an objective to call, "
                f"but {lacks}"
            )
        if not (objective is None or callable(objective)):
            raise ConfigError(
                f"objective must be a function of a network and a seed, but got {objective!r:.80}"
            )
        if objective is not None and file is None:
            raise ConfigError("a study of an objective needs a file, such as 'mine.db'")
        model, space = read_skeleton(skeleton), opened(grammar)
        self._space = space.inside(model) if model else space
        self.file = Location(f"{RESULTS}/{label_of(dataset)}.db" if file is None else file)
        self._objective, self._shipped = objective, file is None
        self._called = Path(grammar).stem if not isinstance(grammar, Grammar) else ""
        if self._called and objective is None:
            asked = {"name": made_name(self._called, label_of(dataset))} | asked
        self.config = StudyConfig(**asked)
        runs = RunConfig(**self._runs)  # what cannot be is said now
        self._hear: ProgressFunction = lambda _: None
        if objective is None:
            self._open = partial(open_dataset, dataset, runs, test=test, root=runs.data_root)
            if (name := foreseen_name(dataset, runs, test=test)) is None:
                self._check_unseen(runs)
                return
            self._grammar = self._on(name)
            self.config.check_rungs(self._trained_on(name).recipe.epochs)
        list(opening(self._grammar, replace(self.config, references=())))

    if not TYPE_CHECKING:  # a checker knows what is there

        def __getattr__(self, name: str) -> Any:
            if name in OPTUNAS:
                raise AttributeError(f"a study has no attribute {name!r}: {OPTUNAS[name]}")
            return object.__getattribute__(self, name)  # raises what a property raised

    def __repr__(self) -> str:
        return f"Study({self.config.name!r} in {str(self.file)!r})"

    def search(
        self,
        trials: int,
        timeout: float | None = None,
        *,
        callbacks: Sequence[object] = (),
        catch: type[Exception] | tuple[type[Exception], ...] = (),
        dry_run: bool = False,
    ) -> Answer[Any]:
        """Search until so many networks are sampled in all and the front has its seeds, or
        `timeout` seconds have passed; return the front, each entry with its `network`, and why the
        search ended early, if it did, as a note. `callbacks=[bs.Progress()]` prints a line for each
        trial.

        What an objective of one's own raises ends the search and is passed on, with a note of the
        trial, as Optuna does; where it is of the kinds in `catch`, the trial counts as failed. With
        `dry_run` the answer is what would be trained.
        """
        caught, ending = _exceptions(catch), _Ending()
        stopping, callback = StoppingRule(trials, timeout), together([together(callbacks), ending])
        self._hear = callback.reading
        name = self._called
        if dry_run:
            return self._foreseen(name, stopping)
        if self._objective is None:
            search(
                name,
                self._grammar,
                self.config,
                self._trained_on(self._dataset),
                stopping,
                callback,
            )
        else:
            function, file = self._objective, self.file
            evaluate(name, self._grammar, self.config, function, file, stopping, callback, caught)
        found = self._found()
        notes = (*found.report.notes, *filter(None, [ending.remark]))
        return replace(found, report=replace(found.report, notes=notes))

    @property
    def front(self) -> tuple[Entry, ...]:
        """The Pareto-optimal networks, cheapest first, each with its `network`."""
        return self._found().found.front

    @property
    def trials(self) -> tuple[Entry, ...]:
        """The trials, in order: each a network, and what its trainings gave."""
        return self.answer().found.entries

    @property
    def trainings(self) -> tuple[Trial, ...]:
        """The trainings that count, in order; of an objective, its calls. Each has the `number` of
        its trial.
        """
        return self._stored().trials

    def best(self, **most: float) -> Entry:
        """Return the most accurate network of the front whose costs are at most those given, and
        what is to be maximised at least: `study.best(flops=400e3)`. Raises ConfigError if there
        is none.
        """
        return self._found().found.best(**most)

    def records(self) -> list[dict[str, object]]:
        """Return every network as a row of plain words and numbers."""
        found = self.answer().found
        return as_rows(found.axes, found.entries)

    def importance(self) -> Answer[Effects]:
        """Say which factors put a network on the front, with intervals."""
        with self._begun():
            return importance(self.file, self.config.name)

    def to_optuna(self) -> "optuna.Study":
        """Return the study as one of Optuna's, in memory: its `best_trials` are our front, and
        `optuna.visualization` draws it.

        Accuracies are what the model of all results expects, as in `front`; networks that were
        stopped early are pruned trials.
        """
        from blocksearch.search.optuna_io import to_optuna

        return to_optuna(self._stored(), self.answer().found)

    def answer(self) -> Answer[Summary]:
        """Return the front of the study, to print, draw and save. Raises StoreError if nothing was
        searched.
        """
        with self._begun():
            return front(self.file, self.config.name)

    def table(self, *, wide: bool = False) -> str:
        """Return the front as plain text, to print; with all columns if `wide`."""
        return self.answer().table(wide=wide)

    def figure(self) -> Any:
        """Return the front as a figure of plotly's."""
        return self.answer().figure()

    def save(self, path: str | Path) -> None:
        """Write the front and all networks to a file, in the form of its suffix."""
        self.answer().save(path)

    def _repr_html_(self) -> str:
        return self.answer()._repr_html_()

    def _found(self) -> Answer[Summary]:
        """Return the front with networks that have the space's own ops and model, and with the
        weights that are kept.
        """
        stored, ops = self._stored(), ops_in(self.config.plugins)
        first, folder = stored.first, RunConfig(**self._runs).keep_weights
        weights = weights_of(self.file, stored.trials, folder) if folder else {}
        space = self._grammar.where(*self.config.exact_budgets)

        def made(entry: Entry) -> Network:
            trial = first[entry.trial]
            genotype = space.encoding.decode(trial.code)
            found = None if genotype is None else space.enumeration.network(genotype)
            same = found is not None and found.digest == trial.network
            if found is not None and same:
                return found
            own = space.skeleton
            return parse_inside(entry.text, own, ops) if own else parse(entry.text, ops=ops)

        answer = self.answer()
        own = tuple(
            replace(entry, made=made(entry), weights=weights.get(entry.trial, ()))
            for entry in answer.found.front
        )
        return replace(answer, found=replace(answer.found, front=own))

    def _stored(self) -> StoredStudy:
        with self._begun():
            found = open_study(self.file, self.config.name)
        if not isinstance(found, StoredStudy):
            raise ConfigError(f"study {self.config.name} of {self.file} was made elsewhere")
        return found

    @contextmanager
    def _begun(self) -> Iterator[None]:
        """Raise StoreError in a line that says what to do, where nothing was searched yet."""
        try:
            yield
        except MissingError as error:
            file = self.file.file
            known = f" ({error})" if file is None or file.is_file() else ""
            raise MissingError(
                f"study {self.config.name} in {self.file} has no trials yet: "
                f"study.search(trials=…) samples some{known}"
            ) from error

    def _foreseen(self, name: str, stopping: StoppingRule) -> Answer[Any]:
        from blocksearch.api.foreseen import foreseen_search

        if self._objective is not None:
            raise ConfigError("dry_run is for trainings: an objective of yours is only called")
        settings = self._trained_on(self._dataset)
        return foreseen_search(name, self._grammar, self.config, settings, stopping)

    def _check_unseen(self, runs: RunConfig) -> None:
        """Raise ConfigError or ParseError for what cannot be, whatever shape pictures will have."""
        runs.read_recipe()
        for text in self.config.enqueue:
            with suppress(SpecError):  # a map too small, say
                parse(text, self._space.task, ops_in(self.config.plugins))

    def _trained_on(self, name: str) -> RunSettings:
        """Return how networks are trained; without a file of their own, shipped runs count."""
        file = None if self._shipped and not is_own(name) else self.file
        return RunConfig(dataset=name, db=file, **self._runs).settings()

    @cached_property
    def _dataset(self) -> str:
        """The name of the images, which are where workers find them from now on."""
        return self._open(progress=self._hear)

    @cached_property
    def _grammar(self) -> Grammar:
        """The space on the images, which are read for it if they must be."""
        return self._on(self._dataset) if self._objective is None else self._space

    def _on(self, dataset: str) -> Grammar:
        return on_images(self._space, dataset, named=bool(self._called))


def _exceptions(given: Any) -> tuple[type[Exception], ...]:
    kinds = tuple(given) if isinstance(given, tuple | list) else (given,)
    for each in kinds:
        if not (isinstance(each, type) and issubclass(each, Exception)):
            raise ConfigError(
                "catch must be a kind of exception or several, such as (ValueError,), but got "
                f"{each!r:.80}"
            )
    return kinds
