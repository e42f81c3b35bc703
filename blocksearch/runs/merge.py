"""Merges one ledger into another."""

from contextlib import closing
from dataclasses import asdict
from typing import Any

from blocksearch.errors import ConfigError, MissingError
from blocksearch.runs.ledger import Ledger
from blocksearch.runs.location import Location
from blocksearch.runs.peek import contents
from blocksearch.runs.questions import questions_in, remember


def merge_ledgers(into: str, other: str) -> dict[str, Any]:
    """Copy what `into` lacks from `other`, runs and questions; both must exist, and `other` is only
    read. Disagreements are reported and left as they are.
    """
    to, source = Location(into), Location(other)
    if _same(to, source):
        raise ConfigError(f"a database is not merged with itself: {to}")
    for each in (to, source):
        if not contents(each).tables:
            raise MissingError(f"{each} is empty: it has no table")
    with (
        closing(Ledger(to, create=False)) as mine,
        closing(Ledger(source, read_only=True)) as theirs,
    ):
        copied, conflicts = mine.merge(theirs)
    if asked := questions_in(source):
        remember(asked, to)
    summary = (
        f"{copied} runs copied from {source} into {to}; "
        f"{len(conflicts)} trainings on which they disagree"
    )
    return {
        "copied": copied,
        "conflicts": [asdict(key) for key in conflicts],
        "summary": summary,
    }


def _same(one: Location, other: Location) -> bool:
    if one.file is None or other.file is None:
        return one.secret_url is not None and one.secret_url == other.secret_url
    both = one.file.exists() and other.file.exists()
    return one.file.samefile(other.file) if both else one.file == other.file
