"""Searches in real processes: they go on where they were, reuse what the ledger has, and refuse
what they cannot do.
"""

import json
import os
import signal
import subprocess
import sys
from contextlib import closing
from functools import partial

import optuna
import pytest

from blocksearch.cli import main
from blocksearch.runs.ledger import Ledger
from blocksearch.search.trials import Studies
from tests.made import optuna_file
from tests.search.processes import python

SMALL = [
    "tiny",
    "--dataset",
    "digits",
    "--max-images",
    "200",
    "--epochs",
    "2",
    "--seeds",
    "2",
    "--db",
    "a.db",
    "--workers",
    "2",
]


@pytest.fixture
def environment(root):
    return os.environ | {"BLOCKSEARCH_DATA": str(root), "COLUMNS": "200"}


@pytest.fixture
def blocksearch(tmp_path, root):
    return partial(python, tmp_path, "-m", "blocksearch", BLOCKSEARCH_DATA=str(root), COLUMNS="200")


def steps(file, name="tiny-digits"):
    with closing(Ledger(file, create=False)) as ledger:
        return Studies(ledger).trials(name)


@pytest.mark.slow
def test_trials_are_a_total_and_the_same_command_goes_on(blocksearch, tmp_path):
    said = blocksearch("search", *SMALL, "--trials", "2").stderr
    assert "study tiny-digits: new, 8 networks in all" in said
    first = steps(tmp_path / "a.db")
    assert sum(step.kind == "new" for step in first) == 8
    assert [step.origin for step in first if step.kind == "new"][:6] == [
        "baseline",
        "mobilenet",
        "mobilenet_v2",
        "shufflenet",
        "effnet",
        "mob_imp",
    ]
    assert "the study has 2" in blocksearch("search", *SMALL, "--trials", "2").stderr
    assert steps(tmp_path / "a.db") == first
    blocksearch("search", *SMALL, "--trials", "4")
    longer = steps(tmp_path / "a.db")
    assert longer[: len(first)] == first
    assert sum(step.kind == "new" for step in longer) == 10
    with closing(Ledger(tmp_path / "a.db", create=False)) as ledger:
        assert len(ledger.runs()) == len({run.key for run in ledger.runs()}) == len(longer)


@pytest.mark.slow
def test_two_searches_at_once_in_one_file_train_every_run_once(tmp_path, environment):
    """They ask the same, under two names: each training is one's, and the other's is from the
    ledger.
    """
    command = [
        sys.executable,
        "-m",
        "blocksearch",
        "search",
        *SMALL,
        "--trials",
        "2",
        "--max-pending",
        "3",
        "--name",
    ]
    pipes = {
        "cwd": tmp_path,
        "env": environment,
        "stderr": subprocess.PIPE,
        "stdout": subprocess.DEVNULL,
        "text": True,
    }
    drivers = [subprocess.Popen([*command, name], **pipes) for name in ("one", "other")]
    said = [driver.communicate(timeout=300)[1] for driver in drivers]
    assert [driver.returncode for driver in drivers] == [0, 0]
    one, other = (steps(tmp_path / "a.db", name) for name in ("one", "other"))
    assert [step.accuracies for step in one] == [step.accuracies for step in other]
    known = sum(text.count("from the database") for text in said)
    with closing(Ledger(tmp_path / "a.db", create=False)) as ledger:
        assert len(one) + len(other) - known == len(ledger.runs()) == len(one)


@pytest.mark.slow
def test_a_training_that_the_ledger_has_is_not_repeated(blocksearch, tmp_path):
    common = [
        "--dataset",
        "digits",
        "--max-images",
        "200",
        "--epochs",
        "2",
        "--widths",
        "4,8,16",
        "--db",
        "a.db",
    ]
    blocksearch("train", "effnet", *common)
    said = blocksearch("search", *SMALL, "--trials", "1", "--enqueue", "effnet residual=add").stderr
    assert "(effnet, from the database)" in said
    assert "(effnet residual=add)" in said
    with closing(Ledger(tmp_path / "a.db", create=False)) as ledger:
        keys = [run.key for run in ledger.runs()]
    assert len(keys) == len(set(keys))
    other = ["search", *SMALL, "--trials", "1", "--name", "again", "--seed", "1"]
    assert blocksearch(*other).stderr.count("from the database") >= 6  # the reference networks


@pytest.mark.slow
def test_another_driver_and_another_question_are_refused_by_name(
    blocksearch, tmp_path, environment
):
    command = [sys.executable, "-m", "blocksearch", "search", *SMALL, "--trials", "200"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    ) as driver:
        while "[1/206] trial 0" not in driver.stderr.readline():
            pass
        refused = blocksearch("search", *SMALL, "--trials", "200", code=2).stderr
        assert refused == (
            "blocksearch: another search is running study tiny-digits in a.db: end it, or give "
            "this one another name\n"
        )
        (tmp_path / "b.db").symlink_to("a.db")
        for other in ("b.db", "sqlite+pysqlite:///a.db"):
            refused = blocksearch("search", *SMALL, "--trials", "200", "--db", other, code=2).stderr
            assert refused.startswith(
                f"blocksearch: another search is running study tiny-digits in {other}: "
            )
        assert json.loads(blocksearch("pareto", "a.db", "--json").stdout)[
            "networks"
        ]  # while the search runs
        driver.send_signal(signal.SIGKILL)
    for changed, says in (
        (["--sampler", "random"], "sampler was evolution, now random"),
        (["--budget", "flops <= 400k"], "budgets was none, now flops <= 400000"),
        (["--epochs", "3"], "recipe: epochs was 2, now 3"),
        (["--max-images", "300"], "(max_images was 200, now 300): "),
        (["--val-split", "1"], "(val_split was 0, now 1): "),
    ):
        again = ("search", *SMALL, "--trials", "9", *changed)
        said = blocksearch(*again, code=2).stderr
        assert blocksearch(*again, "--dry-run", code=2).stderr == said
        assert said.startswith("blocksearch: study tiny-digits was begun otherwise (")
        assert says in said
        assert said.count("\n") == 1


