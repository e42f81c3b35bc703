"""Scores are read in whatever form people keep them, and what cannot be read is one typed line."""

import contextlib
from collections import namedtuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import blocksearch as bs
from blocksearch.ablation.score_table import read_scores
from blocksearch.errors import BlocksearchError, ConfigError
from tests.strategies import tries

HEADS = ("treatment", "seed", "score", "group", "task")
ROWS = [
    (name, seed, start + seed / 3, f"g{group}", task)
    for task in ("t1", "t2")
    for name, start in (("old", 90), ("new", 92.5))
    for seed in range(3)
    for group in range(2)
]
DICTS = [dict(zip(HEADS, row, strict=True)) for row in ROWS]
COLUMNS = {head: [row[k] for row in ROWS] for k, head in enumerate(HEADS)}
Named = namedtuple("Named", ("Index", "score", "seed", "treatment", "task", "group"))


class Pandas:
    """Stands for a data frame that gives rows by a name of their form, as pandas' does."""

    def to_dict(self, orient="dict"):
        return {"dict": COLUMNS, "records": DICTS}[orient]


class ByWord:
    """Stands for a data frame whose form must be given by its word."""

    def to_dict(self, *, orient):
        return {"records": DICTS}[orient]


class Polars:
    """Stands for a data frame that has another `to_dict`, as polars' does."""

    def to_dict(self, *, as_series=True):
        raise AssertionError("not asked for")

    def to_dicts(self):
        return DICTS


class Series:
    """Stands for a named column that has an index, as pandas' does."""

    def __init__(self, own):
        self.own = own

    def __iter__(self):
        return iter(self.own.values())

    def items(self):
        return self.own.items()


FORMS = {
    "dicts": DICTS,
    "tuples": ROWS,
    "lists": list(map(list, ROWS)),
    "a generator": (row for row in ROWS),
    "columns": COLUMNS,
    "columns of arrays": {head: np.array(own) for head, own in COLUMNS.items()},
    "named tuples": [Named(7, row[2], row[1], row[0], row[4], row[3]) for row in ROWS],
    "numpy's numbers": [row | {"seed": np.float64(row["seed"])} for row in DICTS],
    "texts": [{head.upper(): f" {value} " for head, value in row.items()} for row in DICTS],
    "pandas": Pandas(),
    "by word": ByWord(),
    "polars": Polars(),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_the_same_table(form):
    assert read_scores(FORMS[form]).scores == read_scores(DICTS).scores


def test_the_heads_of_real_data_frames():
    pandas = pytest.importorskip("pandas")
    assert read_scores(pandas.DataFrame(DICTS)).scores == read_scores(DICTS).scores


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("change", [str.lower, str.title, str.upper, lambda head: f' "{head}"'])
def test_a_file_is_read_with_each_separator_and_heads_in_any_case(separator, change, tmp_path):
    if separator != "," and change not in (str.lower, str.title, str.upper):
        change = str.lower
    heads = [change(head).strip() for head in HEADS]
    lines = [separator.join(map(str, row)) for row in (heads, *ROWS)]
    (tmp_path / "s.csv").write_text("\ufeff\n" + "\r\n".join(lines) + "\n\n", encoding="utf-8")
    assert read_scores(tmp_path / "s.csv").scores == read_scores(DICTS).scores
    assert read_scores(str(tmp_path / "s.csv")).ignored == ()


def test_a_series_pairs_by_its_index():
    one = {"old": Series({3: 1.0, 5: 2.0}), "new": Series({5: 4.0, 3: 3.0})}
    assert read_scores(one).scores["", "new"] == {5: {"": 4.0}, 3: {"": 3.0}}


def test_treatments_may_be_called_as_columns_are():
    assert list(read_scores({"control": [1, 2], "treatment": [2, 3]}).scores) == [
        ("", "control"),
        ("", "treatment"),
    ]


@pytest.mark.parametrize(
    ("seeds", "found"),
    [
        ([1, "2", 3.0, "4.0"], [1, 2, 3, 4]),
        (["b", "a", 1, 0.5], ["b", "a", "1", "0.5"]),
        (["2024-01-01", "x y"], ["2024-01-01", "x y"]),
    ],
)
def test_seeds_are_whole_numbers_or_any_texts(seeds, found):
    table = read_scores([("t", seed, 1.0) for seed in seeds])
    assert [table.seeds[n] for n in table.scores["", "t"]] == found


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty; its first line must be treatment,seed,score"),
        ("\n \n", "is empty"),
        (
            "treatment,seed\na,0\n",
            "lacks score; its first line is 'treatment,seed', read with comm",
        ),
        (
            "treatment|seed|score\na|0|1\n",
            "lacks treatment; its first line is 'treatment.seed.score'",
        ),
        (
            "Treatment;Run;Score\na;0;1\n",
            "lacks seed; .*'Treatment;Run;Score', read with semicolons",
        ),
        ("treatment,seed,score,Seed\na,0,1,2\n", "has the column seed twice"),
        ("treatment,seed,score\na,0\n", "line 2 has no score, but only treatment, seed"),
        ("treatment,seed,score\na,0,81,5\n", "line 2 has 4 fields under 3 heads"),
        ("treatment;seed;score\na;0;81,5\n", "'81,5'; decimals need a point"),
        ("treatment,seed,score\na,0,5_0\n", "no finite number: '5_0'"),
        ("treatment,seed,score\na,0,\u0665\n", "no finite number: "),
        ("treatment,seed,score\na,0,True\n", "no finite number: 'True'"),
        ("treatment,seed,score,groups\na,0,1,x\na,0,2,y\n", "seed 0 again; only a column group"),
        ('treatment,seed,score\n"a,0,1\n', "cannot be read as CSV"),
    ],
)
def test_a_wrong_file_is_one_line(text, says, tmp_path):
    (tmp_path / "scores.csv").write_text(text)
    with pytest.raises(ConfigError, match=says):
        read_scores(tmp_path / "scores.csv")


