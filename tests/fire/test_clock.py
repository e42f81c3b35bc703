"""A system's clock that is set back or forward changes no order and no answer."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SEARCHES = """
import json
from datetime import UTC, datetime
import numpy as np
import sitecustomize
from blocksearch import Grammar, Shape, Study, Task, cost, front

DAY = 86_400
task = Task(input=Shape(1, 16, 16), widths=(4, 8), classes=4)
factors = {"bottleneck": ["reduce(1)", "reduce(2)", "reduce(4)"], "kernel": ["3x3", "1x3+3x1"]}
grammar = Grammar(task, residual=["none", "add"], **factors)

def objective(network, seed):
    return 40 + 8 * np.log10(cost(network.layers).flops) + seed / 10

def search(name, trials, clock):
    sitecustomize.ahead = clock * DAY
    study = Study(grammar, "a.db", objective=objective, name=name)
    entries = study.search(trials=trials).found.entries
    newest = front("a.db").table().partition(":")[0]
    return [datetime.now(UTC).year, newest, [[each.text, each.mean] for each in entries]]

clocks = (0, -1, 400, -4000, -3999)
print(json.dumps({
    "goes on": [search("stepped", 2 + each, clock) for each, clock in enumerate(clocks)],
    "quiet": [search("quiet", 2 + each, -4000) for each in range(len(clocks))],
    "begun": [search(f"study-{each}", 2, clock) for each, clock in enumerate(clocks)],
}))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    path = os.pathsep.join(map(str, (HERE / "hook", HERE.parents[1])))
    done = subprocess.run(
        [sys.executable, "-c", SEARCHES],
        cwd=tmp_path_factory.mktemp("clock"),
        env=os.environ | {"PYTHONPATH": path, "BLOCKSEARCH_CLOCK": "stepped"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_the_study_that_was_begun_last_is_shown(found):
    years, newest, _ = zip(*found["begun"], strict=True)
    assert len(set(years)) > 2  # the clock was set indeed
    assert newest == ("study-0", "study-1", "study-2", "study-3", "study-4")


@pytest.mark.slow
def test_a_search_goes_on_as_if_nothing_had_happened(found):
    assert [each[2] for each in found["goes on"]] == [each[2] for each in found["quiet"]]
    assert len(found["quiet"][-1][2]) > 5
