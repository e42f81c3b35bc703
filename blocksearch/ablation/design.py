"""Which variants a question has: the values of factors of a reference, also given values of another
factor, or at equal FLOPs.
"""

import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from blocksearch.arch.cost import cost
from blocksearch.arch.factors import FACTORS, Value, factor_named
from blocksearch.arch.network import FIRST_LAYERS, Network
from blocksearch.arch.ops import FILLED_BY
from blocksearch.arch.scale import rescaled
from blocksearch.errors import ConfigError, SpecError, unknown
from blocksearch.space.load import Space

NETWORK_FACTORS = {"first_layer": FIRST_LAYERS}
NO_SPACE = Space()

Question = Mapping[str, Sequence[Value] | None]


@dataclass(frozen=True)
class Variant:
    """One value of one factor, to be compared with the network `against`, which is its own where it
    is the reference.

    `network` is None where the value does not apply to the block, and `rule` says why. `given`
    names another factor's value that reference and variant share in a question about interactions;
    `rescaled` says that its widths are not the reference's.

    An interaction has the same variant given another value `beside` it: what is asked is how far
    the two effects differ.
    """

    factor: str
    value: str
    is_reference: bool
    network: Network | None
    against: Network
    rule: str = ""
    given: str = ""
    rescaled: bool = False
    beside: "Variant | None" = None

    @property
    def networks(self) -> tuple[Network, ...]:
        """All networks that the comparison needs."""
        own = (self.against, self.network) if self.network else (self.against,)
        return own + (self.beside.networks if self.beside else ())

    @property
    def channels(self) -> tuple[int, ...] | None:
        """What a bottleneck, or the least channels of one, comes to: the channels that it gives in
        each stage.
        """
        if self.network is None or self.factor not in ("bottleneck", "minimum"):
            return None
        return tuple(channels for channels in self.network.bottlenecks if channels is not None)

    @property
    def shown(self) -> str:
        """The value as it is written for people, with what it came to."""
        channels = f": {','.join(map(str, self.channels))}" if self.channels else ""
        widths = f" at {self.network.task.widths_text}" if self.network and self.rescaled else ""
        return self.value + widths + channels

    @property
    def compared(self) -> bool:
        """Whether it is another network than its reference; of an interaction, whether all four are
        not the same two.
        """
        if self.network is None or self.network.digest == self.against.digest:
            return False
        return self.beside is None or [n.digest for n in self.networks[:2]] != [
            n.digest for n in self.networks[2:]
        ]


class InapplicableError(ConfigError):
    """No value of a factor changes a block."""

    def __init__(self, factor: str, rules: str) -> None:
        super().__init__(f"factor {factor} does not apply to this block: {rules}")
        self.rules = rules


def read_values(
    factors: Sequence[str], values: str | None, space: Space = NO_SPACE
) -> dict[str, list[Value] | None]:
    """Read which factors to vary (`all` is every factor) and, for a single one, which of its
    values.

    A factor that the user's grammar has options for is varied over those.
    """
    every = [*FACTORS, *NETWORK_FACTORS]
    if mistyped := [factor for factor in factors if factor not in (*every, "all")]:
        raise unknown("factor", mistyped[0], every)
    chosen = every if "all" in factors else list(dict.fromkeys(factors))
    if values is None:
        own = space.grammar.options if space.grammar else {}
        return {
            factor: list(own[factor]) if factor in own else _with_defined(factor, space)
            for factor in chosen
        }
    if len(chosen) != 1:
        raise ConfigError(
            f"values are given for one factor at a time, but there are {len(chosen)}: {', '.join(chosen)}"
        )
    texts = [value.strip() for value in re.split(r",(?![^(]*\))", values)]
    factor = chosen[0]
    return {
        factor: [
            FACTORS[factor].parse(text, space.options) if factor in FACTORS else text
            for text in texts
        ]
    }


def _with_defined(factor: str, space: Space) -> list[Value] | None:
    """List a factor's usual values and a user's options of it that need no parameters, or None
    where there are none of those.
    """
    families = [
        family for family in space.options.values() if family.factor == FILLED_BY.get(factor)
    ]
    defined = [
        family() for family in families if inspect.Parameter.empty not in family.defaults.values()
    ]
    return [*FACTORS[factor].values, *defined] if defined else None


def read_given(text: str | None, space: Space = NO_SPACE) -> tuple[str, list[Value]] | None:
    """Read `bottleneck=2,4,8`: a factor, and values of it under each of which the question is asked
    again.
    """
    if text is None:
        return None
    factor, equals, values = text.partition("=")
    if not equals:
        raise ConfigError(
            f"--given must name a factor and values such as bottleneck=2,4,8, but got {text!r}"
        )
    (found,) = read_values([factor.strip()], values, space).values()
    assert found is not None
    return factor.strip(), found


def ask(
    reference: Network,
    question: Question,
    given: tuple[str, Sequence[Value]] | None = None,
    *,
    equal_flops: bool = False,
) -> list[Variant]:
    """List every variant that a question compares, each reference before its variants.

    Where it is asked under several values of another factor, interactions follow: each against the
    first value, which is the reference's own where that is among them. A factor is not asked about
    under values of its own. With `equal_flops`, variants that cost more or less than their
    reference are asked about again, their widths rescaled to its FLOPs.
    Raises ConfigError where no factor applies, or a given value does not.
    """
    factors = {
        factor: values for factor, values in question.items() if given is None or factor != given[0]
    }
    if not factors:
        raise ConfigError(
            f"--given {next(iter(question))} is the factor that is asked about; give another one's values"
        )
    references = _references(reference, given)
    found = [
        replace(variant, given=label)
        for label, network in references
        for factor, values in factors.items()
        for variant in _variants_or_why_not(network, factor, values, len(factors) * len(references))
    ]
    if not any(variant.is_reference for variant in found):
        rules = "; ".join(dict.fromkeys(variant.rule for variant in found))
        raise ConfigError(
            f"none of the factors applies to this block: {', '.join(factors)} ({rules})"
        )
    return found + interactions(found) + (_at_equal_flops(found) if equal_flops else [])


