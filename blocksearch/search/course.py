"""The steps of a search in their order: which comes next, and which have counted. No clock and no
file has a say in it.

A step is decided by the study's seed, its number, and the results of all steps but the last few
(the lag): never by the order in which trainings happen to end. So a killed search and an
uninterrupted one, or one with more workers, take the same steps.
"""

from collections.abc import Sequence

from blocksearch.search.definition import LAG
from blocksearch.search.policy import Policy, Step, Told


class Course:
    """A search under way; `trials` is how many networks there are to be in all, `told` the steps
    that have counted before.
    """

    def __init__(self, policy: Policy, trials: int, told: Sequence[Told] = ()) -> None:
        self.policy, self.trials, self.told = policy, trials, list(told)
        self._pending: list[Step] = []
        self._finished: dict[int, tuple[float, ...]] = {}

    @property
    def networks(self) -> int:
        """How many networks have counted."""
        return sum(each.step.kind == "new" for each in self.told)

    def next(self) -> Step | None:
        """Decide a step from no more results than it may know; None where that has to wait, or
        nothing is left to do.
        """
        number = len(self.told) + len(self._pending)
        for known in range(
            max(0, number - (self.policy.wishes.lag or LAG) + 1), len(self.told) + 1
        ):
            pending = [each.step for each in self.told[known:]] + self._pending
            step = self.policy.decide(self.told[:known], pending, self.trials)
            if step is not None:
                self._pending.append(step)
                return step
        return None

    def finish(self, step: Step, accuracies: tuple[float, ...]) -> list[Told]:
        """Take a result, and return the steps that count now: each waits for those before it."""
        self._finished[step.number] = accuracies
        counted = []
        while self._pending and self._pending[0].number in self._finished:
            first = self._pending.pop(0)
            counted.append(Told(first, self._finished.pop(first.number)))
        self.told += counted
        return counted
