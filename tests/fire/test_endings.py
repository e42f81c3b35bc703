"""A command that is asked to end does so at once, in its own words."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

ABLATE = ["ablate", "--factor", "residual", "--dataset", "digits", "--epochs", "50", "--quiet"]


def listening():
    """Hear signals also where whoever started the tests ignores them, as `nohup` does."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def begun(folder, **own):
    own = {"preexec_fn": listening} | own
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-m", "blocksearch", *ABLATE, "--db", "a.db", "--workers", "2"]
    return subprocess.Popen(
        command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True, **own
    )


def workers_of(process):
    """Wait for workers, which then import torch for seconds."""
    while process.poll() is None:
        found = [
            each
            for each in psutil.Process(process.pid).children()
            if "spawn_main" in " ".join(each.cmdline())
        ]
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(process.communicate()[1])


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("times", [1, 2])
def test_it_ends_while_workers_import_torch(tmp_path, how, times):
    process = begun(tmp_path)
    workers = workers_of(process)
    for _ in range(times):
        process.send_signal(how)
        time.sleep(0.1)
    said = process.communicate(timeout=30)[1]
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert "resource_tracker" not in said
    assert ("the terminal is gone" in said) == (how == signal.SIGHUP)
    assert not [each for each in workers if each.is_running() and each.status() != "zombie"]


@pytest.mark.slow
def test_a_killed_driver_leaves_no_noise_and_no_worker(tmp_path):
    process = begun(tmp_path)
    workers = workers_of(process)
    process.kill()
    said = process.communicate(timeout=60)[1]
    assert said == ""
    assert psutil.wait_procs(workers, timeout=30)[1] == []


STRUCK = """
import os, signal, sys
import multiprocessing.popen_spawn_posix as popen
from blocksearch.runs.executor import Workers

def struck(function, of):
    def called(*given):
        made = function(*given)
        if of(given):
            os.kill(os.getpid(), signal.SIGKILL)
        return made
    return called

if sys.argv[1] == "before":
    spawn = popen.util.spawnv_passfds
    popen.util.spawnv_passfds = struck(spawn, lambda given: "spawn_main" in str(given))
else:
    popen.Popen._launch = struck(popen.Popen._launch, lambda given: True)
Workers(1).place
"""


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_worker_whose_driver_is_killed_while_it_starts_says_nothing(when):
    """It is killed before or after it has told the worker what to do."""
    command = [sys.executable, "-c", STRUCK, when]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGKILL, "")


EARLY = """
import os, runpy, signal, sys

def heard(event, arguments):
    if event == "import" and arguments[0] == sys.argv[1]:
        os.kill(os.getpid(), signal.SIGINT)

sys.addaudithook(heard)
runpy.run_module("blocksearch", run_name="__main__")
"""


@pytest.mark.parametrize("loading", ["blocksearch.cli", "typer", "blocksearch.cli.commands"])
def test_ctrl_c_before_it_has_begun_is_an_end_without_a_word(loading):
    done = subprocess.run(
        [sys.executable, "-c", EARLY, loading],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        preexec_fn=listening,
    )
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")


SWALLOWED = """
import os, signal, sqlite3, time
import sqlalchemy as sa
from blocksearch.cli import _ending_as_after_ctrl_c

def interrupted():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.1)

class Removed:
    def __del__(self):
        interrupted()

class Closed(sqlite3.Connection):
    def close(self):
        interrupted()

try:
    with _ending_as_after_ctrl_c():
        if {in_del}:
            Removed()
        else:
            own = lambda: sqlite3.connect(":memory:", factory=Closed)
            sa.create_engine("sqlite://", creator=own, poolclass=sa.pool.NullPool).connect().close()
        time.sleep(30)
except KeyboardInterrupt:
    print("ended")
"""


@pytest.mark.parametrize("in_del", [True, False])
def test_ctrl_c_where_python_or_a_library_swallows_it_ends_the_command_without_a_word(in_del):
    """While an object is removed Python cannot raise; SQLAlchemy logs whatever a close raises."""
    done = subprocess.run(
        [sys.executable, "-c", SWALLOWED.replace("{in_del}", str(in_del))],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=listening,
        timeout=25,
    )
    assert (done.stdout, done.stderr) == ("ended\n", "")


@pytest.mark.slow
def test_what_is_ignored_stays_so(tmp_path):
    process = begun(
        tmp_path,
        preexec_fn=lambda: (listening(), signal.signal(signal.SIGHUP, signal.SIG_IGN)),
    )
    workers_of(process)
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=1)
    process.send_signal(signal.SIGINT)
    assert "Traceback" not in process.communicate(timeout=30)[1]
    assert process.returncode == 130
