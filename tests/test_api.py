"""The face: what `import blocksearch` gives, as a user would write it."""

import dataclasses
import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import get_type_hints

import numpy as np
import optuna
import pytest
from PIL import Image
from safetensors import safe_open

import blocksearch as bs
from blocksearch.ablation.config import AblationConfig, GainConfig, Given, ScoresConfig, Variance
from blocksearch.api import fields
from blocksearch.api.studies import on_images
from blocksearch.arch.zoo import NAMED
from blocksearch.data import DataConfig
from blocksearch.runs.callback import together
from blocksearch.runs.config import RunConfig
from blocksearch.search.config import StudyConfig
from tests import commands

ROOT = Path(__file__).parent.parent
SMALL = {"epochs": 1, "max_images": 60, "batch": 30, "workers": 1, "device": "cpu"}
SPACE = bs.Grammar(
    bs.TASKS["digits"], widths=[(4, 8, 8)], kernel=["3x3", "1x3+3x1"], residual=["none", "add"]
)


@pytest.fixture(autouse=True)
def _here(root, tmp_path, monkeypatch):
    monkeypatch.setenv("BLOCKSEARCH_DATA", str(root))
    monkeypatch.chdir(tmp_path)


def made_up_images(count=48, classes=3):
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (count, 12, 12, 3), np.uint8)
    return images, np.arange(count) % classes


def test_the_list_of_names_is_what_is_there():
    assert dir(bs) == sorted(bs.__all__)
    for name in bs.__all__:
        assert getattr(bs, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'build'"):
        bs.build  # noqa: B018
    everything = {}
    exec("from blocksearch import *", everything)
    assert set(bs.__all__) <= set(everything)


def test_a_network_of_a_name_a_task_or_another_input(tmp_path):
    net = bs.network("effnet residual=add", task="cifar10")
    assert net == bs.network("effnet residual=add", task=bs.TASKS["cifar10"])
    assert (net.cost.flops, net.cost.params) == (bs.cost(net).flops, bs.cost(net.layers).params)
    other = bs.network("effnet", task="cifar10:3x48x48/7")
    assert (str(other.task.input), other.task.classes) == ("3x48x48", 7)
    assert other.widths == (64, 128, 256)
    assert bs.network("effnet", task="gtsrb", widths=(4, 8)).widths == (4, 8)
    own = bs.network("effnet", task=made_up_images())
    assert (str(own.task.input), own.task.classes) == ("3x12x12", 3)
    assert bs.cost("effnet", task="gtsrb").flops == 344_064
    assert bs.network("effnet", "gtsrb", scale_to="flops <= 200k").cost.flops <= 200_000
    assert bs.network(str(net)) == net
    assert "dw 1x3" in net.table()
    shown = commands.command("show", str(net), cwd=tmp_path, COLUMNS="120").stdout
    assert net.table() == shown
    assert all(f"{net.cost.flops:,}" in said for said in (shown, net._repr_html_()))
    plain = bs.Network(bs.TASKS["cifar10"], [bs.Block()])
    assert plain.module(seed=0)(__import__("torch").zeros(2, 3, 32, 32)).shape == (2, 10)


def with_gradients():
    torch = __import__("torch")
    return torch.rand(4, 8, 8, 3).requires_grad_(), torch.arange(4)


def convolutions():
    torch = __import__("torch")
    return torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.ReLU())


def of_objectives(*names, **fields):
    return bs.Study(SPACE, "s.db", objective=lambda *_: 1, objectives=names, **fields)


def huge(value=10**400):
    return bs.Objective(name="x", function=lambda network: value)


LARGE_TASK = bs.Task(input=(3, 99_999, 99_999), classes=10**6)


def raising(*_):
    raise OSError("no such board")


