"""Holds the answer of an ablation: its results, and what is known of them together."""

from dataclasses import dataclass

from blocksearch.ablation.collapse import collapsed
from blocksearch.ablation.results import VariantResult
from blocksearch.ablation.stats import Comparison
from blocksearch.runs.questions import QuestionHistory
from blocksearch.runs.records import RunState


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """The answer of an ablation.

    The title states every reduction. `results` are in the order asked, references before their
    variants; `notes` say where the runs came from. `asked` are all questions about these runs, if
    they are remembered.
    """

    title: str
    results: tuple[VariantResult, ...]
    notes: tuple[str, ...]
    asked: QuestionHistory | None = None

    @property
    def comparisons(self) -> list[Comparison]:
        """What was compared, without the rows that only say why not."""
        return [result.comparison for result in self.results if result.comparison]

    @property
    def collapsed(self) -> dict[str, tuple[int, ...]]:
        """The seeds of each network, by its digest, whose runs lie far below its others."""
        runs: dict[tuple[str, str], dict[int, float]] = {}
        for each in self.results:
            for run in () if each.variant.is_interaction else each.runs:
                if run.accuracy is not None:
                    own = runs.setdefault((each.digest, run.key.protocol), {})
                    own[run.key.seed] = run.accuracy
        found: dict[str, tuple[int, ...]] = {}
        for (digest, _), seeds in collapsed(runs).items():
            found[digest] = tuple(sorted({*found.get(digest, ()), *seeds}))
        return found

    @property
    def failed(self) -> bool:
        """Whether a training failed; one that diverged is a result."""
        return any(run.state is RunState.FAILED for result in self.results for run in result.failed)

    def records(self) -> list[dict[str, object]]:
        """Return a flat record for each result: see `VariantResult.record`."""
        fallen = self.collapsed
        return [
            {**result.record(self.asked), "collapsed": list(fallen.get(result.digest, ()))}
            for result in self.results
        ]
