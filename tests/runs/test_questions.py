"""Questions about the same runs are remembered and counted, and hold no numbers."""

import hashlib
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import blocksearch as bs
from blocksearch.errors import ConfigError, StoreError
from blocksearch.runs.ledger import Ledger
from blocksearch.runs.merge import merge_ledgers
from blocksearch.runs.questions import Question, questions_in, remember, remembered
from tests.strategies import tries

SHIPPED = Path(__file__).parent.parent.parent / "studies" / "gtsrb.db"
PAIRS = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz")), min_size=1, unique=True)
QUESTIONS = st.builds(
    Question,
    dataset=st.just("digits"),
    data=st.sampled_from("dD"),
    split=st.just("s"),
    recipe=st.sampled_from("rR"),
    pairs=PAIRS.map(lambda own: tuple(sorted(own))),
    seeds=st.lists(st.integers(0, 9), min_size=1, unique=True).map(lambda own: tuple(sorted(own))),
    stages=st.just(()),
)


def residual(seeds):
    return bs.ablate("effnet", factor="residual", dataset="gtsrb", seeds=seeds)


def digest(file):
    return hashlib.sha256(file.read_bytes()).hexdigest()


@tries(60)
@given(QUESTIONS, QUESTIONS)
def test_questions_share_runs_that_compare_a_pair_over_a_seed(one, other):
    runs = [
        {(each.data, each.recipe, pair, seed) for pair in each.pairs for seed in each.seeds}
        for each in (one, other)
    ]
    assert one.shares_runs_with(other) == other.shares_runs_with(one) == bool(runs[0] & runs[1])


@tries(15)
@given(st.lists(QUESTIONS, min_size=1, max_size=6))
def test_each_question_is_remembered_once_and_counted_with_those_about_its_runs(
    tmp_path_factory, asked
):
    file = str(tmp_path_factory.mktemp("asked") / "runs.db")
    for place, own in enumerate(asked):
        answer = remembered(own, file, ())
        before = list(dict.fromkeys(asked[: place + 1]))
        assert questions_in(file) == before
        assert answer.questions == tuple(each for each in before if each.shares_runs_with(own))
        assert answer.questions[answer.number - 1] == own
        assert own not in answer.others


def test_asking_again_with_more_seeds_is_counted(tmp_path, monkeypatch):
    """The shipped answers are questions, too: Section 3, and the shortcuts at eight seeds."""
    monkeypatch.chdir(tmp_path)
    before = digest(SHIPPED)
    again, same, fewer = residual(8), residual(8), residual(5)
    assert [each.data()["questions"] for each in (again, same, fewer)] == [2, 2, 3]
    assert [each.data()["question"] for each in (again, same, fewer)] == [2, 2, 3]
    for row in fewer.records()[1:]:
        assert row["p_value_counted"] == min(1.0, 3 * row["p_value"])
    said = " ".join(fewer.data()["notes"])
    assert "question 3 of 3 about these runs" in said
    assert "interim analyses at 5, 8, 12" in said
    assert "each p is 3 times what is printed, and one below 0.017 decides" in said
    assert "undecided is then residual add;" in said
    other = bs.ablate("effnet", factor="residual", dataset="gtsrb", seeds=8, val_split=1)
    assert other.data()["questions"] == 1
    assert "about these runs" not in " ".join(other.data()["notes"])
    assert digest(SHIPPED) == before


def test_a_table_of_the_paper_is_a_question_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = digest(SHIPPED)
    first, again, more = (bs.reproduce("table4", seeds=seeds) for seeds in (3, 3, 5))
    assert [each.data()["questions"] for each in (first, again, more)] == [1, 1, 2]
    assert "question 2 of 2 about these runs" in " ".join(more.data()["notes"])
    (one, other) = questions_in("results/gtsrb.db")
    assert (one.split, one.seeds, other.seeds) == ("test", (0, 1, 2), (0, 1, 2, 3, 4))
    assert len(one.pairs) == len(other.pairs) == 5
    assert digest(SHIPPED) == before


