"""The paper's accuracy tables again: trained on all training images, judged once on the test
images, printed beside the paper's.

With a search's last word (`search.final`) this is where test images judge: a fixed recipe, the last
epoch, nothing selected (`evidence.md`, 1).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from blocksearch.ablation.claims import claims_among, counted
from blocksearch.ablation.stats import Effect, compare_pairs, rank_correlation
from blocksearch.arch.cost import cost
from blocksearch.arch.network import Network, Task
from blocksearch.arch.notation import format_network
from blocksearch.arch.zoo import named_network
from blocksearch.errors import ConfigError
from blocksearch.paper.tables import TABLES, Row, printed_value
from blocksearch.runs.metrics import mean_interval
from blocksearch.runs.plan import Conditions, Request, conditions
from blocksearch.runs.provenance import mixture, notes
from blocksearch.runs.records import Job, Run
from blocksearch.runs.scheduler import Plan, Watch, ensure, foresee

# Section 5 gives *EffNet large* no widths: it is effnet filled to the baseline's FLOPs, the
# network's and the published count's.
LARGE = {
    "effnet_large": "EffNet large (network's FLOPs)",
    "effnet_large_published": "EffNet large (published FLOPs)",
}


@dataclass(frozen=True)
class Measured:
    """A row of a table: what the paper prints, and what was measured. Accuracies are percent, costs
    are of the built network.

    `interval` is Student's over the `seeds` that completed; `factor` is FLOPs over the baseline
    network's; `losses` are each seed's, by epoch.
    """

    label: str
    network: str
    text: str
    published_accuracy: float
    accuracy: float | None
    interval: tuple[float, float] | None
    seeds: tuple[int, ...]
    accuracies: tuple[float, ...]
    published_flops: str
    flops: int
    published_factor: float
    factor: float
    failures: tuple[str, ...]
    losses: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Judged:
    """One network against another over their paired seeds, and what becomes of the paper's claims;
    a table's are one family.
    """

    reference: str
    network: str
    effect: Effect
    claims: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """A table of the paper, reproduced.

    `order` is the rank correlation of measured and published accuracies with its p, over the
    printed rows: *EffNet large* is there once, with the network's FLOPs. `notes` say where the runs
    came from.
    """

    number: int
    title: str
    rows: tuple[Measured, ...]
    order: tuple[float, float] | None
    judged: tuple[Judged, ...] = ()
    notes: tuple[str, ...] = ()


def networks_of(number: int, task: Task) -> list[tuple[str, Row, Network]]:
    """List a table's networks by name, with the printed row that each stands beside. Raises
    ConfigError for other tables.
    """
    if number not in TABLES:
        raise ConfigError(
            f"the paper has results in tables {min(TABLES)} to {max(TABLES)}, but got table {number}"
        )
    dataset, rows = TABLES[number]
    named = [(name, row) for row in rows for name in ([row.network] if row.network else LARGE)]
    return [(name, row, named_network(name, task, dataset=dataset)) for name, row in named]


def reproduce_table(
    number: int, task: Task, seeds: Sequence[int], request: Request, watch: Watch
) -> Table:
    """Train what the ledger lacks of a table, and put it beside the paper's."""
    shared, found, jobs, title = _planned(number, task, seeds, request)
    runs = ensure(jobs, request.ledger, request.workers, watch, request.device)
    mixed = mixture(runs.values(), strict=request.strict)
    own = {
        name: [
            runs[key] for key in dict.fromkeys(job.key for job in jobs) if key.network == n.digest
        ]
        for name, _, n in found
    }
    base = cost(found[0][2].layers).flops
    rows = tuple(_measured(name, row, network, own[name], base) for name, row, network in found)
    once = [
        row for row in rows if row.accuracy is not None and row.network != "effnet_large_published"
    ]
    order = rank_correlation(
        [row.accuracy or 0 for row in once], [row.published_accuracy for row in once]
    )
    said = (*_alike(found), *notes(found[0][2], runs.values(), shared))
    return Table(
        number, f"{title}; {mixed}" if mixed else title, rows, order, _judged(found, own), said
    )


