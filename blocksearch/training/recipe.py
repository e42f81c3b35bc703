"""Defines how a network is trained, as a value with a digest, without torch."""

import hashlib
import json
import math
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, get_args

from blocksearch.arch.notation import divided
from blocksearch.errors import ConfigError, as_python, check_type, unknown
from blocksearch.training.optimizers import OPTIMIZERS
from blocksearch.training.registry import Registry, Source, load_source, within
from blocksearch.training.schedules import SCHEDULES
from blocksearch.training.transforms import TRANSFORMS, canonical

Precision = Literal["float32", "bfloat16"]
BALANCED = "balanced"
REGISTRIES: dict[str, Registry[Any]] = {
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "augment": TRANSFORMS,
}
_WHOLE = ("epochs", "batch")
_SHARES = ("beta1", "beta2", "label_smoothing", "dropout")
# What a recipe's text says always. A later field is said where it is not at its default, so that a
# recipe with nothing new keeps its digest.
_ALWAYS = (*_WHOLE, *_SHARES, "learning_rate", "weight_decay", "schedule", "precision")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Optimiser, schedule over `epochs`, batch and regularisation: all part of a run's identity.

    `optimizer` and `schedule` are texts such as "sgd(momentum=0.8)", of `OPTIMIZERS` and
    `SCHEDULES`; `augment` are several of `TRANSFORMS`. The betas are those of Adam and AdamW.
    `decay_norm` says whether weight decay acts on normalisation and biases, too. `dropout` is the
    rate before the classifier; None keeps the network's own. `class_weights` are "balanced" (in
    inverse proportion to how many training images a class has) or a number for each class.
    `bfloat16` multiplies in that precision and adds up in single; weights, their updates and the
    normalisation's statistics are single always. Raises ConfigError if a value is out of range.

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
    optimizer: str = "adam"
    decay_norm: bool = True
    class_weights: str | tuple[float, ...] | None = None
    augment: tuple[str, ...] = ()
    _sources: tuple[tuple[str, str, Source], ...] = field(default=(), init=False, repr=False)

    def __post_init__(self) -> None:
        for each in fields(self):
            if not each.name.startswith("_"):
                object.__setattr__(self, each.name, _checked(each.name, getattr(self, each.name)))
        object.__setattr__(self, "_sources", tuple(self._found_sources()))

    def _found_sources(self) -> list[tuple[str, str, Source]]:
        named = [("augment", each) for each in self.augment]
        named += [(kind, getattr(self, kind)) for kind in ("optimizer", "schedule")]
        found = [(kind, REGISTRIES[kind].name_of(text)) for kind, text in named]
        return [
            (kind, name, REGISTRIES[kind].sources[name])
            for kind, name in found
            if name in REGISTRIES[kind].sources
        ]

    @property
    def text(self) -> str:
        """Canonical JSON: what is stored and digested."""
        own = {
            each.name: getattr(self, each.name)
            for each in fields(self)
            if each.name in _ALWAYS or (each.init and getattr(self, each.name) != each.default)
        }
        if self._sources:  # of a user's own pieces the source counts, too
            own["sources"] = {f"{kind} {name}": own.digest for kind, name, own in self._sources}
        return json.dumps(own, sort_keys=True, separators=(",", ":"))

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Return the fields that a text leaves out, at what they are then."""
        own = (each for each in fields(cls) if each.init and each.name not in _ALWAYS)
        return {each.name: each.default for each in own}

    @classmethod
    def from_text(cls, text: str) -> "Recipe":
        """Read what `text` wrote. Raises ConfigError if a user's piece is not known, or is not
        what it was.

        >>> Recipe.from_text(Recipe(epochs=3, optimizer="sgd").text).optimizer
        'sgd'
        """
        check_type("a recipe's text", text, str)
        try:
            stored = {**json.loads(text)}
        except (ValueError, TypeError) as error:
            raise ConfigError(
                f"a recipe's text is what `text` wrote, but got {text!r:.80}"
            ) from error
        stored.pop("sources", None)
        found = cls(**stored)
        if found.text != text:
            raise ConfigError(f"the source of a piece of this recipe changed: {text}")
        return found

    @property
    def transforms(self) -> tuple[str, ...]:
        """The names of what it does to training images."""
        return tuple(TRANSFORMS.name_of(text) for text in self.augment)

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def title(self) -> str:
        """What a title says of it: horizon, schedule and batch, and whatever else is not as in the
        recipe of that schedule.
        """
        usual = RECIPES["fast" if self.schedule == RECIPES["fast"].schedule else "paper"]
        told = {"epochs", "schedule", "batch"}
        own = {
            each.name: getattr(self, each.name)
            for each in fields(self)
            if each.init and each.name not in told
        }
        changed = "".join(
            f", {name.replace('_', ' ')} {_shown(value)}"
            for name, value in own.items()
            if value != getattr(usual, name)
        )
        epochs = "1 epoch" if self.epochs == 1 else f"{self.epochs} epochs"
        return f"{epochs} ({self.schedule} schedule, batch {self.batch}{changed})"

    def load_sources(self) -> None:
        """Make a user's own pieces known in this process. Raises ConfigError if they changed."""
        for kind, name, source in self._sources:
            load_source(REGISTRIES[kind], name, source)

    def check_classes(self, classes: int) -> None:
        """Raise ConfigError unless class weights are as many as there are classes."""
        weights = self.class_weights
        if isinstance(weights, tuple) and len(weights) != classes:
            raise ConfigError(
                f"class_weights must be one number for each of {classes} classes, but are "
                f"{len(weights)}"
            )


