"""Storage calls that fail: each write, sync, rename, truncation, removal and new file of a command
in its turn, with the system's own error.

    python -m tests.fire.storage                          # every call of every command, all faults
    python -m tests.fire.storage --only search --every 25
    python -m tests.fire.storage --only search --fault EIO --first 57 --calls 1    # one of them
    python -m tests.fire.storage --within tmp --fault full                         # a full /tmp

What must come is one line, files that are whole with all that was said to be done, and the same
command again with the answer of a command that nothing disturbed. Commands run as forks; their
calls are counted and failed by `shim.c`, in a command and its workers alike.
"""

import ctypes
import errno
import mmap
import os
import re
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from difflib import unified_diff
from multiprocessing import resource_tracker
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.fire.forks import ALONE, command, forked, images, import_everything, somewhere

ROOT = Path(__file__).parents[2]
LONGEST = 600.0  # seconds of a command, which takes one or two where the machine is quiet
LINE = len("blocksearch: ") + 300
SHIM = "BLOCKSEARCH_SHIM"
PAGE = 4096


class Page(ctypes.Structure):
    """What is shared with `shim.c`."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("counted", "nth", "error", "onwards", "failed")),
        ("folder", ctypes.c_char * 1024),
        ("first", ctypes.c_char * 1024),
    ]


@dataclass(frozen=True)
class Fault:
    """An error of the system's, once or at every later call, too."""

    error: int
    onwards: bool


FAULTS = {
    "EIO": Fault(errno.EIO, onwards=False),
    "ENOSPC": Fault(errno.ENOSPC, onwards=False),
    "full": Fault(errno.ENOSPC, onwards=True),
    "dead": Fault(errno.EIO, onwards=True),
}

OWN = ["--dataset", "own.npz", "--epochs", "1", "--workers", "1"]
THIN = [*OWN, "--widths", "4", "--db", "a.db"]
ABLATE = ["ablate", "--factor", "residual", "--values", "none,add", *THIN, "--seeds"]
SEARCH = ["search", "small.py", *OWN, "--epochs", "2", "--rungs", "1", "--trials", "1"]
SEARCH += ["--seeds", "1", "--references", "none", "--db", "s.db"]
FORMS = [word for end in ("html", "svg", "csv", "png") for word in ("--save", f"r.{end}")]


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command, and what it needs before. Where it is done, a second one may say so: then its
    output `varies`.
    """

    words: list[str]
    before: list[list[str]] = field(default_factory=list)
    varies: bool = False


COMMANDS = {
    "ablate": Command(words=[*ABLATE, "1"]),
    "search": Command(words=SEARCH),
    "report": Command(words=["pareto", "s.db", *FORMS], before=[SEARCH]),
    "train": Command(
        words=["train", "effnet", *THIN, "--seeds", "1", "--keep-weights", "w"], varies=True
    ),
    "test": Command(words=["test", "s.db", "--workers", "1"], before=[SEARCH], varies=True),
    "merge": Command(
        words=["merge", "b.db", "a.db"],
        before=[[*ABLATE, "1"], [*ABLATE, "1,2", "--db", "b.db"]],
        varies=True,
    ),
}


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a command ended, and how many of its calls were counted, and failed."""

    code: int | None  # None: it had to be killed
    out: str
    said: str
    counted: int
    failed: int
    first: str

    @property
    def acknowledged(self) -> int:
        """How many results it said are there."""
        return len(re.findall(r"^\[\d+/\d+\]", self.said, re.MULTILINE))


def shared(name: str) -> Page:
    """Return the page that is shared by a file of that name."""
    with Path(name).open("r+b") as file:
        return Page.from_buffer(mmap.mmap(file.fileno(), PAGE))


def arm(page: Page, folder: Path, nth: int, fault: Fault) -> None:
    """Count from now on what changes files below a folder, and let the Nth of these calls fail."""
    page.folder, page.counted, page.failed, page.first = b"", 0, 0, b""
    page.nth, page.error, page.onwards = nth, fault.error, fault.onwards
    page.folder = os.fsencode(folder)


class Forks:
    """Runs commands in forks of this process, under the shim."""

    def __init__(self) -> None:
        self._page = shared(os.environ[SHIM])
        import_everything()
        resource_tracker.ensure_running()  # one for all

    def run(
        self,
        folder: Path,
        words: list[str],
        nth: int = 0,
        fault: Fault = Fault(0, onwards=False),
        within: str = "",
    ) -> Ended:
        """Run a command in a folder, and let its Nth call there fail."""
        page, said = self._page, Path(f"{folder}.said")
        said.mkdir(exist_ok=True)
        arm(page, folder / within, nth, fault)
        own = {"BLOCKSEARCH_DATA": folder / "data", "XDG_CACHE_HOME": folder / "cache"}
        own |= dict.fromkeys(("TMPDIR", "SQLITE_TMPDIR"), folder / "tmp")
        environment = {name: str(each) for name, each in own.items()}
        code = _ended(forked(lambda: command(folder, words, said, environment)))
        page.folder = b""
        out, err = ((said / name).read_text() for name in ("out", "err"))
        return Ended(
            code=code,
            out=out,
            said=err,
            counted=page.counted,
            failed=page.failed,
            first=os.fsdecode(page.first),
        )


