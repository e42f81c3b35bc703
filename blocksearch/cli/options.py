"""The arguments that commands share, and what they become."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from blocksearch.report.table import Report
    from blocksearch.runs.plan import Request
    from blocksearch.runs.scheduler import Plan

NetworkText = Annotated[
    str,
    typer.Argument(metavar="NETWORK", help="A named network, one with changes, or a block's text."),
]
Dataset = Annotated[
    str, typer.Option("--dataset", help="Data set: cifar10, svhn, gtsrb or digits.")
]
Widths = Annotated[
    str | None, typer.Option(help="Stage widths such as 24,40,72, instead of the data set's.")
]
Input = Annotated[
    str | None,
    typer.Option("--input", help="Input shape such as 3x48x64, instead of the data set's."),
]
Classes = Annotated[int | None, typer.Option(help="Number of classes, instead of the data set's.")]
SpaceFiles = Annotated[
    list[str] | None,
    typer.Option("--space", help="Python file with options or a grammar, or a shipped one."),
]
Fill = Annotated[
    str | None,
    typer.Option(help="Rescale the widths as far as a budget allows, such as 'flops <= 12e6'."),
]
AsWritten = Annotated[
    bool,
    typer.Option(
        "--as-written", help="effnet_revised as Section 6.2 is written, not as its table."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Epochs = Annotated[
    int | None, typer.Option(help="Epochs, the schedule's horizon. Default: the data set's.")
]
ImageCount = Annotated[
    int | None,
    typer.Option("--images", help="Use only so many training images (validation capped alike)."),
]
Seeds = Annotated[str, typer.Option(help="A count (5) or a list (0,3,7).")]
RecipeName = Annotated[
    str, typer.Option("--recipe", help="Recipe: fast (decaying schedule) or paper (Section 5).")
]
Batch = Annotated[int | None, typer.Option(help="Batch size, instead of the recipe's.")]
Smoothing = Annotated[
    float | None,
    typer.Option("--label-smoothing", help="Label smoothing, instead of the recipe's."),
]
DropoutRate = Annotated[
    float | None,
    typer.Option("--dropout", help="Dropout before the classifier, instead of the network's."),
]
Split = Annotated[int, typer.Option(help="Number of the validation split; 1 is a second one.")]
DataRoot = Annotated[
    Path | None,
    typer.Option(help="Folder of the data; else BLOCKSEARCH_DATA, else a user cache folder."),
]
LedgerPath = Annotated[
    str | None,
    typer.Option("--ledger", help="Ledger file or database URL. Default: studies/DATASET.db."),
]
WorkerCount = Annotated[
    int | None,
    typer.Option("--workers", help="Worker processes. Default: one per core, two on a GPU."),
]
Device = Annotated[
    str, typer.Option("--device", help="auto (a GPU where there is one), cpu, cuda or cuda:1.")
]
PrecisionName = Annotated[
    str | None, typer.Option("--precision", help="float32 or bfloat16, instead of the recipe's.")
]
Svg = Annotated[Path | None, typer.Option(help="Also save the answer as a picture.")]
ReportFile = Annotated[
    Path | None, typer.Option(help="Also write a report: .html with figures, .md or .csv.")
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Say what would be trained, and for how long; train nothing."),
]
REPORTS = (".html", ".md", ".csv")  # what a report may be
Strict = Annotated[
    bool,
    typer.Option(
        "--strict", help="Refuse to compare runs of different devices or versions of torch."
    ),
]
Wide = Annotated[bool, typer.Option("--wide", help="Print all columns, however wide.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No plan and no progress.")]


def request_from(
    dataset: str,
    epochs: int | None,
    images: int | None,
    recipe: str,
    batch: int | None,
    label_smoothing: float | None,
    dropout: float | None,
    split: int,
    data_root: Path | None,
    ledger: str | None,
    workers: int | None,
    device: str,
    precision: str | None,
) -> "Request":
    """Make the request of a command that trains."""
    from blocksearch.data import get
    from blocksearch.data.splits import Split
    from blocksearch.runs.plan import Request
    from blocksearch.training.recipe import recipe_named

    epochs = get(dataset).epochs if epochs is None else epochs
    changes = {
        "batch": batch,
        "label_smoothing": label_smoothing,
        "dropout": dropout,
        "precision": precision,
    }
    return Request(
        Split(dataset, number=split, images=images),
        recipe_named(recipe, epochs, changes),
        data_root,
        ledger or f"studies/{dataset}.db",
        workers,
        device,
    )


def check_files(*, dry_run: bool = False, **files: Path | None) -> None:
    """Refuse files, by their option, that could not be written, before anything is read or trained."""
    from blocksearch.errors import ConfigError

    for option, file in files.items():
        endings = REPORTS if option == "report" else (f".{option}",)
        if file is not None and dry_run:
            raise ConfigError(f"--dry-run has no answer to write to {file}")
        if file is not None and (file.suffix not in endings or not file.parent.is_dir()):
            raise ConfigError(
                f"--{option} writes a {' or '.join(endings)} file in a folder that exists, but got {file}"
            )


def print_foreseen(title: str, plan: "Plan", more: int = 0, *, as_json: bool) -> None:
    """Print what a command would train, and how many runs `more` it adds at most where comparisons
    stay undecided.
    """
    from blocksearch.report.progress import foreseen

    told = {"title": title, "missing": len(plan.missing), "known": plan.known, "more_at_most": more}
    print_json(told | {"flops": plan.flops, "seconds": plan.seconds}) if as_json else print(
        foreseen(title, plan, more)
    )


ADVICE = "; fewer or shorter with --epochs, --images, --seeds or --widths"


def answer(report: "Report", *files: Path | None, as_json: bool, wide: bool = False) -> None:
    """Save an answer to files, then print it: whoever reads it may stop reading."""
    from blocksearch.report.writers import save

    for file in files:
        if file is not None:
            save(report, file)
    if as_json:
        print_json(report.data())
    else:
        from blocksearch.report.console import show

        show(report, wide=wide)


def print_json(value: object) -> None:
    """Print an answer as JSON; numbers that JSON does not have are an error."""
    print(json.dumps(value, indent=2, allow_nan=False))
