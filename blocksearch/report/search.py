"""A search while it runs, line by line on standard error."""

from blocksearch.report.pages import console
from blocksearch.search.loop import Audience
from blocksearch.search.trials import Trial, TrialKind, TrialState


def audience(*, quiet: bool) -> Audience:
    """Return what a search tells about itself."""
    return Audience() if quiet else SpokenAudience()


class SpokenAudience(Audience):
    """Says what each training gave."""

    def __init__(self) -> None:
        self._page = console(stderr=True)

    def began(self, title: str, trials: int, total: int) -> None:
        """Say whether the study is new."""
        self._page.print(
            f"study {title}: "
            + (f"goes on after {trials} trainings" if trials else "new")
            + f", {total} networks in all"
        )

    def told(self, trial: Trial, total: int, reused: bool) -> None:
        """Say what a training gave."""
        result = f"{trial.accuracy:.2f} %" if trial.accuracy is not None else trial.state
        result += f" after {trial.epochs} epochs" if trial.state == TrialState.PARTIAL else ""
        again = f", seed {trial.seed}" if trial.kind == TrialKind.SEED else ""
        known = ", from the ledger" if reused else ""
        block = trial.text[trial.text.index("[") :]
        where = f"[{trial.candidate + 1}/{total}] trial {trial.candidate}{again} ({trial.origin}{known})"
        self._page.print(f"{where}: {result}, {trial.costs['flops']:,} FLOPs {block}")

    def ended(self, reason: str) -> None:
        """Say why the search ended."""
        self._page.print(reason)
