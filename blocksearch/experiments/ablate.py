"""Vary one factor of a block at a time, everything else and the seeds paired, and say what each value does.

The family of comparisons is everything one command compares; its verdicts are adjusted together.
"""

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from blocksearch.errors import SpaceError, UsageError, unknown
from blocksearch.experiments.claims import Claim, claim_of
from blocksearch.experiments.looks import sequential
from blocksearch.experiments.plan import Conditions, Request, conditions
from blocksearch.experiments.stats import Effect, compare
from blocksearch.runs.execute import Watch, ensure
from blocksearch.runs.ledger import Ledger
from blocksearch.runs.spec import Job, Run, RunSpec
from blocksearch.space.cost import Cost, cost
from blocksearch.space.factors import FACTORS, Value, factor_named
from blocksearch.space.load import Space
from blocksearch.space.network import FIRST_LAYERS, Network
from blocksearch.space.notation import format_network
from blocksearch.space.rescale import rescaled

NETWORK_FACTORS = {"first_layer": FIRST_LAYERS}
NO_SPACE = Space()


@dataclass(frozen=True)
class Variant:
    """One value of one factor. `network` is None where the value does not apply to the block, and `rule` says why.

    `shown` is how the value is written where that says more.
    """

    factor: str
    value: str
    is_reference: bool
    network: Network | None
    rule: str = ""
    shown: str = ""


@dataclass(frozen=True)
class Result:
    """A variant with what its runs say; `effect` is None for the reference and for variants that were not compared.

    `claim` is what the EffNet paper says of it against this reference.
    """

    variant: Variant
    cost: Cost | None
    accuracies: Mapping[int, float]
    failures: Mapping[int, str]
    effect: Effect | None
    verdict: str
    claim: Claim | None = None


class InapplicableError(UsageError):
    """No value of a factor changes a block."""

    def __init__(self, factor: str, rules: str) -> None:
        super().__init__(f"factor {factor} does not apply to this block: {rules}")
        self.rules = rules


def read_values(factors: Sequence[str], values: str | None, space: Space = NO_SPACE) -> dict[str, list[Value] | None]:
    """Read which factors to vary (`all` is every factor) and, for a single one, which of its values.

    A factor that the user's grammar has options for is varied over those.
    """
    chosen = [*FACTORS, *NETWORK_FACTORS] if "all" in factors else list(dict.fromkeys(factors))
    if values is None:
        own = space.grammar.options if space.grammar else {}
        return {factor: list(own[factor]) if factor in own else None for factor in chosen}
    if len(chosen) != 1:
        raise UsageError(f"values are given for one factor at a time, but there are {len(chosen)}: {', '.join(chosen)}")
    texts = [value.strip() for value in re.split(r",(?![^(]*\))", values)]
    factor = chosen[0]
    return {factor: [FACTORS[factor].parse(text, space.options) if factor in FACTORS else text for text in texts]}


def ablate(
    name: str,
    reference: Network,
    question: Mapping[str, Sequence[Value] | None],
    seeds: Sequence[int],
    request: Request,
    watch: Watch,
    looks: tuple[int, ...] = (),
    *,
    equal_flops: bool = False,
) -> tuple[str, list[Result]]:
    """Run and read an ablation; return its title, which states every reduction, and its results, factor by factor.

    With `looks` (see the module) seeds are added to undecided comparisons only, and `seeds` are not asked for. With
    `equal_flops` the widths of every variant are rescaled to the reference's FLOPs, as far as these allow. What was concluded is
    saved in the ledger beside the runs. Raises UsageError before anything is trained.
    """
    found = {factor: _variants_or_why_not(reference, factor, values, len(question)) for factor, values in question.items()}
    shared = conditions(request, reference)
    everything = [variant for group in found.values() for variant in group]
    if not any(variant.is_reference for variant in everything):
        raise UsageError(f"none of the factors applies to this block: {', '.join(found)}")
    if equal_flops:
        everything, name = (
            [_at_equal_flops(v, reference) for v in everything],
            f"{name}, variants at equal FLOPs (widths rescaled)",
        )
    if looks:
        answer = _looked(everything, shared, looks, request, watch)
        title = f"{shared.title(name, reference)}; looks at {', '.join(map(str, looks))} seeds"
    else:
        runs = ensure(jobs(everything, shared, seeds), request.ledger, request.workers, watch, request.device)
        answer = results(everything, shared, seeds, runs)
        title = f"{shared.title(name, reference)}; seeds {','.join(map(str, seeds))}"
    with closing(Ledger(request.ledger)) as ledger:
        ledger.add_report("ablate", title, json.dumps(as_rows(answer)))
    return title, answer


