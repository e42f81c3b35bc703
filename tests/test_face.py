"""The face line by line, as the README's reader would write it, and the one-liners that people try
first.
"""

import re
from functools import partial

import numpy as np
import optuna
import pytest

import blocksearch as bs
from blocksearch.api.study import OPTUNAS
from blocksearch.data.datasets import DATASETS, Arrays, Dataset, register

IMAGES = np.random.default_rng(0).integers(0, 256, (60, 12, 12, 3), np.uint8)
LABELS = np.arange(60) % 3
SMALL = {"max_images": 60, "batch": 30, "device": "cpu", "executor": "serial"}


class Noise(Dataset):
    def read(self, part, root):
        return Arrays(np.random.default_rng(0).integers(0, 256, (60, 32, 32, 3), np.uint8), LABELS)

    def stamp(self, part, root):
        return [1]


@pytest.fixture(autouse=True)
def _here(root, tmp_path, monkeypatch):
    monkeypatch.setenv("BLOCKSEARCH_DATA", str(root))
    monkeypatch.chdir(tmp_path)


def test_a_network_is_priced_built_and_trained(tmp_path):
    net = bs.network("effnet residual=add", task="cifar10")
    assert net.cost.flops > net.cost.params > 0
    assert bs.network("effnet", task="cifar10:3x48x48/7").task.classes == 7
    own = bs.Task(input=(3, 32, 32), classes=7, widths=(4, 8))
    assert bs.network("effnet", task=own).task.classes == 7
    one, other = net.module(seed=0), net.module(seed=0)
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    assert all(bool((a == b).all()) for a, b in pairs)
    assert "conv" in net.table() or "dw" in net.table()
    small = bs.network("effnet residual=add", task="cifar10", widths=(4, 8, 8))
    runs = bs.train(small, dataset="digits", epochs=1, seeds=3, keep_weights="weights/", **SMALL)
    text = "effnet residual=add"
    again = bs.train(text, dataset="digits", widths=(4, 8, 8), epochs=1, seeds=3, **SMALL)
    assert [row["accuracy"] for row in again.records()] == [r["accuracy"] for r in runs.records()]
    assert [row["state"] for row in runs.records()] == ["complete"] * 3
    assert len(list((tmp_path / "weights").iterdir())) == 3


def test_a_task_without_widths_gets_those_of_images_of_ones_own():
    task, usual = bs.Task(input=(3, 32, 32), classes=10), (8, 16, 32)
    assert bs.network("effnet", task=(IMAGES, LABELS)).widths == usual
    for text in ("effnet", "effnet_large", "residual=add"):
        assert bs.network(text, task=task) == bs.network(text, task=task, widths=usual)
    assert bs.named_network("mobilenet", task) == bs.network("mobilenet", task)
    assert bs.network("effnet widths=4,8", task=task).widths == (4, 8)
    register(Noise(name="noise", task=task))
    try:
        assert bs.network("effnet", task="noise").widths == usual
        runs = bs.train("effnet", dataset="noise", epochs=1, **SMALL)
    finally:
        del DATASETS["noise"], bs.TASKS["noise"]
    assert [row["state"] for row in runs.records()] == ["complete"]


def test_an_ablation_answers_from_shipped_runs_without_images(tmp_path):
    answer = bs.ablate("effnet", factor="residual", dataset="gtsrb", seeds=8)
    assert "residual" in answer.table()
    assert all(row["n"] == 8 for row in answer.records())
    assert len(answer.figure().data) > 0
    answer.save("residual.html")
    assert "<table>" in (tmp_path / "residual.html").read_text()


def test_a_space_is_counted_numbered_sampled_and_searched():
    space = bs.Grammar(
        bs.TASKS["gtsrb"], bottleneck=["reduce(2)", "reduce(4)"], residual=["none", "add"]
    )
    assert (len(space), len(space[:5]), len(space.sample(2, seed=0))) == (4, 4, 2)
    assert space.costs().flops[3] == space[3].cost.flops
    heard = []

    class Mine:
        def trial_finished(self, trial, total, reused):
            heard.append(trial)

    sampler = optuna.samplers.TPESampler()
    study = bs.Study(
        space,
        "mine.db",
        dataset=(IMAGES, LABELS),
        objectives=["accuracy", "flops"],
        sampler=sampler,
        references="none",
        epochs=1,
        seeds=1,
        **SMALL,
    )
    study.search(trials=2, callbacks=[Mine()])
    assert study.front[0].network.task.input.map == (12, 12)
    assert len(heard) == len(study.trainings) >= len(study.trials) == 2
    assert study.front[0].network.module() is not None
    assert len(study.to_optuna().trials) == 2
    assert study.best(flops=400e3) in study.front
    assert study.importance().found.networks == 2


