"""Configures an ablation, and reads the texts that people write for it."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from blocksearch.arch.notation import divided
from blocksearch.errors import ConfigError, check_fields, unknown
from blocksearch.runs.config import COMPARE_SEEDS
from blocksearch.runs.plan import MOST_SEEDS, read_seeds

MARGIN = 0.5  # points within which two accuracies count as equal
MOST_LOOKS = 1000  # at scores from elsewhere
MOST_SAMPLED = 10_000  # of a space, that a network is held against
_SPREADS = (
    "Spread between seeds to test by: own, or moderated, drawn towards that of all comparisons."
)
STAGES = (5, 8, 12, 20)  # seeds after which an undecided comparison is analysed again


class Variance(StrEnum):
    """Which spread a comparison is tested by."""

    MODERATED = "moderated"  # by the family's, where it has ten comparisons of five seeds
    OWN = "own"


Given = tuple[str, Sequence[Any]]  # a factor, and values under each of which to ask


@dataclass(frozen=True, kw_only=True)
class AblationConfig:
    """Configures an ablation and how it decides.

    `seeds` are a count, a list, or a range such as "5..20": then undecided comparisons alone get
    more seeds, at interim analyses after 5, 8, 12 and 20 of them. One factor, `values` and `given`
    may be texts. Raises ConfigError.

    >>> AblationConfig(factors=("residual",), seeds="5..12").stages
    (5, 8, 12)
    """

    factors: Sequence[str] = field(
        metadata={
            "help": "Factor to vary, such as residual or recipe; several may be given, or all."
        }
    )
    values: Sequence[Any] | None = field(
        default=None, metadata={"help": "Only these values of the factor, such as none,add."}
    )
    given: Given | None = field(
        default=None,
        metadata={
            "help": "Repeat the ablation with another factor fixed to each value: bottleneck=2,4,8."
        },
    )
    equal_flops: bool = field(
        default=False,
        metadata={"help": "Repeat the ablation with widths rescaled to the reference's FLOPs."},
    )
    seeds: int | str | Sequence[int] = field(
        default=COMPARE_SEEDS,
        metadata={"help": "A count (5), a list (0,3,7), or 5..20: more where still undecided."},
    )
    margin: float = field(
        default=MARGIN, metadata={"help": "Points within which accuracies count as equal."}
    )
    effect: float | None = field(
        default=None,
        metadata={
            "help": "With --dry-run: an effect in points; says how many seeds would show it."
        },
    )
    variance: Variance = field(
        default=Variance.MODERATED,
        metadata={"help": _SPREADS},
    )
    strict: bool = field(
        default=False,
        metadata={"help": "Refuse to compare runs of different devices or versions of torch."},
    )

    def __post_init__(self) -> None:
        texts = {"factors": lambda text: (text,), "values": read_values, "given": read_given}
        for name, read in texts.items():
            if isinstance(text := getattr(self, name), str):
                object.__setattr__(self, name, read(text))
        object.__setattr__(self, "variance", read_variance(self.variance))
        check_fields(self)
        if not self.factors:
            raise ConfigError("factors to ablate must be one or more, such as 'residual'")
        _check_points("margin", self.margin)
        if self.effect is not None:
            _check_points("effect", self.effect)
        _ = self.seed_list  # raises an error for what is none

    @property
    def stages(self) -> tuple[int, ...]:
        """The numbers of seeds after which to analyse, () if all seeds are trained at once."""
        return read_stages(self.seeds) if isinstance(self.seeds, str) else ()

    @property
    def seed_list(self) -> tuple[int, ...]:
        """All seeds, of stages those of the last."""
        return tuple(range(self.stages[-1])) if self.stages else read_seeds(self.seeds)


@dataclass(frozen=True, kw_only=True)
class ScoresConfig:
    """Configures how scores from elsewhere are compared. Raises ConfigError.

    >>> ScoresConfig(margin=1.0).reference is None
    True
    """

    reference: str | None = field(
        default=None, metadata={"help": "Treatment to compare with. Default: the first."}
    )
    margin: float | None = field(
        default=None,
        metadata={
            "help": "Difference within which scores count as equal. Default: 0.5, or 0.005 for "
            "fractions (all scores within ±1)."
        },
    )
    variance: Variance = field(
        default=Variance.MODERATED,
        metadata={"help": _SPREADS},
    )
    look: int = field(
        default=1,
        metadata={
            "help": "Which look at these scores this is: 2 where scores were added after a first."
        },
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "variance", read_variance(self.variance))
        if self.reference is not None:
            object.__setattr__(self, "reference", str(self.reference))
        check_fields(self)
        if self.margin is not None and not 0 < self.margin < math.inf:
            raise ConfigError(f"margin must be a positive number, but got {self.margin!r}")
        if not 1 <= self.look <= MOST_LOOKS:
            raise ConfigError(
                f"look must be a whole number from 1 to {MOST_LOOKS}, but got {self.look!r}"
            )


@dataclass(frozen=True, kw_only=True)
class GainConfig:
    """How many networks drawn from a space another is held against, and with which seeds.

    Raises ConfigError for what cannot be.

    >>> GainConfig(seeds="0,2").seed_list
    (0, 2)
    """

    sample: int = field(
        default=30, metadata={"help": "Random networks of the space, each trained with one seed."}
    )
    draw: int = field(default=0, metadata={"help": "Seed of the sample."})
    seeds: int | str | Sequence[int] = field(
        default=5, metadata={"help": "Seeds of the network: a count (5) or a list (0,3,7)."}
    )
    margin: float = field(
        default=MARGIN, metadata={"help": "Points within which accuracies count as equal."}
    )

    def __post_init__(self) -> None:
        check_fields(self)
        if not 2 <= self.sample <= MOST_SAMPLED:
            raise ConfigError(
                f"sample must be at least 2 and at most {MOST_SAMPLED:,}, but got {self.sample}"
            )
        if self.draw < 0:
            raise ConfigError(f"the seed of the draw must not be negative, but got {self.draw}")
        _check_points("margin", self.margin)
        if len(self.seed_list) < 2:
            raise ConfigError("a gain needs two seeds of the network, but got one")

    @property
    def seed_list(self) -> tuple[int, ...]:
        """All seeds."""
        return read_seeds(self.seeds)


def _check_points(name: str, value: float) -> None:
    if not 0 < value <= 100:
        raise ConfigError(
            f"{name} must be points of accuracy above 0 and at most 100, but got {value}"
        )


def read_stages(text: str) -> tuple[int, ...]:
    """Read a range of seeds as the numbers of seeds at which to analyse; () if it is no range.

    Raises ConfigError for a range that is empty or too long.

    >>> read_stages("5..20"), read_stages("5")
    ((5, 8, 12, 20), ())
    """
    found = re.fullmatch(r"\s*([0-9]{1,9})\.\.([0-9]{1,9})\s*", text)
    if not found:
        return ()
    first, last = int(found[1]), int(found[2])
    if not 2 <= first < last <= MOST_SEEDS:
        raise ConfigError(
            f"a range of seeds must rise from at least 2 to at most {MOST_SEEDS}, but got {text!r}"
        )
    return (first, *(stage for stage in STAGES if first < stage < last), last)


def read_variance(text: str) -> Variance:
    """Read which spread to test by. Raises ConfigError.

    >>> str(read_variance("own"))
    'own'
    """
    if text not in list(Variance):
        raise unknown("variance", str(text), [each.value for each in Variance])
    return Variance(text)


def read_values(text: str) -> tuple[str, ...]:
    """Read values such as `none,add` or `mine.se(ratio=2),none`.

    >>> read_values("mine.se(ratio=2), none")
    ('mine.se(ratio=2)', 'none')
    """
    return tuple(divided(text))


def read_given(text: str) -> Given:
    """Read a factor and values of it. Raises ConfigError.

    >>> read_given("bottleneck=2,4,8")
    ('bottleneck', ('2', '4', '8'))
    """
    factor, equals, values = text.partition("=")
    if not equals:
        raise ConfigError(
            f"given must name a factor and values such as bottleneck=2,4,8, but got {text!r}"
        )
    return factor.strip(), read_values(values)
