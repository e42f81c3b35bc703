"""Vary one factor of a block at a time, everything else and the seeds paired, and say what each value does.

The family of comparisons is everything one command compares; its verdicts are adjusted together.
"""

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

from blocksearch.errors import SpaceError, UsageError, unknown
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

NETWORK_FACTORS = {"first_layer": FIRST_LAYERS}
NO_SPACE = Space()


@dataclass(frozen=True)
class Variant:
    """One value of one factor. `network` is None where the value does not apply to the block, and `rule` says why."""

    factor: str
    value: str
    is_reference: bool
    network: Network | None
    rule: str = ""


@dataclass(frozen=True)
class Result:
    """A variant with what its runs say; `effect` is None for the reference and for variants that were not compared."""

    variant: Variant
    cost: Cost | None
    accuracies: Mapping[int, float]
    failures: Mapping[int, str]
    effect: Effect | None
    verdict: str


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
) -> tuple[str, list[Result]]:
    """Run and read an ablation; return its title, which states every reduction, and its results, factor by factor.

    What was concluded is saved in the ledger beside the runs. Raises UsageError before anything is trained.
    """
    found = {factor: variants(reference, factor, values) for factor, values in question.items()}
    shared = conditions(request, reference)
    everything = [variant for group in found.values() for variant in group]
    runs = ensure(jobs(everything, shared, seeds), request.ledger, request.workers, watch, request.device)
    answer = results(everything, shared, seeds, runs)
    title = f"{shared.title(name, reference)}; seeds {','.join(map(str, seeds))}"
    with closing(Ledger(request.ledger)) as ledger:
        ledger.add_report("ablate", title, json.dumps(as_rows(answer)))
    return title, answer


def variants(reference: Network, factor: str, values: Sequence[Value] | None = None) -> list[Variant]:
    """List a factor's variants of a network, the reference first. `values` may be texts; None takes the factor's usual ones.

    Raises UsageError for an unknown factor, or where no value changes the network.
    """
    own, options = _options(reference, factor, values)
    found = [Variant(factor, str(own), True, reference)]
    found += [_variant(reference, factor, value) for value in options if value != own]
    if all(v.network is None or v.network.fingerprint == reference.fingerprint for v in found):
        rules = "; ".join(v.rule for v in found if v.rule) or "every value gives the same layers"
        raise UsageError(f"factor {factor} does not apply to this block: {rules}")
    return found


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


def results(found: Sequence[Variant], conditions: Conditions, seeds: Sequence[int], runs: Mapping[RunSpec, Run]) -> list[Result]:
    """Compare every variant with its reference over the seeds both completed."""
    reference = next(v for v in found if v.is_reference)
    base = _accuracies(reference, conditions, seeds, runs)
    compared = {str(k): _accuracies(v, conditions, seeds, runs) for k, v in enumerate(found) if _is_compared(v, reference)}
    effects = compare(base, compared)
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
    return Result(variant, counted, _accuracies(variant, conditions, seeds, runs), failures, effect, verdict)


def as_rows(found: Sequence[Result]) -> list[dict[str, object]]:
    """Flatten results for `--json` and for the ledger: one row per variant, the reference first."""
    base = found[0].cost
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
        "seeds_to_decide": effect and effect.seeds_to_decide,
        "failures": {str(seed): reason for seed, reason in result.failures.items()},
        "rule": variant.rule,
    }
