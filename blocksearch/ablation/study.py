"""Vary one factor of a block at a time, everything else and the seeds paired, and say what each
value does.

The family of comparisons is everything one command compares; its verdicts are adjusted together.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from blocksearch.ablation.claims import claims_of, counted
from blocksearch.ablation.design import Variant, alike
from blocksearch.ablation.looks import Pairs, sequential
from blocksearch.ablation.stats import MARGIN, Effect, compare_pairs
from blocksearch.arch.cost import Cost, cost
from blocksearch.arch.network import Network
from blocksearch.arch.notation import format_network
from blocksearch.runs.ledger import Ledger
from blocksearch.runs.plan import Conditions, Request, conditions
from blocksearch.runs.provenance import mixture, notes
from blocksearch.runs.records import Job, Run, RunKey
from blocksearch.runs.scheduler import Plan, Watch, ensure, foresee, recall


@dataclass(frozen=True)
class Result:
    """A variant with what its runs say; `effect` is None for the reference and for variants that
    were not compared.

    `accuracies` and `curves` (accuracy after each epoch) are by seed; `reference` are the
    reference's accuracies, `base` is its cost. Where there is an effect they are of the seeds that
    it was judged by: another comparison may have asked for more. Of an interaction `accuracies` and
    `reference` are the two effects that are compared, in points, and there is no cost and no curve.
    `claims` is what the EffNet paper says of the variant against its reference, and what becomes of
    it.
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
    claims: tuple[str, ...] = ()


def ablate(
    name: str,
    found: Sequence[Variant],
    seeds: Sequence[int],
    request: Request,
    watch: Watch,
    looks: tuple[int, ...] = (),
) -> tuple[str, list[Result], list[str]]:
    """Run and read an ablation of the variants that `variants.ask` lists.

    Return its title, which states every reduction, its results, variant by variant, and notes on
    where the runs came from. With `looks` (see the module) seeds are added to undecided comparisons
    only, and `seeds` are not asked for. What was concluded is saved in the ledger beside the runs.
    Raises ConfigError before anything is trained, but where runs of different kinds are in the
    ledger and the request is strict.
    """
    shared, title = _planned(name, found, seeds, request, looks)
    if looks:
        runs, answer = _looked(found, shared, looks, request, watch)
    else:
        runs = ensure(
            jobs(found, shared, seeds), request.ledger, request.workers, watch, request.device
        )
        answer = results(found, shared, seeds, runs, margin=request.margin)
    mixed = mixture(runs.values(), strict=request.strict)
    title = f"{title}; {mixed}" if mixed else title
    with closing(Ledger(request.ledger)) as ledger:
        ledger.add_report("ablate", title, json.dumps(as_rows(answer)))
    return title, answer, notes(found[0].against, runs.values(), shared)


def foresee_ablation(
    name: str,
    found: Sequence[Variant],
    seeds: Sequence[int],
    request: Request,
    watch: Watch,
    looks: tuple[int, ...] = (),
) -> tuple[str, Plan, int]:
    """Say what an ablation would train: title, plan up to the next look, and how many runs there
    are after it at most.
    """
    shared, title = _planned(name, found, seeds, request, looks)
    wanted, later = (
        _next_look(found, shared, looks, request) if looks else (jobs(found, shared, seeds), 0)
    )
    return title, foresee(wanted, request.ledger, request.workers, watch, request.device), later


def _planned(
    name: str,
    found: Sequence[Variant],
    seeds: Sequence[int],
    request: Request,
    looks: tuple[int, ...],
) -> tuple[Conditions, str]:
    reference = next(variant.against for variant in found)
    shared = conditions(request, reference)
    rescaled = (
        ", also at equal FLOPs (widths rescaled)"
        if any(variant.rescaled for variant in found)
        else ""
    )
    seeded = (
        f"looks at {', '.join(map(str, looks))} seeds"
        if looks
        else f"seeds {','.join(map(str, seeds))}"
    )
    margin = "" if request.margin is None else f"; margin ±{request.margin:g} points"
    return shared, f"{shared.title(name + rescaled, reference)}; {seeded}{margin}"


