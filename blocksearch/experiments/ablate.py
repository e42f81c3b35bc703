"""Vary one factor of a block at a time, everything else and the seeds paired, and say what each value does.

The family of comparisons is everything one command compares; its verdicts are adjusted together.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

from blocksearch.experiments.claims import Claim, Saving, claim_of
from blocksearch.experiments.looks import Pairs, sequential
from blocksearch.experiments.plan import Conditions, Request, conditions
from blocksearch.experiments.stats import Effect, compare_pairs
from blocksearch.experiments.variants import Variant
from blocksearch.runs.execute import Plan, Watch, ensure, foresee
from blocksearch.runs.ledger import Ledger
from blocksearch.runs.spec import Job, Run, RunSpec
from blocksearch.space.cost import Cost, cost
from blocksearch.space.network import Network
from blocksearch.space.notation import format_network


@dataclass(frozen=True)
class Result:
    """A variant with what its runs say; `effect` is None for the reference and for variants that were not compared.

    `accuracies` and `curves` (accuracy after each epoch) are by seed; `reference` are the reference's accuracies, `base` is its
    cost; `claim` is what the EffNet paper says of the variant against it. Of an interaction `accuracies` and `reference` are the
    two effects that are compared, in points, and there is no cost and no curve.
    """

    variant: Variant
    cost: Cost | None
    base: Cost
    accuracies: Mapping[int, float]
    curves: Mapping[int, tuple[float, ...]]
    reference: Mapping[int, float]
    failures: Mapping[int, str]
    effect: Effect | None
    verdict: str
    claim: Claim | Saving | None = None


def ablate(
    name: str,
    found: Sequence[Variant],
    seeds: Sequence[int],
    request: Request,
    watch: Watch,
    looks: tuple[int, ...] = (),
) -> tuple[str, list[Result]]:
    """Run and read an ablation of the variants that `variants.ask` lists.

    Return its title, which states every reduction, and its results, variant by variant.
    With `looks` (see the module) seeds are added to undecided comparisons only, and `seeds` are not asked for. What was concluded
    is saved in the ledger beside the runs. Raises UsageError before anything is trained.
    """
    shared, title = _planned(name, found, seeds, request, looks)
    if looks:
        answer = _looked(found, shared, looks, request, watch)
    else:
        runs = ensure(jobs(found, shared, seeds), request.ledger, request.workers, watch, request.device)
        answer = results(found, shared, seeds, runs)
    with closing(Ledger(request.ledger)) as ledger:
        ledger.add_report("ablate", title, json.dumps(as_rows(answer)))
    return title, answer


def foresee_ablation(
    name: str, found: Sequence[Variant], seeds: Sequence[int], request: Request, looks: tuple[int, ...] = ()
) -> tuple[str, Plan, int]:
    """Say what an ablation would train: title, plan up to the first look, and how many runs there are after it at most."""
    shared, title = _planned(name, found, seeds, request, looks)
    wanted = jobs(found, shared, range(looks[0]) if looks else seeds)
    later = len(jobs(found, shared, range(looks[0], looks[-1]))) if looks else 0
    return title, foresee(wanted, request.ledger, request.workers, request.device), later


def _planned(
    name: str, found: Sequence[Variant], seeds: Sequence[int], request: Request, looks: tuple[int, ...]
) -> tuple[Conditions, str]:
    reference = next(variant.against for variant in found)
    shared = conditions(request, reference)
    rescaled = ", variants at equal FLOPs (widths rescaled)" if any(variant.rescaled for variant in found) else ""
    seeded = f"looks at {', '.join(map(str, looks))} seeds" if looks else f"seeds {','.join(map(str, seeds))}"
    return shared, f"{shared.title(name + rescaled, reference)}; {seeded}"


def _looked(found: Sequence[Variant], shared: Conditions, looks: tuple[int, ...], request: Request, watch: Watch) -> list[Result]:
    """Train and compare look by look."""
    compared = {str(k): variant for k, variant in enumerate(found) if variant.compared}
    runs: dict[RunSpec, Run] = {}

    def more(names: frozenset[str], count: int) -> Pairs:
        wanted = [compared[name] for name in sorted(names, key=int)]
        runs.update(ensure(jobs(wanted, shared, range(count)), request.ledger, request.workers, watch, request.device))
        return {name: _pair(compared[name], shared, range(count), runs) for name in names}

    effects = sequential(frozenset(compared), looks, more)
    return results(found, shared, range(looks[-1]), runs, effects)


def jobs(found: Iterable[Variant], conditions: Conditions, seeds: Sequence[int]) -> list[Job]:
    """List the trainings that variants and their references need; equal layers share them."""
    networks = {network.fingerprint: network for variant in found for network in variant.networks}
    return conditions.jobs(networks.values(), seeds)


def results(
    found: Sequence[Variant],
    conditions: Conditions,
    seeds: Sequence[int],
    runs: Mapping[RunSpec, Run],
    effects: Mapping[str, Effect] | None = None,
) -> list[Result]:
    """Compare every variant with its reference over the seeds both completed, unless `effects` by place are there already."""
    if effects is None:
        pairs = {str(k): _pair(variant, conditions, seeds, runs) for k, variant in enumerate(found) if variant.compared}
        effects = compare_pairs(pairs)
    return [_result(variant, effects.get(str(k)), conditions, seeds, runs) for k, variant in enumerate(found)]


def _pair(
    variant: Variant, conditions: Conditions, seeds: Sequence[int], runs: Mapping[RunSpec, Run]
) -> tuple[dict[int, float], dict[int, float]]:
    """Return the accuracies by seed of a variant's reference and its own; of an interaction, the two effects by seed."""
    reference, own = (_accuracies(_runs(n, conditions, seeds, runs)) for n in (variant.against, variant.network))
    if variant.beside is None:
        return reference, own
    return _effects(*_pair(variant.beside, conditions, seeds, runs)), _effects(reference, own)


