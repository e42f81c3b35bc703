"""Do the intervals of a front hold? Searches of a small space whose truth is known, with fresh
noise of a stated spread in every training.

    python -m tests.benchmarks.fronts [--searches 20] [--first 0]

The truth is the mean of a network in the table of `tiny`. A search has the reference networks and
40 more, and one seed for its front. *None* repeats no network, as searches did before: it is the
control, which must fail.
"""

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from blocksearch.report.console import show
from blocksearch.report.table import rows_table
from blocksearch.search.config import StudyConfig
from blocksearch.search.definition import REPEATED
from blocksearch.search.objectives import front
from blocksearch.search.results import Z, simultaneous_z
from blocksearch.search.schedule import Course, policy_of
from blocksearch.search.stored_study import StoredStudy, fitted, objective_costs
from blocksearch.search.trials import Trial
from blocksearch.space.candidates import Candidates
from tests.benchmarks.courses import done
from tests.benchmarks.replay import World

TABLE = Path(__file__).parent.parent.parent / "studies" / "tiny-gtsrb.csv"
NETWORKS = 40  # beside the reference networks
LOUD, QUIET = 4.35, 0.7  # percentage points between seeds


@dataclass(frozen=True)
class Front:
    """What a search says of its front: errors of the expected accuracies, and their deviations, in
    percentage points; and the noise between seeds that it found.
    """

    errors: tuple[float, ...]
    deviations: tuple[float, ...]
    noise: float
    freedom: int


def told(pool: Candidates, trial: Trial, accuracy: float) -> Trial:
    """Give a trial its result, and what a file holds of it."""
    network = pool.network(trial.row)
    code = {"code": [int(level) for level in pool.codes[trial.row]]}
    return replace(
        done(trial, accuracy),
        network=network.digest,
        text=str(network),
        costs=pool.cost(trial.row),
        memory={**trial.memory, **code},
    )


def searched(
    world: World, number: int, noise: float, *, repeated: int = REPEATED, **asked: object
) -> StoredStudy:
    """Search once; return the study as its file would have it."""
    config = StudyConfig(**({"seed": number, "seeds": 1} | asked))
    prices = world.prices(number)
    definition = replace(world.definition(prices, config), repeated=repeated)
    course = Course(policy_of(prices, definition), NETWORKS)
    rng = np.random.default_rng([number, 27])
    while (trial := course.next()) is not None:
        truth = world.truths[prices.pool.network(trial.row).digest]
        accuracy = float(np.clip(truth + rng.normal(0, noise), 0, 100))
        course.finish(told(prices.pool, trial, accuracy))
    trials = (replace(trial, row=trial.candidate) for trial in course.told)  # as a file has them
    return StoredStudy("searched", (), definition.as_data(), tuple(trials))


def front_of(world: World, study: StoredStudy) -> Front:
    """Hold the front of a study against the truth."""
    found = fitted(study)
    chosen = front(np.column_stack([found.means, objective_costs(study, found.trials)]))
    digests = {trial.candidate: trial.network for trial in study.trials}
    truths = np.array([world.truths[digests[each]] for each in found.trials])
    errors, deviations = found.means - truths, found.deviations
    return Front(
        tuple(errors[chosen]), tuple(deviations[chosen]), found.noise.deviation, found.noise.freedom
    )


def row_of(fronts: Sequence[Front]) -> dict[str, float]:
    """Bring searches together: how far fronts are too high, and what their intervals cover."""
    errors, deviations = (
        np.concatenate([getattr(each, name) for each in fronts])
        for name in ("errors", "deviations")
    )
    together = [
        bool(
            (np.abs(own.errors) <= simultaneous_z(len(own.errors)) * np.array(own.deviations)).all()
        )
        for own in fronts
    ]
    return {
        "front_too_high": float(errors.mean()),
        "one_covers_%": float(100 * (np.abs(errors) <= Z * deviations).mean()),
        "all_cover_%": float(100 * np.mean(together)),
        "noise_found": float(np.median([each.noise for each in fronts])),
        "degrees_of_freedom": float(np.median([each.freedom for each in fronts])),
    }


def rows(world: World, searches: Iterable[int], noises: Sequence[float]) -> list[dict[str, object]]:
    """Search with each noise, with reference networks and without, repeated and not."""
    kinds = (
        ("none", "all", 0),
        ("reference networks", "all", REPEATED),
        ("first six", "none", REPEATED),
    )
    found: list[dict[str, object]] = []
    for noise in noises:
        for name, references, repeated in kinds:
            fronts = [
                front_of(world, searched(world, n, noise, repeated=repeated, references=references))
                for n in searches
            ]
            found.append({"noise": noise, "repeated": name} | row_of(fronts))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--searches", type=int, default=20)
    parser.add_argument("--first", type=int, default=0)
    asked = parser.parse_args()
    searches = range(asked.first, asked.first + asked.searches)
    table = rows(World.read(TABLE), searches, (QUIET, 2.0, LOUD))
    show(rows_table("fronts", table, f"Fronts of {asked.searches} searches against the truth"))


if __name__ == "__main__":
    main()
