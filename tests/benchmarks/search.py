"""How few trainings does a search need? All samplers on the table of a small space, replayed with
the noise of its stored seeds.

    python -m tests.benchmarks.search studies/tiny-gtsrb.csv [--seeds 20] [--samplers
    evolution,random] [--json FILE]

Every search begins with the named points, once each, which are not counted. Without repeated seeds
a training is a network; `evolution, 3 seeds` repeats the networks of its front, and each repetition
counts. Hypervolumes are of the truth about everything trained so far, as percentages of the whole
table's. The threshold is what random search has after half the space, the median over seeds.
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cache
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from blocksearch.errors import BlocksearchError
from blocksearch.report.console import show
from blocksearch.report.table import Report, rows_table
from blocksearch.runs.metrics import Floats
from blocksearch.search.config import read_rungs
from blocksearch.search.samplers import OPTUNA
from tests.benchmarks.replay import Arm, Walk, World, epsilon, greedy, raced, replay

ARMS = (
    Arm("random", "random", 10**6),
    Arm("evolution", "evolution", 150),
    Arm("evolution, 3 seeds", "evolution", 150, seeds=3),
    Arm("nsga2", "nsga2", 150),
    Arm("tpe", "tpe", 150, least=60),
    Arm("gp", "gp", 100, least=60),
)
SHOWN = (0, 5, 10, 15, 20, 30, 40, 60, 80, 100, 150)
COMPARED = 150  # trainings over which the band runs
DRAWS, CONFIDENCE = 4000, 0.95
RACED = 200

Rows = list[dict[str, object]]


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Return median, lower and upper quartile; infinite where the values between which it lies
    are.
    """
    finite = np.minimum(np.array(values, float), 1e12)
    lower, middle, upper = (
        float(each) if each < 1e9 else np.inf for each in np.quantile(finite, (0.25, 0.5, 0.75))
    )
    return middle, lower, upper


def trainings_to(shares: Sequence[float], threshold: float) -> float:
    """Return after how many trainings a curve, which begins with none, is at a threshold; infinite
    where it never is.
    """
    return float(next((place for place, share in enumerate(shares) if share >= threshold), np.inf))


def lower_band(differences: Floats, seed: int = 0) -> Floats:
    """Return the lower end of a simultaneous band of the mean of curves (searches × trainings), by
    a max-t bootstrap.
    """
    count = len(differences)
    mean, error = (
        differences.mean(0),
        np.maximum(differences.std(0, ddof=1) / np.sqrt(count), 1e-12),
    )
    picks = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), DRAWS)
    moved = (picks @ differences / count - mean) * np.sqrt(
        count / (count - 1)
    )  # resampling makes means a little too steady
    found: Floats = mean - np.quantile(np.abs(moved / error).max(1), CONFIDENCE) * error
    return found


def curves(walks: Sequence[Walk]) -> Floats:
    """Return the curves of some walks, searches × trainings, as far as all have them."""
    length = min(len(walk.shares) for walk in walks)
    return np.array([walk.shares[:length] for walk in walks])


# Tables.


def anytime(found: Mapping[str, Sequence[Walk]]) -> Rows:
    """Return median hypervolume and quartiles after some trainings; nothing where not all searches
    went so far.
    """
    rows: Rows = []
    for place in SHOWN:
        row: dict[str, object] = {"trainings": place}
        for name, walks in found.items():
            known = all(len(walk.shares) > place for walk in walks)
            row[name] = (
                "{:.1f} ({:.1f} – {:.1f})".format(
                    *quartiles([100 * w.shares[place] for w in walks])
                )
                if known
                else ""
            )
        rows.append(row)
    return rows


def speeds(found: Mapping[str, Sequence[Walk]], threshold: float) -> Rows:
    """Return how many trainings each sampler needs to the threshold, and against random search and
    the best of Optuna's.
    """
    needed = {
        name: quartiles([trainings_to(walk.shares, threshold) for walk in walks])
        for name, walks in found.items()
    }
    most = {name: max(len(walk.shares) for walk in walks) - 1 for name, walks in found.items()}
    best = min((needed[name][0] for name in OPTUNA if name in needed), default=np.inf)
    return [
        {
            "sampler": name,
            "trainings_to_threshold": _within(middle, most[name]),
            "quartiles": f"{_within(lower, most[name])} – {_within(upper, most[name])}",
            "of_random's": _ratio(middle, needed["random"][0]),
            "of_the_best_of_Optuna's": _ratio(middle, best),
            "searches_there": sum(
                trainings_to(walk.shares, threshold) < np.inf for walk in found[name]
            ),
            "searches": len(found[name]),
        }
        for name, (middle, lower, upper) in needed.items()
    ]


