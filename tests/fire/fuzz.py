"""Random input at every door that reads what people write: no traceback, no endless loop, and each
refusal one clean line.

    python -m tests.fire.fuzz --inputs 1000000 --seed 0
    python -m tests.fire.fuzz --only network --first 4711 --inputs 1     # one of them again

Input number n of a door depends on the seed, the door and n alone. What is accepted is held against
the door's own law, such as that a network's text reads back as the network.
"""

import argparse
import contextlib
import io
import random
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from blocksearch.ablation.config import AblationConfig, ScoresConfig, read_given, read_values
from blocksearch.ablation.scores import compare_scores
from blocksearch.api.networks import network
from blocksearch.arch.cost import read_budget
from blocksearch.arch.factors import FACTORS
from blocksearch.arch.notation import parse, parse_block
from blocksearch.arch.zoo import NAMED, TASKS
from blocksearch.cli import main
from blocksearch.data.sets.readers import _gtsrb_rows
from blocksearch.errors import BlocksearchError, one_line
from blocksearch.runs.plan import read_seeds
from blocksearch.search.config import StudyConfig, read_rungs
from blocksearch.space.constraints import read_constraint
from blocksearch.training.recipe_text import recipe_named

LONGEST, SLOW = 5.0, 0.5  # seconds of processor time for one input, and what is too slow
TIMES = 3  # that an input has to be too slow: a busy machine or a collection of garbage slows one
LONG = 20_000  # characters
BLOCKS = [
    "kernel=1x3+3x1 residual=add",
    "bottleneck=reduce(2) activation=leaky_relu(0.1)",
    *(f"{name}={value}" for name, each in FACTORS.items() for value in each.values),
]
NETWORKS = [
    *NAMED,
    "effnet residual=add stem=conv widths=8,16,32",
    "input=3x32x32 widths=8,16 classes=10 dropout=0.5 stem=block [kernel=3x3] [residual=add]",
    *BLOCKS,
]
BUDGETS = ["flops <= 400k", "params<1_000", "macs >= 1.5e6", "peak_activations > 3M"]
NUMBERS = ["0", "1", "-1", "1e400", "9" * 30, "0x10", "1_0", "٣", "1.5", "nan", "inf", "²", "００"]
PIECES = [*"=[](),+x.|;:\"'\\#%-&*/ \t\n\r\0\x1b\x1d\x9b\u2028\u202e\ufeff\ud800é漢😀", *NUMBERS]
RECIPES = ["fast", "paper batch=64 dropout=0.5", "fast optimizer=sgd(momentum=0.8) epochs=3"]
FILES = [
    'base = "fast"\nepochs = 3\nbatch = 64\noptimizer = "sgd(momentum=0.8)"\n',
    'schedule = "step(every=0.5)"\ndropout = 1e-3\nclass_weights = [1, 2.5]\n',
    "\ufeffprecision = 'bfloat16'\r\n# a comment\r\nlearning_rate = 0.1\r\n",
]
LISTING = (
    "Filename;Width;Height;Roi.X1;ClassId\r\n00000_00000.ppm;29;30;5;0\r\n00000_1.ppm;3;3;5;42"
)
SCORES = "\ufefftreatment,seed,score,task,group\r\n" + "".join(
    f"{name},{seed},{start + seed / 3},{task},\r\n"
    for task in ("t1", "t2")
    for name, start in (("old", 90), ("new", 92.5))
    for seed in range(4)
)
PLAIN = "treatment,seed,score\nold,0,1\nold,1,2e0\nnew,0,1.5\nnew,1,-.5\n"
COMMANDS = """cost show space list data ablate reproduce search pareto importance test merge
check fetch section3 table2 flops all tiny effnet digits gtsrb none.db a.html a.csv mine.py x.npz
--dry-run --json --wide --quiet --help --version --enumerate --as-written --equal-flops
--strict --factor --values --given --seeds --margin --widths --input --classes --dataset --budget
--sample --seed --scale-to --save --plugin --name --trials --rungs --objectives --sampler
--references --enqueue --epochs --max-images --recipe --batch --device --workers --db --data-root"""
WORDS = [*COMMANDS.split(), *NETWORKS, *BUDGETS, *NUMBERS]
# what trains, and what takes long because it was asked for, is no input here
LIGHT = ("cost", "show", "list", "data", "pareto", "importance", "test", "merge")
DRY = ("ablate", "search", "reproduce")


class Endless(Exception):  # noqa: N818
    """An input took longer than any may."""


