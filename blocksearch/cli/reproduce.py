"""Commands that put the paper's tables beside what is counted and measured here."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from blocksearch.cli.ablation import answer_ablation
from blocksearch.cli.options import (
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
    Report,
    Seeds,
    Split,
    Strict,
    Svg,
    Widths,
    WorkerCount,
    check_files,
    print_foreseen,
    print_json,
    request_from,
)
from blocksearch.errors import ConfigError, DataError

reproduce_app = typer.Typer(
    help="Reproduce the EffNet paper's tables and ablations.\n\nExample: blocksearch reproduce all --dry-run"
)
RESULTS = range(2, 8)  # the paper's tables of results


@reproduce_app.command("flops")
def flops(as_json: Json = False) -> None:
    """Count every FLOPs cell of Tables 2-7 again, beside the published figure.

    Example: blocksearch reproduce flops
    """
    from blocksearch.paper.tables import as_rows, flops_cells
    from blocksearch.report.pages import show
    from blocksearch.report.tables import flops_summary, flops_table

    cells = flops_cells()
    print_json(as_rows(cells)) if as_json else show(flops_table(cells), flops_summary(cells))


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
        report: Report = None,
        as_json: Json = False,
        quiet: Quiet = False,
    ) -> None:
        from blocksearch.paper.reproduce import foresee_table, reproduce_table
        from blocksearch.paper.tables import TABLES
        from blocksearch.report.evidence import published_tables
        from blocksearch.report.pages import save_picture, show
        from blocksearch.report.progress import watch
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
        if dry_run:
            with _not_run(f"Table {number}"):
                print_foreseen(
                    *foresee_table(number, task, chosen, request, watch(quiet=quiet)),
                    as_json=as_json,
                )
            return
        with _not_run(f"Table {number}"):
            found = reproduce_table(
                number, task, chosen, request, watch(quiet=quiet), strict=strict
            )
        if report is not None:
            from blocksearch.report.report import published_report

            published_report(report, found)
        tables = published_tables(found)
        save_picture(svg, *tables)
        if as_json:
            own = {"title": found.title, "notes": found.notes, "order": found.order}
            pairs = [result.record() for result in found.compared]
            print_json(own | {"rows": found.records(), "compared": pairs})
        else:
            show(*tables)
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
    report: Report = None,
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
            name, found, config, request, dry_run, svg, report, as_json=as_json, quiet=quiet
        )


def _across(datasets: list[str], split: int, *, as_json: bool) -> None:
    """Print what the stored runs of several data sets say of the paper's claims."""
    from blocksearch.paper.section3 import claims_across, claims_shown, recorded_in
    from blocksearch.report.pages import show
    from blocksearch.report.tables import rows_table

    names = [name.strip() for name in datasets]
    found = recorded_in({name: f"studies/{name}.db" for name in names}, split)
    titles = [own.title if own else f"{name}: not run" for name, own in found.items()]
    if as_json:
        print_json({"data": titles, "rows": claims_across(found)})
    else:
        show(rows_table("; ".join(titles), claims_shown(found)))


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