def _within(value: float, most: int) -> str:
    return f"{value:g}" if value < np.inf else f"> {most}"


def _ratio(value: float, other: float) -> float | None:
    return value / other if value < np.inf and other < np.inf else None


def bands(found: Mapping[str, Sequence[Walk]]) -> Rows:
    """Return where the band of each other sampler's difference to random search is lowest."""
    rows: Rows = []
    random = curves(found["random"])
    for name, walks in found.items():
        own = curves(walks)[:, : COMPARED + 1]
        length = min(own.shape[1], random.shape[1])
        if name == "random" or len(walks) < 2 or length < 2:
            continue
        differences = 100 * (own[:, 1:length] - random[:, 1:length])
        lower = lower_band(differences)
        rows.append(
            {
                "sampler": name,
                "trainings": length - 1,
                "lowest_of_the_band": float(lower.min()),
                "there_after": int(lower.argmin()) + 1,
                "mean_there": float(differences.mean(0)[lower.argmin()]),
                "above_0_from": int(np.append(np.flatnonzero(lower <= 0) + 2, 1).max()),
            }
        )
    return rows


def reports(found: Mapping[str, Sequence[Walk]]) -> Rows:
    """Return what the truth of the reported front is worth, against the truth of all that the same
    search trained.
    """
    return [
        {
            "sampler": name,
            "trainings": float(np.median([len(walk.shares) - 1 for walk in walks])),
            "reported": quartiles([100 * walk.reported_share for walk in walks])[0],
            "trained": quartiles([100 * walk.shares[-1] for walk in walks])[0],
            "reported_of_trained_%": quartiles(
                [100 * walk.reported_share / walk.shares[-1] for walk in walks]
            )[0],
            "lowest_%": min(100 * walk.reported_share / walk.shares[-1] for walk in walks),
        }
        for name, walks in found.items()
    ]


def timings(found: Mapping[str, Sequence[Walk]]) -> Rows:
    """Return milliseconds of a decision around some trainings: median and mean over ten decisions
    and all searches.
    """
    rows: Rows = []
    for name, walks in found.items():
        row: dict[str, object] = {"sampler": name}
        for place in (50, 100, 250):
            taken = [
                1e3 * second for walk in walks for second in walk.seconds[place - 8 : place + 8]
            ]
            row |= {f"ms_at_{place}": float(np.median(taken)) if taken else None}
            row |= {f"mean_at_{place}": float(np.mean(taken)) if taken else None}
        rows.append(row)
    return rows


def races(whole: Sequence[Walk], racing: Mapping[str, Sequence[Walk]]) -> Rows:
    """Return what searches save and lose, each against the one of the same seed that trains
    everything whole.

    Beside them stands what the whole searches differ by among themselves: each against the one of
    the next seed.
    """
    rows: Rows = []
    pairs = {name: list(zip(whole, walks, strict=True)) for name, walks in racing.items()}
    others = {"another seed, whole": [(one, whole[place - 1]) for place, one in enumerate(whole)]}
    for name, each in (pairs | others).items():
        lost = quartiles([epsilon(one.reported, other.reported) for one, other in each])
        rows.append(
            {
                "search": name,
                "epochs": float(np.median([other.epochs for _, other in each])),
                "of_the_whole_one's": quartiles([other.epochs / one.epochs for one, other in each])[
                    0
                ],
                "epsilon_points": lost[0] if lost[0] < np.inf else None,
                "quartiles": f"{lost[1]:.2f} – {lost[2]:.2f}",
                "reported_front": quartiles([100 * other.reported_share for _, other in each])[0],
                "whole_one's_front": quartiles([100 * one.reported_share for one, _ in each])[0],
            }
        )
    return rows


# Replays.


@cache
def _world(file: Path, space: str, dataset: str) -> World:
    return World.read(file, space, dataset)


def _one(where: tuple[Path, str, str], arm: Arm, number: int, threshold: float) -> Walk:
    return replay(_world(*where), arm, number, threshold)