def _ended(process: int) -> int | None:
    """Wait for a process; kill it where that takes too long."""
    watched = os.pidfd_open(process)
    in_time = bool(select.select([watched], [], [], LONGEST)[0])
    os.close(watched)
    if not in_time:
        os.kill(process, signal.SIGKILL)
    status = os.waitpid(process, 0)[1]
    return os.waitstatus_to_exitcode(status) if in_time else None


VOLATILE = {"id", "created", "seconds", "provenance", "checksum", "run"}


def held(folder: Path) -> dict[str, list[str]]:
    """Return what the databases of a folder hold, but for clocks and for trainings that failed.

    They are read from a copy: opening a file would already mend it. A damaged one is an
    sqlite3.Error.
    """
    found: dict[str, list[str]] = {}
    with TemporaryDirectory() as copy:
        shutil.copytree(folder, copy, dirs_exist_ok=True)
        for file in sorted(Path(copy).rglob("*.db")):
            with closing(sqlite3.connect(file)) as connection:
                connection.row_factory = sqlite3.Row
                (said,) = connection.execute("PRAGMA integrity_check").fetchone()
                if said != "ok":
                    raise sqlite3.DatabaseError(said)
                names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
                runs = dict[str, str]()
                for (name,) in sorted(names.fetchall(), key=lambda own: own[0] != "ledger_runs"):
                    rows = list(map(dict, connection.execute(f'SELECT * FROM "{name}"')))
                    if name == "ledger_runs":
                        runs = {row["checksum"]: row["accuracies"] for row in rows}
                    if name == "search_steps":  # a trial names its run by a checksum
                        for row in rows:
                            named = row["accuracies"].strip('"')
                            row["accuracies"] = runs.get(named, named)
                    found[f"{file.name} {name}"] = sorted(
                        str(
                            {
                                key: own
                                for key, own in row.items()
                                if key not in VOLATILE and not key.startswith("datetime")
                            }
                        )
                        for row in rows
                        if row.get("state") != "failed"
                    )
    return found


def files(folder: Path) -> set[str]:
    """List the files and folders below a folder."""
    found = {str(each.relative_to(folder)) for each in folder.rglob("*")}
    return {each for each in found if not each.startswith("cache")}  # where images may go instead


@dataclass(frozen=True, kw_only=True)
class Undisturbed:
    """What a command gives where nothing fails; `begun` is the folder it begins in."""

    command: Command
    begun: Path
    ended: Ended
    held: dict[str, list[str]]
    files: set[str]


def undisturbed(forks: Forks, command: Command, place: Path) -> Undisturbed:
    """Run a command and what it needs before."""
    begun, folder = place / "begun", place / "right"
    (begun / "tmp").mkdir(parents=True)
    images(begun)
    for words in command.before:
        ended = forks.run(begun, words)
        assert ended.code == 0, ended
    shutil.copytree(begun, folder)
    ended = forks.run(folder, command.words)
    assert ended.code == 0, ended
    return Undisturbed(
        command=command, begun=begun, ended=ended, held=held(folder), files=files(folder)
    )


def clean(said: str) -> bool:
    """Whether what was complained of is one line of ours, and the last."""
    ours = [line for line in said.splitlines() if line.startswith("blocksearch: ")]
    last = said.splitlines()[-1:]
    return len(ours) == 1 and ours == last and len(ours[0]) <= LINE


def disturbed(
    forks: Forks, right: Undisturbed, folder: Path, nth: int, fault: Fault, within: str = ""
) -> tuple[str, list[str]]:
    """Let a call fail, and the command run again; return how it ended, and what is wrong."""
    shutil.copytree(right.begun, folder)
    ended, wrong = forks.run(folder, right.command.words, nth, fault, within), []
    if ended.code is None:
        wrong.append("hang")
    elif "Traceback" in ended.said:
        wrong.append("traceback")
    elif ended.code not in (0, 2) or (ended.code == 2 and not clean(ended.said)):
        wrong.append(f"exit code {ended.code}, no clean line")
    elif ended.code == 0 and not right.command.varies:
        wrong += _other(right.ended.out, ended.out)
    try:
        wrong += _lost(held(folder), right, ended)
    except sqlite3.Error as error:
        wrong.append(f"a damaged file: {error}")
    again = forks.run(folder, right.command.words)
    other = [] if right.command.varies else _other(right.ended.out, again.out)
    if again.code != 0 or other:
        wrong.append(f"the next command is not right {''.join(other)}")
    elif (found := held(folder)) != right.held:
        other = [
            name for name in right.held.keys() | found if right.held.get(name) != found.get(name)
        ]
        wrong.append(f"the next command leaves other rows: {other}")
    removes = not ended.first.startswith("unlink") and fault is not FAULTS["dead"]
    if removes and (left := files(folder) - right.files):
        wrong.append(f"left behind: {sorted(left)[:3]}")
    if wrong:
        wrong = [f"{ended.first}: {each}" for each in wrong]
        wrong.append(f"{ended.said[-600:]}\nagain ({again.code}): {again.said[-300:]}")
    how = "not reached" if not ended.failed else "right" if ended.code == 0 else "one line"
    return how, wrong


