"""Commands that put the paper's tables beside what is counted and measured here."""

from collections.abc import Callable
from typing import Annotated

import typer

from blocksearch.cli.arguments import (
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
    Svg,
    Widths,
    WorkerCount,
    check_report,
    print_json,
    request_from,
    write_report,
)

reproduce_app = typer.Typer(help="Reproduce the EffNet paper's tables.")
RESULTS = range(2, 8)  # the paper's tables of results


@reproduce_app.command("flops")
def flops(as_json: Json = False) -> None:
    """Count every FLOPs cell of Tables 2-7 again, beside the published figure.

    Example: blocksearch reproduce flops
    """
    from blocksearch.experiments.published import as_rows, flops_cells
    from blocksearch.views.tables import console, flops_summary, flops_table

    cells = flops_cells()
    print_json(as_rows(cells)) if as_json else console().print(flops_table(cells), flops_summary(cells))


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
        dry_run: DryRun = False,
        svg: Svg = None,
        report: Report = None,
        as_json: Json = False,
        quiet: Quiet = False,
    ) -> None:
        from blocksearch.experiments.plan import read_seeds, setting_from
        from blocksearch.experiments.published import TABLES
        from blocksearch.experiments.reproduce import as_rows, foresee_table, reproduce_table
        from blocksearch.views.progress import watch
        from blocksearch.views.tables import answer, foreseen, published_table

        dataset = TABLES[number][0]
        setting, chosen = setting_from(dataset, widths), read_seeds(seeds)
        check_report(report)
        request = request_from(dataset, epochs, None, recipe, None, None, None, 0, data_root, ledger, workers, device, None)
        if dry_run:
            print(foreseen(*foresee_table(number, setting, chosen, request)))
            return
        found = reproduce_table(number, setting, chosen, request, watch(quiet=quiet))
        claims = [str(judged) for judged in found.claims]
        answered = {"title": found.title, "order": found.order, "claims": claims, "rows": as_rows(found)}
        print_json(answered) if as_json else answer(svg, published_table(found))
        if report is not None:
            from blocksearch.views.report import published_report

            published_report(report, found)

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
    seeds: Annotated[str, typer.Option(help="A count (5), a list (0,3,7), or 5..12: more where still undecided.")] = "5..12",
    epochs: Epochs = None,
    images: ImageCount = None,
    widths: Widths = None,
    recipe: RecipeName = "fast",
    data_root: DataRoot = None,
    ledger: LedgerPath = None,
    workers: WorkerCount = None,
    device: Device = "auto",
    dry_run: DryRun = False,
    svg: Svg = None,
    report: Report = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Vary every factor of effnet, one at a time, and hold what comes out against what the paper claims.

    Example: blocksearch reproduce section3 --dataset digits
    """
    from blocksearch.experiments.ablate import ablate, as_rows, foresee_ablation
    from blocksearch.experiments.looks import read_looks
    from blocksearch.experiments.plan import network_from, read_seeds, setting_from
    from blocksearch.experiments.variants import ask, conversions, read_values
    from blocksearch.views.progress import watch
    from blocksearch.views.tables import ablation_tables, answer, foreseen

    check_report(report)
    request = request_from(dataset, epochs, images, recipe, None, None, None, 0, data_root, ledger, workers, device, None)
    setting = setting_from(dataset, widths)
    reference = network_from("effnet", setting, dataset=dataset)
    looks = read_looks(seeds) or ()
    chosen = () if looks else read_seeds(seeds)
    found = ask(reference, read_values(["all"], None)) + conversions(setting, dataset)
    name = "Section 3, factors of effnet"
    if dry_run:
        print(foreseen(*foresee_ablation(name, found, chosen, request, looks)))
        return
    title, results = ablate(name, found, chosen, request, watch(quiet=quiet), looks)
    print_json(as_rows(results)) if as_json else answer(svg, *ablation_tables(title, results))
    write_report(report, title, results)


@reproduce_app.command("all")
def everything(
    seeds: Annotated[str | None, typer.Option(help="A count (5) or a list (0,3,7), instead of each one's own.")] = None,
    epochs: Epochs = None,
    recipe: RecipeName = "fast",
    data_root: DataRoot = None,
    workers: WorkerCount = None,
    device: Device = "auto",
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Reproduce Tables 2-7 and Section 3 one after another; one whose images are not here is said not to have been run.

    Example: blocksearch reproduce all --dry-run
    """
    from blocksearch.errors import DataError

    own = {} if seeds is None else {"seeds": seeds}
    shared = {"epochs": epochs, "recipe": recipe, "data_root": data_root, "workers": workers, "device": device}
    parts = {f"Table {number}": table for number, table in _TABLES.items()} | {"Section 3": section3}
    for name, part in parts.items():
        try:
            part(**own, **shared, dry_run=dry_run, quiet=quiet)
        except DataError as error:
            print(f"{name}: not run, {error}")
