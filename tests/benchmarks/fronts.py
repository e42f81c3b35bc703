"""Do the intervals of a front hold? Searches of a small space whose truth is known, with fresh
noise of a stated spread in every training.

    python -m tests.benchmarks.fronts [--searches 100] [--first 0]

The truth is the mean of a network in the table of `tiny`. A search has the reference networks and
40 more, and one seed for its front. *The table's own* noise is each network's between its three
seeds, 1 to 13 points; the model knows one noise for all, so it is not made for that. *As if it were
known* takes the pooled noise for the noise; *guessed* repeats no network and takes it to be 2.0: it
is the control, which must fail.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from blocksearch.report.console import show
from blocksearch.report.table import Report, rows_table
from blocksearch.runs.metrics import Floats
from blocksearch.search.config import StudyConfig
from blocksearch.search.definition import REPEATED
from blocksearch.search.objectives import front
from blocksearch.search.observations import Fitted, Observations
from blocksearch.search.results import Z, simultaneous_z
from blocksearch.search.schedule import TrialQueue, policy_of
from blocksearch.search.stored_study import StoredStudy, made_of, objective_costs
from blocksearch.search.trials import Trial
from blocksearch.space.candidates import Candidates
from tests.benchmarks.queues import done
from tests.benchmarks.replay import World

TABLE = Path(__file__).parent.parent.parent / "studies" / "tiny-gtsrb.csv"
NETWORKS = 40  # beside the reference networks
LOUD, MIDDLE, QUIET = 4.35, 2.0, 0.7  # percentage points between seeds
OWN = None  # each network's own, as in the table
AVERAGED, KNOWN, GUESSED = "averaged over the noise", "as if it were known", "guessed (control)"


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
    world: World, number: int, noise: float | None, *, repeated: int = REPEATED, **asked: object
) -> StoredStudy:
    """Search once; return the study as its file would have it."""
    config = StudyConfig(**({"seed": number, "seeds": 1} | asked))
    prices = world.prices(number)
    definition = replace(world.definition(prices, config), repeated=repeated)
    queue = TrialQueue(policy_of(prices, definition), NETWORKS)
    rng = np.random.default_rng([number, 27])
    while (trial := queue.next()) is not None:
        name = prices.pool.network(trial.row).digest
        spread = world.finals[name].std(ddof=1) if noise is None else noise
        accuracy = float(np.clip(world.truths[name] + rng.normal(0, spread), 0, 100))
        queue.finish(told(prices.pool, trial, accuracy))
    trials = (replace(trial, row=trial.number) for trial in queue.told)  # as a file has them
    return StoredStudy(
        name="searched", others=(), definition=definition.as_data(), trials=tuple(trials)
    )


def front_of(world: World, study: StoredStudy, rule: str = AVERAGED) -> Front:
    """Hold the front of a study against the truth."""
    observed = Observations(study.definition["rungs"]).of(study.trials)
    fit = Fitted.of(observed, study.sizes, partial(made_of, study))
    means, deviations = fit.averaged() if rule == AVERAGED else fit.model.settled(fit.seen)
    chosen = front(np.column_stack([means, objective_costs(study, fit.rows)]))
    truths = np.array([world.truths[study.first[each].network] for each in fit.rows])
    errors: Floats = means - truths
    noise = fit.noise
    return Front(tuple(errors[chosen]), tuple(deviations[chosen]), noise.deviation, noise.freedom)


def row_of(fronts: Sequence[Front]) -> dict[str, float]:
    """Bring searches together: how far fronts are too high, and what their intervals cover."""
    errors, deviations = (
        np.concatenate([getattr(each, name) for each in fronts])
        for name in ("errors", "deviations")
    )
    together = [
        (np.abs(own.errors) <= simultaneous_z(len(own.errors)) * np.array(own.deviations)).all()
        for own in fronts
    ]
    # members of one front are no independent draws: the error of a ratio over searches
    off = [float(np.sum(own.errors) - len(own.errors) * errors.mean()) for own in fronts]
    return {
        "front_too_high": float(errors.mean()),
        "standard_error": float(np.linalg.norm(off) / len(errors)),
        "one_covers_%": float(100 * (np.abs(errors) <= Z * deviations).mean()),
        "all_cover_%": float(100 * np.mean(together)),
        "noise_found": float(np.median([each.noise for each in fronts])),
        "degrees_of_freedom": float(np.median([each.freedom for each in fronts])),
    }


def rows_of(
    world: World, searches: Sequence[int], noise: float | None
) -> dict[str, dict[str, float]]:
    """Search with a noise; return what fronts say by each rule."""
    repeated = [searched(world, n, noise) for n in searches]
    found = {
        rule: row_of([front_of(world, study, rule) for study in repeated])
        for rule in (AVERAGED, KNOWN)
    }
    if noise not in (QUIET, MIDDLE):  # there the guess is not too low, and nothing fails
        without = [searched(world, n, noise, repeated=0) for n in searches]
        found[GUESSED] = row_of([front_of(world, study, GUESSED) for study in without])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--searches", type=int, default=100)
    parser.add_argument("--first", type=int, default=0)
    asked = parser.parse_args()
    searches = range(asked.first, asked.first + asked.searches)
    world = World.read(TABLE)
    table = [
        {"noise": "the table's own" if noise is None else noise, "rule": rule} | row
        for noise in (QUIET, MIDDLE, LOUD, OWN)
        for rule, row in rows_of(world, searches, noise).items()
    ]
    title = f"Fronts of {asked.searches} searches against the truth"
    show(Report(title=title, tables=(rows_table("fronts", table),)))


if __name__ == "__main__":
    main()
