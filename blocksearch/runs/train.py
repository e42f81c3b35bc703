"""Trains one network on some seeds and says how each went."""

from collections.abc import Sequence

import numpy as np

from blocksearch.arch.network import Network
from blocksearch.runs.callback import Callback
from blocksearch.runs.measures import recalls
from blocksearch.runs.plan import Experiment, RunSettings, experiment
from blocksearch.runs.records import Plan, Run
from blocksearch.runs.scheduler import ensure, foresee


def train_network(
    name: str, network: Network, seeds: Sequence[int], settings: RunSettings, callback: Callback
) -> tuple[str, list[dict[str, object]], list[dict[str, object]]]:
    """Train what the ledger lacks; return a title, one row per seed, and one per class that has a
    name, with its mean recall.

    Accuracies are percent per epoch, or the one number that was asked for instead; `interval` is
    the last one's, over the evaluated images (GTSRB: over physical signs).
    """
    shared = experiment(settings, network)
    jobs = shared.jobs([network], seeds)
    runs = ensure(jobs, settings.ledger, settings.workers, callback, *settings.means)
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
    return shared.title(name, network), rows, _by_class(whole, shared)


def foresee_training(
    name: str, network: Network, seeds: Sequence[int], settings: RunSettings, callback: Callback
) -> tuple[str, Plan]:
    """Return the title of `train_network`, and what it would train."""
    shared = experiment(settings, network)
    jobs = shared.jobs([network], seeds)
    plan = foresee(jobs, settings.ledger, settings.workers, callback, *settings.means)
    return shared.title(name, network), plan


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
