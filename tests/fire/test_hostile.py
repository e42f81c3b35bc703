"""A stranger's rows, with right checksums: a right answer, or one line with file, table and row."""

import json
import shutil
import sqlite3
import sys
import warnings
from contextlib import closing
from pathlib import Path

import optuna
import pytest

from blocksearch import cli
from blocksearch.runs.ledger import Ledger
from tests.fire.hostile import DEEP, HUGE, edit, redefine
from tests.made import optuna_file
from tests.runs.test_ledger import make_job, make_run
from tests.search.made import searched

SHIPPED = Path(__file__).parents[2] / "studies" / "first-answer.db"
ABLATE = [
    "ablate",
    "--block",
    "mobilenet",
    "--factor",
    "bottleneck",
    "--values",
    "8",
    "--max-images",
    "4000",
    "--epochs",
    "4",
]


@pytest.fixture
def ask(monkeypatch, capsys):
    """Run a command in this process, where what is raised is seen; return its code and error."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["blocksearch", *map(str, arguments)])
        code = cli._run()
        said = capsys.readouterr().err
        if code:
            assert code == 2
            assert said.count("\n") == 1, said
            assert len(said) < 340, said
        return code, said

    return run


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    searched(folder / "study.db", trials=8)
    with closing(Ledger(folder / "ledger.db")) as ledger:
        for seed in range(2):
            ledger.add_all([(make_job(seed), make_run(make_job(seed)))])
    return folder


STEPS = {
    "accuracies": ["null", "7", "{}", "[[3]]", '["3"]', "[true]", "[-7.5]", "[1e3]", "[NaN]", DEEP],
    "costs": [
        "[]",
        "null",
        '{"flops": "9"}',
        f'{{"flops": {HUGE}}}',
        '{"flops": 1e300}',
        '{"flops": Infinity}',
        "{}",
    ],
    "memory": ["{}", "[]", '{"code": 3}', '{"code": [1]}', '{"code": ["x"]}', '{"code": [1e9]}'],
    "state": ["done", "", 3],
    "kind": ["NEW", b"new"],
    "epochs": ["ten", 0, -1, 2**40, 1.5],
    "seed": ["s", -1, 0.5],
    "trial": ["t", -3, 2**50],
    "origin": [b"\xff\xfe", 9],
    "text": [b"\x00", 1],
}
DEFINITIONS = [
    (("frame",), None),
    (("frame",), []),
    (("frame", "chance"), "high"),
    (("frame", "chance"), 100),
    (("frame", "least"), [1.0, 2.0]),
    (("frame", "largest"), "many"),
    (("rungs",), []),
    (("rungs",), [3, 2]),
    (("rungs",), ["4"]),
    (("baseline",), "effnet"),
    (("baseline",), HUGE),
    (("choices",), {}),
    (("choices",), [1]),
    (("choices",), {"kernel": []}),
    (("choices", "kernel"), "3x3"),
    (("wishes",), 5),
    (("wishes", "objectives"), ["accuracy"]),
    (("wishes", "objectives"), ["accuracy", "beauty"]),
    (("wishes", "objectives"), {"flops": 1}),
    (("wishes", "functions"), {"beauty": {}}),
    (("wishes", "functions"), ["beauty"]),
    (("wishes", "lag"), "four"),
    (("wishes", "sampler"), 12),
    (("budgets",), [f"flops <= {'9' * 5000}"]),
    (("budgets",), ["flops is small"]),
    (("budgets",), "flops <= 9"),
    (("title",), ["a"]),
    (("recipe",), "{"),
]


def reads(ask, file, folder):
    """Ask everything that is read from a study; say how many of the answers came."""
    saved = [("--save", folder / name) for name in ("a.html", "a.csv", "a.svg", "a.md")]
    asked = [["pareto", file, *options] for options in ((), ("--json",), *saved)]
    codes = {
        ask(*each)[0] for each in [*asked, ["importance", file], ["importance", file, "--json"]]
    }
    assert len(codes) == 1
    return codes.pop()


@pytest.mark.parametrize(
    ("column", "value"), [(name, value) for name, values in STEPS.items() for value in values]
)
def test_a_trial_of_another_shape_is_one_line(made, tmp_path, ask, column, value):
    file = shutil.copy(made / "study.db", tmp_path / "a.db")
    edit(file, "search_steps", column, value, "number = 5")
    code, said = ask("pareto", file, "--json")
    assert code == 2
    assert f"{file}: table search_steps, row made 5" in said
    assert ask("importance", file)[0] == 2


@pytest.mark.parametrize(("path", "value"), DEFINITIONS)
def test_a_definition_of_another_shape_is_one_line(made, tmp_path, ask, path, value):
    file = shutil.copy(made / "study.db", tmp_path / "a.db")
    redefine(file, *path, value=value)
    code, said = ask("pareto", file, "--save", tmp_path / "a.svg")
    assert code == 2
    assert f"{file}: table search_" in said
    assert ask("importance", file)[0] == 2
    assert ask("test", file)[0] == 2


@pytest.mark.parametrize("recipe", ['{"epochs": "x"}', '{"beauty": 1}', "{}"])
def test_a_recipe_that_is_none_is_no_way_to_test(made, tmp_path, ask, recipe):
    file = shutil.copy(made / "study.db", tmp_path / "a.db")
    redefine(file, "recipe", value=recipe)
    assert ask("pareto", file)[0] == 0  # which needs none
    assert ask("test", file)[0] == 2


@pytest.mark.slow
@pytest.mark.parametrize(("path", "value"), DEFINITIONS[::4])
def test_a_search_that_goes_on_from_another_shape_is_one_line(made, tmp_path, ask, path, value):
    file = shutil.copy(made / "study.db", tmp_path / "a.db")
    redefine(file, *path, value=value)
    assert ask("search", "tiny", "--dataset", "digits", "--db", file, "--name", "made")[0] == 2


@pytest.mark.parametrize(
    ("statements", "wrong"),
    [
        ("DELETE FROM search_studies", "table search_steps, row section3-gtsrb 0 is of no study"),
        ("DROP TABLE search_studies", "table search_steps, row section3-gtsrb 0 is of no study"),
        ("DELETE FROM search_studies; DELETE FROM search_steps", "no row section3-gtsrb, of which"),
        ("DROP TABLE search_studies; DROP TABLE search_steps", "no row section3-gtsrb, of which"),
    ],
)
def test_a_study_that_lost_its_row_is_not_optunas(tmp_path, ask, statements, wrong):
    file = shutil.copy(SHIPPED.with_name("gtsrb-search.db"), tmp_path / "a.db")
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(statements)
    for act in ("pareto", "importance", "test"):
        assert f"{file}: table search_" in ask(act, file)[1]
        assert wrong in ask(act, file, "--name", "section3-gtsrb")[1]
    assert wrong in ask("search", "tiny", "--db", file, "--name", "section3-gtsrb")[1]


def test_steps_that_lost_their_study_are_noticed_beside_another(made, tmp_path, ask):
    file = shutil.copy(made / "study.db", tmp_path / "a.db")
    searched(file, name="more", trials=6)
    assert ask("pareto", file, "--name", "made")[0] == 0
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("DELETE FROM search_studies WHERE name = 'more'")
    assert "row more 0 is of no study" in ask("pareto", file, "--name", "made")[1]
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("DELETE FROM search_steps WHERE study = 'more'")
    assert "row more is of no study" in ask("pareto", file, "--name", "made")[1]


def test_a_study_made_at_no_time_is_one_line(made, tmp_path, ask):
    file = shutil.copy(made / "study.db", tmp_path / "a.db")
    edit(file, "search_studies", "created", b"\x01")
    assert "table search_studies, row made: created must be a text" in ask("pareto", file)[1]


@pytest.mark.parametrize("text", ["[]", "{", DEEP, '"x"', "", "null", "NaN"])
def test_a_definition_that_is_none_is_one_line(made, tmp_path, ask, text):
    file = shutil.copy(made / "study.db", tmp_path / "a.db")
    edit(file, "search_studies", "definition", text)
    assert "row made" in ask("pareto", file)[1]


def test_numbers_that_are_large_are_answered(made, tmp_path, ask):
    file = shutil.copy(made / "study.db", tmp_path / "a.db")
    with closing(sqlite3.connect(file)) as connection:
        (costs,) = connection.execute("SELECT costs FROM search_steps").fetchone()
    edit(file, "search_steps", "costs", json.dumps(json.loads(costs) | {"flops": 1e17}))
    assert reads(ask, file, tmp_path) == 0


RUNS = {
    "accuracies": ["[]", "5", "[", '["a"]', "[900]", "[-7, 3]", "[null]", "[NaN, 1]", "[1, 2, 3]"],
    "losses": ["5", "{", "[Infinity]", '["0"]', DEEP],
    "right": ["text", b"", b"\x01" * 9],
    "images": [2**40, -1, "many", 10**8],
    "provenance": [
        *("[]", '{"torch": 2}', "null", '{"device": {"a": "b"}}', "{", DEEP, '{"mode": "x"}'),
        *(f'{{"seeds": "{seeds}"}}' for seeds in ("a,0", "0,0", "", "1", "0," + "9" * 5000)),
    ],
    "epoch_to": [-2, "x", 0, 2**62],
    "epoch_from": [-1, 9],
    "seconds": ["long", -1.0],
    "state": ["finished", b"complete"],
    "reason": [7, b"\xff"],
    "seed": ["zero", -4],
}


@pytest.mark.parametrize(
    ("column", "value"),
    [(name, value) for name, values in RUNS.items() for value in values],
)
def test_a_run_of_another_shape_is_one_line(made, tmp_path, ask, column, value):
    file = shutil.copy(made / "ledger.db", tmp_path / "a.db")
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("DELETE FROM ledger_predictions")  # their key is the old checksum
    edit(file, "ledger_runs", column, value)
    Ledger(tmp_path / "into.db").close()
    code, said = ask("merge", tmp_path / "into.db", file)
    assert (code, f"{file}: table ledger_runs, row 1" in said) == (2, True), said
    assert ask("merge", file, tmp_path / "into.db")[0] == 2


@pytest.mark.parametrize("table", ["ledger_networks", "ledger_recipes"])
def test_what_a_run_is_of_and_is_missing_is_one_line(made, tmp_path, ask, table):
    file = shutil.copy(made / "ledger.db", tmp_path / "a.db")
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute(f"DELETE FROM {table}")
    Ledger(tmp_path / "into.db").close()
    code, said = ask("merge", tmp_path / "into.db", file, "--json")
    assert (code, f"{file}: table {table} has no row" in said) == (2, True)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("accuracies", "[91.0]"),
        ("accuracies", "{}"),
        ("provenance", '{"device": "cpu", "torch": 2}'),
        ("right", b"\x00"),
        ("images", 2**50),
    ],
)
def test_an_ablation_of_such_runs_is_one_line(tmp_path, ask, column, value):
    file = shutil.copy(SHIPPED, tmp_path / "a.db")
    for options in ((), ("--json",), ("--save", tmp_path / "a.html")):
        shutil.copy(SHIPPED, file)
        assert ask(*ABLATE, "--batch", 32, "--db", file, "--quiet", *options)[0] == 0
        edit(file, "ledger_runs", column, value)
        assert ask(*ABLATE, "--batch", 32, "--db", file, "--quiet", *options)[0] == 2


def theirs(file):
    """Make a study with Optuna alone."""
    storage = optuna_file(file)
    study = optuna.create_study(
        storage=storage, study_name="t", directions=["maximize", "minimize"]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names(["accuracy", "flops"])
    study.optimize(
        lambda trial: (trial.suggest_categorical("k", ["a", "b"]) == "a", float(trial.number)),
        n_trials=4,
    )
    return file


OPTUNAS = [
    "DELETE FROM trial_values WHERE trial_id = 2",
    "DELETE FROM trial_values WHERE trial_id = 2 AND objective = 1",
    "INSERT INTO trial_values (trial_id, objective, value, value_type) VALUES (2, 2, 1, 'FINITE')",
    "UPDATE trial_values SET value = 'x' WHERE trial_id = 2",
    "UPDATE trial_values SET value_type = 'HUGE' WHERE trial_id = 2",
    "UPDATE trial_values SET value = 1e200 WHERE trial_id = 2",
    "UPDATE trial_values SET value = -1e200 WHERE trial_id = 3",
    "UPDATE trials SET state = 'GONE' WHERE trial_id = 2",
    "UPDATE trials SET number = 'x' WHERE trial_id = 2",
    "UPDATE trials SET datetime_start = 'noon' WHERE trial_id = 2",
    "UPDATE study_directions SET direction = 'UP'",
    "DELETE FROM study_directions WHERE objective = 1",
    "DELETE FROM study_directions",
    "UPDATE trial_params SET param_value = 99",
    "UPDATE trial_params SET param_value = 'x'",
    "UPDATE trial_params SET distribution_json = '{'",
    "UPDATE trial_params SET distribution_json = '[]'",
    """UPDATE trial_params SET distribution_json = '{"name": "No", "attributes": {}}'""",
    "UPDATE study_system_attributes SET value_json = '5'",
    "UPDATE study_system_attributes SET value_json = '{'",
    """UPDATE study_system_attributes SET value_json = '["a"]'""",
    """UPDATE study_system_attributes SET value_json = '[1, {"b": 2}]'""",
    "DELETE FROM version_info",
    "UPDATE version_info SET schema_version = 99",
    "DELETE FROM alembic_version",
    "UPDATE alembic_version SET version_num = 'v9.9.a'",
    "INSERT INTO alembic_version VALUES ('v1.3.0.a')",
    "UPDATE studies SET study_name = x'00ff00'",
    "UPDATE studies SET study_name = ''",
    "DELETE FROM studies",
    "DROP TABLE trial_params",
]


@pytest.fixture(scope="module")
def optunas(tmp_path_factory):
    return theirs(tmp_path_factory.mktemp("theirs") / "a.db")


@pytest.mark.parametrize(
    "statement",
    [pytest.param(each, marks=pytest.mark.slow if n % 4 else ()) for n, each in enumerate(OPTUNAS)],
)
def test_a_foreign_study_of_another_shape_is_answered_or_one_line(
    optunas, tmp_path, ask, statement
):
    file = shutil.copy(optunas, tmp_path / "a.db")
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute(statement)
    saved = [("--save", tmp_path / name) for name in ("a.html", "a.csv", "a.svg")]
    for options in ((), ("--json",), *saved):
        code, said = ask("pareto", file, *options)
        assert code in (0, 2)
        assert not code or str(file) in said
        assert "not a database URL" not in said
