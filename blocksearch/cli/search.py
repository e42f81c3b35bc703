"""Searches a space, and shows what was found."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from blocksearch.ablation.config import GainConfig
from blocksearch.api.fields import WhereFields
from blocksearch.cli.options import (
    ADVICE,
    METRIC,
    Database,
    Form,
    Given,
    NetworkText,
    Options,
    Planned,
    Seeds,
    Shown,
    Space,
    StudyName,
    Yours,
    with_options,
)
from blocksearch.runs.config import TABULATE_SEEDS, RunConfig
from blocksearch.search.config import StudyConfig

if TYPE_CHECKING:
    from blocksearch.search.importance import Effects
    from blocksearch.search.results import Summary

app = typer.Typer(rich_markup_mode="markdown")
Training = Annotated[Given, Options(config=RunConfig, panel="Training")]
Testing = Annotated[
    Given, Options(config=RunConfig, panel="Training", only=tuple(WhereFields.__annotations__))
]
Against = Annotated[Given, Options(config=GainConfig, panel="Question")]
Wish = Annotated[
    Given,
    Options(config=StudyConfig, panel="Search", without=("plugins",), defaults={"name": None}),
]


@app.command()
@with_options
def search(
    space: Space,
    study: Wish,
    form: Yours,
    run: Training,
    output: Planned,
    trials: Annotated[
        int,
        typer.Option(
            help="Networks to sample in all, beside the reference networks: a study that has "
            "fewer goes on.",
            rich_help_panel="Search",
        ),
    ] = 50,
    timeout: Annotated[
        float | None,
        typer.Option(
            help="Stop starting new trainings after this many seconds.", rich_help_panel="Search"
        ),
    ] = None,
) -> None:
    """Search a space for its best networks, and show the front.

    These are the Pareto-optimal networks in accuracy and costs. The same command goes on after a
    stop.

    Example: blocksearch search tiny --dataset digits --trials 30
    """
    from blocksearch.api.study import Study
    from blocksearch.report.progress import searching

    db = run.pop("db", None)
    with searching(quiet=output.quiet, metric=study.get("metric", "accuracy")) as heard:
        asked = Study(space, db, **form, **study, **run)
        answer = asked.search(trials, timeout, callbacks=[heard], dry_run=output.dry_run)
    output.show(answer)


@app.command()
@with_options
def pareto(db: Database, output: Shown, name: StudyName = None) -> None:
    """Show the front of a study, cheapest network first.

    It may be shown while the search runs, and of studies that were made with Optuna alone.

    Example: blocksearch pareto results/digits.db --save front.html
    """
    from blocksearch.api.studies import front

    answer = front(db, name)
    _tell_of_others(answer.found, name)
    output.show(answer)


@app.command()
@with_options
def importance(db: Database, output: Shown, name: StudyName = None) -> None:
    """Show how important each factor is for being on the front.

    What each value of a factor does is shown with intervals.

    Example: blocksearch importance results/digits.db
    """
    from blocksearch.api.studies import importance as call

    answer = call(db, name)
    _tell_of_others(answer.found, name)
    output.show(answer)


@app.command()
@with_options
def gain(
    space: Space,
    network: NetworkText,
    question: Against,
    form: Form,
    run: Training,
    output: Planned,
) -> None:
    """Compare a network with random networks of a space.

    These cost no more FLOPs than it does. A network of `pareto` is given by its text.

    Example: blocksearch gain tiny effnet --dataset gtsrb --sample 40
    """
    from blocksearch.api.studies import gain as call
    from blocksearch.report.progress import trainings

    asked: Given = {"dry_run": output.dry_run, **form, **question}
    with trainings(quiet=output.quiet, advice=ADVICE) as heard:
        answer = call(space, network, callbacks=[heard], **asked, **run)
    output.show(answer)


def _tell_of_others(found: "Summary | Effects", asked: str | None) -> None:
    """Say which study is shown where a file has several, and none was asked for by name."""
    from blocksearch.report.console import say

    if found.others and asked is None:
        others = ", ".join(found.others)
        text = f"study {found.name} of {len(found.others) + 1}; --name shows another: {others}"
        say(text, stderr=True)


@app.command()
@with_options
def tabulate(
    space: Space,
    form: Yours,
    run: Training,
    output: Planned,
    seeds: Seeds = str(TABULATE_SEEDS),
    table: Annotated[
        Path | None, typer.Option(help="Table to write. Default: results/SPACE-DATASET.csv.")
    ] = None,
) -> None:
    """Train every network of a small space, into one table.

    It has the accuracies of each network and seed, one an epoch. The same command goes on after a
    stop.

    Example: blocksearch tabulate tiny --dataset digits --max-images 1000 --epochs 2
    """
    from blocksearch.api.studies import tabulate as call
    from blocksearch.report.progress import trainings

    with trainings(quiet=output.quiet, advice=ADVICE) as heard:
        how: Given = {"dry_run": output.dry_run, "callbacks": [heard]}
        answer = call(space, table, seeds=seeds, **how, **form, **run)
    output.show(answer)


@app.command()
@with_options
def test(
    db: Database,
    form: Yours,
    run: Testing,
    *,
    metric: Annotated[str | None, METRIC] = None,
    output: Planned,
    name: StudyName = None,
) -> None:
    """Test the front of a study on the test images, once.

    Each network is trained on all training images with five new seeds first.

    Example: blocksearch test results/digits.db
    """
    from blocksearch.api.studies import test as call
    from blocksearch.report.progress import trainings

    with trainings(quiet=output.quiet) as heard:
        how: Given = {"dry_run": output.dry_run, "callbacks": [heard]}
        answer = call(db, name, metric=metric, **how, **form, **run)
    output.show(answer)
