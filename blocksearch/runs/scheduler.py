"""From jobs to runs: look up, choose how seeds are trained, train what is missing, remember each
run before saying so.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass

from blocksearch.arch.cost import cost
from blocksearch.errors import StoreError
from blocksearch.runs.executor import Workers
from blocksearch.runs.ledger import FINAL, Ledger
from blocksearch.runs.location import file_of
from blocksearch.runs.locks import Holds, in_turn
from blocksearch.runs.records import Group, Job, Run, RunKey
from blocksearch.training.weights import forget

FIVE = 5  # seeds 0-4, 5-9, … are divided alike, whatever else is asked for
SHARES = (range(3), range(3, 5))  # of each five, on processors: two groups keep two cores busy
TOGETHER = (range(FIVE),)  # on a GPU, which has room for all
WORTH = 1.1  # how much faster fused seeds must be in the probe


@dataclass(frozen=True)
class Plan:
    """What a command will train: the groups not yet in the ledger, how many runs already are, and
    the estimated seconds.
    """

    groups: tuple[Group, ...]
    known: int
    seconds: float

    @property
    def missing(self) -> tuple[Job, ...]:
        """The jobs not yet in the ledger."""
        return tuple(job for group in self.groups for job in group.jobs)

    @property
    def flops(self) -> int:
        """What the missing runs cost, forward and backward, which is three times forward."""
        return sum(
            3 * cost(job.layers).flops * job.images * job.recipe.epochs for job in self.missing
        )


class Watch:
    """Hears what happens to the trainings of a command, and says nothing; views have one that
    speaks.
    """

    def timing(self, networks: int) -> None:
        """So many networks are about to be timed, a few steps each."""

    def planned(self, plan: Plan) -> None:
        """A plan is made; nothing is trained yet."""

    def started(self, group: Group) -> None:
        """A worker has begun with a group."""

    def finished(self, group: Group, runs: Sequence[Run]) -> None:
        """The runs of a group are in the ledger."""

    def ended(self, kept: int | None) -> None:
        """No more trainings will come; after an interruption, so many of the planned ones are in
        the ledger.
        """


def plan(
    jobs: Sequence[Job], ledger: Ledger, workers: Workers, watch: Watch, *, store: bool = True
) -> Plan:
    """Look up which jobs are missing, choose how their seeds are trained, and estimate the time,
    from short probes.

    With `store` the ledger remembers how, so that the same seeds are always trained together.
    """
    known = ledger.find(job.key for job in jobs)
    missing = list({job.key: job for job in jobs if job.key not in known}.values())
    if missing:
        watch.timing(len({job.key.network for job in missing}))
    groups, seconds = _grouped(missing, ledger, workers, store=store)
    return Plan(tuple(groups), len(known), seconds / min(workers.count, max(1, len(groups))))


def ensure(
    jobs: Sequence[Job], location: str, workers: int | None, watch: Watch, device: str = "cpu"
) -> dict[RunKey, Run]:
    """Train what the ledger at `location` lacks, and return the run of each job.

    Every finished run is in the ledger before `watch` hears of it, so that an interruption loses at
    most the running ones, and of those what was not yet kept in a checkpoint. What another command
    on the same file trains meanwhile is waited for.
    """
    with Workers(workers, device) as pool, closing(opened(location, pool)) as ledger:
        todo = plan(jobs, ledger, pool, watch)
        watch.planned(todo)

        def keep(group: Group, runs: list[Run]) -> None:
            ledger.add_all(zip(group.jobs, runs, strict=True))
            holds.let_go(group)
            _forget(group, {run.key for run in runs if run.state in FINAL})
            watch.finished(group, runs)

        kept, holds = None, Holds()
        try:
            pool.train(in_turn(todo.groups, ledger, holds, watch.finished), keep, watch.started)
        except BaseException:
            # Asked of the ledger: whoever interrupts may do so between a run's row and its mention.
            kept = len(ledger.find(job.key for job in todo.missing))
            raise
        finally:
            holds.close()
            watch.ended(kept)
        return collect(jobs, ledger)


def foresee(
    jobs: Sequence[Job], location: str, workers: int | None, watch: Watch, device: str = "cpu"
) -> Plan:
    """Plan what `ensure` would train; train and write nothing."""
    with Workers(workers, device) as pool, closing(opened(_as_it_is(location), pool)) as ledger:
        return plan(jobs, ledger, pool, watch, store=False)


def recall(jobs: Sequence[Job], location: str) -> dict[RunKey, Run]:
    """Return the final runs of jobs that a ledger has, none where there is no ledger yet."""
    with closing(Ledger(_as_it_is(location))) as ledger:
        return ledger.find(job.key for job in jobs)


def _as_it_is(location: str) -> str:
    """Return where to read: a file that is not there yet is an empty database in memory, so that
    none is made.
    """
    file = file_of(location)
    return location if file is None or file.exists() else "sqlite://"


def opened(location: str, workers: Workers) -> Ledger:
    """Open the ledger of trainings.

    Raises ConfigError where a device that was asked for is not there, StoreError where trainings in
    progress have no place.
    """
    workers.check()
    ledger = Ledger(location)
    if ledger.checkpoints and ledger.checkpoints.exists() and not ledger.checkpoints.is_dir():
        ledger.close()
        raise StoreError(
            f"{ledger.checkpoints} must be a folder, for trainings in progress, but is a file: move it away"
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

    Seeds 0-4 are always divided into the same shares, and so is each five after them; a share of
    which a seed is missing here is not fused, so that what a run gives does not depend on how often
    its command was cut off.
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


def _grouped(
    jobs: Sequence[Job], ledger: Ledger, workers: Workers, *, store: bool
) -> tuple[list[Group], float]:
    """Group jobs by how their network is trained here (chosen where it was not), and estimate their
    seconds.
    """
    if not jobs:
        return [], 0.0
    device, machine = workers.place.device, workers.place.machine
    by_network: dict[RunKey, list[Job]] = defaultdict(list)
    for job in jobs:
        by_network[_anonymous(job.key)].append(job)
    shares = {
        key: divide(own, SHARES if device == "cpu" else TOGETHER) for key, own in by_network.items()
    }
    modes = {key: ledger.mode(key.network, key.recipe, machine) for key in by_network}
    single = {key: Group((own[0],), None, device) for key, own in by_network.items()}
    largest = {
        key: Group(tuple(sorted(shares[key], key=len)[-1]), None, device) for key in by_network
    }
    several = {key for key in by_network if len(largest[key].jobs) > 1}
    unsure = {key for key in several if modes[key] is None}
    fused = {key for key in several if modes[key] == "fused"}
    # Each is timed in the way it will be trained, and in both where that is not chosen yet.
    alone = [
        single[key]
        for key in by_network
        if key not in fused or any(len(part) == 1 for part in shares[key])
    ]
    probed = workers.probe([*alone, *(largest[key] for key in by_network if key in unsure | fused)])
    for key in unsure:
        faster = _faster(probed.get(single[key]), probed.get(largest[key]), len(largest[key].jobs))
        modes[key] = (
            ledger.choose_mode(key.network, key.recipe, machine, faster) if store else faster
        )
    groups: list[Group] = []
    seconds = 0.0
    for key in by_network:
        parts = (
            shares[key]
            if modes[key] == "fused"
            else [[job] for part in shares[key] for job in part]
        )
        groups += [Group(tuple(part), None, device).kept_in(ledger.checkpoints) for part in parts]
        each, shared = (
            probed.get(single[key], 0.0),
            probed.get(largest[key], 0.0) / len(largest[key].jobs),
        )
        seconds += sum(len(part) * (shared if len(part) > 1 else each) for part in parts)
    return _seed_by_seed(groups), seconds


def _faster(alone: float | None, together: float | None, seeds: int) -> str:
    return "fused" if alone and together and together * WORTH < alone * seeds else "serial"


def _anonymous(key: RunKey) -> RunKey:
    return RunKey(key.network, key.dataset, key.data, key.protocol, key.recipe, 0)


def _seed_by_seed(groups: list[Group]) -> list[Group]:
    """Order groups by their seeds, so that an interrupted experiment has whole pairs."""
    return sorted(groups, key=lambda group: group.seeds[0])


def _forget(group: Group, final: Collection[RunKey]) -> None:
    """Remove the checkpoints of a group, and of the parts that it may have been trained in, but of
    what failed and may go on.
    """
    if group.checkpoint is not None and any(job.key in final for job in group.jobs):
        forget(group.checkpoint)
    for half in group.halves() if len(group.jobs) > 1 else ():
        _forget(half, final)
