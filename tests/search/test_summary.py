"""What a study has found, from files that were written as a search writes them."""

import json
import re
import sqlite3
import subprocess
import sys
from contextlib import closing

import numpy as np
import optuna
import pytest

from blocksearch.errors import ConfigError, StoreError
from blocksearch.report.front import front_report
from blocksearch.report.writers import save
from blocksearch.runs.ledger import Ledger
from blocksearch.search.importance import study_effects
from blocksearch.search.objectives import hypervolume
from blocksearch.search.results import as_rows, walk
from blocksearch.search.summary import summarise
from blocksearch.search.trials import Studies, TrialKind
from tests.fire.hostile import edit, redefine
from tests.made import optuna_file
from tests.search.made import HORIZON, HOSTILE, definition, row, searched, write

CHOICES = [["kernel", ["3x3", "1x3+3x1"]], ["groups", ["none", "both(4)"]]]


def small(file, accuracies, **changes):
    """Write a study whose trials have these accuracies, one seed each, at rising costs."""
    rows = [
        row(n, n, own, {"flops": 20_000 * (n + 1)}, [n % 2, 0]) for n, own in enumerate(accuracies)
    ]
    return write(file, "small", definition(CHOICES, **changes), rows)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return searched(tmp_path_factory.mktemp("made") / "made.db", budgets=["flops <= 300k"])


def test_the_front_is_what_no_mean_beats_cheapest_first(made):
    found = summarise(made)
    flops = [entry.costs["flops"] for entry in found.front]
    means = [entry.mean for entry in found.front]
    assert flops == sorted(flops)
    assert means == sorted(means)
    for entry in found.entries:
        beaten = any(
            e.mean >= entry.mean and e.costs["flops"] <= entry.costs["flops"] and e is not entry
            for e in found.entries
        )
        assert entry.on_front != beaten
    assert {entry.trial for entry in found.front} == {
        entry.trial for entry in found.entries if entry.on_front
    }


def test_means_are_the_models_and_intervals_narrow_with_seeds(made):
    found = summarise(made)
    widths = {
        n: [e.interval[1] - e.interval[0] for e in found.entries if len(e.accuracies) == n]
        for n in (1, 3)
    }
    assert max(widths[3]) < min(widths[1])
    assert all(entry.interval[0] < entry.mean < entry.interval[1] for entry in found.entries)
    raw = np.array([np.mean(entry.accuracies) for entry in found.entries])
    assert not np.allclose([entry.mean for entry in found.entries], raw)  # no single-seed maxima
    assert np.abs([entry.mean for entry in found.entries] - raw).max() < 5


def test_named_points_are_known_by_their_names(made):
    named = {entry.origin for entry in summarise(made).entries if entry.named}
    assert {"baseline", "effnet", "mobilenet"} <= named
    assert "evolution" not in named


def test_the_factor_is_against_the_baseline_network(tmp_path):
    found = summarise(small(tmp_path / "a.db", [50.0, 60.0]))
    assert [entry.factor for entry in found.entries] == [0.04, 0.08]


def test_volume_and_walk_are_measured_in_the_frame_that_the_study_stores(tmp_path):
    frame = {"chance": 10.0, "least": [20_000.0], "largest": [2_000_000.0]}
    found = summarise(small(tmp_path / "a.db", [55.0], frame=frame))
    assert found.volume == pytest.approx(
        (found.entries[0].mean - 10) / 90
    )  # the cheapest there is: the whole width
    assert found.walk == pytest.approx((found.volume,))
    assert "10 %, chance" in found.frame
    assert "2,000,000, the space's largest, to 20,000, its least" in found.frame


@pytest.mark.parametrize("axes", [2, 3, 4])
def test_the_walk_is_the_hypervolume_after_each(axes):
    scaled = np.random.default_rng(axes).uniform(-0.2, 1.2, (40, axes))
    assert walk(scaled) == pytest.approx([hypervolume(scaled[: n + 1]) for n in range(40)])


def test_a_run_that_was_taken_further_counts_once(tmp_path):
    rows = [
        row(0, 0, 30.0, {"flops": 20_000}, [0, 0], epochs=1),
        row(1, 1, 40.0, {"flops": 30_000}, [1, 0], epochs=1),
        row(2, 1, 60.0, {"flops": 30_000}, [1, 0], kind=TrialKind.PROMOTION),
        row(3, 1, 62.0, {"flops": 30_000}, [1, 0], seed=1, kind=TrialKind.SEED),
    ]
    found = summarise(write(tmp_path / "a.db", "a", definition(CHOICES, rungs=[1, HORIZON]), rows))
    assert [(entry.accuracies, entry.early) for entry in found.entries] == [
        ((), 1),
        ((60.0, 62.0), 0),
    ]
    assert any("1 trainings were stopped early" in note for note in found.notes)


