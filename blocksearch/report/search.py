"""A search while it runs, line by line on standard error."""

from blocksearch.report.pages import console
from blocksearch.search.loop import Audience
from blocksearch.search.storage import StepRow


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
            f"study {title}: "
            + (f"goes on after {steps} steps" if steps else "new")
            + f", {trials} trials in all"
        )

    def told(self, row: StepRow, trials: int, reused: bool) -> None:
        """Say what a training gave."""
        result = f"{row.accuracy:.2f} %" if row.accuracy is not None else row.state
        result += f" after {row.epochs} epochs" if row.state == "partial" else ""
        again = f", seed {row.seed}" if row.kind == "seed" else ""
        known = ", from the ledger" if reused else ""
        block = row.text[row.text.index("[") :]
        where = f"[{row.trial + 1}/{trials}] trial {row.trial}{again} ({row.origin}{known})"
        self._page.print(f"{where}: {result}, {row.costs['flops']:,} FLOPs {block}")

    def ended(self, reason: str) -> None:
        """Say why the search ended."""
        self._page.print(reason)