class Nameless:
    name = property(lambda self: 1 / 0)

    def propose(self, *_):
        return 0


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (
            lambda: bs.Study(SPACE, "s.db", objective=lambda *_: 1, objectives=["accuracy", "lat"]),
            "known: accuracy, flops(?!.* accuracy,).*; or an Objective of your own",
        ),
        (lambda: bs.rescaled("effnet", "flops <= 1M"), "must be a Network, but got 'effnet'"),
        (lambda: SPACE.costs(5), "indices must be a list of whole numbers, but got 5"),
        (lambda: SPACE.costs([0.5]), "indices must be a list of whole numbers"),
        (lambda: SPACE["a"], "an index of a space must be a whole number or a slice, but got 'a'"),
        (lambda: bs.network("efnet"), "did you mean 'effnet'"),
        (lambda: bs.network("effnet", task="cifar11"), "unknown data set 'cifar11'"),
        (lambda: bs.network("effnet", task="none.npz"), "none.npz cannot be read: No such file"),
        (lambda: bs.network("effnet", widths="4,x"), "widths must be whole numbers"),
        (lambda: bs.train("effnet", epoch=1), "unknown argument 'epoch' .did you mean 'epochs'"),
        (lambda: bs.train("effnet", seeds=[0, 0]), "seeds must be distinct"),
        (lambda: bs.train("effnet", seed=1), "unknown argument 'seed' .did you mean 'seeds'"),
        (lambda: bs.train("effnet", dataset=""), "a data set is a name or a path, but got ''"),
        (lambda: bs.train("effnet", db="sqlite://"), "runs need a file that remains, but got sql"),
        (lambda: bs.ablate(factor=[]), "factors to ablate must be one or more"),
        (lambda: bs.ablate(factor="kernel", factors=["last"]), "'factors' .did you mean 'factor'"),
        (lambda: bs.network("effnet", resize="64x64"), "resize is for images of your own"),
        (lambda: bs.network("effnet", scale_to=""), "a budget is written like"),
        (
            lambda: bs.Grammar(LARGE_TASK, widths=[(10**6,) * 3]).costs(),
            "costs more than can be counted",
        ),
        (lambda: of_objectives("accuracy", "flops", seed=2**63), "seed must be at most 92233720"),
        (lambda: of_objectives("accuracy", "flops", seeds=1001), "seeds must be at most 1000"),
        (lambda: of_objectives("accuracy", huge(np.float32("inf"))).search(1), "must be a finite"),
        (lambda: bs.ablate(factor="residul"), "did you mean 'residual'"),
        (lambda: bs.ablate(factor="residual", recipe="slow"), "unknown recipe 'slow'"),
        (lambda: bs.reproduce("table9"), "reproduce flops, section3 or table2 to table7"),
        (lambda: bs.reproduce("all"), "but not .all.; ask for one after another"),
        (lambda: bs.reproduce(1), "but not 1; Table 1 is what `layers` returns"),
        (lambda: bs.train("effnet", dataset=[1, 2, 3]), "images must be N×H×W×C"),
        (lambda: bs.Shape("3", 32, 32), "at least one channel, row and column, but got 3x32x32"),
        (lambda: bs.Study("tiny", "s.db", objective=3), "a function of a network and a seed, but"),
        (lambda: bs.price("effnet").save(None), "file must be a text or a path, but got None"),
        (lambda: bs.train("effnet", keep_weights=__file__), "are kept in a folder, but .* is none"),
        (lambda: bs.train("effnet", keep_weights="x" * 300), "cannot be kept: File name too long"),
        (lambda: bs.datasets(Path("x" * 300)), "the data root cannot be used: File name too long"),
        (lambda: bs.datasets(Path("a\0b")), "the data root cannot be used: .* is no path"),
        (lambda: bs.train("effnet", dataset=dict), "dataset: must be a name, .* but got type"),
        (lambda: bs.network("effnet", np.int64(3)), "dataset: must be a name, .* but got int64"),
        (lambda: bs.train("effnet", dataset=with_gradients()), "dataset: no arrays of images"),
        (lambda: bs.Study(SPACE, "s.db", data="digits"), "argument 'data' .*mean 'dataset'"),
        (lambda: of_objectives("accuracy", "accuracy"), "must be distinct, but got accuracy,acc"),
        (of_objectives, "objectives must be accuracy, .* but got none"),
        (lambda: of_objectives("accuracy", huge()).search(1), "objective x must be a finite num"),
        (lambda: bs.Objective(name="x", function=len, bounds=(1, np.nan)), "a lower and a higher"),
        (
            lambda: bs.Study(SPACE, "s.db", dataset="digits", sampler=Nameless()),
            "Nameless has no name: Z",
        ),
        (lambda: bs.Study(SPACE, "/proc/x.db", objective=len).search(1), "lock cannot be made"),
        (lambda: bs.Block().module((3, 8, 8), 0), "width must be at least 1, but got 0"),
        (lambda: bs.Shape(3, 8, 8).strided((0, 0)), "a stride is two whole numbers from 1"),
        (lambda: bs.Recipe.from_text("x"), "a recipe's text is what .text. wrote, but got 'x'"),
        (lambda: SPACE.nearest(flops=float("nan")), "takes a count from 1 and a cost, but got 1"),
        (lambda: bs.replace(convolutions(), "effnet", (3, 8, 8), where=raising), "where raises OS"),
        (lambda: bs.compare({"a": dict}), "treatment 'a' must be a list of values, but got <class"),
    ],
)
def test_a_mistake_is_one_line(asked, says):
    with pytest.raises(bs.BlocksearchError, match=says) as caught:
        asked()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"label_smoothing": 3}, "label_smoothing must be .*, but got 3"),
        ({"recipe": "fats"}, "unknown recipe 'fats'"),
        ({"max_images": 0}, "max_images must be at least 2, but got 0"),
        ({"workers": 0}, "workers must be at least 1, but got 0"),
        ({"enqueue": ["effnt"]}, "unknown network 'effnt' .did you mean 'effnet'"),
        ({"enqueue": "residual=ad"}, "residual must be .*, but got 'ad'"),
        ({"enqueue": "effnet", "budgets": "flops <= 1k"}, "effnet is not within flops <= 1000"),
    ],
)
@pytest.mark.parametrize("kind", ["named", "arrays", "pictures", "function"])
def test_a_study_says_at_once_what_cannot_be_and_writes_nothing(tmp_path, kind, asked, says):
    trained = {"named": "digits", "arrays": made_up_images(), "pictures": "photos"}
    judged = {"dataset": trained[kind]} if kind in trained else {"objective": lambda *_: 50.0}
    if kind == "pictures":
        for name in ("a/1.png", "a/2.png", "b/1.png", "b/2.png"):
            (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (12, 12)).save(tmp_path / "photos" / name)
    unseen = {
        "pictures": {"max_images", "workers", "budgets"},
        "function": {*fields.RunFields.__annotations__},
    }
    before = sorted(tmp_path.rglob("*"))
    if unseen.get(kind, set()) & {*asked}:
        bs.Study(SPACE, "s.db", **judged, **asked)
    else:
        with pytest.raises(bs.BlocksearchError, match=says) as said:
            bs.Study(SPACE, "s.db", **judged, **asked)
        assert "\n" not in str(said.value)
    assert sorted(tmp_path.rglob("*")) == before


