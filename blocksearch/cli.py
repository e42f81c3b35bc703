"""The command line: parse, call one function, print. Answers go to stdout, everything else to stderr.

Nothing heavy is imported before a command needs it, so that `--help` is instant.
"""

import json
import shlex
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from blocksearch.errors import BlocksearchError, DataError

if TYPE_CHECKING:
    from blocksearch.experiments.plan import Request

app = typer.Typer(
    help="Search, price and ablate convolution blocks.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="List, check and fetch data sets.")
reproduce_app = typer.Typer(help="Reproduce the EffNet paper's tables.")
app.add_typer(data_app, name="data")
app.add_typer(reproduce_app, name="reproduce")

NetworkText = Annotated[str, typer.Argument(metavar="NETWORK", help="A named network, one with changes, or a block's text.")]
Dataset = Annotated[str, typer.Option("--dataset", help="Data set: cifar10, svhn, gtsrb or digits.")]
Widths = Annotated[str | None, typer.Option(help="Stage widths such as 24,40,72, instead of the data set's.")]
Input = Annotated[str | None, typer.Option("--input", help="Input shape such as 3x48x64, instead of the data set's.")]
Classes = Annotated[int | None, typer.Option(help="Number of classes, instead of the data set's.")]
SpaceFiles = Annotated[list[str] | None, typer.Option("--space", help="Python file with options or a grammar, or a shipped one.")]
Fill = Annotated[str | None, typer.Option(help="Rescale the widths as far as a budget allows, such as 'flops <= 12e6'.")]
AsWritten = Annotated[bool, typer.Option("--as-written", help="effnet_revised as Section 6.2 is written, not as its table.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Epochs = Annotated[int | None, typer.Option(help="Epochs, the schedule's horizon. Default: the data set's.")]
ImageCount = Annotated[int | None, typer.Option("--images", help="Use only so many training images (validation capped alike).")]
Seeds = Annotated[str, typer.Option(help="A count (5) or a list (0,3,7).")]
RecipeName = Annotated[str, typer.Option("--recipe", help="Recipe: fast (decaying schedule) or paper (Section 5).")]
Batch = Annotated[int | None, typer.Option(help="Batch size, instead of the recipe's.")]
Smoothing = Annotated[float | None, typer.Option("--label-smoothing", help="Label smoothing, instead of the recipe's.")]
DropoutRate = Annotated[float | None, typer.Option("--dropout", help="Dropout before the classifier, instead of the network's.")]
Split = Annotated[int, typer.Option(help="Number of the validation split; 1 is a second one.")]
DataRoot = Annotated[Path | None, typer.Option(help="Folder of the data; else BLOCKSEARCH_DATA, else a user cache folder.")]
LedgerPath = Annotated[str | None, typer.Option("--ledger", help="Ledger file or database URL. Default: studies/DATASET.db.")]
WorkerCount = Annotated[int | None, typer.Option("--workers", help="Worker processes. Default: one per core.")]
Svg = Annotated[Path | None, typer.Option(help="Also save the answer as a picture.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No plan and no progress.")]


def main() -> None:
    """Run the command line; a user's mistake is one line and exit code 2, an interruption 130."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # asked to end, a command ends as after Ctrl-C
    try:
        code = app(standalone_mode=False)
    except typer.TyperException as error:
        code = _complain(f"{error.format_message()} (in: blocksearch {shlex.join(sys.argv[1:])})")
    except BlocksearchError as error:
        code = _complain(str(error))
    except typer.Abort:
        code = 130
    sys.exit(code if isinstance(code, int) else 0)


def _complain(message: str) -> int:
    print(f"blocksearch: {message}", file=sys.stderr)
    return 2


@app.callback(invoke_without_command=True)
def _options(
    context: typer.Context, version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False
) -> None:
    if version:
        import blocksearch

        print(blocksearch.__version__)
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command()
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
    from blocksearch.experiments.plan import loaded, network_from, setting_from
    from blocksearch.space.cost import cost
    from blocksearch.views.flow import as_rows, data_flow
    from blocksearch.views.tables import answer, flow_table

    setting = setting_from(dataset, widths, input, classes)
    options = loaded(space or ()).options
    found = network_from(network, setting, dataset=dataset, as_written=as_written, options=options, fill=fill)
    rows = data_flow(found)
    _print_json(as_rows(rows)) if as_json else answer(svg, flow_table(found, network, rows, cost(found.layers)))


@app.command("cost")
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

    Example: blocksearch cost "kernel=1x3+3x1 residual=add" --widths 24,40,72 --input 3x48x64 --classes 7
    """
    from blocksearch.experiments.plan import loaded, network_from, setting_from
    from blocksearch.space.cost import cost
    from blocksearch.views.tables import console, cost_row, cost_table

    setting = setting_from(dataset, widths, input, classes)
    options = loaded(space or ()).options
    found = network_from(network, setting, dataset=dataset, as_written=as_written, options=options, fill=fill)
    price = cost(found.layers)
    _print_json(cost_row(network, found, price)) if as_json else console().print(cost_table(found, network, price))


@app.command("space")
def space_command(
    file: Annotated[str, typer.Argument(metavar="FILE", help="Python file with a grammar, or a shipped one such as section3.")],
    budget: Annotated[list[str] | None, typer.Option(help="Keep networks within it, such as 'flops <= 400k'; several.")] = None,
    sample: Annotated[int | None, typer.Option(help="Print so many random networks.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the sample.")] = 0,
    enumerate: Annotated[bool, typer.Option("--enumerate", help="Print every network, in order.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print networks as CSV, all unless --sample is given.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show a whole space before anything is trained: its size, its costs, and where the named networks lie.

    Example: blocksearch space section3 --budget "flops <= 400k" --sample 3
    """
    from blocksearch.space.load import load_grammar
    from blocksearch.space.rules import read_budget
    from blocksearch.space.survey import as_data, listed, survey
    from blocksearch.views.progress import slow
    from blocksearch.views.space import print_csv, print_space, print_table

    grammar, question = load_grammar(file)
    grammar = grammar.where(*(read_budget(text) for text in budget or ()))
    everything = enumerate or (as_csv and sample is None)
    with slow(f"looking at {file}", quiet=quiet) as progress:
        networks = listed(grammar, sample, seed, everything=everything)
        found = None if as_csv else survey(grammar, progress)
    if found is None:
        print_csv(networks)
    elif as_json:
        data = {"space": file, "question": question, "grammar": grammar.data(), "digest": grammar.digest, **as_data(found)}
        _print_json(data | {"networks": list(networks)})
    else:
        print_space(file, question, grammar, found)
        print_table(networks)


@data_app.command("list")
def data_list(data_root: DataRoot = None, as_json: Json = False) -> None:
    """List the data sets and whether their files are there.

    Example: blocksearch data list --data-root ~/data
    """
    from blocksearch.training.data.fetch import listing
    from blocksearch.views.tables import console, rows_table

    rows = listing(data_root)
    _print_json(rows) if as_json else console().print(rows_table("data sets", rows))


@data_app.command("check")
def data_check(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Data sets; default: all that are there.")
    ] = None,
    data_root: DataRoot = None,
    as_json: Json = False,
) -> None:
    """Read data sets whole and report images, classes and digests.

    Example: blocksearch data check cifar10
    """
    from blocksearch.training.data.fetch import check, listing
    from blocksearch.views.tables import console, rows_table

    chosen = names or [str(row["name"]) for row in listing(data_root) if not row["missing"]]
    rows = [row for name in chosen for row in check(name, data_root)]
    _print_json(rows) if as_json else console().print(rows_table("data sets", rows))
    if problems := [str(row["problem"]) for row in rows if row["problem"]]:
        raise DataError(problems[0])


@data_app.command("fetch")
def data_fetch(name: Annotated[str, typer.Argument(help="Data set.")], data_root: DataRoot = None, quiet: Quiet = False) -> None:
    """Download a data set's published archives, check them, and extract them.

    Example: blocksearch data fetch gtsrb --data-root ~/data
    """
    from blocksearch.training.data.fetch import fetch

    print(fetch(name, data_root, progress=not quiet and sys.stderr.isatty()))


@app.command()
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
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train one network on the training images and judge it on the validation split.

    Example: blocksearch train effnet --dataset cifar10 --epochs 2
    """
    from blocksearch.experiments.plan import loaded, network_from, read_seeds, setting_from
    from blocksearch.experiments.train import train_network
    from blocksearch.views.progress import watch
    from blocksearch.views.tables import console, rows_table

    request = _request(dataset, epochs, images, recipe, batch, label_smoothing, dropout, split, data_root, ledger, workers)
    found = network_from(network, setting_from(dataset, widths), dataset=dataset, options=loaded(space or ()).options)
    title, rows = train_network(network, found, read_seeds(seeds), request, watch(quiet=quiet))
    _print_json(rows) if as_json else console().print(rows_table(title, rows))


@app.command()
def ablate(
    factor: Annotated[list[str], typer.Option(help="Factor to vary, such as residual; several may be given, or all.")],
    block: Annotated[str, typer.Option(help="Reference: a named network, one with changes, or a block's text.")] = "effnet",
    values: Annotated[str | None, typer.Option(help="Only these values of the factor, such as none,add.")] = None,
    dataset: Dataset = "digits",
    widths: Widths = None,
    space: SpaceFiles = None,
    epochs: Epochs = None,
    images: ImageCount = None,
    seeds: Seeds = "5",
    recipe: RecipeName = "fast",
    batch: Batch = None,
    label_smoothing: Smoothing = None,
    dropout: DropoutRate = None,
    split: Split = 0,
    data_root: DataRoot = None,
    ledger: LedgerPath = None,
    workers: WorkerCount = None,
    svg: Svg = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Vary one factor of a block, everything else and the seeds paired: what does it do, and is that true or noise?

    Example: blocksearch ablate --factor residual --dataset cifar10 --epochs 5 --images 10000
    """
    from blocksearch.experiments.ablate import ablate as run_ablation
    from blocksearch.experiments.ablate import as_rows, read_values
    from blocksearch.experiments.plan import loaded, network_from, read_seeds, setting_from
    from blocksearch.views.progress import watch
    from blocksearch.views.tables import ablation_table, answer

    request = _request(dataset, epochs, images, recipe, batch, label_smoothing, dropout, split, data_root, ledger, workers)
    defined = loaded(space or ())
    reference = network_from(block, setting_from(dataset, widths), dataset=dataset, options=defined.options)
    question = read_values(factor, values, defined)
    title, results = run_ablation(block, reference, question, read_seeds(seeds), request, watch(quiet=quiet))
    _print_json(as_rows(results)) if as_json else answer(svg, ablation_table(title, results))


@reproduce_app.command("flops")
def reproduce_flops(as_json: Json = False) -> None:
    """Count every FLOPs cell of Tables 2-7 again, beside the published figure.

    Example: blocksearch reproduce flops
    """
    from blocksearch.experiments.published import as_rows, flops_cells
    from blocksearch.views.tables import console, flops_summary, flops_table

    cells = flops_cells()
    _print_json(as_rows(cells)) if as_json else console().print(flops_table(cells), flops_summary(cells))


@app.command()
def merge(
    into: Annotated[str, typer.Argument(metavar="A", help="Ledger that receives.")],
    other: Annotated[str, typer.Argument(metavar="B", help="Ledger that is read.")],
    as_json: Json = False,
) -> None:
    """Copy the runs of ledger B that ledger A does not have; report the trainings on which they disagree.

    Example: blocksearch merge studies/cifar10.db other-machine.db
    """
    from blocksearch.experiments.merge import merge_ledgers

    answer = merge_ledgers(into, other)
    _print_json(answer) if as_json else print(answer["summary"])


def _request(
    dataset: str,
    epochs: int | None,
    images: int | None,
    recipe: str,
    batch: int | None,
    label_smoothing: float | None,
    dropout: float | None,
    split: int,
    data_root: Path | None,
    ledger: str | None,
    workers: int | None,
) -> "Request":
    from blocksearch.experiments.plan import Request
    from blocksearch.training.data import get
    from blocksearch.training.protocol import Protocol
    from blocksearch.training.recipe import recipe_named

    epochs = get(dataset).epochs if epochs is None else epochs
    changes = {"batch": batch, "label_smoothing": label_smoothing, "dropout": dropout}
    return Request(
        Protocol(dataset, split, images),
        recipe_named(recipe, epochs, changes),
        data_root,
        ledger or f"studies/{dataset}.db",
        workers,
    )


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=2, allow_nan=False))
