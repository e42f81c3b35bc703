"""A name of a database that is not there is answered by one that may be meant; answers from stored
runs are pointed to where the package is installed without them.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import blocksearch as bs
from blocksearch.errors import ConfigError, MissingError
from blocksearch.runs.location import Location
from blocksearch.runs.peek import contents
from blocksearch.runs.shipped import NAMES, WITH_STUDIES
from blocksearch.search.trials import TABLES

HERE = Path(__file__).parents[2]


def test_the_shipped_databases_are_named_and_those_with_a_search(tmp_path):
    files = sorted((HERE / "studies").glob("*.db"))
    assert {file.name for file in files} == {*NAMES}
    copies = [Path(shutil.copy(file, tmp_path)) for file in files]
    searched = [file.name for file in copies if contents(str(file)).tables & TABLES]
    assert WITH_STUDIES.startswith(" and ".join(f"studies/{name}" for name in searched))


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ("studies/svhn.db", r"did you mean '\S+studies/svhn.db'\?"),
        ("gtsrb_search.db", r"did you mean '\S+studies/gtsrb-search.db'\?"),
        ("mine", "did you mean 'results/mine.db'?"),
        ("results/mini.bd", "did you mean 'results/mine.db'?"),
        ("elsewhere/another.db", "known: 'results/mine.db', '"),
    ],
)
def test_a_database_that_is_not_there_is_answered_by_the_nearest(
    asked, says, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Path("results").mkdir()
    Path("results/mine.db").touch()
    with pytest.raises(MissingError, match=rf"^{asked} is not there; {says}"):
        bs.front(asked)
    assert not Path(asked).exists()


@pytest.fixture
def installed(tmp_path):
    """The package as a wheel holds it, alone in a folder; commands run in an empty one."""
    shutil.copytree(HERE / "blocksearch", tmp_path / "site" / "blocksearch")
    (tmp_path / "empty").mkdir()

    def run(*arguments):
        paths = {"PYTHONPATH": str(tmp_path / "site"), "BLOCKSEARCH_DATA": "nowhere"}
        command = [sys.executable, "-m", "blocksearch", *arguments]
        where = {"cwd": tmp_path / "empty", "env": os.environ | paths}
        done = subprocess.run(command, check=False, capture_output=True, text=True, **where)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        return done.stderr

    return run


@pytest.mark.slow
def test_an_installed_package_says_where_the_shipped_answers_are(installed, tmp_path):
    said = installed("ablate", "--factor", "residual", "--dataset", "gtsrb", "--seeds", "8")
    assert "`blocksearch data fetch gtsrb` downloads it" in said
    assert "; for stored answers, copy studies/gtsrb.db of blocksearch's repository to ./" in said
    said = installed("reproduce", "table4", "--data-root", tmp_path / ("no-such-folder-" * 9))
    assert said.startswith("blocksearch: Table 4: not run, ")
    assert said.endswith(
        "; `blocksearch data fetch gtsrb` downloads it, and BLOCKSEARCH_DATA names another folder; "
        "for stored answers, copy studies/gtsrb.db of blocksearch's repository to ./studies\n"
    )
    said = installed("pareto", "studies/svhn.bd")
    assert "did you mean studies/svhn.db of blocksearch's repository?" in said
    assert not list((tmp_path / "empty").iterdir())
    (tmp_path / "empty" / "results").mkdir()
    (tmp_path / "empty" / "results" / "gtsrb.db").touch()  # a similar name, and not that one
    said = installed("pareto", "studies/gtsrb-search.db")
    assert "did you mean studies/gtsrb-search.db of blocksearch's repository?" in said
    assert "did you mean 'results/gtsrb.db'?" in installed("pareto", "studies/gtsrb.db")


@pytest.mark.parametrize("made", ["db", "keep_weights"])
def test_a_misspelt_path_makes_no_folder(made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="is saved in a folder that exists, but got typo/deep/x"):
        bs.train("effnet", dataset="digits", dry_run=True, **{made: "typo/deep/x"})
    assert not list(tmp_path.iterdir())


def test_a_study_of_a_function_makes_no_folder_but_results(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    grammar = bs.Grammar("digits", residual=["none", "add"])

    def search(file):
        return bs.Study(grammar, file, objective=lambda *_: 50.0, references="none").search(1)

    with pytest.raises(ConfigError, match=r"a folder that exists, but got typo/x\.db"):
        search("typo/x.db")
    assert not list(tmp_path.iterdir())
    assert search("results/x.db").found.entries
    bs.front("results/x.db").save("results/front.md")
    assert Location("results/x.db").file.exists()
