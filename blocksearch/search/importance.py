"""Estimates which factors put a network on the front, and what each level does, from a study's
trials alone and with uncertainty.

The true accuracies of the trained networks are drawn from what the search's model knows, each
network by itself; each draw has its own Pareto front. The importance of a factor is how far its
levels on the front differ from those of all networks trained, in bits, less what a random choice of
as many networks gives. So a factor that does not matter is at 0, within its interval.

A level's effect on accuracy is the model's mean over the trained networks with that level in place
of their own, against the mean over levels. The exchanged networks' costs are counted. Of N networks
averaged, what features do not explain (τ²) adds 2τ²/N to the variance.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blocksearch.errors import ConfigError
from blocksearch.runs.location import Location
from blocksearch.runs.measures import ACCURACY, Metric
from blocksearch.runs.metrics import Floats
from blocksearch.search.exchange import Exchange, exchanged_costs
from blocksearch.search.objectives import dominated
from blocksearch.search.observations import Fitted
from blocksearch.search.results import Z, plain
from blocksearch.search.stored_study import (
    StoredStudy,
    expected_further,
    fitted,
    objective_costs,
    open_study,
)
from blocksearch.search.surrogate import MODELLED
from blocksearch.space.encoding import Choice

DRAWS = 400
Interval = tuple[float, float]


@dataclass(frozen=True)
class Estimate:
    """A mean and its 95 % interval."""

    mean: float
    interval: Interval


@dataclass(frozen=True, kw_only=True)
class Level:
    """A level of a factor among the networks trained that have one.

    `networks` are how many have it; `share` is their share of all, `on_front` its share on the
    front, `lift` the quotient. `accuracy` is its effect in percentage points and `flops` in log10,
    against the mean over the factor's levels; None if it was never trained, or if no network
    can be read from its text with the levels exchanged.
    """

    name: str
    networks: int
    share: float
    on_front: Estimate | None
    lift: Estimate | None
    accuracy: Estimate | None
    flops: float | None


@dataclass(frozen=True, kw_only=True)
class FactorImportance:
    """The importance of a factor in bits, beyond that of as many networks chosen by chance.

    `exchanged` is in how many networks its levels could be exchanged.
    """

    name: str
    importance: Estimate
    levels: tuple[Level, ...]
    exchanged: int


@dataclass(frozen=True, kw_only=True)
class Effects:
    """The factors of a study, the most important first; `networks` are those with results, which
    were `chosen` by what a sampler believed, or drawn at random.
    """

    name: str
    title: str
    others: tuple[str, ...]
    networks: int
    front: Estimate
    factors: tuple[FactorImportance, ...]
    chosen: bool
    metric: Metric = ACCURACY

    def __repr__(self) -> str:
        counts = f"{len(self.factors)} factors of {self.networks:,} networks"
        return f"<Effects in study {self.name!r}: {counts}>"


def study_effects(location: str, name: str | None = None) -> Effects:
    """Read a study and say what its factors do. Raises StoreError or ConfigError if that cannot
    be said.
    """
    study = open_study(location, name)
    if not isinstance(study, StoredStudy):
        raise ConfigError(
            f"study {plain(study[0])} of {Location(location)} was made with Optuna alone: "
            "importance is of studies of blocksearch"
        )
    return effects_of(study)


def effects_of(study: StoredStudy, draws: int = DRAWS) -> Effects:
    """Say what the factors of a study do. Raises ConfigError if it has no result."""
    fit = fitted(study)
    rng = np.random.default_rng(0)
    fronts = _fronts(study, fit, draws, rng)
    networks = [study.first[each].text for each in fit.rows]
    choices = list(map(Choice.read, study.choices))
    exchange = Exchange(networks, choices, MODELLED)
    factors = []
    for place, (choice, values) in enumerate(zip(choices, study.choices.values(), strict=True)):
        codes = fit.codes[:, place]
        bits = importance(codes, len(values), fronts, rng)
        exchanged, effects = _contrasts(fit, exchange, place, choice, values)
        levels = _levels(codes, tuple(map(plain, values)), fronts, effects)
        factors.append(
            FactorImportance(
                name=plain(str(choice)), importance=bits, levels=levels, exchanged=exchanged
            )
        )
    factors.sort(key=lambda factor: -factor.importance.mean)
    return Effects(
        name=plain(study.name),
        title=plain(study.definition["title"]),
        others=tuple(map(plain, study.others)),
        networks=len(fit.rows),
        front=_estimate(fronts.sum(1)),
        factors=tuple(factors),
        chosen=study.sampler != "random",
        metric=study.metric,
    )


def _fronts(
    study: StoredStudy, fit: Fitted, draws: int, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Draw what is measured of each network, and say which are on the front, draws × N."""
    means, deviations = fit.averaged()
    costs = objective_costs(study, fit.rows)
    further, beside = expected_further(study, fit.rows)
    if not (further.measures or further.limits):
        return drawn_fronts(means, deviations, costs, draws, rng)
    found = np.zeros((draws, len(means)), bool)
    for row in found:
        accuracies = means + deviations * rng.standard_normal(len(means))
        drawn = further.drawn(beside, rng)
        keeps = np.flatnonzero(further.feasible(accuracies, drawn))
        points = np.column_stack([accuracies, costs, further.losses(drawn)])[keeps]
        row[keeps] = ~dominated(points)
    return found