def test_a_network_that_diverged_after_a_rung_is_not_in_the_walk(tmp_path):
    rows = [
        row(0, 0, 30.0, {"flops": 20_000}, [0, 0]),
        row(1, 1, 40.0, {"flops": 30_000}, [1, 0], epochs=1),
        row(2, 1, None, {"flops": 30_000}, [1, 0], kind=TrialKind.PROMOTION),
    ]
    found = summarise(write(tmp_path / "a.db", "a", definition(CHOICES, rungs=[1, HORIZON]), rows))
    assert [entry.trial for entry in found.walked] == [0]
    assert len(found.walk) == 1
    save(front_report(found), tmp_path / "page.html")


def test_a_study_whose_setting_has_no_baseline_has_no_factor(tmp_path):
    rows = [row(0, 0, 30.0, {"flops": 20_000}, [0, 0])]
    (entry,) = summarise(
        write(tmp_path / "a.db", "a", definition(CHOICES, baseline=0), rows)
    ).entries
    assert entry.factor is None


def test_failures_are_counted_and_said(tmp_path):
    found = summarise(small(tmp_path / "a.db", [50.0, None, 60.0]))
    assert [entry.failures for entry in found.entries] == [0, 1, 0]
    assert found.entries[1].mean is None
    assert found.notes == (
        "1 trainings diverged or failed",
        "1 networks have no result and are not drawn",
    )


@pytest.mark.parametrize("accuracies", [[], [None, None]])
def test_a_study_without_results_is_shown_empty(tmp_path, accuracies):
    found = summarise(small(tmp_path / "a.db", accuracies))
    assert (found.front, found.volume, found.walk) == ((), 0.0, ())
    assert len(as_rows(found.axes, found.entries)) == len(accuracies)


def test_codes_are_read_in_the_order_that_the_definition_names_factors_in(tmp_path):
    """A search that stores its choices in an order of its own: kernel has more levels than the
    factor that sorts first.
    """
    choices = {"kernel": ["a", "b", "c"], "groups": ["none"]}
    with closing(Ledger(tmp_path / "a.db")) as ledger:
        Studies(ledger).add("a", definition(choices))
        assert list(Studies(ledger).definition("a")["choices"]) == ["kernel", "groups"]


def test_a_file_with_several_studies_shows_the_newest_or_the_one_that_is_named(tmp_path):
    small(tmp_path / "a.db", [50.0])
    write(
        tmp_path / "a.db",
        "other",
        definition(CHOICES),
        [row(0, 0, 20.0, {"flops": 30_000}, [0, 0])],
    )
    assert (summarise(str(tmp_path / "a.db")).name, summarise(str(tmp_path / "a.db")).others) == (
        "other",
        ("small",),
    )
    assert summarise(str(tmp_path / "a.db"), "small").others == ("other",)
    with pytest.raises(StoreError, match="unknown study 'smal' \\(did you mean 'small'"):
        summarise(str(tmp_path / "a.db"), "smal")


def test_it_is_read_beside_a_writer(tmp_path):
    file = small(tmp_path / "a.db", [50.0, 60.0])
    with closing(sqlite3.connect(file)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("DELETE FROM search_steps")  # never committed
        assert len(summarise(file).entries) == 2


def test_texts_lose_what_a_terminal_would_obey(tmp_path):
    rows = [
        row(n, n, 50.0 + n, {"flops": 20_000 + n}, [0, 0], origin=text, text=text)
        for n, text in enumerate(HOSTILE)
    ]
    found = summarise(
        write(tmp_path / "a.db", "a", definition(CHOICES, title="\x1b]0;title\x07"), rows)
    )
    assert all(text.isprintable() for entry in found.entries for text in (entry.origin, entry.text))
    assert found.title == "\ufffd]0;title\ufffd"
    assert [entry.text for entry in found.entries][:-1] == list(HOSTILE[:-1])


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (
            "UPDATE search_studies SET definition = replace(definition, '4 epochs', '9 epochs')",
            "table search_studies, row made does not match",
        ),
        (
            "UPDATE search_steps SET accuracies = '[99.0]' WHERE number = 3",
            "table search_steps, row made 3 does not match",
        ),
        (
            "UPDATE search_steps SET memory = '{}' WHERE number = 3",
            "table search_steps, row made 3 does not match",
        ),
        (
            "UPDATE search_steps SET trial = 99 WHERE number = 3",
            "table search_steps, row made 3 does not match",
        ),
        ("DELETE FROM search_steps WHERE number = 3", "table search_steps, row made 3 is missing"),
        ("DELETE FROM search_steps WHERE number >= 6", "search_steps, row made 6 is missing"),
        ("DELETE FROM search_steps", "table search_steps, row made 0 is missing"),
        ("DROP TABLE search_steps", "no such table: search_steps"),
    ],
)
def test_a_file_that_was_edited_is_one_line_that_says_where(tmp_path, edit, says):
    file = searched(tmp_path / "a.db", trials=8)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute(edit)
        connection.commit()
    for ask in (summarise, study_effects):
        with pytest.raises(StoreError, match=says) as error:
            ask(file)
        assert "\n" not in str(error.value)


