"""Designs an ablation, that is, which networks are compared with which.

Varied are the values of factors of a reference, on request under several values of another factor
(which asks for interactions), or with widths rescaled to the reference's FLOPs. The recipe of the
trainings is one more factor.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import replace

from blocksearch.ablation.config import AblationConfig
from blocksearch.ablation.variant import Arm, Role, Variant
from blocksearch.arch.cost import cost
from blocksearch.arch.factors import FACTORS, factor_named
from blocksearch.arch.network import HEADS, Network, read_channels, read_resolution
from blocksearch.arch.scale import rescaled
from blocksearch.arch.stem import STEMS, read_stem
from blocksearch.arch.values import Value
from blocksearch.errors import ConfigError, SpecError, unknown
from blocksearch.space.load import SpaceFile
from blocksearch.training.recipe import RECIPES, Recipe
from blocksearch.training.recipe_text import recipe_named

INPUT_FACTORS = ("resolution", "channels")
NETWORK_FACTORS = ("stem", "head", *INPUT_FACTORS)
RECIPE = "recipe"
# factors that `all` leaves alone: they are not about the block
NAMED_ONLY = ("head", *INPUT_FACTORS, RECIPE)
NO_SPACE = SpaceFile()
RecipeOf = Callable[[str | None], Recipe]  # the recipe of a text, of None the command's own


def _only_named(text: str | None) -> Recipe:
    return recipe_named(text or "fast", None)


def ask(
    reference: Network,
    config: AblationConfig,
    space: SpaceFile = NO_SPACE,
    recipe_of: RecipeOf = _only_named,
) -> list[Variant]:
    """List every variant that an ablation compares, each reference before its variants.

    Under several values of another factor interactions follow, each against the first value, which
    is the reference's own if that is among them. A factor is not varied under values of its own.
    With `equal_flops`, variants that cost more or less than their reference come again, their
    widths rescaled to its FLOPs. A factor that the user's space has options for is varied over
    those. `recipe_of` reads values of the factor `recipe`, which are names, files and changes of
    them. Raises ConfigError if no factor applies, or a given value does not.

    >>> from blocksearch.arch.zoo import TASKS, named_network
    >>> config = AblationConfig(factors=["residual"])
    >>> [variant.value for variant in ask(named_network("effnet", TASKS["gtsrb"]), config)]
    ['none', 'add', 'project', 'concatenate']
    """
    if config.equal_flops and reference.skeleton:
        raise ConfigError(
            "equal FLOPs need widths to change, but those of a model of yours are its own"
        )
    varied, given = _values(config.factors, config.values, space), config.given
    references: list[tuple[str, Arm]] = [("", (reference, None))]
    if given:
        others = {factor: values for factor, values in varied.items() if factor != given[0]}
        if not others:
            raise ConfigError(
                f"given {given[0]} is the factor that is varied; give another one's values"
            )
        varied, references = others, _references(reference, *given, space, recipe_of)
    found = [
        replace(variant, given_factor=given[0] if given else "", given_value=value)
        for value, arm in references
        for factor, values in varied.items()
        for variant in _under(arm, factor, values, len(varied) * len(references), recipe_of)
    ]
    if not any(variant.is_reference for variant in found):
        rules = "; ".join(dict.fromkeys(variant.rule for variant in found))
        raise ConfigError(
            f"none of the factors applies to this block: {', '.join(varied)} ({rules})"
        )
    return found + interactions(found) + (_at_equal_flops(found) if config.equal_flops else [])


def _under(
    arm: Arm, factor: str, values: Sequence[Value] | None, asked: int, recipe_of: RecipeOf
) -> list[Variant]:
    """List a factor's variants of a network that may have a recipe of its own."""
    network, recipe = arm
    if factor == RECIPE:
        return _checked(_by_recipe(network, values, recipe_of), values)
    found = _listed(network, factor, values)
    if asked == 1:
        _checked(found, values)
    elif rule := _why_none(found, values):
        none = replace(found[0], value="any", network=None, reference_value="", role=Role.VARIANT)
        found = [replace(none, rule=rule)]  # a row of several that says why it has no others
    return [replace(own, recipe=recipe, reference_recipe=recipe) for own in found]