def _looked(
    found: Sequence[Variant],
    shared: Conditions,
    looks: tuple[int, ...],
    request: Request,
    watch: Watch,
) -> tuple[dict[RunKey, Run], list[Result]]:
    """Train and compare look by look."""
    runs: dict[RunKey, Run] = {}

    def train(wanted: list[Job]) -> None:
        runs.update(ensure(wanted, request.ledger, request.workers, watch, request.device))

    asked: dict[str, int] = {}
    more = _more(found, shared, runs, train)

    def noted(names: frozenset[str], count: int) -> Pairs:
        asked.update(dict.fromkeys(names, count))
        return more(names, count)

    effects = sequential(_compared(found), looks, noted, margin=request.margin)
    return runs, results(found, shared, range(looks[-1]), runs, (effects, asked))


class _NotYetError(Exception):
    """What a look needs is not in the ledger."""


def _next_look(
    found: Sequence[Variant], shared: Conditions, looks: tuple[int, ...], request: Request
) -> tuple[list[Job], int]:
    """Return the jobs of the first look that the ledger does not answer, and how many more it lacks
    at most after that look.
    """
    every = jobs(found, shared, range(looks[-1]))
    runs, asked = recall(every, request.ledger), list[Job]()

    def train(wanted: list[Job]) -> None:
        asked[:] = wanted
        if any(job.key not in runs for job in wanted):
            raise _NotYetError

    try:
        sequential(
            _compared(found), looks, _more(found, shared, runs, train), margin=request.margin
        )
    except _NotYetError:
        keys = {job.key for job in asked}
        networks = {key.network for key in keys}
        return asked, sum(
            job.key.network in networks and job.key not in keys and job.key not in runs
            for job in every
        )
    return asked, 0


def _compared(found: Sequence[Variant]) -> frozenset[str]:
    """Name the comparisons of a family by the place of their variant; the same networks are
    compared once.
    """
    return frozenset(map(str, alike(found).values()))


def _more(
    found: Sequence[Variant],
    shared: Conditions,
    runs: Mapping[RunKey, Run],
    train: Callable[[list[Job]], None],
) -> Callable[[frozenset[str], int], Pairs]:
    """Return what gives a look its accuracies, after `train` has put what they need into `runs`."""

    def more(names: frozenset[str], count: int) -> Pairs:
        wanted = {name: found[int(name)] for name in sorted(names, key=int)}
        train(jobs(wanted.values(), shared, range(count)))
        return {
            name: _pair(variant, shared, range(count), runs) for name, variant in wanted.items()
        }

    return more


def jobs(found: Iterable[Variant], conditions: Conditions, seeds: Sequence[int]) -> list[Job]:
    """List the trainings that variants and their references need; equal layers share them."""
    networks = {network.digest: network for variant in found for network in variant.networks}
    return conditions.jobs(networks.values(), seeds)


def results(
    found: Sequence[Variant],
    conditions: Conditions,
    seeds: Sequence[int],
    runs: Mapping[RunKey, Run],
    looked: tuple[Mapping[str, Effect], Mapping[str, int]] | None = None,
    margin: float | None = None,
) -> list[Result]:
    """Compare every variant with its reference over the seeds both completed.

    Where that was done by looks, `looked` are the effects and how many of the seeds each comparison
    has asked for, by place. Variants that compare the same networks are one comparison of the
    family, and say so.
    """
    if looked is None:
        pairs = {
            place: _pair(found[int(place)], conditions, seeds, runs)
            for place in sorted(_compared(found), key=int)
        }
        looked = compare_pairs(pairs, margin=MARGIN if margin is None else margin), {}
    (effects, asked), first = looked, alike(found)
    told = [_told(variant, found[first.get(place, place)]) for place, variant in enumerate(found)]
    places = [str(first.get(place)) for place in range(len(found))]
    own_seeds = [seeds[: asked.get(place, len(seeds))] for place in places]
    return [
        _result(variant, effects.get(place), conditions, chosen, runs)
        for variant, place, chosen in zip(told, places, own_seeds, strict=True)
    ]


def _told(variant: Variant, first: Variant) -> Variant:
    """Let a variant say which other one compares the same networks."""
    if first is variant:
        return variant
    where = (
        "" if first.given == variant.given else f" given {first.given}" if first.given else " above"
    )
    return replace(variant, rule=f"the same networks as {first.factor} {first.value}{where}")


def _pair(
    variant: Variant, conditions: Conditions, seeds: Sequence[int], runs: Mapping[RunKey, Run]
) -> tuple[dict[int, float], dict[int, float]]:
    """Return the accuracies by seed of a variant's reference and its own; of an interaction, the
    two effects by seed.
    """
    reference, own = (
        _accuracies(_runs(n, conditions, seeds, runs)) for n in (variant.against, variant.network)
    )
    if variant.beside is None:
        return reference, own
    return _effects(*_pair(variant.beside, conditions, seeds, runs)), _effects(reference, own)


