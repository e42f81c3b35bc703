"""A search from a user's own program: images handed over as arrays, an objective of their own, a
script without a guard.
"""

import linecache
import sqlite3
import subprocess
import sys
import warnings
from contextlib import closing
from functools import partial

import numpy as np
import optuna
import pytest
from PIL import Image

from blocksearch import Grammar, Shape, Study, Task, cost, load_space
from blocksearch.errors import BlocksearchError, ConfigError, DataError, PluginError, StoreError
from blocksearch.runs.callback import Callback
from blocksearch.runs.ledger import Ledger
from blocksearch.search.definition import Evaluation
from blocksearch.search.objectives import Objective, front
from blocksearch.search.samplers import Proposal
from blocksearch.search.summary import summarise
from blocksearch.search.trials import Studies, TrialState
from tests.made import optuna_file
from tests.search.processes import python

GRAMMAR = Grammar(
    Task(input=Shape(1, 16, 16), widths=(4, 8), classes=4),
    bottleneck=["reduce(1)", "reduce(2)", "reduce(4)"],
    kernel=["3x3", "1x3+3x1"],
    residual=["none", "add"],
)

SCRIPT = """
import numpy as np
from blocksearch import Grammar, Task, Shape, Study

labels = np.arange(400) % 4
noise = np.random.default_rng(0).integers(0, 60, (400, 16, 16, 1))
data = (noise + 40 * labels[:, None, None, None]).astype(np.uint8), labels
task = Task(input=Shape(1, 16, 16), widths=(4, 8), classes=4)
grammar = Grammar(task, bottleneck=["reduce(1)", "reduce(2)"])
study = Study(grammar, "mine.db", dataset=data, epochs=2, seeds=2, budgets=["flops <= 1M"])
for entry in study.search(trials=1).found.front:
    print(f"{entry.mean:.2f}", entry.costs["flops"], entry.text)
"""


def accuracy(network, seed):
    return 40 + 8 * np.log10(cost(network.layers).flops) + seed / 10


@pytest.mark.slow
def test_ten_lines_search_a_users_own_images(tmp_path):
    (tmp_path / "mine.py").write_text(SCRIPT)
    ten_lines = partial(
        python, tmp_path, "-W", "error", "mine.py", BLOCKSEARCH_DATA=str(tmp_path / "data")
    )
    first = ten_lines()
    assert first.stderr == ""
    lines = [line.split() for line in first.stdout.splitlines()]
    assert lines
    assert all(float(mean) > 30 for mean, *_ in lines)
    assert [int(flops) for _, flops, *_ in lines] == sorted(int(flops) for _, flops, *_ in lines)
    assert ten_lines().stdout == first.stdout


def test_an_objective_of_ones_own_is_called_once_for_each_network_and_seed(tmp_path):
    called = []

    def objective(network, seed):
        called.append((network.digest, seed))
        return accuracy(network, seed)

    study = Study(GRAMMAR, tmp_path / "a.db", objective=objective, seeds=2)
    found = study.search(trials=8).found
    assert len(found.entries) == 14
    assert len(called) == len(set(called))
    points = np.array([[entry.mean, entry.costs["flops"]] for entry in found.entries])
    assert [found.entries[row] for row in front(points)] == list(found.front)
    assert all(len(entry.accuracies) == 2 for entry in found.front)
    before = len(called)
    assert (
        Study(GRAMMAR, tmp_path / "a.db", objective=objective, seeds=2).search(trials=8).found
        == found
    )
    assert len(called) == before


