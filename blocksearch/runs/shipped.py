"""Where the results lie that come with the project."""

from pathlib import Path

import blocksearch

BESIDE = Path(blocksearch.__file__).parent.parent / "studies"


def shipped(dataset: str) -> tuple[str, ...]:
    """Return the database of runs that is shipped for a data set, if there is one here.

    It lies beside the package in a checkout. An installed package has none, and then a folder
    `studies` where the command runs is looked at.

    >>> shipped("no-such-data")
    ()
    """
    found = (folder / f"{dataset}.db" for folder in (BESIDE, Path("studies")))
    return tuple(str(file) for file in found if file.is_file())[:1]