def test_a_damaged_file_of_optunas_is_one_line(tmp_path):
    study = optuna.create_study(
        storage=optuna_file(tmp_path / "a.db"),
        study_name="theirs",
        directions=["maximize", "minimize"],
    )
    study.optimize(lambda trial: (trial.suggest_float("x", 0, 1), 1.0), n_trials=2)
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        connection.execute("DROP TABLE trial_values")
    with pytest.raises(StoreError, match="no such table: trial_values"):
        summarise(f"sqlite:///{tmp_path / 'a.db'}")


def nothing(file):
    pass


def empty(file):
    file.touch()


def no_database(file):
    file.write_text("accuracy,flops\n1,2\n" * 100)


def without_tables(file):
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("VACUUM")


def of_something_else(file):
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE studies (title TEXT)")


def a_ledger(file):
    Ledger(file).close()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (nothing, "is not there"),
        (empty, "holds no study"),
        (no_database, "is not a database"),
        (without_tables, "holds no study"),
        (of_something_else, "is a database of something else: it holds no study"),
        (a_ledger, "holds no study"),
        (lambda file: file.mkdir(), "is a folder, not a database file"),
    ],
)
def test_what_holds_no_study_is_one_line_and_is_left_as_it_was(tmp_path, make, says):
    file = tmp_path / "a b.db"
    make(file)
    before = file.read_bytes() if file.is_file() else None
    for ask in (summarise, study_effects):
        with pytest.raises((StoreError, ConfigError), match=re.escape(says)) as error:
            ask(str(file))
        assert "\n" not in str(error.value)
    assert (file.read_bytes() if file.is_file() else None) == before


def test_a_file_that_is_not_there_ends_in_exit_code_2_and_one_line(tmp_path):
    command = [sys.executable, "-m", "blocksearch", "pareto", tmp_path / "a b.db"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith(f"blocksearch: {tmp_path}/a b.db is not there; ")
    assert ended.stderr.count("\n") == 1


def test_a_url_that_is_none_is_one_line():
    with pytest.raises(StoreError, match="not a database URL"):
        summarise("nosuch://server/study")


def test_the_answer_is_json_with_everything(made, tmp_path):
    command = [
        sys.executable,
        "-m",
        "blocksearch",
        "pareto",
        made,
        "--json",
        "--save",
        tmp_path / "a.csv",
    ]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(ended.stdout)
    assert found["objectives"] == ["accuracy", "flops"]
    assert len(found["hypervolumes"]) == len(found["networks"]) == 40
    assert {n["trial"] for n in found["networks"] if n["front"]} == set(found["front"])
    assert found["hypervolume"] == pytest.approx(found["hypervolumes"][-1])
    lines = (tmp_path / "a.csv").read_text().splitlines()
    ours = "trial,front,measured,expected,expected_low,expected_high,"
    ours += "simultaneous_low,simultaneous_high"
    counts = "factor,seeds,accuracies,early,failures,origin,network,title"
    assert lines[0] == f"{ours},flops,params,activations,peak_activations,{counts}"
    assert len(lines) == 41


@pytest.mark.parametrize(
    ("changes", "trial"),
    [
        ({"rungs": []}, {}),
        ({"title": 5}, {}),
        ({"frame": {"chance": float("nan"), "least": [1.0], "largest": [2.0]}}, {}),
        ({"frame": {"chance": 10.0, "least": [], "largest": []}}, {}),
        ({"wishes": {}}, {}),
        ({"choices": 3}, {}),
        ({}, {"accuracies": (900.0,)}),
        ({}, {"accuracies": (float("nan"),)}),
        ({}, {"accuracies": ("a",)}),
        ({}, {"accuracies": (1.0, 2.0, 3.0)}),
        ({}, {"memory": {}}),
        ({}, {"memory": {"code": [9, 9]}}),
        ({}, {"memory": {"code": [0]}}),
        ({}, {"costs": {}}),
        ({}, {"costs": {"flops": 10**400, "params": 1, "peak": 1}}),
    ],
)
def test_a_study_of_another_shape_is_refused_in_one_line(tmp_path, changes, trial):
    """Its rows have right checksums: whoever writes them can compute those."""
    choices = {"kernel": ["3x3", "1x3+3x1"], "residual": ["none", "add"]}
    rows = [row(0, 0, 50.0, {"flops": 20_000}, [1, 0])]
    file = write(tmp_path / "a.db", "made", definition(choices), rows)
    for name, value in changes.items():
        redefine(file, name, value=value)
    for name, value in trial.items():
        edit(file, "search_steps", name, json.dumps(value))
    with pytest.raises(StoreError) as raised:
        summarise(file)
    assert "row made" in str(raised.value)
    assert "\n" not in str(raised.value)
