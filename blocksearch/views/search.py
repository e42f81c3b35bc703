"""A search while it runs, line by line on standard error, and its front as a table."""

from rich.table import Table

from blocksearch.experiments.search.driver import Audience
from blocksearch.experiments.search.summary import Summary
from blocksearch.runs.studies import StepRow
from blocksearch.views.tables import console, titled


def audience(*, quiet: bool) -> Audience:
    """Return what a search tells about itself."""
    return Audience() if quiet else SpokenAudience()


class SpokenAudience(Audience):
    """Says what each training gave."""

    def __init__(self) -> None:
        self._page = console(stderr=True)

    def began(self, title: str, steps: int, trials: int) -> None:
        """Say whether the study is new."""
        self._page.print(
            f"study {title}: " + (f"goes on after {steps} trainings" if steps else "new") + f", {trials} trials in all"
        )

    def told(self, row: StepRow, trials: int, reused: bool) -> None:
        """Say what a training gave."""
        result = f"{row.accuracy:.2f} %" if row.accuracy is not None else row.state
        again = f", seed {row.seed}" if row.kind == "seed" else ""
        known = ", from the ledger" if reused else ""
        block = row.text[row.text.index("[") :]
        where = f"trial {row.trial + 1}/{trials}{again} ({row.origin}{known})"
        self._page.print(f"{where}: {result}, {row.costs['flops']:,} FLOPs {block}")

    def ended(self, reason: str) -> None:
        """Say why the search ended."""
        self._page.print(reason)


def front_table(summary: Summary) -> Table:
    """Draw the front, cheapest first."""
    costs = list(dict.fromkeys((*summary.objectives[1:], "flops", "params")))
    trained = sum(len(entry.accuracies) + entry.failures for entry in summary.entries)
    table = titled(
        f"{summary.name}: {summary.title}\n"
        f"{len(summary.entries)} networks, {trained} trainings; hypervolume {summary.volume:.4f}",
        "network",
        "from",
        "accuracy, %",
        "95 % interval",
        "seeds",
        *costs,
        "× baseline",
        left=2,
    )
    for entry in summary.front:
        assert entry.mean is not None
        assert entry.interval is not None
        table.add_row(
            entry.text,
            entry.origin,
            f"{entry.mean:.2f}",
            f"[{entry.interval[0]:.2f}, {entry.interval[1]:.2f}]",
            str(len(entry.accuracies)),
            *(f"{entry.costs[name]:,}" for name in costs),
            f"{entry.factor:.2f}",
        )
    return table


def other_studies(summary: Summary) -> str:
    """Say which study is shown where a file has several."""
    return f"study {summary.name} of {len(summary.others) + 1}; --name shows another: {', '.join(summary.others)}"
