"""Compares networks as Sections 3 and 6 of the EffNet paper do, in one family of comparisons, and
answers from stored runs, one data set after another.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from blocksearch.ablation.config import AblationConfig
from blocksearch.ablation.design import ask, interactions, variants
from blocksearch.ablation.results import VariantResult, compare_variants
from blocksearch.ablation.stats import Comparison
from blocksearch.ablation.variant import Role, Variant
from blocksearch.arch.network import Network, Task
from blocksearch.arch.zoo import TASKS, named_network
from blocksearch.data import get, split_id
from blocksearch.data.splits import SplitSummary, both_origins
from blocksearch.errors import SpecError
from blocksearch.paper.claims import REVISED, Claim, claims_about, with_claims
from blocksearch.paper.reproduce import compared, measured, networks_of
from blocksearch.paper.tables import TABLES
from blocksearch.runs.ledger import Ledger
from blocksearch.runs.recall import there
from blocksearch.runs.records import Run, RunKey

FIRST = 5  # seeds of the first analysis
ANALYSES = {"svhn": "5..8"}  # interim analyses, where not "5..12": twelve would take hours more
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


def analyses(dataset: str) -> str:
    """Return the seeds that Section 3 is asked over on a data set, unless others are wished."""
    return ANALYSES.get(dataset, "5..12")


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
    found = [variant for own in (task, _divided(task, 2)) for variant in _conversions(own, dataset)]
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
    """What stored runs of a data set say of Section 3 (`results`, on a validation split), and of
    the networks of Section 6 (`networks`, on test images), which are those of a `table`. `images`
    says which images these are, by how many runs, and of how many runs on others nothing is said.
    """

    title: str
    images: str
    widths: tuple[int, ...]
    results: tuple[VariantResult, ...]
    networks: tuple[VariantResult, ...]
    table: int


@dataclass(frozen=True, kw_only=True)
class _Part:
    """The runs of one task, recipe and version of the data, as far as something asks for them."""

    task: Task
    runs: tuple[Run, ...]
    usual: bool  # whether they have the data set's own number of epochs

    @property
    def experiment(self) -> str:
        """Say what was run."""
        epochs = max(run.epoch_to for run in self.runs)
        return f"widths {','.join(map(str, self.task.widths))}, {epochs} epochs"


def recorded_in(
    locations: Mapping[str, Sequence[str]], number: int = 0, **how: Any
) -> dict[str, Recorded | None]:
    """Read what the databases of several data sets hold; None if none of them is there. `how`
    they are compared are fields of `AblationConfig`.
    """
    found: dict[str, Recorded | None] = {}
    for dataset, own in locations.items():
        runs: dict[RunKey, Run] = {}
        stored: list[SplitSummary] = []
        get(dataset)  # raises an error for a name that is none
        for location in own:
            if there(location):
                with closing(Ledger(location, read_only=True)) as ledger:
                    runs = {run.key: run for run in ledger.runs()} | runs
                    stored = ledger.all_images() + stored
        told = {(each.digest, each.split): each.origin for each in stored}
        every = list(runs.values())
        found[dataset] = recorded(every, dataset, number, told, **how) if runs else None
    return found


def recorded(
    runs: Sequence[Run],
    dataset: str,
    number: int = 0,
    told: Mapping[tuple[str, str], str] | None = None,
    **how: Any,
) -> Recorded | None:
    """Compare what stored runs hold of Section 3, and of Section 6's networks; None if they hold
    nothing.

    Of several versions of the data, that of which the most runs are there speaks alone, and so do
    of several widths and recipes those of the most runs, in each section by itself; of as many,
    those of the data set's own schedule. Seeds beyond five were added at interim analyses. `number`
    is the validation split's; what is `told` of images is their origin, by digest and split.
    """
    own = [run for run in runs if run.key.dataset == dataset]
    versions = [
        [run for run in own if run.key.data == data]
        for data in dict.fromkeys(run.key.data for run in own)
    ]
    # of Section 5's table and Section 6's the latter
    table = max((number for number, (name, _) in TABLES.items() if name == dataset), default=0)
    parts = [
        (
            _most(each, dataset, split_id(number), partial(_asked, dataset)),
            _most(each, dataset, "test", partial(_tabled, table)),
        )
        for each in versions
    ]
    none: tuple[_Part | None, _Part | None] = (None, None)
    asked, tested = max(parts, key=_size, default=none)
    first = asked or tested
    if first is None:
        return None
    networks = _networks(tested, table) if tested else ()
    return Recorded(
        title=f"{dataset}: {_conditions(asked, tested if networks else None)}",
        images=_images(parts, (asked, tested), told or {}),
        widths=first.task.widths,
        results=_answered(asked, dataset, how) if asked else (),
        networks=networks,
        table=table,
    )


def _most(
    runs: Sequence[Run], dataset: str, protocol: str, wanted: Callable[[Task], set[str]]
) -> _Part | None:
    """Choose widths and recipe of which the most runs are there; None if nothing that is wanted
    is.
    """
    recipes: dict[str, list[Run]] = {}
    for run in runs:
        if run.key.protocol == protocol:
            recipes.setdefault(run.key.recipe, []).append(run)
    found = []
    for task in (_divided(TASKS[dataset], part) for part in PARTS):
        networks = wanted(task)
        for each in recipes.values():
            own = tuple(run for run in each if run.key.network in networks)
            usual = any(run.epoch_to == get(dataset).epochs for run in own)
            found += [_Part(task=task, runs=own, usual=usual)] if own else []
    return max(found, key=lambda part: (len(part.runs), part.usual), default=None)


def _asked(dataset: str, task: Task) -> set[str]:
    return {own.digest for variant in section3(task, dataset) for own in variant.networks}


def _tabled(table: int, task: Task) -> set[str]:
    return {network.digest for _, _, network in networks_of(table, task)} if table else set()


def _size(parts: tuple[_Part | None, _Part | None]) -> int:
    return sum(len(part.runs) for part in parts if part)


def _images(
    parts: Sequence[tuple[_Part | None, _Part | None]],
    shown: tuple[_Part | None, _Part | None],
    told: Mapping[tuple[str, str], str],
) -> str:
    """Say which images the shown runs are of, and how many runs of other images are not shown."""
    keys = [part.runs[0].key if part else None for part in shown]
    said = both_origins(*(told.get((key.data, key.protocol), "") if key else "" for key in keys))
    (data, *_) = (key.data for key in keys if key)
    others = sum(_size(part) for part in parts if part != shown)
    return (
        f"{_size(shown)} runs of images {data[:12]}"
        + (f" ({said})" if said else "")
        + (f"; {others} runs of other images are stored, too, and not shown" if others else "")
    )


def _conditions(asked: _Part | None, tested: _Part | None) -> str:
    if asked and tested and asked.experiment != tested.experiment:
        return f"{asked.experiment}; Section 6: {tested.experiment}"
    first = asked or tested
    return first.experiment if first else ""


def _answered(part: _Part, dataset: str, how: Mapping[str, Any]) -> tuple[VariantResult, ...]:
    """Compare the variants of Section 3, over as many seeds as their reference has."""
    asked = section3(part.task, dataset)
    known = {(run.key.network, run.key.seed): run for run in part.runs}
    seeds = sum(network == asked[0].reference.digest for network, _ in known)
    wished = f"{FIRST}..{seeds}" if seeds > FIRST else max(1, seeds)
    config = AblationConfig(factors=["all"], seeds=wished, **how)
    return with_claims(
        compare_variants(asked, config, lambda arm, seed: known.get((arm[0].digest, seed)))
    )


def _divided(task: Task, part: int) -> Task:
    """Return a task at a part of its widths."""
    return replace(task, widths=tuple(max(1, width // part) for width in task.widths))


def _networks(part: _Part, table: int) -> tuple[VariantResult, ...]:
    """Compare the networks of Section 6."""
    rows = measured(networks_of(table, part.task), part.runs, range(FIRST))
    return tuple(
        result
        for result in compared(table, rows, range(FIRST))
        if any(claim.section == REVISED for claim in claims_about(result.variant))
    )


def claims_across(found: Mapping[str, Recorded | None]) -> list[dict[str, object]]:
    """Hold the claims of Sections 3, 4.2 and 6 against what several data sets say.

    Return a flat record for each claim: what it says, and for each data set the number of seeds,
    difference and interval in points, verdict and agreement, None if that was not run. What a
    table prints of two networks on a data set stands for the claim there (`paper`, in points).
    """
    records: dict[tuple[object, ...], dict[str, object]] = {}
    for dataset, own in found.items():
        for result in (*own.results, *own.networks) if own else ():
            claims = claims_about(result.variant) if result.variant.compared else []
            for claim in claims:
                assert own
                record = _claimed(result.variant, claim, own.widths)
                here = claim.in_table(own.table)
                records.setdefault(tuple(record.values()), record).update(
                    _of(dataset, result.comparison, here)
                )
    every = [name for dataset in found for name in _of(dataset, None, None)]
    return [dict.fromkeys([*record, *every]) | record for record in records.values()]


def claims_shown(found: Mapping[str, Recorded | None]) -> list[dict[str, object]]:
    """Write those records for people, a column for each data set."""
    return [
        {
            "section": record["section"],
            "claim": f"{record['factor']} {record['value']} against {record['reference']}",
            "given": record["given"],
            "the paper": record["says"],
            **{dataset: _shown(record, dataset) for dataset in found},
        }
        for record in claims_across(found)
    ]


def _shown(record: Mapping[str, object], dataset: str) -> str:
    verdict, agreement = record[f"{dataset}_verdict"], record[f"{dataset}_agreement"]
    if verdict is None:
        return "not run"
    difference = record[f"{dataset}_difference"]
    points = f"{difference:+.2f} " if difference is not None else ""
    said = f"{points}{verdict}" + ("" if verdict == agreement else f", {agreement}")
    printed = record[f"{dataset}_paper"]
    return said if printed is None else f"{said} (paper {printed:+.2f})"


def _claimed(variant: Variant, claim: Claim, widths: tuple[int, ...]) -> dict[str, object]:
    """Say what is claimed. Widths differ between data sets, so they are named by their share."""
    given = variant.given
    if variant.given_factor == "widths":
        given = "" if variant.reference.task.widths == widths else "half the widths"
    return {
        "section": claim.section,
        "factor": variant.factor,
        "value": variant.value,
        "reference": variant.reference_value,
        "given": given,
        "role": str(variant.role),
        "says": str(claim.direction),
    }


def _of(dataset: str, own: Comparison | None, claim: Claim | None) -> dict[str, object]:
    """Name what a data set says, and what becomes of a claim there."""
    low, high = (own.interval if own else None) or (None, None)
    return {
        f"{dataset}_n": own and own.n,
        f"{dataset}_difference": own and own.difference,
        f"{dataset}_interval_low": low,
        f"{dataset}_interval_high": high,
        f"{dataset}_verdict": own and str(own.verdict),
        f"{dataset}_agreement": claim and str(claim.agreement(own)),
        f"{dataset}_paper": claim and claim.printed and claim.printed[1],
    }
