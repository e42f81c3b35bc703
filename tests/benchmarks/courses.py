"""Searches of real spaces without training: the search's own course and policy, told accuracies
that are made up.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import log10

from blocksearch import Grammar, Network, cost
from blocksearch.arch.notation import format_network
from blocksearch.search.course import Course
from blocksearch.search.definition import Judged, Wishes, define
from blocksearch.search.loop import policy_of
from blocksearch.search.policy import Step, Told
from blocksearch.space.candidates import Candidates


class Smooth:
    """An objective: percent that rise with the logarithm of the FLOPs and the words of a network's
    text, plus noise by seed.
    """

    def __init__(self, noise: float = 1.0) -> None:
        self.noise = noise

    def __call__(self, network: Network, seed: int) -> float:
        words = format_network(network).replace("[", " ").replace("]", " ").split()
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

    def course(self, wishes: Wishes, trials: int) -> Course:
        """Begin a search, as a driver does."""
        judged = Judged("made", "", "", "", 1, "made up")
        definition = define("made", self.whole, self.budgets, self.affordable, judged, wishes)
        return Course(policy_of(Candidates(self.affordable, wishes.seed), definition), trials)


def take(course: Course, steps: int | None = None) -> list[Told]:
    """Take so many steps, or all that are left, each told before the next is decided; return what
    has counted.
    """
    objective = Smooth()
    while (steps is None or len(course.told) < steps) and (step := course.next()) is not None:
        course.finish(step, (objective(course.policy.pool.network(step.row), step.seed),))
    return course.told


def new(told: Sequence[Told]) -> list[Step]:
    """Return the steps that began a trial."""
    return [each.step for each in told if each.step.kind == "new"]


def _share(text: str) -> float:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]) / 2**32