def best_of(flops):
    study = bs.Study(SPACE, "s.db", objective=lambda net, seed: 50.0, references="none", seeds=1)
    study.search(trials=1)
    return study.best(flops=flops)


MISTYPED = {  # calls with a value of another type than they take
    "seeds": lambda own: bs.train("effnet", seeds=own),
    "workers": lambda own: bs.train("effnet", workers=own),
    "device": lambda own: bs.train("effnet", device=own),
    "metric": lambda own: bs.train("effnet", metric=own),
    "factor must be": lambda own: bs.ablate("effnet", factor=own),
    "given": lambda own: bs.ablate("effnet", factor="residual", given=own),
    "widths": lambda own: bs.network("effnet", widths=own),
    "input": lambda own: bs.network("effnet", input=own),
    "plugins": lambda own: bs.network("effnet", plugins=own),
    "budget": lambda own: bs.network("effnet", scale_to=own),
    "task": lambda own: bs.parse("effnet", own),
    "name": lambda own: bs.named_network(own, "digits"),
    "a network": bs.parse,
    "a block": bs.parse_block,
    "net": bs.cost,
    "file": lambda own: bs.export("effnet", own, weights={}),
    "a database": lambda own: bs.Study("tiny", own, dataset="digits"),
    "database": bs.front,
    "trials": lambda own: bs.Study("tiny", "s.db", dataset="digits").search(own),
    "timeout": lambda own: bs.Study("tiny", "s.db", dataset="digits").search(1, own),
    "flops": best_of,
    "runs": lambda own: bs.verify("s.db", runs=own),
    "a space": bs.load_space,
    "space": bs.tabulate,
    "model": bs.replace,
    "seed": lambda own: bs.network("effnet").module(seed=own),
    "a network to rescale": lambda own: bs.rescaled(own, "flops <= 1M"),
    "indices": SPACE.costs,
    "an index of a space": SPACE.__getitem__,
    "names": bs.check_dataset,
    "data_root": bs.datasets,
    "budgets": lambda own: bs.survey("tiny", budgets=own),
    "sample": lambda own: bs.survey("tiny", sample=own),
    "progress": lambda own: bs.survey("tiny", progress=own),
    "what": bs.reproduce,
    "where": lambda own: bs.replace(convolutions(), "effnet", (3, 8, 8), where=own),
    "file must be": lambda own: bs.tabulate("tiny", own),
    "dropout": lambda own: bs.Task(input=(3, 8, 8), classes=2, dropout=own),
    "widths must be": lambda own: bs.Network(bs.TASKS["digits"], [bs.Block()], widths=own),
    "per_stage": lambda own: bs.Grammar("digits", per_stage=own),
    "base": lambda own: bs.Grammar("digits", base=own),
    "depth": lambda own: bs.Grammar("digits", depth=[[own]]),
    "head": lambda own: bs.Grammar("digits", head=[[own]]),
    "a Block or a Network": SPACE.why_not,
    "count": SPACE.sample,
    "flops must be": lambda own: SPACE.nearest(flops=own),
    "quantities": SPACE.frontier,
    "a factor's name": lambda own: bs.network("effnet").with_factor(own, "add"),
    "values of factors|bottleneck": bs.Block().with_factors,
    "a recipe's text": bs.Recipe.from_text,
    "width must be": lambda own: bs.Block().module((3, 8, 8), own),
    "a stride": bs.Shape(3, 8, 8).strided,
    "metric must be": bs.Objective.of_metric,
    "name must be": lambda own: bs.Objective(name=own, function=len),
    "bounds": lambda own: bs.Objective(name="x", function=len, bounds=own),
    "unknown task": SPACE.on,
}


