"""Commands that search a space, and show what was found."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from blocksearch.cli.options import (
    DataRoot,
    Dataset,
    Device,
    Epochs,
    ImageCount,
    Json,
    LedgerPath,
    Quiet,
    RecipeName,
    ReportFile,
    Seeds,
    Split,
    Svg,
    Wide,
    WorkerCount,
    answer,
    check_files,
    request_from,
)

if TYPE_CHECKING:
    from blocksearch.space.grammar import Grammar

search_app = typer.Typer()
Space = Annotated[
    str,
    typer.Argument(
        metavar="SPACE", help="Python file with a grammar, or a shipped one such as section3."
    ),
]
StudyFile = Annotated[str, typer.Argument(metavar="FILE", help="Study file or database URL.")]
Csv = Annotated[Path | None, typer.Option("--csv", help="Also write everything as CSV.")]
StudyName = Annotated[str | None, typer.Option("--name", help="Name of the study in its file.")]


@search_app.command()
def search(
    file: Space,
    dataset: Dataset = "digits",
    trials: Annotated[
        int, typer.Option(help="Networks to sample in all: a study that has fewer goes on.")
    ] = 50,
    study: Annotated[
        str | None, typer.Option(help="Study file or database URL. Default: studies/DATASET.db.")
    ] = None,
    name: StudyName = None,
    objectives: Annotated[
        str, typer.Option(help="accuracy, then costs: flops, params, floats, peak.")
    ] = "accuracy,flops",
    budget: Annotated[
        list[str] | None,
        typer.Option(help="Train only within it, such as 'flops <= 12e6'; several."),
    ] = None,
    sampler: Annotated[
        str, typer.Option(help="evolution, random, nsga2, tpe or gp.")
    ] = "evolution",
    seed: Annotated[int, typer.Option(help="Seed of the search.")] = 0,
    seeds: Annotated[
        int, typer.Option(help="Seeds that every network of the reported front gets.")
    ] = 5,
    references: Annotated[
        str, typer.Option(help="Reference networks to begin with: all, none, or effnet,mobilenet.")
    ] = "all",
    start_with: Annotated[
        list[str] | None, typer.Option(help="Also begin with this network or block; several.")
    ] = None,
    rungs: Annotated[
        str, typer.Option(help="Race: epochs such as 2,5 after which only the best third goes on.")
    ] = "",
    lag: Annotated[
        int | None,
        typer.Option(help="Trainings in flight at most. Default: the workers at first, and one."),
    ] = None,
    epochs: Epochs = None,
    images: ImageCount = None,
    recipe: RecipeName = "fast",
    split: Split = 0,
    timeout: Annotated[
        float | None, typer.Option(help="Begin no training after so many seconds.")
    ] = None,
    data_root: DataRoot = None,
    workers: WorkerCount = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Search a space for the networks that nothing beats in accuracy and costs; the same command
    goes on after a stop.

    Example: blocksearch search tiny --dataset digits --trials 30
    """
    from blocksearch.report.progress import searching
    from blocksearch.runs.location import without_password
    from blocksearch.search.config import StudyConfig, read_rungs
    from blocksearch.search.loop import Effort
    from blocksearch.search.loop import search as run_search

    request = request_from(
        dataset,
        epochs,
        images,
        recipe,
        None,
        None,
        None,
        split,
        data_root,
        study,
        workers,
        device,
        None,
    )
    space, grammar = _loaded(file, dataset)
    config = StudyConfig(
        name=f"{space}-{dataset}" if name is None else name,
        objectives=[part.strip() for part in objectives.split(",")],
        budgets=budget or (),
        sampler=sampler,
        seed=seed,
        seeds=seeds,
        references=references,
        enqueue=start_with or (),
        rungs=read_rungs(rungs),
        max_pending=lag,
    )
    with searching(quiet=quiet) as audience:
        run_search(space, grammar, config, request, Effort(trials, timeout), audience)
    if not quiet:
        print(
            f"blocksearch pareto {without_password(request.ledger)} --name {config.name}  shows what was found",
            file=sys.stderr,
        )


