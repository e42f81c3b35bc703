"""Files: what stands there stays whole when a write fails, and what is no regular file is refused
at once, as output and as input.
"""

import os
import resource
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from blocksearch.arch.zoo import TASKS, named_network
from blocksearch.cli import main
from blocksearch.data import DataConfig, open_dataset
from blocksearch.errors import BlocksearchError, ConfigError
from blocksearch.files import check_regular, replace_file
from blocksearch.report.table import Report, rows_table
from blocksearch.report.writers import WRITERS, save, writer_for
from blocksearch.runs.ledger import Ledger
from blocksearch.training.exporters import export
from blocksearch.training.weights import save as save_arrays
from blocksearch.training.weights import save_weights

REPORT = Report(title="t", tables=(rows_table("sizes", [{"size": 1.5, "name": "x" * 500}]),))
ARRAYS = {"a": np.arange(500.0)}
NETWORK = named_network("effnet", TASKS["digits"])
WRITES = {
    "a.npz": lambda file: save_arrays(file, ARRAYS),
    "a.safetensors": lambda file: save_weights(file, ARRAYS, {"of": "a test"}),
    "b.safetensors": lambda file: export(NETWORK, NETWORK.module(seed=0).state_dict(), file),
    **{f"a{suffix}": lambda file: save(REPORT, file) for suffix in WRITERS},
}