def interactions(found: Sequence[Variant]) -> list[Variant]:
    """List how far each variant's effect differs from the one that it has given the first value,
    which they are found in.
    """
    first = found[0].given
    beside = {
        (variant.factor, variant.value): variant
        for variant in found
        if variant.given == first and variant.compared
    }
    asked = [variant for variant in found if variant.given != first and variant.compared]
    return [
        replace(
            variant,
            given=f"{variant.given} − {first.partition('=')[2]}",
            beside=beside[variant.factor, variant.value],
        )
        for variant in asked
        if (variant.factor, variant.value) in beside
    ]


def alike(found: Sequence[Variant]) -> dict[int, int]:
    """Map the place of each variant that is compared to that of the first which compares the same
    networks, mostly itself.
    """
    first: dict[tuple[str, ...], int] = {}
    return {
        place: first.setdefault(tuple(network.digest for network in variant.networks), place)
        for place, variant in enumerate(found)
        if variant.compared
    }


def _references(
    reference: Network, given: tuple[str, Sequence[Value]] | None
) -> list[tuple[str, Network]]:
    if given is None:
        return [("", reference)]
    found = [(variant, f"{given[0]}={variant.value}") for variant in _listed(reference, *given)]
    if wrong := [f"{label}: {variant.rule}" for variant, label in found if variant.network is None]:
        raise ConfigError(f"--given {'; '.join(wrong)}")
    asked = {
        str(factor_named(given[0]).value(value)) if given[0] in FACTORS else str(value)
        for value in given[1]
    }
    return [
        (label, variant.network)
        for variant, label in found
        if variant.network and variant.value in asked
    ]


def variants(
    reference: Network, factor: str, values: Sequence[Value] | None = None
) -> list[Variant]:
    """List a factor's variants of a network, the reference first. `values` may be texts; None takes
    the factor's usual ones.

    Raises ConfigError for an unknown factor, or where no value changes the network.
    """
    found = _listed(reference, factor, values)
    if not any(variant.compared for variant in found):
        raise InapplicableError(
            factor,
            "; ".join(v.rule for v in found if v.rule)
            or _why_alike(found, asked=values is not None),
        )
    return found


def _why_alike(found: Sequence[Variant], *, asked: bool) -> str:
    own, *others = found
    if others:
        return "every value gives the same layers"
    if asked:
        return f"only its own value {own.value} is asked about"
    return f"it has no value but {own.value}, unless a space defines one"


def _listed(reference: Network, factor: str, values: Sequence[Value] | None) -> list[Variant]:
    own, options = _options(reference, factor, values)
    found = [Variant(factor, str(own), True, reference, reference)]
    return found + [
        _variant(reference, factor, value) for value in dict.fromkeys(options) if value != own
    ]


def _variants_or_why_not(
    reference: Network, factor: str, values: Sequence[Value] | None, asked: int
) -> list[Variant]:
    """List a factor's variants; one of several factors that does not apply is a row that says so."""
    try:
        return variants(reference, factor, values)
    except InapplicableError as error:
        if asked == 1:
            raise
        return [Variant(factor, "any", False, None, reference, error.rules)]


def _options(
    reference: Network, factor: str, values: Sequence[Value] | None
) -> tuple[Value, list[Value]]:
    if factor in NETWORK_FACTORS:
        allowed = NETWORK_FACTORS[factor]
        if wrong := [value for value in values or () if value not in allowed]:
            raise ConfigError(f"{factor} must be {' or '.join(allowed)}, but got {wrong[0]!r}")
        return reference.first_layer, list(values or allowed)
    if factor not in FACTORS:
        raise unknown("factor", factor, (*FACTORS, *NETWORK_FACTORS))
    described = factor_named(factor)
    own = list(dict.fromkeys(block.values()[factor] for block in reference.blocks))
    shown = (
        own[0] if len(own) == 1 else ", then ".join(map(str, own))
    )  # blocks that differ are no value among the others
    return shown, [described.value(v) for v in values] if values else list(described.values)


def _variant(reference: Network, factor: str, value: Value) -> Variant:
    try:
        return Variant(factor, str(value), False, reference.with_factor(factor, value), reference)
    except SpecError as error:
        return Variant(factor, str(value), False, None, reference, str(error))


def _at_equal_flops(found: Sequence[Variant]) -> list[Variant]:
    again = [
        _rescaled(variant) for variant in found if variant.is_reference or _costs_other(variant)
    ]
    asked = {(variant.given, variant.factor) for variant in again if not variant.is_reference}
    return [
        replace(variant, given=f"{variant.given}, equal FLOPs".removeprefix(", "))
        for variant in again
        if (variant.given, variant.factor) in asked
    ]


def _costs_other(variant: Variant) -> bool:
    return (
        variant.network is not None
        and cost(variant.network.layers).flops != cost(variant.against.layers).flops
    )


def _rescaled(variant: Variant) -> Variant:
    if variant.network is None or variant.is_reference:
        return variant
    try:
        network = rescaled(variant.network, f"flops <= {cost(variant.against.layers).flops}")
    except SpecError as error:
        return replace(variant, network=None, rule=str(error))
    return replace(variant, network=network, rescaled=True)
