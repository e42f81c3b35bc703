"""What a worker process does with a Job. torch is imported here only inside the functions, so that the driver stays light."""

import ctypes
import os
import platform
import signal
import subprocess
import threading
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import blocksearch
from blocksearch.errors import DataError
from blocksearch.runs.spec import Group, Job, Run
from blocksearch.training.protocol import Prepared, Protocol, prepare

if TYPE_CHECKING:
    from blocksearch.training.train import Outcome

PROBE_STEPS = 5
BENCH_STEPS = 20


def start_worker(lifeline: Connection) -> None:
    """Set up a worker process: one thread, an allocator that keeps its pages, and an end when the driver ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's to answer
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()
    _keep_pages()
    import torch

    torch.set_num_threads(1)
    torch.set_flush_denormal(True)


def _end_with(lifeline: Connection) -> None:
    try:
        lifeline.recv_bytes()
    except (EOFError, OSError):
        os._exit(1)


def _keep_pages() -> None:
    """Stop glibc from handing large activations back to the kernel and faulting them in again at every step."""
    if platform.libc_ver()[0] != "glibc":
        return
    trim_threshold, top_pad, mmap_max = -1, -2, -4  # malloc.h: M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX
    mallopt = ctypes.CDLL(None).mallopt
    for parameter, value in ((mmap_max, 0), (trim_threshold, 2**31 - 1), (top_pad, 64 * 2**20)):
        mallopt(parameter, value)


def train_group(group: Group) -> list[Run]:
    """Train a group from where its checkpoint left it to the last epoch.

    Raises DataError where the images are not those that were planned.
    """
    from blocksearch.training.checkpoint import Keeper
    from blocksearch.training.train import Training

    job = group.jobs[0]
    training = Training(job.layers, _data(job), job.recipe, group.seeds)
    keeper = Keeper(training, group.checkpoint, group.digest)
    while not training.finished:
        training.step()
        keeper.keep_now_and_then()
    mode = "serial" if len(group.jobs) == 1 else f"{len(group.jobs)} seeds fused"
    provenance = _provenance() | {"mode": mode} | ({"resumed": "yes"} if keeper.resumed else {})
    return [_run(job, outcome, provenance) for job, outcome in zip(group.jobs, training.outcomes(), strict=True)]


def _run(job: Job, outcome: "Outcome", provenance: dict[str, str]) -> Run:
    return Run(
        spec=job.spec,
        epoch_from=0,
        epoch_to=len(outcome.accuracies),
        state=outcome.state,
        reason=outcome.reason,
        accuracies=outcome.accuracies,
        losses=outcome.losses,
        right=outcome.right,
        seconds=outcome.seconds,
        provenance=provenance,
    )


def failed_run(job: Job, reason: str) -> Run:
    """Record that a job gave no result, and why."""
    return Run(job.spec, 0, 0, "failed", reason, (), (), np.zeros(0, bool), 0.0, {"date": _now()})


def probe_group(group: Group) -> float:
    """Estimate the seconds of a whole training of a group from a few steps and one evaluation batch."""
    from blocksearch.training.train import EVALUATION_BATCH, probe_evaluation, probe_step

    job, copies = group.jobs[0], len(group.jobs)
    data = _data(job)
    step = probe_step(job.layers, data, job.recipe, copies, PROBE_STEPS)
    evaluation = probe_evaluation(job.layers, data, copies, PROBE_STEPS // 2)
    steps = max(1, len(data.training.labels) // job.recipe.batch)
    evaluations = len(data.evaluation.labels) / EVALUATION_BATCH
    return job.recipe.epochs * (steps * step + evaluations * evaluation)


@lru_cache(maxsize=1)
def machine() -> str:
    """Name what decides how fast a training is here and to which bits: the processor, its cores, and torch's version."""
    model = platform.processor() or platform.machine()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    return f"{model}, {os.cpu_count()} cores, torch {version('torch')}"[:255]


def step_seconds(group: Group) -> float:
    """Measure the seconds of one step of a group's training."""
    from blocksearch.training.train import probe_step

    job = group.jobs[0]
    return probe_step(job.layers, _data(job), job.recipe, len(group.jobs), BENCH_STEPS)


def plain_step(group: Group) -> float:
    """Measure the seconds of one step of the plain loop, in a process with torch's own settings."""
    from blocksearch.training.plain import plain_seconds

    job = group.jobs[0]
    return plain_seconds(job.layers, _data(job), job.recipe, 2 * BENCH_STEPS, BENCH_STEPS // 2)


def copying(_: Group) -> float:
    """Measure the bytes per second of this worker's memory."""
    from blocksearch.training.plain import copied_bytes_per_second

    return copied_bytes_per_second()


def multiplying(_: Group) -> float:
    """Measure the FLOPs per second of this worker's matrix products."""
    from blocksearch.training.plain import multiplied_flops_per_second

    return multiplied_flops_per_second()


def _data(job: Job) -> Prepared:
    data = _prepared(job.protocol, job.root)
    if data.digest != job.spec.data:
        raise DataError(f"the images of {job.protocol.dataset} changed while the experiment ran; start it again")
    return data


@lru_cache(maxsize=2)
def _prepared(protocol: Protocol, root: Path | None) -> Prepared:
    return prepare(protocol, root)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _provenance() -> dict[str, str]:
    return {"date": _now()} | _versions()


@lru_cache(maxsize=1)
def _versions() -> dict[str, str]:
    return {
        "blocksearch": blocksearch.__version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "torch": version("torch"),
        "numpy": version("numpy"),
        "machine": platform.machine(),
        "device": "cpu",
        "threads": "1",
        "layout": "channels_last",
    }


def _commit() -> str:
    """Return the commit of the checkout the package runs from, or 'unknown' where it is not part of one."""
    tracked = _git("ls-files", "--error-unmatch", Path(__file__).name)
    return (tracked and _git("describe", "--always", "--dirty", "--abbrev=12")) or "unknown"


def _git(*arguments: str) -> str:
    command = ["git", *arguments]
    try:
        answer = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""
