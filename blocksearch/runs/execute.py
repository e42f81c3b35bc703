"""Make sure that jobs are in the ledger: look up, train what is missing, append each as it finishes."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

from blocksearch.runs.ledger import Ledger
from blocksearch.runs.spec import Job, Run, RunSpec
from blocksearch.runs.workers import Workers


@dataclass(frozen=True)
class Plan:
    """What a command will train: the jobs not yet in the ledger, how many already are, and the estimated seconds."""

    missing: tuple[Job, ...]
    known: int
    seconds: float


def plan(jobs: Sequence[Job], ledger: Ledger, workers: Workers) -> Plan:
    """Look up which jobs are missing and estimate their time from a short probe of one job per network."""
    known = ledger.find(job.spec for job in jobs)
    missing = tuple({job.spec: job for job in jobs if job.spec not in known}.values())
    first = {job.spec.network: job for job in reversed(missing)}
    probed = {spec.network: seconds for spec, seconds in workers.probe(list(first.values())).items()}
    seconds = sum(probed.get(job.spec.network, 0.0) for job in missing)
    return Plan(missing, len(known), seconds / min(workers.count, max(1, len(missing))))


class Watch:
    """Hears what happens to the trainings of a command, and says nothing; views have one that speaks."""

    def planned(self, plan: Plan) -> None:
        """A plan is made; nothing is trained yet."""

    def finished(self, job: Job, run: Run) -> None:
        """A run is in the ledger."""

    def ended(self, *, interrupted: bool) -> None:
        """No more trainings will come."""


def ensure(jobs: Sequence[Job], location: str, workers: int | None, watch: Watch) -> dict[RunSpec, Run]:
    """Train what the ledger at `location` lacks, and return the run of each job.

    Every finished run is in the ledger before `watch` hears of it, so that an interruption loses at most the running ones.
    """
    with closing(Ledger(location)) as ledger, Workers(workers) as pool:
        todo = plan(jobs, ledger, pool)
        watch.planned(todo)

        def keep(job: Job, run: Run) -> None:
            ledger.add(job, run)
            watch.finished(job, run)

        interrupted = True
        try:
            pool.train(todo.missing, keep)
            interrupted = False
        finally:
            watch.ended(interrupted=interrupted)
        return collect(jobs, ledger)


def collect(jobs: Sequence[Job], ledger: Ledger) -> dict[RunSpec, Run]:
    """Return the run of each job: the final one, or else the last failure."""
    final = ledger.find(job.spec for job in jobs)
    wanted = {job.spec for job in jobs} - set(final)
    failed = {run.spec: run for run in ledger.runs() if run.spec in wanted} if wanted else {}
    return final | failed
