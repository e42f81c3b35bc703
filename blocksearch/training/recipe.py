"""How a network is trained, as a value with a digest. No torch here: a plan can be made without it."""

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Literal, get_args

from blocksearch.errors import ConfigError, unknown

Precision = Literal["float32", "bfloat16"]


def constant(step: int, steps: int) -> float:
    """Keep the learning rate as it is."""
    return 1.0


def linear(step: int, steps: int) -> float:
    """Warm up over the first tenth of the steps, then fall to zero on a straight line."""
    warm = max(1, steps // 10)
    return min((step + 1) / warm, (steps - step) / max(1, steps - warm))


# The share of the learning rate at a step, counted from 0, of all steps of the schedule. A schedule
# of one's own is one entry more.
SCHEDULES: dict[str, Callable[[int, int], float]] = {"constant": constant, "linear": linear}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Adam, its schedule over `epochs`, batch and regularisation: all part of a run's identity.

    `schedule` is one of `SCHEDULES`. `dropout` is the rate before the classifier; None keeps the
    network's own. `bfloat16` multiplies in that precision and adds up in single; weights, their
    updates and the normalisation's statistics are single always. Raises ConfigError where a value
    is out of range.

    >>> Recipe(epochs=10, schedule="linear").title
    '10 epochs (linear schedule, batch 128, learning rate 0.001, beta1 0.75, beta2 0.999)'
    """

    epochs: int
    batch: int = 128
    learning_rate: float = 1e-3
    beta1: float = 0.75
    beta2: float = 0.999
    weight_decay: float = 0.0
    schedule: str = "constant"
    label_smoothing: float = 0.0
    dropout: float | None = None
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        _at_least(1, epochs=self.epochs)
        _at_least(2, batch=self.batch)
        if self.schedule not in SCHEDULES:
            raise unknown("schedule", self.schedule, SCHEDULES)
        if self.precision not in get_args(Precision):
            raise unknown("precision", self.precision, get_args(Precision))
        for name in ("beta1", "beta2", "label_smoothing", "dropout"):
            rate = getattr(self, name)
            if rate is not None and not 0 <= rate < 1:
                raise ConfigError(f"{name} must be at least 0 and below 1, but got {rate}")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise ConfigError(f"learning_rate must be above 0, but got {self.learning_rate}")
        if not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise ConfigError(f"weight_decay must not be negative, but got {self.weight_decay}")

    @property
    def text(self) -> str:
        """Canonical JSON: what is stored and digested."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_text(cls, text: str) -> "Recipe":
        """Read the canonical JSON of a recipe."""
        return cls(**json.loads(text))

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def title(self) -> str:
        """What a title says of it: horizon, schedule and batch, and whatever else is not as in the
        recipe of that schedule.
        """
        alike = (recipe for recipe in RECIPES.values() if recipe.schedule == self.schedule)
        usual = next(alike, RECIPES["paper"])
        told = {"epochs", "schedule", "batch"}
        own = {
            name: value
            for name, value in asdict(self).items()
            if name not in told and value != getattr(usual, name)
        }
        changed = "".join(f", {name.replace('_', ' ')} {value}" for name, value in own.items())
        epochs = "1 epoch" if self.epochs == 1 else f"{self.epochs} epochs"
        return f"{epochs} ({self.schedule} schedule, batch {self.batch}{changed})"

    def rate_at(self, step: int, steps: int) -> float:
        """Learning rate of a step counted from 0, out of the horizon's `steps`."""
        return self.learning_rate * SCHEDULES[self.schedule](step, steps)


def _at_least(least: int, **values: int) -> None:
    for name, value in values.items():
        if value < least:
            raise ConfigError(f"{name} must be at least {least}, but got {value}")


RECIPES = {
    # Section 5: Adam, learning rate 0.001, beta1 0.75. Batch and epochs are not given; beta2 is
    # Adam's own.
    "paper": Recipe(epochs=30),
    "fast": Recipe(epochs=10, learning_rate=2e-2, beta1=0.9, beta2=0.99, schedule="linear"),
}


def recipe_named(name: str, epochs: int, changes: Mapping[str, float | str | None]) -> Recipe:
    """Take a named recipe over `epochs`, with the changes that are not None. Raises ConfigError for
    what it cannot be.
    """
    if name not in RECIPES:
        raise unknown("recipe", name, RECIPES)
    given = {key: value for key, value in changes.items() if value is not None}
    return replace(RECIPES[name], epochs=epochs, **given)  # type: ignore[arg-type]
