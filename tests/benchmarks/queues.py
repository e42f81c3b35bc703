"""Searches of real spaces without training: the search's own queue and policy, told accuracies
that are made up.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import log10

from blocksearch import Grammar, Network, cost
from blocksearch.search.config import StudyConfig
from blocksearch.search.definition import Evaluation, StudyDefinition, define
from blocksearch.search.objectives import Prices
from blocksearch.search.schedule import TrialQueue, policy_of
from blocksearch.search.trials import Trial, TrialKind, TrialState
from blocksearch.space.candidates import Candidates


class Smooth:
    """An objective: percent that rise with the logarithm of the FLOPs and the words of a network's
    text, plus noise by seed.
    """

    def __init__(self, noise: float = 1.0) -> None:
        self.noise = noise

    def __call__(self, network: Network, seed: int) -> float:
        words = str(network).replace("[", " ").replace("]", " ").split()
        merit = sum(_share(word) - 0.5 for word in words) / max(1, len(words)) ** 0.5
        away = self.noise * (2 * _share(f"{network.digest} {seed}") - 1)
        return min(99.0, max(1.0, 12 * log10(cost(network.layers).flops) + 8 * merit + away))


@dataclass(frozen=True)
class Space:
    """A grammar and the budgets of a search."""

    whole: Grammar
    budgets: tuple[str, ...] = ()

    @cached_property
    def affordable(self) -> Grammar:
        return self.whole.where(*self.budgets) if self.budgets else self.whole

    def queue(self, config: StudyConfig, trials: int) -> TrialQueue:
        """Begin a search, as a driver does."""
        prices = Prices(Candidates(self.affordable, config.seed), config.costs)
        definition = self.definition(prices, replace(config, budgets=self.budgets))
        return TrialQueue(policy_of(prices, definition), trials)

    def definition(self, prices: Prices, config: StudyConfig) -> StudyDefinition:
        """Define a search."""
        return define(
            "made",
            self.whole,
            prices,
            Evaluation(dataset="made", data="", protocol="", recipe="", epochs=1, title="made up"),
            config,
        )


def proposed(
    row: int,
    *,
    number: int = 0,
    kind: TrialKind = TrialKind.NEW,
    seed: int = 0,
    epochs: int = 1,
    memory: Mapping[str, object] | None = None,
) -> Trial:
    """Make a trial of a row that has no result yet."""
    return Trial(
        step=number,
        number=number,
        kind=kind,
        origin="random",
        row=row,
        seed=seed,
        epochs=epochs,
        memory=memory or {},
    )


def done(trial: Trial, *accuracies: float) -> Trial:
    """Give a trial its accuracies; one without any diverged."""
    state = TrialState.COMPLETE if accuracies else TrialState.DIVERGED
    return replace(trial, state=state, accuracies=accuracies)


def take(queue: TrialQueue, trials: int | None = None) -> list[Trial]:
    """Carry out so many trials, or all that are left, each told before the next is decided; return
    what has counted.
    """
    objective = Smooth()
    while (trials is None or len(queue.told) < trials) and (trial := queue.next()) is not None:
        network = queue.policy.pool.network(trial.row)
        queue.finish(done(trial, objective(network, trial.seed)))
    return queue.told


def new(told: Sequence[Trial]) -> list[Trial]:
    """Return the trials that began with a network."""
    return [each for each in told if each.kind == TrialKind.NEW]


def _share(text: str) -> float:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]) / 2**32