@pytest.mark.parametrize("what", MISTYPED)
def test_a_value_of_a_wrong_type_is_one_line(what):
    for own in (object(), {"bottleneck": [2, 4]}, 1j):
        with pytest.raises(bs.BlocksearchError, match=what) as caught:
            MISTYPED[what](own)
        assert "\n" not in str(caught.value)


NUMBERS = {  # calls with a number, or several, of any library
    "epochs": lambda own: RunConfig(epochs=own(1), label_smoothing=own(0)).recipe_of(),
    "a seed": lambda own: list(bs.network("effnet").module(seed=own(3)).state_dict()),
    "a recipe": lambda own: bs.Recipe(epochs=own(2), class_weights=[own(1), own(2)]).text,
    "widths": lambda own: list(bs.Grammar("digits", widths=own([[4, 8, 16], [8, 8, 8]]))),
    "depth": lambda own: list(bs.Grammar("digits", depth=own([1, 2]), minimum=own([4]))),
    "a network's widths": lambda own: bs.network("effnet", widths=own([4, 8, 8])).digest,
    "a study's seeds": lambda own: bs.Study(SPACE, "s.db", dataset="digits", seeds=own(2)).config,
}


@pytest.mark.parametrize("what", NUMBERS)
def test_numbers_of_numpy_are_numbers(what):
    def numpys(given):
        return np.array(given) if isinstance(given, list) else np.int64(given)

    assert repr(NUMBERS[what](numpys)) == repr(NUMBERS[what](lambda given: given))


@pytest.mark.parametrize("seed", [-1, 2**70, np.array(3), True])
def test_what_is_no_seed_makes_no_module(seed):
    for made in (bs.network("effnet").module, lambda seed: bs.Block().module((3, 8, 8), 4, seed)):
        with pytest.raises(bs.BlocksearchError, match="seed"):
            made(seed=seed)


class Hearing:
    def __init__(self, *names):
        self.__dict__ |= {name: lambda *happened: None for name in names}


class NotAMethod:
    reading = 3


class Inherited(bs.Callback):
    def finish(self):
        """Is no hook, and beside one that is there."""

    def finished(self, group, runs):
        self.finish()


MISSPELT = {
    "finishd": "finished",
    "finish": "finished",
    "on_trial_finished": "trial_finished",
    "planed": "planned",
    "ended_early": "ended",
    "on_search_start": "search_started",
}


