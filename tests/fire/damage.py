"""Damaged files: each kind that is read, cut at every 512th byte, and with single bits flipped.

    python -m tests.fire.damage --flips 1000
    python -m tests.fire.damage --only checkpoint --first 17 --flips 1     # one bit again

A file that holds a checksum, its own or its format's, must give the right answer or one typed line.
Files without one (pixels, a person's text) say what they say: what is read then is something else,
never a traceback, an endless loop, or too much memory. Data is known by the digest of its pixels,
so that such images are never taken for the others.
"""

import random
import shutil
import signal
import sys
import time
import traceback
import warnings
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import scipy.io
from PIL import Image

from blocksearch.ablation.config import ScoresConfig
from blocksearch.ablation.scores import compare_scores
from blocksearch.data import DataConfig, open_dataset
from blocksearch.data.cache_files import open_arrays, open_description, write_arrays
from blocksearch.data.datasets import Arrays
from blocksearch.data.listings import listing
from blocksearch.data.pictures import picture
from blocksearch.data.sets import readers
from blocksearch.data.sets.idx import read_idx
from blocksearch.errors import BlocksearchError, one_line
from blocksearch.search.summary import summarise
from blocksearch.training.recipe_text import recipe_named
from blocksearch.training.weights import load, save
from tests.data.test_idx import written
from tests.fire import fuzz
from tests.fire.test_flips import TABLES, answers, is_sound, write_whole
from tests.fire.test_hostile import theirs

SECTOR, LONGEST = 512, 20.0  # bytes; seconds of processor time
NO_ANSWER = None  # the file is not taken up, and what it would have saved is done again


class Outcome(StrEnum):
    """What became of a damaged file."""

    RIGHT = "right"
    TYPED = "one typed line"
    NOT_TAKEN = "made again"
    OTHER = "something else, of a file without a checksum"
    WRONG = "wrong, silently"
    TRACEBACK = "traceback"
    HANG = "hang"


BAD = (Outcome.WRONG, Outcome.TRACEBACK, Outcome.HANG)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """How a file of a kind is made in a folder, and read; and whether something vouches for it.

    `same` holds an answer against the right one.
    """

    make: Callable[[Path], Path]
    read: Callable[[Path], object]
    vouched: bool = True
    same: Callable[[object, object, Path], bool] = lambda right, found, _: right == found


def pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, shape, np.uint8)


