"""Trains one network on some seeds and says how each went."""

from collections.abc import Sequence

import numpy as np

from blocksearch.arch.network import Network
from blocksearch.runs.callback import Callback
from blocksearch.runs.measures import recalls
from blocksearch.runs.plan import Experiment, RunSettings, experiment
from blocksearch.runs.records import Job, Run
from blocksearch.runs.scheduler import ensure


def train_network(
    name: str, network: Network, seeds: Sequence[int], settings: RunSettings, callback: Callback
) -> tuple[str, list[dict[str, object]], list[dict[str, object]]]:
    """Train what the ledger lacks; return a title, one row per seed, and one per class that has a
    name, with its mean recall.

    Accuracies are percent per epoch, or the one number that was asked for instead; `interval` is
    the last one's, over the evaluated images (GTSRB: over physical signs).
    """
    title, jobs, shared = plan_training(name, network, seeds, settings)
    runs = ensure(jobs, settings, callback)
    rows: list[dict[str, object]] = [
        {
            **(run := shared.measured(runs[job.key])).ending,
            "accuracy": run.accuracy,
            "interval": shared.interval(run),
            "epochs": run.epoch_to,
            "seconds": round(run.seconds, 1),
            "accuracies": list(run.accuracies),
            "weights": str(job.weights) if job.weights and run.accuracy is not None else None,
        }
        for job in jobs
    ]
    whole = [run for run in runs.values() if run.accuracy is not None]
    return title, rows, _by_class(whole, shared)


def plan_training(
    name: str, network: Network, seeds: Sequence[int], settings: RunSettings
) -> tuple[str, list[Job], Experiment]:
    """Return the title of `train_network`, its trainings, and what they share."""
    shared = experiment(settings, network)
    return shared.title(name, network), shared.jobs([network], seeds), shared


def _by_class(runs: Sequence[Run], shared: Experiment) -> list[dict[str, object]]:
    if not runs or not shared.images.classes:
        return []
    each = [dict(recalls(run, shared.judged)) for run in runs]
    counts = np.bincount(shared.images.labels, minlength=len(shared.images.classes))
    return [
        {
            "name": name,
            "images": int(counts[k]),
            "recall": sum(own[name] for own in each) / len(each),
        }
        for k, name in enumerate(shared.images.classes)
        if counts[k]
    ]
