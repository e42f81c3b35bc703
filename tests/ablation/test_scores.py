"""Scores from elsewhere are compared as an ablation's are, and checked at the door."""

import csv

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import blocksearch as bs
from blocksearch.ablation.config import ScoresConfig
from blocksearch.ablation.scores import compare_scores
from blocksearch.ablation.stats import compare_pairs
from blocksearch.errors import ConfigError
from blocksearch.runs.metrics import clustered_error
from tests.strategies import tries

PLAIN = ScoresConfig()


def drawn(seed, treatments=3, seeds=6, tasks=("",), groups=("",)):
    random = np.random.default_rng(seed)
    return [
        {"treatment": f"t{k}", "seed": s, "score": 70 + k + random.normal(), "task": task}
        | {"group": group}
        for task in tasks
        for k in range(treatments)
        for s in range(seeds)
        for group in groups
    ]


@tries(25)
@given(st.integers(0, 10**6), st.integers(2, 14), st.integers(2, 8))
def test_a_table_of_scores_is_decided_as_an_ablation_is(seed, treatments, seeds):
    rows = drawn(seed, treatments, seeds, ("a", "b"))
    pairs = {}
    for task in "ab":
        by_name = {}
        for row in rows:
            if row["task"] == task:
                by_name.setdefault(row["treatment"], {})[row["seed"]] = row["score"]
        pairs |= {(task, k): (by_name["t0"], own) for k, own in by_name.items() if k != "t0"}
    found = {(own.task, own.treatment): own.comparison for own in compare_scores(rows, PLAIN)}
    assert {key: own for key, own in found.items() if own} == compare_pairs(pairs)


def test_a_file_rows_and_a_dictionary_say_the_same(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [{key: row[key] for key in ("treatment", "seed", "score")} for row in drawn(1)]
    with (tmp_path / "scores.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    plain = {}
    for row in rows:
        plain.setdefault(row["treatment"], []).append(row["score"])
    answers = [bs.compare(scores).records() for scores in ("scores.csv", rows, plain)]
    assert answers[0] == answers[1] == answers[2]
    other = bs.compare("scores.csv", reference="t2").records()
    assert other[0]["treatment"] == "t2"
    first = next(row for row in other if row["treatment"] == "t0")
    assert first["difference"] == pytest.approx(-answers[0][2]["difference"])


def test_groups_say_what_other_groups_would():
    rows = drawn(3, treatments=2, groups=[f"g{k}" for k in range(30)])
    _, own = compare_scores(rows, PLAIN)
    by_group = np.zeros(30)
    for row in rows:
        by_group[int(row["group"][1:])] += row["score"] * (1 if row["treatment"] == "t1" else -1)
    assert own.elsewhere.error == pytest.approx(clustered_error(by_group / 6, np.ones(30)))
    assert own.record()["other_groups"] in ("yes", "not shown", None)
    with pytest.raises(ConfigError, match="needs a score of every group, but 't1', seed 5"):
        compare_scores(rows[:-1], PLAIN)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda rows: [], "scores have no rows"),
        (lambda rows: rows[:6], "two treatments or more"),
        (lambda rows: [*rows, rows[0]], "gives treatment 't0' and seed 0 again"),
        (lambda rows: [*rows, rows[0] | {"score": "x"}], "row 19 has a score that is no finite"),
        (lambda rows: [*rows, rows[0] | {"score": "nan"}], "no finite number: 'nan'"),
        (lambda rows: [*rows, rows[0] | {"seed": 0.5}], "no whole number: 0.5"),
        (lambda rows: [*rows, rows[0] | {"seed": ""}], "row 19 has no seed"),
        (lambda rows: [*rows, rows[6] | {"task": "b"}], "task 'b' has no scores of the reference"),
        (lambda rows: [*rows, rows[0] | {"score": 1e200, "seed": 9}], "at most 1e.100"),
    ],
)
def test_a_wrong_row_is_one_line(change, says):
    with pytest.raises(ConfigError, match=says) as caught:
        compare_scores(change(drawn(2)), PLAIN)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("treatment,seed\na,0\n", "needs the columns treatment, seed, score, but lacks score"),
        ("treatment,seed,score,sead\na,0,1,2\n", "unknown column 'sead' .did you mean 'seed'"),
        ("", "needs the columns"),
        ("treatment,seed,score\na,0\n", "line 2 has no score"),
        ('treatment,seed,score\n"a,0,1\n', "cannot be read as CSV"),
    ],
)
def test_a_wrong_file_is_one_line(text, says, tmp_path):
    (tmp_path / "scores.csv").write_text(text)
    with pytest.raises(ConfigError, match=says):
        compare_scores(tmp_path / "scores.csv", PLAIN)


def test_bytes_that_are_no_text_and_files_that_are_not_there_are_one_line(tmp_path):
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00")
    for name in ("bytes.csv", "none.csv"):
        with pytest.raises(ConfigError, match="cannot be read as CSV"):
            compare_scores(tmp_path / name, PLAIN)


@pytest.mark.parametrize("wrong", [{"margin": 0}, {"reference": "t9"}, {"variance": "x"}])
def test_a_wrong_wish_is_one_line(wrong):
    with pytest.raises(ConfigError):
        bs.compare(drawn(4), **wrong)
