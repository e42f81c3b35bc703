"""Configures trainings, in the fields that Python and the command line share."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from blocksearch.data import get
from blocksearch.data.config import DataConfig
from blocksearch.data.splits import Split
from blocksearch.errors import ConfigError
from blocksearch.files import RESULTS, check_folder, check_is_path
from blocksearch.runs.location import Location
from blocksearch.runs.plan import RunSettings, read_splits
from blocksearch.runs.records import Resources
from blocksearch.runs.shipped import shipped
from blocksearch.training.recipe import Recipe
from blocksearch.training.recipe_text import RecipeLike, recipe_named

# seeds, unless some are asked for
TRAIN_SEEDS = 1
TABULATE_SEEDS = 3
COMPARE_SEEDS = 5  # of a comparison, and of what is said of one ahead


@dataclass(frozen=True, kw_only=True)
class RunConfig(DataConfig):
    """On which images, by which recipe and where networks are trained, and where runs are kept.

    `dataset` is a name here: what else stands for a data set is opened before. Raises ConfigError
    for what cannot be.

    >>> RunConfig(dataset="gtsrb", epochs=2).settings().recipe.epochs
    2
    """

    epochs: int | None = field(
        default=None, metadata={"help": "Epochs of the schedule. Default: the data set's."}
    )
    max_images: int | None = field(
        default=None,
        metadata={"help": "Use only so many training images (validation capped alike)."},
    )
    recipe: RecipeLike = field(
        default="fast",
        metadata={
            "help": "Recipe: a name (`blocksearch list`) or a TOML file, and changes of it such as "
            "'fast optimizer=sgd(momentum=0.8)'."
        },
    )
    batch: int | None = field(
        default=None, metadata={"help": "Batch size, instead of the recipe's."}
    )
    label_smoothing: float | None = field(
        default=None, metadata={"help": "Label smoothing, instead of the recipe's."}
    )
    dropout: float | None = field(
        default=None, metadata={"help": "Dropout before the classifier, instead of the network's."}
    )
    precision: str | None = field(
        default=None, metadata={"help": "float32 or bfloat16, instead of the recipe's."}
    )
    val_split: int | str | Sequence[int] = field(
        default=0,
        metadata={"help": "Index of the validation split, or 0..4 for an ablation on five."},
    )
    data_root: Path | None = field(
        default=None,
        metadata={"help": "Folder of the data; else BLOCKSEARCH_DATA, else a user cache folder."},
    )
    db: str | Path | None = field(
        default=None,
        metadata={"help": f"Database file or URL of runs. Default: {RESULTS}/DATASET.db."},
    )
    workers: int | None = field(
        default=None,
        metadata={"help": "Trainings at once. Default: one per core, two on each GPU."},
    )
    device: str = field(
        default="auto",
        metadata={"help": "auto (GPUs if any), cpu, cuda (all GPUs), or cuda:0,cuda:1."},
    )
    executor: str = field(
        default="processes",
        metadata={"help": "Who trains: worker processes, or serial, which is this process."},
    )
    keep_weights: Path | None = field(
        default=None, metadata={"help": "Folder for trained weights (safetensors)."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, kind in (("data_root", Path), ("keep_weights", Path), ("db", Location)):
            if (value := getattr(self, name)) is not None:  # a text is as good as a path
                object.__setattr__(self, name, kind(value))
        if self.keep_weights is not None:
            try:
                check_is_path(self.keep_weights)
            except OSError as error:
                raise ConfigError(f"weights cannot be kept: {error.strerror}") from error
            check_folder(self.keep_weights, "a folder of weights")
            if self.keep_weights.exists() and not self.keep_weights.is_dir():
                raise ConfigError(f"weights are kept in a folder, but {self.keep_weights} is none")
        if self.db is not None:
            where = Location(self.db)
            if where.file is None and not where.is_server:
                raise ConfigError(f"runs need a file that remains, but got {where}")
            if where.file:
                check_folder(where.file, "a database")
        if self.epochs is not None and self.epochs < 1:
            raise ConfigError(f"epochs must be at least 1, but got {self.epochs}")
        read_splits(self.val_split)

    def recipe_of(self, text: RecipeLike | None = None) -> Recipe:
        """Read a recipe as this one is read, None as this one: with the same changes and epochs."""
        data = get(self.dataset)
        found = self.read_recipe(text, data.epochs)
        found.check_classes(data.task.classes)
        return found

    def read_recipe(self, text: RecipeLike | None = None, usual: int | None = None) -> Recipe:
        """Read a recipe where the data set is not known yet, with its `usual` epochs if it is."""
        names = ("batch", "label_smoothing", "dropout", "precision")
        changes = {name: getattr(self, name) for name in names}
        own = self.recipe if text is None else text
        return recipe_named(own, self.epochs, changes, usual)

    @property
    def splits(self) -> tuple[int, ...]:
        """The validation splits by number: one, or several that an ablation crosses with seeds."""
        return read_splits(self.val_split)

    def resources(self, location: str) -> Resources:
        """Return who trains, with runs that are kept and known at one place alone."""
        return Resources(
            ledger=location, workers=self.workers, device=self.device, executor=self.executor
        )

    def settings(self) -> RunSettings:
        """Return the trainings that are asked for, with every default filled in.

        Runs that were shipped for the data set are known, too, unless `db` says where to look.
        Raises ConfigError for several validation splits.
        """
        if len(self.splits) > 1:
            raise ConfigError(
                "one validation split at a time, except in an ablation, but got "
                f"{','.join(map(str, self.splits))}"
            )
        return self.first_settings()

    def first_settings(self) -> RunSettings:
        """Return them on the first of several validation splits."""
        return RunSettings(
            protocol=Split(self.dataset, number=self.splits[0], images=self.max_images),
            recipe=self.recipe_of(),
            root=self.data_root,
            ledger=Location(self.db or f"{RESULTS}/{self.dataset}.db"),
            workers=self.workers,
            device=self.device,
            executor=self.executor,
            keep_weights=self.keep_weights,
            sources=() if self.db else shipped(self.dataset),
        )