def saved(name: str, **options: object) -> Callable[[Path], Path]:
    """Return what writes a picture."""

    def make(folder: Path) -> Path:
        Image.fromarray(pixels(20, 24, 3) // 4 * 4).save(folder / name, **options)
        return folder / name

    return make


def text(name: str, content: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_text(content, newline="")
        return folder / name

    return make


def checkpoint(folder: Path) -> Path:
    save(folder / "kept.npz", {"a": np.arange(500.0), "b": pixels(3, 40), "epoch": np.array(3)})
    return folder / "kept.npz"


def cached(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        labels = np.arange(20, dtype=np.int64) % 2
        groups = np.arange(20, dtype=np.int32) // 2
        write_arrays(folder / "part", Arrays(pixels(20, 6, 6, 1), labels, groups=groups), [1])
        return folder / "part" / name

    return make


def archive(folder: Path) -> Path:
    np.savez(folder / "own.npz", images=pixels(40, 8, 8, 1), labels=np.arange(40) % 2)
    return folder / "own.npz"


def pair(folder: Path) -> Path:
    np.save(folder / "images.npy", pixels(40, 8, 8, 1))
    np.save(folder / "labels.npy", np.arange(40) % 2)
    return folder / "images.npy"


def folder_listing(folder: Path) -> Path:
    lines = ["file,label,group"]
    for place in range(24):
        saved(f"{place}.png")(folder)
        lines.append(f"{place}.png,{'ab'[place % 2]},{place // 3}")
    return text("all.csv", "\r\n".join(lines) + "\r\n")(folder)


def mat(folder: Path) -> Path:
    own = {"X": pixels(32, 32, 3, 6), "y": np.arange(6)[:, None] + 1}
    scipy.io.savemat(folder / "x.mat", own, do_compression=True)
    return folder / "x.mat"


def cifar(folder: Path) -> Path:
    records = pixels(20, readers.CIFAR_RECORD)
    records[:, 0] %= 10
    (folder / "x.bin").write_bytes(records.tobytes())
    return folder / "x.bin"


def database(folder: Path) -> Path:
    write_whole(folder / "a.db")
    return folder / "a.db"


def questions(file: Path) -> object:
    """Ask a database everything; an error stands for all answers."""
    found = answers(file, [name for each in TABLES.values() for name in each])
    errors = [each for each in found.values() if isinstance(each, BlocksearchError)]
    if len(errors) == len(found):
        raise errors[0]
    return found


def all_sound(right: object, found: object, file: Path) -> bool:
    assert isinstance(right, dict)
    assert isinstance(found, dict)
    return all(is_sound(file, name, right[name], each) for name, each in found.items())


def arrays(found: dict[str, np.ndarray] | None) -> object:
    return found and {name: (str(each.dtype), each.tolist()) for name, each in found.items()}


def described(file: Path) -> object:
    found, known = open_arrays(file.parent, None), open_description(file.parent, None)
    return (found[1], known.check) if found and known else NO_ANSWER


def svhn(file: Path) -> object:
    found = readers._svhn(file)
    return found.images.tobytes(), found.labels.tolist()


def cifar10(file: Path) -> object:
    readers.CIFAR_RECORDS = 20
    found = readers._cifar10([file])
    return found.images.tobytes(), found.labels.tolist()


KINDS = {
    "database": Kind(make=database, read=questions, same=all_sound),
    "study of Optuna's": Kind(
        make=lambda folder: theirs(folder / "o.db"),
        read=lambda file: repr(summarise(str(file)).entries),
        vouched=False,
    ),
    "checkpoint": Kind(make=checkpoint, read=lambda file: arrays(load(file))),
    **{
        f"cache, {name}": Kind(make=cached(name), read=described)
        for name in ("images.npy", "labels.npy", "groups.npy", "prints.npy", "meta.json")
    },
    "own .npz": Kind(
        make=archive, read=lambda file: open_dataset(str(file), DataConfig(), keep=False)
    ),
    "SVHN (.mat)": Kind(make=mat, read=svhn),
    "IDX, packed": Kind(
        make=lambda folder: written(folder / "x.gz", pixels(20, 9, 9)),
        read=lambda file: read_idx(file).tolist(),
    ),
    "PNG": Kind(make=saved("x.png"), read=lambda file: picture(file).tobytes()),
    # nothing vouches for these
    "IDX": Kind(
        make=lambda folder: written(folder / "x", pixels(20, 9, 9)),
        read=lambda file: read_idx(file).tolist(),
        vouched=False,
    ),
    "CIFAR-10 (.bin)": Kind(make=cifar, read=cifar10, vouched=False),
    "own .npy": Kind(
        make=pair,
        read=lambda file: open_dataset(str(file), DataConfig(), keep=False),
        vouched=False,
    ),
    **{
        f"{end.upper()}": Kind(
            make=saved(f"x.{end}"), read=lambda file: picture(file).tobytes(), vouched=False
        )
        for end in ("ppm", "jpg", "bmp", "gif", "tif", "webp")
    },
    "own listing (.csv)": Kind(
        make=folder_listing,
        read=lambda file: repr(listing(file, DataConfig())),
        vouched=False,
    ),
    "GTSRB's listing": Kind(
        make=text("GT-00000.csv", fuzz.LISTING), read=readers._gtsrb_rows, vouched=False
    ),
    "recipe (.toml)": Kind(
        make=text("mine.toml", fuzz.FILES[0]),
        read=lambda file: recipe_named(str(file), None),
        vouched=False,
    ),
    "scores (.csv)": Kind(
        make=text("scores.csv", fuzz.SCORES),
        read=lambda file: repr(compare_scores(file, ScoresConfig())),
        vouched=False,
    ),
}


class Endless(Exception):  # noqa: N818
    """Reading took longer than it may."""


def _endless(*_: object) -> None:
    raise Endless


def flipped(whole: bytes, bit: int) -> bytes:
    """Return a file with one bit changed."""
    content = bytearray(whole)
    content[bit // 8] ^= 1 << bit % 8
    return bytes(content)


def damaged(whole: bytes, flips: int, seed: str, first: int = 0) -> Iterator[tuple[str, bytes]]:
    """Cut a file at every sector, and flip so many bits; say each time what was done."""
    for size in range(0, len(whole), SECTOR):
        yield f"cut to {size}", whole[:size]
    for number in range(first, first + flips):
        bit = random.Random(f"{seed} {number}").randrange(8 * len(whole))
        yield f"flip {number}, bit {bit % 8} of byte {bit // 8}", flipped(whole, bit)


def outcome(kind: Kind, file: Path, right: object) -> tuple[Outcome, str]:
    """Read a damaged file; say what became of it, with words for what is wrong."""
    signal.setitimer(signal.ITIMER_VIRTUAL, LONGEST)
    try:
        found = kind.read(file)
    except BlocksearchError as error:
        clean = str(error) == one_line(error) != ""
        return (Outcome.TYPED, "") if clean else (Outcome.TRACEBACK, repr(error))
    except Endless:
        return Outcome.HANG, ""
    except Exception as error:
        return Outcome.TRACEBACK, "".join(traceback.format_exception(error)[-4:])
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    if found is NO_ANSWER:
        return Outcome.NOT_TAKEN, ""
    if kind.same(right, found, file):
        return Outcome.RIGHT, ""
    return (Outcome.WRONG if kind.vouched else Outcome.OTHER), f"{found!r}"[:300]


def tried(name: str, flips: int, seed: int = 0, first: int = 0, every: int = 1) -> Counter[Outcome]:
    """Damage a file of a kind in every way, or in every `every`th; print what is wrong."""
    counts, kind = Counter[Outcome](), KINDS[name]
    before = signal.signal(signal.SIGVTALRM, _endless)
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = kind.make(Path(folder))
        whole, right = file.read_bytes(), kind.read(file)
        assert kind.same(right, kind.read(file), file)
        others = {each: each.read_bytes() for each in file.parent.iterdir() if each.is_file()}
        for number, (what, content) in enumerate(damaged(whole, flips, f"{name} {seed}", first)):
            if number % every:
                continue
            for each, own in others.items():
                if each.read_bytes() != own:
                    each.write_bytes(own)
            for beside in set(file.parent.iterdir()) - set(others):
                shutil.rmtree(beside) if beside.is_dir() else beside.unlink()
            file.write_bytes(content)
            found, said = outcome(kind, file, right)
            counts[found] += 1
            if found in BAD:
                print(f"{name}, {what}: {found}\n{said}", flush=True)
    signal.signal(signal.SIGVTALRM, before)
    return counts


def run(arguments: list[str]) -> int:
    """Try files of all kinds; print the table."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--flips", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=KINDS, action="append")
    asked = parser.parse_args(arguments)
    rows, began = {}, time.monotonic()
    for name in asked.only or KINDS:
        rows[name] = tried(name, asked.flips, asked.seed, asked.first)
    print("|", " | ".join(["file", *Outcome]), "|")
    print("|", " | ".join("-" * (1 + len(Outcome))), "|")
    for name, counts in rows.items():
        print("|", " | ".join([name, *(f"{counts[each]:,}" for each in Outcome)]), "|")
    bad = sum(counts[each] for counts in rows.values() for each in BAD)
    total = sum(counts.total() for counts in rows.values())
    print(f"{total:,} damaged files, {bad} of them read wrongly, {time.monotonic() - began:.0f} s")
    return min(1, bad)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
