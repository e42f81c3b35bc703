"""Explains why a block or a network is not in a space, and why a space is empty."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from blocksearch.arch.block import RULES, Block, Rule
from blocksearch.arch.cost import Budget
from blocksearch.arch.factors import FACTORS
from blocksearch.arch.network import Network
from blocksearch.errors import SpecError, typed
from blocksearch.space.declaration import Part
from blocksearch.space.enumeration import Enumeration
from blocksearch.space.layouts import Layout, Product, StageKind


@typed
def why_not(space: Enumeration, what: Block | Network) -> str | None:
    """Return the rule that excludes a block or a network, or None if it is in the space."""
    if isinstance(what, Network):
        return _why_not_network(space, what)
    reasons: dict[str, None] = {}
    for part, made in enumerate(space.products):
        for layout in made.layouts:
            for slot, options in enumerate(layout.slots):
                reason = _why_not_placed(space, part, layout, slot, what)
                if reason is None:
                    return None
                reasons[_why_not_here(made, options, what) or reason] = None
    return "; ".join(reasons)


def why_empty(parts: Sequence[Part]) -> str:
    """Say why no combination of options makes a network. It names the fewest constraints that
    exclude all, found by leaving out one after the other, else the fault of the first combination.
    """
    rules = list(
        dict.fromkeys(each for part in parts for each in part.constraints if isinstance(each, Rule))
    )
    if not rules or _is_empty(parts, ()):
        return f"the space is empty: {_first_fault(parts[0].product)}"
    for rule in list(rules):
        if _is_empty(parts, rest := [each for each in rules if each != rule]):
            rules = rest
    names = " and ".join(
        rule.name if rule.name == str(rule) else f"{rule.name} ({rule})" for rule in rules
    )
    return f"no network of the space meets {names}" + (" together" if len(rules) > 1 else "")


def _is_empty(parts: Sequence[Part], rules: Sequence[Rule]) -> bool:
    """Say whether options, blocks' own rules and some constraints leave nothing."""
    made = [part.product for part in parts]
    products = [replace(m, rules=tuple(rule for rule in m.rules if rule in rules)) for m in made]
    return Enumeration(products, [()] * len(products)).diagram.size == 0


def _first_fault(made: Product) -> str:
    layout = made.layouts[0]
    try:
        options = [made.options[slot] for slot in layout.slots]
        chosen = [{name: values[0] for name, values in each.items()} for each in options]
        made.network(layout, [Block(**made.base.values() | each) for each in chosen])
    except SpecError as error:
        return str(error)
    return "no combination of its options makes a network"


def _why_not_network(space: Enumeration, network: Network) -> str | None:
    if space.rank(network) is not None:
        return None
    if (found := space.broken(network)) is not None:
        broken, costs = found
        if not isinstance(broken, Budget):
            return f"it does not meet {broken.name}"
        has = f"{int(costs.of(broken.quantity)[0]):,} {broken.quantity}"
        return f"it does not meet {broken.name}: it has {has}"
    return "; ".join(dict.fromkeys(_why_not_made(made, network) for made in space.products))


def _why_not_made(made: Product, network: Network) -> str:
    own, other = made.task, network.task
    for name in ("classes", "dropout"):
        if getattr(own, name) != getattr(other, name):
            return f"{name} is {getattr(other, name)}, not {getattr(own, name)}"
    inputs = dict.fromkeys(each.input for each in made.layouts)
    if other.input not in inputs:
        return f"input is {other.input}, not {_any(inputs)}"
    layouts = [each for each in made.layouts if each.input == other.input]
    layouts = [each for each in layouts if each.stem == network.stem]
    if not layouts:
        known = _any(dict.fromkeys(each.stem for each in made.layouts))
        return f"stem={network.stem} is none of {known}"
    if network.head not in (heads := dict.fromkeys(each.head for each in layouts)):
        return f"head={network.head} is none of {_any(heads)}"
    layouts = [each for each in layouts if each.head == network.head]
    known = _any(dict.fromkeys(",".join(map(str, each.widths)) for each in layouts))
    layouts = [
        each for each in layouts if tuple(stage.width for stage in each.stages) == other.widths
    ]
    if not layouts:
        return f"widths={other.widths_text} is none of {known}"
    if len(set(network.blocks)) > 1 and all(each.shared for each in layouts):
        return "the space has one block for all stages, but the network's differ"
    stages = [stage for stage in layouts[0].stages if stage.kind is not StageKind.CONV]
    blocks = network.blocks if len(network.blocks) > 1 else network.blocks * len(stages)
    for stage, block in zip(stages, blocks, strict=True):
        if stage.kind is StageKind.OWN and (reason := _why_not_here(made, stage.options, block)):
            return reason
    return "no network of the space has its blocks together"


def _why_not_here(made: Product, options: int, block: Block) -> str | None:
    values, base = block.values(), made.base.values()
    for name in FACTORS:
        allowed = made.options[options].get(name, (base[name],))
        if values[name] not in allowed:
            return f"{name}={values[name]} is none of {_any(allowed)}"
    broken = next((rule for rule in (*RULES, *made.rules) if not rule.holds(values)), None)
    return f"it does not meet {broken.name}" if broken else None


def _why_not_placed(
    space: Enumeration, part: int, layout: Layout, slot: int, block: Block
) -> str | None:
    """Say why no network of a layout has a block in a slot, beside the blocks that any network of
    the layout has elsewhere.
    """
    first = space.diagram.automaton.first(part, layout)
    if first is None:
        return "its layout has no networks"
    blocks = (*first.blocks[:slot], block, *first.blocks[slot + 1 :])
    try:
        reason = _why_not_network(space, space.network(first._replace(blocks=blocks)))
    except SpecError as error:
        return str(error)
    if reason and space.filtered and _is_beside_others(space, part, layout, slot, block):
        return None
    return reason


def _is_beside_others(
    space: Enumeration, part: int, layout: Layout, slot: int, block: Block
) -> bool:
    """Say whether a filtered layout has a network with a block in a slot."""
    made, here = space.products[part], layout.slots[slot]
    if len(layout.slots) == 1:
        return False
    if _why_not_here(made, here, block):
        return False
    own = {name: (value,) for name, value in block.values().items()}
    options = tuple(own if index == here else each for index, each in enumerate(made.options))
    product = replace(made, options=options, layouts=(layout,))
    try:
        return bool(Enumeration([product], [space.filters[part]]).ranks(1, 0))
    except SpecError:
        return False


def _any(values: Iterable[object]) -> str:
    return " or ".join(map(str, values))
