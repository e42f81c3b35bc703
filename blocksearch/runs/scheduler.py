"""Turns jobs into runs. It looks runs up, chooses how seeds are trained, trains what is missing,
and stores each run before it reports it.
"""

import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path

from blocksearch.arch.cost import cost
from blocksearch.arch.layers import Layers, UserModel
from blocksearch.data.datasets import is_own
from blocksearch.data.splits import Split, summary
from blocksearch.errors import DataError, StoreError
from blocksearch.runs.callback import Callback
from blocksearch.runs.executor import Executor, start
from blocksearch.runs.ledger import Ledger
from blocksearch.runs.locks import Holds, in_turn
from blocksearch.runs.recall import recall, there
from blocksearch.runs.records import FINAL, Group, Job, Plan, Resources, Run, RunKey
from blocksearch.training.weights import forget

FIVE = 5  # seeds 0-4, 5-9, … are divided alike, whatever else is asked for
SHARES = (range(3), range(3, 5))  # of each five, on processors: two groups keep two cores busy
TOGETHER = (range(FIVE),)  # on a GPU, which has room for all
PROBING = 3.0  # seconds in which networks are timed; others are estimated from these by FLOPs


def plan(
    jobs: Sequence[Job], ledger: Ledger, workers: Executor, callback: Callback, known: int = 0
) -> Plan:
    """Look up which jobs are missing, and estimate their time from short probes.

    So many others are `known` from elsewhere.

    A run whose weights are wanted and not there is missing, too: it is trained to the same bits.
    """
    found = ledger.find(job.key for job in jobs)
    missing = list({job.key: job for job in _untrained(jobs, found)}.values())
    if not missing:
        return Plan(groups=(), known=known + len(found), seconds=0.0)
    callback.timing(len({job.key.network for job in missing}))
    groups, seconds = _grouped(missing, ledger, workers)
    return Plan(
        groups=tuple(groups),
        known=known + len(found),
        seconds=seconds / min(workers.count, max(1, len(groups))),
    )


def ensure(jobs: Sequence[Job], resources: Resources, callback: Callback) -> dict[RunKey, Run]:
    """Train what the ledger and the sources of `resources` lack, and return the run of each job.

    New runs are kept in the ledger. Where nothing is missing, nothing is written or begun.
    Every finished run is in the ledger before `callback` hears of it, so that an interruption loses
    at most the running ones, and of those what was not yet kept in a checkpoint. What another
    command on the same file trains meanwhile is waited for.
    """
    elsewhere, location = recall(jobs, *resources.sources), resources.ledger
    own = _untrained(jobs, elsewhere)
    if not own:
        callback.planned(Plan(groups=(), known=len(elsewhere), seconds=0.0))
        callback.ended(None)
        return elsewhere
    _check_images(own, location)
    with (
        start(resources.executor, resources.workers, resources.device) as pool,
        closing(opened(location, pool)) as ledger,
    ):
        _sweep(own, ledger)
        todo = plan(own, ledger, pool, callback, known=len(elsewhere))
        callback.planned(todo)
        remember_images({(job.protocol, job.key.data) for job in own}, own[0].root, ledger)

        def keep(group: Group, runs: list[Run]) -> None:
            ledger.add_all(zip(group.jobs, runs, strict=True))
            holds.let_go(group)
            _forget(group, {run.key for run in runs if run.state in FINAL})
            callback.finished(group, runs)
            for run in runs:
                if trouble := run.provenance.get("weights not kept"):
                    raise StoreError(f"weights cannot be kept in {trouble}; the run itself is kept")

        reason, holds = None, Holds()
        try:
            groups = in_turn(todo.groups, ledger, holds, callback.finished)
            pool.train(groups, keep, callback.started)
        except BaseException:
            # The ledger is asked, because an interrupt may come between a run's row and its report.
            reason = _interrupted(len(ledger.find(job.key for job in todo.missing)), todo)
            raise
        finally:
            holds.close()
            callback.ended(reason)
        return elsewhere | collect(own, ledger)


def _untrained(jobs: Iterable[Job], known: Collection[RunKey]) -> list[Job]:
    """Return the jobs without a known run, or without the weights that are wanted."""
    return [job for job in jobs if job.key not in known or job.lacks_weights]


def _check_images(jobs: Sequence[Job], location: str) -> None:
    """Raise DataError if images that must be trained on are not here, before a file is made."""
    lacking = _untrained(jobs, recall(jobs, location))
    for split, root in {(job.protocol, job.root) for job in lacking}:
        summary(split, root)


def remember_images(splits: Iterable[tuple[Split, str]], root: Path | None, ledger: Ledger) -> None:
    """Store once what the images are by which runs of splits, each with its data digest, are
    judged, so that answers need none later. Nothing is trained on images that are not here.
    """
    for split, data in splits:
        known = ledger.images(data, split.id)
        if known is None or (is_own(split.dataset) and not known.classes):
            with suppress(DataError):
                found = summary(split, root)
                if found.digest == data:
                    ledger.add_images(found)


def foresee(jobs: Sequence[Job], resources: Resources, callback: Callback) -> Plan:
    """Plan what `ensure` would train; train and write nothing."""
    elsewhere, location = recall(jobs, *resources.sources), resources.ledger
    own = _untrained(jobs, elsewhere)
    if not own:
        return Plan(groups=(), known=len(elsewhere), seconds=0.0)
    _check_images(own, location)
    read = location if there(location) else "sqlite://"  # an empty one in memory: no file is made
    with (
        start(resources.executor, resources.workers, resources.device) as pool,
        closing(opened(read, pool)) as ledger,
    ):
        return plan(own, ledger, pool, callback, known=len(elsewhere))


