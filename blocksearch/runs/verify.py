"""Trains stored runs again, in the way that they record, and compares the two."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from itertools import zip_longest
from pathlib import Path
from statistics import stdev

import numpy as np

from blocksearch.arch.layers import UserModel
from blocksearch.arch.notation import todays
from blocksearch.data.splits import Split, summary
from blocksearch.errors import ConfigError, DataError, StoreError, check_type
from blocksearch.runs.ledger import Ledger
from blocksearch.runs.processes import Workers
from blocksearch.runs.records import Group, Job, Run, RunKey, RunState
from blocksearch.runs.scheduler import SHARES
from blocksearch.runs.worker import provenance_here

# What decides how sums are rounded; runs of before the kernels had a version are of the first.
BITS = {"processor": "", "torch": "", "numpy": "", "numba": "", "kernels": "1"}


class Likeness(StrEnum):
    """Whether a training that was repeated gave the same."""

    EQUAL = "equal to the bit"
    DIFFERENT = "not equal"
    NOT_RUN = "not run"


@dataclass(frozen=True, kw_only=True)
class Verified:
    """A stored run beside the same training repeated.

    `spread` is the standard deviation in points over the seeds that are stored of the network, None
    with fewer than two. `alike` says whether both were made on one kind of processor, by the same
    instructions, libraries and kernels, so that they must be equal; None if the stored run does
    not say it. `together` are the seeds that shared its module, by the record or, where it has
    none, by rule.
    """

    text: str
    stored: Run
    again: Run
    spread: float | None
    alike: bool | None
    together: tuple[int, ...]

    @property
    def likeness(self) -> Likeness:
        """Whether accuracies, losses and each image's result are the same, to the last bit."""
        one, other = self.stored, self.again
        if other.state is RunState.FAILED:
            return Likeness.NOT_RUN
        same = (one.accuracies, one.losses) == (other.accuracies, other.losses)
        return Likeness.EQUAL if same and _same_images(one, other) else Likeness.DIFFERENT

    @property
    def wrong(self) -> bool:
        """Whether it had to be equal and is not."""
        return self.likeness is Likeness.NOT_RUN or (
            self.alike is True and self.likeness is Likeness.DIFFERENT
        )

    def record(self) -> dict[str, object]:
        """Return a flat record; accuracies and their `difference` are in percent and points."""
        one, other = self.stored.accuracy, self.again.accuracy
        gap = None if one is None or other is None else other - one
        return {
            "network": self.text,
            "dataset": self.stored.key.dataset,
            "split": self.stored.key.protocol,
            "epochs": self.stored.epoch_to,
            "seed": self.stored.key.seed,
            "together": list(self.together),
            "recorded": "seeds" in self.stored.provenance,
            "stored": one,
            "again": other,
            "difference": gap,
            "spreads": gap / self.spread if gap is not None and self.spread else None,
            "result": self.likeness.value,
            "same_machine": self.alike,
            "stored_on": self.stored.provenance.get("processor", "not recorded"),
            "again_on": self.again.provenance.get("processor", "") or self.again.reason,
        }


def _same_images(one: Run, other: Run) -> bool:
    if not np.array_equal(one.right, other.right):
        return False
    if one.predictions is None or other.predictions is None:
        return True  # runs of before kept right and wrong alone
    return np.array_equal(one.predictions, other.predictions)


def verify(
    location: str,
    count: int,
    root: Path | None,
    workers: int | None = None,
    device: str = "auto",
    progress: Callable[[float], None] = lambda _: None,
) -> tuple[Verified, ...]:
    """Train `count` runs of a database again, beside the seeds that shared a module with them.

    Runs that must come out equal here are chosen first, of different networks first, and among
    them as their content decides. The database is only read.
    Raises ConfigError, StoreError or DataError if that is not possible.
    """
    check_type("runs", count, int)
    check_type("workers", workers, int | None)
    if count < 1:
        raise ConfigError(f"the number of runs to train again must be at least 1, but got {count}")
    with closing(Ledger(location, read_only=True)) as ledger:
        runs = _repeatable(ledger)
        together = _together(runs)
        if not together:
            raise StoreError(
                f"{ledger.location} has no complete run that could be trained again: of each, one "
                "that shared its module is not stored or not complete"
            )
        with Workers(workers, device) as pool:
            place = pool.place.device
            here = pool.together(provenance_here, Group(jobs=(), device=place))[0]
            chosen = _chosen(together, count, here)
            groups = [
                Group(jobs=tuple(_job(ledger, run.key, root) for run in own), device=place)
                for own in chosen
            ]
            _check_images(groups)
            again = _trained(pool, groups, progress)
    texts = {job.key: job.text for group in groups for job in group.jobs}
    return tuple(
        Verified(
            text=texts[run.key],
            stored=run,
            again=again[run.key],
            spread=_spread(run, runs),
            alike=_alike(run.provenance, again[run.key].provenance),
            together=tuple(each.key.seed for each in own),
        )
        for own in chosen
        for run in own
    )


