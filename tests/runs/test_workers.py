"""Real worker processes: what they train is what the caller would, one that dies loses one training, none outlives its driver."""

import os
import signal
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from blocksearch.errors import DataError
from blocksearch.experiments.plan import Request, conditions
from blocksearch.runs.execute import Watch, ensure
from blocksearch.runs.ledger import Ledger
from blocksearch.runs.workers import Workers
from blocksearch.space.named import SETTINGS, named_network
from blocksearch.training.protocol import Protocol, prepare
from blocksearch.training.recipe import Recipe
from blocksearch.training.train import train

NETWORK = named_network("mobilenet", replace(SETTINGS["digits"], widths=(4, 6, 8)))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


def conditions_at(root, tmp_path, epochs=1):
    recipe = Recipe(epochs=epochs, batch=64)
    return conditions(Request(Protocol("digits", images=256), recipe, root, str(tmp_path / "a.db"), 2), NETWORK)


class Heard(Watch):
    """Keeps what it heard."""

    def __init__(self):
        self.plans, self.seeds = [], []

    def planned(self, plan):
        self.plans.append((len(plan.missing), plan.known, plan.seconds))

    def finished(self, job, run):
        self.seeds.append(job.spec.seed)


@pytest.mark.slow
def test_only_what_is_missing_is_trained_and_it_is_what_one_process_would_train(root, tmp_path):
    shared, watch = conditions_at(root, tmp_path), Heard()
    ensure(shared.jobs([NETWORK], (0, 1)), str(tmp_path / "a.db"), 2, watch)
    runs = ensure(shared.jobs([NETWORK], (0, 1, 2)), str(tmp_path / "a.db"), 2, watch)
    assert [plan[:2] for plan in watch.plans] == [(2, 0), (1, 2)]
    assert watch.plans[0][2] > 0
    assert sorted(watch.seeds) == [0, 1, 2]
    alone = train(NETWORK.layers, prepare(shared.protocol, root), shared.recipe, seed=2)
    run = next(run for spec, run in runs.items() if spec.seed == 2)
    assert run.accuracies == alone.accuracies
    assert (run.right == alone.right).all()
    assert {"torch", "numpy", "commit", "threads", "device", "date"} <= set(run.provenance)


def workers_of(pid: int) -> list[psutil.Process]:
    """Worker processes of a driver: its children that Python's spawn machinery started."""
    return [child for child in psutil.Process(pid).children() if is_worker(child)]


def is_worker(process: psutil.Process) -> bool:
    try:
        return any("multiprocessing.spawn" in part for part in process.cmdline())
    except psutil.Error:  # it ended meanwhile
        return False


@pytest.mark.slow
def test_a_killed_worker_loses_one_training_which_is_tried_again(root, tmp_path):
    jobs, finished = conditions_at(root, tmp_path).jobs([NETWORK], range(6)), []
    with Workers(2) as workers:

        def done(job, run):
            finished.append((job.spec.seed, run.state))
            if len(finished) == 1:
                workers_of(os.getpid())[0].kill()

        workers.train(jobs, done)
    assert sorted(finished) == [(seed, "complete") for seed in range(6)]
    assert not workers_of(os.getpid())


@pytest.mark.slow
def test_a_training_that_kills_its_worker_twice_is_a_row_with_its_reason(root, tmp_path):
    shared = conditions_at(root, tmp_path, epochs=10_000)
    (job,), failed = shared.jobs([NETWORK], [0]), []
    with Workers(1) as workers:
        pool = workers._pools[0]
        pool.submit(os.getpid).result()
        (tmp_path / "killer.py").write_text(_KILLER)
        environment = os.environ | {"PYTHONPATH": str(Path.cwd())}
        killer = subprocess.Popen([sys.executable, tmp_path / "killer.py", str(os.getpid())], env=environment)
        workers.train([job], lambda job, run: failed.append((run.state, run.reason)))
        assert killer.wait() == 0
    assert failed == [("failed", "its worker process died 2 times (killed, or out of memory)")]


# Kills each worker of the given process once it has lived for two seconds, two of them.
_KILLER = """
import sys, time
from tests.runs.test_workers import workers_of
killed = set()
while len(killed) < 2:
    time.sleep(0.2)
    for worker in workers_of(int(sys.argv[1])):
        if time.time() - worker.create_time() >= 2 and worker.pid not in killed and len(killed) < 2:
            killed.add(worker.pid)
            worker.kill()
"""


@pytest.mark.slow
def test_an_exception_in_a_training_is_a_row_with_its_reason(root, tmp_path):
    (job,), failed = conditions_at(root, tmp_path).jobs([NETWORK], [0]), []
    broken = replace(job, layers=job.layers[:-1])
    with Workers(1) as workers:
        workers.train([broken], lambda job, run: failed.append((run.state, run.reason)))
    ((state, reason),) = failed
    assert state == "failed"
    assert "Error: " in reason


@pytest.mark.slow
def test_images_that_changed_meanwhile_stop_the_experiment(root, tmp_path):
    (job,) = conditions_at(root, tmp_path).jobs([NETWORK], [0])
    with Workers(1) as workers, pytest.raises(DataError, match="the images of digits changed"):
        workers.train([replace(job, spec=replace(job.spec, data="0" * 64))], lambda job, run: None)


@pytest.mark.slow
def test_a_killed_driver_leaves_no_worker_and_loses_no_finished_training(root, tmp_path):
    """kill -9 the driver in the middle; its workers end, its rows stay, and the rest is trained by the next."""
    script = (
        "import sys; from pathlib import Path; from tests.runs.test_workers import *\n"
        "if __name__ == '__main__':\n"
        "    class Say(Watch):\n"
        "        def finished(self, job, run): print(job.spec.seed, flush=True)\n"
        f"    shared = conditions_at(Path({str(root)!r}), Path({str(tmp_path)!r}))\n"
        f"    ensure(shared.jobs([NETWORK], range(40)), {str(tmp_path / 'a.db')!r}, 2, Say())\n"
    )
    (tmp_path / "driver.py").write_text(script)
    environment = os.environ | {"PYTHONPATH": str(Path.cwd())}
    with subprocess.Popen([sys.executable, tmp_path / "driver.py"], stdout=subprocess.PIPE, text=True, env=environment) as driver:
        said = [int(driver.stdout.readline()) for _ in range(3)]
        workers = workers_of(driver.pid)
        driver.send_signal(signal.SIGKILL)
    assert len(workers) == 2
    assert not psutil.wait_procs(workers, timeout=10)[1]
    with closing(Ledger(tmp_path / "a.db", create=False)) as ledger:
        stored = {run.spec.seed for run in ledger.runs()}
    assert set(said) <= stored
    watch = Heard()
    shared = conditions_at(root, tmp_path)
    ensure(shared.jobs([NETWORK], range(len(stored) + 1)), str(tmp_path / "a.db"), 1, watch)
    assert not set(watch.seeds) & stored
