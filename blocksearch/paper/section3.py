"""What Section 3 of the EffNet paper asks, and Section 6 after it: one family of comparisons, each
with its reference; and what stored runs say of it, data set by data set.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from blocksearch.ablation.config import AblationConfig
from blocksearch.ablation.design import Role, Variant, ask, interactions, variants
from blocksearch.ablation.stats import Comparison
from blocksearch.ablation.study import VariantResult, compare_variants
from blocksearch.arch.network import Network, Task
from blocksearch.arch.zoo import TASKS, named_network
from blocksearch.data import split_id
from blocksearch.errors import SpecError
from blocksearch.paper.claims import Claim, claims_about, with_claims
from blocksearch.paper.reproduce import compared, measured, networks_of
from blocksearch.paper.tables import TABLES
from blocksearch.runs.records import Run

FIRST = 5  # seeds of the first analysis
PARTS = (1, 2, 4)  # of a data set's widths, which may have been reduced to a half or a quarter


def section3(task: Task, dataset: str | None = None) -> list[Variant]:
    """List every factor of effnet, varied alone; then what the paper compares with other references
    than effnet.

    These are bottlenecks without a least number of channels, which hides them in thin networks;
    ways to pool against pooling 2×2 at once; a leaky against a linear last activation; and what a
    baseline loses as another network, at two widths.
    """
    effnet = named_network("effnet", task, dataset=dataset)
    return [
        *ask(effnet, AblationConfig(factors=["all"])),
        *_given(effnet, "minimum", "1", "bottleneck"),
        *_given(effnet, "pooling", "last", "pooling", "stride", "separable_end"),
        *_given(effnet, "activation", "linear", "activation", "leaky"),
        *conversions(task, dataset),
    ]


def _given(network: Network, changed: str, to: str, factor: str, *values: str) -> list[Variant]:
    reference = network.with_factor(changed, to)
    return [
        replace(each, given_factor=changed, given_value=to)
        for each in variants(reference, factor, values or None)
    ]


def conversions(task: Task, dataset: str | None = None) -> list[Variant]:
    """Ask what a baseline loses as MobileNet or ShuffleNet, at a task's widths and at half of them
    (Section 3, beginning).
    """
    half = replace(task, widths=tuple(max(1, width // 2) for width in task.widths))
    found = [variant for own in (task, half) for variant in _conversions(own, dataset)]
    return found + interactions(found)


def _conversions(task: Task, dataset: str | None) -> list[Variant]:
    base = named_network("baseline", task, dataset=dataset)
    reference = Variant(
        factor="network",
        value="baseline",
        network=base,
        reference=base,
        reference_value="baseline",
        role=Role.REFERENCE,
        given_factor="widths",
        given_value=task.widths_text,
    )
    found = [reference]
    for name in ("mobilenet", "shufflenet"):
        variant = replace(reference, value=name, role=Role.VARIANT)
        try:
            network = named_network(name, task, dataset=dataset)
            found.append(replace(variant, network=network))
        except SpecError as error:
            found.append(replace(variant, network=None, rule=str(error)))
    return found


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What stored runs of a data set say of Section 3: at which widths, after how many epochs."""

    widths: tuple[int, ...]
    epochs: int
    results: tuple[VariantResult, ...]


def recorded(runs: Iterable[Run], dataset: str, number: int = 0) -> Recorded | None:
    """Compare what stored runs of a validation split hold of Section 3; None if they hold nothing.

    Of several widths, recipes and versions of the data, those of which the most runs are there
    speak alone. Seeds beyond five were added at interim analyses.
    """
    kinds: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        if (run.key.dataset, run.key.protocol) == (dataset, split_id(number)):
            kinds.setdefault((run.key.data, run.key.recipe), []).append(run)
    best: tuple[int, Task, list[Run], list[Variant]] | None = None
    for part in PARTS:
        task = TASKS[dataset]
        task = replace(task, widths=tuple(max(1, width // part) for width in task.widths))
        asked = section3(task, dataset)
        wanted = {network.digest for variant in asked for network in variant.networks}
        for own in kinds.values():
            count = sum(run.key.network in wanted for run in own)
            if count and (best is None or count > best[0]):
                best = (count, task, own, asked)
    if best is None:
        return None
    _, task, own, asked = best
    known = {(run.key.network, run.key.seed): run for run in own}
    reference = asked[0].reference.digest
    seeds = sum(network == reference for network, _ in known)
    config = AblationConfig(
        factors=["all"], seeds=f"{FIRST}..{seeds}" if seeds > FIRST else max(1, seeds)
    )
    results = compare_variants(asked, config, lambda n, seed: known.get((n.digest, seed)))
    epochs = max(run.epoch_to for run in own if run.key.network == reference)
    return Recorded(widths=task.widths, epochs=epochs, results=with_claims(results))


def claims_across(runs: Mapping[str, Sequence[Run]]) -> list[dict[str, object]]:
    """Hold the claims of Sections 3, 4.2 and 6 against the stored runs of several data sets.

    Return a flat record for each claim: what it says, and for each data set the number of seeds,
    difference and interval in points, verdict and agreement, None if that was not run. Comparisons
    of networks in Section 6.3 are on test images, all others on a validation split.
    """
    found: dict[tuple[object, ...], dict[str, object]] = {}
    for dataset, own in runs.items():
        section, seen = recorded(own, dataset), Counter[tuple[object, ...]]()
        for result in [*(section.results if section else ()), *_among(own, dataset)]:
            claims = claims_about(result.variant) if result.variant.compared else []
            for claim in claims:
                record = _claimed(result, claim)
                seen[tuple(record.values())] += 1  # a claim may be tried twice, at two widths
                key = (*record.values(), seen[tuple(record.values())])
                agreement = str(claim.agreement(result.comparison))
                found.setdefault(key, record).update(_of(dataset, result.comparison, agreement))
    every = [name for dataset in runs for name in _of(dataset, None, None)]
    return [dict.fromkeys([*record, *every]) | record for record in found.values()]


def _among(runs: Sequence[Run], dataset: str) -> list[VariantResult]:
    """Compare the networks of Section 6 on test images."""
    task, found = TASKS[dataset], list[VariantResult]()
    tested = [run for run in runs if (run.key.dataset, run.key.protocol) == (dataset, "test")]
    for number in (number for number, (name, _) in TABLES.items() if name == dataset):
        for part in PARTS:
            own = replace(task, widths=tuple(max(1, width // part) for width in task.widths))
            rows = measured(networks_of(number, own), tested, range(FIRST))
            found += [
                result
                for result in compared(rows, range(FIRST))
                if any(claim.section.startswith("6") for claim in claims_about(result.variant))
            ]
    return found


def _claimed(result: VariantResult, claim: Claim) -> dict[str, object]:
    """Say what is claimed; widths, which differ between data sets, are left out."""
    variant = result.variant
    return {
        "section": claim.section,
        "factor": variant.factor,
        "value": variant.value,
        "reference": variant.reference_value,
        "given": "" if variant.given_factor == "widths" else variant.given,
        "role": str(variant.role),
        "says": str(claim.direction),
    }


def _of(dataset: str, own: Comparison | None, agreement: str | None) -> dict[str, object]:
    """Name what a data set says."""
    low, high = (own.interval if own else None) or (None, None)
    return {
        f"{dataset}_n": own and own.n,
        f"{dataset}_difference": own and own.difference,
        f"{dataset}_interval_low": low,
        f"{dataset}_interval_high": high,
        f"{dataset}_verdict": own and str(own.verdict),
        f"{dataset}_agreement": agreement,
    }