def walks_of(
    pool: ProcessPoolExecutor,
    where: tuple[Path, str, str],
    arm: Arm,
    seeds: range,
    threshold: float = np.inf,
) -> list[Walk]:
    """Replay an arm with each search seed."""
    found = []
    for walk in pool.map(_one, repeat(where, len(seeds)), repeat(arm), seeds, repeat(threshold)):
        found.append(walk)
        if len(found) % 5 == 0 or len(found) == len(seeds):
            print(f"{arm.name}: {len(found)} of {len(seeds)} searches", file=sys.stderr, flush=True)
    return found


def arms_for(samplers: Sequence[str], trials: int | None, members: int) -> list[Arm]:
    """Return the arms of some samplers, random search first, which gets all members."""
    chosen = [arm for arm in ARMS if arm.sampler in samplers or arm.sampler == "random"]
    return [
        replace(arm, most=members if arm.sampler == "random" else min(members, trials or arm.most))
        for arm in chosen
    ]


def compare(asked: argparse.Namespace) -> dict[str, Rows]:
    """Replay everything; return the tables by their titles."""
    where = (asked.table, asked.space, asked.dataset)
    world = _world(*where)
    half = world.grammar.size // 2
    seeds = range(asked.first, asked.first + asked.seeds)
    with ProcessPoolExecutor(asked.workers, get_context("spawn")) as pool:
        first, *others = arms_for(asked.samplers.split(","), asked.trials, world.grammar.size)
        found = {first.name: walks_of(pool, where, first, seeds)}
        threshold = float(np.median(curves(found[first.name])[:, half]))
        found |= {arm.name: walks_of(pool, where, arm, seeds, threshold) for arm in others}
        arms = raced(ARMS[1], read_rungs(asked.rungs), asked.raced)
        racing = (
            {arm.name: walks_of(pool, where, arm, seeds) for arm in arms} if asked.rungs else {}
        )
    tables = {
        "Hypervolume after so many trainings, % of the whole table's: median over searches "
        "(quartiles)": anytime(found),
        f"Trainings to {100 * threshold:.2f} %, which random search has after {half}; who knew "
        "the truth would need "
        f"{trainings_to(greedy(world), threshold):g}": speeds(found, threshold),
        f"Simultaneous {CONFIDENCE:.0%} band of the mean difference to random search, % of the "
        "whole hypervolume": bands(found),
        "Truth of the reported front, and of everything trained, % of the whole hypervolume, "
        "medians": reports(found),
        "Milliseconds of a decision": timings(found),
    }
    if racing:
        whole, *rest = racing
        title = (
            f"Races: {asked.raced} networks and {arms[0].seeds} seeds of what is reported, medians"
        )
        tables[title] = races(racing[whole], {name: racing[name] for name in rest})
    return {f"{title}; {asked.seeds} searches": rows for title, rows in tables.items()}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", type=Path, help="what `blocksearch tabulate` wrote")
    parser.add_argument("--space", default="tiny", help="the space that was tabulated: tiny")
    parser.add_argument(
        "--dataset", default="gtsrb", help="the data set that it was tabulated on: gtsrb"
    )
    parser.add_argument("--seeds", type=int, default=20, help="searches with each sampler")
    parser.add_argument("--first", type=int, default=0, help="seed of the first search")
    parser.add_argument("--samplers", default=",".join(dict.fromkeys(arm.sampler for arm in ARMS)))
    parser.add_argument("--trials", type=int, help="networks of each sampler but random, at most")
    parser.add_argument("--rungs", default="1,5", help="of the races; none with an empty text")
    parser.add_argument(
        "--raced", type=int, default=RACED, help="networks of the searches with and without rungs"
    )
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def main() -> None:
    asked = _arguments()
    os.environ["OMP_NUM_THREADS"] = "1"  # read by the processes that replay
    try:
        tables = compare(asked)
    except BlocksearchError as error:
        sys.exit(str(error))
    title = _world(asked.table, asked.space, asked.dataset).table.title
    print(title)
    for name, rows in tables.items():
        show(Report(title=name, tables=(rows_table(name, rows),)))
    if asked.json:
        asked.json.write_text(
            json.dumps({"table": title, **tables}, indent=1, allow_nan=False) + "\n"
        )


if __name__ == "__main__":
    main()