def mutated(draw: random.Random, corpus: list[str]) -> str:
    """Change a text of a corpus a few times, as a typist, a stranger or a broken program would."""
    text = draw.choice(corpus)
    for _ in range(draw.choice((0, 1, 1, 2, 3, 8))):
        at, end = sorted((draw.randint(0, len(text)), draw.randint(0, len(text))))
        match draw.randrange(8):
            case 0:
                text = text[:at] + draw.choice(PIECES) + text[at:]
            case 1:
                text = text[:at] + text[end:]
            case 2:
                text = text[:end] + text[at:]
            case 3:
                text = text[:at] + draw.choice(corpus) + text[end:]
            case 4:
                text = text[:at] + chr(draw.randrange(sys.maxunicode)) + text[at + 1 :]
            case 5:
                text = text[:at] + draw.choice(NUMBERS) + text[end:]
            case 6:
                text = f"{text} {draw.choice(corpus)}"
            case _ if draw.random() < 0.1:
                many = draw.choice(("," * 3, ",(", " (", "( ", *PIECES, text[at:end]))
                text = text[:at] + many * draw.choice((100, 20_000)) + text[end:]
    return text[:LONG]


def whole(draw: random.Random) -> str:
    """Draw any characters at all."""
    size = draw.choice((0, 1, 3, 10, 100))
    return "".join(
        draw.choice(PIECES) if draw.random() < 0.5 else chr(draw.randrange(55296))
        for _ in range(size)
    )


def from_corpus(corpus: list[str]) -> Callable[[random.Random], str]:
    return lambda draw: whole(draw) if draw.random() < 0.1 else mutated(draw, corpus)


def a_block(text: str) -> None:
    found = parse_block(text)
    assert parse_block(str(found)) == found


def a_network(text: str) -> None:
    found = parse(text, TASKS["gtsrb"])
    assert parse(str(found)) == found
    assert found.cost.flops >= 0


def a_budget(text: str) -> None:
    found = read_budget(text)
    assert read_budget(str(found)) == found


def seeds(text: str) -> None:
    found = read_seeds(text)
    assert len(set(found)) == len(found)
    assert read_seeds(f"{','.join(map(str, found))},") == found


def rungs(text: str) -> None:
    found = read_rungs(text)
    assert read_rungs(",".join(map(str, found))) == found


def a_rule(text: str) -> None:
    found = read_constraint(text)
    assert str(read_constraint(str(found))) == str(found)


def a_recipe(text: str) -> None:
    recipe_named(text, None)


def scaled(text: str) -> None:
    network("effnet", "digits", scale_to=text)


def asked(text: str) -> None:
    read_values(text)
    with contextlib.suppress(BlocksearchError):
        AblationConfig(factors=("residual",), seeds=text)
    read_given(text)


def scores(file: Path) -> None:
    config = ScoresConfig(variance="own", margin=0.5)
    found = compare_scores(file, config).results
    told = {
        (each.task, each.treatment, seed): score
        for each in found
        for seed, score in each.scores.items()
    }
    rows = [
        dict(zip(("task", "treatment", "seed", "score"), (*key, score), strict=True))
        for key, score in told.items()
    ]
    again = {(each.task, each.treatment): each for each in compare_scores(rows, config).results}
    for each in found:
        assert again[each.task, each.treatment].scores == each.scores


def study(text: str) -> None:
    for name in ("objectives", "references", "name", "sampler", "rungs"):
        with contextlib.suppress(BlocksearchError):
            StudyConfig(**{name: text})
    StudyConfig(budgets=text, enqueue=text)


def in_a_file(name: str, read: Callable[[Path], object]) -> Callable[[str], None]:
    def reading(text: str) -> None:
        Path(name).write_bytes(text.encode("utf-8", "surrogatepass"))
        read(Path(name))

    return reading


def command_line(draw: random.Random) -> str:
    """Draw a command and words after it, of which some are mutated; NUL ends a word."""
    first = draw.choice((*LIGHT, *DRY, "space", "", *WORDS[:3]))
    words = [draw.choice(WORDS) for _ in range(draw.randrange(6))]
    words = [mutated(draw, [word]) if draw.random() < 0.2 else word for word in words]
    if first in DRY:  # and with a data set that is not there, so that nothing is timed
        words += ["--dry-run", "--dataset", "none"]
    if first == "data":
        words = ["list", *words]
    if first == "space":
        words = [draw.choice(("tiny", "none")), *words]
    return "\0".join(word.replace("\0", "") for word in [first, *words])


def commanded(text: str) -> None:
    out, err, code = io.StringIO(), io.StringIO(), None
    before, sys.argv = sys.argv, ["blocksearch", *text.split("\0")]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as ended:
        code = ended.code
    finally:
        sys.argv = before
    said = err.getvalue()
    assert code in (0, None, 2), code
    if code == 2:
        assert said == f"{one_line(said)}\n", said
        assert said.startswith("blocksearch: "), said