def _by_recipe(
    network: Network, values: Sequence[Value] | None, recipe_of: RecipeOf
) -> list[Variant]:
    """List a network under the command's recipe, and under others."""
    own = recipe_of(None)
    texts = list(map(str, values or RECIPES))
    named = next((text for text in texts if recipe_of(text) == own), "as asked")
    first = Variant(
        factor=RECIPE,
        value=named,
        network=network,
        reference=network,
        reference_value=named,
        role=Role.REFERENCE,
        recipe=own,
        reference_recipe=own,
    )
    others = {text: recipe_of(text) for text in texts}
    return [
        first,
        *(
            replace(first, value=text, recipe=recipe, role=Role.VARIANT)
            for text, recipe in others.items()
            if recipe != own
        ),
    ]


def variants(
    reference: Network, factor: str, values: Sequence[Value] | None = None
) -> list[Variant]:
    """List a factor's variants of a network, the reference first. `values` may be texts; None takes
    the factor's usual ones.

    Raises ConfigError for an unknown factor, or if no value changes the network.
    """
    return _checked(_listed(reference, factor, values), values)


def _checked(found: list[Variant], values: Sequence[Value] | None) -> list[Variant]:
    if rule := _why_none(found, values):
        raise ConfigError(f"factor {found[0].factor} does not apply to this block: {rule}")
    return found


def _why_none(found: Sequence[Variant], values: Sequence[Value] | None) -> str:
    """Say why no value of a factor changes a block; "" where one does."""
    if any(variant.compared for variant in found):
        return ""
    rules = "; ".join(variant.rule for variant in found if variant.rule)
    return rules or _why_alike(found, asked=values is not None)


def interactions(found: Sequence[Variant]) -> list[Variant]:
    """List how far each variant's effect differs from the one under the first given value."""
    first = found[0].given
    minus = {(own.factor, own.value): own for own in found if own.given == first and own.compared}
    return [
        replace(own, role=Role.INTERACTION, minus=minus[own.factor, own.value])
        for own in found
        if own.given != first and own.compared and (own.factor, own.value) in minus
    ]


def alike(found: Sequence[Variant]) -> dict[int, int]:
    """Map the index of each variant that is compared to that of the first which compares the same
    networks, mostly itself.
    """
    first: dict[tuple[tuple[str, str], ...], int] = {}
    return {
        index: first.setdefault(variant.arm_digests, index)
        for index, variant in enumerate(found)
        if variant.compared
    }


def _values(
    factors: Sequence[str], values: Sequence[Value] | None, space: SpaceFile
) -> dict[str, list[Value] | None]:
    """Return which factors to vary (`all` is every factor), and over which values, None for the
    usual ones.
    """
    known = [*FACTORS, *NETWORK_FACTORS, RECIPE]
    if mistyped := [factor for factor in factors if factor not in (*known, "all")]:
        raise unknown("factor", mistyped[0], known)
    every = [factor for factor in known if factor not in NAMED_ONLY]
    chosen = every if "all" in factors else list(dict.fromkeys(factors))
    if values is None:
        own = space.grammar.options if space.grammar else {}
        return {
            factor: list(own[factor]) if factor in own else _with_defined(factor, space)
            for factor in chosen
        }
    if len(chosen) != 1:
        raise ConfigError(
            f"values are given for one factor at a time, but there are {len(chosen)}: "
            f"{', '.join(chosen)}"
        )
    (factor,) = chosen
    return {factor: [_value(factor, value, space) for value in values]}


def _value(factor: str, value: Value, space: SpaceFile) -> Value:
    if factor not in FACTORS or not isinstance(value, str):
        return value
    return FACTORS[factor].parse(value, space.options)


def _with_defined(factor: str, space: SpaceFile) -> list[Value] | None:
    """List a factor's usual values and a user's options of it that need no parameters, or None if
    there are none of those.
    """
    kind = FACTORS[factor].op if factor in FACTORS else ""
    families = [own for own in space.options.values() if own.kind == kind]
    defined = [own() for own in families if inspect.Parameter.empty not in own.defaults.values()]
    return [*FACTORS[factor].values, *defined] if defined else None


