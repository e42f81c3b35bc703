"""Bring two ledgers together."""

from contextlib import closing
from dataclasses import asdict
from typing import Any

from blocksearch.errors import ConfigError
from blocksearch.runs.ledger import Ledger
from blocksearch.runs.questions import questions_in, remember


def merge_ledgers(into: str, other: str) -> dict[str, Any]:
    """Copy what `into` lacks from `other`, runs and questions; both must exist. Disagreements are
    reported and left as they are.
    """
    if into == other:
        raise ConfigError(f"a ledger is not merged with itself: {into}")
    with (
        closing(Ledger(into, create=False)) as mine,
        closing(Ledger(other, create=False)) as theirs,
    ):
        copied, conflicts = mine.merge(theirs)
    remember(questions_in(other), into)
    summary = (
        f"{copied} runs copied from {other} into {into}; "
        f"{len(conflicts)} trainings on which they disagree"
    )
    return {
        "copied": copied,
        "conflicts": [asdict(key) for key in conflicts],
        "summary": summary,
    }
