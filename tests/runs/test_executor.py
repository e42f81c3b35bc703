"""Real worker processes: what they train is what the caller would, one that dies loses one
training, none outlives its driver.
"""

import math
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from functools import partial
from multiprocessing import get_context, spawn
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file

from blocksearch.arch.cost import cost
from blocksearch.arch.zoo import NAMED, TASKS, named_network
from blocksearch.data.splits import Split, prepare
from blocksearch.errors import DataError, StoreError
from blocksearch.runs.callback import Callback
from blocksearch.runs.executor import Serial
from blocksearch.runs.ledger import Ledger
from blocksearch.runs.plan import RunSettings, experiment
from blocksearch.runs.processes import Workers, _submit
from blocksearch.runs.records import Group, Resources, RunKey, RunState
from blocksearch.runs.scheduler import collect, divide, ensure, fused, plan
from blocksearch.runs.worker import train_group
from blocksearch.training.batches import gather
from blocksearch.training.build import build
from blocksearch.training.recipe import Recipe
from blocksearch.training.step import predict
from blocksearch.training.timing import _median_seconds
from blocksearch.training.trainer import Training
from tests.ablation.test_study import made_run
from tests.training.drawn import train

NETWORK = named_network("mobilenet", replace(TASKS["digits"], widths=(4, 6, 8)))


@pytest.fixture(autouse=True)
def one_thread():
    """Workers have one thread, and the number of threads is part of the bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def conditions_at(root, tmp_path, epochs=1):
    recipe = Recipe(epochs=epochs, batch=64)
    return experiment(
        RunSettings(
            protocol=Split("digits", images=256),
            recipe=recipe,
            root=root,
            ledger=str(tmp_path / "a.db"),
            workers=2,
        ),
        NETWORK,
    )


def resources_at(folder, workers=2):
    return Resources(ledger=str(folder / "a.db"), workers=workers, device="cpu")


class Heard(Callback):
    """Keeps what it heard."""

    def __init__(self):
        self.plans, self.seeds = [], []

    def planned(self, plan):
        self.plans.append((len(plan.missing), plan.known, plan.seconds))

    def finished(self, group, runs):
        self.seeds += [run.key.seed for run in runs]


@pytest.mark.slow
def test_only_what_is_missing_is_trained_and_it_is_what_one_process_would_train(root, tmp_path):
    shared, watch = conditions_at(root, tmp_path), Heard()
    ensure(shared.jobs([NETWORK], (0, 1)), resources_at(tmp_path), watch)
    runs = ensure(shared.jobs([NETWORK], (0, 1, 2)), resources_at(tmp_path), watch)
    assert [plan[:2] for plan in watch.plans] == [(2, 0), (1, 2)]
    assert watch.plans[0][2] > 0
    assert sorted(watch.seeds) == [0, 1, 2]
    alone = train(NETWORK.layers, prepare(shared.protocol, root), shared.recipe, seed=2)
    run = next(run for key, run in runs.items() if key.seed == 2)
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


class Listening(Workers):
    """Workers that note how many seeds each group has that they time."""

    def probe(self, groups):
        groups = list(groups)
        self.sizes = sorted(len(group.jobs) for group in groups)
        return super().probe(groups)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seeds", "sizes"), [(range(5), [2, 3]), (range(6), [1, 2, 3]), ([5], [1])]
)
def test_a_network_is_timed_in_the_way_it_will_be_trained(root, tmp_path, seeds, sizes):
    jobs = conditions_at(root, tmp_path).jobs([NETWORK], seeds)
    with Listening(2) as workers, closing(Ledger(str(tmp_path / "a.db"))) as ledger:
        plan(jobs, ledger, workers, Callback())
    assert workers.sizes == sizes


@pytest.mark.slow
def test_a_killed_worker_loses_one_training_which_is_tried_again(root, tmp_path):
    jobs, finished = conditions_at(root, tmp_path).jobs([NETWORK], range(6)), []
    with Workers(2) as workers:

        def done(group, runs):
            finished.extend((run.key.seed, run.state) for run in runs)
            if len(finished) == 1:
                workers_of(os.getpid())[0].kill()

        workers.train([Group(jobs=(job,)) for job in jobs], done)
    assert sorted(finished) == [(seed, "complete") for seed in range(6)]
    assert not workers_of(os.getpid())


def test_threads_that_start_workers_at_once_leave_the_process_as_it_was():
    def start(number):
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            return _submit(pool, abs, -number).result()

    before = sys.modules["__main__"], spawn.get_command_line
    with ThreadPoolExecutor(6) as threads:
        assert [*threads.map(start, range(30))] == [*range(30)]
    assert (sys.modules["__main__"], spawn.get_command_line) == before


@pytest.mark.slow
def test_a_training_that_kills_its_worker_twice_is_a_row_with_its_reason(root, tmp_path):
    shared = conditions_at(root, tmp_path, epochs=10_000)
    (job,), failed = shared.jobs([NETWORK], [0]), []
    with Workers(1) as workers:
        pool = workers._pools[0]
        pool.submit(os.getpid).result()
        (tmp_path / "killer.py").write_text(_KILLER)
        environment = os.environ | {"PYTHONPATH": str(Path.cwd())}
        killer = subprocess.Popen(
            [sys.executable, tmp_path / "killer.py", str(os.getpid())], env=environment
        )
        workers.train(
            [Group(jobs=(job,))],
            lambda _, runs: failed.extend((run.state, run.reason) for run in runs),
        )
        assert killer.wait() == 0
    assert failed == [("failed", "its worker process died 2 times (killed, or out of memory)")]


# Kills each worker of the given process once it has lived for two seconds, two of them.
_KILLER = """
import sys, time
from tests.runs.test_executor import workers_of
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
        workers.train(
            [Group(jobs=(broken,))],
            lambda _, runs: failed.extend((run.state, run.reason) for run in runs),
        )
    ((state, reason),) = failed
    assert state == "failed"
    assert "Error: " in reason


