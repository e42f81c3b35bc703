"""How fast this checkout is against an earlier one: pricing, training, bookkeeping, opening, and
answers from stored runs.

    git worktree add --detach ../before 3d9cbd95543a
    python -m tests.benchmarks.before ../before --runs 5 [--only ablate]

The same programs run in both checkouts in turn, each in a process of its own on one thread, with
compiled modules, as an installed package has them. Counted are seconds of the processor, which a
busy machine stretches less than the clock; figures are medians, with the least and the largest
ratio of two neighbouring runs. Answers are of copies of each checkout's own runs on GTSRB; the
earlier one reads the images, too, so these are timed where BLOCKSEARCH_DATA has them.
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

HERE = Path(__file__).parent.parent.parent

# by the names of both checkouts; each prints one number of seconds
PRICING = """
import time
import numpy as np
try:
    from blocksearch.space.load import load_grammar
    load = lambda name: load_grammar(name)[0]
except ImportError:
    from blocksearch.space.load import load_space as load
load("tiny").costs()
start = time.process_time()
for _ in range(2):
    grammar = load("section3")
    grammar.costs()
grammar.costs(np.random.default_rng(0).integers(0, grammar.size, 1_000_000))
print(time.process_time() - start)
"""
TRAINING = """
import time
import torch
torch.set_num_threads(1)
import blocksearch
from blocksearch import named_network
from blocksearch.training.recipe import RECIPES
try:
    from blocksearch import TASKS
    from blocksearch.data.splits import Split, prepare
    from blocksearch.training.trainer import Training
except ImportError:
    from blocksearch import SETTINGS as TASKS
    from blocksearch.training.protocol import Protocol as Split, prepare
    from blocksearch.training.train import Training
data = prepare(Split("digits", images=6400), None)
found = 0.0
for name, seeds in (("effnet", [0, 1, 2]), ("mobilenet_v2", [0])):
    training = Training(named_network(name, TASKS["digits"]).layers, data, RECIPES["fast"], seeds)
    for step in range(25):
        start = time.process_time()
        training.step()
        found += (time.process_time() - start) * (step >= 5)
print(found)
"""
BOOKKEEPING = """
from tests.benchmarks.bookkeeping import EARLY, measure
watch = measure("section3", "evolution", (110, 120))
print(sum(watch.processor[trial] for trial in range(EARLY[0], 120)) / (120 - EARLY[0]))
"""
IMPORT, HELP = ("-c", "from blocksearch import Grammar"), ("-m", "blocksearch", "--help")
TIMED = {"pricing": PRICING, "training": TRAINING, "bookkeeping, a trial": BOOKKEEPING}
WHOLE = {"from blocksearch import Grammar": IMPORT, "blocksearch --help": HELP}
ANSWERS = {
    "ablate residual on GTSRB": "ablate --factor residual --seeds 8 --dataset gtsrb",
    "reproduce section3 on GTSRB": "reproduce section3 --dataset gtsrb",
}


def run(checkout: Path, data: Path, images: Path, *arguments: str) -> tuple[str, float]:
    """Run Python in a checkout; return what it printed, and the seconds of the processor."""
    environment = os.environ | {
        "PYTHONPATH": str(checkout),
        "BLOCKSEARCH_DATA": str(images),
        "PYTHONPYCACHEPREFIX": str(data / "compiled"),
        **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    }
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, *arguments],
        check=True,
        capture_output=True,
        text=True,
        cwd=checkout,
        env=environment,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return done.stdout, spent


def answers(checkout: Path, data: Path, command: str) -> list[str]:
    """Return the arguments of a command that asks a copy of the checkout's runs."""
    copy = data / "gtsrb.db"
    if not copy.exists():
        data.mkdir(exist_ok=True)
        shutil.copy(checkout / "studies" / "gtsrb.db", copy)
    renamed = (checkout / "blocksearch" / "api").exists()  # `--ledger` before there was this room
    return ["-m", "blocksearch", *command.split(), "--db" if renamed else "--ledger", str(copy)]


def compare(name: str, old: Path, data: Path, runs: int, *arguments: str) -> None:
    """Print what takes how long in both checkouts."""
    pairs = []
    for _ in range(1 + runs):  # the first compiles
        pair = []
        for checkout in (old, HERE):
            folder, images, own = data / ("before" if checkout == old else "now"), data, arguments
            if name in ANSWERS:
                images = Path(os.environ["BLOCKSEARCH_DATA"])
                own = tuple(answers(checkout, folder, ANSWERS[name]))
            printed, spent = run(checkout, folder, images, *own)
            pair.append(float(printed) if name in TIMED else spent)
        pairs.append(pair)
    pairs = pairs[1:]
    before, now = (1000 * median(each) for each in zip(*pairs, strict=True))
    ratios = [b / a for a, b in pairs]
    print(
        f"{name:32s} before {before:9.1f} ms, now {now:9.1f} ms: {now / before:.2f} times "
        f"({min(ratios):.2f} to {max(ratios):.2f}, {runs} pairs)",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", default="", help="names that begin so")
    chosen = parser.parse_args()
    programs = WHOLE | {name: ("-c", code) for name, code in TIMED.items()}
    if "BLOCKSEARCH_DATA" in os.environ:
        programs |= dict.fromkeys(ANSWERS, ())
    with tempfile.TemporaryDirectory() as folder:
        for name, arguments in programs.items():
            if name.startswith(chosen.only):
                compare(name, chosen.checkout.resolve(), Path(folder), chosen.runs, *arguments)


if __name__ == "__main__":
    main()
