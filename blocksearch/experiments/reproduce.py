"""The paper's accuracy tables again: trained on all training images, judged once on the test images, printed beside the paper's.

This is the one place that judges by test images: a fixed recipe, the last epoch, nothing selected (`evidence.md`, 1).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from blocksearch.errors import UsageError
from blocksearch.experiments.claims import Claim, claims_among
from blocksearch.experiments.plan import Request, conditions
from blocksearch.experiments.published import TABLES, Row, printed_value
from blocksearch.experiments.stats import Effect, compare_pairs, mean_interval, rank_correlation
from blocksearch.runs.execute import Plan, Watch, ensure, foresee
from blocksearch.runs.spec import Job, Run, RunSpec
from blocksearch.space.cost import cost
from blocksearch.space.named import named_network
from blocksearch.space.network import Network, Setting
from blocksearch.space.notation import format_network

# Section 5 gives *EffNet large* no widths: it is effnet filled to the baseline's FLOPs, the network's and the published count's.
LARGE = {"effnet_large": "EffNet large (network's FLOPs)", "effnet_large_published": "EffNet large (published FLOPs)"}


@dataclass(frozen=True)
class Measured:
    """A row of a table: what the paper prints, and what was measured. Accuracies are percent, costs are of the built network.

    `interval` is Student's over the seeds; `factor` is FLOPs over the baseline network's; `losses` are each seed's, by epoch.
    """

    label: str
    network: str
    text: str
    published_accuracy: float
    accuracy: float | None
    interval: tuple[float, float] | None
    accuracies: tuple[float, ...]
    published_flops: str
    flops: int
    published_factor: float
    factor: float
    failures: tuple[str, ...]
    losses: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Judged:
    """What the paper says of one network against another, and what the paired seeds say; the table's claims are one family."""

    claim: Claim
    effect: Effect

    def __str__(self) -> str:
        effect, claim = self.effect, self.claim
        found = "" if effect.difference is None else f" {effect.difference:+.2f} points"
        between = "" if effect.interval is None else " [{:+.2f}, {:+.2f}]".format(*effect.interval)
        said = f"{claim}, {claim.agreement(effect.verdict)}"
        return f"{claim.value} against {claim.reference}:{found}{between}, {effect.verdict} ({said})"


@dataclass(frozen=True)
class Table:
    """A table of the paper, reproduced. `order` is the rank correlation of measured and published accuracies, with its p."""

    number: int
    title: str
    rows: tuple[Measured, ...]
    order: tuple[float, float] | None
    claims: tuple[Judged, ...] = ()


def networks_of(number: int, setting: Setting) -> list[tuple[str, Row, Network]]:
    """List a table's networks by name, with the printed row that each stands beside. Raises UsageError for other tables."""
    if number not in TABLES:
        raise UsageError(f"the paper has results in tables {min(TABLES)} to {max(TABLES)}, but got table {number}")
    dataset, rows = TABLES[number]
    named = [(name, row) for row in rows for name in ([row.network] if row.network else LARGE)]
    return [(name, row, named_network(name, setting, dataset=dataset)) for name, row in named]


def reproduce_table(number: int, setting: Setting, seeds: Sequence[int], request: Request, watch: Watch) -> Table:
    """Train what the ledger lacks of a table, and put it beside the paper's."""
    request, found, jobs, title = _planned(number, setting, seeds, request)
    runs = ensure(jobs, request.ledger, request.workers, watch, request.device)
    base = cost(found[0][2].layers).flops
    rows = tuple(_measured(name, row, network, jobs, runs, base) for name, row, network in found)
    seen = [(row.accuracy, row.published_accuracy) for row in rows if row.accuracy is not None]
    order = rank_correlation(*zip(*seen, strict=True)) if len(seen) > 2 else None
    return Table(number, title, rows, order, _judged(found, jobs, runs))


def foresee_table(number: int, setting: Setting, seeds: Sequence[int], request: Request) -> tuple[str, Plan]:
    """Say what reproducing a table would train: its title, and the plan with FLOPs and estimated seconds."""
    request, _, jobs, title = _planned(number, setting, seeds, request)
    return title, foresee(jobs, request.ledger, request.workers, request.device)


def _planned(
    number: int, setting: Setting, seeds: Sequence[int], request: Request
) -> tuple[Request, list[tuple[str, Row, Network]], list[Job], str]:
    found = networks_of(number, setting)
    request = replace(request, protocol=replace(request.protocol, test=True, images=None, number=0))
    shared = conditions(request, found[0][2])
    jobs = shared.jobs([network for _, _, network in found], seeds)
    return request, found, jobs, shared.title(f"Table {number}, {len(seeds)} seeds", found[0][2])


def _judged(found: Sequence[tuple[str, Row, Network]], jobs: Sequence[Job], runs: Mapping[RunSpec, Run]) -> tuple[Judged, ...]:
    accuracies = {name: _by_seed(network, jobs, runs) for name, _, network in found}
    claims = {f"{claim.value} {claim.reference}": claim for claim in claims_among(accuracies)}
    effects = compare_pairs({key: (accuracies[claim.reference], accuracies[claim.value]) for key, claim in claims.items()})
    return tuple(Judged(claim, effects[key]) for key, claim in claims.items())


def _by_seed(network: Network, jobs: Sequence[Job], runs: Mapping[RunSpec, Run]) -> dict[int, float]:
    own = [runs[job.spec] for job in jobs if job.spec.network == network.fingerprint]
    return {run.spec.seed: run.accuracy for run in own if run.accuracy is not None}


def _measured(name: str, row: Row, network: Network, jobs: Sequence[Job], runs: Mapping[RunSpec, Run], base: int) -> Measured:
    own = [runs[job.spec] for job in jobs if job.spec.network == network.fingerprint]
    accuracies = tuple(run.accuracy for run in own if run.accuracy is not None)
    flops = cost(network.layers).flops
    return Measured(
        label=LARGE.get(name, row.label),
        network=name,
        text=format_network(network),
        published_accuracy=row.accuracy,
        accuracy=sum(accuracies) / len(accuracies) if accuracies else None,
        interval=mean_interval(accuracies),
        accuracies=accuracies,
        published_flops=row.flops,
        flops=flops,
        published_factor=row.factor,
        factor=flops / base,
        failures=tuple(f"seed {run.spec.seed} {run.state}: {run.reason}" for run in own if run.accuracy is None),
        losses=tuple(run.losses for run in own if run.accuracy is not None),
    )


def as_rows(table: Table) -> list[dict[str, object]]:
    """Flatten a table for `--json`."""
    rows = [asdict(row) | {"published_flops": int(printed_value(row.published_flops))} for row in table.rows]
    return [{key: value for key, value in row.items() if key != "losses"} for row in rows]
