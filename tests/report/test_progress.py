"""Progress: on a terminal something moves at once, elsewhere a line, quietly nothing."""

import re
import threading
from contextlib import suppress

import numpy as np
import pytest

import blocksearch as bs
from blocksearch.arch.layers import Shape
from blocksearch.arch.network import Task
from blocksearch.data import DATASETS, Arrays, Dataset
from blocksearch.errors import DataError
from blocksearch.report import progress
from blocksearch.report.progress import duration, searching, slow, trainings
from blocksearch.runs.callback import Callback
from blocksearch.search.trials import Trial, TrialKind, TrialState


@pytest.fixture
def terminal(monkeypatch):
    """The error stream counts as a terminal, and a bar appears without waiting."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(progress, "_PATIENCE", 0.0)


def printed(capsys):
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", capsys.readouterr().err)


def test_a_bar_has_a_share_and_hostile_titles_are_texts(terminal, capsys):
    with slow("reading [red]\x1b]0;x\x07", quiet=False) as report:
        bar = report.__self__
        bar._later.join()
        report(0.25)
        bar._bar.refresh()
    said = printed(capsys)
    assert "reading [red]\ufffd]0;x\ufffd" in said
    assert "25%" in said


def test_a_search_has_a_bar_of_networks(terminal, capsys):
    with searching(quiet=False) as audience:
        audience.search_started("mine", 0, 40)
        audience._bar._later.join()
        audience._bar.show(10)
        audience._bar._bar.refresh()
        audience.ended("done")
    said = printed(capsys)
    assert "study mine: new, 40 networks in all" in said
    assert "10/40" in said
    assert "done" in said


def test_elsewhere_there_is_no_bar_and_quietly_nothing(capsys):
    with slow("reading", quiet=False) as report:
        report(0.5)
    with searching(quiet=True) as audience, trainings(quiet=True) as watch:
        audience.search_started("mine", 0, 40)
        watch.timing(3)
    assert type(audience) is Callback
    assert capsys.readouterr().err == ""
    with searching(quiet=False) as audience:
        audience.search_started("mine", 3, 40)
    assert capsys.readouterr().err == "study mine: goes on after 3 trainings, 40 networks in all\n"


def test_from_python_each_trial_and_training_has_a_line_if_one_asks(tmp_path, capsys, terminal):
    grammar = bs.Grammar("digits", residual=["none", "add"], widths=[(2, 4)])
    study = bs.Study(grammar, tmp_path / "a.db", objective=lambda net, seed: 50.0 + seed)
    study.search(trials=1)
    assert capsys.readouterr().err == ""
    study.search(trials=2, callbacks=[bs.Progress("macro-f1")])
    said = capsys.readouterr().err
    assert re.search(r"^\[\d/\d\] trial \d \(\w+\): macro-F1 50.00 %, .* FLOPs", said, re.MULTILINE)
    how = {
        "max_images": 100,
        "epochs": 1,
        "seeds": 2,
        "db": tmp_path / "b.db",
        "executor": "serial",
    }
    bs.train("effnet", widths=(2, 4), callbacks=[bs.Progress()], **how)
    said = capsys.readouterr().err.splitlines()
    assert [line[:5] for line in said if line.startswith("[")] == ["[1/2]", "[2/2]"]
    assert not any("\x1b" in line for line in said)  # lines, on a terminal too


class Dots(Dataset):
    def read(self, part, root):
        return Arrays(np.zeros((40, 8, 8, 1), np.uint8), np.arange(40) % 2)

    def stamp(self, part, root):
        return [1]


def test_what_takes_long_has_a_line_and_an_interruption_too(monkeypatch, capsys):
    monkeypatch.setattr(progress, "_PATIENCE", 0.0)

    def interrupted():
        for timer in (each for each in threading.enumerate() if isinstance(each, threading.Timer)):
            timer.join()
        raise KeyboardInterrupt

    for quiet, said in ((False, ["looking: this may take a minute", "interrupted"]), (True, [])):
        with pytest.raises(KeyboardInterrupt), slow("looking", quiet=quiet):
            interrupted()
        assert capsys.readouterr().err.splitlines() == said


@pytest.mark.slow
def test_that_images_are_read_is_said_once_and_before_a_plan(tmp_path, capsys, monkeypatch):
    dots = Dots(name="dots", task=Task(input=Shape(1, 8, 8), classes=2, widths=(4, 8)))
    monkeypatch.setitem(DATASETS, "dots", dots)

    def said(dataset):
        with trainings(quiet=False) as watch, suppress(DataError):
            how = {"max_images": 100, "epochs": 1, "data_root": tmp_path, "db": tmp_path / "a.db"}
            bs.train("effnet", dataset=dataset, dry_run=True, callbacks=[watch], **how)
        return [line.split()[0] for line in capsys.readouterr().err.splitlines()]

    assert said("dots") == ["reading", "timing"]
    assert said("dots") == ["timing"]  # they are kept decoded
    assert said("gtsrb") == []  # nothing to read
    with trainings(quiet=False) as watch:
        for share in (0.0, 0.5, 1.0):
            watch.reading(share)
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "1 s"), (600, "10 min"), (10_000, "2.8 h")])
def test_times_are_written_as_people_estimate_them(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("metric", "title"),
    [("accuracy", "accuracy"), ("macro-f1", "macro-F1"), ("recall:cat", "recall of cat")],
)
def test_what_a_trial_gave_has_its_name(capsys, metric, title):
    trial = Trial(
        step=5, number=3, kind=TrialKind.NEW, origin="evolution", row=0, seed=0, epochs=2,
        state=TrialState.COMPLETE, text="x", costs={"flops": 5000}, accuracies=(81.25,),
    )  # fmt: skip
    with searching(quiet=False, metric=metric) as audience:
        audience.trial_finished(trial, 9, False)
    assert f"trial 3 (evolution): {title} 81.25 %, 5,000 FLOPs" in capsys.readouterr().err
