"""Compares the paper's tables with what is counted and measured here."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated

import typer

from blocksearch.ablation.config import AblationConfig
from blocksearch.cli.commands import Few
from blocksearch.cli.options import ADVICE, Given, Options, Output, Planned, Shown, with_options
from blocksearch.data import DataConfig
from blocksearch.errors import DataError
from blocksearch.runs.config import COMPARE_SEEDS, RunConfig

app = typer.Typer(rich_markup_mode="markdown")


class Parts(Few):
    """The parts of the paper that are reproduced."""

    elsewhere = " Table 1 is what `blocksearch show effnet` prints."


reproduce_app = typer.Typer(
    cls=Parts,
    help="Reproduce the EffNet paper's tables and claims.\n\n"
    "Example: blocksearch reproduce all --dry-run",
    rich_markup_mode="markdown",
)
app.add_typer(reproduce_app, name="reproduce")
IMAGES = {2: "CIFAR-10", 3: "SVHN", 4: "GTSRB", 5: "CIFAR-10", 6: "SVHN", 7: "GTSRB"}
PARTS = (*(f"table{number}" for number in IMAGES), "section3")
# what a table of the paper fixes, and what is asked of own pictures alone
TESTED = (*(each.name for each in fields(DataConfig)), "max_images", "val_split")


@dataclass(frozen=True, kw_only=True)
class PaperConfig:
    """What is asked of a part of the paper."""

    seeds: str = field(
        default=str(COMPARE_SEEDS),
        metadata={"help": "A count (5), a list (0,3,7), or 5..12: more where still undecided."},
    )
    widths: str | None = field(
        default=None, metadata={"help": "Stage widths such as 16,32,64, instead of the paper's."}
    )
    strict: bool = field(
        default=False,
        metadata={"help": "Refuse to compare runs of different devices or versions of torch."},
    )


Question = Annotated[Given, Options(config=PaperConfig, panel="Question")]
Spread = Annotated[Given, Options(config=AblationConfig, panel="Question", only=("variance",))]
All = Annotated[
    Given,
    Options(
        config=PaperConfig, panel="Question", only=("seeds", "strict"), defaults={"seeds": None}
    ),
]
Testing = Annotated[Given, Options(config=RunConfig, panel="Training", without=TESTED)]
Training = Annotated[
    Given, Options(config=RunConfig, panel="Training", defaults={"dataset": "gtsrb"})
]
Section3 = Annotated[Given, Options(config=PaperConfig, panel="Question", defaults={"seeds": None})]


def _answer(what: str, question: Given, run: Given, output: Output) -> None:
    from blocksearch.api.trainings import reproduce
    from blocksearch.report.progress import trainings

    with trainings(quiet=output.quiet, advice=ADVICE) as heard:
        how: Given = {"dry_run": output.dry_run, "callbacks": [heard]}
        answer = reproduce(what, **question, **run, **how)
    output.show(answer)


@reproduce_app.command()
@with_options
def flops(output: Shown) -> None:
    """Count every FLOPs cell of Tables 2-7 again.

    The paper's figure stands beside each.

    Example: blocksearch reproduce flops
    """
    from blocksearch.api.trainings import reproduce

    output.show(reproduce("flops"))


def _add_table(part: str, number: int, images: str) -> None:
    """Make the command of a table; its summary and example are what `--help` shows."""

    def command(question: Question, run: Testing, output: Planned) -> None:
        _answer(part, question, run, output)

    command.__doc__ = f"""Reproduce Table {number}: {images}, judged on the test images.

    Example: blocksearch reproduce {part} --seeds 5
    """
    reproduce_app.command(part)(with_options(command))


for _number, _images in IMAGES.items():
    _add_table(f"table{_number}", _number, _images)


@reproduce_app.command()
@with_options
def section3(question: Section3, spread: Spread, run: Training, output: Planned) -> None:
    """Vary every factor of effnet, beside the paper's claims.

    Undecided factors get more seeds: 5, then 8, then 12 (on SVHN, 8 at most).
    Several data sets (gtsrb,cifar10) are compared, claim by claim, by the runs that are stored.

    Example: blocksearch reproduce section3 --dataset digits
    """
    _answer("section3", question | spread, run, output)


@reproduce_app.command("all")
@with_options
def everything(question: All, run: Testing, output: Planned) -> None:
    """Reproduce Tables 2-7 and Section 3, one after another.

    A part without its images is skipped, and named. `--save answer.html` writes a file for
    each: answer-table2.html and so on.

    Example: blocksearch reproduce all --dry-run
    """
    from blocksearch.report.console import say

    not_run, failed = 0, False
    for part in PARTS:
        try:
            _answer(part, question, run, replace(output, save=_files(output.save, part)))
        except DataError as error:
            say(str(error))
            not_run += 1
        except typer.Exit:  # some of its trainings failed, as its rows say
            failed = True
    if failed or not_run == len(PARTS):
        raise typer.Exit(1 if failed else 2)


def _files(given: Sequence[Path], part: str) -> tuple[Path, ...]:
    return tuple(path.with_stem(f"{path.stem}-{part}") for path in given)
