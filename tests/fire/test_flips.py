"""A bit that flipped in any row is noticed, or it changes no answer."""

import hashlib
import random
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest

from blocksearch.arch.zoo import TASKS, named_network
from blocksearch.errors import BlocksearchError, StoreError
from blocksearch.runs.ledger import Ledger
from blocksearch.search.trials import Studies
from tests.fire.flips import flip
from tests.runs.test_divergence import diverged
from tests.runs.test_ledger import IMAGES, make_job, make_run, partial
from tests.search.made import definition, row, searched, write

RUNS = ("runs", "find", "reached", "trials")
NETWORKS = ("layers", "described")
TABLES = {  # and which questions their rows answer
    "ledger_meta": ("find", "names"),
    "ledger_networks": NETWORKS,
    "ledger_recipes": ("described", "recipe"),
    "ledger_runs": RUNS,
    "ledger_predictions": RUNS,
    "ledger_divergences": RUNS,
    "ledger_images": ("images",),
    "ledger_reports": ("reports",),
    "ledger_checksums": ("reports", *NETWORKS),
    "search_studies": ("names", "definitions", "trials"),
    "search_steps": ("trials",),
}
LOST = make_job(3)
OTHER = make_job(0, named_network("mobilenet", TASKS["digits"]))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    file = tmp_path_factory.mktemp("whole") / "a.db"
    write_whole(file)
    return file


def write_whole(file):
    """Make a file with a row or more of every kind."""
    searched(file, name="made", trials=8)
    searched(file, name="more", trials=6)
    with closing(Ledger(file)) as ledger:
        for seed in range(3):
            ledger.add_all([(make_job(seed), make_run(make_job(seed), 40.0 + seed))])
        ledger.add_all([(OTHER, partial(OTHER, 1))])
        ledger.add_all([(LOST, diverged(LOST))])
        ledger.add_images(IMAGES)
        ledger.add_report("final", "made", '{"title": "as it was"}')
        ledger.add_report("final front", "made", "[]")
        trained = [run.row for run in ledger.find(make_job(seed).key for seed in range(3)).values()]
    kind = definition([("residual", ["none", "add"])]) | {"rungs": [2]}
    rows = [row(n, n, 1.0, {}, [n % 2], epochs=2) for n in range(3)]
    rows = [replace(own, run=run) for own, run in zip(rows, trained, strict=True)]
    write(file, "trained", kind, rows)


def asked(ledger):
    """Return every question that a file can be asked, each by itself."""
    studies, seeds = Studies(ledger), [make_job(seed).key for seed in range(3)]
    seeds.append(LOST.key)
    keys = [*seeds, OTHER.key]
    return {
        "runs": lambda: sorted(map(str, map(_plain, ledger.runs()))),
        "find": lambda: [_plain(run) for _, run in sorted(ledger.find(seeds).items())],
        "reached": lambda: _plain(ledger.reached(OTHER.key, 1)),
        "layers": lambda: [ledger.layers(key.network) for key in keys],
        "described": lambda: [ledger.described(key) for key in keys],
        "recipe": lambda: [ledger.recipe(key.recipe) for key in keys],
        "images": lambda: [_plain(each) for each in ledger.all_images()],
        "reports": ledger.reports,
        "names": studies.names,
        "definitions": lambda: [studies.definition(name) for name in ("made", "more")],
        "trials": lambda: [studies.trials(name) for name in ("made", "more", "trained")],
    }


def answers(file, questions):
    """Return what a file says to each question: an answer, or an error that it is damaged."""
    try:
        with closing(Ledger(file, create=False)) as ledger:
            asks = asked(ledger)
            return {name: _answered(asks[name]) for name in questions}
    except BlocksearchError as error:
        return dict.fromkeys(questions, error)


def _answered(ask):
    try:
        return ask()
    except BlocksearchError as error:
        return error


def is_sound(file, name, right, found):
    """Whether an answer is the right one, or a line that names the file; a row that is not found
    is made anew.
    """
    match found:
        case BlocksearchError():
            return "\n" not in str(found) and str(file) in str(found)
        case list() if name == "find":
            return all(each in right for each in found)
        case list() if name in ("layers", "texts", "recipe"):
            return found == right or None in found
        case None if name == "reached":
            return True
    return found == right


def _plain(record):
    return record and [
        value.tolist() if isinstance(value, np.ndarray) else str(value)
        for value in vars(record).values()
    ]


def flipped(whole, folder, table, count, seed):
    """Flip so many bits, each in a copy of its own; return those that changed an answer
    silently.
    """
    right = answers(whole, TABLES[table])
    draw, file = random.Random(f"{table} {seed}"), folder / "b.db"
    assert not any(isinstance(answer, BlocksearchError) for answer in right.values())
    silent = []
    for _ in range(count):
        shutil.copy(whole, file)
        what = flip(file, table, draw)
        for name, found in answers(file, TABLES[table]).items():
            if not is_sound(file, name, right[name], found):
                silent.append(f"{name}: {what}")
    return silent


@pytest.mark.parametrize("table", TABLES)
def test_a_flipped_bit_is_noticed_or_changes_nothing(whole, tmp_path, table):
    assert flipped(whole, tmp_path, table, 8, 0) == []


@pytest.mark.slow
@pytest.mark.parametrize("part", range(5))
@pytest.mark.parametrize("table", TABLES)
def test_a_thousand_flipped_bits_are_noticed_or_change_nothing(whole, tmp_path, table, part):
    assert flipped(whole, tmp_path, table, 200, 1 + part) == []


def test_a_run_whose_network_or_recipe_has_no_row_is_not_merged(tmp_path):
    for table in ("ledger_networks", "ledger_recipes"):
        with closing(Ledger(tmp_path / f"{table}.db")) as other:
            other.add_all([(make_job(), make_run(make_job()))])
        with closing(sqlite3.connect(tmp_path / f"{table}.db")) as connection, connection:
            connection.execute(f"DELETE FROM {table}")
        with (
            closing(Ledger(tmp_path / "a.db")) as one,
            closing(Ledger(tmp_path / f"{table}.db")) as other,
        ):
            with pytest.raises(StoreError, match=f"table {table} has no row"):
                one.merge(other)
            assert one.runs() == []


@pytest.mark.parametrize("forged", [False, True])
@pytest.mark.parametrize("text", ["{", "[]", "null", "[" * 100_000, '{"epochs": "x"}', '{"a": 1}'])
def test_a_recipe_that_is_none_is_one_line(tmp_path, text, forged):
    file, job = tmp_path / "a.db", make_job()
    digest = hashlib.sha256(text.encode()).hexdigest() if forged else job.key.recipe
    with closing(Ledger(file)) as ledger:
        ledger.add_all([(job, make_run(job))])
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE ledger_recipes SET digest = ?, text = ?", (digest, text))
    wrong = f"table ledger_recipes, row {digest[:12]}: the recipe"
    with closing(Ledger(file)) as ledger, pytest.raises(StoreError, match=wrong):
        ledger.recipe(digest)