HEARD = {
    "train": lambda heard: bs.train("effnet", callbacks=heard),
    "ablate": lambda heard: bs.ablate("effnet", factor="residual", callbacks=heard),
    "gain": lambda heard: bs.gain("tiny", "effnet", callbacks=heard),
    "reproduce": lambda heard: bs.reproduce("table2", callbacks=heard),
    "tabulate": lambda heard: bs.tabulate("tiny", callbacks=heard),
    "test": lambda heard: bs.test("s.db", callbacks=heard),
    "search": lambda heard: bs.Study(SPACE, "s.db", dataset="digits").search(1, callbacks=heard),
}


@pytest.mark.parametrize("call", HEARD)
def test_what_can_hear_nothing_is_no_callback(call, tmp_path):
    for wrong in (print, NotAMethod(), Hearing("save"), bs.Callback):
        with pytest.raises(bs.BlocksearchError, match=r"callback is .* methods reading, .*ended"):
            HEARD[call]([wrong])
    with pytest.raises(bs.BlocksearchError, match="callbacks must be a list"):
        HEARD[call](print)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", MISSPELT)
def test_a_misspelt_method_of_a_callback_is_one_line(name):
    says = f"'{name}'.* did you mean '{MISSPELT[name]}'"
    for given in (Hearing("reading", name), type("Own", (bs.Callback,), {name: print})()):
        with pytest.raises(bs.BlocksearchError, match=says) as said:
            together([given])
        assert "\n" not in str(said.value)
    together([Inherited(), Hearing("ended", "save")])


def test_one_callback_hears_trainings_and_searches():
    heard = []

    class Both(bs.Callback):
        def save(self):
            """Is a method of its own."""

        def planned(self, plan):
            heard.append(("planned", len(plan.missing)))

        def finished(self, group, runs):
            heard.extend(("finished", run.key.seed) for run in runs)

        def search_started(self, study, trials, total):
            heard.append(("search_started", study, trials, total))

        def trial_finished(self, trial, total, reused):
            heard.append(("trial_finished", trial.number))

        def ended(self, reason):
            heard.append(("ended", reason))

    callbacks = [Both(), Inherited(), Hearing("ended")]
    images = made_up_images()
    bs.train("effnet", dataset=images, seeds=1, widths=(4, 8), callbacks=callbacks, **SMALL)
    assert heard == [("planned", 1), ("finished", 0), ("ended", None)]
    heard.clear()
    own = {"objective": lambda network, seed: 50.0, "references": "none", "seeds": 1}
    bs.Study(SPACE, "s.db", **own).search(2, callbacks=callbacks)
    assert heard[0] == ("search_started", "study", 0, 2)
    assert [name for name, *_ in heard[1:-1]] == ["trial_finished"] * (len(heard) - 2)
    assert heard[-1] == ("ended", None)


def test_the_name_of_a_task_stands_for_it():
    for task in ("svhn", "svhn:1x48x48", "svhn/7", "svhn:3x24x24/7"):
        for text in ("effnet", "effnet_revised", "effnet residual=add"):
            assert bs.parse(text, task) == bs.network(text, task)
        assert bs.named_network("effnet_revised", task) == bs.network("effnet_revised", task)
        space = bs.Grammar(task, residual=["none", "add"])
        assert space.task == bs.network("effnet", task).task


def test_training_keeps_weights_and_answers_with_records(tmp_path):
    net = bs.network("effnet", task="digits", widths=(4, 8, 8))
    runs = bs.train(net, dataset="digits", seeds=2, keep_weights="weights", **SMALL)
    assert [(row["seed"], row["state"]) for row in runs.records()] == [
        (0, "complete"),
        (1, "complete"),
    ]
    assert len(list((tmp_path / "weights").iterdir())) == 2
    again = bs.train(net, dataset="digits", seeds=[1], keep_weights=Path("weights"), **SMALL)
    assert again.records() == runs.records()[1:]  # seed 1 of the database, not one run more
    assert "accuracy" in runs.table()
    assert "<table>" in runs._repr_html_()
    assert "\n" not in repr(runs)
    assert len(runs.figure().data) == 2
    assert (tmp_path / "results" / "digits.db").exists()


