"""Lists data sets, networks, factors, spaces and recipes by name."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

from blocksearch.api.answer import Answer
from blocksearch.api.asked import divided
from blocksearch.api.fields import DataFields
from blocksearch.api.trainings import Seeds
from blocksearch.arch.factors import FACTORS
from blocksearch.arch.zoo import NAMED
from blocksearch.data import DataConfig, Split, open_dataset
from blocksearch.data import data_root as folder_of
from blocksearch.data.download import check, fetch, listing
from blocksearch.data.loaded import LoadedDataset, loaded
from blocksearch.data.opening import DatasetLike, is_path
from blocksearch.data.overview import Overview, overview
from blocksearch.data.own import kept
from blocksearch.errors import ConfigError, typed
from blocksearch.files import check_output
from blocksearch.report.datasets import overview_report
from blocksearch.report.table import Report, rows_table
from blocksearch.runs.config import COMPARE_SEEDS
from blocksearch.runs.plan import read_seeds
from blocksearch.space.load import read_space, shipped_spaces
from blocksearch.training.recipe import RECIPES

DISAGREEMENT = 0.1  # of images that two seeds of a network judge otherwise: a usual share
_LIST = "a list of what there is, by name"


@typed
def catalog(data_root: Path | None = None) -> Answer[dict[str, list[dict[str, Any]]]]:
    """List data sets, reference networks, factors of a block, shipped spaces and recipes, by name.

    >>> [row["name"] for row in catalog().found["recipes"]]
    ['paper', 'fast', 'augmented', 'signs']
    """
    found: dict[str, list[dict[str, Any]]] = {
        "datasets": [
            {key: row[key] for key in ("name", "description", "classes", "here")}
            for row in listing(data_root)
        ],
        "networks": [{"name": each.name, "source": each.source} for each in NAMED.values()],
        "factors": [
            {
                "name": each.name,
                "meaning": each.meaning,
                "default": str(each.default),
                "values": each.rule + (" or an op of yours" if each.op else ""),
            }
            for each in FACTORS.values()
        ],
        "spaces": [
            {"name": name, "question": read_space(file).question}
            for name, file in shipped_spaces().items()
        ],
        "recipes": [{"name": name, "recipe": each.title} for name, each in RECIPES.items()],
    }
    titles = {"datasets": f"data sets, under {folder_of(data_root)}"}
    tables = [rows_table(name, rows, titles.get(name, name)) for name, rows in found.items()]
    return Answer(found=found, report=Report(tables=tuple(tables), undrawn=_LIST))


@typed
def datasets(data_root: Path | None = None) -> Answer[list[dict[str, object]]]:
    """List data sets, and whether their files are there; of images of your own those that trainings
    have kept, which their names stand for.

    >>> [row["classes"] for row in datasets().records() if row["name"] == "digits"]
    [10]
    """
    rows, own = listing(data_root), kept(data_root)
    tables = [rows_table("datasets", rows)]
    tables += [rows_table("own", own, "images of your own, kept")] if own else []
    report = Report(title="data sets", tables=tuple(tables), undrawn=_LIST)
    return Answer(found=rows, report=report)


@typed
def check_dataset(
    names: str | Sequence[str] | None = None, data_root: Path | None = None
) -> Answer[list[dict[str, object]]]:
    """Read one data set or several whole, all that are there unless named: a row for each part.

    Images of one's own are described instead. Raises ConfigError for those.

    >>> check_dataset("digits").records()[0]["images"]  # doctest: +SKIP
    20000
    """
    names = [names] if isinstance(names, str) else names
    for name in filter(is_path, names or ()):
        raise ConfigError(
            f"data sets with a name are checked, but {name} is of your own: it is described instead"
        )
    chosen = names or [str(row["name"]) for row in listing(data_root) if row["here"]]
    rows = [row for name in chosen for row in check(name, data_root)]
    table = rows_table("datasets", rows, least="least of a class", most="most of a class")
    title, checks = "data sets, read whole", "a check of data sets; describe draws what one has"
    return Answer(found=rows, report=Report(title=title, tables=(table,), undrawn=checks))


def describe(
    dataset: DatasetLike,
    *,
    test: DatasetLike = None,
    seeds: Seeds = COMPARE_SEEDS,
    sheet: str | Path | None = None,
    data_root: Path | None = None,
    progress: Any = lambda _: None,
    **fields: Unpack[DataFields],
) -> Answer[Overview]:
    """Say what images are before anything is trained: classes, counts, sizes, copies, imbalance,
    what a constant guess scores, and the smallest difference that `seeds` decide.

    `fields` are those of `DataConfig`, such as `group_by`. `sheet` is a PNG file for a contact
    sheet. Raises DataError or ConfigError in one line.

    >>> describe("digits").found.guess
    10.0
    """
    from blocksearch.ablation.power import smallest_effect

    config = DataConfig(**divided(fields, DataConfig)[0])
    count = len(read_seeds(seeds))
    if sheet is not None:
        _check_sheet(Path(sheet))
    found = overview(dataset, config, test=test, root=data_root, progress=progress)
    if sheet is not None:
        _save_sheet(found, Path(sheet))
    least = None
    if count > 1 and found.judged:
        deviation = 100 * math.sqrt(DISAGREEMENT / found.judged)
        least = smallest_effect(deviation, count, count - 1, 0.05)
    report = overview_report(found, count, least, DISAGREEMENT)
    if sheet is not None:
        said = f"{sheet}: a row of pictures for each class, in the order of the table"
        report = replace(report, notes=(*report.notes, said))
    return Answer(found=found, report=report)


def load_dataset(
    dataset: DatasetLike = "digits",
    *,
    val_split: int = 0,
    max_images: int | None = None,
    data_root: Path | None = None,
    **fields: Unpack[DataFields],
) -> LoadedDataset:
    """Load images for a training loop of your own, divided and normalised as `train` does it.

    `fields` are those of `DataConfig`, such as `resize`. `train` and `val` of the answer are data
    sets for PyTorch's `DataLoader`: normalised images, C×H×W float32, with the number of a class.
    Test images stay closed. Raises DataError or ConfigError in one line.

    >>> digits = load_dataset("digits", max_images=1000)
    >>> image, label = digits.train[0]
    >>> image.shape, len(digits.val)
    ((3, 32, 32), 1000)
    """
    config = DataConfig(**divided(fields, DataConfig)[0])
    name = open_dataset(dataset, config, root=data_root)
    return loaded(Split(name, number=val_split, images=max_images), data_root)


def _save_sheet(found: Overview, file: Path) -> None:
    try:
        found.save_sheet(file)
    except OSError as error:
        raise ConfigError(f"{file} cannot be written: {error.strerror or error}") from error


def _check_sheet(file: Path) -> None:
    if file.suffix.lower() != ".png":
        raise ConfigError(f"a contact sheet is a .png file, but got {file}")
    try:
        check_output(file)
    except OSError as error:
        raise ConfigError(f"{file} cannot be written: {error.strerror or error}") from error


@typed
def fetch_dataset(
    name: str, data_root: Path | None = None, *, progress: bool = False
) -> Answer[str]:
    """Download a data set's archives, check and unpack them. Raises DataError if that fails.

    >>> fetch_dataset("digits").found
    'digits: nothing to download'
    """
    said = fetch(name, data_root, progress=progress)
    facts, undrawn = {"dataset": name}, "a data set's name, once its files are here"
    return Answer(found=said, report=Report(title=said, facts=facts, undrawn=undrawn))
