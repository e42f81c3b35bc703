"""What the EffNet paper says, as data: printed beside a verdict or a count, never bent towards it
(`evidence.md`, 11).
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Literal

from blocksearch.ablation.stats import MARGIN

Agreement = Literal["agrees", "disagrees", "undecided"]
DECIDED = ("helps", "hurts", "higher", "lower")


@dataclass(frozen=True)
class Claim:
    """Against `reference`, `value` of a factor *helps*, *hurts* or changes almost nothing
    (*within*), says a section.

    With `given` it is said of an interaction: the effect is *lower* or *higher* in the smaller of
    two networks.
    """

    section: str
    factor: str
    reference: str
    value: str
    direction: Literal["helps", "hurts", "within", "lower", "higher"]
    given: str = ""

    def agreement(self, verdict: str, interval: tuple[float, float] | None = None) -> Agreement:
        """Hold a verdict and its interval against the claim.

        *Almost nothing* is also a small effect that is certain, and is always ±0.5 points: a user's
        margin moves no claim.
        """
        small = interval is not None and interval[0] > -MARGIN and interval[1] < MARGIN
        if small and self.direction == "within":
            return "agrees"
        if verdict in DECIDED:
            return "agrees" if verdict == self.direction else "disagrees"
        return "disagrees" if small else "undecided"

    def reversed(self) -> "Claim":
        """The same claim of an interaction, as it is about the larger of two networks against the
        smaller.
        """
        return replace(self, direction="higher" if self.direction == "lower" else "lower")

    def __str__(self) -> str:
        return f"Section {self.section}: {self.direction}"


@dataclass(frozen=True)
class Operations:
    """A section's claim about FLOPs: those of `value` are between `least` and `most` times those of
    `reference`.

    Operations are counted, so the claim waits for no verdict.
    """

    section: str
    factor: str
    reference: str
    value: str
    words: str
    least: float = 0.0
    most: float = float("inf")

    def said(self, ratio: float) -> str:
        """Say what the claim is, what was counted, and whether they agree."""
        agreement = "agrees" if self.least <= ratio <= self.most else "disagrees"
        return (
            f"Section {self.section}: {self.value} {self.words}, here {ratio - 1:+.0%}, {agreement}"
        )


LESS, MORE = 1 - 1e-9, 1 + 1e-9
RATES = ("", "_4", "_2")  # expansion rates 6, 4 and 2, as networks are named

CLAIMS = (
    Claim("3", "bottleneck", "reduce(2)", "reduce(4)", "hurts"),
    Claim("3", "bottleneck", "reduce(2)", "reduce(8)", "hurts"),
    Claim("3", "depth_multiplier", "1", "2", "helps"),
    Claim(
        "3", "kernel", "1x3+3x1", "3x3", "within"
    ),  # "we could not find any reason not to use it"
    Claim(
        "6.1", "kernel", "1x3+3x1", "3x3", "helps"
    ),  # "a small decrease of around 0.5 %" by separating
    Claim("3", "pooling", "last", "stride", "hurts"),  # striding against max-pooling 2×2 at once
    Claim(
        "3", "pooling", "last", "separable_end", "helps"
    ),  # the second phase after the last pointwise layer
    Claim(
        "4.2", "pooling", "separable_conv", "separable_end", "hurts"
    ),  # that phase as a 2×1 convolution is better still
    # What follows from those two of Section 4.2's block, in which the others are varied:
    *(
        Claim("3, 4.2", "pooling", "separable_conv", value, "hurts")
        for value in ("stride", "first", "last")
    ),
    *(
        Claim("3", "residual", "none", value, "hurts")
        for value in ("add", "project", "concatenate")
    ),
    *(
        Claim("3", "groups", "none", value, "hurts")
        for value in ("last(2)", "last(4)", "both(2)", "both(4)")
    ),
    Claim("6", "activation", "linear", "leaky", "helps"),
    Claim("6", "activation", "leaky", "linear", "hurts"),
    # "residual connections decrease accuracy: small networks cannot handle large compression"
    *(
        Claim("3", "residual", "none", value, "lower", given="bottleneck")
        for value in ("add", "project", "concatenate")
    ),
    # "the smaller the model is, the more accuracy it loses when converted"
    *(Claim("3", "network", "baseline", value, "hurts") for value in ("mobilenet", "shufflenet")),
    *(
        Claim("3", "network", "baseline", value, "lower", given="widths")
        for value in ("mobilenet", "shufflenet")
    ),
    *(Claim("5", "network", value, "effnet", "helps") for value in ("mobilenet", "shufflenet")),
    Claim(
        "7", "network", "baseline", "effnet_large", "helps"
    ),  # "clearly preferable … a similar number of operations"
    *(
        Claim("6.3", "network", f"mobilenet_v2{rate}", f"effnet_revised{rate}", "helps")
        for rate in RATES
    ),  # "in most settings"
    Claim("6.3", "network", "effnet_revised", "mob_imp", "helps"),
)
OPERATIONS = (
    Operations(
        "3", "first_layer", "vanilla", "block", "saves about 30% of the first layer", 0.6, 0.8
    ),
    Operations("6.1", "kernel", "3x3", "1x3+3x1", "has fewer FLOPs", most=LESS),
    Operations(
        "4.2", "pooling", "separable_end", "separable_conv", "has as many FLOPs", 0.95, 1.05
    ),
    *(
        Operations(
            "6.3",
            "network",
            f"mobilenet_v2{rate}",
            f"effnet_revised{rate}",
            "has fewer FLOPs",
            most=LESS,
        )
        for rate in RATES
    ),
    Operations("6.3", "network", "effnet_revised", "mob_imp", "has more FLOPs", least=MORE),
)


def claims_of(factor: str, reference: str, value: str, given: str = "") -> list[Claim]:
    """List what the paper says of a value against a reference."""
    wanted = (factor, reference, value, given)
    return [
        claim
        for claim in CLAIMS
        if (claim.factor, claim.reference, claim.value, claim.given) == wanted
    ]


def counted(factor: str, reference: str, value: str, ratio: float) -> list[str]:
    """Say what becomes of claims about FLOPs; `ratio` is the value's over the reference's, and they
    may change places.
    """
    own = [
        c.said(ratio)
        for c in OPERATIONS
        if (c.factor, c.reference, c.value) == (factor, reference, value)
    ]
    return own + [
        c.said(1 / ratio)
        for c in OPERATIONS
        if (c.factor, c.value, c.reference) == (factor, reference, value)
    ]


def claims_among(networks: Collection[str]) -> list[tuple[str, str, list[Claim]]]:
    """List pairs of named networks, of those that are here, with what the paper says of the second
    against the first.
    """
    pairs = dict.fromkeys(
        (c.reference, c.value) for c in CLAIMS if c.factor == "network" and not c.given
    )
    return [
        (one, other, claims_of("network", one, other))
        for one, other in pairs
        if {one, other} <= set(networks)
    ]