def _at_equal_flops(variant: Variant, reference: Network) -> Variant:
    """Rescale a variant's widths to the reference's FLOPs; its value then tells the widths."""
    budget = cost(reference.layers).flops
    if variant.network is None or variant.is_reference or cost(variant.network.layers).flops == budget:
        return variant
    try:
        network = rescaled(variant.network, f"flops <= {budget}")
    except SpaceError as error:
        return replace(variant, network=None, rule=str(error))
    return replace(variant, network=network, shown=f"{variant.value} at {network.setting.widths_text}")


def _looked(found: Sequence[Variant], shared: Conditions, looks: tuple[int, ...], request: Request, watch: Watch) -> list[Result]:
    """Train and compare look by look."""
    reference = next(v for v in found if v.is_reference)
    compared = {str(k): v for k, v in enumerate(found) if _is_compared(v, reference)}
    runs: dict[RunSpec, Run] = {}

    def more(names: frozenset[str], count: int) -> tuple[Mapping[int, float], Mapping[str, Mapping[int, float]]]:
        wanted = [reference, *(compared[name] for name in sorted(names, key=int))]
        runs.update(ensure(jobs(wanted, shared, range(count)), request.ledger, request.workers, watch, request.device))
        base = _accuracies(reference, shared, range(count), runs)
        return base, {name: _accuracies(compared[name], shared, range(count), runs) for name in names}

    effects = sequential(frozenset(compared), looks, more)
    return results(found, shared, range(looks[-1]), runs, effects)


def variants(reference: Network, factor: str, values: Sequence[Value] | None = None) -> list[Variant]:
    """List a factor's variants of a network, the reference first. `values` may be texts; None takes the factor's usual ones.

    Raises UsageError for an unknown factor, or where no value changes the network.
    """
    own, options = _options(reference, factor, values)
    found = [Variant(factor, str(own), True, reference)]
    found += [_variant(reference, factor, value) for value in options if value != own]
    if all(v.network is None or v.network.fingerprint == reference.fingerprint for v in found):
        rules = "; ".join(v.rule for v in found if v.rule) or "every value gives the same layers"
        raise InapplicableError(factor, rules)
    return found


def _variants_or_why_not(reference: Network, factor: str, values: Sequence[Value] | None, asked: int) -> list[Variant]:
    """List a factor's variants; one of several factors that does not apply is a row that says so."""
    try:
        return variants(reference, factor, values)
    except InapplicableError as error:
        if asked == 1:
            raise
        return [Variant(factor, "any", False, None, error.rules)]


def _options(reference: Network, factor: str, values: Sequence[Value] | None) -> tuple[Value, list[Value]]:
    if factor in NETWORK_FACTORS:
        allowed = NETWORK_FACTORS[factor]
        if wrong := [value for value in values or () if value not in allowed]:
            raise UsageError(f"{factor} must be {' or '.join(allowed)}, but got {wrong[0]!r}")
        return reference.first_layer, list(values or allowed)
    if factor not in FACTORS:
        raise unknown("factor", factor, (*FACTORS, *NETWORK_FACTORS))
    described = factor_named(factor)
    return reference.blocks[0].values()[factor], [described.value(v) for v in values] if values else list(described.values)


def _variant(reference: Network, factor: str, value: Value) -> Variant:
    try:
        return Variant(factor, str(value), False, reference.with_factor(factor, value))
    except SpaceError as error:
        return Variant(factor, str(value), False, None, str(error))


def jobs(found: Sequence[Variant], conditions: Conditions, seeds: Sequence[int]) -> list[Job]:
    """List the trainings that an ablation needs; variants with equal layers share them."""
    networks = {v.network.fingerprint: v.network for v in found if v.network}
    return conditions.jobs(networks.values(), seeds)


