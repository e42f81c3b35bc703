"""An accuracy is stored once, with its run; a trial names the run, and answers are read from it."""

import json
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

import blocksearch as bs
from blocksearch.arch.notation import parse
from blocksearch.errors import StoreError
from blocksearch.runs.ledger import Ledger
from blocksearch.runs.rows import checksum
from blocksearch.search.stored_study import open_study
from blocksearch.search.summary import summarise
from blocksearch.search.trials import Studies

STUDIES = Path(__file__).parents[2] / "studies"
SPACE = bs.Grammar(
    bs.TASKS["digits"],
    widths=[(4, 6)],
    residual=["none", "add"],
    groups=["none", "both(2)"],
    pooling=["stride", "separable", "last"],
)
SMALL = {"epochs": 2, "max_images": 200, "seeds": 2, "references": "none", "workers": 1}


@pytest.fixture(scope="module")
def studies(tmp_path_factory, root):
    """Two studies of real trainings in one file: one that stops early, one by another metric."""
    file = tmp_path_factory.mktemp("reading") / "a.db"
    metric = {"name": "recall", "metric": "recall(3)"}
    small = SMALL | {"dataset": "digits", "data_root": root}
    bs.Study(SPACE, file, name="raced", rungs=[1], **small).search(10)
    bs.Study(SPACE, file, **metric, **small).search(10)
    return file


@pytest.fixture
def file(studies, tmp_path):
    return shutil.copy(studies, tmp_path / "a.db")


def rows(file, query):
    with closing(sqlite3.connect(file)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(query)]


def edited(file, query, *values):
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute(query, values)


def trials(file, name):
    with closing(Ledger(file, read_only=True)) as ledger:
        return Studies(ledger).trials(name)


def test_a_trial_names_its_run_and_has_no_accuracy_of_its_own(file):
    runs = {row["checksum"]: row for row in rows(file, "SELECT * FROM ledger_runs")}
    steps = rows(file, "SELECT * FROM search_steps")
    assert len(steps) > len(runs) > 0  # the second study trained few again
    for step in steps:
        run = runs[json.loads(step["accuracies"])]
        assert (run["network"], run["seed"]) == (step["network"], step["seed"])
        assert "." not in step["memory"]


def test_accuracies_are_those_of_the_run_up_to_the_epoch_of_the_trial(file):
    runs = {row["checksum"]: row for row in rows(file, "SELECT * FROM ledger_runs")}
    found = trials(file, "raced")
    assert {trial.epochs for trial in found} == {1, 2}
    for trial in found:
        assert list(trial.accuracies) == json.loads(runs[trial.run]["accuracies"])[: trial.epochs]


def test_another_metric_is_measured_on_what_the_run_predicted(file):
    with closing(Ledger(file, read_only=True)) as ledger:
        for trial in Studies(ledger).trials("recall"):
            (run,) = ledger.of_rows({trial.run}, predictions=True)
            labels = ledger.images(run.key.data, run.key.protocol).labels
            found = 100 * (run.predictions[labels == 3] == 3).mean()
            assert trial.accuracies == (pytest.approx(found),)


@pytest.mark.parametrize("name", ["raced", "recall"])
def test_a_study_in_the_form_of_before_gives_the_same_answer(file, name):
    now = summarise(file, name)
    for trial in trials(file, name):
        step = f"study = '{name}' AND number = {trial.step}"
        (row,) = rows(file, f"SELECT * FROM search_steps WHERE {step}")
        row["accuracies"] = json.dumps(trial.accuracies)
        del row["checksum"]
        changed = row["accuracies"], checksum(row)
        edited(file, f"UPDATE search_steps SET accuracies = ?, checksum = ? WHERE {step}", *changed)
    # the last row's checksum is kept beside, as a seal
    last = rows(file, f"SELECT checksum FROM search_steps WHERE study = '{name}'")[-1]["checksum"]
    seal = 'UPDATE ledger_checksums SET checksum = ? WHERE "of" = \'search_steps\' AND "key" = ?'
    edited(file, seal, last, name)
    assert not any(trial.run for trial in trials(file, name))
    assert summarise(file, name) == now


def test_a_run_that_is_gone_or_was_changed_is_named(file):
    (first,) = (trial for trial in trials(file, "raced") if trial.step == 0)
    edited(file, "DELETE FROM ledger_predictions WHERE run = ?", first.run)
    edited(file, "DELETE FROM ledger_runs WHERE checksum = ?", first.run)
    with pytest.raises(StoreError, match=r"row raced 0: its run is missing"):
        open_study(str(file), "raced")


def test_an_accuracy_that_was_edited_is_noticed_by_the_study(file):
    edited(file, "UPDATE ledger_runs SET accuracies = '[99.0, 99.0]' WHERE id = 1")
    with pytest.raises(StoreError, match=r"ledger_runs, row 1: it does not match its checksum"):
        open_study(str(file), "raced")


def test_images_that_are_gone_are_named_where_a_metric_needs_them(file):
    edited(file, "DELETE FROM ledger_images")
    assert trials(file, "raced")
    with pytest.raises(StoreError, match="nothing of the images"):
        open_study(str(file), "recall")


def test_a_search_stores_what_its_images_are(file):
    (images,) = rows(file, "SELECT * FROM ledger_images")
    (own,) = {(row["data"], row["protocol"]) for row in rows(file, "SELECT * FROM ledger_runs")}
    assert (images["data"], images["split"]) == own
    assert images["origin"] == "synthetic, drawn from a seed"


def test_a_stored_title_that_does_not_say_where_images_are_from_says_it(file):
    with closing(Ledger(file, read_only=True)) as ledger:
        defined = Studies(ledger).definition("raced")
    whole = defined["title"]
    defined["title"] = whole.replace(" (synthetic, drawn from a seed)", "")
    assert defined["title"] != whole
    row = {"name": "raced", "definition": json.dumps(defined)}
    (row["created"],) = rows(file, "SELECT created FROM search_studies WHERE name = 'raced'")[
        0
    ].values()
    changed = row["definition"], checksum(row)
    edited(
        file,
        "UPDATE search_studies SET definition = ?, checksum = ? WHERE name = 'raced'",
        *changed,
    )
    assert open_study(str(file), "raced").definition["title"] == whole


def test_what_a_stored_study_says_is_in_todays_words_of_the_same_networks(tmp_path):
    copied = shutil.copy(STUDIES / "gtsrb-search.db", tmp_path)
    answers = [ask(copied) for ask in (bs.front, bs.importance, bs.test)]
    said = " ".join(f"{each.table()} {each.data()}" for each in answers)
    assert "stem" in said
    assert not re.findall(r"first_layer|vanilla|\bfloats\b|\bpeak\b(?! activations)", said)
    study = open_study(copied)
    assert all(parse(trial.text).digest == trial.network for trial in study.trials)
    assert list(study.choices).index("stem") < 2
    assert study.choices["stem"] == ["conv", "block"]
