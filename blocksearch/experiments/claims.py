"""What the EffNet paper says of each factor, as data: printed beside a verdict, never bent towards it (`evidence.md`, 11)."""

from dataclasses import dataclass
from typing import Literal

Agreement = Literal["agrees", "disagrees", "undecided"]


@dataclass(frozen=True)
class Claim:
    """Against `reference`, `value` of a factor *helps*, *hurts* or changes almost nothing (*within*), says a section."""

    section: str
    factor: str
    reference: str
    value: str
    direction: Literal["helps", "hurts", "within"]

    def agreement(self, verdict: str) -> Agreement:
        """Hold a verdict against the claim."""
        if verdict not in ("helps", "hurts") and not verdict.startswith("within"):
            return "undecided"
        return "agrees" if verdict.startswith(self.direction) else "disagrees"

    def __str__(self) -> str:
        return f"Section {self.section}: {self.direction}"


CLAIMS = (
    Claim("3", "bottleneck", "reduce(2)", "reduce(4)", "hurts"),
    Claim("3", "bottleneck", "reduce(2)", "reduce(8)", "hurts"),
    Claim("3", "depth_multiplier", "1", "2", "helps"),
    Claim("3", "kernel", "1x3+3x1", "3x3", "within"),  # "almost nothing"; Section 6.1 puts it at about 0.5 points
    Claim("3", "pooling", "separable_conv", "stride", "hurts"),
    Claim("3", "pooling", "separable_conv", "first", "hurts"),  # 2×2 at once, after the first spatial convolution
    Claim("3", "pooling", "separable_conv", "last", "hurts"),
    Claim("4.2", "pooling", "separable_conv", "separable_end", "hurts"),
    *(Claim("3", "residual", "none", value, "hurts") for value in ("add", "project", "concatenate")),
    *(Claim("3", "groups", "none", value, "hurts") for value in ("last(2)", "last(4)", "both(2)", "both(4)")),
    Claim("6", "activation", "linear", "leaky", "helps"),
    Claim("6", "activation", "leaky", "linear", "hurts"),
)


def claim_of(factor: str, reference: str, value: str) -> Claim | None:
    """Return what the paper says of a value against a reference, or None where it says nothing."""
    return next((claim for claim in CLAIMS if (claim.factor, claim.reference, claim.value) == (factor, reference, value)), None)