@search_app.command()
def pareto(
    file: StudyFile,
    name: StudyName = None,
    report: ReportFile = None,
    csv: Csv = None,
    png: Annotated[Path | None, typer.Option(help="Also draw the front as a picture.")] = None,
    svg: Annotated[Path | None, typer.Option(help="Also draw the front as a picture.")] = None,
    wide: Wide = False,
    as_json: Json = False,
) -> None:
    """Show the front of a study, cheapest first, while the search runs, too; of one made with
    Optuna alone as well.

    Example: blocksearch pareto studies/digits.db --report front.html
    """
    from blocksearch.report.front import front_report, other_studies
    from blocksearch.search.summary import summarise

    check_files(report=report, csv=csv, png=png, svg=svg)
    found = summarise(file, name)
    if found.others and name is None:
        print(other_studies(found.name, found.others), file=sys.stderr)
    answer(front_report(found), report, csv, png, svg, as_json=as_json, wide=wide)


@search_app.command()
def effects(
    file: StudyFile,
    name: StudyName = None,
    csv: Csv = None,
    wide: Wide = False,
    as_json: Json = False,
) -> None:
    """Say which factors put a network on the front of a study, and what each of their levels does,
    with intervals.

    Example: blocksearch effects studies/digits.db
    """
    from blocksearch.report.front import other_studies
    from blocksearch.report.study import importance_report
    from blocksearch.search.importance import study_effects

    check_files(csv=csv)
    found = study_effects(file, name)
    if found.others and name is None:
        print(other_studies(found.name, found.others), file=sys.stderr)
    answer(importance_report(found), csv, as_json=as_json, wide=wide)


@search_app.command()
def tabulate(
    file: Space,
    dataset: Dataset = "digits",
    seeds: Seeds = "3",
    epochs: Epochs = None,
    images: ImageCount = None,
    recipe: RecipeName = "fast",
    split: Split = 0,
    data_root: DataRoot = None,
    ledger: LedgerPath = None,
    table: Annotated[
        Path | None, typer.Option(help="Table to write. Default: studies/SPACE-DATASET.csv.")
    ] = None,
    workers: WorkerCount = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Train every member of a small space, so that a search of it can be replayed in seconds; goes
    on after a stop.

    `python -m tests.benchmarks.search TABLE`, in the project's folder, replays all samplers on it.

    Example: blocksearch tabulate tiny --dataset digits --images 1000 --epochs 2
    """
    from blocksearch.report.progress import trainings
    from blocksearch.runs.plan import read_seeds
    from blocksearch.search.tabulate import tabulate as run_table

    space, grammar = _loaded(file, dataset)
    request = request_from(
        dataset,
        epochs,
        images,
        recipe,
        None,
        None,
        None,
        split,
        data_root,
        ledger,
        workers,
        device,
        None,
    )
    shorter = "; fewer or shorter with --epochs, --images or --seeds"
    where = table or Path(f"studies/{space}-{dataset}.csv")
    with trainings(quiet=quiet, advice=shorter) as watch:
        title, rows = run_table(space, grammar, read_seeds(seeds), request, where, watch)
    print(f"{where}: {title}; {len(rows)} rows")


@search_app.command()
def final(
    file: Annotated[str, typer.Argument(metavar="FILE", help="Study file or database URL.")],
    name: StudyName = None,
    data_root: DataRoot = None,
    workers: WorkerCount = None,
    device: Device = "auto",
    svg: Svg = None,
    wide: Wide = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train the front of a study on all training images with five new seeds, and open the test set,
    once.

    Example: blocksearch final studies/digits.db
    """
    from blocksearch.report.progress import trainings
    from blocksearch.report.study import test_report
    from blocksearch.search.evaluation import final as test_front

    check_files(svg=svg)
    with trainings(quiet=quiet) as watch:
        found = test_front(file, name, data_root, workers, device, watch)
    answer(test_report(found), svg, as_json=as_json, wide=wide)


def _loaded(file: str, dataset: str) -> "tuple[str, Grammar]":
    """Load a space for a data set; return its short name and its grammar."""
    from blocksearch.data import get
    from blocksearch.space.load import load_space

    return Path(file).stem, load_space(file).on(get(dataset).task)
