"""Commands that search a space, and show what was found."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from blocksearch.cli.arguments import (
    DataRoot,
    Dataset,
    Device,
    Epochs,
    ImageCount,
    Json,
    LedgerPath,
    Quiet,
    RecipeName,
    Report,
    Seeds,
    Split,
    WorkerCount,
    check_report,
    print_json,
    request_from,
)

if TYPE_CHECKING:
    from blocksearch.space.grammar import Grammar

search_app = typer.Typer()
Space = Annotated[str, typer.Argument(metavar="SPACE", help="Python file with a grammar, or a shipped one such as section3.")]
StudyName = Annotated[str | None, typer.Option("--name", help="Name of the study in its file.")]


@search_app.command()
def search(
    file: Space,
    dataset: Dataset = "digits",
    trials: Annotated[int, typer.Option(help="Networks in all: a study that has fewer goes on.")] = 50,
    study: Annotated[str | None, typer.Option(help="Study file or database URL. Default: studies/DATASET.db.")] = None,
    name: StudyName = None,
    objectives: Annotated[str, typer.Option(help="accuracy, then costs: flops, params, floats, peak.")] = "accuracy,flops",
    budget: Annotated[list[str] | None, typer.Option(help="Train only within it, such as 'flops <= 12e6'; several.")] = None,
    sampler: Annotated[str, typer.Option(help="evolution, random, nsga2, tpe or gp.")] = "evolution",
    seed: Annotated[int, typer.Option(help="Seed of the search.")] = 0,
    seeds: Annotated[int, typer.Option(help="Seeds that every network of the reported front gets.")] = 5,
    start_with: Annotated[list[str] | None, typer.Option(help="Also begin with this network or block; several.")] = None,
    lag: Annotated[int, typer.Option(help="Trainings in flight at most; proposals wait for all before.")] = 4,
    epochs: Epochs = None,
    images: ImageCount = None,
    recipe: RecipeName = "fast",
    split: Split = 0,
    timeout: Annotated[float | None, typer.Option(help="Begin no training after so many seconds.")] = None,
    data_root: DataRoot = None,
    workers: WorkerCount = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Search a space for the networks that nothing beats in accuracy and costs; the same command goes on after a stop.

    Example: blocksearch search tiny --dataset digits --trials 30
    """
    from blocksearch.experiments.search.driver import Question
    from blocksearch.experiments.search.driver import search as run_search
    from blocksearch.experiments.search.study import Wishes
    from blocksearch.views.search import audience

    request = request_from(dataset, epochs, images, recipe, None, None, None, split, data_root, study, workers, device, None)
    named = tuple(part.strip() for part in objectives.split(","))
    wishes = Wishes(named, sampler, seed, seeds, lag, tuple(start_with or ()))
    space, grammar = _loaded(file, dataset)
    question = Question(space, grammar, tuple(budget or ()), wishes, name or f"{space}-{dataset}")
    run_search(question, request, trials, audience(quiet=quiet), timeout)
    where = request.ledger
    print(f"blocksearch pareto {where} --name {question.name}  shows what was found", file=sys.stderr)


@search_app.command()
def pareto(
    file: Annotated[str, typer.Argument(metavar="FILE", help="Study file or database URL.")],
    name: StudyName = None,
    html: Report = None,
    csv: Annotated[Path | None, typer.Option("--csv", help="Write every network as CSV.")] = None,
    svg: Annotated[Path | None, typer.Option(help="Also save the table as a picture.")] = None,
    as_json: Json = False,
) -> None:
    """Show the front of a study, cheapest first; while the search runs, too.

    Example: blocksearch pareto studies/digits.db --report front.html
    """
    from blocksearch.experiments.search.summary import as_data, summarise
    from blocksearch.views.search import front_table, other_studies
    from blocksearch.views.tables import answer

    check_report(html)
    check_report(csv)
    found = summarise(file, name)
    if found.others and name is None:
        print(other_studies(found), file=sys.stderr)
    print_json(as_data(found)) if as_json else answer(svg, front_table(found))
    for page in (html, csv):
        if page is not None:
            from blocksearch.views.pareto import pareto_page

            pareto_page(page, found)


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
    table: Annotated[Path | None, typer.Option(help="Table to write. Default: studies/SPACE-DATASET.csv.")] = None,
    workers: WorkerCount = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Train every member of a small space, so that a search of it can be replayed in seconds; goes on after a stop.

    Example: blocksearch tabulate tiny --dataset digits --images 1000 --epochs 2
    """
    from blocksearch.experiments.plan import read_seeds
    from blocksearch.experiments.search.table import tabulate as run_table
    from blocksearch.views.progress import watch

    space, grammar = _loaded(file, dataset)
    request = request_from(dataset, epochs, images, recipe, None, None, None, split, data_root, ledger, workers, device, None)
    where = table or Path(f"studies/{space}-{dataset}.csv")
    title, rows = run_table(space, grammar, read_seeds(seeds), request, where, watch(quiet=quiet))
    print(f"{where}: {title}; {len(rows)} rows")


def _loaded(file: str, dataset: str) -> "tuple[str, Grammar]":
    """Load a space for a data set; return its short name and its grammar."""
    from blocksearch.space.load import load_grammar
    from blocksearch.training.data import get

    return Path(file).stem, load_grammar(file)[0].on(get(dataset).setting)
