"""Inspects networks, spaces and data; trains nothing."""

import sys
from dataclasses import replace as with_fields
from pathlib import Path
from typing import Annotated

import typer

from blocksearch.cli.commands import Few
from blocksearch.cli.options import (
    Given,
    NetworkOptions,
    NetworkText,
    Options,
    Plugins,
    Shown,
    Space,
    Spoken,
    completed,
    with_options,
)
from blocksearch.data import DATASETS, DataConfig
from blocksearch.errors import ConfigError, DataError
from blocksearch.runs.config import COMPARE_SEEDS

app = typer.Typer(rich_markup_mode="markdown")
data_app = typer.Typer(
    cls=Few,
    help="List, check and fetch data sets.\n\nExample: blocksearch data list",
    rich_markup_mode="markdown",
)
app.add_typer(data_app, name="data")
Form = Annotated[Given, Options(config=NetworkOptions, panel="Network")]
Pictures = Annotated[Given, Options(config=DataConfig, panel="Images", without=("dataset",))]
Shapes = Annotated[
    Given, Options(config=DataConfig, panel="Images", without=("dataset", "group_by"))
]
Ahead = Annotated[str, typer.Option(help="Seeds that comparisons will have.")]
DataRoot = Annotated[
    Path | None,
    typer.Option(help="Folder of the data; else BLOCKSEARCH_DATA, else a user cache folder."),
]


@app.command()
@with_options
def show(network: NetworkText, form: Form, pictures: Shapes, output: Shown) -> None:
    """Print the layers of a network, like the paper's Table 1.

    Example: blocksearch show effnet --dataset cifar10
    """
    from blocksearch.api.networks import layers

    output.show(layers(network, form.pop("dataset", None), **form, **pictures))


@app.command()
@with_options
def cost(network: NetworkText, form: Form, pictures: Shapes, output: Shown) -> None:
    """Print what a network costs, before it is built.

    Example: blocksearch cost "kernel=1x3+3x1 residual=add" --widths 24,40,72 --input 3x48x64
    --classes 7
    """
    from blocksearch.api.networks import price

    output.show(price(network, form.pop("dataset", None), **form, **pictures))


@app.command()
@with_options
def export(
    network: NetworkText,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Where to: .pt2 (torch.export), .safetensors.")
    ],
    weights: Annotated[Path, typer.Option(help="Trained weights, a file of --keep-weights.")],
    form: Form,
    pictures: Shapes,
    output: Shown,
) -> None:
    """Write a network with trained weights to a file.

    Its suffix says the format; a --plugin may register others.

    Example: blocksearch export effnet effnet.pt2 --dataset digits --weights a.safetensors
    """
    from blocksearch.api.networks import export as call

    task = form.pop("dataset", None)
    output.show(call(network, file, weights=weights, task=task, **form, **pictures))


@app.command()
@with_options
def replace(
    model: Annotated[
        str, typer.Argument(help="Your model, FILE:NAME: a module, or what makes it.")
    ],
    form: Plugins,
    output: Shown,
    block: Annotated[
        str, typer.Option(help="Block's text, or a named network whose block is meant.")
    ] = "effnet",
    input: Annotated[str, typer.Option(help="Channels x height x width.")] = "3x32x32",
    where: Annotated[
        list[str] | None,
        typer.Option(help="Modules, such as 'layer2.*'; several. Default: all but the first."),
    ] = None,
) -> None:
    """Put blocks in the place of your own model's convolutions.

    It is said what that saves.

    The file is run. From Python, `blocksearch.replace` returns the new model as well.

    Example: blocksearch replace my_model.py:make --block effnet --input 3x96x96
    """
    from blocksearch.api.models import model_from
    from blocksearch.api.models import replace as call
    from blocksearch.arch.shape import read_shape

    if (shape := read_shape(input)) is None:
        raise ConfigError(f"input must be channels x height x width such as 3x32x32, not {input!r}")
    size = (shape.channels, shape.height, shape.width)
    output.show(call(model_from(model), block, size, where=where, **form)[1])