def test_what_an_objective_raises_reaches_its_user_and_nothing_is_lost(tmp_path):
    def objective(network, seed):
        if len(seen) == 13:
            raise RuntimeError("the board is not plugged in")
        seen.append(network)
        return accuracy(network, seed)

    seen = []
    with pytest.raises(RuntimeError, match="the board is not plugged in") as raised:
        Study(GRAMMAR, tmp_path / "a.db", objective=objective).search(trials=6)
    assert len(Study(GRAMMAR, tmp_path / "a.db", objective=objective).answer().found.entries) == 7
    assert "raised by the objective in trial 7, seed 0" in raised.value.__notes__[0]
    seen.clear()
    with closing(Ledger(tmp_path / "a.db")) as ledger:
        before = Studies(ledger).trials("study")
    seen.append(None)
    Study(GRAMMAR, tmp_path / "a.db", objective=accuracy, name="whole").search(trials=6)
    with closing(Ledger(tmp_path / "a.db")) as ledger:
        assert Studies(ledger).trials("whole")[:13] == before


GONE = {
    "removed": lambda file: file.unlink(),
    "moved": lambda file: file.rename(file.with_name("moved.db")),
    "replaced": lambda file: file.with_name("other.db").replace(file),
    "a folder": lambda file: (file.unlink(), file.mkdir()),
}


@pytest.mark.parametrize("how", GONE)
def test_a_database_that_is_gone_ends_a_search_at_its_next_step(tmp_path, how):
    def objective(network, seed):
        if len(asked) == 3:
            GONE[how](file)
        asked.append(network)
        return 50.0

    file, asked = tmp_path / "a.db", []
    (tmp_path / "other.db").write_bytes(b"")
    with pytest.raises(StoreError, match=r"a\.db was removed or replaced .* since is not kept"):
        Study(GRAMMAR, file, objective=objective).search(trials=6)
    assert len(asked) == 4
    assert how == "a folder" or not (file.exists() and file.stat().st_size)


def test_a_database_that_fails_ends_a_search_and_the_next_one_copies_for_optuna(tmp_path):
    def objective(network, seed):
        if len(asked) == 3:  # our own table takes nothing more, while Optuna's are as they were
            refuse = "create trigger no before insert on search_steps begin select 1 from gone; end"
            with closing(sqlite3.connect(tmp_path / "a.db")) as connection:
                connection.execute(refuse)
        asked.append(network)
        return 50.0

    def copied():
        found = optuna.load_study(study_name="study", storage=optuna_file(tmp_path / "a.db"))
        return len(found.trials)

    asked = []
    study = Study(GRAMMAR, tmp_path / "a.db", objective=objective, seeds=1)
    with pytest.raises(StoreError, match="no such table"):
        study.search(trials=6)
    assert copied() == 0
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        connection.execute("drop trigger no")
    assert copied() < len(study.search(trials=6).found.entries) == copied()


def test_kinds_of_exceptions_are_read_before_anything_runs(tmp_path):
    def objective(network, seed):
        raise OSError("the board is not plugged in")

    study = Study(GRAMMAR, tmp_path / "a.db", objective=objective, references="none")
    for wrong in ("OSError", OSError("x"), (OSError, 1), KeyboardInterrupt, None):
        with pytest.raises(ConfigError, match="catch must be a kind of exception or several"):
            study.search(1, catch=wrong)
    assert not list(tmp_path.iterdir())
    assert {each.state for each in study.search(1, catch=OSError) and study.trainings} == {
        TrialState.FAILED
    }


@pytest.mark.parametrize(
    ("value", "says"), [(101.0, "101.0"), (float("nan"), "nan"), (-1, "-1"), ("half", "'half'")]
)
def test_a_result_that_is_no_percentage_is_refused(tmp_path, value, says):
    with pytest.raises(
        ConfigError, match=f"must return percent between 0 and 100, or None, but got {says}"
    ):
        Study(GRAMMAR, tmp_path / "a.db", objective=lambda network, seed: value).search(trials=3)


def test_a_study_without_trials_says_how_to_get_some(tmp_path):
    one, file = (lambda network, seed: 20.0), tmp_path / "a.db"
    study = Study(GRAMMAR, file, objective=one, references="none", seeds=1)
    asked = (study.best, study.importance, study.records, study.to_optuna, study.table)
    asked += (lambda: study.front, lambda: study.trials)
    for _ in ("no file", "a file with another study"):
        for ask in asked:
            with pytest.raises(StoreError, match=r"has no trials yet: study.search\(trials=…\)"):
                ask()
        Study(GRAMMAR, file, objective=one, name="other").search(trials=1)
    with pytest.raises(StoreError, match=r"some \(unknown study 'study'; known: other\)$"):
        study.best()
    study.search(trials=2)
    assert all(ask() is not None for ask in asked)
    assert study.search(1).data() == study.answer().data()  # it ended as it was asked to


