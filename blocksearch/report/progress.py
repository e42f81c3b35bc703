"""Shows progress on standard error, as a bar on a terminal or a line for each result elsewhere.

`with trainings(...)` and `with searching(...)` give what a command tells its progress to. On a
terminal a bar moves within two seconds, whatever is done first.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Lock, Timer

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as LiveBar

from blocksearch.arch.notation import parse
from blocksearch.errors import BlocksearchError, clean
from blocksearch.report.console import Page
from blocksearch.report.table import Report
from blocksearch.runs.callback import Callback
from blocksearch.runs.measures import read_metric
from blocksearch.runs.records import Group, Job, Plan, Run
from blocksearch.search.trials import Trial, TrialKind, TrialState

_PATIENCE = 1.0  # seconds after which a bar appears


def duration(seconds: float) -> str:
    """Write a time as a person would estimate it.

    >>> duration(0.2), duration(600), duration(10_000)
    ('1 s', '10 min', '2.8 h')
    """
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


PLAN = "a plan, by which nothing is measured yet"


def plan_report(title: str, plan: Plan, more: int = 0) -> Report:
    """Say what a command would train, and how many runs `more` it adds at most where comparisons
    stay undecided.
    """
    later = f"; at most {more} more where comparisons stay undecided" if more else ""
    terms = plan.flops / 1e12
    work = f"{terms:,.0f}" if terms >= 100 else f"{terms:.3g}"
    said = (
        f"{_planned(plan)}, {work} TFLOP forward and backward, "
        f"about {duration(plan.seconds)}{later}"
    )
    facts = {
        "missing": len(plan.missing),
        "known": plan.known,
        "more_at_most": more,
        "flops": plan.flops,
        "seconds": plan.seconds,
    }
    return Report(title=title, notes=(said,), facts=facts, undrawn=PLAN)


def _planned(plan: Plan) -> str:
    count = len(plan.missing)
    return f"{count} run{'s' * (count != 1)} to train ({plan.known} already in the database)"


class _Bar:
    """One bar on a terminal, whose task changes; nothing elsewhere."""

    def __init__(self, page: Page, *, shown: bool) -> None:
        self._page, self._shown = page, shown and page.is_terminal
        self._bar: LiveBar | None = None
        self._later: Timer | None = None
        self._counted = ""
        self._lock = Lock()

    def begin(self, title: str, total: float | None = None, after: float = 0.0) -> None:
        """Show another task: counted where `total` is a whole number, else as a share."""
        self.end()
        self._counted = ""
        if not self._shown:
            return
        columns: list[ProgressColumn] = [
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[now]}", markup=False),
            TimeElapsedColumn(),
        ]
        if total is not None:
            whole = isinstance(total, int)
            columns[2:2] = [MofNCompleteColumn() if whole else TaskProgressColumn()]
            columns += [TimeRemainingColumn()]
        self._bar = LiveBar(*columns, console=self._page, transient=True)
        self._task = self._bar.add_task(clean(title), total=total, now="")
        self._later = Timer(after, self._start, [self._bar])
        self._later.daemon = True
        self._later.start()

    def _start(self, bar: LiveBar) -> None:
        with self._lock:
            if bar is self._bar:
                bar.start()

    def count(self, title: str, share: float) -> None:
        """Show a task whose share that is done is known, once it is known."""
        if self._counted != title:
            self.begin(title, 1.0)
            self._counted = title
        self.show(share)

    def show(self, done: float | None = None, now: str = "") -> None:
        """Say how much is done, and what goes on."""
        if self._bar:
            self._bar.update(self._task, completed=done, now=clean(now))

    def end(self) -> None:
        """Take the bar away."""
        with self._lock:
            bar, self._bar = self._bar, None
        if self._later:
            self._later.cancel()
        if bar:
            bar.stop()


class _Spoken(Callback):
    """Say what comes before trainings, and after them."""

    def __init__(self, page: Page, bar: _Bar) -> None:
        self._page, self._bar, self._reads = page, bar, False

    def reading(self, share: float) -> None:
        """Show how many of the images are read; elsewhere than on a terminal say so once."""
        if not (self._reads or self._page.is_terminal):
            self._page.print("reading images, once: this may take a minute or two")
        self._reads = True
        self._bar.count("reading images", share)

    def ended(self, reason: str | None) -> None:
        """Take the bar away; after an interruption, say what is kept."""
        self._bar.end()
        if reason:
            self._page.print(reason)


class SpokenTrainings(_Spoken):
    """Say the plan before anything is trained, and each finished run."""

    def __init__(self, page: Page, bar: _Bar, advice: str = "") -> None:
        super().__init__(page, bar)
        self._advice = advice
        self._total = self._finished = self._running = self._images = 0
        self._began = 0.0

    def timing(self, networks: int) -> None:
        """Say what happens before there is a plan."""
        text = f"timing {networks} network{'s' * (networks > 1)}, for a few seconds"
        self._page.print(text)
        self._bar.begin(text)

    def planned(self, plan: Plan) -> None:
        """Say how many runs are planned, how long they may take, and what makes them fewer."""
        self._total = len(plan.missing)
        self._finished = self._running = self._images = 0  # a plan may follow another
        self._began = 0.0
        self._bar.end()
        if not self._total:
            return self._page.print(f"nothing to train: all {plan.known} runs are in the database")
        self._page.print(f"{_planned(plan)}, about {duration(plan.seconds)}{self._advice}")
        return self._bar.begin("trainings", self._total)

    def started(self, group: Group) -> None:
        """Count what is running, and the time from the first on."""
        self._running += len(group.jobs)
        self._began = self._began or time.monotonic()
        self._show()

    def finished(self, group: Group, runs: Sequence[Run]) -> None:
        """Say which runs finished."""
        self._running -= len(runs)
        for job, run in zip(group.jobs, runs, strict=True):
            self._images += job.images * run.epoch_to
            self._finished += 1
            if not self._page.is_terminal:
                count = f"[{self._finished}/{self._total}]"
                self._page.print(f"{count} {_line(job, run)}; {self._rate()}")
        self._show()

    def _rate(self) -> str:
        """Say how many images were learnt from a second so far, over all finished trainings."""
        return f"{self._images / max(1e-9, time.monotonic() - self._began):,.0f} images/s"

    def _show(self) -> None:
        rate = f", {self._rate()}" if self._images else ""
        self._bar.show(self._finished, f"{self._running} running{rate}")


class SpokenSearch(_Spoken):
    """Say what each training of a search gave, under a bar of trials; `measured` names it."""

    def __init__(self, page: Page, bar: _Bar, measured: str = "accuracy") -> None:
        super().__init__(page, bar)
        self._measured = measured

    def search_started(self, study: str, trials: int, total: int) -> None:
        """Say whether the study is new."""
        begun = f"goes on after {trials} trainings" if trials else "new"
        self._page.print(f"study {study}: {begun}, {total} networks in all")
        self._bar.begin("networks", total)

    def trial_finished(self, trial: Trial, total: int, reused: bool) -> None:
        """Say what a training gave."""
        known = trial.accuracy is not None
        result = f"{self._measured} {trial.accuracy:.2f} %" if known else trial.state
        result += f" after {trial.epochs} epochs" if trial.state == TrialState.PARTIAL else ""
        again = f", seed {trial.seed}" if trial.kind == TrialKind.SEED else ""
        stored = ", from the database" if reused else ""
        number = trial.number
        where = f"[{number + 1}/{total}] trial {number}{again} ({trial.origin}{stored})"
        result += "".join(f", {name} {value:.2f}" for name, value in trial.measured.items())
        flops = f"{trial.costs['flops']:,} FLOPs"
        self._page.print(f"{where}: {result}, {flops} {_blocks(trial.text)}")
        self._bar.show(number + 1)

    def search_ended(self, reason: str, remark: str) -> None:
        """Say how the search ended."""
        self._bar.end()
        self._page.print(reason)


class Progress(SpokenTrainings, SpokenSearch):
    """Print how trainings and searches go, on standard error, as the command line does.

    There is a line for the plan, and one for each training or trial; `metric` names what trials
    give. Hand it to `callbacks` of any call that trains.

    >>> import blocksearch as bs
    >>> answer = bs.train("effnet", callbacks=[bs.Progress()])  # doctest: +SKIP
    3 runs to train (0 already in the database), about 40 s
    [1/3] seed 0 [bottleneck=reduce(2) ...] accuracy 81.20 % in 12 s; 15,000 images/s
    """

    def __init__(self, metric: str = "accuracy") -> None:
        page = Page(stderr=True, force_terminal=False)
        super().__init__(page, _Bar(page, shown=False))
        self._measured = read_metric(metric).title


@contextmanager
def _speaking(title: str, *, quiet: bool) -> Iterator[tuple[Page, _Bar]]:
    page = Page(stderr=True)
    bar = _Bar(page, shown=not quiet)
    bar.begin(title, after=_PATIENCE)
    try:
        yield page, bar
    finally:
        bar.end()


@contextmanager
def trainings(*, quiet: bool, advice: str = "") -> Iterator[Callback]:
    """Yield the callback of trainings; `advice` says what makes them fewer or shorter."""
    with _speaking("reading images and results", quiet=quiet) as (page, bar):
        yield Callback() if quiet else SpokenTrainings(page, bar, advice)


@contextmanager
def searching(*, quiet: bool, metric: str = "accuracy") -> Iterator[Callback]:
    """Yield the callback of a search by a metric."""
    measured = read_metric(metric).title
    with _speaking("preparing the search", quiet=quiet) as (page, bar):
        yield Callback() if quiet else SpokenSearch(page, bar, measured)


@contextmanager
def slow(title: str, *, quiet: bool) -> Iterator[Callable[[float], None]]:
    """Show a bar, or elsewhere than on a terminal a line, for what takes longer than a second; the
    block reports the share that is done.
    """
    with _speaking(title, quiet=quiet) as (page, bar):
        bar.begin(title, 1.0, after=_PATIENCE)
        later = Timer(_PATIENCE, page.print, [f"{title}: this may take a minute"])
        later.daemon = True
        if not (quiet or page.is_terminal):
            later.start()
        try:
            yield bar.show
        except KeyboardInterrupt:
            bar.end()
            if not quiet:
                page.print("interrupted")
            raise
        finally:
            later.cancel()


def _line(job: Job, run: Run) -> str:
    known = run.accuracy is not None
    result = f"accuracy {run.accuracy:.2f} %" if known else f"{run.state}: {run.reason}"
    return f"seed {job.key.seed} {_blocks(job.text)} {result} in {run.seconds:.0f} s"


def _blocks(text: str) -> str:
    """Leave out the task, which all networks of a command share, where a text can be read here."""
    try:
        return " ".join(f"[{block}]" for block in parse(text).blocks)
    except BlocksearchError:  # with an op of a user's, say
        return text
