"""Reads stored runs from one database or several; writes nothing."""

from collections.abc import Iterable, Sequence
from contextlib import closing

from blocksearch.data.splits import SplitSummary
from blocksearch.runs.ledger import Ledger
from blocksearch.runs.location import Location
from blocksearch.runs.records import Job, Run, RunKey
from blocksearch.runs.shipped import BESIDE


def recall(jobs: Iterable[Job], *locations: str) -> dict[RunKey, Run]:
    """Return the final runs of jobs, each from the first of the databases that has it."""
    keys = {job.key for job in jobs}
    found: dict[RunKey, Run] = {}
    for location in locations:
        if keys - set(found) and there(location):
            with closing(Ledger(location, read_only=True)) as ledger:
                found = ledger.find(keys) | found
    return found


def stored_images(dataset: str, split: str, locations: Sequence[str]) -> list[SplitSummary]:
    """Return what databases say of the images that judge a data set's split, each digest once."""
    found: dict[str, SplitSummary] = {}
    for location in filter(there, locations):
        with closing(Ledger(location, read_only=True)) as ledger:
            for images in ledger.all_images():
                if (images.dataset, images.split) == (dataset, split):
                    found.setdefault(images.digest, images)
    return list(found.values())


def there(location: str) -> bool:
    """Return whether a database exists, which any server's is taken to do."""
    file = Location(location).file
    return file is None or file.exists()


def is_shipped(location: str) -> bool:
    """Return whether a database is one of the shipped ones, which are only read.

    >>> is_shipped("results/digits.db")
    False
    """
    file = Location(location).file
    return file is not None and file.absolute().parent == BESIDE
