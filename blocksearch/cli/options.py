"""Makes options of commands from the fields of configuration classes, and prints answers.

A command takes configurations as parameters. `with_options` turns each into options, one for each
field, and hands the command a dictionary of those that were given (an `Output` itself):

    Question = Annotated[Given, Options(AblationConfig, "Question")]

    @app.command()
    @with_options
    def ablate(block: BlockText, question: Question, output: Planned) -> None: ...
"""

import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin, get_type_hints

import typer

from blocksearch.cli.apart import check_apart
from blocksearch.data.datasets import PRICED
from blocksearch.errors import ConfigError
from blocksearch.runs.plan import PLUGINS

if TYPE_CHECKING:
    from blocksearch.api.answer import Answer

WHERE = ("data_root", "workers", "device")  # fields that say on what trainings run, not of what
Given = dict[str, Any]  # options that a user gave, by the names of a configuration's fields
PLAIN = (bool, int, float, str, Path)  # types that a word of a command becomes; others are texts
OFTEN = {"factors": "--factor", "budgets": "--budget"}  # fields that are given one by one
ADVICE = "; fewer or shorter with --epochs, --max-images, --seeds or --widths"


@dataclass(frozen=True, kw_only=True)
class Options:
    """Say which fields of a configuration are options, under which title `--help` lists them, and
    which have another default in a command.
    """

    config: Any
    panel: str
    only: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for each field of its parameters that are configurations."""
    own, made = dict[str, tuple[Any, list[str]]](), list[inspect.Parameter]()
    for name, parameter in inspect.signature(command, eval_str=True).parameters.items():
        _, *rest = get_args(parameter.annotation) or (None,)
        if rest and isinstance(options := rest[0], Options):
            chosen = _chosen(options)
            own[name] = options.config, [each.name for each in chosen]
            hints = get_type_hints(options.config)
            made += [_option(each, hints[each.name], options) for each in chosen]
        else:
            made.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))

    @wraps(command)
    def called(**given: Any) -> None:
        check_apart(given)
        for name, (config, keys) in own.items():
            found = {key: given.pop(key) for key in keys}
            known = {key: value for key, value in found.items() if value not in (None, [])}
            given[name] = Output(**known) if config is Output else known
        command(**given)

    called.__signature__ = inspect.Signature(made)  # type: ignore[attr-defined]
    called.__annotations__ = {}
    return called


def _chosen(options: Options) -> list["Field[Any]"]:
    return [
        each
        for each in fields(options.config)
        if each.name not in options.without and (not options.only or each.name in options.only)
    ]


def _option(own: "Field[Any]", hint: Any, options: Options) -> inspect.Parameter:
    """Make the parameter that typer reads as an option."""
    name = OFTEN.get(own.name, f"--{own.name.replace('_', '-')}")
    kind, default = _kind(hint), options.defaults.get(own.name, own.default)
    several = get_origin(kind) is list
    if default is MISSING:
        default = inspect.Parameter.empty
    elif several:
        default = None
    elif isinstance(default, tuple):
        default = ",".join(map(str, default)) or None
    elif kind is str and default is not None:
        default = str(default)
    optional = kind if kind is bool or isinstance(default, str) else kind | None
    about = typer.Option(
        name,
        help=own.metadata["help"],
        rich_help_panel=options.panel,
        metavar="" if kind is bool else own.metadata.get("metavar"),  # a flag takes no word
        autocompletion=completed(own.name),
    )
    return inspect.Parameter(
        own.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[optional, about],
    )


def _kind(hint: Any) -> Any:
    """Return what typer makes of a field: plain types and lists of them, else a text."""
    if get_origin(hint) in (Union, types.UnionType):
        rest = [each for each in get_args(hint) if each is not type(None)]
        hint = rest[0] if len(rest) == 1 else str
    if get_origin(hint) is Sequence:
        (of,) = get_args(hint)
        return types.GenericAlias(list, of) if of in (str, Path) else str
    return hint if hint in PLAIN else str


# where names are that a shell completes; a module is loaded when they are asked for
_KNOWN = {
    "dataset": "data:DATASETS",
    "networks": "arch.zoo:NAMED",
    "spaces": "space.load:shipped_spaces",
    "factors": "arch.factors:FACTORS",
    "recipe": "training.recipe:RECIPES",
}


def names_of(kind: str) -> list[str]:
    """Return the known names of a kind, such as `networks`."""
    module, _, name = _KNOWN[kind].partition(":")
    found = getattr(import_module(f"blocksearch.{module}"), name)
    first = ["all", "recipe"] if kind == "factors" else []
    return [*first, *(found() if callable(found) else found)]


def completed(kind: str) -> Callable[[str], list[str]] | None:
    """Return what completes a name of a kind, None where none are known."""

    def complete(incomplete: str) -> list[str]:
        return [name for name in names_of(kind) if name.startswith(incomplete)]

    return complete if kind in _KNOWN else None


@dataclass(frozen=True, kw_only=True)
class NetworkOptions:
    """Which network: beside its text, the images it is for, and how wide it is."""

    dataset: str | None = field(
        default=None,
        metadata={
            "help": "Data set: a name (`blocksearch list`), or a path to your images. Default: "
            f"{PRICED}."
        },
    )
    widths: str | None = field(
        default=None, metadata={"help": "Stage widths such as 24,40,72, instead of the data set's."}
    )
    input: str | None = field(
        default=None,
        metadata={
            "help": "Input, channels x height x width such as 3x48x64, instead of the data set's."
        },
    )
    classes: int | None = field(
        default=None, metadata={"help": "Number of classes, instead of the data set's."}
    )
    plugins: Sequence[str] = field(default=(), metadata=PLUGINS)
    skeleton: str | None = field(
        default=None,
        metadata={
            "help": "Your model around the block: a function from a block to a torch.nn.Module.",
            "metavar": "FILE:NAME",
        },
    )
    as_written: bool = field(
        default=False,
        metadata={"help": "effnet_revised as Section 6.2 is written, not as its table."},
    )
    scale_to: str | None = field(
        default=None,
        metadata={"help": "Rescale the widths as far as a budget allows: 'flops <= 12e6'."},
    )


@dataclass(frozen=True, kw_only=True)
class Output:
    """Where an answer goes."""

    save: Sequence[Path] = field(
        default=(),
        metadata={
            "help": "Also write a file: .html, .md, .csv, .json, .svg, .png, .pdf or .txt; several."
        },
    )
    wide: bool = field(default=False, metadata={"help": "Print all columns, however wide."})
    json: bool = field(default=False, metadata={"help": "Print JSON."})
    quiet: bool = field(default=False, metadata={"help": "No plan and no progress."})
    dry_run: bool = field(
        default=False,
        metadata={"help": "Say what would be trained, and for how long; train nothing."},
    )

    def __post_init__(self) -> None:
        from blocksearch.report.writers import writer_for

        for file in self.save:
            writer_for(file)
            if self.dry_run:
                raise ConfigError(f"--dry-run has no answer to write to {file}")

    def show(self, answer: "Answer[Any]") -> None:
        """Save an answer to files, then print it: whoever reads it may stop reading. Exit with 1
        where a training failed.
        """
        from blocksearch.report.console import show
        from blocksearch.report.pages import json_text

        for file in self.save:
            answer.save(file)
        if self.json:
            print(json_text(answer.report), end="")
        else:
            show(answer.report, wide=self.wide, more="--wide")
        if answer.failed:
            raise typer.Exit(1)


OFTEN |= {"plugins": "--plugin", "skeleton": "--model"}
_NETWORK = typer.Argument(
    metavar="NETWORK",
    help="A named network, one with changes, or a block's text.",
    autocompletion=completed("networks"),
)
NetworkText = Annotated[str, _NETWORK]
MaybeNetwork = Annotated[str | None, _NETWORK]
Space = Annotated[
    str,
    typer.Argument(
        metavar="SPACE",
        help="Name of a space, such as section3, or a Python file that defines one.",
        autocompletion=completed("spaces"),
    ),
]
_YOURS = ("plugins", "skeleton")
Yours = Annotated[Given, Options(config=NetworkOptions, panel="Network", only=_YOURS)]
Plugins = Annotated[Given, Options(config=NetworkOptions, panel="Network", only=_YOURS[:1])]
Form = Annotated[Given, Options(config=NetworkOptions, panel="Network", only=("widths", *_YOURS))]
METRIC = typer.Option(
    "--metric",
    help="accuracy, balanced-accuracy, macro-f1 or recall:CLASS; of stored runs, too.",
    rich_help_panel="Question",
)
Measured = Annotated[str, METRIC]
Seeds = Annotated[
    str, typer.Option(help="A count (5) or a list (0,3,7).", rich_help_panel="Training")
]
Database = Annotated[str, typer.Argument(metavar="DB", help="Database file or URL.")]
StudyName = Annotated[str | None, typer.Option("--name", help="Name of the study in the database.")]
Shown = Annotated[Output, Options(config=Output, panel="Output", without=("quiet", "dry_run"))]
Spoken = Annotated[Output, Options(config=Output, panel="Output", without=("dry_run",))]
Planned = Annotated[Output, Options(config=Output, panel="Output")]
