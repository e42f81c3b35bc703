"""Steps from member to member, and the reason why something is none."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from blocksearch.arch.block import RULES, Block
from blocksearch.arch.constraints import Budget
from blocksearch.arch.factors import FACTORS, Value
from blocksearch.arch.network import Network
from blocksearch.arch.notation import format_network
from blocksearch.errors import PluginError, SpecError
from blocksearch.space.enumeration import Members
from blocksearch.space.layouts import Genes, Plan, Product

_TRIES = 20  # children that may leave the grammar before a parent is returned


def neighbours(members: Members, network: Network) -> list[Network]:
    """List the members that differ in one factor of one block, or in one choice of the plan."""
    genes = _genes(members, network)
    found: dict[str, Network] = {}
    for candidate in _candidates(members, genes):
        near = _member(members, candidate)
        if near is not None and near.digest != network.digest:
            found.setdefault(near.digest, near)
    return list(found.values())


def mutate(members: Members, network: Network, seed: int | np.random.Generator) -> Network:
    """Return a random neighbour, or the network itself where it has none."""
    draw = np.random.default_rng(seed)
    candidates = list(_candidates(members, _genes(members, network)))
    for place in draw.permutation(len(candidates)):
        near = _member(members, candidates[place])
        if near is not None and near.digest != network.digest:
            return near
    return network


def crossover(
    members: Members, one: Network, other: Network, seed: int | np.random.Generator
) -> Network:
    """Return a member made of two: the plan of one, and each factor of each block from either.

    Where twenty such children in turn leave the grammar, one of the parents is returned.
    """
    draw = np.random.default_rng(seed)
    parents = _genes(members, one), _genes(members, other)
    for _ in range(_TRIES):
        part, plan, _blocks = parents[draw.integers(2)]
        first, second = (_fitted(parent.blocks, plan) for parent in parents)
        blocks = []
        for a, b in zip(first, second, strict=True):
            values = a.values(), b.values()
            try:
                blocks.append(Block(**{name: values[draw.integers(2)][name] for name in FACTORS}))  # type: ignore[arg-type]
            except SpecError:
                break
        else:
            child = _member(members, Genes(part, plan, tuple(blocks)))
            if child is not None:
                return child
    return (one, other)[draw.integers(2)]


def why_not(members: Members, what: Block | Network) -> str | None:
    """Return the rule that excludes a block or a network, or None for a member."""
    if isinstance(what, Network):
        return _why_not_network(members, what)
    reasons: dict[str, None] = {}
    for part, made in enumerate(members.products):
        for plan in made.plans:
            for place in range(1 if plan.shared else plan.blocks):
                reason = _why_not_placed(members, Genes(part, plan, ()), what, place)
                if reason is None:
                    return None
                options = [stage.options for stage in plan.stages if stage.kind == "own"]
                reasons[_why_not_here(made, options[place], what) or reason] = None
    return "; ".join(reasons)


def _genes(members: Members, network: Network) -> Genes:
    genes = members.genes_of(network)
    if genes is None:
        raise SpecError(
            f"{format_network(network)} is not in the grammar: {why_not(members, network)}"
        )
    return genes


def _member(members: Members, genes: Genes) -> Network | None:
    try:
        network = members.network(genes)
    except PluginError:
        raise
    except SpecError:
        return None
    return network if members.genes_of(network) is not None else None


def _candidates(members: Members, genes: Genes) -> Iterator[Genes]:
    for part, made in enumerate(members.products):
        yield from (
            Genes(part, plan, _fitted(genes.blocks, plan))
            for plan in made.plans
            if _one_choice_apart(plan, genes.plan)
        )
        if genes.plan not in made.plans:
            continue
        places = [stage.options for stage in genes.plan.stages if stage.kind == "own"]
        for place, options in enumerate(places):
            for name, values in made.options[options].items():
                for value in values:
                    if value != genes.blocks[place].values()[name]:
                        yield from _changed(genes, part, place, name, value)


def _changed(genes: Genes, part: int, place: int, name: str, value: Value) -> Iterator[Genes]:
    try:
        block = genes.blocks[place].with_factors({name: value})
    except SpecError:
        return
    yield Genes(part, genes.plan, _replaced(genes.blocks, place, block))


def _one_choice_apart(one: Plan, other: Plan) -> bool:
    """Say whether plans differ in widths alone, in the first layer alone, or in the depth of one
    stage.
    """
    if one.shared != other.shared:
        return False
    longer, shorter = sorted((one.depths, other.depths), key=len, reverse=True)
    deeper = (
        sum(a != b for a, b in zip(longer, shorter, strict=False))
        if not one.shared
        else one.depths[-1] != other.depths[-1]
    )
    return (one.widths != other.widths) + (one.first_layer != other.first_layer) + deeper == 1


def _fitted(blocks: Sequence[Block], plan: Plan) -> tuple[Block, ...]:
    """Give a plan as many blocks as it has places: the last ones stay last, and the first fills
    what is missing.
    """
    missing = max(0, plan.blocks - len(blocks))
    return (blocks[0],) * missing + tuple(blocks[len(blocks) + missing - plan.blocks :])


def _why_not_network(members: Members, network: Network) -> str | None:
    if members.genes_of(network) is not None:
        return None
    if (found := members.broken(network)) is not None:
        broken, costs = found
        has = (
            f": it has {int(costs.of(broken.quantity)[0]):,} {broken.quantity}"
            if isinstance(broken, Budget)
            else ""
        )
        return f"it does not meet {broken.name}{has}"
    reasons = dict.fromkeys(_why_not_made(made, network) for made in members.products)
    return "; ".join(reasons)


def _why_not_made(made: Product, network: Network) -> str:
    own, other = made.task, network.task
    for name, wanted, found in (
        ("input", own.input, other.input),
        ("classes", own.classes, other.classes),
    ):
        if wanted != found:
            return f"{name} is {found}, not {wanted}"
    if own.dropout != other.dropout:
        return f"dropout is {other.dropout}, not {own.dropout}"
    plans = [plan for plan in made.plans if plan.first_layer == network.first_layer]
    if not plans:
        return f"first_layer={network.first_layer} is none of {_any(dict.fromkeys(plan.first_layer for plan in made.plans))}"
    plans = [plan for plan in plans if tuple(stage.width for stage in plan.stages) == other.widths]
    if not plans:
        return f"widths={other.widths_text} is none of {_any(dict.fromkeys(','.join(map(str, p.widths)) for p in made.plans))}"
    if (
        len(network.blocks) > 1
        and all(plan.shared for plan in plans)
        and len(set(network.blocks)) > 1
    ):
        return "the grammar has one block for all stages, but the network's differ"
    plan = plans[0]
    stages = [stage for stage in plan.stages if stage.kind != "vanilla"]
    blocks = network.blocks if len(network.blocks) > 1 else network.blocks * len(stages)
    for stage, block in zip(stages, blocks, strict=True):
        reason = _why_not_here(made, stage.options, block) if stage.kind == "own" else None
        if reason:
            return reason
    return "its blocks together are none of the grammar's"


def _why_not_here(made: Product, options: int, block: Block) -> str | None:
    values = block.values()
    for name in FACTORS:
        allowed = made.options[options].get(name, (made.base.values()[name],))
        if values[name] not in allowed:
            return f"{name}={values[name]} is none of {_any(allowed)}"
    broken = next((rule for rule in (*RULES, *made.rules) if not rule.holds(values)), None)
    return f"it does not meet {broken.name}" if broken else None


def _why_not_placed(members: Members, genes: Genes, block: Block, place: int) -> str | None:
    """Say why no network of a plan has a block in a place, beside the blocks that any member of the
    plan has elsewhere.
    """
    part, plan, _ = genes
    first = members.diagram.machine.first(part, plan)
    if first is None:
        return "its plan has no members"
    try:
        reason = _why_not_network(
            members, members.network(Genes(part, plan, _replaced(first.blocks, place, block)))
        )
        return (
            None
            if reason is None
            or (members.filtered and _is_beside_others(members, genes, block, place))
            else reason
        )
    except PluginError:
        raise
    except SpecError as error:
        return str(error)


def _is_beside_others(members: Members, genes: Genes, block: Block, place: int) -> bool:
    """Whether a filtered plan has a member with a block in a place; blocks of the same stage are
    that block, too.
    """
    made, own = (
        members.products[genes.part],
        {name: (value,) for name, value in block.values().items()},
    )
    here = [stage.options for stage in genes.plan.stages if stage.kind == "own"][place]
    if _why_not_here(made, here, block):
        return False
    options = tuple(own if index == here else each for index, each in enumerate(made.options))
    fixed = Members(
        [replace(made, options=options, plans=(genes.plan,))], [members.filters[genes.part]]
    )
    try:
        return bool(fixed.places(1, 0))
    except PluginError:
        raise
    except SpecError:
        return False


def _replaced(blocks: tuple[Block, ...], place: int, block: Block) -> tuple[Block, ...]:
    return (*blocks[:place], block, *blocks[place + 1 :])


def _any(values: object) -> str:
    return " or ".join(map(str, values))  # type: ignore[call-overload]