def test_an_ablation_is_saved_in_any_form(tmp_path):
    heard = []

    class Mine:
        def finished(self, group, runs):
            heard.extend(runs)

    images = made_up_images()
    asked = {"factor": "residual", "values": ["none", "add"], "seeds": 2, "widths": (4, 8)}
    answer = bs.ablate("effnet", dataset=images, callbacks=[Mine()], **asked, **SMALL)
    assert [(row["value"], row["n"]) for row in answer.records()] == [("none", 2), ("add", 2)]
    assert len(heard) == 4
    assert answer.found.comparisons[0].n == 2
    np.savez(tmp_path / "mine.npz", images=images[0], labels=images[1])
    texts = {**asked, "values": "none,add"}
    known = {"db": "results/own.db"}  # a file of images has its own database unless one is named
    again = bs.ablate("effnet", dataset="mine.npz", dry_run=True, **known, **texts, **SMALL)
    assert again.data()["missing"] == 0  # the same images by another way
    for suffix in ("html", "svg", "png", "pdf", "csv", "md", "json", "txt"):
        answer.save(f"a.{suffix}")
        assert (tmp_path / f"a.{suffix}").stat().st_size > 100
    assert json.loads((tmp_path / "a.json").read_text())["comparisons"] == answer.records()
    assert len(answer.figure().data) > 0
    assert answer.table().startswith("effnet")


def test_a_space_is_a_sequence():
    space = bs.Grammar(
        bs.TASKS["gtsrb"], bottleneck=["reduce(2)", "reduce(4)"], residual=["none", "add"]
    )
    assert (len(space), len(space[:3]), len(space.costs().flops)) == (4, 3, 4)
    assert space[3].digest == space[-1].digest
    assert len(space.sample(2, seed=0)) == 2
    assert len(bs.load_space("tiny")) == 288
    assert bs.survey(space).data()["size"] == 4
    found = bs.survey(bs.load_space("mobile96")).found  # its stages have the widths, its task none
    assert [point.name for point in found.points if point.flops] == list(NAMED)


def test_a_study_answers_in_every_form(tmp_path):
    space = SPACE.on(bs.Task(input=(3, 12, 12), classes=3))
    study = bs.Study(
        space,
        "mine.db",
        dataset=made_up_images(),
        objectives=["accuracy", "flops"],
        sampler=optuna.samplers.TPESampler(seed=0),
        references="none",
        seeds=1,
        **SMALL,
    )
    heard = []

    class Mine:
        def trial_finished(self, trial, total, reused):
            heard.append(trial.number)

    study.search(trials=3, callbacks=[Mine()])
    assert list(dict.fromkeys(heard)) == [0, 1, 2]  # each with the seeds that it was given
    assert [entry.trial for entry in study.trials] == [0, 1, 2]
    assert study.trials[study.front[0].trial] == study.front[0]
    assert [each.step for each in study.trainings] == list(range(len(heard)))
    assert study.front[0].network.module() is not None
    assert study.best(flops=1e9) in study.front
    assert len(study.to_optuna().best_trials) == len(study.front)
    assert "accuracy" in study.table()
    study.save("front.html")
    assert "<table>" in study._repr_html_()
    assert len(study.figure().data) > 0
    stored = bs.front("mine.db").found
    assert stored == study.answer().found
    assert [entry.network for entry in stored.front] == [entry.network for entry in study.front]
    assert bs.importance("mine.db").found == study.importance().found
    with pytest.raises(bs.BlocksearchError, match="unknown argument 'images'"):
        bs.Study(space, "b.db", dataset=made_up_images(), images=3)


def test_a_front_has_the_weights_that_its_study_keeps(tmp_path):
    space = bs.Grammar("digits", residual=["none", "add"], widths=[(4, 8, 8)])
    asked = {"dataset": "digits", "references": "none", "seeds": 2, **SMALL}
    study = bs.Study(space, "a.db", keep_weights="weights", **asked)
    study.search(trials=2)
    for entry in study.front:
        assert len(entry.weights) == len(entry.accuracies) >= 1
        for seed, file in enumerate(entry.weights):
            with safe_open(file, "pt") as kept:
                said = kept.metadata()
            assert (said["network"], said["seed"]) == (entry.network.digest, str(seed))
            bs.export(entry.network, "best.pt2", weights=file)
    assert not any(entry.weights for entry in bs.Study(space, "a.db", **asked).front)