def _effects(reference: Mapping[int, float], own: Mapping[int, float]) -> dict[int, float]:
    return {seed: own[seed] - reference[seed] for seed in own if seed in reference}


def _runs(
    network: Network | None,
    conditions: Conditions,
    seeds: Sequence[int],
    runs: Mapping[RunKey, Run],
) -> dict[int, Run]:
    if network is None:
        return {}
    keys = {seed: conditions.job(network, seed).key for seed in seeds}
    return {seed: runs[key] for seed, key in keys.items() if key in runs}


def _accuracies(found: Mapping[int, Run]) -> dict[int, float]:
    return {seed: run.accuracy for seed, run in found.items() if run.accuracy is not None}


def _result(
    variant: Variant,
    effect: Effect | None,
    conditions: Conditions,
    seeds: Sequence[int],
    runs: Mapping[RunKey, Run],
) -> Result:
    found = _runs(variant.network, conditions, seeds, runs)
    reference, own = _pair(variant, conditions, seeds, runs)
    if effect and effect.seeds:
        reference, own = ({seed: each[seed] for seed in effect.seeds} for each in (reference, own))
    failures = {
        seed: f"{run.state}: {run.reason}" for seed, run in found.items() if run.accuracy is None
    }
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
        curves={seed: run.accuracies for seed, run in found.items() if seed in own}
        if alone
        else {},
        reference=reference,
        failures=failures,
        effect=effect,
        verdict=verdict,
        claims=tuple(_claims(variant, verdict, effect)),
    )


_APART = {
    "helps": "higher",
    "hurts": "lower",
}  # what is said of an effect that differs from another


def _claims(variant: Variant, verdict: str, effect: Effect | None) -> list[str]:
    """Find what the paper says, which is not of rescaled widths, and hold the verdict or the FLOPs
    against it.
    """
    if variant.is_reference or variant.rescaled or not variant.compared:
        return []
    assert variant.network
    factor, value, base = variant.factor, variant.value, _own_value(variant.against, variant.factor)
    if variant.beside is None:
        claims = claims_of(factor, base, value)
        operations = counted(
            factor, base, value, _flops(variant.network, factor) / _flops(variant.against, factor)
        )
    else:
        claims = claims_of(factor, base, value, variant.given.partition("=")[0])
        smaller = _flops(variant.against) < _flops(variant.beside.against)
        claims, operations = claims if smaller else [claim.reversed() for claim in claims], []
    interval = effect.interval if effect else None
    return [*(f"{claim}, {claim.agreement(verdict, interval)}" for claim in claims), *operations]


def _own_value(network: Network, factor: str) -> str:
    """Return a factor's value in a network, as claims name it: a baseline is the only reference
    among networks.
    """
    own = {"network": "baseline", "first_layer": network.first_layer}
    return own[factor] if factor in own else str(network.blocks[0].values()[factor])


def _flops(network: Network, factor: str = "") -> int:
    return cost(network.stages[0] if factor == "first_layer" else network.layers).flops


def as_rows(found: Sequence[Result]) -> list[dict[str, object]]:
    """Flatten results for `--json` and for the ledger: one row per variant, references before
    theirs.

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
        "fingerprint": variant.network.digest if variant.network else None,
        "flops": price and price.flops,
        "params": price and price.params,
        "floats": price and price.floats,
        "flops_difference": price and price.flops - base.flops,
        "params_difference": price and price.params - base.params,
        "floats_difference": price and price.floats - base.floats,
        "n": effect and effect.n,
        "seeds": sorted(result.accuracies),
        "accuracies": [result.accuracies[seed] for seed in sorted(result.accuracies)],
        "difference": effect and effect.difference,
        "interval": effect and effect.interval,
        "p_value": effect and effect.p_value,
        "p_sign_flip": effect and effect.p_sign_flip,
        "p_sign_flip_smallest": effect and effect.p_sign_flip_smallest,
        "correlation": effect and effect.correlation,
        "verdict": result.verdict,
        "claims": result.claims,
        "seeds_to_decide": effect and effect.seeds_to_decide,
        "failures": {str(seed): reason for seed, reason in result.failures.items()},
        "rule": variant.rule,
    }