def opened(location: str, workers: Executor) -> Ledger:
    """Open the ledger of trainings.

    Raises ConfigError if a device that was asked for is not there, StoreError if trainings in
    progress have no place.
    """
    workers.check()
    ledger = Ledger(location)
    if ledger.checkpoints and ledger.checkpoints.exists() and not ledger.checkpoints.is_dir():
        ledger.close()
        raise StoreError(
            f"{ledger.checkpoints} must be a folder, for trainings in progress, but is none: "
            "move it away"
        )
    return ledger


def collect(jobs: Sequence[Job], ledger: Ledger) -> dict[RunKey, Run]:
    """Return the run of each job: the final one, or else the last failure."""
    final = ledger.find(job.key for job in jobs)
    wanted = {job.key for job in jobs} - set(final)
    failed = {run.key: run for run in ledger.runs() if run.key in wanted} if wanted else {}
    return final | failed


def divide(jobs: Iterable[Job], shares: Sequence[range] = SHARES) -> list[list[Job]]:
    """Divide the jobs of one network into those whose seeds may be trained together, and single
    ones, in order.

    Seeds 0-4 are always divided into the same groups, and so is each five after them. Seeds are
    fused only in complete groups, so an interrupted command gives the same results.
    """
    by_seed = {job.key.seed: job for job in jobs}
    found: list[list[Job]] = []
    for five in sorted({seed // FIVE for seed in by_seed}):
        for share in shares:
            here = [
                by_seed[seed]
                for seed in (FIVE * five + place for place in share)
                if seed in by_seed
            ]
            found += [here] if len(here) == len(share) else [[job] for job in here]
    return found


def fused(layers: Layers, device: str) -> bool:
    """Return whether several seeds of a network train in one module here, by a fixed rule.

    A rule and not a clock decides, because both ways give the same only up to rounding and a result
    must not depend on how busy a machine was. On a GPU seeds share its many cores. A processor
    gains by it while the layers are small: the bounds agree with 84 to 97 % of 392 choices that
    timing made on two cores (GTSRB, CIFAR-10). A user's model is always trained one seed by one.
    """
    counted = cost(layers)
    if isinstance(layers[0], UserModel):
        return False
    return device != "cpu" or (counted.macs <= 350_000 and counted.activations <= 26_000)


def _grouped(jobs: Sequence[Job], ledger: Ledger, workers: Executor) -> tuple[list[Group], float]:
    """Group jobs by how their network is trained here; estimate their seconds by probes."""
    device = workers.place.device
    by_network: dict[RunKey, list[Job]] = defaultdict(list)
    for job in jobs:
        by_network[job.key.without_seed].append(job)
    groups: list[Group] = []
    for own in by_network.values():
        together = fused(own[0].layers, device)
        shares = (
            divide(own, SHARES if device == "cpu" else TOGETHER) if together else [[j] for j in own]
        )
        groups += [Group(jobs=tuple(share), checkpoint=None, device=device) for share in shares]
    alike = {(group.jobs[0].key.without_seed, len(group.jobs)): group for group in groups}
    probed = workers.probe(_in_time(list(alike.values()), workers.count))
    rate = sum(probed.values()) / max(1, sum(each.flops for each in probed))
    seconds = {kind: probed.get(own, rate * own.flops) for kind, own in alike.items()}
    total = sum(seconds[group.jobs[0].key.without_seed, len(group.jobs)] for group in groups)
    # seed by seed, so that an interrupted experiment has whole pairs
    groups.sort(key=lambda group: group.seeds[0])
    return [group.kept_in(ledger.checkpoints) for group in groups], total


def _in_time(groups: Sequence[Group], workers: int) -> Iterator[Group]:
    """Yield as many groups as there are workers, and others until `PROBING` seconds after one of
    them is done. It only serves to estimate time, so no result depends on it.
    """
    yield from groups[:workers]
    until = time.monotonic() + PROBING
    for group in groups[workers:]:
        if time.monotonic() > until:
            return
        yield group


def _interrupted(kept: int, todo: Plan) -> str:
    return (
        f"interrupted: {kept} of {len(todo.missing)} runs are in the database; "
        "the same command goes on from there"
    )


def _sweep(jobs: Sequence[Job], ledger: Ledger) -> None:
    """Remove checkpoints of stored runs, which a killed command left, in whatever groups it had
    divided them.
    """
    if ledger.checkpoints is None or not ledger.checkpoints.exists():
        return
    final = ledger.find(job.key for job in jobs)
    by_network: dict[RunKey, list[Job]] = defaultdict(list)
    for job in jobs:
        if job.key in final and not job.lacks_weights:
            by_network[job.key.without_seed].append(job)
    holds = Holds()
    for own in by_network.values():
        for share in (*divide(own), *divide(own, TOGETHER), *([job] for job in own)):
            group = Group(jobs=tuple(share)).kept_in(ledger.checkpoints)
            if holds.take(group):
                _forget(group, final)
                holds.let_go(group)


def _forget(group: Group, final: Collection[RunKey]) -> None:
    """Remove the checkpoints of a group, and of the parts that it may have been trained in, but of
    what failed and may go on.
    """
    if group.checkpoint is not None and any(job.key in final for job in group.jobs):
        forget(group.checkpoint)
    for half in group.halves() if len(group.jobs) > 1 else ():
        _forget(half, final)
