"""Scores from elsewhere are compared as an ablation's are, and checked at the door."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import blocksearch as bs
from blocksearch.ablation.config import ScoresConfig
from blocksearch.ablation.scores import compare_scores
from blocksearch.ablation.stats import compare_pairs
from blocksearch.errors import ConfigError
from blocksearch.report.table import Priority
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
    found = {
        (own.task, own.treatment): own.comparison for own in compare_scores(rows, PLAIN).results
    }
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
    _, own = compare_scores(rows, PLAIN).results
    by_group = np.zeros(30)
    for row in rows:
        by_group[int(row["group"][1:])] += row["score"] * (1 if row["treatment"] == "t1" else -1)
    assert own.elsewhere.error == pytest.approx(clustered_error(by_group / 6, np.ones(30)))
    assert own.record()["other_groups"] in ("yes", "not shown", None)
    with pytest.raises(ConfigError, match="of every group, but 't1', seed 5 lacks group 'g29'"):
        compare_scores(rows[:-1], PLAIN)


def test_tasks_have_groups_of_their_own():
    one = drawn(5, tasks=["a"], groups=[f"g{k}" for k in range(25)])
    other = drawn(6, tasks=["b"], groups=[f"h{k}" for k in range(12)])
    both = {(own.task, own.treatment): own for own in compare_scores([*one, *other], PLAIN).results}
    for rows in (one, other):
        for own in compare_scores(rows, PLAIN).results:
            found = both[own.task, own.treatment]
            assert found.groups == own.groups == len({row["group"] for row in rows})
            assert found.scores == own.scores
            if own.elsewhere:
                assert found.elsewhere.error == own.elsewhere.error
    assert both["a", "t1"].elsewhere.interval
    assert not both["b", "t1"].elsewhere.interval


@pytest.mark.parametrize("count", [1, 12, 19, 20])
def test_groups_too_few_for_an_interval_are_said_and_the_column_has_its_footnote(count):
    rows = [
        {**row, "score": row["score"] + 9 * (row["treatment"] == "t1")}
        for row in drawn(7, treatments=2, groups=[f"g{k}" for k in range(count)])
    ]
    answer = bs.compare(rows)
    few = count < 20
    told = f"{count} groups are too few for an interval over other groups, which needs 20"
    told = told.replace("1 groups are", "1 group is")
    assert (told in " ".join(answer.table().split())) == few
    columns, _ = answer.report.tables[0].cells(Priority.MAIN)
    assert ("other_groups" in [each.name for each in columns]) == (not few)
    assert ("other groups: whether" in answer.table()) == (not few)
    assert (answer.records()[1]["groups"], answer.data()["groups_needed"]) == (count, 20)
    assert "groups" not in bs.compare(drawn(7)).table()


@pytest.mark.parametrize("low", [0.0, -0.7])
def test_fractions_have_a_margin_of_half_a_point(low):
    gap = [0.081, 0.079, 0.09, 0.07]
    rows = {"old": [low + 0.6] * 4, "new": [low + 0.6 + each for each in gap]}
    answer = bs.compare(rows)
    assert answer.records()[1]["verdict"] == "helps"
    assert answer.data()["margin"] == answer.records()[1]["margin"] == 0.005
    assert "0.01 is one point; scores within ±0.005 of" in " ".join(answer.table().split())
    points = {name: [100 * each for each in own] for name, own in rows.items()}
    scaled = bs.compare(points)
    assert scaled.data()["margin"] == 0.5
    assert "fractions" not in scaled.table()
    assert scaled.records()[1]["p_value"] == pytest.approx(answer.records()[1]["p_value"])
    chosen = bs.compare(rows, margin=0.5)
    assert chosen.data()["margin"] == 0.5
    assert "±0.5 of each other count as equal, as chosen" in " ".join(chosen.table().split())


def test_fractions_in_one_task_alone_need_a_margin_that_is_chosen():
    rows = [*drawn(8, tasks=["a"]), *(row | {"score": row["seed"] / 9} for row in drawn(8))]
    with pytest.raises(ConfigError, match="no margin is right for both unless it is chosen"):
        bs.compare(rows)
    assert bs.compare(rows, margin=0.1).data()["margin"] == 0.1


@pytest.mark.parametrize("point", [1, 0.01])
def test_a_collapsed_run_is_flagged_and_the_share_of_unseen_ones_stated(point):
    runs = {"old": [79.1, 79.6, 78.8, 79.3, 79.0], "new": [80.1, 80.4, 10, 79.9, 80.2]}
    answer = bs.compare({name: [each * point for each in own] for name, own in runs.items()})
    assert [row["collapsed"] for row in answer.records()] == [[], [2]]
    said = " ".join(answer.table().split())
    assert f"against a median of {80.1 * point:.4g}: seed 2 at {10 * point:.4g}" in said
    assert "may collapse in up to 45% of its runs" in said


def test_lost_seeds_are_named_and_no_interval_is_spoken_of_where_there_is_none():
    own = {"old": dict.fromkeys("abc", 79.0), "new": {"c": 80.0, "x": 81.0}}
    answer = bs.compare(own)
    said, row = " ".join(answer.table().split()), answer.records()[1]
    assert (row["only_reference"], row["only_treatment"]) == (["a", "b"], ["x"])
    assert "old alone has seeds a, b; new alone has seed x" in said
    assert "not missing at random" in said
    assert "intervals" not in said
    own["new"] |= {"a": 79.5, "b": 80.1, "d": 1.0}
    assert "all intervals here cover together" in bs.compare(own).table()
    whole = bs.compare({"old": [1, 2, 3], "new": [4, 5, 6.5]}).table()
    assert "alone" not in whole
    assert "at random" not in whole


def test_seeds_without_a_spread_have_no_interval():
    said = bs.compare({"old": [80, 81, 82], "new": [81, 82, 83]}).table()
    assert "intervals" not in said
    assert "no interval: the seeds have no spread" in " ".join(said.split())


@tries(25)
@given(st.integers(0, 10**6), st.permutations([f"run-{k}" for k in range(6)]))
def test_seeds_only_pair_whatever_they_are_called(seed, names):
    rows = drawn(seed)
    named = [row | {"seed": names[row["seed"]]} for row in rows]
    for one, other in zip(bs.compare(rows).records(), bs.compare(named).records(), strict=True):
        assert sorted(one["scores"]) == sorted(other["scores"])
        assert one["verdict"] == other["verdict"]
        assert not one["verdict"] or one["p_value"] == pytest.approx(other["p_value"])
        assert other["seeds"] == sorted(names)


@pytest.mark.parametrize("point", [1, 0.01, 10])
def test_seeds_are_not_said_to_show_what_no_score_can_be(point):
    """Scores up to 100 are percent, those up to 1 fractions; of others nothing is known."""

    def said(**runs):
        found = bs.compare({name: [each * point for each in own] for name, own in runs.items()})
        return " ".join(found.table().split())

    little = "two seeds say little; take 3 or more"
    two, three = said(a=[10, 90], b=[90, 15]), said(a=[10, 90, 5], b=[90, 15, 90])
    assert (two.count(little), three.count(little)) == (1, 0)
    assert "seeds show" not in two
    assert ("3 seeds show ±" in three) == (point == 10)
    assert "3 seeds show ±" in said(a=[80, 81, 82], b=[81, 80, 83])


def test_a_later_look_counts():
    first, second = bs.compare(drawn(9)), bs.compare(drawn(9), look=2)
    for one, other in zip(first.records()[1:], second.records()[1:], strict=True):
        assert one["p_value_counted"] == one["p_value"] == other["p_value"]
        assert other["p_value_counted"] == min(1, 2 * one["p_value"])
    assert "if scores are added after it, the next answer is another look" in first.table()
    assert "each p is 2 times what is printed" in " ".join(second.table().split())
    assert second.data()["look"] == 2


def test_columns_that_are_not_used_are_named():
    answer = bs.compare([row | {"Epochs": 5, "note": ""} for row in drawn(1)])
    assert "columns that are not used: Epochs, note" in answer.table()
    assert answer.data()["ignored_columns"] == ["Epochs", "note"]


def test_the_guides_program_runs():
    guide = (Path(bs.__file__).parent / "ablation" / "README.md").read_text()
    (program,) = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    found = {}
    exec(program, found)
    assert found["answer"].records()[1]["verdict"] == "helps"
    for word in ("treatment", "seed", "score", "group", "task", "separator", "higher", "20"):
        assert word in guide.partition("## Scores of your own")[2].partition("\n## ")[0]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda rows: [], "scores have no rows"),
        (lambda rows: rows[:6], "two treatments or more"),
        (lambda rows: [*rows, rows[0]], "gives treatment 't0' and seed 0 again"),
        (lambda rows: [*rows, rows[0] | {"score": "x"}], "row 19 has a score that is no finite"),
        (lambda rows: [*rows, rows[0] | {"score": "nan"}], "no finite number: 'nan'"),
        (lambda rows: [*rows, rows[0] | {"score": True}], "no finite number: True"),
        (lambda rows: [*rows, rows[0] | {"score": [1]}], r"no finite number: .1."),
        (lambda rows: [*rows, rows[0] | {"seed": [1]}], "seed that is neither a text nor a number"),
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
    "wrong",
    [
        *({"margin": 0}, {"margin": "x"}, {"margin": True}, {"reference": "t9"}, {"reference": 9}),
        *({"variance": "x"}, {"variance": 5}, {"look": 0}, {"look": 1.5}, {"look": 10**400}),
    ],
)
def test_a_wrong_wish_is_one_line(wrong):
    with pytest.raises(ConfigError):
        bs.compare(drawn(4), **wrong)
