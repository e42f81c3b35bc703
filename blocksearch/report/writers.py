"""Answers as files: one writer for each suffix, and a register for a user's own."""

from pathlib import Path
from typing import Protocol

from blocksearch.errors import ConfigError
from blocksearch.files import check_place, check_suffix, write_file
from blocksearch.report.table import Answer, Report, as_report, cleaned


class ReportWriter(Protocol):
    """Turn a report into a file's content. Its texts are cleaned already."""

    def __call__(self, report: Report, /) -> bytes:
        """Return the content."""
        ...


def _html(report: Report) -> bytes:
    from blocksearch.report.pages import html

    return html(report).encode()


def _markdown(report: Report) -> bytes:
    from blocksearch.report.pages import markdown

    return markdown(report).encode()


def _csv(report: Report) -> bytes:
    from blocksearch.report.pages import csv_text

    return csv_text(report).encode()


def _json(report: Report) -> bytes:
    from blocksearch.report.pages import json_text

    return json_text(report).encode()


def _text(report: Report) -> bytes:
    from blocksearch.report.console import as_text

    return as_text(report).encode()


def _picture(suffix: str) -> ReportWriter:
    def write(report: Report, /) -> bytes:
        from blocksearch.report.pictures import picture

        return picture(report, suffix)

    return write


WRITERS: dict[str, ReportWriter] = {
    ".html": _html,
    ".md": _markdown,
    ".csv": _csv,
    ".json": _json,
    ".txt": _text,
    ".svg": _picture("svg"),
    ".png": _picture("png"),
    ".pdf": _picture("pdf"),
}


def register_writer(suffix: str, writer: ReportWriter) -> None:
    """Let `save` write files of another suffix.

    >>> register_writer(".lines", lambda report: str(len(report.tables)).encode())
    """
    WRITERS[check_suffix(suffix)] = writer


def writer_for(path: Path) -> ReportWriter:
    """Return the writer of a file. Raises ConfigError for another suffix, and where there can be no
    such file.
    """
    if path.suffix.lower() not in WRITERS:
        known = ", ".join(WRITERS)
        raise ConfigError(f"an answer is saved as one of {known}, but got {path}")
    check_place(path, "an answer")
    return WRITERS[path.suffix.lower()]


def save(answer: Answer, path: str | Path) -> None:
    """Write an answer to a file, in the form of its suffix; what stood there is replaced whole or
    not at all.

    Pictures (.svg, .png, .pdf) show the main figures of a report, or its tables where it has none.
    Raises ConfigError for an unknown suffix and where the file cannot be written.

    >>> save(rows_table("sizes", [{"size": 2}]), "sizes.csv")  # doctest: +SKIP
    """
    path = Path(path)
    write = writer_for(path)
    report = as_report(answer)
    write_file(path, write(cleaned(report) if path.suffix.lower() != ".json" else report))