def test_what_is_stored_has_no_numbers_but_seeds(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    residual(5)
    with closing(sqlite3.connect("results/gtsrb.db")) as file:
        ((content,),) = file.execute("select content from ledger_questions").fetchall()
    stored = json.loads(content)
    assert stored["seeds"] == [0, 1, 2, 3, 4]
    assert len(stored["pairs"]) == 3
    assert set(stored) == {"dataset", "data", "split", "recipe", "pairs", "seeds", "stages"}


def question(**changes):
    own = {"dataset": "digits", "data": "d", "split": "s", "recipe": "r"}
    return Question(**own | {"pairs": (("a", "b"),), "seeds": (0, 1)} | changes)


def test_questions_are_merged_with_runs(tmp_path):
    one, other = (str(tmp_path / name) for name in ("a.db", "b.db"))
    remember([question()], one)
    remember([question(), question(seeds=(0, 1, 2))], other)
    merge_ledgers(one, other)
    assert len(questions_in(one)) == 2
    with pytest.raises(ConfigError, match=r"a database is not merged with itself: .*a\.db"):
        merge_ledgers(one, one)


def test_an_edited_question_is_not_believed(tmp_path):
    file = tmp_path / "runs.db"
    remember([question()], str(file))
    with closing(sqlite3.connect(file)) as opened:
        opened.execute("update ledger_questions set content = replace(content, '0, 1', '0, 2')")
        opened.commit()
    with pytest.raises(StoreError, match="a question does not match its checksum"):
        questions_in(str(file))


def test_a_place_that_cannot_be_written_is_said_and_the_answer_stays(tmp_path):
    (tmp_path / "file").write_text("")
    found = remembered(question(), str(tmp_path / "file" / "runs.db"), ())
    assert found.count == 1
    assert "runs.db" in found.unkept or "file" in found.unkept


def test_what_came_with_the_project_is_only_read(tmp_path):
    file = tmp_path / "runs.db"
    remember([question()], str(file))
    before = digest(file)
    found = remembered(question(seeds=(1, 5)), str(file), (), shipped=True)
    assert (found.number, found.count) == (2, 2)
    assert "came with the project" in found.unkept
    assert digest(file) == before


ANSWER = {"fingerprint": "f", "reference": True, "seeds": [0], "accuracies": [1]}
LIKE = Question(dataset="digits", data="d", split="s", recipe="r", pairs=(), seeds=(0,))


@pytest.mark.parametrize(
    "content",
    [
        *("[1]", '["fingerprint"]', "5", "[" * 100_000),
        *(json.dumps([ANSWER | {"fingerprint": own}]) for own in ({}, 3, "\ud800")),
        *(json.dumps([ANSWER | {"seeds": own}]) for own in ([10**30], ["\ud800"], [1.5], "0")),
    ],
)
def test_an_answer_of_another_shape_is_one_line(tmp_path, content):
    file = str(tmp_path / "a.db")
    with closing(Ledger(file)) as ledger:
        ledger.add_report("ablate", "a", content)
    with pytest.raises(StoreError, match="table ledger_reports, row 1"):
        questions_in(file, LIKE)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("seeds", own) for own in ([float("inf")], [10**30], "0", [True])),
        *(("stages", own) for own in ([float("inf")], [0.5], None)),
        *(("pairs", own) for own in ([["a"]], [["a", 1]], 5, "ab")),
        *(("data", own) for own in ("\ud800", 5, None)),
    ],
)
def test_a_question_of_another_shape_is_one_line(tmp_path, name, value):
    file = str(tmp_path / "a.db")
    remember([LIKE], file)
    content = json.dumps(json.loads(LIKE.content) | {name: value}, sort_keys=True)
    digest = hashlib.sha256(content.encode()).hexdigest()
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE ledger_questions SET content = ?, digest = ?", (content, digest))
    with pytest.raises(StoreError, match="table ledger_questions, row 1"):
        questions_in(file)


@pytest.mark.parametrize("name", ["kind", "title", "created", "content"])
def test_an_answer_of_before_there_were_checksums_is_read_by_kind(tmp_path, name):
    file = str(tmp_path / "a.db")
    with closing(Ledger(file)) as ledger:
        ledger.add_report("ablate", "a", json.dumps([ANSWER]))
    with closing(sqlite3.connect(file)) as opened:
        opened.execute("DELETE FROM ledger_checksums")
        opened.execute(f"UPDATE ledger_reports SET {name} = x'00ff'")
        opened.commit()
    with pytest.raises(StoreError, match=f"table ledger_reports, row 1: {name} must be"):
        questions_in(file, LIKE)
