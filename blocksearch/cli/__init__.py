"""Parses the command line, calls the face and prints: answers to stdout, the rest to stderr.

Nothing heavy is imported before a command needs it, so that `--help` is instant.
"""

import errno
import io
import logging
import os
import re
import shlex
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Annotated

import typer
from threadpoolctl import threadpool_limits

from blocksearch.cli.commands import Commands, Few
from blocksearch.errors import BlocksearchError, one_line

LEAST_MEMORY = 500_000_000  # bytes of address space, without which a library hangs as it is loaded
# of a library that finds no memory as it is loaded: an ImportError has its words alone
_NO_ROOM = re.compile("failed to map segment|cannot allocate memory", re.IGNORECASE)
_NUMBERS = re.compile(r"extra argument\S* \([0-9 ]+\)")
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PATIENCE = 5  # seconds after which a second Ctrl-C ends a command that does not end
START = """Which convolution block gives the most accuracy per operation, and is that true or noise?

  blocksearch cost effnet --dataset gtsrb                    what a network costs
  blocksearch ablate --factor residual --dataset digits      what a factor of a block does
  blocksearch search tiny --dataset digits --trials 30       the best networks of a space
  blocksearch pareto results/digits.db                       what a search has found
  blocksearch list                                           data sets, networks, spaces, recipes

blocksearch --help lists all commands; each has --help with an example."""

app = typer.Typer(
    cls=Commands,
    help="Search, price and ablate convolution blocks.\n\n"
    "Example: blocksearch ablate --factor residual --dataset digits",
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command line; a user's mistake is one line and exit code 2, an interruption 130, a
    reader who had enough 141.
    """
    if not _has_streams() or not _has_memory():
        sys.exit(2)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # a sign that a terminal does not know is no reason to lose the answer
            stream.reconfigure(errors="replace")
    with _ending_as_after_ctrl_c(), warnings.catch_warnings():
        warnings.showwarning = _warn  # type: ignore[assignment]
        code = _run()
    sys.exit(code)


def _has_streams() -> bool:
    """Whether an answer can be told; what whoever started the command has closed goes nowhere."""
    told = sys.stdout is not None
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
            setattr(sys, name, os.fdopen(number, mode, closefd=False))
    if not told:
        _complain("the answer cannot be written: standard output is closed")
    return told


def _has_memory() -> bool:
    """Whether a process may have what libraries need as they are loaded: with less, some hang."""
    import resource  # of POSIX

    most, _ = resource.getrlimit(resource.RLIMIT_AS)
    if enough := most == resource.RLIM_INFINITY or most >= LEAST_MEMORY:
        return enough
    _complain(
        f"a process may have {most:,} bytes here (ulimit -v), and needs {LEAST_MEMORY:,} at least"
    )
    return False


def _run() -> int:
    try:
        # small matrices beside busy workers: more threads wait for each other
        with threadpool_limits(1, user_api="blas"):
            code = app(standalone_mode=False)
        sys.stdout.flush()
    except typer.TyperException as error:
        called = f"(in: blocksearch {shlex.join(sys.argv[1:])})"
        return _complain(f"{error.format_message()}{_lacking(error)} {called}")
    except BlocksearchError as error:
        return _complain(str(error))
    except (typer.Abort, KeyboardInterrupt):
        return 130
    except BrokenPipeError:
        _leave_stdout()
        return 141
    except OSError as error:
        if error.filename is not None:
            return _complain(f"{error.filename}: {error.strerror or error}")
        if error.errno in (errno.EMFILE, errno.ENFILE):
            return _complain(f"no more files may be opened here (ulimit -n): {error.strerror}")
        _leave_stdout()
        return _complain(f"the answer cannot be written: {error.strerror or error}")
    except (MemoryError, ImportError) as error:
        if isinstance(error, ImportError) and not _NO_ROOM.search(str(error)):
            raise
        return _complain(f"there is not enough memory: {str(error) or 'none is left'}")
    return code if isinstance(code, int) else 0


def _lacking(error: Exception) -> str:
    """Return what the help says of an option or argument that is missing, which commands are in a
    group, or how numbers are written, after a blank.
    """
    param = getattr(error, "param", None)
    said = getattr(param, "help", None) if type(error).__name__ == "MissingParameter" else None
    group = getattr(getattr(error, "ctx", None), "command", None)
    if isinstance(group, Few) and " command" in str(error):
        said = f"Known: {', '.join(group.commands)}.{group.elsewhere}"
    if _NUMBERS.search(str(error)):
        said = "(several numbers are one word, such as 8,16,32)"
    return f" {said}" if said else ""


def _leave_stdout() -> None:
    """Let what is still to be flushed go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def _ending_as_after_ctrl_c() -> Iterator[None]:
    """Let a command that is asked to end (SIGTERM, SIGHUP) end as after Ctrl-C.

    It is heard once, unless ending takes long: a second one would disturb what is being put away.

    What whoever started the command wants ignored stays so (`nohup`, say).
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    first: list[float] = []

    def end(number: int, _: object) -> None:
        if not first:
            first.append(time.monotonic())
            logging.disable()  # what a library says of a connection that is interrupted
            if number == signal.SIGHUP:
                with suppress(OSError):
                    print("blocksearch: the terminal is gone: it ends here", file=sys.stderr)
            raise KeyboardInterrupt
        if time.monotonic() - first[0] > PATIENCE:
            os._exit(130)

    def unraisable(left: "sys.UnraisableHookArgs") -> None:
        """Ask again where Python cannot raise, as while it removes an object."""
        if first and issubclass(left.exc_type, KeyboardInterrupt):
            first.clear()
            main = threading.main_thread().ident
            threading.Timer(0.01, signal.pthread_kill, [main, signal.SIGINT]).start()
        else:
            sys.__unraisablehook__(left)

    before = {each: signal.getsignal(each) for each in ENDINGS}
    heard = [each for each in ENDINGS if before[each] != signal.SIG_IGN]
    for each in heard:
        signal.signal(each, end)
    sys.unraisablehook = unraisable
    try:
        yield
    except Exception as error:
        if not first or isinstance(error, BlocksearchError):
            raise
        # a library that is ended with us, such as a loader of images, calls that a failure
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    finally:
        sys.unraisablehook = sys.__unraisablehook__
        logging.disable(logging.NOTSET)
        for each in heard:  # what ends needs no second word
            signal.signal(each, signal.SIG_IGN if first else before[each])


def _warn(message: Warning | str, kind: type[Warning], *_: object) -> None:
    """Say a warning of ours in one line; what libraries warn of is not a user's to mend."""
    if issubclass(kind, UserWarning):
        print(one_line(f"blocksearch: {message}"), file=sys.stderr)


def _complain(message: str) -> int:
    with suppress(OSError):  # a full device: the code says it still
        print(one_line(f"blocksearch: {message}"), file=sys.stderr, flush=True)
    return 2


@app.callback(invoke_without_command=True)
def _start(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", metavar="", help="Print the version.")
    ] = False,
) -> None:
    if version:
        import blocksearch

        print(blocksearch.__version__)
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(START)
