"""Collects what a study has found, ours or Optuna's, as its networks in the order of trials, the
front, and the hypervolume over time.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import NormalDist

import numpy as np

from blocksearch.arch.network import Network
from blocksearch.arch.notation import parse
from blocksearch.errors import BlocksearchError, ConfigError, check_type, unknown
from blocksearch.runs.metrics import Floats
from blocksearch.search.measured import Shown
from blocksearch.search.objectives import dominated, hypervolume
from blocksearch.search.surrogate import SeedNoise

Z, LEVEL = 1.959964, 0.05  # of 95 % intervals


@dataclass(frozen=True, kw_only=True)
class Axis:
    """An objective: its name, its unit as it follows a number, its direction, and whether it is
    measured beside the first one.
    """

    name: str
    unit: str = ""
    maximise: bool = False
    measured: bool = False


@dataclass(frozen=True)
class Measurement:
    """What is known of a measured objective beside accuracy: its values by seed, and the 95 %
    interval of what is expected.
    """

    values: tuple[float, ...]
    interval: tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A network of a study.

    `mean` is the first objective: with its 95 % `interval` by the model of all results, which draws
    each towards what its factors let expect, or alone as another program stored it. Those of the
    front have a wider, `simultaneous` interval, too, all of which hold at once. `accuracies` are
    percent, one for each seed that was trained to the end; `early` counts seeds that were
    stopped before, and `failures` those that diverged or failed. `costs` are the other objectives
    and whatever else is known; of those that are measured they are what is expected, and `further`
    has more. `limits` says whether the limits on what is measured are kept, where there are any;
    `factor` is FLOPs against the baseline network. `named` networks were asked for by name;
    `origin` is that name, or who proposed the network. `units` are the parts of the text that
    belong together, where these are not its words. `made` is the network, where it is at hand, and
    `weights` are the files that `keep_weights` made of it, by seed: `Study.front` has both.
    """

    trial: int
    origin: str
    text: str
    costs: Mapping[str, float]
    mean: float | None
    on_front: bool
    named: bool = False
    accuracies: tuple[float, ...] = ()
    early: int = 0
    failures: int = 0
    interval: tuple[float, float] | None = None
    simultaneous: tuple[float, float] | None = None
    factor: float | None = None
    units: tuple[str, ...] = ()
    further: Mapping[str, Measurement] = field(default_factory=dict)
    limits: Shown | None = None
    made: Network | None = field(default=None, compare=False, repr=False)
    weights: tuple[str, ...] = field(default=(), compare=False, repr=False)

    @property
    def network(self) -> Network:
        """The network, read from its text where it is not at hand. Raises ConfigError for one that
        has ops of yours or is inside a model of yours (`Study.front` has these), or that Optuna
        alone stored.
        """
        if self.made is not None:
            return self.made
        try:
            return parse(self.text)
        except BlocksearchError as error:
            raise ConfigError(
                f"the text of trial {self.trial} is no network; Study.front has what needs ops or "
                f"a model of yours ({error})"
            ) from error


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A study: every network in the order of trials, the front (by the first cost), its
    hypervolume, and the walk of that.

    `frame` says between what the hypervolume is measured; `notes` say what else a reader must know;
    `others` are the names of the file's other studies. `walk` has the hypervolume after each
    network of `walked`. `noise` is what the intervals are by, None if there are none.
    """

    name: str
    title: str
    others: tuple[str, ...]
    axes: tuple[Axis, ...]
    budgets: tuple[str, ...]
    entries: tuple[Entry, ...]
    front: tuple[Entry, ...]
    volume: float
    walk: tuple[float, ...]
    frame: str
    notes: tuple[str, ...] = ()
    noise: SeedNoise | None = None

    def __repr__(self) -> str:
        counts = f"{len(self.entries):,} networks, {len(self.front):,} on the front"
        return f"<Summary of study {self.name!r}: {counts}, hypervolume {self.volume:.3f}>"

    @property
    def costs(self) -> tuple[Axis, ...]:
        """All objectives but the first."""
        return self.axes[1:]

    def best(self, **most: float) -> Entry:
        """Return the most accurate network of the front whose costs are at most those given, and
        what is to be maximised at least. Raises ConfigError where there is none.

        >>> found = front("studies/gtsrb-search.db").found
        >>> found.best(flops=400e3).network.cost.flops
        389120
        """
        for name, limit in most.items():
            check_type(name, limit, float)
            if self.front and name not in self.front[0].costs:
                raise unknown("cost", name, self.front[0].costs)
        least = {axis.name for axis in self.costs if axis.maximise} & {*most}
        within = [
            each
            for each in self.front
            if all(each.costs[n] >= most[n] for n in least)
            and all(each.costs[n] <= most[n] for n in {*most} - least)
        ]
        if not within:
            asked = " and ".join(
                f"{name} {'>=' if name in least else '<='} {value:g}"
                for name, value in most.items()
            )
            raise ConfigError(f"no network of study {self.name} has {asked or 'a result'}")
        return max(within, key=lambda each: each.mean or 0.0)

    @property
    def known(self) -> tuple[Entry, ...]:
        """The networks that have a result."""
        return tuple(entry for entry in self.entries if entry.mean is not None)

    @property
    def walked(self) -> tuple[Entry, ...]:
        """The networks that have a result of a whole training: a race left none of them behind."""
        return tuple(
            entry for entry in self.known if entry.accuracies or not (entry.early or entry.failures)
        )


def simultaneous_z(count: int) -> float:
    """Return how many deviations wide intervals are that hold together, by Bonferroni.

    >>> round(simultaneous_z(1), 2), round(simultaneous_z(19), 2)
    (1.96, 3.01)
    """
    return NormalDist().inv_cdf(1 - LEVEL / 2 / max(count, 1))


def walk(scaled: Floats) -> tuple[float, ...]:
    """Return the hypervolume after each of N points, scaled as for `hypervolume`."""
    losses = np.hstack([1 - scaled[:, :1], scaled[:, 1:]])  # the reference is 1 on every axis
    counts = np.all(losses < 1, axis=1).tolist()
    found: list[float] = []
    best, volume = losses[:0], 0.0
    for point, inside in zip(losses, counts, strict=True):
        if inside and not (best <= point).all(1).any():
            volume += _gain(point, best)
            best = np.vstack([best[~(point <= best).all(1)], point])
        found.append(volume)
    return tuple(found)


def _gain(point: Floats, best: Floats) -> float:
    """Return what a point dominates and others do not: its own box, less the parts of it that the
    others reach into.
    """
    limited = np.maximum(best, point)
    as_points = np.hstack([1 - limited[:, :1], limited[:, 1:]])
    return float((1 - point).prod()) - (
        hypervolume(as_points[~dominated(as_points)]) if len(best) else 0.0
    )


def plain(text: object) -> str:
    """Return a text from a file without characters that a terminal would obey: each becomes a
    replacement character.
    """
    shown = str(text)
    return (
        shown
        if shown.isprintable()
        else "".join(each if each.isprintable() else "\ufffd" for each in shown)
    )


def as_rows(axes: Sequence[Axis], entries: Iterable[Entry]) -> list[dict[str, object]]:
    """Return networks as rows of plain words and numbers."""
    entries = list(entries)
    return list(map(row_of(axes, entries), entries))


def row_of(axes: Sequence[Axis], entries: Iterable[Entry]) -> Callable[[Entry], dict[str, object]]:
    """Return what makes rows of plain words and numbers of some networks.

    `measured` is the mean over a network's own seeds, `expected` what a model of all results says;
    a study that was made elsewhere has the values of its objectives alone.
    """
    return partial(_row, axes, modelled=any(entry.interval for entry in entries))


def _row(axes: Sequence[Axis], entry: Entry, *, modelled: bool) -> dict[str, object]:
    row: dict[str, object] = {"trial": entry.trial, "front": entry.on_front}
    if not modelled:
        return row | {axes[0].name: entry.mean, **entry.costs, "network": entry.text}
    own, (low, high) = entry.accuracies, entry.interval or (None, None)
    all_low, all_high = entry.simultaneous or (None, None)
    return row | {
        "measured": sum(own) / len(own) if own else None,
        "expected": entry.mean,
        "expected_low": low,
        "expected_high": high,
        "simultaneous_low": all_low,
        "simultaneous_high": all_high,
        **entry.costs,
        **_further(axes, entry),
        "factor": entry.factor,
        "seeds": len(own),
        "accuracies": list(own),
        "early": entry.early,
        "failures": entry.failures,
        "origin": entry.origin,
        "network": entry.text,
    }


def _further(axes: Sequence[Axis], entry: Entry) -> dict[str, object]:
    """Return what a row says of objectives that are measured beside accuracy, and of limits."""
    found: dict[str, object] = {}
    for axis in axes:
        if axis.measured:
            own = entry.further.get(axis.name)
            low, high = own.interval if own else (None, None)
            values = own.values if own else ()
            found |= {axis.name: entry.costs.get(axis.name)}
            found |= {f"{axis.name}_low": low, f"{axis.name}_high": high}
            found |= {f"{axis.name}_measured": sum(values) / len(values) if values else None}
    return found | ({} if entry.limits is None else {"limits": str(entry.limits)})


RESERVED = (
    "trial",
    "front",
    "origin",
    "measured",
    "expected",
    "expected_low",
    "expected_high",
    "simultaneous_low",
    "simultaneous_high",
    "seeds",
    "accuracies",
    "early",
    "failures",
    "factor",
    "network",
    "limits",
    "interval",
    "count",
    "shown",
)  # columns of ours
