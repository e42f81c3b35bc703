"""Samplers of a user's own in a file: they search as those from Python do, go on after a stop, and
each mistake in them is one line that names the file.
"""

import signal
import sys
from contextlib import closing
from pathlib import Path

import pytest

import blocksearch as bs
from blocksearch.cli import main
from blocksearch.runs.ledger import Ledger
from blocksearch.search.config import StudyConfig
from blocksearch.search.identity import sampler_text
from blocksearch.search.samplers import sampler_from
from blocksearch.search.trials import Studies
from tests.commands import command

ROOT = Path(__file__).parents[2]
SMALL = [
    *("search", "tiny", "--dataset", "digits", "--max-images", "60", "--batch", "30"),
    *("--epochs", "1", "--seeds", "1", "--references", "none", "--db", "a.db"),
    *("--executor", "serial", "--device", "cpu", "--name", "mine"),
]
MINE = """
from dataclasses import dataclass

import optuna
from blocksearch.search.samplers import Proposal


@dataclass
class Cheapest:
    skip: int = 0
    name = "cheapest"

    def propose(self, trials, pending, candidates, rng):
        rows = candidates.free
        order = candidates.costs(["flops"])[rows, 0].argsort()
        return Proposal(rows[order[self.skip]])


class Few(optuna.samplers.TPESampler):
    startup = 3

    def __init__(self):
        super().__init__(n_startup_trials=self.startup, seed=1)


class WithArguments:
    def __init__(self, share):
        self.name = "mine"


class Answering:
    def __init__(self, name, answer):
        self.name, self.answer = name, answer

    def propose(self, trials, pending, candidates, rng):
        return self.answer(candidates)


def dearer():
    return Cheapest(skip=2)


def broken():
    raise ValueError("not today")


tpe = optuna.samplers.TPESampler(seed=1)
seven = 7
dividing = Answering("dividing", lambda candidates: 1 / 0)
counting = Answering("counting", lambda candidates: 4)
repeating = Answering("repeating", lambda candidates: Proposal(0))
beyond = Answering("beyond", lambda candidates: Proposal(10**9))
taking = Answering("effnet", lambda candidates: None)
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "boom.py").write_text("a = 1\nraise RuntimeError('boom')\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "mine.py"


@pytest.fixture
def blocksearch(mine, root):
    def run(*arguments, code=0):
        words, data = [*SMALL, *arguments], str(root)
        return command(*words, cwd=mine.parent, code=code, BLOCKSEARCH_DATA=data).stderr

    return run


def trials(name):
    with closing(Ledger("a.db", create=False)) as ledger:
        return Studies(ledger).trials(name)


def in_file(old, new):
    """Change what the file says."""
    text = Path("mine.py").read_text()
    assert text.count(old) == 1
    Path("mine.py").write_text(text.replace(old, new))


@pytest.mark.slow
def test_a_sampler_of_ones_own_goes_on_with_the_same_command(blocksearch):
    for count in ("2", "4"):
        blocksearch("--sampler", "mine.py:Cheapest", "--trials", count)
    blocksearch("--sampler", "mine.py:Cheapest", "--trials", "4", "--name", "whole")
    found = trials("mine")
    flops = [each.costs["flops"] for each in found if each.kind == "new"]
    assert len(flops) == 4
    assert flops == sorted(flops)
    assert {each.origin for each in found if each.kind == "new"} == {"cheapest"}
    assert [each.network for each in trials("whole")] == [each.network for each in found]
    for changed, says in (
        ("mine.py:dearer", "(sampler was mine.Cheapest(skip=0) "),
        ("random", "(sampler was mine.Cheapest(skip=0) "),
    ):
        said = blocksearch("--sampler", changed, "--trials", "6", code=2)
        assert said.startswith("blocksearch: study mine was begun otherwise ")
        assert says in said
        assert said.count("\n") == 1
    in_file("order[self.skip]", "order[-1]")  # another one under the same name
    said = blocksearch("--sampler", "mine.py:Cheapest", "--trials", "6", code=2)
    assert "was begun otherwise (sampler was mine.Cheapest(skip=0) " in said
    assert trials("mine") == found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "origin", "other"),
    [
        ("tpe", "TPESampler", ("tpe = optuna.samplers.TPESampler(seed=1)", "tpe = Few()")),
        ("Few", "Few", ("startup = 3", "startup = 4")),
    ],
)
def test_a_sampler_of_optunas_in_a_file_goes_on_with_the_same_command(
    blocksearch, name, origin, other
):
    blocksearch("--sampler", f"mine.py:{name}", "--trials", "2")
    said = blocksearch("--sampler", f"mine.py:{name}", "--trials", "4")
    assert f"{origin} was told of all that came before" in said
    found = [each for each in trials("mine") if each.kind == "new"]
    assert [each.origin for each in found] == [origin] * 4
    assert len({each.network for each in found}) == 4
    in_file(*other)
    said = blocksearch("--sampler", f"mine.py:{name}", "--trials", "6", code=2)
    assert "study mine was begun otherwise (sampler was " in said


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("mine.py", "a sampler is named FILE:NAME, such as my_sampler.py:make, not 'mine.py'"),
        ("mine.py:", "a sampler is named FILE:NAME"),
        ("mine.py:cheapest", "mine.py defines no cheapest (did you mean 'Cheapest'?)"),
        ("none.py:Mine", "none.py cannot be read: No such file or directory"),
        ("~nobody-here/a.py:Mine", "~nobody-here/a.py cannot be read: "),
        ("a\0b.py:Mine", "cannot be read: "),
        ("boom.py:Mine", "boom.py:2: RuntimeError: boom"),
        ("mine.py:seven", "mine.py:seven must be or make a sampler, an instance of one of Optuna"),
        ("mine.py:Proposal", "mine.py:Proposal(): TypeError: "),
        ("mine.py:WithArguments", "mine.py:WithArguments(): TypeError: "),
        ("mine.py:broken", "mine.py:broken(): ValueError: not today"),
        ("mine.py:taking", "a sampler of your own cannot be named effnet"),
        ("mine.py:dividing", "sampler dividing fails (mine.py:49): ZeroDivisionError: division"),
        ("mine.py:counting", "sampler counting must return a Proposal or None, but gave "),
        ("mine.py:repeating", "must propose a row that is free (candidates.is_free), but gave 0"),
        ("mine.py:beyond", "sampler beyond must propose one of rows 0 to "),
        ("evolutoin", "did you mean 'evolution'?); known: evolution, random, nsga2, tpe, gp; or "),
    ],
)
def test_a_mistake_in_a_sampler_is_one_line(monkeypatch, capsys, root, mine, name, says):
    monkeypatch.setenv("BLOCKSEARCH_DATA", str(root))
    monkeypatch.setattr(sys, "argv", ["blocksearch", *SMALL, "--quiet", "--sampler", name])
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # the test's process keeps its own
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert said.startswith("blocksearch: ")
    assert said.count("\n") == 1
    assert says in said


def test_python_names_a_file_as_the_command_line_does(mine, monkeypatch):
    space = bs.Grammar(bs.TASKS["digits"], kernel=["3x3", "5x5"], residual=["none", "add"])
    fixed = {"objective": lambda network, seed: 50.0, "references": "none", "seeds": 1}
    study = bs.Study(space, "b.db", sampler="mine.py:dearer", **fixed)
    study.search(trials=1)
    assert study.trainings[0].costs["flops"] == sorted(space.costs().flops)[2]
    named = {
        place: StudyConfig(sampler=f"mine.py:{place}").as_data()
        for place in ("Cheapest", "dearer", "Few")
    }
    assert "mine" not in sys.modules  # it was there while its source was read, and no longer
    monkeypatch.syspath_prepend(str(mine.parent))
    from mine import Cheapest, Few

    imported = sys.modules["mine"]
    for place, own in (("Cheapest", Cheapest()), ("dearer", Cheapest(skip=2)), ("Few", Few())):
        assert named[place] == StudyConfig(sampler=own).as_data()
        assert named[place] == StudyConfig(sampler=f"mine.py:{place}").as_data()
    assert sys.modules.pop("mine") is imported


def test_a_class_is_no_sampler_but_what_it_makes_is(mine):
    values = {}
    exec(MINE, values)
    with pytest.raises(bs.BlocksearchError, match="a sampler is a name, an instance of one of"):
        StudyConfig(sampler=values["Cheapest"])
    assert StudyConfig(sampler="mine.py:Cheapest").sampler.skip == 0
    assert StudyConfig(sampler="mine.py:Cheapest", rungs=[1]).sampler_name == "cheapest"
    with pytest.raises(bs.BlocksearchError, match="rungs go with evolution and random, but the"):
        StudyConfig(sampler="mine.py:tpe", rungs=[1])


def test_a_sampler_derived_from_another_one_is_known_by_both(tmp_path):
    base = (
        "class Base:\n    name = 'own'\n    def propose(self, trials, pending, candidates, rng):\n"
    )
    derived = "\nclass Own(Base):\n    pass\n\nown = Own()\n"
    texts = []
    for place in ("0", "-1", "0"):
        file = tmp_path / f"own{len(texts)}" / "mine.py"
        file.parent.mkdir()
        file.write_text(f"{base}        return candidates.free[{place}]\n{derived}")
        texts.append(sampler_text(sampler_from(f"{file}:own")))
    assert texts[0] == texts[2] != texts[1]