@app.command()
@with_options
def space(
    space: Space,
    output: Spoken,
    budget: Annotated[
        list[str] | None,
        typer.Option(help="Keep networks within it, such as 'flops <= 400k'; several."),
    ] = None,
    sample: Annotated[int | None, typer.Option(help="Also list this many random networks.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the sample.")] = 0,
    enumerate: Annotated[
        bool, typer.Option("--enumerate", metavar="", help="Also list every network, in order.")
    ] = False,
) -> None:
    """Show the size and costs of a space, before any training.

    `--save networks.csv` writes the networks of --sample or --enumerate alone, however many.

    Example: blocksearch space section3 --budget "flops <= 400k" --sample 3
    """
    from blocksearch.api.networks import survey, write_networks
    from blocksearch.report.progress import slow

    if enumerate and sample is not None:
        raise ConfigError("--enumerate lists every network, --sample some: choose one")
    within: Given = {"budgets": budget or (), "sample": sample, "seed": seed}
    asked = enumerate or sample is not None
    tables = [file for file in output.save if asked and file.suffix.lower() == ".csv"]
    with slow(f"looking at {space}", quiet=output.quiet) as progress:
        for file in tables:
            write_networks(space, file, **within)
        rest = with_fields(output, save=[file for file in output.save if file not in tables])
        if tables and not (rest.save or rest.json):
            within, enumerate = {**within, "sample": None}, False
        answer = survey(space, enumerate=enumerate, progress=progress, **within)
    rest.show(answer)


@app.command("list")
@with_options
def list_command(output: Shown, data_root: DataRoot = None) -> None:
    """List data sets, networks, factors, spaces and recipes.

    Example: blocksearch list
    """
    from blocksearch.api.catalog import catalog

    output.show(catalog(data_root))


@data_app.command("list")
@with_options
def data_list(output: Shown, data_root: DataRoot = None) -> None:
    """List data sets, and whether their files are there.

    Example: blocksearch data list --data-root ~/data
    """
    from blocksearch.api.catalog import datasets

    output.show(datasets(data_root))


@data_app.command("check")
@with_options
def data_check(
    output: Shown,
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="Data sets; default: all that are there."),
    ] = None,
    data_root: DataRoot = None,
) -> None:
    """Read data sets whole, and report what is in them.

    Example: blocksearch data check cifar10
    """
    from blocksearch.api.catalog import check_dataset

    answer = check_dataset(names, data_root)
    output.show(answer)
    if problems := [str(row["problem"]) for row in answer.found if row["problem"]]:
        raise DataError(problems[0])


@data_app.command("describe")
@with_options
def data_describe(
    dataset: Annotated[
        str,
        typer.Argument(metavar="IMAGES", help="A folder, a .csv listing, an .npz file, or a name."),
    ],
    pictures: Pictures,
    output: Spoken,
    seeds: Ahead = str(COMPARE_SEEDS),
    sheet: Annotated[
        Path | None, typer.Option(help="Also write a contact sheet, a .png file.")
    ] = None,
    data_root: DataRoot = None,
) -> None:
    """Say what images are, before anything is trained.

    Classes, sizes, copies, imbalance, what a constant guess scores, and the smallest difference
    that the seeds decide.

    Example: blocksearch data describe photos/ --sheet photos.png
    """
    from blocksearch.api.catalog import describe
    from blocksearch.report.progress import slow

    own: Given = {"seeds": seeds, "sheet": sheet, "data_root": data_root, **pictures}
    with slow(f"looking at {dataset}", quiet=output.quiet) as progress:
        answer = describe(dataset, progress=progress, **own)
    output.show(answer)


@data_app.command("fetch")
@with_options
def data_fetch(
    name: Annotated[
        str,
        typer.Argument(
            help=f"{', '.join(DATASETS)}, of which some have nothing to download.",
            autocompletion=completed("dataset"),
        ),
    ],
    output: Spoken,
    data_root: DataRoot = None,
) -> None:
    """Download a data set's archives, check and unpack them.

    Example: blocksearch data fetch gtsrb --data-root ~/data
    """
    from blocksearch.api.catalog import fetch_dataset

    progress = not output.quiet and sys.stderr.isatty()
    output.show(fetch_dataset(name, data_root, progress=progress))
