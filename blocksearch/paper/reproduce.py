"""Reproduces the paper's accuracy tables, trained on all training images and judged once on the
test images.

Only here and in the test of a search's front (`search.evaluation`) do test images judge, by a fixed
recipe at the last epoch, with nothing selected.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from blocksearch.ablation.config import AblationConfig
from blocksearch.ablation.images import ImageGroups
from blocksearch.ablation.results import VariantResult, compare_variants
from blocksearch.arch.cost import cost
from blocksearch.arch.network import Network, Task
from blocksearch.arch.zoo import named_network
from blocksearch.errors import ConfigError
from blocksearch.paper.claims import pairs_among, with_claims
from blocksearch.paper.tables import TABLES, Row, printed, printed_value
from blocksearch.runs.callback import Callback
from blocksearch.runs.metrics import RESOLUTION, mean_interval
from blocksearch.runs.plan import Experiment, RunSettings, experiment
from blocksearch.runs.provenance import mixture, notes
from blocksearch.runs.questions import Question, QuestionHistory, remembered
from blocksearch.runs.recall import is_shipped
from blocksearch.runs.records import Job, Run, RunState
from blocksearch.runs.scheduler import ensure

# Section 5 gives *EffNet large* no widths: it is effnet filled to the baseline's FLOPs, the
# network's and the published count's.
LARGE = {
    "effnet_large": "EffNet large (network's FLOPs)",
    "effnet_large_published": "EffNet large (published FLOPs)",
}


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A row of a table: what the paper prints, and the runs of the network that it names."""

    name: str
    published: Row
    network: Network
    runs: tuple[Run, ...]
    base: int

    @property
    def label(self) -> str:
        """How the paper names the network."""
        return LARGE.get(self.name, self.published.label)

    @property
    def accuracies(self) -> dict[int, float]:
        """Test accuracy in percent by seed, of the runs that completed."""
        return {run.key.seed: run.accuracy for run in self.runs if run.accuracy is not None}

    @property
    def accuracy(self) -> float | None:
        """The mean over seeds, in percent."""
        own = self.accuracies.values()
        return sum(own) / len(own) if own else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Student's 95 % interval of that mean."""
        return mean_interval(list(self.accuracies.values()))

    @property
    def flops(self) -> int:
        """FLOPs of the built network."""
        return cost(self.network.layers).flops

    @property
    def factor(self) -> float:
        """FLOPs over those of the baseline's network."""
        return self.flops / self.base

    @property
    def losses(self) -> list[tuple[float, ...]]:
        """Training loss by epoch, of each run that completed."""
        return [run.losses for run in self.runs if run.accuracy is not None]

    @property
    def failed(self) -> list[Run]:
        """The runs that did not complete."""
        return [run for run in self.runs if run.accuracy is None]

    def record(self) -> dict[str, object]:
        """Return a flat record: accuracies in percent, FLOPs of one image; `printed` is rounded as
        the paper does.
        """
        low, high = self.interval or (None, None)
        published = self.published
        return {
            "label": self.label,
            "network": self.name,
            "text": str(self.network),
            "published_accuracy": published.accuracy,
            "accuracy": self.accuracy,
            "interval_low": low,
            "interval_high": high,
            "seeds": list(self.accuracies),
            "accuracies": list(self.accuracies.values()),
            "published_flops": int(printed_value(published.flops)),
            "flops": self.flops,
            "published_flops_printed": published.flops,
            "flops_printed": printed(self.flops, published.flops),
            "published_factor": published.factor,
            "factor": self.factor,
            "failures": [run.ending for run in self.failed],
        }


