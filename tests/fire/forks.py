"""Commands as forks of a process that has imported everything, their workers too: one costs a tenth
of a process that begins anew, so that thousands can be tried.

What a fork does is what the command does, from the first line of `main` on. It cannot show what
comes while Python starts and imports.
"""

import gc
import io
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from tempfile import mkdtemp

SPACE = """from blocksearch import Grammar, Task

grammar = Grammar(
    Task(input=(1, 8, 8), classes=2, widths=(4,)),
    kernel=["3x3", "1x3+3x1"],
    residual=["none", "add"],
    bottleneck=["reduce(1)", "reduce(2)"],
)
"""
ALONE = {"OMP_NUM_THREADS": "1"}  # as in a worker: nothing may have threads when it is forked

at_workers_begin: list[Callable[[], object]] = []  # called in each worker that a command starts


def images(folder: Path) -> None:
    """Make a few images of two classes, and a small space."""
    import numpy as np

    draw, labels = np.random.default_rng(0), np.repeat([0, 1], 30)
    drawn = draw.integers(0, 128, (60, 8, 8, 1)) + 100 * labels[:, None, None, None]
    drawn = drawn.astype(np.uint8)
    own = {"images": drawn[5:55], "labels": labels[5:55]}
    own |= {"test_images": drawn[[*range(5), *range(55, 60)]], "test_labels": np.repeat([0, 1], 5)}
    np.savez(folder / "own.npz", **own)
    (folder / "small.py").write_text(SPACE)


@contextmanager
def somewhere() -> Iterator[Path]:
    """Make a folder for a while. Each fork that ends would remove a `TemporaryDirectory`."""
    place = Path(mkdtemp(prefix="forks-")).resolve()
    try:
        yield place
    finally:
        shutil.rmtree(place)


def import_everything() -> None:
    """Import what any command needs, and have workers started as forks from now on."""
    import importlib
    import pkgutil
    from multiprocessing import util

    import blocksearch
    from blocksearch import cli
    from blocksearch.runs import worker
    from blocksearch.search.optuna_io import open_storage

    for found in pkgutil.walk_packages(blocksearch.__path__, "blocksearch."):
        if not found.name.endswith("__main__"):
            importlib.import_module(found.name)
    for name in (
        "matplotlib.backends.backend_agg",
        "matplotlib.backends.backend_svg",
        "plotly.graph_objects",
        "PIL.Image",
        "safetensors.numpy",
        "alembic.command",
        "scipy.stats",
        "scipy.optimize",
    ):
        importlib.import_module(name)
    worker._versions()  # asks git
    with somewhere() as folder, redirect_stdout(io.StringIO()):
        images(folder)
        _train(folder)
        before, sys.argv = sys.argv, ["blocksearch", "data", "describe", str(folder / "own.npz")]
        with suppress(SystemExit):
            cli.main()
        sys.argv = before
        open_storage(str(folder / "s.db")).engine.dispose()
    spawn = util.spawnv_passfds

    def started(path: bytes, words: list[bytes], handed: list[int]) -> int:
        line = os.fsdecode(b" ".join(map(os.fsencode, words)))
        return _worker(line, handed) if "spawn_main" in line else spawn(path, words, handed)

    util.spawnv_passfds = started  # type: ignore[attr-defined]
    gc.freeze()


def _train(folder: Path) -> None:
    """Have what trains compiled, in one thread, which a fork survives."""
    import torch

    from blocksearch.api.asked import run_config
    from blocksearch.api.networks import network
    from blocksearch.runs import worker
    from blocksearch.runs.plan import experiment
    from blocksearch.runs.records import Group

    torch.set_num_threads(1)
    known = {"db": str(folder / "a.db"), "data_root": folder / "data", "epochs": 1}
    config = run_config(str(folder / "own.npz"), known)
    for block in ("effnet", "effnet residual=add pooling=last groups=both(4)", "mobilenet"):
        net = network(block, config.dataset, widths="4,8,16")
        shared = experiment(config.settings(), net)
        for jobs in ((shared.job(net, 0),), (shared.job(net, 0), shared.job(net, 1))):
            worker.train_group(Group(jobs=jobs))
            worker.probe_group(Group(jobs=jobs))


def _worker(line: str, handed: list[int]) -> int:
    """Start a worker as `multiprocessing` would, but as a fork, which has everything imported."""
    from multiprocessing import spawn

    told, driver = dict(re.findall(r"(\w+)=(\d+)", line)), os.getpid()

    def work() -> int:
        from concurrent.futures import process

        process._threads_wakeups.clear()
        kept = {0, 1, 2, *handed}
        for each in [int(each.name) for each in Path("/proc/self/fd").iterdir()]:
            if each not in kept:
                with suppress(OSError):
                    os.close(each)
        for answered in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(answered, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.argv = ["-c", "--multiprocessing-fork"]
        for act in at_workers_begin:
            act()
        try:
            spawn.spawn_main(
                tracker_fd=int(told["tracker_fd"]), pipe_handle=int(told["pipe_handle"])
            )
        except (EOFError, OSError):  # what the program that a worker is given does, too
            time.sleep(1)
            if os.getppid() == driver:
                raise
        return 0

    return forked(work)


def forked(act: Callable[[], object]) -> int:
    """Fork; return the process's number. It ends with what is returned, as a program does."""
    number = os.fork()
    if number:
        return number
    code = 1
    try:
        code = act() or 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        with suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def command(folder: Path, words: list[str], said: Path, own: Mapping[str, str]) -> int:
    """Carry a command out in this process, a fork: in a folder, with variables of its own, and with
    what it says in the files `out` and `err` of another.
    """
    from multiprocessing import util

    from blocksearch import __main__

    os.chdir(folder)
    os.environ.update(own)
    tempfile.tempdir = None
    for number, name in ((1, "out"), (2, "err")):
        opened = os.open(said / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    sys.argv = ["blocksearch", *words]
    try:
        __main__.main()
    finally:
        util._exit_function()
    return 0