@pytest.mark.slow
def test_images_that_changed_meanwhile_stop_the_experiment(root, tmp_path):
    (job,) = conditions_at(root, tmp_path).jobs([NETWORK], [0])
    changed = replace(job, key=replace(job.key, data="0" * 64))
    with Workers(1) as workers, pytest.raises(DataError, match="the images of digits changed"):
        workers.train([Group(jobs=(changed,))], lambda group, runs: None)


@pytest.mark.slow
def test_a_killed_driver_leaves_no_worker_and_loses_no_finished_training(root, tmp_path):
    """kill -9 the driver in the middle; its workers end, its rows stay, and the rest is trained by
    the next.
    """
    script = (
        "import sys; from pathlib import Path; from tests.runs.test_executor import *\n"
        "if __name__ == '__main__':\n"
        "    class Say(Callback):\n"
        "        def finished(self, group, runs): print(*group.seeds, sep='\\n', flush=True)\n"
        f"    shared = conditions_at(Path({str(root)!r}), Path({str(tmp_path)!r}))\n"
        f"    resources = resources_at(Path({str(tmp_path)!r}))\n"
        "    ensure(shared.jobs([NETWORK], range(40)), resources, Say())\n"
    )
    (tmp_path / "driver.py").write_text(script)
    environment = os.environ | {"PYTHONPATH": str(Path.cwd())}
    with subprocess.Popen(
        [sys.executable, tmp_path / "driver.py"], stdout=subprocess.PIPE, text=True, env=environment
    ) as driver:
        said = [int(driver.stdout.readline()) for _ in range(3)]
        workers = workers_of(driver.pid)
        driver.send_signal(signal.SIGKILL)
    assert len(workers) == 2
    assert not psutil.wait_procs(workers, timeout=10)[1]
    with closing(Ledger(tmp_path / "a.db", create=False)) as ledger:
        stored = {run.key.seed for run in ledger.runs()}
    assert set(said) <= stored
    watch = Heard()
    shared = conditions_at(root, tmp_path)
    ensure(shared.jobs([NETWORK], range(len(stored) + 1)), resources_at(tmp_path, 1), watch)
    assert not set(watch.seeds) & stored


@pytest.mark.slow
def test_seeds_are_trained_together_in_fixed_shares(root, tmp_path):
    shared = conditions_at(root, tmp_path)
    groups = [(0, 1, 2), (3, 4), (5,)]
    runs = ensure(shared.jobs([NETWORK], range(6)), resources_at(tmp_path), Callback())
    for seeds in groups:
        training = Training(NETWORK.layers, prepare(shared.protocol, root), shared.recipe, seeds)
        while not training.finished:
            training.step()
        for seed, outcome in zip(seeds, training.outcomes(), strict=True):
            run = next(run for key, run in runs.items() if key.seed == seed)
            assert run.losses == outcome.losses
            assert run.provenance["mode"] == (
                "serial" if len(seeds) == 1 else f"{len(seeds)} seeds fused"
            )


def test_how_seeds_are_trained_depends_on_layers_and_device_alone():
    """No clock decides: a result must not depend on how busy a machine was."""
    wide = named_network("baseline", TASKS["cifar10"])
    assert fused(NETWORK.layers, "cpu")
    assert not fused(wide.layers, "cpu")
    assert fused(wide.layers, "cuda:0")


