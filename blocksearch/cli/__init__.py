"""The command line: parse, call one function, print. Answers go to stdout, everything else to
stderr.

Nothing heavy is imported before a command needs it, so that `--help` is instant.
"""

import io
import os
import shlex
import signal
import sys
from typing import Annotated

import typer
from threadpoolctl import threadpool_limits

from blocksearch.cli.inspect import data_app, look_app
from blocksearch.cli.reproduce import reproduce_app
from blocksearch.cli.run import run_app
from blocksearch.cli.search import search_app
from blocksearch.errors import BlocksearchError
from blocksearch.report.table import clean

app = typer.Typer(
    help="Search, price and ablate convolution blocks.\n\nExample: blocksearch ablate --factor residual --dataset digits",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.add_typer(look_app)
app.add_typer(data_app, name="data")
app.add_typer(run_app)
app.add_typer(search_app)
app.add_typer(reproduce_app, name="reproduce")


def main() -> None:
    """Run the command line; a user's mistake is one line and exit code 2, an interruption 130, a
    reader who had enough 141.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(
                errors="replace"
            )  # a sign that a terminal does not know is no reason to lose the answer
    signal.signal(
        signal.SIGTERM, signal.default_int_handler
    )  # asked to end, a command ends as after Ctrl-C
    try:
        with threadpool_limits(
            1, user_api="blas"
        ):  # small matrices beside busy workers: more threads wait for each other
            code = app(standalone_mode=False)
        sys.stdout.flush()
    except typer.TyperException as error:
        code = _complain(f"{error.format_message()} (in: blocksearch {shlex.join(sys.argv[1:])})")
    except BlocksearchError as error:
        code = _complain(str(error))
    except typer.Abort:
        code = 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 141
    except OSError as error:
        if error.filename is not None:
            raise
        code = _complain(f"the answer cannot be written: {error.strerror or error}")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code if isinstance(code, int) else 0)


def _complain(message: str) -> int:
    print(f"blocksearch: {clean(message)}", file=sys.stderr)
    return 2


@app.callback(invoke_without_command=True)
def _options(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        import blocksearch

        print(blocksearch.__version__)
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())