def test_bytes_that_are_no_text_and_files_that_are_not_there_are_one_line(tmp_path):
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00")
    for name in ("bytes.csv", "", "a\0b"):
        with pytest.raises(ConfigError, match="cannot be read as CSV"):
            read_scores(tmp_path / name)
    with pytest.raises(ConfigError, match=r"none.csv is not there"):
        read_scores(tmp_path / "none.csv")


@pytest.mark.parametrize("nan", [float("nan"), np.float32("nan")])
def test_a_score_that_is_not_a_number_is_named_by_treatment_and_seed(nan):
    with pytest.raises(ConfigError, match="treatment 'a', seed 2 has a score that is not a number"):
        read_scores({"a": [1, 2, nan], "b": [1, 2, 3]})


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (5, "scores must be a list of values, but got 5"),
        (None, "scores must be a list"),
        ({("a", 0, 1.0)}, "scores must be a list"),
        ([], "scores have no rows"),
        ({}, "scores have no rows"),
        (["a", "b"], "row 1 must be a dict, or .treatment, seed, score"),
        ([("a", 0)], "row 1 must be a dict, or"),
        (np.ones((3, 3)), "row 1 must be a dict, or"),
        ({"a": 5, "b": [1]}, "treatment 'a' must be a list of values, but got 5"),
        ({"a": "12", "b": [1]}, "treatment 'a' must be a list"),
        ({"a": {1.0, 2.0}}, "treatment 'a' must be a list"),
        ({"a": np.array(1.0)}, "treatment 'a' must be a list"),
        ({"a": np.ones((2, 2))}, "score that is no finite number"),
        ({"treatment": ["a"], "seed": [1, 2], "score": [1]}, "one length, but have treatment 1"),
        ({"treatment": "a", "seed": [1], "score": [1]}, "column 'treatment' must be a list"),
        ({"treatment": ["a"], "score": [1]}, "row 1 has no seed, but only treatment, score"),
        ([{"a": 1, "b": 2}], "row 1 has no treatment, but only a, b"),
        ([{"treatment": "a", "Treatment": "b", "seed": 1, "score": 1}], "column treatment twice"),
        ([("a", float("nan"), 1)], "row 1 has no seed"),
        ([("a", 1, 10**400)], "no finite number"),
        ([("a", 1, np.True_)], "no finite number"),
        ([(["a"], 1, 1)], "treatment that is neither"),
    ],
)
def test_what_is_no_table_is_one_line(wrong, says):
    with pytest.raises(ConfigError, match=says):
        read_scores(wrong)


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=3)
    | st.binary()
    | st.sampled_from([*HEADS, object(), Pandas(), len, np.ones(2), np.array(1)]),
    lambda own: (
        st.lists(own, max_size=3)
        | st.tuples(own, own, own)
        | st.dictionaries(
            st.sampled_from(HEADS) | st.text(max_size=2) | st.integers(), own, max_size=4
        )
    ),
    max_leaves=12,
)


@tries(500)
@given(ANYTHING)
def test_anything_is_an_answer_or_one_typed_line(scores):
    with contextlib.suppress(BlocksearchError):  # each is one line: see its class
        bs.compare(scores=scores, margin=1.0)