def test_an_objective_that_was_changed_is_another_question(tmp_path):
    one, other = (lambda network, seed: 20.0, lambda network, seed: 80.0 - seed)
    Study(GRAMMAR, tmp_path / "a.db", objective=one).search(trials=2)
    Study(GRAMMAR, tmp_path / "a.db", objective=one).search(trials=3)
    source = "def score(network, seed):\n    return 20.0\n"
    found = []
    for text in (source, source.replace("20", "30")):
        (tmp_path / "mine.py").write_text(text)
        linecache.clearcache()
        names = {"__name__": "mine"}
        exec(compile(text, str(tmp_path / "mine.py"), "exec"), names)
        found.append(Evaluation.by_function(names["score"]))
    assert found[0].dataset == found[1].dataset == "mine.score"
    assert found[0].data != found[1].data
    typed = [
        eval(f"lambda network, seed: max(network.{name}, {value})")
        for name, value in (("a", 1), ("b", 1), ("a", 2))
    ]
    levels = [partial(one, level) for level in (1, 2)] + [partial(other, 1)]
    for different in (typed, levels):
        assert len({Evaluation.by_function(each).data for each in different}) == 3
    with pytest.raises(
        ConfigError, match=r"was begun otherwise \(dataset was .*<lambda>, now .*\.accuracy"
    ):
        Study(GRAMMAR, tmp_path / "a.db", objective=accuracy).search(trials=3)
    assert other


def test_a_first_attempt_that_came_to_nothing_does_not_keep_the_name(tmp_path):
    def broken(network, seed):
        raise NameError("nothing of that name")

    with pytest.raises(NameError):
        Study(
            GRAMMAR, tmp_path / "a.db", objective=broken, objectives=("accuracy", "params")
        ).search(trials=2)
    assert (
        len(Study(GRAMMAR, tmp_path / "a.db", objective=accuracy).search(trials=3).found.entries)
        == 9
    )
    study = optuna.load_study(study_name="study", storage=optuna_file(tmp_path / "a.db"))
    assert (len(study.trials), study.metric_names) == (9, ["accuracy", "flops"])


