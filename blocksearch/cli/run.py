"""Defines the commands that train, or read what was trained."""

from typing import Annotated

import typer

from blocksearch.ablation.config import AblationConfig, ScoresConfig
from blocksearch.cli.options import (
    ADVICE,
    WHERE,
    Form,
    Given,
    MaybeNetwork,
    Measured,
    NetworkOptions,
    NetworkText,
    Options,
    Planned,
    Plugins,
    Seeds,
    Shown,
    Spoken,
    with_options,
)
from blocksearch.errors import ConfigError
from blocksearch.runs.config import TRAIN_SEEDS, RunConfig

app = typer.Typer(rich_markup_mode="markdown")
Training = Annotated[Given, Options(config=RunConfig, panel="Training")]
Question = Annotated[Given, Options(config=AblationConfig, panel="Question")]
_TIMED = ("dataset", "max_images", "recipe", "batch", "precision", *WHERE)
Timing = Annotated[Given, Options(config=RunConfig, panel="Training", only=_TIMED)]
Again = Annotated[Given, Options(config=RunConfig, panel="Training", only=WHERE)]
Own = Annotated[Given, Options(config=NetworkOptions, panel="Network", only=("widths", "plugins"))]
Compared = Annotated[Given, Options(config=ScoresConfig, panel="Question")]
Scores = Annotated[
    str,
    typer.Option(
        help="CSV file with the columns treatment, seed, score; may have group and task.",
        metavar="FILE",
    ),
]
Reference = Annotated[
    str | None,
    typer.Option(
        help="The same as NETWORK, the reference. Default: effnet.", rich_help_panel="Question"
    ),
]


@app.command()
@with_options
def train(
    network: NetworkText,
    form: Form,
    run: Training,
    *,
    metric: Measured = "accuracy",
    output: Planned,
    seeds: Seeds = str(TRAIN_SEEDS),
) -> None:
    """Train one network, and judge it on the validation split.

    Example: blocksearch train effnet --dataset cifar10 --epochs 2
    """
    from blocksearch.api.trainings import train as call
    from blocksearch.report.progress import trainings

    asked: Given = {"seeds": seeds, "metric": metric, "dry_run": output.dry_run}
    with trainings(quiet=output.quiet, advice=ADVICE) as heard:
        answer = call(network, callbacks=[heard], **asked, **form, **run)
    output.show(answer)


@app.command()
@with_options
def ablate(
    question: Question,
    form: Form,
    run: Training,
    output: Planned,
    network: MaybeNetwork = None,
    block: Reference = None,
    metric: Measured = "accuracy",
) -> None:
    """Vary one factor of a block, and say what it does.

    Everything else and the seeds are paired, so that an effect is told from noise.

    Example: blocksearch ablate --factor residual --dataset cifar10 --epochs 5 --max-images 10000
    """
    from blocksearch.api.trainings import ablate as call
    from blocksearch.report.progress import trainings

    if None not in (network, block) and network != block:
        raise ConfigError(f"NETWORK and --block say the same, but got {network!r} and {block!r}")
    reference = next((each for each in (network, block) if each is not None), "effnet")
    asked: Given = {"factor": question.pop("factors"), "dry_run": output.dry_run, **question}
    with trainings(quiet=output.quiet, advice=ADVICE) as heard:
        answer = call(reference, metric=metric, callbacks=[heard], **asked, **form, **run)
    output.show(answer)


@app.command()
@with_options
def compare(scores: Scores, question: Compared, output: Shown) -> None:
    """Compare scores that were measured elsewhere.

    The table is that of an ablation; nothing is trained. Higher scores are better. The file has a
    line for each score, with commas, semicolons or tabs. Tasks are compared apart, in one family.
    Groups are what was evaluated, such as speakers; an interval over other groups needs 20.

    Example: blocksearch compare --scores scores.csv --reference baseline
    """
    from blocksearch.api.scores import compare as call

    output.show(call(scores, **question))


@app.command()
@with_options
def bench(network: NetworkText, form: Own, run: Timing, output: Spoken) -> None:
    """Time the training of five seeds on this machine.

    A plain loop of PyTorch is timed beside each of our ways.

    Example: blocksearch bench effnet --dataset digits
    """
    from blocksearch.api.trainings import bench as call
    from blocksearch.report.progress import slow

    with slow("timing", quiet=output.quiet) as progress:
        answer = call(network, progress=progress, **form, **run)
    output.show(answer)


@app.command()
@with_options
def verify(
    db: Annotated[str, typer.Argument(help="Database whose runs are trained again.")],
    how: Again,
    form: Plugins,
    output: Spoken,
    runs: Annotated[
        int,
        typer.Option(
            help="How many runs; seeds that were trained in one module with them are added."
        ),
    ] = 3,
) -> None:
    """Train stored runs again, and compare them bit by bit.

    On another kind of processor than theirs the answer says how far results differ.

    Example: blocksearch verify studies/first-answer.db --runs 1
    """
    from blocksearch.api.trainings import verify as call
    from blocksearch.report.progress import slow

    with slow("training again", quiet=output.quiet) as progress:
        answer = call(db, runs=runs, progress=progress, **form, **how)
    output.show(answer)


@app.command()
@with_options
def merge(
    into: Annotated[str, typer.Argument(metavar="A", help="Database that receives.")],
    other: Annotated[str, typer.Argument(metavar="B", help="Database that is read.")],
    output: Shown,
) -> None:
    """Copy into database A the runs of B that A lacks.

    Trainings on which the two disagree are listed, and A is left as it is there.

    Example: blocksearch merge results/cifar10.db other-machine.db
    """
    from blocksearch.api.trainings import merge as call

    output.show(call(into, other))
