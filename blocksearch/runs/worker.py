"""Trains a Job in a worker process. torch is imported here only inside the functions, so that the
driver stays light.
"""

import ctypes
import math
import os
import platform
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import blocksearch
from blocksearch.data.splits import Prepared, Split, prepare
from blocksearch.errors import BlocksearchError, DataError, one_line
from blocksearch.runs.devices import device_name, instructions, machine
from blocksearch.runs.records import Group, Job, Run, RunState

if TYPE_CHECKING:
    from blocksearch.training.outcome import Outcome

DRIVERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # which the driver answers
PROBE_STEPS = 5
BENCH_STEPS = 20


def start_worker(lifeline: Connection) -> None:
    """Set up a worker process: one thread, an allocator that keeps its pages, and an end when the
    driver ends.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's to answer
    if hasattr(signal, "pthread_sigmask"):  # it was born with these held back
        signal.pthread_sigmask(signal.SIG_UNBLOCK, DRIVERS)
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()
    _keep_pages()
    try:
        set_up_torch()
    except (ImportError, MemoryError) as error:  # the pool would print where it is raised
        print(one_line(f"blocksearch: a worker cannot begin: {error}"), file=sys.stderr, flush=True)
        os._exit(1)


def set_up_torch() -> Callable[[], None]:
    """Set torch up to compute as every worker does; return what undoes it."""
    import torch

    threads, before = torch.get_num_threads(), torch.backends.cudnn.deterministic

    def restore() -> None:
        torch.set_num_threads(threads)
        torch.set_flush_denormal(False)
        torch.backends.cudnn.deterministic = before

    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    # A training taken up again must go on to the same bits.
    torch.backends.cudnn.deterministic = True
    return restore


def _end_with(lifeline: Connection) -> None:
    try:
        lifeline.recv_bytes()
    except (EOFError, OSError):
        os._exit(1)


def _keep_pages() -> None:
    """Stop glibc from handing large activations back to the kernel and faulting them in again at
    every step.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    # malloc.h: M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX
    trim_threshold, top_pad, mmap_max = -1, -2, -4
    mallopt = ctypes.CDLL(None).mallopt
    for parameter, value in ((mmap_max, 0), (trim_threshold, 2**31 - 1), (top_pad, 64 * 2**20)):
        mallopt(parameter, value)


def train_group(group: Group) -> list[Run]:
    """Train a group from where its checkpoint left it to the last epoch, or to where it is to stop.

    Seeds that do not fit into memory at once are trained by halves. Raises DataError if the
    images are not those that were planned.
    """
    try:
        return _trained(group)
    except Exception as error:
        from blocksearch.training.users import out_of_memory

        if len(group.jobs) == 1 or not out_of_memory(error):
            raise
    return [run for half in group.halves() for run in _half(half)]


def _half(group: Group) -> list[Run]:
    """Train a half. If it fails, the other one is kept."""
    try:
        return train_group(group)
    except BlocksearchError:
        raise
    except Exception as error:
        return [failed_run(job, reason_of(error)) for job in group.jobs]


def reason_of(error: Exception) -> str:
    """Say in a row why a training gave nothing."""
    return f"{type(error).__name__}: {error}"


def _trained(group: Group) -> list[Run]:
    from blocksearch.training.trainer import Training
    from blocksearch.training.weights import Keeper, save_weights

    job, data = group.jobs[0], _data(group.jobs[0])
    # A training from another machine is not resumed, because its bits would be those of neither,
    # and the record would name one of the two.
    kept_for = f"{group.digest} {device_name(group.device)} torch {version('torch')}"
    keeper = Keeper(
        lambda: Training(job.layers, data, job.recipe, group.seeds, group.device),
        group.checkpoint,
        kept_for,
    )
    training = keeper.training
    first, until = training.epoch, group.until or job.recipe.epochs
    while not training.finished and training.epoch < until:
        training.step()
        keeper.keep_now_and_then()
    if not training.finished:
        keeper.keep_if_possible()
    mode = "serial" if len(group.jobs) == 1 else f"{len(group.jobs)} seeds fused"
    together = ",".join(map(str, group.seeds))
    provenance = provenance_here(group) | {"mode": mode, "seeds": together}
    provenance |= {"resumed": f"in epoch {first + 1}"} if keeper.resumed else {}
    provenance |= {"not kept": keeper.trouble} if keeper.trouble else {}
    runs = [
        _run(job, outcome, provenance)
        for job, outcome in zip(group.jobs, training.outcomes(), strict=True)
    ]
    for place, (job, run) in enumerate(zip(group.jobs, runs, strict=True)):
        if job.weights is not None and run.state is RunState.COMPLETE:
            try:
                save_weights(job.weights, training.weights(place), job.description)
            except OSError as error:  # the result counts all the same
                run.provenance["weights not kept"] = f"{job.weights}: {error.strerror or error}"
    return runs


