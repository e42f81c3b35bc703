"""Where the results lie that come with the project; what a name that no database has may mean."""

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
    """Say which database may be meant by one that is not there: one of that name or a like one that
    is here, else one that is shipped.

    >>> meant(Path("no/svhn.bd"))[:14], "svhn.db" in meant(Path("no/svhn.bd"))
    ('; did you mean', True)
    """
    here: dict[str, str] = {}
    for folder in (file.parent, RESULTS, HERE, BESIDE):
        for each in sorted(folder.glob("*.db")):
            here.setdefault(each.name, repr(str(each)))
    published = {name: f"studies/{name} of blocksearch's repository" for name in NAMES}
    for known in (here, published):
        if found := get_close_matches(file.name, known, 1):
            return f"; did you mean {known[found[0]]}?"
    return f"; known: {', '.join([*here.values()][:SHOWN])}" if here else ""


def instead_of_images(dataset: str) -> str:
    """Say where answers are that need no images, if some are shipped of a data set and not here.

    >>> instead_of_images("digits")
    ''
    """
    if f"{dataset}.db" not in NAMES or shipped(dataset):
        return ""
    return (
        f"; for stored answers, copy studies/{dataset}.db of blocksearch's repository to ./studies"
    )
