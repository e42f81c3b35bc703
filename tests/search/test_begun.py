"""A study goes on in other words for the same, and is told what it means otherwise."""

import re
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocksearch import Grammar, Shape, Study, Task, cost, front
from blocksearch.errors import ConfigError
from blocksearch.search.config import StudyConfig, check_name, made_name

TASK = Task(input=Shape(1, 16, 16), widths=(4, 8), classes=4)
OPTIONS = {"kernel": ["3x3", "1x3+3x1"], "residual": ["none", "add"], "minimum": [1]}


def accuracy(network, seed):
    return 40.0 + len(str(network)) % 7 + seed / 10 + cost(network.layers).flops / 1e6


def study(file, task=TASK, **options):
    return Study(Grammar(task, **options), file, objective=accuracy, references="none", seeds=1)


def test_the_order_of_keywords_is_no_change(tmp_path):
    before = study(tmp_path / "a.db", **OPTIONS).search(trials=2).found
    turned = dict(reversed(OPTIONS.items()))
    found = study(tmp_path / "a.db", **turned).search(trials=3).found
    assert [entry.text for entry in found.entries[:2]] == [each.text for each in before.entries]
    whole = study(tmp_path / "b.db", **OPTIONS).search(trials=3).found
    assert [entry.text for entry in found.entries] == [entry.text for entry in whole.entries]


@pytest.mark.parametrize(
    ("task", "options", "says"),
    [
        (TASK, OPTIONS | {"residual": ["add", "none"]}, "residual was none,add, now add,none"),
        (TASK, OPTIONS | {"minimum": [6]}, "values was .*minimum=1.*, now .*minimum=6"),
        (TASK, OPTIONS | {"widths": [(4, 6)]}, "widths was 4,8, now 4,6"),
        (TASK, OPTIONS | {"stem": ["conv"]}, "stem was block, now conv"),
        (Task(input=Shape(1, 20, 20), widths=(4, 8), classes=4), OPTIONS, "input was 1x16x16, now"),
    ],
)
def test_what_changed_is_named(tmp_path, task, options, says):
    study(tmp_path / "a.db", **OPTIONS).search(trials=1)
    with pytest.raises(ConfigError, match=f"the space changed: .*{says}"):
        study(tmp_path / "a.db", task, **options).search(trials=1)


@given(st.text(max_size=90), st.text(max_size=30))
def test_a_name_that_is_made_up_is_always_allowed(space, dataset):
    name = made_name(space, dataset)
    assert check_name(name) == name
    if re.fullmatch(r"[A-Za-z0-9]{1,20}", space) and re.fullmatch(r"[A-Za-z0-9]{1,20}", dataset):
        assert name == f"{space}-{dataset}"


def test_names_of_two_spaces_are_two():
    assert len({made_name(space, "digits") for space in ("my space", "my-space", "my  space")}) == 3


def test_texts_are_read_as_lists_are():
    one = StudyConfig(objectives=" accuracy , flops", rungs="2, 5", references=" effnet,mobilenet ")
    other = StudyConfig(
        objectives=["accuracy", "flops"], rungs=[2, 5], references=["mobilenet", "effnet"]
    )
    assert one == other
    assert StudyConfig(references=" all ") == StudyConfig()
    assert StudyConfig(references=" none ") == StudyConfig(references=[])


@pytest.mark.parametrize(("value", "warned"), [(0.93, True), (0.0, False), (1.5, False)])
def test_what_looks_like_shares_is_warned_of(tmp_path, value, warned):
    space = Grammar(TASK, **OPTIONS)
    study = Study(space, tmp_path / "a.db", objective=lambda *_: value, references="none", seeds=2)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        study.search(trials=4)
    said = [str(each.message) for each in heard if "share" in str(each.message)]
    assert len(said) == warned
    assert all("at most 1, such as 0.93: is this a share?" in each for each in said)
    assert f"  {value:.2f}  " in front(tmp_path / "a.db").table()
