"""Lists what the EffNet paper claims, as data. A claim is printed beside a verdict or a count and
never changes it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from blocksearch.ablation.config import MARGIN
from blocksearch.ablation.results import Agreement, Statement, VariantResult
from blocksearch.ablation.stats import Comparison, Verdict
from blocksearch.ablation.variant import Variant
from blocksearch.arch.cost import cost
from blocksearch.arch.network import Network
from blocksearch.paper.tables import printed_difference


@dataclass(frozen=True)
class Claim:
    """A section says what `value` of a factor does against `reference`: it *helps*, *hurts* or
    changes almost nothing (*within*).

    With `given` it is said of an interaction: the effect is *lower* or *higher* in the smaller of
    two networks. `words` are the paper's where they say less than the direction. `printed` is the
    difference of two networks in one of its tables, and which: its sign is what counts there, as
    text and tables do not agree everywhere.
    """

    section: str
    factor: str
    reference: str
    value: str
    direction: Verdict
    given: str = ""
    words: str = ""
    printed: tuple[int, float] | None = None

    def in_table(self, number: int) -> "Claim":
        """Return this claim about two networks with what a table of the paper prints of them."""
        difference = printed_difference(number, self.reference, self.value)
        return self if difference is None else replace(self, printed=(number, difference))

    @property
    def expected(self) -> Verdict:
        """What would agree: the sign that the table prints, else what the section says."""
        if self.printed is None or not self.printed[1]:
            return self.direction
        return Verdict.HELPS if self.printed[1] > 0 else Verdict.HURTS

    def agreement(self, found: Comparison | None) -> Agreement:
        """Hold a comparison against the claim.

        *Almost nothing* is also a small effect that is certain, and is always ±0.5 points: a user's
        margin moves no claim.
        """
        if found is None:
            return Agreement.UNDECIDED
        interval = found.interval
        small = interval is not None and interval[0] > -MARGIN and interval[1] < MARGIN
        if small and self.expected is Verdict.WITHIN:
            return Agreement.AGREES
        if found.verdict.differs:
            right = found.verdict is self.expected
            return Agreement.AGREES if right else Agreement.DISAGREES
        return Agreement.DISAGREES if small else Agreement.UNDECIDED

    def stated(self, found: Comparison | None) -> Statement:
        """Say the claim, and what becomes of it."""
        text = self.words or str(self.direction)
        if self.printed is not None:
            text += "; its Table {}: {:+.2f}".format(*self.printed)
        return Statement(section=self.section, text=text, agreement=self.agreement(found))

    def reversed(self) -> "Claim":
        """Turn the claim of an interaction round: it is then about the larger of two networks."""
        lower = self.direction is Verdict.LOWER
        return replace(self, direction=Verdict.HIGHER if lower else Verdict.LOWER)


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

    def stated(self, ratio: float) -> Statement:
        """Say the claim and what was counted, and whether they agree."""
        right = self.least <= ratio <= self.most
        return Statement(
            section=self.section,
            text=f"{self.value} {self.words}, here {ratio - 1:+.0%}",
            agreement=Agreement.AGREES if right else Agreement.DISAGREES,
        )


def _claims(
    section: str, factor: str, reference: str, values: str, direction: str, given: str = ""
) -> list[Claim]:
    return [
        Claim(section, factor, reference, value, Verdict(direction), given)
        for value in values.split()
    ]


REVISED = "6.3"  # the section that compares the revised networks
RATES = ("", "_4", "_2")  # expansion rates 6, 4 and 2, as networks are named
_SHORTCUTS, _SMALL = "add project concatenate", "mobilenet shufflenet"

CLAIMS = (
    *_claims("3", "bottleneck", "reduce(2)", "reduce(4) reduce(8)", "hurts"),
    *_claims("3", "depth_multiplier", "1", "2", "helps"),
    # "we could not find any reason not to use it"
    *_claims("3", "kernel", "1x3+3x1", "3x3", "within"),
    # "a small decrease of around 0.5 %" by separating
    *_claims("6.1", "kernel", "1x3+3x1", "3x3", "helps"),
    # striding against max-pooling 2×2 at once
    *_claims("3", "pooling", "last", "stride", "hurts"),
    # the second phase after the last pointwise layer
    *_claims("3", "pooling", "last", "separable_end", "helps"),
    # that phase as a 2×1 convolution is better still
    *_claims("4.2", "pooling", "separable_conv", "separable_end", "hurts"),
    # what follows from those two of Section 4.2's block, in which the others are varied
    *_claims("3, 4.2", "pooling", "separable_conv", "stride first last", "hurts"),
    *_claims("3", "residual", "none", _SHORTCUTS, "hurts"),
    *_claims("3", "groups", "none", "last(2) last(4) both(2) both(4)", "hurts"),
    *_claims("6", "activation", "linear", "leaky", "helps"),
    *_claims("6", "activation", "leaky", "linear", "hurts"),
    # "residual connections decrease accuracy: small networks cannot handle large compression"
    *_claims("3", "residual", "none", _SHORTCUTS, "lower", "bottleneck"),
    # "the smaller the model is, the more accuracy it loses when converted"
    *_claims("3", "network", "baseline", _SMALL, "hurts"),
    *_claims("3", "network", "baseline", _SMALL, "lower", "widths"),
    *_claims("5", "network", "mobilenet", "effnet", "helps"),
    *_claims("5", "network", "shufflenet", "effnet", "helps"),
    # "clearly preferable … a similar number of operations"
    *_claims("7", "network", "baseline", "effnet_large", "helps"),
    *(
        Claim(
            REVISED,
            "network",
            f"mobilenet_v2{rate}",
            f"effnet_revised{rate}",
            Verdict.HELPS,
            words="helps in most settings",
        )
        for rate in RATES
    ),
    *_claims(REVISED, "network", "effnet_revised", "mob_imp", "helps"),
)


_LESS, _MORE = 1 - 1e-9, 1 + 1e-9
_FIRST = "saves about 30% of the first layer"
_EQUAL, _FEWER = "has as many FLOPs", "has fewer FLOPs"
OPERATIONS = (
    Operations("3", "stem", "conv", "block", _FIRST, least=0.6, most=0.8),
    Operations("6.1", "kernel", "3x3", "1x3+3x1", _FEWER, most=_LESS),
    Operations("4.2", "pooling", "separable_end", "separable_conv", _EQUAL, least=0.95, most=1.05),
    *(
        Operations(
            REVISED, "network", f"mobilenet_v2{rate}", f"effnet_revised{rate}", _FEWER, most=_LESS
        )
        for rate in RATES
    ),
    Operations(REVISED, "network", "effnet_revised", "mob_imp", "has more FLOPs", least=_MORE),
)


def claims_of(factor: str, reference: str, value: str, given: str = "") -> list[Claim]:
    """List what the paper says of a value against a reference.

    >>> [str(claim.direction) for claim in claims_of("residual", "none", "add")]
    ['hurts']
    """
    wanted = (factor, reference, value, given)
    return [c for c in CLAIMS if (c.factor, c.reference, c.value, c.given) == wanted]


def counted(factor: str, reference: str, value: str, ratio: float) -> list[Statement]:
    """Say what becomes of claims about FLOPs; `ratio` is the value's over the reference's, and they
    may change places.
    """
    own, other = (
        [c for c in OPERATIONS if (c.factor, c.reference, c.value) == (factor, *pair)]
        for pair in ((reference, value), (value, reference))
    )
    return [c.stated(ratio) for c in own] + [c.stated(1 / ratio) for c in other]


def pairs_among(networks: dict[str, Network]) -> list[Variant]:
    """List the pairs of named networks that the paper compares, of those that are here."""
    pairs = dict.fromkeys(
        (c.reference, c.value) for c in CLAIMS if c.factor == "network" and not c.given
    )
    return [
        Variant(
            factor="network",
            value=value,
            network=networks[value],
            reference=networks[reference],
            reference_value=reference,
        )
        for reference, value in pairs
        if {reference, value} <= set(networks)
    ]


def with_claims(
    results: Iterable[VariantResult], table: int | None = None
) -> tuple[VariantResult, ...]:
    """Add to each result what the paper says of it; of networks, what one of its tables prints."""
    return tuple(replace(each, statements=tuple(statements(each, table))) for each in results)


def statements(result: VariantResult, table: int | None = None) -> list[Statement]:
    """Find what the paper says, which is not of rescaled widths, and hold the comparison or the
    FLOPs against it.
    """
    variant = result.variant
    if variant.is_reference or variant.rescaled or not variant.compared:
        return []
    claims = claims_about(variant)
    if table is not None:
        claims = [claim.in_table(table) for claim in claims]
    found = [claim.stated(result.comparison) for claim in claims]
    if variant.is_interaction or variant.network is None:
        return found
    ratio = _flops(variant.network, variant.factor) / _flops(variant.reference, variant.factor)
    return found + counted(variant.factor, variant.reference_value, variant.value, ratio)


def claims_about(variant: Variant) -> Sequence[Claim]:
    """List the paper's claims about a variant; those of an interaction are about the smaller of two
    networks.
    """
    named = variant.factor, variant.reference_value, variant.value
    if variant.minus is None:
        return claims_of(*named)
    claims = claims_of(*named, variant.given_factor)
    smaller = _flops(variant.reference) < _flops(variant.minus.reference)
    return claims if smaller else [claim.reversed() for claim in claims]


def _flops(network: Network, factor: str = "") -> int:
    return cost(network.stages[0] if factor == "stem" else network.layers).flops
