"""What there is: data sets, networks, spaces and recipes by name."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from blocksearch.api.answer import Answer
from blocksearch.arch.zoo import NAMED
from blocksearch.data import data_root as folder_of
from blocksearch.data.download import check, fetch, listing
from blocksearch.report.table import Report, rows_table
from blocksearch.report.tables import checked_report, datasets_report
from blocksearch.space.load import read_space, shipped_spaces
from blocksearch.training.recipe import RECIPES


def everything(data_root: Path | None = None) -> Answer[dict[str, list[dict[str, Any]]]]:
    """List data sets, reference networks, shipped spaces and recipes, by name.

    >>> [row["name"] for row in everything().found["recipes"]]
    ['paper', 'fast', 'augmented', 'signs']
    """
    found: dict[str, list[dict[str, Any]]] = {
        "datasets": [
            {key: row[key] for key in ("name", "description", "classes", "here")}
            for row in listing(data_root)
        ],
        "networks": [{"name": each.name, "source": each.source} for each in NAMED.values()],
        "spaces": [
            {"name": name, "question": read_space(file).question}
            for name, file in shipped_spaces().items()
        ],
        "recipes": [{"name": name, "recipe": each.title} for name, each in RECIPES.items()],
    }
    titles = {"datasets": f"data sets, under {folder_of(data_root)}"}
    tables = [rows_table(name, rows, titles.get(name, name)) for name, rows in found.items()]
    return Answer(found, Report(tables=tuple(tables)))


def datasets(data_root: Path | None = None) -> Answer[list[dict[str, object]]]:
    """List data sets, and whether their files are there."""
    rows = listing(data_root)
    return Answer(rows, datasets_report(rows))


def checked(
    names: Sequence[str] | None = None, data_root: Path | None = None
) -> Answer[list[dict[str, object]]]:
    """Read data sets whole, all that are there unless named: a row for each part of one."""
    chosen = names or [str(row["name"]) for row in listing(data_root) if row["here"]]
    rows = [row for name in chosen for row in check(name, data_root)]
    return Answer(rows, checked_report(rows))


def fetched(name: str, data_root: Path | None = None, *, progress: bool = False) -> Answer[str]:
    """Download a data set's archives, check and unpack them."""
    said = fetch(name, data_root, progress=progress)
    return Answer(said, Report(title=said, facts={"dataset": name}))