@dataclass(frozen=True, kw_only=True)
class PaperTable:
    """A table of the paper, reproduced.

    `order` is the rank correlation of measured and published accuracies with its p, over the
    printed rows: *EffNet large* is there once, with the network's FLOPs. `order_by_flops` is that
    of FLOPs alone and published accuracies. `compared` are the pairs of networks of which the paper
    says something, one family, and `asked` all questions about them. `notes` say where the runs
    came from.
    """

    number: int
    title: str
    rows: tuple[Measured, ...]
    order: tuple[float, float] | None
    order_by_flops: tuple[float, float] | None = None
    compared: tuple[VariantResult, ...] = ()
    notes: tuple[str, ...] = ()
    asked: QuestionHistory | None = None

    @property
    def failed(self) -> bool:
        """Whether a training failed; one that diverged is a result."""
        return any(run.state is RunState.FAILED for row in self.rows for run in row.failed)

    @property
    def decisive(self) -> str:
        """Say from which rank correlation of so many networks p is below 0.05."""
        count = len(ordered(self.rows))
        least = least_decisive(count)
        if least is None:
            return f"at {count} entries no order has p < 0.05"
        if least == 1:
            return f"at {count} entries only the perfect order has p < 0.05"
        return f"at {count} entries p < 0.05 from {least:+.2f} on"

    def records(self) -> list[dict[str, object]]:
        """Return a flat record for each row."""
        return [row.record() for row in self.rows]


def networks_of(number: int, task: Task) -> list[tuple[str, Row, Network]]:
    """List a table's networks by name, with the printed row that each stands beside. Raises
    ConfigError for other tables.
    """
    if number not in TABLES:
        raise ConfigError(
            f"the paper has results in tables {min(TABLES)} to {max(TABLES)}, but got table "
            f"{number}"
        )
    dataset, rows = TABLES[number]
    named = [(name, row) for row in rows for name in ([row.network] if row.network else LARGE)]
    return [(name, row, named_network(name, task, dataset=dataset)) for name, row in named]


def reproduce_table(
    number: int,
    task: Task,
    seeds: Sequence[int],
    settings: RunSettings,
    callback: Callback,
    *,
    strict: bool = False,
) -> PaperTable:
    """Train what is missing of a table, and put it beside the paper's."""
    title, jobs, shared, found = plan_table(number, task, seeds, settings)
    runs = ensure(jobs, settings, callback)
    mixed = mixture(runs.values(), strict=strict)
    rows = measured(found, runs.values(), seeds)
    results = compared(number, rows, seeds, ImageGroups.of(shared))
    return PaperTable(
        number=number,
        title=f"{title}; {mixed}" if mixed else title,
        rows=rows,
        order=order_of(rows),
        order_by_flops=order_of(rows, by_flops=True),
        compared=results,
        notes=(*_alike(rows), *notes(rows[0].label, rows[0].network, runs.values(), shared)),
        asked=_remembered(results, seeds, shared, settings),
    )


def _remembered(
    results: Sequence[VariantResult],
    seeds: Sequence[int],
    shared: Experiment,
    settings: RunSettings,
) -> QuestionHistory | None:
    """Remember which networks of a table were compared; None if none were."""
    pairs = [(own.variant.reference.digest, own.digest) for own in results if own.comparison]
    if not pairs:
        return None
    key = shared.job(results[0].variant.reference, 0).key
    return remembered(
        Question.about([key], pairs, seeds=tuple(seeds)),
        settings.ledger,
        settings.sources,
        shipped=is_shipped(settings.ledger),
    )


def plan_table(
    number: int, task: Task, seeds: Sequence[int], settings: RunSettings
) -> tuple[str, list[Job], Experiment, list[tuple[str, Row, Network]]]:
    """Return the title of a table, its trainings, what they share, and its networks."""
    found = networks_of(number, task)
    protocol = replace(settings.protocol, test=True, images=None, number=0)
    shared = experiment(replace(settings, protocol=protocol), found[0][2])
    jobs = shared.jobs([network for _, _, network in found], seeds)
    title = f"{shared.title(f'Table {number}', found[0][2])}; seeds {','.join(map(str, seeds))}"
    return title, jobs, shared, found


