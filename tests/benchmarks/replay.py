"""A search of a small space, replayed from its table in seconds: its own queue and policy, told
what was measured before.

Search seed r goes with replay r, in which every network has its own order of the stored seeds: the
first of them plays seed 0. The truth about a network is its mean accuracy over all stored seeds; a
run that diverged is worth chance.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from blocksearch.data import get
from blocksearch.errors import ConfigError
from blocksearch.runs.metrics import Floats
from blocksearch.search.config import StudyConfig
from blocksearch.search.definition import Evaluation, StudyDefinition, define, opening
from blocksearch.search.objectives import Frame, Prices
from blocksearch.search.schedule import TrialQueue, policy_of
from blocksearch.search.trials import Trial
from blocksearch.space.candidates import Candidates
from blocksearch.space.grammar import Grammar
from blocksearch.space.load import load_space
from tests.benchmarks.queues import done
from tests.benchmarks.table import Tabulated, read_table

RACED_SEEDS = 3  # of either arm of the comparison with and without rungs


@dataclass(frozen=True)
class World:
    """A space and all that was measured of it."""

    space: str
    dataset: str
    grammar: Grammar
    table: Tabulated

    @classmethod
    def read(cls, file: Path, space: str = "tiny", dataset: str = "gtsrb") -> "World":
        """Read a table of a space. Raises ConfigError where a network of the space, or a named one,
        has not all its seeds.
        """
        world = cls(space, dataset, load_space(space).on(get(dataset).task), read_table(file))
        wanted = {
            network.digest: network
            for network in (*world.grammar, *(made for _, made in opening(world.grammar)))
        }
        lacking = {
            name
            for name in wanted
            for seed in world.table.seeds
            if (name, seed) not in world.table.accuracies
        }
        if lacking:
            first = str(wanted[min(lacking)])
            raise ConfigError(
                f"{file} lacks runs of {len(lacking)} networks of {space} on {dataset}, such as "
                f"{first}"
            )
        return world

    def definition(self, prices: Prices, config: StudyConfig) -> StudyDefinition:
        """Define a search of this space."""
        judged = Evaluation(
            dataset=self.dataset,
            data="",
            protocol="",
            recipe="",
            epochs=self.table.epochs,
            title=self.table.title,
        )
        return define(self.space, self.grammar, prices, judged, config)

    @cached_property
    def finals(self) -> dict[str, Floats]:
        """What each network reached with each seed (percent), by fingerprint."""
        chance = 100 / self.grammar.task.classes
        found: dict[str, list[float]] = {}
        for (fingerprint, _), run in self.table.accuracies.items():
            found.setdefault(fingerprint, []).append(
                run[-1] if len(run) == self.table.epochs else chance
            )
        return {fingerprint: np.array(each) for fingerprint, each in found.items()}

    @cached_property
    def truths(self) -> dict[str, float]:
        """The mean accuracy of each network over its seeds (percent), by fingerprint."""
        return {fingerprint: float(np.mean(each)) for fingerprint, each in self.finals.items()}

    @cached_property
    def volume(self) -> float:
        """Hypervolume of everything in the table, by truth."""
        prices = self.prices(0)
        pool = prices.pool
        rows = [*range(len(pool)), *(pool.row(network) for _, network in opening(self.grammar))]
        return self.definition(prices, StudyConfig()).frame.volume(self.points(prices, rows))

    def prices(self, seed: int) -> Prices:
        """Return a pool of the space, and the costs that are objectives."""
        return Prices(Candidates(self.grammar, seed), StudyConfig().costs)

    def points(self, prices: Prices, rows: Sequence[int]) -> Floats:
        """Return the truth of rows: accuracy (percent), then costs."""
        truths = [self.truths[prices.pool.network(row).digest] for row in rows]
        return np.column_stack([truths, prices.all()[list(rows)]])


def order_of_seeds(seeds: Sequence[int], number: int, fingerprint: str) -> list[int]:
    """Return which stored seed plays seed 0, 1, … of a network in a replay."""
    return [
        int(seed)
        for seed in np.random.default_rng([number, int(fingerprint, 16)]).permutation(seeds)
    ]


def measured(
    world: World, number: int, pool: Candidates, trial: Trial, rungs: Sequence[int]
) -> tuple[float, ...]:
    """Return what a trial gives in a replay: accuracies at the rungs up to its epochs, none where
    it diverged before.
    """
    fingerprint = pool.network(trial.row).digest
    run = world.table.accuracies[
        fingerprint, order_of_seeds(world.table.seeds, number, fingerprint)[trial.seed]
    ]
    looks = [rung for rung in rungs if rung <= trial.epochs]
    return tuple(run[rung - 1] for rung in looks) if len(run) >= looks[-1] else ()


@dataclass(frozen=True)
class Arm:
    """A way to search: a sampler, how many seeds the reported front gets, rungs, and how long.

    A search has `most` networks beyond the named points, and is replayed to its end; or, where
    `least` is given, until it has reached the threshold, but for at least so many trainings beyond
    them.
    """

    name: str
    sampler: str
    most: int
    least: int | None = None
    seeds: int = 1
    rungs: tuple[int, ...] = ()
    repeated: int = 0  # networks that get a second seed at the start: none, so that they cost none

    def config(self, seed: int) -> StudyConfig:
        """Ask for it with a search seed."""
        return StudyConfig(sampler=self.sampler, seed=seed, seeds=self.seeds, rungs=self.rungs)


@dataclass(frozen=True)
class Walk:
    """What a replayed search did.

    `shares` are parts of the table's hypervolume that the truth of everything trained has, first
    with the named points, then after each training; `seconds` what each decision took. `reported`
    is the truth of the front that it would report.
    """

    told: tuple[Trial, ...]
    shares: tuple[float, ...]
    seconds: tuple[float, ...]
    reported: Floats
    reported_share: float

    @property
    def epochs(self) -> int:
        return epochs_spent(self.told)


def greedy(world: World) -> tuple[float, ...]:
    """Return the shares of a search that knows the truth, and takes what gains most until nothing
    does.
    """
    prices = world.prices(0)
    frame, pool = world.definition(prices, StudyConfig()).frame, prices.pool
    left = world.points(prices, range(len(pool)))
    points = world.points(prices, [pool.row(network) for _, network in opening(world.grammar)])
    shares = [frame.volume(points) / world.volume]
    while shares[-1] < 1 - 1e-9:
        volumes = [frame.volume(np.vstack([points, each])) for each in left]
        points = np.vstack([points, left[int(np.argmax(volumes))]])
        shares.append(max(volumes) / world.volume)
    return tuple(shares)


def epochs_spent(trials: Iterable[Trial]) -> int:
    """Add up the epochs of trials; a longer training costs what it adds."""
    reached: dict[tuple[int, int], int] = {}
    for trial in trials:
        key = (trial.row, trial.seed)
        reached[key] = max(trial.epochs, reached.get(key, 0))
    return sum(reached.values())


def replay(world: World, arm: Arm, number: int, threshold: float = np.inf) -> Walk:
    """Search once. `number` is the search's seed and the replay's."""
    config, prices = arm.config(number), world.prices(number)
    definition = replace(world.definition(prices, config), repeated=arm.repeated)
    policy = policy_of(prices, definition)
    named = len(policy.opening)
    queue = TrialQueue(policy, arm.most)
    shares: list[float] = []
    seconds: list[float] = []
    for trained, taken in _steps(world, number, queue):
        seconds.append(taken)
        if trained >= named:
            rows = [each.row for each in queue.told]
            shares.append(_share(world, prices, rows, definition.frame))
        if arm.least is not None and trained >= named + arm.least and shares[-1] >= threshold:
            break
    rows = policy.front(queue.told)
    points = world.points(prices, rows)
    return Walk(
        tuple(queue.told),
        tuple(shares),
        tuple(seconds),
        points,
        definition.frame.volume(points) / world.volume,
    )


def _steps(world: World, number: int, queue: TrialQueue) -> Iterator[tuple[int, float]]:
    """Take the steps of a queue; yield how many were taken, and the seconds that the last took to
    be decided.
    """
    while True:
        start = time.perf_counter()
        trial = queue.next()
        taken = time.perf_counter() - start
        if trial is None:
            return
        policy = queue.policy
        found = measured(world, number, policy.pool, trial, policy.rungs)
        queue.finish(done(trial, *found))
        yield len(queue.told), taken


def _share(world: World, prices: Prices, rows: Sequence[int], frame: Frame) -> float:
    return frame.volume(world.points(prices, list(dict.fromkeys(rows)))) / world.volume


def epsilon(reference: Floats, other: Floats) -> float:
    """Return how many points of accuracy a front lacks at most: of every reference point, against
    what costs no more.

    Rows are accuracy (percent) and costs. Infinite where nothing is as cheap as a reference point.
    """
    lacking = 0.0
    for accuracy, *costs in reference:
        affordable = other[(other[:, 1:] <= costs).all(1), 0]
        lacking = max(lacking, accuracy - affordable.max(initial=-np.inf))
    return float(lacking)


def raced(arm: Arm, rungs: tuple[int, ...], trials: int) -> tuple[Arm, Arm]:
    """Return an arm without and with rungs, both of so many networks."""
    whole = replace(arm, name="every training whole", most=trials, seeds=RACED_SEEDS, rungs=())
    return whole, replace(whole, name=f"rungs {','.join(map(str, rungs))}", rungs=rungs)
