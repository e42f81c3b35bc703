"""Train one network on some seeds and say how each went."""

from collections.abc import Sequence

from blocksearch.experiments.plan import Request, conditions
from blocksearch.runs.execute import Watch, ensure
from blocksearch.space.network import Network


def train_network(
    name: str, network: Network, seeds: Sequence[int], request: Request, watch: Watch
) -> tuple[str, list[dict[str, object]]]:
    """Train what the ledger lacks; return a title and one row per seed, accuracies in percent per epoch."""
    shared = conditions(request, network)
    jobs = shared.jobs([network], seeds)
    runs = ensure(jobs, request.ledger, request.workers, watch)
    title = f"{name}, widths {network.setting.widths_text}; {shared.title}"
    return title, [
        {
            "seed": job.spec.seed,
            "state": (run := runs[job.spec]).state,
            "accuracy": run.accuracy,
            "epochs": run.epoch_to,
            "seconds": round(run.seconds, 1),
            "accuracies": list(run.accuracies),
            "reason": run.reason,
        }
        for job in jobs
    ]