class Slow(Serial):
    """Takes half a second to say of a training what it costs: a second for a million FLOPs."""

    def __init__(self):
        super().__init__()
        self.timed = 0

    def probe(self, groups):
        found = {}
        for group in groups:
            self.timed += 1
            time.sleep(0.5)
            found[group] = sum(cost(job.layers).flops for job in group.jobs) / 1e6
        return found


def test_time_for_timing_ends_and_others_are_estimated_by_their_flops(root, tmp_path, monkeypatch):
    """Timed are the first, and what is begun in the second after it."""
    monkeypatch.setattr("blocksearch.runs.scheduler.PROBING", 1.0)
    networks = [named_network(name, NETWORK.task) for name in sorted(NAMED)[:6]]
    jobs = conditions_at(root, tmp_path).jobs(networks, [0])
    with Slow() as workers, closing(Ledger(str(tmp_path / "a.db"))) as ledger:
        found = plan(jobs, ledger, workers, Callback())
    assert 1 <= workers.timed < len(networks)
    wanted = sum(cost(network.layers).flops for network in networks) / 1e6
    assert found.seconds == pytest.approx(wanted)


def test_what_takes_seconds_is_timed_twice(monkeypatch):
    """A first call compiles; a quick action is timed as often as it was to be."""
    calls = []

    def action(seconds):
        calls.append(1)
        time.sleep(seconds)

    place = torch.device("cpu")
    monkeypatch.setattr("blocksearch.training.timing.PATIENCE", 0.05)
    for seconds, patience, times in ((0.06, 0.05, 2), (0.06, math.inf, 6), (0.001, 9.0, 6)):
        calls.clear()
        assert _median_seconds(partial(action, seconds), 4, place, patience) >= seconds
        assert len(calls) == times


class Told(Workers):
    """Says of every training that it takes as long as it is told."""

    def probe(self, groups):
        return {group: 10.0 if len(group.jobs) == 1 else 4.0 * len(group.jobs) for group in groups}


def test_the_hours_are_those_of_the_groups_shared_among_workers(root, tmp_path):
    """Seeds 0-2 and 3-4 fused at 4 seconds a seed, and seed 5 alone at 10; seed by seed, whatever
    the order asked in.
    """
    jobs = conditions_at(root, tmp_path).jobs([NETWORK], [5, 4, 3, 2, 1, 0])
    with Told(2) as workers, closing(Ledger(str(tmp_path / "a.db"))) as ledger:
        found = plan(jobs, ledger, workers, Callback())
    assert [group.seeds for group in found.groups] == [(0, 1, 2), (3, 4), (5,)]
    assert found.seconds == pytest.approx((3 * 4 + 2 * 4 + 10) / 2)


def test_what_failed_is_told_with_what_completed(root, tmp_path):
    done, lost, never = conditions_at(root, tmp_path).jobs([NETWORK], range(3))
    with closing(Ledger(str(tmp_path / "a.db"))) as ledger:
        for job, state in ((done, "complete"), (lost, "failed"), (lost, "failed")):
            right = np.ones(2, bool)
            run = made_run(job.key, RunState(state), (50.0,), reason=state, right=right)
            ledger.add_all([(job, run)])
        found = collect([done, lost, never], ledger)
    assert {key.seed: run.state for key, run in found.items()} == {0: "complete", 1: "failed"}


@pytest.mark.slow
def test_the_images_of_runs_are_known_without_images(root, tmp_path):
    shared, location = conditions_at(root, tmp_path), tmp_path / "a.db"
    runs = ensure(shared.jobs([NETWORK], range(2)), resources_at(tmp_path), Callback())
    with closing(Ledger(location, create=False)) as ledger:
        (images,) = ledger.all_images()
        assert ledger.checkpoints == tmp_path / "a.db-checkpoints"
    assert not (tmp_path / "a.db-checkpoints").exists()
    for run in runs.values():
        assert ((run.predictions == images.labels) == run.right).all()
        assert run.accuracy == 100 * np.mean(run.right)