DOORS: dict[str, tuple[int, Callable[[random.Random], str], Callable[[str], None]]] = {
    # share of all inputs, how one is drawn, and what reads it
    "block": (80, from_corpus(BLOCKS), a_block),
    "network": (80, from_corpus(NETWORKS), a_network),
    "budget": (40, from_corpus(BUDGETS), a_budget),
    "rule": (12, from_corpus(["residual=none or kernel!=1x1|3x3", *BUDGETS]), a_rule),
    "recipe": (12, from_corpus(RECIPES), a_recipe),
    "toml": (12, from_corpus(FILES), in_a_file("mine.toml", a_recipe)),
    "scale": (4, from_corpus(["flops <= 400k", "flops<=1M"]), scaled),
    "seeds": (40, from_corpus(["5", "0,3,7", "5..12", " 1 , 2 ,"]), seeds),
    "widths": (
        20,
        from_corpus(["24,40,72", "8"]),
        lambda text: network("effnet", "digits", widths=text),
    ),
    "input": (
        20,
        from_corpus(["3x32x32", "1x9x9"]),
        lambda text: network("effnet", "gtsrb", input=text),
    ),
    "task": (
        12,
        from_corpus(["cifar10:3x48x48/7", "digits"]),
        lambda text: network("effnet", text),
    ),
    "rungs": (20, from_corpus(["2,5", "1", " 3 , 9"]), rungs),
    "asked": (32, from_corpus(["bottleneck=2,4,8", "mine.se(ratio=2), none", "5..20"]), asked),
    "study": (12, from_corpus(["accuracy,flops", "effnet,mobilenet", "tpe", *BUDGETS]), study),
    "listing": (16, from_corpus([LISTING]), in_a_file("GT-00000.csv", _gtsrb_rows)),
    "scores": (8, from_corpus([SCORES, PLAIN]), in_a_file("scores.csv", scores)),
    "command": (1, command_line, commanded),
}


def drawn(door: str, number: int, seed: int) -> str:
    """Return an input by its number."""
    return DOORS[door][1](random.Random(f"{seed} {door} {number}"))


def wrong(door: str, text: str) -> str | None:
    """Hand an input to a door, and say what is wrong with how it was taken, if anything."""
    spent: float = 0
    for _ in range(TIMES):
        spent, said = taken(door, text)
        if said:
            return said
        if spent <= SLOW or door == "command":  # a whole command may take as long as it needs
            return None
    return f"{spent:.1f} s for {len(text)} characters"


def taken(door: str, text: str) -> tuple[float, str | None]:
    """Hand an input to a door once; return the processor time and what was no right answer."""
    began = time.process_time()
    try:
        signal.setitimer(signal.ITIMER_VIRTUAL, LONGEST)
        DOORS[door][2](text)
    except BlocksearchError as error:
        if one_line(error) != str(error) or not str(error):
            return 0, f"no clean line: {error!r}"
    except Endless:
        return LONGEST, f"more than {LONGEST} s"
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return 0, "".join(traceback.format_exception(error)[-3:])
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    return time.process_time() - began, None


def _endless(*_: object) -> None:
    raise Endless


@contextlib.contextmanager
def somewhere() -> Iterator[None]:
    """Work in a folder of its own, where an input may name any file; end what takes too long."""
    before = signal.signal(signal.SIGVTALRM, _endless)
    with TemporaryDirectory() as folder, contextlib.chdir(folder):
        yield
    signal.signal(signal.SIGVTALRM, before)


def numbers(inputs: int, only: str | None = None) -> Iterator[tuple[str, int]]:
    """Divide a number of inputs among the doors by their shares."""
    shares = {door: own for door, (own, *_) in DOORS.items() if only in (None, door)}
    for door, own in shares.items():
        for number in range(inputs * own // sum(shares.values())):
            yield door, number


def run(arguments: list[str]) -> int:
    """Try inputs; print those that are taken wrongly, and how many of each door were refused."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=DOORS)
    asked = parser.parse_args(arguments)
    tried, found, began = Counter[str](), Counter[str](), time.monotonic()
    with somewhere():
        for door, number in numbers(asked.inputs, asked.only):
            text = drawn(door, asked.first + number, asked.seed)
            tried[door] += 1
            if said := wrong(door, text):
                found[door] += 1
                print(f"{door} {asked.first + number} {text[:200]!r}\n{said}", flush=True)
    print(f"{tried.total():,} inputs in {time.monotonic() - began:,.0f} s: {dict(tried)}")
    print(f"{found.total()} taken wrongly: {dict(found)}")
    return min(1, found.total())


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