@pytest.mark.slow
def test_a_race_goes_on_from_its_checkpoints(blocksearch, tmp_path):
    blocksearch("search", *SMALL, "--trials", "10", "--epochs", "4", "--rungs", "1,2")
    with closing(Ledger(tmp_path / "a.db", create=False)) as ledger:
        runs = ledger.runs()
    partial = {run.key for run in runs if run.state == "partial"}
    assert partial
    went_on = [run for run in runs if run.state == "complete" and run.key in partial]
    assert went_on
    for run in went_on:
        before = max(
            other.epoch_to for other in runs if other.key == run.key and other.state == "partial"
        )
        assert run.provenance["resumed"] == f"in epoch {before + 1}"  # no epoch was trained twice
        shorter = next(other for other in runs if other.key == run.key and other.epoch_to == before)
        assert run.accuracies[:before] == shorter.accuracies


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--trials", "0"], "trials must be at least 1, but got 0"),
        (["--timeout", "0"], "timeout must be above 0 seconds, but got 0"),
        (["--objectives", "flops"], "objectives must be accuracy, or the metric"),
        (["--objectives", "flops,accuracy"], "objectives must be accuracy, or the metric"),
        (["--objectives", "accuracy,flop"], "unknown objective 'flop' (did you mean 'flops'?)"),
        (["--sampler", "nsga3"], "unknown sampler 'nsga3'"),
        (["--rungs", "5,2"], "rungs must be epochs in rising order such as 2,5, but got 5,2"),
        (["--rungs", "2"], "rungs must be below the 2 epochs of a whole training, but got 2"),
        (
            ["--rungs", "1", "--sampler", "tpe"],
            "rungs go with evolution and random, but the sampler is tpe",
        ),
        (["--rungs", "half"], "rungs must be epochs such as 2,5, but got 'half'"),
        (
            ["--budget", "flops < few"],
            "a budget is written like 'flops <= 12e6', but got 'flops < few'",
        ),
        (["--budget", "flops <= 1"], "flops <= 1"),
        (
            ["--budget", "flops <= 100k", "--enqueue", "baseline"],
            "baseline is not within flops <= 100000",
        ),
        (["--enqueue", "effnett"], "effnett"),
        (
            ["--enqueue", "input=3x31x31 widths=4,8,16 classes=10 [bottleneck=2]"],
            "reads 3x31x31 and tells 10 classes apart, but the space is of 3x32x32 in 10",
        ),
        (["--enqueue", "effnet residual=banana"], "residual=banana"),
        (
            ["--db", "sqlite:///:memory:"],
            "runs need a file that remains, but got sqlite:///:memory:",
        ),
        (["--db", "sqlite://"], "runs need a file that remains, but got sqlite://"),
        (["--db", "/proc/nothing/a.db"], "a folder that exists, but got /proc/nothing/a.db"),
        (["--db", "postgresql://me:secret@localhost:1/a"], "postgresql://***@localhost/a"),
        (["--name", "a b"], "a study's name has up to 64 letters"),
        (["--name", ""], "a study's name has up to 64 letters"),
        (["--max-pending", "0"], "max_pending must be at least 1, but got 0"),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_trained(
    monkeypatch, capsys, root, tmp_path, arguments, says
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BLOCKSEARCH_DATA", str(root))
    monkeypatch.setattr(sys, "argv", ["blocksearch", "search", *SMALL, *arguments])
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # the test's process keeps its own
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert says in said
    assert said.startswith("blocksearch: ")
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_same_question_in_other_words_goes_on_and_another_space_says_what_changed(
    blocksearch, tmp_path
):
    space = """from blocksearch import TASKS, Grammar
bottleneck = ["reduce(1)", "reduce(2)", "reduce(4)"]
grammar = Grammar(TASKS["digits"], bottleneck=bottleneck, residual=["none", "add"])
"""
    (tmp_path / "mine.py").write_text(space)
    ask = ["search", "mine.py", *SMALL[1:], "--trials", "3"]
    blocksearch(*ask, "--budget", "flops <= 10M", "--budget", "params<=1e6")
    said = blocksearch(*ask, "--budget", "params <= 1M", "--budget", "flops<=1e7").stderr
    assert "nothing to do: 3 trials in all were asked for, and the study has 3" in said
    (tmp_path / "mine.py").write_text(space.replace(', "reduce(4)"', ""))
    said = blocksearch(*ask, "--budget", "flops <= 10M", "--budget", "params<=1e6", code=2).stderr
    assert (
        "the space changed: bottleneck was reduce(1),reduce(2),reduce(4), now reduce(1),reduce(2)"
        in said
    )


@pytest.mark.slow
def test_a_study_that_optuna_alone_made_keeps_its_name(blocksearch, tmp_path):
    optuna.create_study(
        storage=optuna_file(tmp_path / "a.db"),
        study_name="theirs",
        directions=["maximize", "minimize"],
    )
    said = blocksearch("search", *SMALL, "--trials", "2", "--name", "theirs", code=2).stderr
    assert (
        said == "blocksearch: a.db has a study theirs that was made elsewhere: give this one "
        "another name\n"
    )