def _trained(
    pool: Workers, groups: list[Group], progress: Callable[[float], None]
) -> dict[RunKey, Run]:
    again: dict[RunKey, Run] = {}
    total = sum(len(group.jobs) for group in groups)

    def keep(_: Group, done: list[Run]) -> None:
        again.update({run.key: run for run in done})
        progress(len(again) / total)

    pool.train(groups, keep)
    return again


def _repeatable(ledger: Ledger) -> list[Run]:
    """Return the complete runs, but not those of users' models, whose functions are not stored."""
    whole = [run for run in ledger.runs() if run.state is RunState.COMPLETE]
    layers = {name: ledger.layers(name) for name in {run.key.network for run in whole}}
    found = [
        run for run in whole if not isinstance((layers[run.key.network] or (None,))[0], UserModel)
    ]
    if not found:
        why = ": all are inside models of yours, whose functions are not stored" if whole else ""
        raise StoreError(f"{ledger.location} has no complete run that could be trained again{why}")
    return found


def _chosen(together: list[list[Run]], count: int, here: dict[str, str]) -> list[list[Run]]:
    """Choose the groups of `count` runs, first those that must be equal `here`, then those that do
    not say it, then those from other machines.
    """
    found: list[list[Run]] = []
    for alike in (True, None, False):
        found += _in_turn([own for own in together if _alike(own[0].provenance, here) is alike])
    return found[:count]


def _in_turn(together: Iterable[list[Run]]) -> list[list[Run]]:
    """Order groups as their digests decide, one network after another."""
    by_network: dict[str, list[list[Run]]] = defaultdict(list)
    for own in sorted(together, key=lambda own: _mark(own[0])):
        by_network[own[0].key.network].append(own)
    networks = sorted(by_network.values(), key=lambda groups: _mark(groups[0][0]))
    rounds = zip_longest(*networks)
    return [own for each in rounds for own in each if own is not None]


def _mark(run: Run) -> str:
    return hashlib.sha256(repr(run.key).encode()).hexdigest()


def _together(runs: Iterable[Run]) -> list[list[Run]]:
    """Group runs whose seeds were trained in one module; runs of before did not record which, and
    are divided by the rule. A group of which a run is not stored cannot be made again.
    """
    alike: dict[RunKey, dict[int, Run]] = defaultdict(dict)
    for run in runs:
        alike[run.key.without_seed][run.key.seed] = run
    found: dict[tuple[RunKey, ...], list[Run]] = {}
    for by_seed in alike.values():
        for run in by_seed.values():
            seeds = _seeds_with(run)
            if all(seed in by_seed for seed in seeds):
                own = [by_seed[seed] for seed in seeds]
                found[tuple(each.key for each in own)] = own
    return list(found.values())


def _seeds_with(run: Run) -> tuple[int, ...]:
    """Return the seeds that shared a module with a run, itself among them."""
    if recorded := run.provenance.get("seeds"):
        return tuple(map(int, recorded.split(",")))
    size = int(run.provenance.get("mode", "serial").split()[0].replace("serial", "1"))
    five = run.key.seed // 5 * 5
    shares = [tuple(five + place for place in share) for share in SHARES]
    return next(
        (own for own in shares if run.key.seed in own and len(own) == size), (run.key.seed,)
    )


def _job(ledger: Ledger, key: RunKey, root: Path | None) -> Job:
    layers, recipe = ledger.layers(key.network), ledger.recipe(key.recipe)
    if layers is None or recipe is None:
        raise StoreError(f"{ledger.location} lacks the network or the recipe of a run it has")
    split = Split.from_id(key.dataset, key.protocol)
    text = todays(ledger.described(key)[0]["text"])
    return Job(
        key=key, text=text, layers=layers, protocol=split, recipe=recipe, root=root, images=0
    )


def _check_images(groups: Iterable[Group]) -> None:
    for job in {(own.protocol, own.root): own for group in groups for own in group.jobs}.values():
        here = summary(job.protocol, job.root).digest
        if here != job.key.data:
            raise DataError(
                f"the images of {job.key.dataset} here ({here[:12]}) are not those of the stored "
                f"runs ({job.key.data[:12]}), so these cannot be made again"
            )


def _spread(run: Run, runs: Iterable[Run]) -> float | None:
    """Return the standard deviation over the seeds of a run's network, in points."""
    kind = run.key.without_seed
    alike = (each.accuracy for each in runs if each.key.without_seed == kind)
    own = [accuracy for accuracy in alike if accuracy is not None]
    return stdev(own) if len(own) > 1 else None


def _alike(said: dict[str, str], here: dict[str, str]) -> bool | None:
    if "processor" not in said:
        return None
    if any(said.get(name, first) != here.get(name, first) for name, first in BITS.items()):
        return False
    # runs of before do not say it, and processors of one name may differ in their instructions
    return said["instructions"] == here["instructions"] if "instructions" in said else None
