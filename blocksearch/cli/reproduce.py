"""Commands that put the paper's tables beside what is counted and measured here."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from blocksearch.cli.ablation import answer_ablation
from blocksearch.cli.options import (
    ADVICE,
    DataRoot,
    Dataset,
    Device,
    DryRun,
    Epochs,
    ImageCount,
    Json,
    LedgerPath,
    Quiet,
    RecipeName,
    ReportFile,
    Seeds,
    Split,
    Strict,
    Svg,
    Wide,
    Widths,
    WorkerCount,
    answer,
    check_files,
    print_foreseen,
    request_from,
)
from blocksearch.errors import ConfigError, DataError

reproduce_app = typer.Typer(
    help="Reproduce the EffNet paper's tables and ablations.\n\nExample: blocksearch reproduce all --dry-run"
)
RESULTS = range(2, 8)  # the paper's tables of results


@reproduce_app.command("flops")
def flops(wide: Wide = False, as_json: Json = False) -> None:
    """Count every FLOPs cell of Tables 2-7 again, beside the published figure.

    Example: blocksearch reproduce flops
    """
    from blocksearch.paper.tables import flops_cells
    from blocksearch.report.tables import flops_report

    answer(flops_report(flops_cells()), as_json=as_json, wide=wide)


@contextmanager
def _not_run(name: str) -> Iterator[None]:
    """Say of what has no images here that it was not run; no stand-in takes its place."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{name}: not run, {error}") from error


def _table_command(number: int) -> Callable[..., None]:
    def table(
        seeds: Seeds = "5",
        epochs: Epochs = None,
        widths: Widths = None,
        recipe: RecipeName = "fast",
        data_root: DataRoot = None,
        ledger: LedgerPath = None,
        workers: WorkerCount = None,
        device: Device = "auto",
        strict: Strict = False,
        dry_run: DryRun = False,
        svg: Svg = None,
        report: ReportFile = None,
        wide: Wide = False,
        as_json: Json = False,
        quiet: Quiet = False,
    ) -> None:
        from blocksearch.paper.reproduce import foresee_table, reproduce_table
        from blocksearch.paper.tables import TABLES
        from blocksearch.report.comparisons import paper_report
        from blocksearch.report.progress import trainings
        from blocksearch.runs.plan import read_seeds, task_from

        dataset = TABLES[number][0]
        task, chosen = task_from(dataset, widths), read_seeds(seeds)
        check_files(report=report, svg=svg, dry_run=dry_run)
        request = request_from(
            dataset,
            epochs,
            None,
            recipe,
            None,
            None,
            None,
            0,
            data_root,
            ledger,
            workers,
            device,
            None,
        )
        with _not_run(f"Table {number}"), trainings(quiet=quiet, advice=ADVICE) as watch:
            if dry_run:
                planned = foresee_table(number, task, chosen, request, watch)
            else:
                found = reproduce_table(number, task, chosen, request, watch, strict=strict)
        if dry_run:
            print_foreseen(*planned, as_json=as_json)
            return
        answer(paper_report(found), report, svg, as_json=as_json, wide=wide)
        if found.failed:
            raise typer.Exit(1)

    table.__doc__ = f"""Reproduce Table {number}: train on all training images, judge once on the test images.

    Example: blocksearch reproduce table{number} --seeds 5
    """
    return table


_TABLES = {number: _table_command(number) for number in RESULTS}
for _number, _command in _TABLES.items():
    reproduce_app.command(f"table{_number}")(_command)


@reproduce_app.command("section3")
def section3(
    dataset: Dataset = "gtsrb",
    seeds: Annotated[
        str, typer.Option(help="A count (5), a list (0,3,7), or 5..12: more where still undecided.")
    ] = "5..12",
    epochs: Epochs = None,
    images: ImageCount = None,
    widths: Widths = None,
    recipe: RecipeName = "fast",
    split: Split = 0,
    data_root: DataRoot = None,
    ledger: LedgerPath = None,
    workers: WorkerCount = None,
    device: Device = "auto",
    strict: Strict = False,
    dry_run: DryRun = False,
    svg: Svg = None,
    report: ReportFile = None,
    wide: Wide = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Vary every factor of effnet, one at a time, and hold what comes out against what the paper
    claims.

    Several data sets (gtsrb,cifar10) are compared, claim by claim, by the runs that are stored.

    Example: blocksearch reproduce section3 --dataset digits
    """
    if "," in dataset:
        _across(dataset.split(","), split, as_json=as_json)
        return
    from blocksearch.ablation.config import AblationConfig
    from blocksearch.paper import section3 as asked
    from blocksearch.runs.plan import task_from

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
    config = AblationConfig(factors=["all"], seeds=seeds, strict=strict)
    found = asked.section3(task_from(dataset, widths), dataset)
    with _not_run("Section 3"):
        name = "Section 3, factors of effnet"
        answer_ablation(
            *(name, found, config, request, dry_run, svg, report),
            as_json=as_json,
            quiet=quiet,
            wide=wide,
        )


def _across(datasets: list[str], split: int, *, as_json: bool) -> None:
    """Print what the stored runs of several data sets say of the paper's claims."""
    from blocksearch.paper.section3 import claims_across, claims_shown, recorded_in
    from blocksearch.report.comparisons import claims_report

    names = [name.strip() for name in datasets]
    found = recorded_in({name: f"studies/{name}.db" for name in names}, split)
    titles = [own.title if own else f"{name}: not run" for name, own in found.items()]
    shown, data = claims_shown(found), claims_across(found)
    answer(claims_report(titles, shown, data), as_json=as_json)


@reproduce_app.command("all")
def everything(
    seeds: Annotated[
        str | None, typer.Option(help="A count (5) or a list (0,3,7), instead of each one's own.")
    ] = None,
    epochs: Epochs = None,
    recipe: RecipeName = "fast",
    data_root: DataRoot = None,
    ledger: LedgerPath = None,
    workers: WorkerCount = None,
    device: Device = "auto",
    strict: Strict = False,
    dry_run: DryRun = False,
    report: Annotated[
        Path | None, typer.Option(help="Folder for a report of each: table2.html and so on.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Reproduce Tables 2-7 and Section 3 one after another; one whose images are not here is said
    not to have been run.

    Example: blocksearch reproduce all --dry-run
    """
    if report is not None and not report.is_dir():
        raise ConfigError(f"the reports go into a folder that exists, but got {report}")
    own = {} if seeds is None else {"seeds": seeds}
    shared = {
        "epochs": epochs,
        "recipe": recipe,
        "data_root": data_root,
        "ledger": ledger,
        "workers": workers,
        "device": device,
    }
    parts = {f"table{number}": table for number, table in _TABLES.items()} | {"section3": section3}
    not_run, failed = 0, False
    for name, part in parts.items():
        page = report and report / f"{name}.html"
        try:
            part(**own, **shared, strict=strict, dry_run=dry_run, report=page, quiet=quiet)
        except DataError as error:
            print(error)
            not_run += 1
        except typer.Exit:  # some of its trainings failed, as its rows say
            failed = True
    if failed or not_run == len(parts):
        raise typer.Exit(1 if failed else 2)