ONE_LINERS = {
    "cost of a text": lambda net: bs.cost("effnet").flops,
    "cost of a network": lambda net: bs.cost(net).flops,
    "cost of layers": lambda net: bs.cost(net.layers).params,
    "a module by name": lambda net: bs.network("effnet", task="cifar10").module(),
    "a text with a change": lambda net: bs.parse("effnet residual=add", bs.TASKS["cifar10"]),
    "a network of lists": lambda net: bs.Network(bs.TASKS["cifar10"], [bs.Block()]),
    "a block of texts": lambda net: bs.Block(residual="add", kernel="1x3+3x1"),
    "a sample without a seed": lambda net: bs.load_space("tiny").sample(1),
    "a slice": lambda net: bs.load_space("tiny")[0:3],
    "a length": lambda net: len(bs.load_space("tiny")),
    "a recipe by name": lambda net: bs.Study(
        bs.load_space("tiny"), "s.db", dataset="digits", recipe="paper"
    ),
    "a summary": lambda net: net.table(),
    "a text that is read back": lambda net: bs.parse(str(net)).digest == net.digest,
}


@pytest.mark.parametrize("name", ONE_LINERS)
def test_what_people_try_first_works(name):
    assert ONE_LINERS[name](bs.network("effnet residual=add", task="cifar10"))


def test_a_space_takes_the_name_of_a_task():
    named = bs.Grammar("gtsrb", residual=["none", "add"])
    assert named.digest == bs.Grammar(bs.TASKS["gtsrb"], residual=["none", "add"]).digest
    with pytest.raises(bs.BlocksearchError, match="unknown task 'mnist'"):
        bs.Grammar("mnist", residual=["none", "add"])
    with pytest.raises(bs.BlocksearchError, match=r"unknown task .*did you mean 'gtsrb'"):
        bs.Grammar(["gtsrb"])


def test_what_is_said_beside_a_network_is_refused():
    net = bs.network("effnet", task="digits")
    for ask in (bs.price, bs.layers):
        with pytest.raises(bs.BlocksearchError, match="widths goes with a network's text"):
            ask(net, widths=(8, 8))
    for ask in (
        bs.train,
        bs.bench,
        partial(bs.ablate, factor="residual"),
        partial(bs.gain, "tiny"),
    ):
        with pytest.raises(bs.BlocksearchError, match="widths go with a network's text"):
            ask(net, widths=(8, 8, 8))
    with pytest.raises(bs.BlocksearchError, match=r"a network is a text .* but got 3"):
        bs.price(3)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("pareto", "front"),
        ("load_study", "front"),
        ("Gramar", "Grammar"),
        ("create_study", "Study"),
        ("show", "layers"),
        ("list", "catalog"),
        ("build", "network"),
        ("parse_network", "parse"),
        ("Dataset", "data.Dataset"),
        ("Executor", "train"),
    ],
)
def test_a_name_that_is_not_there_says_what_is_meant(name, meant):
    assert meant.split(".")[0] in bs.__all__
    with pytest.raises(
        AttributeError, match=rf"no attribute '{name}' \(did you mean '{meant}'\?\)"
    ):
        getattr(bs, name)


def test_every_hint_is_a_name_that_is_there():
    assert {meant.split(".")[0] for meant in bs._OTHERS.values()} <= set(bs.__all__)
    assert not set(bs._OTHERS) & set(bs.__all__)


def test_what_is_large_says_what_it_is_in_a_line():
    space = bs.load_space("tiny")
    study = bs.Study(space, "a.db", objective=lambda net, seed: 50.0, references="none", seeds=1)
    found = study.search(trials=4).found
    assert repr(space.costs()) == "<Costs of 288 networks, flops 25,984 to 435,200>"
    assert repr(found) == (
        f"<Summary of study 'study': 4 networks, {len(found.front)} on the front, "
        f"hypervolume {found.volume:.3f}>"
    )
    assert repr(study.importance().found) == "<Effects in study 'study': 7 factors of 4 networks>"


def test_what_an_optuna_user_looks_for_on_a_study_is_answered(tmp_path):
    study = bs.Study("tiny", tmp_path / "a.db", dataset="digits")
    for name, says in OPTUNAS.items():
        assert not hasattr(study, name)
        with pytest.raises(AttributeError, match=rf"no attribute '{name}': {re.escape(says)}"):
            getattr(study, name)
        assert any(hasattr(bs.Study, word) for word in re.findall(r"study\.(\w+)", says))
    assert not hasattr(study, "anything")


@pytest.mark.parametrize("kind", [bs.Study, bs.Network])
def test_what_a_property_raises_is_not_taken_for_a_name_that_is_not_there(kind):
    class Odd(kind):
        @property
        def odd(self):
            raise AttributeError("mine")

    with pytest.raises(AttributeError, match=r"^mine$"):
        _ = object.__new__(Odd).odd
    with pytest.raises(AttributeError, match=r"no attribute 'missing'"):
        _ = object.__new__(Odd).missing
