"""The last word: the front that was written down first, on all training images, new seeds, the test
images opened once.
"""

import json
import shutil
import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file
from typer.testing import CliRunner

import blocksearch as bs
from blocksearch.cli import app
from blocksearch.errors import ConfigError, StoreError
from blocksearch.runs.callback import Callback
from blocksearch.runs.config import RunConfig
from blocksearch.runs.ledger import Ledger
from blocksearch.search.evaluation import final
from tests.commands import command
from tests.data.test_data import write_gtsrb
from tests.paper.test_reproduce import decoded

SEARCH = [
    "search",
    "tiny",
    "--dataset",
    "gtsrb",
    "--db",
    "a.db",
    "--epochs",
    "1",
    "--seeds",
    "1",
    "--workers",
    "2",
]


SHIPPED = Path(__file__).parents[2] / "studies" / "gtsrb-search.db"


@pytest.fixture
def shipped(tmp_path):
    shutil.copy(SHIPPED, tmp_path / "shipped.db")
    return str(tmp_path / "shipped.db")


def edited(file, statement):
    with closing(sqlite3.connect(file)) as connection:
        connection.execute(statement)
        connection.commit()
    return final(file, None, RunConfig(), Callback())


def test_what_is_answered_is_computed_from_the_runs(shipped):
    found = final(shipped, None, RunConfig(), Callback())
    assert found.again
    number = str(found.rows[0].accuracy)
    change = "UPDATE ledger_reports SET content = replace(content, '{}', '99.0')"
    assert edited(shipped, change.format(number)) == found


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("UPDATE ledger_reports SET content = '{'", "content must be JSON"),
        ("UPDATE ledger_reports SET content = '[1]' WHERE kind = 'final front'", "must be a list"),
        (
            "UPDATE ledger_reports SET content = replace(content, '71552', '71553')",
            "item 0: fingerprint must be that of a network of the study",
        ),
        ("DELETE FROM ledger_runs WHERE seed = 1003", "1 runs of .* are missing, which was tested"),
        ("DELETE FROM ledger_reports WHERE kind = 'final front'", "was of is missing"),
    ],
)
def test_a_test_that_was_edited_is_refused_in_one_line(shipped, statement, says):
    with pytest.raises(StoreError, match=says):
        edited(shipped, statement)


@pytest.fixture
def blocksearch(tmp_path):
    write_gtsrb(tmp_path / "data")
    data = {"BLOCKSEARCH_DATA": str(tmp_path / "data"), "COLUMNS": "200"}
    return partial(command, cwd=tmp_path, **data)


def reports(file):
    with closing(Ledger(file, create=False)) as ledger:
        return {report["kind"]: report for report in ledger.reports()}


def test_the_weights_of_a_test_are_kept_of_one_that_was_tested_before_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images, labels = np.random.default_rng(0).integers(0, 256, (48, 12, 12, 3), "u1"), np.arange(48)
    task, ways = bs.Task(input=(3, 12, 12), classes=3), ["none", "add"]
    space = bs.Grammar(task, widths=[(4,)], residual=ways)
    here = {"workers": 1, "device": "cpu", "executor": "serial"}
    own = {"epochs": 1, "batch": 16, "references": "none", "seeds": 1, **here}
    data = {"dataset": (images, labels % 3), "test": (images[:24], labels[:24] % 3)}
    bs.Study(space, "a.db", **data, **own).search(1)
    first = bs.test("a.db", **here)
    assert not list(tmp_path.glob("**/*.safetensors"))
    (row,) = bs.test("a.db", keep_weights="weights", **here).records()
    assert row == first.records()[0] | {"weights": row["weights"]}  # trained to the same bits
    with closing(Ledger("a.db", create=False)) as ledger:
        tested = [run.key for run in ledger.runs() if run.key.protocol == "test"]
    assert [f"weights/{key.file_name}" for key in tested] == list(row["weights"])
    assert {str(file) for file in Path("weights").iterdir()} == set(row["weights"])
    bs.network(row["text"]).module().load_state_dict(load_file(row["weights"][0]))
    words = ["test", "a.db", "--keep-weights", "others", "--executor", "serial", "--device", "cpu"]
    assert CliRunner().invoke(app, words).exit_code == 0
    assert {file.name for file in Path("others").iterdir()} == {
        file.name for file in Path("weights").iterdir()
    }
    with pytest.raises(ConfigError, match="unknown argument 'epochs'; known: data_root, workers"):
        bs.test("a.db", epochs=3)


