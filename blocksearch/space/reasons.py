"""Why a space is empty."""

from collections.abc import Sequence
from dataclasses import replace

from blocksearch.arch.block import Block
from blocksearch.arch.constraints import Rule
from blocksearch.errors import PluginError, SpecError
from blocksearch.space.declaration import Part
from blocksearch.space.enumeration import Members


def why_empty(parts: Sequence[Part]) -> str:
    """Say why no combination of options makes a network: the fewest constraints that exclude all,
    found by leaving out one after the other, or else what is wrong with the first combination.
    """
    rules = list(
        dict.fromkeys(each for part in parts for each in part.constraints if isinstance(each, Rule))
    )
    if not rules or _is_empty(parts, ()):
        return f"the space is empty: {_first_fault(parts[0])}"
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
    return Members(products, [()] * len(products)).diagram.size == 0


def _first_fault(part: Part) -> str:
    made = part.product
    try:
        plan = made.plans[0]
        own = [made.options[stage.options] for stage in plan.stages if stage.kind == "own"]
        chosen = [{name: values[0] for name, values in options.items()} for options in own]
        made.network(plan, [Block(**made.base.values() | values) for values in chosen])  # type: ignore[arg-type]
    except PluginError:
        raise
    except SpecError as error:
        return str(error)
    return "no combination of its options makes a network"
