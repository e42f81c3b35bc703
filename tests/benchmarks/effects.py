"""Do the intervals of `importance` hold? Effects of levels on accuracy, in studies of a small space
whose truth is known, with fresh noise of a stated spread in every training.

    python -m tests.benchmarks.effects [--repetitions 60] [--searches 15]

The truth is exact, as every exchanged network is in the table: the mean over the trained networks
of its accuracy with the level exchanged, against the mean over levels. *Without* leaves out what
features do not explain (2τ²/N): it is the control, which must cover less.
"""

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from blocksearch.report.console import show
from blocksearch.report.table import Report, rows_table
from blocksearch.search.importance import effects_of
from blocksearch.search.results import Z
from blocksearch.search.stored_study import StoredStudy, fitted
from blocksearch.space.candidates import Candidates
from tests.benchmarks.fronts import LOUD, TABLE, searched
from tests.benchmarks.replay import World

Rows = list[dict[str, object]]


@dataclass(frozen=True)
class Held:
    """A level's effect against the truth, in percentage points: the error, half of the interval,
    and half of what it is without 2τ²/N.
    """

    error: float
    half: float
    without: float


def held(world: World, pool: Candidates, study: StoredStudy) -> list[Held]:
    """Hold the effects of a study against the truth of its networks with the levels exchanged."""
    fit = fitted(study)
    unexplained = fit.model.scales.unexplained
    found = []
    for factor in effects_of(study, draws=2).factors:
        place = list(study.choices).index(factor.name)
        names = study.choices[factor.name]
        there = [level for level in factor.levels if level.accuracy is not None]
        truths = []
        for level in there:
            exchanged = fit.codes.copy()
            exchanged[:, place] = names.index(level.name)
            rows = [pool.decode(code) for code in exchanged.tolist()]
            truths.append(
                [world.truths[pool.network(row).digest] for row in rows if row is not None]
            )
        assert {len(own) for own in truths} == {factor.exchanged}
        effects = np.mean(truths, axis=1) - np.mean(truths)
        for level, truth in zip(there, effects, strict=True):
            low, high = level.accuracy.interval
            half = (high - low) / 2
            less = half**2 - Z**2 * 2 * unexplained / factor.exchanged
            found.append(Held(level.accuracy.mean - truth, half, float(np.sqrt(max(less, 0.0)))))
    return found


def covers(found: Iterable[Held]) -> tuple[float, float]:
    """Return what share of intervals hold, in percent, with 2τ²/N and without."""
    every = list(found)
    errors = np.abs([each.error for each in every])
    return (
        float(100 * np.mean(errors <= [each.half for each in every])),
        float(100 * np.mean(errors <= [each.without for each in every])),
    )


def coverage(
    world: World, numbers: Sequence[int], noise: float, **asked: object
) -> tuple[float, float]:
    """Return it over studies that begin with no reference networks."""
    found: list[Held] = []
    for number in numbers:
        study = searched(world, number, noise, references="none", **asked)
        found += held(world, world.prices(number).pool, study)
    return covers(found)


def rows(world: World, repetitions: int, searches: int) -> Rows:
    """Return coverage of networks drawn at random, and of searches."""
    found: Rows = []
    kinds = (
        ("40 at random", repetitions, {"sampler": "random", "repeated": 0}),
        ("a search, one seed", searches, {"seeds": 1}),
        ("a search, three seeds", searches, {"seeds": 3}),
    )
    for name, count, asked in kinds:
        for noise in (2.0, LOUD):
            with_it, without = coverage(world, range(count), noise, **asked)
            row = {"networks": name, "noise": noise, "covers_%": with_it, "without_%": without}
            found.append(row | {"studies": count})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=60)
    parser.add_argument("--searches", type=int, default=15)
    asked = parser.parse_args()
    table = rows(World.read(TABLE), asked.repetitions, asked.searches)
    title = "Effects of levels on accuracy against the truth"
    show(Report(title=title, tables=(rows_table("effects", table),)))


if __name__ == "__main__":
    main()
