"""Wraps what a call of the face found, and gives it as tables, figures and files."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from blocksearch.errors import ConfigError
from blocksearch.report.table import Report

Found = TypeVar("Found", covariant=True)


@dataclass(frozen=True, repr=False, kw_only=True)
class Answer(Generic[Found]):
    """Hold an answer, as an object (`found`) and as a report to print, draw and save.

    `failed` says that a training failed, which is no result; one that diverged is.

    >>> from blocksearch.api.networks import price
    >>> answer = price("effnet", "gtsrb")
    >>> answer.found.flops, answer.records()[0]["flops"]
    (344064, 344064)
    """

    found: Found
    report: Report
    failed: bool = False

    def records(self) -> list[dict[str, Any]]:
        """Return the main table as flat dictionaries: every digit, one name for each field."""
        tables = self.report.asked
        return tables[0].records() if tables else [dict(self.report.facts)]

    def data(self) -> dict[str, Any]:
        """Return the whole answer as plain words and numbers, as `--json` prints it."""
        return self.report.data()

    def table(self, *, wide: bool = False) -> str:
        """Return the answer as plain text, to print; with all columns if `wide`."""
        from blocksearch.report.console import as_text

        return as_text(self.report, wide=wide, more="wide=True")

    def figure(self) -> Any:
        """Return the main figure, drawn by plotly. Raises ConfigError if there is nothing to
        draw, as in a plan or a list of names.
        """
        from blocksearch.report.interactive import plotly_figure

        if not (figures := self.report.drawable):
            kind = self.report.undrawn or "without results so far"
            raise ConfigError(f"this answer has no figure: it is {kind}")
        return plotly_figure(figures[0])

    def save(self, path: str | Path) -> None:
        """Write the answer to a file: .html, .md, .csv, .json, .txt, .svg, .png or .pdf.

        Raises ConfigError for another suffix, and if the file cannot be written.
        """
        from blocksearch.report.writers import save

        save(self.report, path)

    def __repr__(self) -> str:
        title = self.report.title.split("\n")[0]
        return f"<Answer {title}>"

    def _repr_html_(self) -> str:
        from blocksearch.report.pages import fragment

        return fragment(self.report)