@pytest.mark.slow
def test_a_study_by_a_spaces_name_is_the_one_that_a_command_makes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = "search tiny --dataset digits --trials 1 --references none --seeds 1 --epochs 1"
    commands.command(*words.split(), "--max-images", "64", cwd=tmp_path)
    own = bs.Study("tiny", dataset="digits", references="none", seeds=1, epochs=1, max_images=64)
    assert (own.file, own.config.name) == ("results/digits.db", "tiny-digits")
    assert {entry.trial for entry in own.trials} == {0}
    heard, said = bs.Callback(), []
    heard.search_ended = lambda *ended: said.append(ended)
    own.search(1, callbacks=[heard])  # goes on with what it is
    assert said == [("nothing to do: 1 trials in all were asked for, and the study has 1", "")]


def test_a_grammar_keeps_its_dropout_on_other_images():
    own = bs.Grammar(
        bs.Task(input=(3, 32, 32), classes=10, widths=(4, 8), dropout=0.25),
        residual=["none", "add"],
    )
    for named, dropout in ((False, 0.25), (True, 0.5)):
        assert {net.task.dropout for net in on_images(own, "gtsrb", named=named)} == {dropout}


def test_the_paper_and_its_claims_across_data_sets():
    cells = bs.reproduce("flops").data()
    assert (cells["matching"], cells["distinct"]) == (31, 33)
    claims = bs.reproduce("section3", dataset="gtsrb,svhn,cifar10").records()
    assert {row["gtsrb_verdict"] for row in claims} >= {"hurts", "undecided"}
    assert all(f"{name}_agreement" in row for row in claims for name in ("svhn", "cifar10"))


def test_section_3_may_be_asked_with_each_spread_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = bs.reproduce("section3", seeds=5, variance="own").records()
    assert len(rows) > 40
    assert all(row["p_raw"] == row["p_own"] for row in rows)
    ways = ({"variance": "own"}, {"variance": "moderated"}, {})
    own, moderated, usual = (
        bs.reproduce("section3", dataset="gtsrb,svhn", **way).records() for way in ways
    )
    assert own != moderated == usual
    with pytest.raises(bs.BlocksearchError, match="unknown variance 'mine'"):
        bs.reproduce("section3", variance="mine")
    with pytest.raises(bs.BlocksearchError, match="asked of section3, which is a large family"):
        bs.reproduce("table7", variance="own")


FIELDS = {
    fields.DataFields: (DataConfig, {"dataset"}),
    fields.RunFields: (RunConfig, {"dataset"}),
    fields.ScoresFields: (ScoresConfig, set()),
}
BESIDE = {  # what is asked beside the fields of a run
    fields.AblationFields: (AblationConfig, {"factors"}, fields.RunFields),
    fields.GainFields: (GainConfig, set(), fields.RunFields),
    fields.StudyFields: (StudyConfig, set(), fields.TrainingFields),
}
ALSO_TEXT = {
    Path | None: str | Path | None,
    Given | None: Given | str | None,
    Variance: Variance | str,
}


@pytest.mark.parametrize("kind", [*FIELDS, *BESIDE])
def test_typed_keyword_arguments_are_the_fields_of_the_configuration(kind):
    config, elsewhere, *runs = (FIELDS | BESIDE)[kind]
    own = {each.name for each in dataclasses.fields(config)} - elsewhere
    hints = get_type_hints(config)
    asked = {name: ALSO_TEXT.get(hints[name], hints[name]) for name in own}
    assert get_type_hints(kind) == asked | (get_type_hints(*runs) if runs else {})
    assert not kind.__required_keys__
    run = get_type_hints(fields.RunFields)
    assert {*run} - {*get_type_hints(fields.TrainingFields)} == {"db"}
    assert {*get_type_hints(fields.WhereFields)} < {*run}


def test_typed_arguments_of_a_network_are_those_that_a_network_takes():
    signature = inspect.signature(bs.network).parameters.values()
    taken = {own.name: own.annotation for own in signature if own.kind == own.KEYWORD_ONLY}
    typed = fields.NetworkFields.__annotations__  # those of names that are not imported are texts
    assert {name: getattr(typed[name], "__forward_arg__", typed[name]) for name in typed} == taken
    for call in (bs.price, bs.layers):
        with pytest.raises(bs.BlocksearchError, match=r"unknown argument 'width' .*'widths'"):
            call("effnet", width=(4, 8, 16))


