"""Times how fast a network is trained here, by the plain loop and by each of our ways in one run.

An ablation is timed in its smallest form, five seeds of a reference and five of a variant that
costs the same: one network's five do not come out even on two cores, two networks' do. Floors are
counted: the bytes that a step must move if each value is touched as seldom as can be, and its FLOPs
at the speed of a matrix product.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from heapq import heapify, heapreplace
from statistics import median

from blocksearch.arch.cost import cost
from blocksearch.arch.layers import Layers, flat
from blocksearch.arch.network import Network
from blocksearch.runs import worker as process
from blocksearch.runs.plan import RunSettings, experiment
from blocksearch.runs.processes import Workers
from blocksearch.runs.records import Group, Job
from blocksearch.runs.scheduler import SHARES, TOGETHER

RUNS = 3
SEEDS = 5
NETWORKS = 2


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way to train five seeds: images per second over all of them, against the plain loop and
    against the floors.
    """

    way: str
    images_per_second: float
    times_plain: float
    of_memory_floor: float
    of_matrix_peak: float


def bench(
    network: Network, settings: RunSettings, report: Callable[[float], None] = lambda _: None
) -> tuple[str, list[Way]]:
    """Time the plain loop and our ways in turn, several times each; return a title and the medians.

    `report` is called with the share done.
    """
    shared = experiment(settings, network)
    jobs = shared.jobs([network], range(SEEDS))
    with Workers(settings.workers, settings.device) as workers:
        device = workers.place.device
        one = Group(jobs=(jobs[0],), checkpoint=None, device=device)
        shares = SHARES if device == "cpu" else TOGETHER
        fused = f"fused {'+'.join(str(len(share)) for share in shares)}"
        ways = {
            "serial": [[job] for job in jobs],
            fused: [[jobs[seed] for seed in share] for share in shares],
        }
        found: dict[str, list[float]] = {name: [] for name in ("plain", *ways)}
        for run in range(RUNS):
            report(run / RUNS)
            found["plain"].append(process.plain_step(one))
            for name, division in ways.items():
                found[name].append(_ablation(division, workers) / (SEEDS * NETWORKS))
        memory = sum(workers.together(process.copying, one))
        matrix = sum(workers.together(process.multiplying, one))
    batch, price = settings.recipe.batch, cost(network.layers)
    seconds = {name: median(times) / batch for name, times in found.items()}  # for each image
    floor, peak = traffic(network.layers) / memory, 3 * price.flops / matrix
    timed = (
        f"{SEEDS} seeds of each of {NETWORKS} such networks on {workers.count} workers, "
        f"medians of {RUNS} runs"
    )
    title = f"{shared.title('training speed', network)}; {timed}"
    return title, [
        Way(
            way=n,
            images_per_second=1 / s,
            times_plain=seconds["plain"] / s,
            of_memory_floor=floor / s,
            of_matrix_peak=peak / s,
        )
        for n, s in seconds.items()
    ]


def as_rows(ways: Sequence[Way]) -> list[dict[str, object]]:
    """Flatten the answer for tables and `--json`."""
    return [
        {
            key: round(value, 3) if isinstance(value, float) else value
            for key, value in asdict(way).items()
        }
        for way in ways
    ]


def traffic(layers: Layers) -> int:
    """Count the bytes that training must move for one image, forward and backward, at least.

    It assumes the fewest accesses of each value, as `Layer.traffic` counts them.
    """
    return 4 * sum(layer.traffic for layer in flat(layers))


def _ablation(division: Sequence[Sequence[Job]], workers: Workers) -> float:
    """Return the seconds that a step of every seed takes: groups measured with every worker busy,
    the longest first.
    """
    sizes = {
        len(part): Group(jobs=tuple(part), checkpoint=None, device=workers.place.device)
        for part in division
    }
    times = {
        size: median(workers.together(process.step_seconds, group)) for size, group in sizes.items()
    }
    free = [0.0] * workers.count
    heapify(free)
    for part in sorted([*division] * NETWORKS, key=len, reverse=True):
        heapreplace(free, free[0] + times[len(part)])
    return max(free)


def with_batches(settings: RunSettings) -> RunSettings:
    """Keep images few enough that a benchmark starts at once."""
    few = settings.protocol.images or 64 * settings.recipe.batch
    return replace(settings, protocol=replace(settings.protocol, images=few))
