"""Runs the command line as often as tests ask, each time in a process of its own.

A process that has imported torch and the rest, and done nothing else, is forked for each command:
the two seconds that an import takes are paid once. What a command costs to start, and how it begins
and ends as a program, is tested with programs.
"""

import gc
import importlib
import json
import os
import subprocess
import sys
from atexit import _run_exitfuncs as exit_functions
from atexit import register
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

ROOT = Path(__file__).parent.parent
LOADED = ("torch", "optuna", "plotly.graph_objects", "pydantic", "rich.console")
LOADED += tuple(f"blocksearch.{name}" for name in ("api.study", "api.trainings", "runs.worker"))
LOADED += tuple(f"blocksearch.cli.{name}" for name in ("inspect", "run", "search", "reproduce"))
LOADED += ("blocksearch.training.kernels",)


def command(
    *arguments: object, cwd: Path, code: int | None = 0, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run `blocksearch` with these arguments in a folder, and return how it ended, with what it
    said; its exit code must be `code`, where that is not None.
    """
    words = [str(each) for each in arguments]
    with TemporaryDirectory() as place:
        said = [Path(place) / name for name in ("out", "err")]
        asked = {
            "arguments": ["blocksearch", *words],
            "cwd": str(cwd),
            "environment": {**os.environ, "COLUMNS": "200", **environment},
            "said": [str(path) for path in said],
        }
        ended = _ended(asked)
        out, err = (path.read_bytes().decode() for path in said)
    done = subprocess.CompletedProcess(words, ended, out, err)
    assert code is None or done.returncode == code, done.stderr
    return done


def _ended(asked: dict[str, object]) -> int:
    server = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write(json.dumps(asked) + "\n")
    server.stdin.flush()
    return int(server.stdout.readline())


@cache
def _server() -> subprocess.Popen[str]:
    settings = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    started = subprocess.Popen([sys.executable, __file__], env=environment, **settings)
    register(started.communicate)  # it ends where it can read no more
    return started


def serve() -> None:
    """Fork a process for each line that is read, and say its exit code."""
    program = importlib.import_module("blocksearch.__main__")
    for name in LOADED:
        importlib.import_module(name)
    gc.freeze()  # what is shared is not looked through, and so not copied
    for line in sys.stdin:
        asked = json.loads(line)
        if not (child := os.fork()):
            _become(program, **asked)
            _run(program)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _run(program: Any) -> NoReturn:
    """Run the command line to its end, but for the second that Python takes to forget all it
    knows.
    """
    try:
        program.main()
    except SystemExit as ended:
        code = ended.code
    assert isinstance(code, int), code
    exit_functions()
    sys.stdout.flush()
    os._exit(code)


def _become(
    program: object,
    arguments: list[str],
    cwd: str,
    environment: dict[str, str],
    said: list[str],
) -> None:
    """Give the process what a program begins with."""
    for number, path in enumerate([os.devnull, *said]):
        mode = os.O_RDWR | os.O_CREAT
        os.dup2(os.open(path, mode), number)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv, sys.modules["__main__"] = arguments, program
    sys.path[0] = cwd


if __name__ == "__main__":
    serve()
