"""Commands that look at networks, spaces and data; nothing is trained."""

import sys
from typing import Annotated

import typer

from blocksearch.cli.options import (
    AsWritten,
    Classes,
    DataRoot,
    Dataset,
    Fill,
    Input,
    Json,
    NetworkText,
    Quiet,
    SpaceFiles,
    Svg,
    Widths,
    answer,
    check_files,
)
from blocksearch.errors import ConfigError, DataError

look_app = typer.Typer()
data_app = typer.Typer(help="List, check and fetch data sets.\n\nExample: blocksearch data list")


@look_app.command()
def show(
    network: NetworkText,
    dataset: Dataset = "cifar10",
    widths: Widths = None,
    input: Input = None,
    classes: Classes = None,
    as_written: AsWritten = False,
    fill: Fill = None,
    space: SpaceFiles = None,
    svg: Svg = None,
    as_json: Json = False,
) -> None:
    """Print the data flow of a network, like the paper's Table 1.

    Example: blocksearch show effnet --dataset cifar10
    """
    from blocksearch.arch.cost import cost
    from blocksearch.arch.summary import layer_rows
    from blocksearch.report.tables import layers_report
    from blocksearch.runs.plan import loaded, network_from, task_from

    check_files(svg=svg)
    task = task_from(dataset, widths, input, classes)
    options = loaded(space or ()).options
    found = network_from(
        network, task, dataset=dataset, as_written=as_written, options=options, fill=fill
    )
    report = layers_report(network, found, layer_rows(found), cost(found.layers))
    answer(report, svg, as_json=as_json)


@look_app.command("cost")
def cost_command(
    network: NetworkText,
    dataset: Dataset = "cifar10",
    widths: Widths = None,
    input: Input = None,
    classes: Classes = None,
    as_written: AsWritten = False,
    fill: Fill = None,
    space: SpaceFiles = None,
    as_json: Json = False,
) -> None:
    """Print what a network costs, exactly and before it is built.

    Example: blocksearch cost "kernel=1x3+3x1 residual=add" --widths 24,40,72 --input 3x48x64
    --classes 7
    """
    from blocksearch.arch.cost import cost
    from blocksearch.report.tables import cost_report
    from blocksearch.runs.plan import loaded, network_from, task_from

    task = task_from(dataset, widths, input, classes)
    options = loaded(space or ()).options
    found = network_from(
        network, task, dataset=dataset, as_written=as_written, options=options, fill=fill
    )
    answer(cost_report(network, found, cost(found.layers)), as_json=as_json)


@look_app.command("space")
def space_command(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE", help="Python file with a grammar, or a shipped one such as section3."
        ),
    ],
    budget: Annotated[
        list[str] | None,
        typer.Option(help="Keep networks within it, such as 'flops <= 400k'; several."),
    ] = None,
    sample: Annotated[int | None, typer.Option(help="Print so many random networks.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the sample.")] = 0,
    enumerate: Annotated[
        bool, typer.Option("--enumerate", help="Print every network, in order.")
    ] = False,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Print networks as CSV, all unless --sample is given.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show a whole space before anything is trained: its size, its costs, and where the named
    networks lie.

    Example: blocksearch space section3 --budget "flops <= 400k" --sample 3
    """
    from blocksearch.arch.constraints import read_budget
    from blocksearch.report.pages import stream_csv
    from blocksearch.report.progress import slow
    from blocksearch.report.tables import space_report
    from blocksearch.space.load import read_space
    from blocksearch.space.statistics import listed, survey

    if as_csv and as_json:
        raise ConfigError("--csv and --json are two forms of one answer: choose one")
    if enumerate and sample is not None:
        raise ConfigError("--enumerate prints every network, --sample some: choose one")
    read = read_space(file)
    grammar = read.space().where(*(read_budget(text) for text in budget or ()))
    everything = enumerate or (as_csv and sample is None)
    with slow(f"looking at {file}", quiet=quiet) as progress:
        networks = listed(grammar, sample, seed, everything=everything, streamed=as_csv)
        found = None if as_csv else survey(grammar, progress)
    if found is None:
        stream_csv(networks)
    else:
        answer(space_report(file, read.question, grammar, found, networks), as_json=as_json)


@data_app.command("list")
def data_list(data_root: DataRoot = None, as_json: Json = False) -> None:
    """List the data sets and whether their files are there.

    Example: blocksearch data list --data-root ~/data
    """
    from blocksearch.data.download import listing
    from blocksearch.report.tables import datasets_report

    answer(datasets_report(listing(data_root)), as_json=as_json)


@data_app.command("check")
def data_check(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="Data sets; default: all that are there."),
    ] = None,
    data_root: DataRoot = None,
    as_json: Json = False,
) -> None:
    """Read data sets whole and report images, classes and digests.

    Example: blocksearch data check cifar10
    """
    from blocksearch.data.download import check, listing
    from blocksearch.report.tables import checked_report

    chosen = names or [str(row["name"]) for row in listing(data_root) if row["here"]]
    rows = [row for name in chosen for row in check(name, data_root)]
    answer(checked_report(rows), as_json=as_json)
    if problems := [str(row["problem"]) for row in rows if row["problem"]]:
        raise DataError(problems[0])


@data_app.command("fetch")
def data_fetch(
    name: Annotated[str, typer.Argument(help="Data set.")],
    data_root: DataRoot = None,
    quiet: Quiet = False,
) -> None:
    """Download a data set's published archives, check them, and extract them.

    Example: blocksearch data fetch gtsrb --data-root ~/data
    """
    from blocksearch.data.download import fetch

    print(fetch(name, data_root, progress=not quiet and sys.stderr.isatty()))