def _run(job: Job, outcome: "Outcome", provenance: dict[str, str]) -> Run:
    epochs = len(outcome.losses)
    whole = RunState.COMPLETE if epochs == job.recipe.epochs else RunState.PARTIAL
    return Run(
        key=job.key,
        epoch_from=0,
        epoch_to=epochs,
        state=RunState.DIVERGED if outcome.divergence else whole,
        reason=str(outcome.divergence or ""),
        divergence=outcome.divergence,
        accuracies=outcome.accuracies,
        losses=outcome.losses,
        right=outcome.right,
        predictions=outcome.predictions,
        seconds=outcome.seconds,
        provenance=dict(provenance),
    )


def failed_run(job: Job, reason: str) -> Run:
    """Record that a job gave no result, and why."""
    return Run(
        key=job.key,
        epoch_from=0,
        epoch_to=0,
        state=RunState.FAILED,
        reason=reason,
        accuracies=(),
        losses=(),
        right=np.zeros(0, bool),
        predictions=None,
        seconds=0.0,
        provenance={"date": _now()},
    )


def probe_group(group: Group) -> float:
    """Estimate the seconds of a whole training of a group from a few steps and one evaluation
    batch.
    """
    from blocksearch.training.timing import probe_evaluation, probe_step

    job, copies = group.jobs[0], len(group.jobs)
    data = _data(job)
    step = probe_step(job.layers, data, job.recipe, copies, PROBE_STEPS, group.device)
    evaluation = probe_evaluation(job.layers, data, copies, PROBE_STEPS // 2, group.device)
    steps = max(1, len(data.training.labels) // job.recipe.batch)
    looks = 1 if data.once else job.recipe.epochs
    return job.recipe.epochs * steps * step + looks * len(data.evaluation.labels) * evaluation


def step_seconds(group: Group) -> float:
    """Measure the seconds of one step of a group's training."""
    from blocksearch.training.timing import probe_step

    job = group.jobs[0]
    data, seeds = _data(job), len(group.jobs)
    return probe_step(job.layers, data, job.recipe, seeds, BENCH_STEPS, group.device, math.inf)


def plain_step(group: Group) -> float:
    """Measure the seconds of one step of the plain loop, in a process with torch's own settings."""
    from blocksearch.training.plain import plain_seconds

    job = group.jobs[0]
    return plain_seconds(
        job.layers, _data(job), job.recipe, 2 * BENCH_STEPS, BENCH_STEPS // 2, group.device
    )


def copying(group: Group) -> float:
    """Measure the bytes per second of the device's memory, from this worker."""
    from blocksearch.training.plain import copied_bytes_per_second

    return copied_bytes_per_second(group.device)


def multiplying(group: Group) -> float:
    """Measure the FLOPs per second of matrix products on the device, from this worker."""
    from blocksearch.training.plain import multiplied_flops_per_second

    return multiplied_flops_per_second(group.device)


def _data(job: Job) -> Prepared:
    data = _prepared(job.protocol, job.root)
    if data.digest != job.key.data:
        raise DataError(
            f"the images of {job.protocol.dataset} changed while the experiment ran; start it again"
        )
    return data


@lru_cache(maxsize=2)
def _prepared(protocol: Split, root: Path | None) -> Prepared:
    return prepare(protocol, root)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def provenance_here(group: Group) -> dict[str, str]:
    """Return the provenance of runs that this process makes."""
    import torch

    device = group.device
    seen = {
        "device": device_name(device),
        "processor": machine(device),
        "instructions": instructions(device),
    }
    return {"date": _now(), "threads": str(torch.get_num_threads())} | seen | _versions()


@lru_cache(maxsize=1)
def _versions() -> dict[str, str]:
    from blocksearch.training.kernels import VERSION

    return {
        "blocksearch": blocksearch.__version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "torch": version("torch"),
        "numpy": version("numpy"),
        "numba": version("numba"),
        "kernels": VERSION,
        "machine": platform.machine(),
    }


def _commit() -> str:
    """Return the commit of the checkout the package runs from, `-dirty` where its code differs;
    'unknown' outside of one.
    """
    tracked = _git("ls-files", "--error-unmatch", Path(__file__).name)
    commit = tracked and _git("describe", "--always", "--abbrev=12")
    changed = commit and _git(
        "diff", "--name-only", "HEAD", "--", str(Path(blocksearch.__file__).parent)
    )
    return f"{commit}{'-dirty' if changed else ''}" or "unknown"


def _git(*arguments: str) -> str:
    command = ["git", *arguments]
    try:
        answer = subprocess.run(  # noqa: S603
            command,
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""
