"""Schedules the learning rate, as a share of it at each step, counted from 0, of all steps.

`warmup` is the share of the steps over which the rate rises on a straight line; the schedule has
the rest. A schedule is added in one place: a class here and its name in `SCHEDULES`, or one of your
own handed to `SCHEDULES.register`. No torch here.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from blocksearch.training.registry import Registry, within

Schedule = Callable[[int, int], float]


class Warmed:
    """A schedule after a warm-up: a subclass says what comes `after`, in the steps left."""

    warmup: float

    def __post_init__(self) -> None:
        within("warmup", self.warmup, 0, 1)

    def __call__(self, step: int, steps: int) -> float:
        """Return the share of the learning rate at a step."""
        warm = max(1, int(steps * self.warmup)) if self.warmup else 0
        if step < warm:
            return (step + 1) / warm
        return self.after(step - warm, max(1, steps - warm))

    def after(self, step: int, steps: int) -> float:
        """Return the share at a step of those after the warm-up."""
        return 1.0


@dataclass(frozen=True)
class ConstantRate(Warmed):
    """Keep the learning rate as it is.

    >>> ConstantRate()(7, 10)
    1.0
    """

    warmup: float = 0.0


@dataclass(frozen=True)
class LinearRate(Warmed):
    """Warm up, then fall to zero on a straight line.

    >>> [LinearRate()(step, 10) for step in (0, 1, 9)]
    [1.0, 1.0, 0.1111111111111111]
    """

    warmup: float = 0.1

    def after(self, step: int, steps: int) -> float:
        """Return what is left of the steps."""
        return (steps - step) / steps


@dataclass(frozen=True)
class CosineRate(Warmed):
    """Warm up, then fall to zero along half a cosine (Loshchilov & Hutter, 2017, no restarts).

    >>> round(CosineRate(warmup=0)(5, 10), 3)
    0.5
    """

    warmup: float = 0.1

    def after(self, step: int, steps: int) -> float:
        """Return half of one plus the cosine."""
        return 0.5 * (1 + math.cos(math.pi * step / steps))


@dataclass(frozen=True)
class StepRate(Warmed):
    """Multiply the rate by `factor` after each `every`th share of the steps.

    >>> [StepRate(every=0.5)(step, 10) for step in (4, 5)]
    [1.0, 0.1]
    """

    every: float = 0.3
    factor: float = 0.1
    warmup: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        within("factor", self.factor, 0, 1)
        within("every", self.every, 0.001, 1)

    def after(self, step: int, steps: int) -> float:
        """Return a power of the factor."""
        return self.factor ** (step // max(1, round(self.every * steps)))


SCHEDULES: Registry[Schedule] = Registry(
    "schedule",
    {"constant": ConstantRate, "linear": LinearRate, "cosine": CosineRate, "step": StepRate},
)
