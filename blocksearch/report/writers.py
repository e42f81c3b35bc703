"""Saves answers as files, by one writer for each suffix, and registers a user's own writers."""

from collections.abc import Callable
from pathlib import Path

from blocksearch.errors import ConfigError, check_type
from blocksearch.files import check_place, check_suffix, write_file
from blocksearch.report.console import as_text
from blocksearch.report.pages import csv_text, html, json_text, markdown
from blocksearch.report.table import Report, cleaned

ReportWriter = Callable[[Report], bytes]  # a file's content; the texts are cleaned already


def _encoded(write: Callable[[Report], str]) -> ReportWriter:
    return lambda report: write(report).encode()


def _picture(suffix: str) -> ReportWriter:
    def write(report: Report) -> bytes:
        from blocksearch.report.pictures import picture

        return picture(report, suffix)

    return write


WRITERS: dict[str, ReportWriter] = {
    ".html": _encoded(html),
    ".md": _encoded(markdown),
    ".csv": _encoded(csv_text),
    ".json": _encoded(json_text),
    ".txt": _encoded(as_text),
    ".svg": _picture("svg"),
    ".png": _picture("png"),
    ".pdf": _picture("pdf"),
}


def register_writer(suffix: str, writer: ReportWriter) -> None:
    """Register a writer for files of another suffix.

    >>> register_writer(".lines", lambda report: str(len(report.tables)).encode())
    """
    WRITERS[check_suffix(suffix)] = writer


def writer_for(path: Path) -> ReportWriter:
    """Return the writer of a file. Raises ConfigError for another suffix, and if there can be no
    such file.
    """
    if path.suffix.lower() not in WRITERS:
        known = ", ".join(WRITERS)
        raise ConfigError(f"an answer is saved as one of {known}, but got {path}")
    check_place(path, "an answer")
    return WRITERS[path.suffix.lower()]


def save(report: Report, path: str | Path) -> None:
    """Write a report to a file, in the form of its suffix; what stood there is replaced whole or
    not at all.

    Pictures (.svg, .png, .pdf) show the main figures, or where there are none the tables.
    Raises ConfigError for an unknown suffix and if the file cannot be written.

    >>> save(Report(title="nothing"), "nothing.csv")  # doctest: +SKIP
    """
    check_type("an answer's file", path, str | Path)
    path = Path(path)
    write = writer_for(path)
    write_file(path, write(cleaned(report) if path.suffix.lower() != ".json" else report))
