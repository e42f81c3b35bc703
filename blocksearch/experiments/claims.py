"""What the EffNet paper says of each factor, as data: printed beside a verdict, never bent towards it (`evidence.md`, 11)."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Literal

Agreement = Literal["agrees", "disagrees", "undecided"]


@dataclass(frozen=True)
class Claim:
    """Against `reference`, `value` of a factor *helps*, *hurts* or changes almost nothing (*within*), says a section.

    With `given` it is said of an interaction: the effect is *lower* or *higher* in the smaller of two networks.
    """

    section: str
    factor: str
    reference: str
    value: str
    direction: Literal["helps", "hurts", "within", "lower", "higher"]
    given: str = ""

    def agreement(self, verdict: str) -> Agreement:
        """Hold a verdict against the claim."""
        if verdict not in ("helps", "hurts", "lower", "higher") and not verdict.startswith("within"):
            return "undecided"
        return "agrees" if verdict.startswith(self.direction) else "disagrees"

    def reversed(self) -> "Claim":
        """The same claim of an interaction, as it is about the larger of two networks against the smaller."""
        return replace(self, direction="higher" if self.direction == "lower" else "lower")

    def __str__(self) -> str:
        return f"Section {self.section}: {self.direction}"


@dataclass(frozen=True)
class Saving:
    """Section 3 says that the block in place of the first layer saves about 30 % of that layer's operations; here it is `found`.

    It agrees where that much is saved, or more; operations are counted, so no verdict is waited for.
    """

    found: float
    claimed: float = 0.3
    slack: float = 0.05  # "∼30 %"
    direction: str = "saves"

    def agreement(self, _: str) -> Agreement:
        """Hold what is saved against the claim."""
        return "agrees" if self.found >= self.claimed - self.slack else "disagrees"

    def __str__(self) -> str:
        return f"Section 3: block saves about {self.claimed:.0%} of the first layer, here {self.found:.0%}"


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
    # "residual connections decrease accuracy: small networks cannot handle large compression"
    *(Claim("3", "residual", "none", value, "lower", given="bottleneck") for value in ("add", "project", "concatenate")),
    # "the smaller the model is, the more accuracy it loses when converted"
    *(Claim("3", "network", "baseline", value, "hurts") for value in ("mobilenet", "shufflenet")),
    *(Claim("3", "network", "baseline", value, "lower", given="widths") for value in ("mobilenet", "shufflenet")),
    *(Claim("5", "network", value, "effnet", "helps") for value in ("mobilenet", "shufflenet")),
    Claim("6.3", "network", "effnet_revised", "mob_imp", "helps"),
)


def claims_among(networks: Collection[str]) -> list[Claim]:
    """List what the paper says of one named network against another, of those that are here."""
    return [c for c in CLAIMS if c.factor == "network" and not c.given and {c.reference, c.value} <= set(networks)]


def claim_of(factor: str, reference: str, value: str, given: str = "") -> Claim | None:
    """Return what the paper says of a value against a reference, or None where it says nothing."""
    wanted = (factor, reference, value, given)
    return next((claim for claim in CLAIMS if (claim.factor, claim.reference, claim.value, claim.given) == wanted), None)
