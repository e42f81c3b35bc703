"""Progress of trainings: a bar in a terminal, one line per finished run elsewhere, nothing when
quiet.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Timer

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from blocksearch.report.pages import console
from blocksearch.report.tables import duration
from blocksearch.runs.records import Group, Job, Run
from blocksearch.runs.scheduler import Plan, Watch

ADVICE = "; fewer or shorter with --epochs, --images, --seeds or --widths"


def watch(*, quiet: bool, advice: str = ADVICE) -> Watch:
    """Return what a command tells about its trainings, on standard error; `advice` says what makes
    them fewer or shorter.
    """
    return Watch() if quiet else SpokenWatch(advice)


class SpokenWatch(Watch):
    """Says the plan before anything is trained, and each finished run."""

    def __init__(self, advice: str) -> None:
        self._page, self._advice = console(stderr=True), advice
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._total = self._finished = self._running = self._images = 0
        self._began = 0.0

    def timing(self, networks: int) -> None:
        """Say what happens before there is a plan."""
        self._page.print(f"timing {networks} network{'s' * (networks > 1)}, a few steps each")

    def planned(self, plan: Plan) -> None:
        """Say how many runs are planned, how long they may take, and what makes them fewer or
        shorter.
        """
        self._total = len(plan.missing)
        self._finished = self._running = self._images = 0  # a plan may follow another
        self._began = 0.0
        if not self._total:
            return self._page.print(f"nothing to train: all {plan.known} runs are in the ledger")
        self._page.print(
            f"{self._total} runs to train ({plan.known} already in the ledger), about {duration(plan.seconds)}{self._advice}"
        )
        if self._page.is_terminal:
            now = TextColumn("{task.fields[now]}")
            columns = (
                TextColumn("trainings"),
                BarColumn(),
                MofNCompleteColumn(),
                now,
                TimeElapsedColumn(),
                TimeRemainingColumn(),
            )
            self._bar = Progress(*columns, console=self._page, transient=True)
            self._task = self._bar.add_task("", total=self._total, now="")
            self._bar.start()
        return None

    def started(self, group: Group) -> None:
        """Count what is running, and the time from the first on."""
        self._running += len(group.jobs)
        self._began = self._began or time.monotonic()
        self._show()

    def finished(self, group: Group, runs: Sequence[Run]) -> None:
        """Say which runs finished."""
        self._running -= len(runs)
        self._images += sum(
            job.images * run.epoch_to for job, run in zip(group.jobs, runs, strict=True)
        )
        for job, run in zip(group.jobs, runs, strict=True):
            self._finished += 1
            if self._bar:
                self._bar.advance(self._task)
            else:
                self._page.print(
                    f"[{self._finished}/{self._total}] {_line(job, run)}; {self._rate()}"
                )
        self._show()

    def _rate(self) -> str:
        """Say how many images were learnt from a second so far, over all finished trainings."""
        return f"{self._images / max(1e-9, time.monotonic() - self._began):,.0f} images/s"

    def _show(self) -> None:
        if self._bar:
            rate = f", {self._rate()}" if self._images else ""
            self._bar.update(self._task, now=f"{self._running} running{rate}")

    def ended(self, kept: int | None) -> None:
        """Take the bar away; after an interruption, say what is kept."""
        if self._bar:
            self._bar.stop()
        if kept is not None:
            self._page.print(
                f"interrupted: {kept} of {self._total} runs are in the ledger; the same command goes on from there"
            )


@contextmanager
def slow(title: str, *, quiet: bool) -> Iterator[Callable[[float], None]]:
    """Show a bar in a terminal for what takes longer than a second; the block reports the share
    that is done.
    """
    page = console(stderr=True)
    bar = Progress(
        TextColumn(title),
        BarColumn(),
        TimeElapsedColumn(),
        console=page,
        transient=True,
        disable=quiet or not page.is_terminal,
    )
    task = bar.add_task("", total=None)
    later = Timer(1.0, bar.start)
    later.daemon = True
    later.start()
    try:
        yield lambda share: bar.update(task, total=1.0, completed=share)
    finally:
        later.cancel()
        later.join()
        bar.stop()


def _line(job: Job, run: Run) -> str:
    block = job.text[job.text.index("[") :]
    result = f"{run.accuracy:.2f} %" if run.accuracy is not None else f"{run.state}: {run.reason}"
    return f"seed {job.key.seed} {block} {result} in {run.seconds:.0f} s"