@contextmanager
def at_most(size):
    """Let this process write files of so many bytes at most: the system refuses the rest."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("name", WRITES)
@pytest.mark.parametrize("size", [0, 1, 100])
def test_a_failed_write_leaves_the_earlier_file_whole(tmp_path, name, size):
    file = tmp_path / name
    file.write_bytes(b"before")
    file.chmod(0o640)
    with at_most(size), pytest.raises((OSError, ConfigError), match="File too large"):
        WRITES[name](file)
    assert file.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [file]
    WRITES[name](file)
    assert file.stat().st_size > 100
    assert file.stat().st_mode & 0o777 == 0o640  # whoever could read it still can
    assert list(tmp_path.iterdir()) == [file]


def test_a_writer_that_fails_leaves_the_earlier_file_whole(tmp_path):
    def half(file):
        file.write(b"half")
        raise KeyboardInterrupt

    (tmp_path / "a").write_bytes(b"before")
    with pytest.raises(KeyboardInterrupt):
        replace_file(tmp_path / "a", half)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", b"before")]


@pytest.mark.parametrize("name", ["a", "x" * 255, "é" * 127, "a b%20#?.csv", "-", "\udcff"])
def test_any_name_is_written_under_that_name(tmp_path, name):
    for content in (b"one", b"two"):
        replace_file(tmp_path / name, content)
        assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [(name, content)]


def test_a_new_file_has_the_rights_that_the_user_gives_new_files(tmp_path):
    replace_file(tmp_path / "a", b"")
    (tmp_path / "b").touch()
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_a_link_stays_and_what_it_names_is_replaced(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder/file")
    replace_file(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "folder" / "file").read_bytes() == b"new"


def irregular(folder, suffix):
    """Make one of each kind of what is no regular file, and name them."""
    kinds = {kind: folder / f"{kind}{suffix}" for kind in ("pipe", "socket", "folder", "device")}
    os.mkfifo(kinds["pipe"])
    kinds["folder"].mkdir()
    kinds["device"].symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as made:
        here = os.open(".", os.O_RDONLY)
        os.chdir(folder)  # a socket's path has at most 107 bytes
        made.bind(kinds["socket"].name)
        os.fchdir(here)
        os.close(here)
    link, circle = folder / f"link{suffix}", folder / f"circle{suffix}"
    link.symlink_to(kinds["pipe"])
    circle.symlink_to(circle)
    return kinds | {"link": link, "circle": circle}


@pytest.mark.parametrize("suffix", WRITERS)
def test_what_is_no_regular_file_is_refused_as_output(tmp_path, suffix):
    for kind, path in irregular(tmp_path, suffix).items():
        for refuse in (writer_for, lambda path: save(REPORT, path)):
            with pytest.raises(ConfigError, match="cannot be written: ") as caught:
                refuse(path)
            wanted = {"link": "it is a pipe", "circle": "ymbolic link"}
            assert wanted.get(kind, f"it is a {kind}") in str(caught.value)


def test_what_is_no_regular_file_is_refused_as_input(tmp_path):
    for path in irregular(tmp_path, ".npz").values():
        with pytest.raises(OSError):  # noqa: PT011
            check_regular(path)
        with pytest.raises(BlocksearchError, match="cannot be read: "):
            open_dataset(path, DataConfig())
    with pytest.raises(FileNotFoundError):
        check_regular(tmp_path / "none")
    with pytest.raises(OSError, match=r"null (byte|character)"):
        check_regular(tmp_path / "a\0b")


@pytest.mark.slow
def test_a_full_folder_of_temporary_files_stops_no_answer(tmp_path):
    """Everything is written beside its place: nothing needs room in /tmp."""
    full = tmp_path / "full"
    full.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", str(full)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("this user cannot mount a file system")
    try:
        with pytest.raises(OSError, match="No space left"):
            (full / "a").write_bytes(bytes(10_000))
        where = os.environ | {"TMPDIR": str(full), "HOME": str(full), "XDG_CACHE_HOME": str(full)}
        files = ["a.html", "a.svg", "a.png", "a.pdf", "a.csv"]
        asked = [sys.executable, "-m", "blocksearch", "show", "effnet"]
        asked += [word for file in files for word in ("--save", file)]
        subprocess.run(asked, check=True, capture_output=True, env=where, cwd=tmp_path)
        assert all((tmp_path / file).stat().st_size > 100 for file in files)
        into = [sys.executable, "-m", "blocksearch", "show", "effnet", "--save", full / "a.html"]
        done = subprocess.run(into, check=False, capture_output=True, text=True)
        said = f"blocksearch: {full}/a.html cannot be written: No space left on device\n"
        assert (done.returncode, done.stderr) == (2, said)
    finally:
        subprocess.run(["umount", full], check=True)


@pytest.fixture
def soon():
    """Fail a test that waits without end."""
    before = signal.signal(signal.SIGALRM, lambda *_: pytest.fail("it waits"))
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize(
    ("suffix", "command"),
    [
        (".npz", "cost effnet --dataset"),
        (".py", "space"),
        (".py", "cost effnet --plugin"),
        (".html", "show effnet --save"),
    ],
)
@pytest.mark.usefixtures("soon")
def test_no_command_waits_for_what_is_no_file(tmp_path, monkeypatch, capsys, suffix, command):
    for path in irregular(tmp_path, suffix).values():
        monkeypatch.setattr(sys, "argv", ["blocksearch", *command.split(), str(path)])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        assert (ended.value.code, printed.out) == (2, "")
        assert printed.err.startswith("blocksearch: ")
        assert printed.err.count("\n") == 1


REPLACING = [
    "pareto p.html --save p.html",
    "pareto p.html --save ./p.html",
    "pareto p.html --save link.html",
    "pareto sqlite:///p.html --save hard.html",
    "show effnet --save other.json",
    "compare --scores sc.csv --save sub/../sc.csv",
    "compare --scores sc.csv --reference old --save link.csv",
    "train effnet --dataset digits --db new.csv --save new.csv",
    "train effnet --dataset digits --db new --keep-weights ./new",
    "ablate --factor residual --dataset l.csv --save l.csv",
    "search tiny --dataset digits --db new.json --save to-new.json",
    "merge p.html other.json --save other.json",
    "tabulate tiny --dataset digits --table other.csv",
    "tabulate tiny --dataset digits --db new.csv --table ./new.csv",
    "data describe l.csv --save l.csv",
    "data describe pictures --sheet pictures/a/0.png",
    "data describe digits --sheet other.png",
    "show effnet --save a.html --save ./a.html",
]


@pytest.mark.parametrize("words", REPLACING)
def test_no_output_replaces_a_database_or_what_its_command_reads(
    tmp_path, monkeypatch, capsys, words
):
    monkeypatch.chdir(tmp_path)
    for name in ("p.html", "other.json", "other.csv", "other.png"):
        Ledger(name).close()
    Path("link.html").symlink_to("p.html")
    os.link("other.json", "hard.html")
    Path("sc.csv").write_text("treatment,seed,score\nold,0,1\nnew,0,2\n")
    Path("link.csv").symlink_to("sc.csv")
    Path("to-new.json").symlink_to("new.json")
    Path("l.csv").write_text("path,label\na.png,a\n")
    Path("sub").mkdir()
    Path("pictures/a").mkdir(parents=True)
    Path("pictures/a/0.png").write_bytes(b"a picture")
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    monkeypatch.setattr(sys, "argv", ["blocksearch", *words.split()])
    with pytest.raises(SystemExit) as ended:
        main()
    printed = capsys.readouterr()
    assert (ended.value.code, printed.out, printed.err.count("\n")) == (2, "", 1)
    assert "replaced" in printed.err or "of its own" in printed.err
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before


def test_an_earlier_answer_is_replaced(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("sc.csv").write_text("treatment,seed,score\nold,0,1\nold,1,2\nnew,0,2\nnew,1,4\n")
    for _ in range(2):
        words = "compare --scores sc.csv --reference old --save a.csv"
        monkeypatch.setattr(sys, "argv", ["blocksearch", *words.split()])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code
    assert Path("a.csv").read_text() != Path("sc.csv").read_text()


def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path):
    """Neither what another machine is writing, nor what a live process here is."""
    file = tmp_path / "a[1].html"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    with subprocess.Popen([sys.executable, "-c", KILLED, file], env=environment) as killed:
        assert killed.wait() == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    own = left.with_name(left.name.replace(f"-{killed.pid}-", f"-{os.getpid()}-"))
    here = left.name.split(".")[2].partition("-")[0]
    elsewhere = left.with_name(left.name.replace(here, "abcdef"))
    assert len({left, own, elsewhere}) == 3
    for each in (own, elsewhere):
        each.write_bytes(b"")
    replace_file(file, b"whole")
    assert set(tmp_path.iterdir()) == {file, own, elsewhere}


KILLED = """
import os, signal, sys
from pathlib import Path
from blocksearch.files import replace_file

replace_file(Path(sys.argv[1]), lambda file: os.kill(os.getpid(), signal.SIGKILL))
"""
