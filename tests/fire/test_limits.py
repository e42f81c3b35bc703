"""Little memory, few open files, a full device, and another command that stands still: each is a
line, with the right cause.
"""

import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from blocksearch.errors import StoreError
from blocksearch.search import begun

ABLATE = ["ablate", "--factor", "residual", "--dataset", "digits", "--max-images", "200", "--quiet"]
SHOWN = 300  # letters of a line at most


def limited(folder, words, limit, most):
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.run(
        [sys.executable, "-m", "blocksearch", *words],
        check=False, cwd=folder, env=environment, capture_output=True, text=True, timeout=300,
        preexec_fn=lambda: resource.setrlimit(limit, (most, most)),
    )  # fmt: skip


@pytest.mark.parametrize("memory", [120_000_000, 260_000_000, 499_999_999])
def test_with_less_memory_than_libraries_need_it_does_not_begin(tmp_path, memory):
    """As they are loaded some of them wait for it without end, and hear no signal."""
    done = limited(tmp_path, ["list"], resource.RLIMIT_AS, memory)
    assert done.returncode == 2
    assert done.stderr == (
        f"blocksearch: a process may have {memory:,} bytes here (ulimit -v), and needs "
        "500,000,000 at least\n"
    )


@pytest.mark.slow
@pytest.mark.parametrize("memory", [520_000_000, 640_000_000])
def test_workers_that_cannot_load_torch_are_named_as_the_cause(tmp_path, memory):
    done = limited(tmp_path, [*ABLATE, "--db", "a.db"], resource.RLIMIT_AS, memory)
    assert done.returncode == 2
    *_, last = lines = done.stderr.splitlines()
    assert re.fullmatch(
        "blocksearch: (its worker process died 5 times|there is not enough).*", last
    )
    assert max(map(len, lines)) <= SHOWN
    assert not re.search("Traceback|Exception|^  File", done.stderr, re.MULTILINE)


@pytest.mark.parametrize("files", [12, 20])
def test_too_few_open_files_are_no_answer_that_cannot_be_written(tmp_path, files):
    done = limited(tmp_path, [*ABLATE, "--db", "a.db"], resource.RLIMIT_NOFILE, files)
    assert done.returncode == 2
    assert "the answer cannot be written" not in done.stderr
    assert re.fullmatch(r"blocksearch: .*[Oo]pen.* files?.*\n", done.stderr)


def test_a_full_device_for_errors_does_not_change_the_code(tmp_path):
    command = [sys.executable, "-m", "blocksearch", "cost", "no network"]
    with Path("/dev/full").open("w") as full:
        assert subprocess.run(command, check=False, stderr=full, cwd=tmp_path).returncode == 2


def test_a_search_that_stands_still_as_it_opens_a_database_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(begun, "PATIENCE", 0.1)
    held = tmp_path / "a.db.tables.lock"
    with (
        FileLock(held),
        pytest.raises(StoreError, match=rf"another search has been opening it .*{held.name}"),
        begun.making_tables(str(tmp_path / "a.db")),
    ):
        pass
    with begun.making_tables(str(tmp_path / "a.db")):
        assert held.exists()