def _effects(reference: Mapping[int, float], own: Mapping[int, float]) -> dict[int, float]:
    return {seed: own[seed] - reference[seed] for seed in own if seed in reference}


def _runs(network: Network | None, conditions: Conditions, seeds: Sequence[int], runs: Mapping[RunSpec, Run]) -> dict[int, Run]:
    if network is None:
        return {}
    specs = {seed: conditions.job(network, seed).spec for seed in seeds}
    return {seed: runs[spec] for seed, spec in specs.items() if spec in runs}


def _accuracies(found: Mapping[int, Run]) -> dict[int, float]:
    return {seed: run.accuracy for seed, run in found.items() if run.accuracy is not None}


def _result(
    variant: Variant,
    effect: Effect | None,
    conditions: Conditions,
    seeds: Sequence[int],
    runs: Mapping[RunSpec, Run],
) -> Result:
    found = _runs(variant.network, conditions, seeds, runs)
    reference, own = _pair(variant, conditions, seeds, runs)
    failures = {seed: f"{run.state}: {run.reason}" for seed, run in found.items() if run.accuracy is None}
    if variant.is_reference:
        verdict = "reference"
    elif variant.network is None:
        verdict = "does not apply"
    elif not variant.compared:
        verdict = "same network"
    elif len(failures) == len(found):
        verdict = "no seed completed"
    else:
        assert effect
        verdict = _APART.get(effect.verdict, effect.verdict) if variant.beside else effect.verdict
    alone = variant.beside is None
    return Result(
        variant=variant,
        cost=cost(variant.network.layers) if variant.network and alone else None,
        base=cost(variant.against.layers),
        accuracies=own,
        curves={seed: run.accuracies for seed, run in found.items()} if alone else {},
        reference=reference,
        failures=failures,
        effect=effect,
        verdict=verdict,
        claim=_claim(variant),
    )


_APART = {"helps": "higher", "hurts": "lower"}  # what is said of an effect that differs from another


def _claim(variant: Variant) -> Claim | Saving | None:
    """Find what the paper says, which is not of rescaled widths; a factor's own reference value is the reference network's."""
    if variant.is_reference or variant.rescaled or variant.network is None:
        return None
    if variant.factor == "first_layer":
        block, vanilla = sorted((variant.network, variant.against), key=lambda network: network.first_layer)
        return Saving(1 - cost(block.stages[0]).flops / cost(vanilla.stages[0]).flops)
    base = "baseline" if variant.factor == "network" else str(variant.against.blocks[0].values()[variant.factor])
    if variant.beside is None:
        return claim_of(variant.factor, base, variant.value)
    claim = claim_of(variant.factor, base, variant.value, variant.given.partition("=")[0])
    smaller = cost(variant.against.layers).flops < cost(variant.beside.against.layers).flops
    return claim if claim is None or smaller else claim.reversed()


def as_rows(found: Sequence[Result]) -> list[dict[str, object]]:
    """Flatten results for `--json` and for the ledger: one row per variant, references before theirs.

    The `accuracies` of an interaction are effects, in points: those of its variant given its value.
    """
    return [_row(result) for result in found]


def _row(result: Result) -> dict[str, object]:
    variant, effect, price, base = result.variant, result.effect, result.cost, result.base
    return {
        "given": variant.given,
        "factor": variant.factor,
        "value": variant.value,
        "reference": variant.is_reference,
        "interaction": variant.beside is not None,
        "channels": variant.channels,
        "text": format_network(variant.network) if variant.network else None,
        "flops": price and price.flops,
        "params": price and price.params,
        "flops_difference": price and price.flops - base.flops,
        "params_difference": price and price.params - base.params,
        "seeds": sorted(result.accuracies),
        "accuracies": [result.accuracies[seed] for seed in sorted(result.accuracies)],
        "difference": effect and effect.difference,
        "interval": effect and effect.interval,
        "p_value": effect and effect.p_value,
        "p_sign_flip": effect and effect.p_sign_flip,
        "p_sign_flip_smallest": effect and effect.p_sign_flip_smallest,
        "correlation": effect and effect.correlation,
        "verdict": result.verdict,
        "claim": result.claim and str(result.claim),
        "agreement": result.claim and result.claim.agreement(result.verdict),
        "seeds_to_decide": effect and effect.seeds_to_decide,
        "failures": {str(seed): reason for seed, reason in result.failures.items()},
        "rule": variant.rule,
    }
