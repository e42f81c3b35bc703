"""Finds the results that come with the project, and suggests databases for a name not found."""

from difflib import get_close_matches
from pathlib import Path

import blocksearch
from blocksearch.files import RESULTS

NAMES: tuple[str, ...] = ("cifar10.db", "first-answer.db", "gtsrb.db", "gtsrb-search.db")
NAMES += ("recipes.db", "svhn.db", "tiny-gtsrb.db")  # what the repository has in `studies/`
WITH_STUDIES = "studies/gtsrb-search.db and studies/svhn.db of blocksearch's repository"
BESIDE = Path(blocksearch.__file__).parent.parent / "studies"
HERE = Path("studies")  # where an installed package, which has none beside it, finds them
SHOWN = 5  # databases that are named at most


def shipped(dataset: str) -> tuple[str, ...]:
    """Return the database of runs that is shipped for a data set, if there is one here.

    It lies beside the package in a checkout. An installed package has none, and then a folder
    `studies` where the command runs is looked at.

    >>> shipped("no-such-data")
    ()
    """
    found = (folder / f"{dataset}.db" for folder in (BESIDE, HERE))
    return tuple(str(file) for file in found if file.is_file())[:1]


def meant(file: Path) -> str:
    """Suggest a database for one that does not exist: the one with the most similar name, of those
    here and the shipped ones. Of two with one name it is the one here.

    >>> meant(Path("no/svhn.bd"))[:14], "svhn.db" in meant(Path("no/svhn.bd"))
    ('; did you mean', True)
    """
    here: dict[str, str] = {}
    for folder in (file.parent, RESULTS, HERE, BESIDE):
        for each in sorted(folder.glob("*.db")):
            here.setdefault(each.name, repr(str(each)))
    known = {name: f"studies/{name} of blocksearch's repository" for name in NAMES} | here
    if found := get_close_matches(file.name, known, 1):
        return f"; did you mean {known[found[0]]}?"
    return f"; known: {', '.join([*here.values()][:SHOWN])}" if here else ""


def instead_of_images(dataset: str) -> str:
    """Say where stored answers are, which need no images, if they are shipped and not here.

    >>> instead_of_images("digits")
    ''
    """
    if f"{dataset}.db" not in NAMES or shipped(dataset):
        return ""
    return (
        f"; for stored answers, copy studies/{dataset}.db of blocksearch's repository to ./studies"
    )