def test_what_is_no_data_set_is_refused_before_anything_is_written(tmp_path):
    labels = np.arange(40) % 4
    images = np.zeros((40, 3, 16, 16), np.uint8)
    with pytest.raises(DataError, match=r"looks like N×C×H×W: images.transpose\(0, 2, 3, 1\)"):
        Study(GRAMMAR, tmp_path / "a.db", dataset=(images, labels), data_root=tmp_path)
    with pytest.raises(
        DataError, match=r"dataset: must be arrays \(images, labels\) or .*, but got ndarray"
    ):
        Study(GRAMMAR, tmp_path / "a.db", dataset=labels, data_root=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_space_takes_input_and_classes_from_the_images(tmp_path):
    images = np.arange(40 * 16 * 24 * 3, dtype=np.uint8).reshape(40, 16, 24, 3)
    own = (images, np.arange(40) % 5)
    study = Study(GRAMMAR, tmp_path / "a.db", dataset=own, data_root=tmp_path)
    task = study._grammar.task
    assert (str(task.input), task.classes) == ("3x16x24", 5)


def test_a_network_that_came_to_nothing_is_a_row(tmp_path):
    study = Study(
        GRAMMAR,
        tmp_path / "a.db",
        objective=lambda n, s: None if n.stem == "conv" else 50.0,
    )
    found = study.search(trials=4).found
    lost = [entry for entry in found.entries if entry.failures]
    assert lost
    assert all(entry.mean is None for entry in lost)
    trials = optuna.load_study(study_name="study", storage=optuna_file(tmp_path / "a.db")).trials
    assert sum(trial.state.name == "FAIL" for trial in trials) == len(lost)


def test_an_answer_says_why_its_search_ended_early(tmp_path):
    space = Grammar("digits", widths=[(4, 6)], residual=["none", "add"])
    study = Study(space, tmp_path / "a.db", objective=accuracy, references="none", seeds=1)
    for _ in range(2):  # the same when it is asked again
        assert study.search(9).report.notes[-1].endswith(": the search ends after 2 trials")


def test_a_space_without_a_choice_is_refused_and_nothing_is_written(tmp_path):
    study = Study(Grammar("digits", residual=["add"]), tmp_path / "a.db", objective=accuracy)
    with pytest.raises(ConfigError, match="nothing to search"):
        study.search(trials=1)
    assert not (tmp_path / "a.db").exists()


def test_a_space_may_be_named(tmp_path):
    own = tmp_path / "mine.py"
    own.write_text(
        "from blocksearch import TASKS, Grammar\n"
        "s = Grammar(TASKS['gtsrb'], residual=['none', 'add'])\n"
    )
    for space in ("tiny", own, str(own), load_space("tiny")):
        assert str(Study(space, tmp_path / "a.db", dataset="digits").file).endswith("a.db")
    for wrong, says in (("tyni", "unknown space 'tyni'"), (3, "a space must be a Grammar, .* 3$")):
        with pytest.raises(BlocksearchError, match=says):
            Study(wrong, tmp_path / "a.db", dataset="digits")
    assert not (tmp_path / "a.db").exists()


def test_data_or_an_objective(tmp_path):
    both = {"dataset": "digits", "objective": accuracy}
    for given, lacks in (({}, "neither was given"), (both, "both were given")):
        with pytest.raises(ConfigError, match=rf"a data set to train on .* but {lacks}"):
            Study(GRAMMAR, tmp_path / "a.db", **given)


def test_what_an_objective_may_raise_is_a_failed_trial_with_its_reason(tmp_path):
    def objective(network, seed):
        if network.stem == "conv":
            raise ValueError("too hot")
        return accuracy(network, seed)

    study = Study(GRAMMAR, tmp_path / "a.db", objective=objective)
    found = study.search(trials=3, catch=(ValueError,)).found
    failed = [trial for trial in study.trainings if trial.state == TrialState.FAILED]
    assert failed
    assert {trial.memory["reason"] for trial in failed} == {"ValueError: too hot"}
    assert sum(entry.failures for entry in found.entries) == len(failed)


def test_shares_that_are_taken_for_percent_are_doubted_aloud(tmp_path):
    def share(network, seed):
        return accuracy(network, seed) / 100

    with pytest.warns(UserWarning, match="percent between 0 and 100, but all values so far"):
        Study(GRAMMAR, tmp_path / "a.db", objective=share).search(trials=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Study(GRAMMAR, tmp_path / "b.db", objective=accuracy).search(trials=1)


def test_importing_leaves_the_verbosity_of_optuna_alone():
    code = (
        "import optuna; before = optuna.logging.get_verbosity(); "
        "import blocksearch.api.study, blocksearch.search.optuna_samplers; "
        "assert optuna.logging.get_verbosity() == before == optuna.logging.INFO"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


class Items:
    """What PyTorch calls a Dataset."""

    def __len__(self):
        return len(LABELS)

    def __getitem__(self, number):
        return IMAGES[number], int(LABELS[number])


def pictured(tmp_path):
    for number, (image, label) in enumerate(zip(IMAGES, LABELS, strict=True)):
        (tmp_path / f"photos/{label}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[:, :, 0]).save(tmp_path / f"photos/{label}/{number}.png")
    return tmp_path / "photos"


def archived(tmp_path):
    np.savez(tmp_path / "mine.npz", images=IMAGES, labels=LABELS)
    return str(tmp_path / "mine.npz")


LABELS = np.arange(40) % 4
IMAGES = np.arange(40 * 16 * 16, dtype=np.uint8).reshape(40, 16, 16, 1)
FORMS = {
    "a name": lambda _: "digits",
    "arrays": lambda _: (IMAGES, LABELS),
    "a Dataset": lambda _: Items(),
    "a list": lambda _: list(zip(IMAGES, LABELS.tolist(), strict=True)),
    "a generator": lambda _: zip(IMAGES, LABELS.tolist(), strict=True),
    "a folder": pictured,
    "a file": archived,
}


@pytest.mark.parametrize(
    "form", [pytest.param(own, marks=pytest.mark.slow) if own == "a name" else own for own in FORMS]
)
def test_images_are_kept_when_they_are_trained_on_and_not_before(form, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root, dataset = tmp_path / "data", FORMS[form](tmp_path)
    before = set(tmp_path.rglob("*"))
    study = Study(
        GRAMMAR,
        tmp_path / "a.db",
        dataset=dataset,
        data_root=root,
        executor="serial",
        epochs=1,
        batch=8,
        seeds=1,
        references="none",
        **({"max_images": 60} if form == "a name" else {}),
    )
    assert set(tmp_path.rglob("*")) == before
    assert len(study.search(trials=1).found.entries) == 1
    assert len(study.search(trials=2).found.entries) == 2
    assert list(root.rglob("own-*")) or form == "a name"
    assert study.front[0].network.task.classes == (10 if form == "a name" else 4)


class Cheapest:
    """A sampler of a user's own."""

    name = "cheapest"

    def propose(self, trials, pending, candidates, rng):
        rows = candidates.free
        costs = candidates.costs(["flops"])[rows, 0]
        return Proposal(rows[costs.argmin()]) if len(rows) else None


class Unspeakable:
    """It has no text."""

    def __repr__(self):
        raise RuntimeError("no text")


def test_a_sampler_of_ones_own_is_asked_and_goes_on_to_the_same_trials(tmp_path):
    def searched(name, *trials):
        study = Study(
            GRAMMAR,
            tmp_path / "a.db",
            objective=accuracy,
            sampler=Cheapest(),
            references="none",
            name=name,
            seeds=1,
        )
        for count in trials:
            found = study.search(trials=count).found
        return found, study.trainings

    found, whole = searched("whole", 8)
    assert {entry.origin for entry in found.entries} == {"cheapest"}
    assert not any(entry.named for entry in found.entries)
    flops = [entry.costs["flops"] for entry in found.entries]
    assert flops == sorted(flops)
    assert searched("cut", 3, 8)[1] == whole


@pytest.mark.parametrize(
    ("proposed", "says"),
    [
        (7, "return a Proposal or None, but gave 7"),
        (Proposal(10**9), r"propose one of rows 0 to [\d,]+, but gave 1,000,000,000"),
        (Proposal(-1), "propose one of rows"),
        (Proposal("a"), "propose a row's number, but gave 'a'"),
        (Proposal(0), r"propose a row that is free \(candidates.is_free\), but gave 0"),
        (Proposal(3, {"note": np.int64(3)}), r"have memory that is JSON, but gave \{'note'.*int64"),
        (Proposal(3, {"note": float("nan")}), "have memory that is JSON, but gave"),
        (Unspeakable(), "return a Proposal or None, but gave an object of Unspeakable"),
    ],
    ids=["no proposal", "beyond", "below", "a text", "twice", "numpy", "nan", "unspeakable"],
)
def test_what_a_sampler_of_ones_own_may_not_propose_is_one_line(tmp_path, proposed, says):
    class Mistaken(Cheapest):
        def propose(self, trials, pending, candidates, rng):
            return proposed

    asked = {"objective": accuracy, "sampler": Mistaken(), "references": "none", "seeds": 1}
    study = Study(GRAMMAR, tmp_path / "a.db", **asked)
    with pytest.raises(PluginError, match=f"^sampler cheapest must {says}"):
        study.search(trials=3)
    assert len(study.trainings) <= 2  # a row that may be trained once, and its second seed


class Odd:
    """A sampler that notes what no JSON can hold."""

    name = "odd"

    def propose(self, trials, pending, candidates, rng):
        return Proposal(0, {"noted": "\ud800"})


HUGE = Objective(name="huge", function=lambda network: network.cost.params * 1e300)


@pytest.mark.parametrize(
    ("odd", "says"),
    [
        ({"objectives": ["accuracy", HUGE]}, "least must be a list, each item a number from"),
        ({"sampler": Odd()}, "memory must be JSON of finite numbers and whole characters"),
    ],
)
def test_nothing_is_stored_that_could_not_be_read_again(tmp_path, odd, says):
    asked = {"objective": accuracy, "references": "none", "seeds": 1}
    Study(GRAMMAR, tmp_path / "a.db", name="good", **asked).search(trials=1)
    with pytest.raises(StoreError, match=says):
        Study(GRAMMAR, tmp_path / "a.db", name="odd", **asked | odd).search(trials=2)
    assert summarise(str(tmp_path / "a.db")).name == "good"
    found = Study(GRAMMAR, tmp_path / "a.db", name="odd", **asked).search(trials=1).found
    assert len(found.entries) == 1


def test_a_study_that_came_to_nothing_is_not_the_one_that_is_shown(tmp_path):
    class Failing:
        name = "failing"

        def propose(self, trials, pending, candidates, rng):
            raise ValueError("no")

    def study(name, **sampler):
        own = {"objective": accuracy, "references": "none", "seeds": 1} | sampler
        return Study(GRAMMAR, tmp_path / "a.db", name=name, **own)

    def front_of(name=None):
        return summarise(str(tmp_path / "a.db"), name)

    with pytest.raises(PluginError, match="sampler failing"):
        study("none", sampler=Failing()).search(trials=1)
    assert front_of().name == "none"
    study("one").search(trials=1)
    with pytest.raises(PluginError, match="sampler failing"):
        study("two", sampler=Failing()).search(trials=1)
    assert front_of().name == "one"
    assert front_of("two").entries == ()


@pytest.mark.parametrize(
    ("make", "other"),
    [
        (
            lambda: optuna.samplers.TPESampler(n_startup_trials=3, seed=1),
            lambda: optuna.samplers.TPESampler(n_startup_trials=4, seed=1),
        ),
        (
            lambda: optuna.samplers.NSGAIISampler(population_size=4, seed=0),
            lambda: optuna.samplers.NSGAIISampler(population_size=6, seed=0),
        ),
        (
            lambda: optuna.samplers.BruteForceSampler(seed=0),
            lambda: optuna.samplers.RandomSampler(seed=0),
        ),
        (  # it draws a seed where it gets none, another each time
            lambda: optuna.samplers.QMCSampler(scramble=True, warn_asynchronous_seeding=False),
            lambda: optuna.samplers.QMCSampler(scramble=True, seed=0),
        ),
    ],
    ids=["tpe", "nsga2", "brute force", "qmc"],
)
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_any_sampler_of_optunas_is_one_with_its_arguments(tmp_path, make, other):
    def study(sampler):
        return Study(
            GRAMMAR,
            tmp_path / "a.db",
            objective=accuracy,
            sampler=sampler,
            references=["effnet"],
            seeds=1,
        )

    said = []
    callback = Callback()
    callback.search_ended = lambda reason, _: said.append(reason)
    study(make()).search(trials=5)
    answer = study(make()).search(trials=9, callbacks=[callback])  # as a new process would
    assert "need not take the steps of an uninterrupted search" in answer.table().replace("\n", " ")
    found = answer.found
    name = type(make()).__name__
    assert [entry.origin for entry in found.entries] == ["effnet"] + [name] * 9
    assert len({entry.text for entry in found.entries}) == 10
    assert "need not take the steps of an uninterrupted search" in said[0]
    with pytest.raises(ConfigError, match=r"was begun otherwise \(sampler was .*now opt"):
        study(other()).search(trials=9)


def test_objectives_of_ones_own_are_searched_for_and_shown(tmp_path):
    layers = Objective(name="layers", function=lambda network: len(network.layers))
    depth = Objective(name="width", function=lambda n: max(n.task.widths), maximise=True)
    objectives = ["accuracy", "flops", layers, depth]
    study = Study(GRAMMAR, tmp_path / "a.db", objective=accuracy, objectives=objectives, seeds=1)
    found = study.search(trials=8).found
    assert [axis.maximise for axis in found.axes] == [True, False, False, True]
    for entry in study.front:
        assert entry.costs["layers"] == len(entry.network.layers)
        assert cost(entry.network.layers).flops == entry.costs["flops"]
    points = np.array(
        [[e.mean, e.costs["flops"], e.costs["layers"], -e.costs["width"]] for e in found.entries]
    )
    assert {found.entries[row].trial for row in front(points)} == {e.trial for e in found.front}
    other = Objective(name="layers", function=lambda network: 2 * len(network.layers))
    objectives = ["accuracy", "flops", other, depth]
    with pytest.raises(ConfigError, match="objective was"):
        Study(
            GRAMMAR, tmp_path / "a.db", objective=accuracy, objectives=objectives, seeds=1
        ).search(trials=8)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"sampler": object()}, "a sampler is a name, an instance"),
        ({"sampler": "evolutoin"}, "did you mean 'evolution'"),
        ({"references": "efnet"}, "unknown reference network 'efnet'"),
        ({"trial": 3}, "unknown argument 'trial'"),
        ({"objectives": ["accuracy", "latency"]}, "unknown objective 'latency'"),
        ({"rungs": [2], "sampler": optuna.samplers.TPESampler()}, "rungs go with evolution"),
    ],
)
def test_what_cannot_be_asked_is_one_line(tmp_path, fields, says):
    with pytest.raises(ConfigError, match=says):
        Study(GRAMMAR, tmp_path / "a.db", objective=accuracy, **fields)
    assert list(tmp_path.iterdir()) == []


def test_a_study_is_one_of_optunas_with_the_same_front_and_can_be_drawn(tmp_path):
    study = Study(GRAMMAR, tmp_path / "a.db", objective=accuracy, seeds=1)
    study.search(trials=8)
    theirs = study.to_optuna()
    assert len(theirs.trials) == len(study.answer().found.entries)
    assert {trial.user_attrs["trial"] for trial in theirs.best_trials} == {
        entry.trial for entry in study.front
    }
    assert theirs.metric_names == ["accuracy", "flops"]
    draw = optuna.visualization
    assert len(draw.plot_pareto_front(theirs).data[0].x) > 0
    draw.plot_optimization_history(theirs, target=lambda t: t.values[0], target_name="accuracy")
    draw.plot_parallel_coordinate(theirs, target=lambda t: t.values[0], target_name="accuracy")


def test_reference_networks_are_chosen_and_do_not_count(tmp_path):
    for references, names in (("none", []), ("effnet,mobilenet", ["mobilenet", "effnet"])):
        study = Study(
            GRAMMAR,
            tmp_path / "a.db",
            objective=accuracy,
            references=references,
            name=f"study{len(names)}",
        )
        found = study.search(trials=4).found
        assert [entry.origin for entry in found.entries] == names + ["evolution"] * 4
        assert [entry.named for entry in found.entries] == [True] * len(names) + [False] * 4


def test_answers_of_a_study_are_at_hand(tmp_path):
    study = Study(GRAMMAR, tmp_path / "a.db", objective=accuracy, seeds=1)
    study.search(trials=8)
    best = study.best(flops=60e3)
    assert best.costs["flops"] <= 60e3
    assert best.mean == max(e.mean for e in study.front if e.costs["flops"] <= 60e3)
    with pytest.raises(ConfigError, match="has flops <= 3"):
        study.best(flops=3)
    with pytest.raises(ConfigError, match="unknown cost 'flop'"):
        study.best(flop=3)
    assert len(study.records()) == 14
    assert study.importance().found.networks == 14