def foresee_table(
    number: int, task: Task, seeds: Sequence[int], request: Request, watch: Watch
) -> tuple[str, Plan]:
    """Say what reproducing a table would train: its title, and the plan with FLOPs and estimated
    seconds.
    """
    _, _, jobs, title = _planned(number, task, seeds, request)
    return title, foresee(jobs, request.ledger, request.workers, watch, request.device)


def _planned(
    number: int, task: Task, seeds: Sequence[int], request: Request
) -> tuple[Conditions, list[tuple[str, Row, Network]], list[Job], str]:
    found = networks_of(number, task)
    request = replace(request, protocol=replace(request.protocol, test=True, images=None, number=0))
    shared = conditions(request, found[0][2])
    jobs = shared.jobs([network for _, _, network in found], seeds)
    return (
        shared,
        found,
        jobs,
        f"{shared.title(f'Table {number}', found[0][2])}; seeds {','.join(map(str, seeds))}",
    )


def _alike(found: Sequence[tuple[str, Row, Network]]) -> list[str]:
    """Say which of a table's networks are one at these widths."""
    labels: dict[str, list[str]] = {}
    for name, row, network in found:
        labels.setdefault(network.digest, []).append(LARGE.get(name, row.label))
    return [
        f"one network at these widths: {', '.join(same)}"
        for same in labels.values()
        if len(same) > 1
    ]


def _judged(
    found: Sequence[tuple[str, Row, Network]], own: Mapping[str, Sequence[Run]]
) -> tuple[Judged, ...]:
    accuracies = {
        name: {run.key.seed: run.accuracy for run in own[name] if run.accuracy is not None}
        for name, _, _ in found
    }
    networks = {name: network for name, _, network in found}
    flops = {name: cost(network.layers).flops for name, network in networks.items()}
    pairs = [
        pair
        for pair in claims_among(accuracies)
        if networks[pair[0]].digest != networks[pair[1]].digest
    ]
    effects = compare_pairs(
        {f"{one} {other}": (accuracies[one], accuracies[other]) for one, other, _ in pairs}
    )
    judged = []
    for one, other, claims in pairs:
        effect = effects[f"{one} {other}"]
        said = [f"{claim}, {claim.agreement(effect.verdict, effect.interval)}" for claim in claims]
        judged.append(
            Judged(
                one,
                other,
                effect,
                (*said, *counted("network", one, other, flops[other] / flops[one])),
            )
        )
    return tuple(judged)


def _measured(name: str, row: Row, network: Network, own: Sequence[Run], base: int) -> Measured:
    complete = {run.key.seed: run.accuracy for run in own if run.accuracy is not None}
    accuracies = tuple(complete.values())
    flops = cost(network.layers).flops
    return Measured(
        label=LARGE.get(name, row.label),
        network=name,
        text=format_network(network),
        published_accuracy=row.accuracy,
        accuracy=sum(accuracies) / len(accuracies) if accuracies else None,
        interval=mean_interval(accuracies),
        seeds=tuple(complete),
        accuracies=accuracies,
        published_flops=row.flops,
        flops=flops,
        published_factor=row.factor,
        factor=flops / base,
        failures=tuple(
            f"seed {run.key.seed} {run.state}: {run.reason}" for run in own if run.accuracy is None
        ),
        losses=tuple(run.losses for run in own if run.accuracy is not None),
    )


def as_rows(table: Table) -> list[dict[str, object]]:
    """Flatten a table for `--json`."""
    rows = [
        asdict(row) | {"published_flops": int(printed_value(row.published_flops))}
        for row in table.rows
    ]
    return [{key: value for key, value in row.items() if key != "losses"} for row in rows]


def judged_rows(table: Table) -> list[dict[str, object]]:
    """Flatten what a table's networks are against each other for `--json`."""
    return [asdict(judged) for judged in table.judged]