USER = """
import numpy as np
import optuna
import blocksearch as bs

net: bs.Network = bs.network("effnet residual=add", task="cifar10")
flops: int = net.cost.flops
params: int = net.cost.params
model = net.module(seed=0)
print(model.state_dict(), net.table())
runs = bs.train(net, dataset="digits", epochs=1, seeds=3, keep_weights="weights/")
rows: list[dict[str, object]] = runs.records()
answer = bs.ablate("effnet", factor="residual", dataset="gtsrb", seeds=8)
answer.table(); answer.records(); answer.figure(); answer.save("residual.html")
space: bs.Grammar = bs.Grammar(
    bs.TASKS["gtsrb"], bottleneck=["reduce(2)", "reduce(4)"], residual=["none", "add"]
)
size: int = len(space)
one: bs.Network = space[3]
some: list[bs.Network] = [*space[:5], *space.sample(2, seed=0)]
print(space.costs().flops)
images, labels = np.zeros((48, 12, 12, 3), np.uint8), np.arange(48) % 3
study = bs.Study(
    space,
    "mine.db",
    dataset=(images, labels),
    objectives=["accuracy", "flops"],
    sampler=optuna.samplers.TPESampler(),
)
study.search(trials=200, callbacks=[bs.Callback()])
study.front[0].network.module()
own: optuna.Study = study.to_optuna()
best: bs.Network = study.best(flops=400e3).network
found: bs.Network = bs.front("mine.db").found.front[0].network
"""
WRONG = {
    "bs.network(3)": 'has incompatible type "int"; expected "str"',
    "bs.build(net)": 'Module has no attribute "build"',
    "bs.price(net, width=3)": 'Unexpected keyword argument "width" for "price"',
    "bs.train(net, epohcs=3)": 'Unexpected keyword argument "epohcs" for "train"',
    "bs.Study(space, 's.db', dataset='digits', epochs='3')": 'expected "int | None"',
    "net.cost.flop": '"Cost" has no attribute "flop"',
}


@pytest.mark.slow
def test_a_type_checker_knows_the_face(tmp_path):
    pytest.importorskip("mypy")
    (tmp_path / "mine.py").write_text("\n".join([USER, *WRONG]))
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "mine.py"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=tmp_path)
    *errors, last = [line for line in done.stdout.splitlines() if ": note:" not in line]
    assert last.startswith(f"Found {len(WRONG)} errors in 1 file")  # none in what is right
    assert all(says in error for says, error in zip(WRONG.values(), errors, strict=True))


def test_what_people_write_at_first_says_what_is_meant():
    space = bs.Grammar("digits", residual=["none", "add"])
    with pytest.raises(bs.BlocksearchError, match=r"'flops': it is network\.cost\.flops$"):
        len(space.where(lambda network: network.flops < 2e5))
    assert not hasattr(space[0], "flopz")
    with pytest.raises(bs.BlocksearchError, match=r"^factor must be a text or a list of texts"):
        bs.ablate("effnet", factor=None)


@pytest.mark.slow
def test_a_title_calls_a_network_as_briefly_as_its_text():
    net = bs.network("effnet residual=add", task="digits")
    told = {"dataset": "digits", "dry_run": True, "seeds": 2} | SMALL
    for given in (net, str(net), "effnet residual=add"):
        plans = (bs.train(given, **told), bs.ablate(given, factor="pooling", **told))
        assert all(own.report.title.startswith("effnet residual=add, widths") for own in plans)
    told |= {"sample": 2}
    assert bs.gain("tiny", net, **told).report.title.startswith("effnet residual=add, widths")


@pytest.mark.slow
def test_a_plan_of_a_search_has_the_title_of_the_search(tmp_path):
    grammar = bs.Grammar("digits", residual=["none", "add"], widths=[(2, 4)])
    how = {"budgets": ["flops <= 1M"], "references": "none", "seeds": 1} | SMALL
    study = bs.Study(grammar, tmp_path / "a.db", dataset="digits", **how)
    planned = study.search(1, dry_run=True).report.title
    assert planned.startswith("study: a grammar of residual within flops <= 1000000; digits")
    assert study.search(1).report.title == planned


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"references": "effnet"}, "and 1 reference network, "),
        pytest.param(
            {"enqueue": "pooling=first"}, "given and reference networks, ", marks=pytest.mark.slow
        ),
    ],
)
def test_a_plan_of_a_search_says_which_networks_come_first(asked, says):
    grammar = bs.Grammar("digits", residual=["none", "add"], pooling=["last", "first"])
    plan = bs.Study(grammar, dataset="digits", **asked, **SMALL).search(2, dry_run=True)
    assert says in " ".join(plan.table().split())