@pytest.mark.slow
def test_the_front_is_tested_once_whatever_is_searched_later(blocksearch, tmp_path):
    blocksearch(*SEARCH, "--trials", "1")
    front = [
        network
        for network in json.loads(blocksearch("pareto", "a.db", "--json").stdout)["networks"]
        if network["front"]
    ]
    assert decoded(tmp_path / "data") == {
        "gtsrb-train"
    }  # a search never reads test images, and pareto no images
    before = (tmp_path / "a.db").read_bytes()
    ahead = json.loads(blocksearch("test", "a.db", "--dry-run", "--json").stdout)
    assert (ahead["missing"], ahead["known"]) == (5 * len(front), 0)
    assert (tmp_path / "a.db").read_bytes() == before
    found = json.loads(blocksearch("test", "a.db", "--json").stdout)
    assert decoded(tmp_path / "data") == {"gtsrb-train", "gtsrb-test"}
    assert found["again"] is False
    assert sorted(row["text"] for row in found["rows"]) == sorted(
        network["network"] for network in front
    )
    assert all(len(row["accuracies"]) == 5 for row in found["rows"])
    with closing(Ledger(tmp_path / "a.db", create=False)) as ledger:
        tested = [run.key for run in ledger.runs() if run.key.protocol == "test"]
    assert {key.seed for key in tested} == set(range(1000, 1005))
    blocksearch(*SEARCH, "--trials", "6")
    again = json.loads(blocksearch("test", "a.db", "--json").stdout)
    assert again == found | {"again": True}
    assert "and not again now" in " ".join(blocksearch("test", "a.db").stdout.split())
    with closing(Ledger(tmp_path / "a.db", create=False)) as ledger:
        assert len([run for run in ledger.runs() if run.key.protocol == "test"]) == len(tested)


@pytest.mark.slow
def test_an_interrupted_test_goes_on_with_the_networks_it_began_with(blocksearch, tmp_path):
    blocksearch(*SEARCH, "--trials", "1")
    (tmp_path / "data" / "gtsrb" / "GT-final_test.csv").rename(tmp_path / "away.csv")
    said = blocksearch("test", "a.db", code=2).stderr
    assert said.count("\n") == 1
    assert "GT-final_test.csv" in said
    assert "final front" not in reports(tmp_path / "a.db")
    (tmp_path / "away.csv").rename(tmp_path / "data" / "gtsrb" / "GT-final_test.csv")
    write_gtsrb(tmp_path / "others")
    (changed,) = (tmp_path / "others").rglob("00003/00001_00001.ppm")
    Image.new("RGB", (32, 32)).save(changed)
    said = blocksearch("test", "a.db", "--data-root", str(tmp_path / "others"), code=2).stderr
    assert "the images of gtsrb are not those that study tiny-gtsrb was searched on" in said
    blocksearch("test", "a.db")
    saved = reports(tmp_path / "a.db")
    chosen = [row["text"] for row in json.loads(saved["final front"]["content"])]
    assert set(json.loads(saved["final"]["content"])) == {"title"}  # numbers are of the runs
    found = json.loads(blocksearch("test", "a.db", "--json").stdout)
    assert [row["text"] for row in found["rows"]] == chosen


def test_a_study_that_cannot_be_tested_is_refused_in_one_line(blocksearch, tmp_path):
    assert "none.db is not there" in blocksearch("test", "none.db", code=2).stderr
    grammar = bs.Grammar("digits", widths=[(4, 6)], residual=["none", "add"])
    own = bs.Study(grammar, tmp_path / "a.db", objective=lambda network, seed: 50.0)
    own.search(3)
    said = blocksearch("test", "a.db", code=2).stderr
    assert "was searched by a function of its user's" in said
    assert said.count("\n") == 1