def measured(
    found: Sequence[tuple[str, Row, Network]], runs: Iterable[Run], seeds: Sequence[int]
) -> tuple[Measured, ...]:
    """Put the runs of a table's networks, seed by seed, beside what the paper prints."""
    known = {(run.key.network, run.key.seed): run for run in runs}
    base = cost(found[0][2].layers).flops
    return tuple(
        Measured(
            name=name,
            published=row,
            network=network,
            runs=tuple(known[own] for seed in seeds if (own := (network.digest, seed)) in known),
            base=base,
        )
        for name, row, network in found
    )


def ordered(rows: Sequence[Measured]) -> list[Measured]:
    """Return the rows whose order is compared: each network of the paper once."""
    return [
        row for row in rows if row.accuracy is not None and row.name != "effnet_large_published"
    ]


def order_of(rows: Sequence[Measured], *, by_flops: bool = False) -> tuple[float, float] | None:
    """Return how far the order of the accuracies, or of FLOPs, is that of the paper's accuracies,
    as `rank_correlation` has it.
    """
    once = ordered(rows)
    here = [float(row.flops if by_flops else row.accuracy or 0.0) for row in once]
    return rank_correlation(here, [row.published.accuracy for row in once])


def least_decisive(count: int) -> float | None:
    """Return from which rank correlation of so many entries p is below 0.05; None if it never is.

    >>> least_decisive(4), least_decisive(5), least_decisive(8)
    (None, 1.0, 0.738)
    """
    if count > 8:
        raise ValueError(f"a table has at most eight rows, but got {count}")
    if count < 3:
        return None
    ranks = _ranks(np.arange(count, dtype=float))
    found = np.array(list(permutations(ranks))) @ ranks / (ranks @ ranks)
    sizes = np.abs(found).round(9)  # what rounding parts is one correlation
    decisive = [size for size in np.unique(sizes) if np.mean(sizes >= size) < 0.05]
    return round(float(decisive[0]), 3) if decisive else None


def compared(
    number: int,
    rows: Sequence[Measured],
    seeds: Sequence[int],
    groups: ImageGroups | None = None,
) -> tuple[VariantResult, ...]:
    """Compare the networks of a table that the paper compares, as one family; on other images, too,
    if the `groups` of the images are given.
    """
    known = {(row.network.digest, run.key.seed): run for row in rows for run in row.runs}
    here = {row.name: row.network for row in rows if row.accuracies}
    pairs = [variant for variant in pairs_among(here) if variant.compared]
    config = AblationConfig(factors=("network",), seeds=seeds)
    results = compare_variants(
        pairs, config, lambda arm, seed: known.get((arm[0].digest, seed)), groups=groups
    )
    return with_claims(results, number)


def _alike(rows: Sequence[Measured]) -> list[str]:
    """Say which of a table's networks are one at these widths."""
    labels: dict[str, list[str]] = {}
    for row in rows:
        labels.setdefault(row.network.digest, []).append(row.label)
    return [
        f"one network at these widths: {', '.join(same)}"
        for same in labels.values()
        if len(same) > 1
    ]


def rank_correlation(one: Sequence[float], other: Sequence[float]) -> tuple[float, float] | None:
    """Return Spearman's correlation of two lists and its two-sided p over all permutations.

    A table has at most eight rows, so that all n! orders can be tried. None if there is no order:
    fewer than three entries, or all of a list equal.

    >>> rank_correlation([1, 2, 3, 4], [10, 20, 30, 99])
    (1.0, 0.08333333333333333)
    """
    if len(one) < 3 or len(set(one)) == 1 or len(set(other)) == 1:
        return None
    ranks, others = (_ranks(np.array(values)) for values in (one, other))
    found = float(np.corrcoef(ranks, others)[0, 1])
    orders = np.array(list(permutations(ranks)))
    sums = np.abs(orders @ others)
    return found, float(np.mean(sums >= abs(float(ranks @ others)) - RESOLUTION))


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ranks around their mean, ties sharing theirs."""
    below = (values[:, None] > values).sum(1)
    ties = (values[:, None] == values).sum(1)
    found = below + (ties - 1) / 2
    return np.asarray(found - found.mean())