@pytest.mark.slow
def test_weights_are_kept_on_request_and_judge_as_the_run_did(root, tmp_path):
    shared = replace(conditions_at(root, tmp_path), weights=tmp_path / "weights")
    resources = resources_at(tmp_path)
    ensure([job.keeping(None) for job in shared.jobs([NETWORK], range(3))], resources, Callback())
    jobs = shared.jobs([NETWORK], range(3))
    assert all(job.lacks_weights for job in jobs)
    runs = ensure(jobs, resources, Callback())  # trained again, to the same bits
    data = prepare(shared.protocol, root)
    for job in jobs:
        module = build(NETWORK.layers, job.key.seed)
        module.load_state_dict(load_file(job.weights), strict=True)
        judge = gather(data.evaluation, data, torch.device("cpu"))
        found = predict(module, judge, len(data.evaluation.labels), 1, torch.device("cpu"))[:, 0]
        assert (
            found == runs[job.key].predictions
        ).mean() > 0.99  # fused and single modules round differently
        with safe_open(job.weights, "np") as opened:
            assert opened.metadata()["network"] == NETWORK.digest


@given(st.sets(st.integers(0, 23)), st.sets(st.integers(0, 23)))
def test_seeds_are_divided_alike_whatever_else_is_asked_for(missing, finished):
    """Shares are whole or single, and a share that is not begun is divided the same when others are
    finished.
    """
    network = NETWORK.digest
    jobs = [
        SimpleNamespace(
            key=RunKey(network=network, dataset="d", data="d", protocol="p", recipe="r", seed=seed)
        )
        for seed in sorted(missing)
    ]
    parts = [tuple(job.key.seed for job in part) for part in divide(jobs)]
    assert sorted(seed for part in parts for seed in part) == sorted(missing)
    whole = {(5 * five, 5 * five + 1, 5 * five + 2) for five in range(5)} | {
        (5 * five + 3, 5 * five + 4) for five in range(5)
    }
    assert all(part in whole for part in parts if len(part) > 1)
    assert {part for part in whole if set(part) <= missing} == {
        part for part in parts if len(part) > 1
    }


@pytest.mark.slow
def test_a_group_that_was_killed_goes_on_to_the_same_bits(root, tmp_path):
    """kill -9 a process that trains three seeds and keeps them after every step; the next takes up
    where it was.
    """
    shared, file = conditions_at(root, tmp_path, epochs=30), tmp_path / "kept.npz"
    script = (
        "from pathlib import Path; from tests.runs.test_executor import *; from "
        "blocksearch.runs.worker import train_group\n"
        "from blocksearch.training import weights\n"
        "torch.set_num_threads(1)\n"
        "weights.SECONDS = 0.0\n"
        f"shared = conditions_at(Path({str(root)!r}), Path({str(tmp_path)!r}), epochs=30)\n"
        "jobs = tuple(shared.jobs([NETWORK], range(3)))\n"
        f"train_group(Group(jobs=jobs, checkpoint=Path({str(file)!r})))\n"
    )
    with subprocess.Popen([sys.executable, "-c", script]) as process:
        while process.poll() is None and (not file.exists() or file.stat().st_mtime_ns == 0):
            time.sleep(0.05)
        process.kill()
    jobs = tuple(shared.jobs([NETWORK], range(3)))
    resumed, whole = train_group(Group(jobs=jobs, checkpoint=file)), train_group(Group(jobs=jobs))
    assert [run.losses for run in resumed] == [run.losses for run in whole]
    assert [run.accuracies for run in resumed] == [run.accuracies for run in whole]
    assert resumed[0].provenance["resumed"].startswith("in epoch ")
    assert "resumed" not in whole[0].provenance


def test_a_file_in_the_place_of_checkpoints_is_named_before_anything_is_trained(root, tmp_path):
    shared = conditions_at(root, tmp_path)
    (tmp_path / "a.db-checkpoints").write_text("milk")
    with pytest.raises(
        StoreError,
        match=r"a\.db-checkpoints must be a folder, for trainings in progress, but is none",
    ):
        ensure(shared.jobs([NETWORK], (0,)), resources_at(tmp_path, 1), Callback())


@pytest.mark.slow
def test_a_training_that_stopped_short_goes_on_to_the_bits_of_a_whole_one(root, tmp_path):
    (job,) = conditions_at(root, tmp_path, epochs=4).jobs([NETWORK], [3])
    file = tmp_path / "kept.npz"
    short = train_group(Group(jobs=(job,), checkpoint=file, until=1))[0]
    assert (short.state, short.epoch_to, short.accuracy) == ("partial", 1, None)
    longer = train_group(Group(jobs=(job,), checkpoint=file, until=3))[0]
    end = train_group(Group(jobs=(job,), checkpoint=file))[0]
    whole = train_group(Group(jobs=(job,)))[0]
    assert (longer.state, end.state) == ("partial", "complete")
    assert end.provenance["resumed"] == "in epoch 4"
    for part in (short, longer, end):
        assert part.accuracies == whole.accuracies[: part.epoch_to]
        assert part.losses == whole.losses[: part.epoch_to]
    assert (end.right == whole.right).all()