def _references(
    reference: Network,
    factor: str,
    values: Sequence[Value],
    space: SpaceFile,
    recipe_of: RecipeOf,
) -> list[tuple[str, Arm]]:
    """Return the reference under each given value, its own value first if it is among them."""
    if factor == RECIPE:
        known = _by_recipe(reference, values, recipe_of)
        texts = list(map(str, values))
        return [(own.value, (reference, own.recipe)) for own in known if own.value in texts]
    (read,) = _values([factor], values, space).values()
    found = _listed(reference, factor, read)
    if wrong := [f"{factor}={own.value}: {own.rule}" for own in found if own.network is None]:
        raise ConfigError(f"given {'; '.join(wrong)}")
    asked = {
        str(factor_named(factor).value(value)) if factor in FACTORS else str(value)
        for value in read or ()
    }
    return [(own.value, (own.network, None)) for own in found if own.network and own.value in asked]


def _why_alike(found: Sequence[Variant], *, asked: bool) -> str:
    own, *others = found
    if own.factor == RECIPE:
        return f"with what is given beside (epochs, batch, ...) every value is {own.value} again"
    if others and own.reference.skeleton:
        return f"{own.reference.skeleton.name} returns the same model whatever the value is"
    if others:
        return "every value gives the same layers"
    if asked:
        return f"only its own value {own.value} is asked about"
    return f"it has no value but {own.value}, unless a space defines one"


def _listed(reference: Network, factor: str, values: Sequence[Value] | None) -> list[Variant]:
    own, options = _options(reference, factor, values)
    first = Variant(
        factor=factor,
        value=str(own),
        network=reference,
        reference=reference,
        reference_value=str(own),
        role=Role.REFERENCE,
    )
    return [first, *(_changed(first, value) for value in dict.fromkeys(options) if value != own)]


def _changed(reference: Variant, value: Value) -> Variant:
    """Return the variant that has another value, with the rule that it breaks if it does.

    A user's operation that fails is no rule of the block, so it is raised.
    """
    variant = replace(reference, value=str(value), role=Role.VARIANT)
    try:
        network = reference.reference.with_factor(reference.factor, value)
        _ = network.layers  # a user's model is made now
        return replace(variant, network=network)
    except SpecError as error:
        return replace(variant, network=None, rule=str(error))


def _options(
    reference: Network, factor: str, values: Sequence[Value] | None
) -> tuple[Value, list[Value]]:
    """Return a factor's own value in a network, and the values to try."""
    height, width = reference.task.input.map
    match factor:
        case "stem":
            return str(reference.stem), [str(read_stem(value)) for value in values or STEMS]
        case "head":
            if wrong := [value for value in values or () if value not in HEADS]:
                raise ConfigError(f"head must be {' or '.join(HEADS)}, but got {wrong[0]!r}")
            return reference.head, list(values or HEADS)
        case "channels":
            numbers = map(read_channels, values or (1, 3))
            return str(reference.task.input.channels), [str(each) for each in numbers]
        case "resolution":
            if not values:
                raise ConfigError("resolution has no usual values: name some, such as 24,48")
            sizes = map(read_resolution, values)
            return f"{height}x{width}", ["x".join(map(str, size)) for size in sizes]
    if factor not in FACTORS:
        raise unknown("factor", factor, (*FACTORS, *NETWORK_FACTORS))
    described = factor_named(factor)
    own = list(dict.fromkeys(block.values()[factor] for block in reference.blocks))
    # Blocks that differ are no value among the others.
    shown = own[0] if len(own) == 1 else ", then ".join(map(str, own))
    return shown, [described.value(v) for v in values] if values else list(described.values)


def _at_equal_flops(found: Sequence[Variant]) -> list[Variant]:
    """List the variants that cost more or less again at their reference's FLOPs, with it."""
    again = [_rescaled(own) for own in found if own.is_reference or _costs_other(own)]
    asked = {(own.given, own.factor) for own in again if not own.is_reference}
    return [replace(own, equal_flops=True) for own in again if (own.given, own.factor) in asked]


def _costs_other(variant: Variant) -> bool:
    return (
        variant.network is not None
        and cost(variant.network.layers).flops != cost(variant.reference.layers).flops
    )


def _rescaled(variant: Variant) -> Variant:
    if variant.network is None or variant.is_reference:
        return variant
    try:
        network = rescaled(variant.network, f"flops <= {cost(variant.reference.layers).flops}")
    except SpecError as error:
        return replace(variant, network=None, rule=str(error))
    return replace(variant, network=network, rescaled=True)
