"""The table of a small space: every member on every seed, read back as it was trained, and refused
where it is none.
"""

import json
from contextlib import closing
from functools import partial

import pytest

from blocksearch.data import get
from blocksearch.data.splits import Split
from blocksearch.errors import ConfigError, DataError
from blocksearch.runs.callback import Callback
from blocksearch.runs.ledger import Ledger
from blocksearch.runs.plan import RunSettings
from blocksearch.search.definition import opening
from blocksearch.search.tabulate import read_table, tabulate
from blocksearch.space.load import load_space
from blocksearch.training.recipe import Recipe
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


@pytest.mark.parametrize(
    "text", ["", "a,b\n1,2\n", '# {"title": "t"}\nfingerprint,seed\n', "# {}\n", "\x00\xff"]
)
def test_what_is_no_table_is_refused_in_one_line(tmp_path, text):
    file = tmp_path / "t.csv"
    file.write_text(text, encoding="latin-1")
    with pytest.raises(DataError, match="is not a table of `blocksearch tabulate`") as caught:
        read_table(file)
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="is not there: it would be the table"):
        read_table(tmp_path / "none.csv")


FIRST = '# {"title": "t", "epochs": 3}\nfingerprint,seed,state,accuracies,network\n'
GOOD = "0a,1,complete,10.5 20 30.25,n\n"


@pytest.mark.parametrize(
    "text",
    [
        *(
            FIRST.replace("3", each, 1) + GOOD
            for each in ("true", '"3"', "0", "3.0", "1e999", "-1")
        ),
        FIRST.replace('"t"', "7") + GOOD,
        *(
            FIRST + GOOD.replace(",1,", f",{each},")
            for each in ("1_0", "\u0663", " 1", "+1", "1.0", "")
        ),
        *(
            FIRST + GOOD.replace("20", each)
            for each in ("nan", "inf", "1_0", "1e999", "0x10", "\uff12")
        ),
        FIRST + GOOD.replace("30.25", "30.25 40"),  # more than epochs
        FIRST + GOOD.replace("20", "120"),
        FIRST + GOOD + GOOD,
        FIRST + "0a,1\n",
        FIRST + GOOD.replace("0a", "no digest"),
    ],
)
def test_a_tables_numbers_are_those_that_it_writes(tmp_path, text):
    """A text that Python takes for a number is none here, nor is one out of range."""
    file = tmp_path / "t.csv"
    file.write_text(FIRST + GOOD)
    assert read_table(file).accuracies == {("0a", 1): (10.5, 20, 30.25)}
    file.write_text(text)
    with pytest.raises(DataError, match=r"is not a table of `blocksearch tabulate`: .") as caught:
        read_table(file)
    assert "\n" not in str(caught.value)


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