def _checked(name: str, value: Any) -> Any:
    """Return a field's value in its one form. Raises ConfigError for what it cannot be."""
    value = as_python(value)
    match name:
        case "epochs" | "batch":
            least = 1 if name == "epochs" else 2
            if not isinstance(value, int) or isinstance(value, bool):
                raise ConfigError(f"{name} must be a whole number, but got {value!r}")
            within(name, value, least)
            return value
        case "optimizer" | "schedule":
            if not isinstance(value, str):
                raise ConfigError(f"{name} must be a text such as 'linear', but got {value!r}")
            return REGISTRIES[name].canonical(value)
        case "precision":
            if not isinstance(value, str) or value not in get_args(Precision):
                raise unknown("precision", str(value), get_args(Precision))
            return value
        case "decay_norm":
            if not isinstance(value, bool):
                raise ConfigError(f"{name} must be true or false, but got {value!r}")
            return value
        case "class_weights":
            return _class_weights(value)
        case "augment":
            texts = [*filter(None, divided(value, at="[,+]"))] if isinstance(value, str) else value
            listed = isinstance(texts, tuple | list)
            if not listed or not all(isinstance(each, str) for each in texts):
                raise ConfigError(f"augment must be a text such as 'flip', but got {value!r}")
            return canonical(texts)
        case _:
            return _rate(name, value)


def _rate(name: str, value: Any) -> float | None:
    if value is None and name == "dropout":
        return None
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ConfigError(f"{name} must be a number, but got {value!r}")
    if name == "learning_rate" and not (math.isfinite(value) and value > 0):
        raise ConfigError(f"learning_rate must be above 0, but got {value}")
    if name == "weight_decay" and not (math.isfinite(value) and value >= 0):
        raise ConfigError(f"weight_decay must not be negative, but got {value}")
    if name in _SHARES:
        within(name, value, 0, 1)
    return float(value)


def _class_weights(value: Any) -> str | tuple[float, ...] | None:
    if value is None or (isinstance(value, str) and value == BALANCED):
        return value
    numbers = [*map(as_python, value)] if isinstance(value, tuple | list) else []
    known = [isinstance(each, int | float) and not isinstance(each, bool) for each in numbers]
    if not numbers or not all(known) or not all(0 <= each < math.inf for each in numbers):
        raise ConfigError(
            f"class_weights must be {BALANCED}, or a number from 0 for each class, but got "
            f"{value!r}"
        )
    if not any(numbers):
        raise ConfigError("class_weights must have one above 0")
    return tuple(map(float, numbers))


def _shown(value: Any) -> str:
    return "+".join(map(str, value)) if isinstance(value, tuple) else str(value)


_FAST = Recipe(epochs=10, learning_rate=2e-2, beta1=0.9, beta2=0.99, schedule="linear")
RECIPES = {
    # Section 5: Adam, learning rate 0.001, beta1 0.75. Batch and epochs are not given; beta2 is
    # Adam's own.
    "paper": Recipe(epochs=30),
    "fast": _FAST,
    # What a photograph of an object may be beside itself: mirrored, and framed a little otherwise.
    "augmented": replace(_FAST, augment=("flip", "shift")),
    # A sign is never mirrored. It is seen from another place, in another light.
    "signs": replace(
        _FAST, augment=("shift(pixels=2)", "rotate(degrees=10)", "scale", "brightness", "contrast")
    ),
}
