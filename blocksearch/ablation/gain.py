"""Compares a network with random ones of a space that cost no more, and estimates its mean gain.

Members are drawn, never chosen: what a search tried is what it believes in. Each is trained with
one seed, in turn one of the network's own, so that what seeds do to all networks is on both sides.

Source: Welch 1947, Biometrika 34, 28-35, for two samples of different spread.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from blocksearch.ablation.config import GainConfig
from blocksearch.ablation.moderation import PairedMean
from blocksearch.ablation.power import two_sided
from blocksearch.ablation.stats import Verdict, interval_of
from blocksearch.arch.cost import cost
from blocksearch.arch.network import Network
from blocksearch.arch.notation import called
from blocksearch.errors import ConfigError
from blocksearch.runs.callback import Callback
from blocksearch.runs.metrics import ALPHA, spread
from blocksearch.runs.plan import Experiment, RunSettings, experiment
from blocksearch.runs.provenance import mixture, sources
from blocksearch.runs.recall import recall
from blocksearch.runs.records import Job, Run, RunKey, RunState
from blocksearch.runs.scheduler import ensure
from blocksearch.space.grammar import Grammar


@dataclass(frozen=True, kw_only=True)
class Gain:
    """What a network gains on the average of a space, in points, and how sure that is.

    `accuracies` are the network's by seed, `sampled` those of the drawn networks that completed,
    in percent. Of `asked` networks, drawn from `available` ones, `stored` had been trained before,
    and `failed` are runs without an accuracy. `interval` (95 %) has the spread among them and
    between seeds.
    """

    title: str
    network: Network
    flops: int
    available: int
    asked: int
    stored: int
    accuracies: dict[int, float]
    sampled: tuple[float, ...]
    failed: tuple[Run, ...]
    margin: float
    verdict: Verdict
    estimate: PairedMean | None
    interval: tuple[float, float] | None
    notes: tuple[str, ...]

    def record(self) -> dict[str, object]:
        """Return a flat record: accuracies in percent, differences in points."""
        own, (low, high) = self.estimate, self.interval or (None, None)
        values = list(self.accuracies.values())
        return {
            "text": str(self.network),
            "network_id": self.network.digest,
            "flops": self.flops,
            "seeds": list(self.accuracies),
            "accuracies": values,
            "accuracy": sum(values) / len(values) if values else None,
            "available": self.available,
            "sampled": len(self.sampled),
            "sampled_stored": self.stored,
            "sampled_accuracies": list(self.sampled),
            "sampled_accuracy": sum(self.sampled) / len(self.sampled) if self.sampled else None,
            "gain": own and own.mean,
            "interval_low": low,
            "interval_high": high,
            "error": own and own.error,
            "freedom": own and own.freedom,
            "p_value": own and own.p,
            "verdict": str(self.verdict),
            "margin": self.margin,
        }


def gain(
    space: str,
    grammar: Grammar,
    network: Network,
    config: GainConfig,
    settings: RunSettings,
    callback: Callback,
) -> Gain:
    """Train what is missing of a network and of networks drawn from a space, and compare them."""
    title, jobs, shared, available = plan_gain(space, grammar, network, config, settings)
    own, theirs = jobs[: len(config.seed_list)], jobs[len(config.seed_list) :]
    known = recall(theirs, settings.ledger, *settings.sources)
    runs = ensure(jobs, settings, callback)
    accuracies = _accuracies(shared, own, runs)
    found = _accuracies(shared, theirs, runs)
    estimate = welch(list(accuracies.values()), list(found.values()))
    interval, verdict = _judged(estimate, config.margin)
    return Gain(
        title=title,
        network=network,
        flops=cost(network.layers).flops,
        available=available,
        asked=len(theirs),
        stored=sum(job.key in known for job in theirs),
        accuracies={key.seed: value for key, value in accuracies.items()},
        sampled=tuple(found.values()),
        failed=tuple(run for job in jobs if (run := runs[job.key]).state is not RunState.COMPLETE),
        margin=config.margin,
        verdict=verdict,
        estimate=estimate,
        interval=interval,
        notes=tuple(filter(None, (mixture(runs.values()), sources(runs.values())))),
    )


def welch(own: Sequence[float], sampled: Sequence[float]) -> PairedMean | None:
    """Estimate the difference of two means from independent samples of different spread; None
    if either has fewer than two, or neither has a spread.

    >>> found = welch([92.0, 93.0, 94.0], [80.0, 90.0, 85.0, 89.0])
    >>> round(found.mean, 2), round(found.error, 2), round(found.freedom, 2), round(found.p, 3)
    (7.0, 2.35, 3.38, 0.05)
    """
    if min(len(own), len(sampled)) < 2:
        return None
    parts = [(spread(np.array(each)) ** 2 / len(each), len(each) - 1) for each in (own, sampled)]
    joint = sum(variance for variance, _ in parts)
    if joint == 0:
        return None
    mean = float(np.mean(own) - np.mean(sampled))
    error = math.sqrt(joint)
    freedom = joint**2 / sum(variance**2 / f for variance, f in parts)
    p = two_sided(mean / error, freedom)
    return PairedMean(n=len(own), mean=mean, error=error, freedom=freedom, p=p, p_own=p)


def _judged(found: PairedMean | None, margin: float) -> tuple[tuple[float, float] | None, Verdict]:
    if found is None:
        return None, Verdict.UNDECIDED
    decided = found.p < ALPHA
    low, high = interval_of(found, ALPHA, decided=decided) or (-100.0, 100.0)
    interval = max(low, -100.0), min(high, 100.0)
    if decided:
        return interval, Verdict.HIGHER if found.mean > 0 else Verdict.LOWER
    inside = -margin < low and high < margin
    return interval, Verdict.WITHIN if inside else Verdict.UNDECIDED


def plan_gain(
    space: str, grammar: Grammar, network: Network, config: GainConfig, settings: RunSettings
) -> tuple[str, list[Job], Experiment, int]:
    """Draw networks that cost no more than another; return what is asked, the other's trainings and
    then theirs, what these share, and of how many they were drawn.
    """
    shared, flops = experiment(settings, network), cost(network.layers).flops
    within = grammar.where(f"flops <= {flops}")
    available = within.size
    if available < 2:
        raise ConfigError(
            f"{space} has {available} networks of at most {flops:,} FLOPs, and an average needs two"
        )
    seeds, sampled = config.seed_list, within.sample(min(config.sample, available), config.draw)
    own = [shared.job(network, seed) for seed in seeds]
    theirs = [shared.job(each, seeds[k % len(seeds)]) for k, each in enumerate(sampled)]
    name = called(network, settings.protocol.dataset)
    title = (
        f"{shared.title(name, network)}; seeds {','.join(map(str, seeds))}; "
        f"against {len(sampled)} networks of {space}, drawn from its {available:,} of at "
        f"most {flops:,} FLOPs"
    )
    return title, [*own, *theirs], shared, available


def _accuracies(
    shared: Experiment, jobs: Sequence[Job], runs: dict[RunKey, Run]
) -> dict[RunKey, float]:
    found = {job.key: shared.measured(runs[job.key]).accuracy for job in jobs}
    return {key: value for key, value in found.items() if value is not None}
