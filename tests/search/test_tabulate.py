"""The table of a small space: every member on every seed, read back as it was trained."""

import json
from contextlib import closing
from functools import partial

import pytest

from blocksearch.data import get
from blocksearch.data.splits import Split
from blocksearch.errors import ConfigError
from blocksearch.runs.callback import Callback
from blocksearch.runs.ledger import Ledger
from blocksearch.runs.plan import RunSettings
from blocksearch.search.definition import opening
from blocksearch.search.tabulate import _write, tabulate
from blocksearch.space.load import load_space
from blocksearch.training.recipe import Recipe
from tests.benchmarks.table import read_table
from tests.search.processes import python

SPACE = """
from blocksearch import TASKS, Grammar
kernels = ["3x3", "1x3+3x1"]
grammar = Grammar(TASKS["digits"], widths=[(4, 6)], kernel=kernels, residual=["none", "add"])
"""


@pytest.mark.slow
def test_a_table_is_what_was_trained(tmp_path):
    (tmp_path / "small.py").write_text(SPACE)
    options = [
        "--max-images",
        "200",
        "--epochs",
        "2",
        "--seeds",
        "2",
        "--db",
        "t.db",
        "--table",
        "t.csv",
    ]
    words = ("-m", "blocksearch", "tabulate", "small.py", *options)
    tabulated = partial(python, tmp_path, *words, BLOCKSEARCH_DATA=str(tmp_path / "data"))
    ahead = json.loads(tabulated("--dry-run", "--json").stdout)
    assert not list(tmp_path.glob("t.*"))
    tabulated()
    table = read_table(tmp_path / "t.csv")
    grammar = load_space(str(tmp_path / "small.py")).on(get("digits").task)
    networks = {network.digest for network in grammar} | {
        network.digest for _, network in opening(grammar)
    }
    assert len(networks) == 4 + 6
    assert ahead["missing"] == 2 * len(networks)
    with closing(Ledger(tmp_path / "t.db", create=False)) as ledger:
        runs = {(run.key.network, run.key.seed): run.accuracies for run in ledger.runs()}
    assert (
        set(runs)
        == {(network, seed) for network in networks for seed in (0, 1)}
        == set(table.accuracies)
    )
    for key, accuracies in runs.items():
        assert table.accuracies[key] == accuracies  # every digit
    assert (table.epochs, table.seeds) == (2, (0, 1))
    assert "only 200 of 16,000 training images" in table.title
    assert "nothing to train: all 20 runs" in tabulated().stderr


def test_a_table_that_was_changed_is_refused(tmp_path):
    rows = [{"fingerprint": "0a", "seed": 1, "accuracies": "10.5 20 30.25"}]
    _write(tmp_path / "t.csv", "t", 3, rows)
    assert read_table(tmp_path / "t.csv").accuracies == {("0a", 1): (10.5, 20, 30.25)}
    (tmp_path / "t.csv").write_bytes((tmp_path / "t.csv").read_bytes().replace(b"20", b"21"))
    with pytest.raises(ValueError, match="damaged or edited"):
        read_table(tmp_path / "t.csv")


def test_a_space_that_cannot_be_trained_whole_is_refused(tmp_path):
    settings = RunSettings(
        protocol=Split("digits", images=100),
        recipe=Recipe(epochs=1),
        root=None,
        ledger=str(tmp_path / "t.db"),
        workers=1,
    )
    with pytest.raises(ConfigError, match="per_stage has more than 20,000 networks"):
        tabulate(
            "per_stage", load_space("per_stage"), [0], settings, tmp_path / "t.csv", Callback()
        )
    with pytest.raises(ConfigError, match=r"a table is a \.csv file"):
        tabulate("tiny", load_space("tiny"), [0], settings, tmp_path / "t.json", Callback())