def results(
    found: Sequence[Variant],
    conditions: Conditions,
    seeds: Sequence[int],
    runs: Mapping[RunSpec, Run],
    effects: Mapping[str, Effect] | None = None,
) -> list[Result]:
    """Compare every variant with its reference over the seeds both completed, unless `effects` by place are there already."""
    reference = next(v for v in found if v.is_reference)
    base = _accuracies(reference, conditions, seeds, runs)
    compared = {str(k): _accuracies(v, conditions, seeds, runs) for k, v in enumerate(found) if _is_compared(v, reference)}
    effects = compare(base, compared) if effects is None else effects
    return [_result(v, reference, effects.get(str(k)), conditions, seeds, runs) for k, v in enumerate(found)]


def _is_compared(variant: Variant, reference: Variant) -> bool:
    assert reference.network
    return variant.network is not None and variant.network.fingerprint != reference.network.fingerprint


def _runs(variant: Variant, conditions: Conditions, seeds: Sequence[int], runs: Mapping[RunSpec, Run]) -> dict[int, Run]:
    if variant.network is None:
        return {}
    specs = {seed: conditions.job(variant.network, seed).spec for seed in seeds}
    return {seed: runs[spec] for seed, spec in specs.items() if spec in runs}


def _accuracies(variant: Variant, conditions: Conditions, seeds: Sequence[int], runs: Mapping[RunSpec, Run]) -> dict[int, float]:
    found = _runs(variant, conditions, seeds, runs)
    return {seed: run.accuracy for seed, run in found.items() if run.accuracy is not None}


def _result(
    variant: Variant,
    reference: Variant,
    effect: Effect | None,
    conditions: Conditions,
    seeds: Sequence[int],
    runs: Mapping[RunSpec, Run],
) -> Result:
    found = _runs(variant, conditions, seeds, runs)
    failures = {seed: f"{run.state}: {run.reason}" for seed, run in found.items() if run.accuracy is None}
    if variant.is_reference:
        verdict = "reference"
    elif variant.network is None:
        verdict = "does not apply"
    elif not _is_compared(variant, reference):
        verdict = "same network"
    elif len(failures) == len(found):
        verdict = "no seed completed"
    else:
        assert effect
        verdict = effect.verdict
    counted = cost(variant.network.layers) if variant.network else None
    claim = _claim(variant, reference)
    return Result(variant, counted, _accuracies(variant, conditions, seeds, runs), failures, effect, verdict, claim)


def _claim(variant: Variant, reference: Variant) -> Claim | None:
    """Find what the paper says; a factor's own reference value is the reference network's."""
    assert reference.network
    own = reference.network.blocks[0].values().get(variant.factor, reference.network.first_layer)
    return None if variant.is_reference else claim_of(variant.factor, str(own), variant.value)


def as_rows(found: Sequence[Result]) -> list[dict[str, object]]:
    """Flatten results for `--json` and for the ledger: one row per variant, the reference first."""
    base = next(result.cost for result in found if result.variant.is_reference)
    return [_row(result, base) for result in found]


def _row(result: Result, base: Cost | None) -> dict[str, object]:
    variant, effect, price = result.variant, result.effect, result.cost
    return {
        "factor": variant.factor,
        "value": variant.value,
        "reference": variant.is_reference,
        "text": format_network(variant.network) if variant.network else None,
        "flops": price and price.flops,
        "params": price and price.params,
        "flops_difference": price.flops - base.flops if price and base else None,
        "params_difference": price.params - base.params if price and base else None,
        "seeds": sorted(result.accuracies),
        "accuracies": [result.accuracies[seed] for seed in sorted(result.accuracies)],
        "difference": effect and effect.difference,
        "interval": effect and effect.interval,
        "p_value": effect and effect.p_value,
        "p_sign_flip": effect and effect.p_sign_flip,
        "p_sign_flip_smallest": effect and effect.p_sign_flip_smallest,
        "correlation": effect and effect.correlation,
        "verdict": result.verdict,
        "claim": result.claim and result.claim.direction,
        "agreement": result.claim and result.claim.agreement(result.verdict),
        "seeds_to_decide": effect and effect.seeds_to_decide,
        "failures": {str(seed): reason for seed, reason in result.failures.items()},
        "rule": variant.rule,
    }
