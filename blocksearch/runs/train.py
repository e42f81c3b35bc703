"""Train one network on some seeds and say how each went."""

from collections.abc import Sequence

from blocksearch.arch.network import Network
from blocksearch.runs.metrics import accuracy_interval
from blocksearch.runs.plan import Request, conditions
from blocksearch.runs.scheduler import Watch, ensure


def train_network(
    name: str, network: Network, seeds: Sequence[int], request: Request, watch: Watch
) -> tuple[str, list[dict[str, object]]]:
    """Train what the ledger lacks; return a title and one row per seed.

    Accuracies are percent per epoch; `interval` is the last one's, over the evaluated images
    (GTSRB: over physical signs).
    """
    shared = conditions(request, network)
    jobs = shared.jobs([network], seeds)
    runs = ensure(jobs, request.ledger, request.workers, watch, request.device, request.sources)
    return shared.title(name, network), [
        {
            "seed": job.key.seed,
            "state": (run := runs[job.key]).state,
            "accuracy": run.accuracy,
            "interval": accuracy_interval(run.right, shared.evaluation_groups)
            if run.accuracy is not None
            else None,
            "epochs": run.epoch_to,
            "seconds": round(run.seconds, 1),
            "accuracies": list(run.accuracies),
            "reason": run.reason,
        }
        for job in jobs
    ]
