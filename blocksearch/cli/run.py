"""Commands that train, or read what was trained."""

from typing import Annotated

import typer

from blocksearch.cli.ablation import answer_ablation
from blocksearch.cli.options import (
    ADVICE,
    Batch,
    DataRoot,
    Dataset,
    Device,
    DropoutRate,
    DryRun,
    Epochs,
    ImageCount,
    Json,
    LedgerPath,
    NetworkText,
    PrecisionName,
    Quiet,
    RecipeName,
    ReportFile,
    Seeds,
    Smoothing,
    SpaceFiles,
    Split,
    Strict,
    Svg,
    Wide,
    Widths,
    WorkerCount,
    answer,
    print_json,
    request_from,
)

run_app = typer.Typer()


@run_app.command()
def train(
    network: NetworkText,
    dataset: Dataset = "digits",
    widths: Widths = None,
    space: SpaceFiles = None,
    epochs: Epochs = None,
    images: ImageCount = None,
    seeds: Seeds = "1",
    recipe: RecipeName = "fast",
    batch: Batch = None,
    label_smoothing: Smoothing = None,
    dropout: DropoutRate = None,
    split: Split = 0,
    data_root: DataRoot = None,
    ledger: LedgerPath = None,
    workers: WorkerCount = None,
    device: Device = "auto",
    precision: PrecisionName = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train one network on the training images and judge it on the validation split.

    Example: blocksearch train effnet --dataset cifar10 --epochs 2
    """
    from blocksearch.report.progress import trainings
    from blocksearch.report.tables import runs_report
    from blocksearch.runs.plan import loaded, network_from, read_seeds, task_from
    from blocksearch.runs.train import train_network

    request = request_from(
        dataset,
        epochs,
        images,
        recipe,
        batch,
        label_smoothing,
        dropout,
        split,
        data_root,
        ledger,
        workers,
        device,
        precision,
    )
    found = network_from(
        network, task_from(dataset, widths), dataset=dataset, options=loaded(space or ()).options
    )
    with trainings(quiet=quiet, advice=ADVICE) as watch:
        title, rows = train_network(network, found, read_seeds(seeds), request, watch)
    answer(runs_report(title, rows), as_json=as_json)
    if any(row["state"] == "failed" for row in rows):
        raise typer.Exit(1)


@run_app.command()
def ablate(
    factor: Annotated[
        list[str],
        typer.Option(help="Factor to vary, such as residual; several may be given, or all."),
    ],
    block: Annotated[
        str, typer.Option(help="Reference: a named network, one with changes, or a block's text.")
    ] = "effnet",
    values: Annotated[
        str | None, typer.Option(help="Only these values of the factor, such as none,add.")
    ] = None,
    given: Annotated[
        str | None,
        typer.Option(help="Ask again under each of these values, such as bottleneck=2,4,8."),
    ] = None,
    equal_flops: Annotated[
        bool,
        typer.Option(
            "--equal-flops", help="Ask again with widths rescaled to the reference's FLOPs."
        ),
    ] = False,
    dataset: Dataset = "digits",
    widths: Widths = None,
    space: SpaceFiles = None,
    epochs: Epochs = None,
    images: ImageCount = None,
    seeds: Annotated[
        str, typer.Option(help="A count (5), a list (0,3,7), or 5..20: more where still undecided.")
    ] = "5",
    recipe: RecipeName = "fast",
    batch: Batch = None,
    label_smoothing: Smoothing = None,
    dropout: DropoutRate = None,
    split: Split = 0,
    data_root: DataRoot = None,
    ledger: LedgerPath = None,
    workers: WorkerCount = None,
    device: Device = "auto",
    precision: PrecisionName = None,
    strict: Strict = False,
    margin: Annotated[
        float | None,
        typer.Option(help="Points within which accuracies count as equal. Default: 0.5."),
    ] = None,
    dry_run: DryRun = False,
    svg: Svg = None,
    report: ReportFile = None,
    wide: Wide = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Vary one factor of a block, everything else and the seeds paired: what does it do, and is
    that true or noise?

    Example: blocksearch ablate --factor residual --dataset cifar10 --epochs 5 --images 10000
    """
    from blocksearch.ablation.config import AblationConfig, read_given, read_values
    from blocksearch.ablation.design import ask
    from blocksearch.ablation.stats import MARGIN
    from blocksearch.runs.plan import loaded, network_from, task_from

    request = request_from(
        *(
            dataset,
            epochs,
            images,
            recipe,
            batch,
            label_smoothing,
            dropout,
            split,
            data_root,
            ledger,
            workers,
            device,
            precision,
        ),
    )
    config = AblationConfig(
        factors=factor,
        values=None if values is None else read_values(values),
        given=None if given is None else read_given(given),
        equal_flops=equal_flops,
        seeds=seeds,
        margin=MARGIN if margin is None else margin,
        strict=strict,
    )
    defined = loaded(space or ())
    reference = network_from(
        block, task_from(dataset, widths), dataset=dataset, options=defined.options
    )
    found = ask(reference, config, defined)
    answer_ablation(
        *(block, found, config, request, dry_run, svg, report),
        as_json=as_json,
        quiet=quiet,
        wide=wide,
    )


@run_app.command()
def bench(
    network: NetworkText,
    dataset: Dataset = "digits",
    widths: Widths = None,
    space: SpaceFiles = None,
    images: ImageCount = None,
    recipe: RecipeName = "fast",
    batch: Batch = None,
    data_root: DataRoot = None,
    workers: WorkerCount = None,
    device: Device = "auto",
    precision: PrecisionName = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Time the training of five seeds here: the plain loop a user would write, and each of our
    ways.

    Example: blocksearch bench effnet --dataset digits
    """
    from blocksearch.report.progress import slow
    from blocksearch.report.tables import bench_report
    from blocksearch.runs.bench import as_rows, with_batches
    from blocksearch.runs.bench import bench as run_bench
    from blocksearch.runs.plan import loaded, network_from, task_from

    request = request_from(
        dataset,
        None,
        images,
        recipe,
        batch,
        None,
        None,
        0,
        data_root,
        None,
        workers,
        device,
        precision,
    )
    found = network_from(
        network, task_from(dataset, widths), dataset=dataset, options=loaded(space or ()).options
    )
    with slow("timing", quiet=quiet) as report:
        title, ways = run_bench(found, with_batches(request), report)
    answer(bench_report(title, as_rows(ways)), as_json=as_json)


@run_app.command()
def merge(
    into: Annotated[str, typer.Argument(metavar="A", help="Ledger that receives.")],
    other: Annotated[str, typer.Argument(metavar="B", help="Ledger that is read.")],
    as_json: Json = False,
) -> None:
    """Copy the runs of ledger B that ledger A does not have; report the trainings on which they
    disagree.

    Example: blocksearch merge studies/cifar10.db other-machine.db
    """
    from blocksearch.runs.merge import merge_ledgers

    answer = merge_ledgers(into, other)
    print_json(answer) if as_json else print(answer["summary"])