NOTED = "this question is not remembered: "  # beside a right answer


def _other(right: str, out: str) -> list[str]:
    said = [line for line in out.splitlines() if not line.startswith(NOTED)]
    changed = list(unified_diff(right.splitlines(), said, lineterm="", n=0))
    return ["another answer:\n    " + "\n    ".join(changed)] if changed else []


def _lost(found: dict[str, list[str]], right: Undisturbed, ended: Ended) -> Iterator[str]:
    for name, rows in found.items():
        other = [row for row in rows if row not in right.held.get(name, ())]
        if other and name.split()[1] in ("ledger_runs", "search_steps", "trial_values"):
            yield f"other rows in {name}: {other[0][:200]}"
    kinds = "search_steps" if right.command.words[0] == "search" else "ledger_runs"
    kept = sum(len(rows) for name, rows in found.items() if name.endswith(kinds))
    if right.command.words[0] in ("search", "ablate", "train") and kept < ended.acknowledged:
        yield f"{ended.acknowledged} results were acknowledged, and {kept} are there"


def tried(forks: Forks, name: str, asked: Namespace) -> int:
    """Try a command; print what is wrong and a row of the table, and return how much is wrong."""
    counts, began = Counter[str](), time.monotonic()
    with somewhere() as place:
        right = undisturbed(forks, COMMANDS[name], place)
        for nth, fault in calls_of(right.ended.counted, asked):
            folder = place / "case"
            how, wrong = disturbed(forks, right, folder, nth, FAULTS[fault], asked.within)
            shutil.rmtree(folder)
            counts["wrong" if wrong else how] += 1
            if wrong:
                print(f"{name} {fault} {nth}:", *wrong, sep="\n  ", flush=True)
    row = ", ".join(f"{count} {how}" for how, count in sorted(counts.items()))
    spent = time.monotonic() - began
    print(f"{name}: {right.ended.counted} calls; {row}; {spent:.0f} s", flush=True)
    return counts["wrong"]


def calls_of(total: int, asked: Namespace) -> list[tuple[int, str]]:
    """Choose calls, each with its fault: with all of them, or in turn with one."""
    faults = asked.fault or list(FAULTS)
    if asked.within:
        return [(1, fault) for fault in faults]
    last = min(total, asked.first + asked.calls - 1) if asked.calls else total
    calls = range(asked.first, last + 1, asked.every)
    if asked.in_turn:
        return [(nth, faults[place % len(faults)]) for place, nth in enumerate(calls)]
    return [(nth, fault) for nth in calls for fault in faults]


@contextmanager
def shimmed() -> Iterator[dict[str, str]]:
    """Make the shim and its page, and give the environment of a process that is under it."""
    with TemporaryDirectory(prefix="shim-") as folder:
        library, page = Path(folder) / "shim.so", Path(folder) / "page"
        compiler = shutil.which("cc") or shutil.which("gcc")
        assert compiler, "a C compiler is needed"
        source = str(Path(__file__).with_name("shim.c"))
        subprocess.run(
            [compiler, "-shared", "-fPIC", "-O2", "-o", library, source, "-ldl"], check=True
        )
        page.write_bytes(bytes(PAGE))
        own = {"LD_PRELOAD": str(library), SHIM: str(page), "PYTHONPATH": str(ROOT)}
        yield os.environ | own | ALONE | {"MPLCONFIGDIR": folder}


def run(arguments: list[str]) -> int:
    """Try what is asked for."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=COMMANDS, action="append")
    parser.add_argument("--fault", choices=FAULTS, action="append")
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--calls", type=int)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--in-turn", action="store_true", help="one fault a call, not all")
    parser.add_argument("--within", default="", help="only below this folder, from the first on")
    asked = parser.parse_args(arguments)
    if SHIM not in os.environ:
        with shimmed() as environment:
            again = [sys.executable, "-m", "tests.fire.storage", *arguments]
            return subprocess.run(again, env=environment, check=False).returncode
    forks = Forks()
    bad = sum(tried(forks, name, asked) for name in asked.only or COMMANDS)
    print(f"{bad} wrong")
    return min(1, bad)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