def drawn_fronts(
    means: Floats, deviations: Floats, costs: Floats, draws: int, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Draw accuracies of N networks, each independently normal, and say which are on the front,
    draws × N.
    """
    accuracies = means + deviations * rng.standard_normal((draws, len(means)))
    hopeful = np.flatnonzero(~_always_beaten(accuracies, costs))
    found = np.zeros(accuracies.shape, bool)
    for row, drawn in zip(found, accuracies, strict=True):
        row[hopeful] = ~dominated(np.column_stack([drawn[hopeful], costs[hopeful]]))
    return found


def importance(
    codes: NDArray[np.int16], levels: int, fronts: NDArray[np.bool_], rng: np.random.Generator
) -> Estimate:
    """Return how many bits the levels on the front differ by, less those of as many networks chosen
    by chance in each draw.
    """
    known = codes >= 0
    codes, fronts = codes[known], fronts[:, known]
    if not len(codes):
        return Estimate(0.0, (0.0, 0.0))
    chance = rng.permuted(fronts, axis=1)
    return _estimate(_bits(codes, levels, fronts) - _bits(codes, levels, chance))


def _always_beaten(accuracies: Floats, costs: Floats) -> NDArray[np.bool_]:
    """Say which networks at their best are dominated by another at its worst. They are on no front,
    so they need not be compared.
    """
    worst = np.column_stack([accuracies.min(0), costs])
    bar = worst[~dominated(worst)]
    best = np.column_stack([accuracies.max(0), costs])
    found = np.zeros(len(best), bool)
    for point in bar:
        found |= (point[0] > best[:, 0]) & (point[1:] <= best[:, 1:]).all(1)
    return found


def _bits(codes: NDArray[np.int16], levels: int, chosen: NDArray[np.bool_]) -> Floats:
    """Return, for each draw, the Kullback–Leibler divergence of the chosen networks' levels from
    those of all.
    """
    marks = np.eye(levels)[codes]
    everywhere = marks.mean(0)
    counts = chosen @ marks
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1.0)
    found: Floats = (
        shares * np.log2(np.where(shares > 0, shares / np.maximum(everywhere, 1e-12), 1.0))
    ).sum(1)
    return found


def _levels(
    codes: NDArray[np.int16],
    names: Sequence[str],
    fronts: NDArray[np.bool_],
    effects: Mapping[int, tuple[Estimate, float]],
) -> tuple[Level, ...]:
    """Say what each level of a factor does, by its codes and the effects on accuracy and FLOPs."""
    known = np.flatnonzero(codes >= 0)
    sizes = np.maximum(fronts[:, known].sum(1), 1)
    found = []
    for level, name in enumerate(names):
        own = codes == level
        if not own.any():
            found.append(
                Level(
                    name=name,
                    networks=0,
                    share=0.0,
                    on_front=None,
                    lift=None,
                    accuracy=None,
                    flops=None,
                )
            )
            continue
        shares = fronts[:, own].sum(1) / sizes
        share = float(own.sum() / len(known))
        accuracy, flops = effects.get(level, (None, None))
        front, lift = _estimate(shares), _estimate(shares / share)
        found.append(
            Level(
                name=name,
                networks=int(own.sum()),
                share=share,
                on_front=front,
                lift=lift,
                accuracy=accuracy,
                flops=flops,
            )
        )
    return tuple(found)


def _contrasts(
    fit: Fitted, exchange: Exchange, place: int, choice: Choice, values: Sequence[str]
) -> tuple[int, dict[int, tuple[Estimate, float]]]:
    """Exchange the levels of a factor that were trained; all else stays as it is in each network,
    and a network in which one of them cannot be is left out of all.

    Return how many networks are left, and what levels change on average over these: effects on
    accuracy and on log10 FLOPs by level, none where no network is left.
    """
    codes, model = fit.codes[:, place], fit.model
    there = [level for level in range(len(values)) if (codes == level).any()]
    known = [int(row) for row in np.flatnonzero(codes >= 0)]
    kept, costs = exchanged_costs(exchange, known, choice, [values[level] for level in there])
    if not kept:
        return 0, {}
    rows = []
    for level, own in zip(there, costs, strict=True):
        exchanged = fit.codes[kept].copy()
        exchanged[:, place] = level
        rows.append(model.features.rows(exchanged, own).mean(0))
    changes: Floats = np.array(rows) - np.mean(rows, axis=0)
    flops = np.log10(np.maximum(costs[:, :, 0], 1.0)).mean(1)
    unexplained = 2 * model.scales.unexplained / len(kept)
    found = {}
    for level, row, log in zip(there, changes, flops - flops.mean(), strict=True):
        mean = float(row @ model.weights)
        half = Z * float(np.sqrt(max(row @ model.covariance @ row, 0.0) + unexplained))
        found[level] = Estimate(mean, (mean - half, mean + half)), float(log)
    return len(kept), found


def _estimate(values: Floats | NDArray[np.int64]) -> Estimate:
    low, high = np.quantile(values, (0.025, 0.975))
    return Estimate(float(np.mean(values)), (float(low), float(high)))


def as_rows(effects: Effects) -> list[dict[str, object]]:
    """Return the levels of all factors as rows of plain words and numbers."""
    return [
        {"factor": factor.name}
        | _spread("bits", factor.importance)
        | {"level": level.name, "networks": level.networks, "share": level.share}
        | _spread("on_front", level.on_front)
        | _spread("lift", level.lift)
        | _spread("accuracy", level.accuracy)
        | {"log10_flops": level.flops}
        for factor in effects.factors
        for level in factor.levels
    ]


def _spread(name: str, estimate: Estimate | None) -> dict[str, object]:
    """Return an estimate as three columns; empty where there is none."""
    low, high = estimate.interval if estimate else (None, None)
    return {name: estimate and estimate.mean, f"{name}_low": low, f"{name}_high": high}
