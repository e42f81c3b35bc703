"""The file that is named is the one that is written and read, whatever its name; no password is
shown; what is no database file is refused at once.
"""

import os
import socket
import subprocess
import sys
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import pytest
from optuna.study import StudyDirection

from blocksearch import cli
from blocksearch.api.study import Study
from blocksearch.data import DataConfig, open_dataset
from blocksearch.errors import BlocksearchError, ConfigError, MissingError, StoreError
from blocksearch.runs.config import RunConfig
from blocksearch.runs.ledger import Ledger
from blocksearch.runs.location import Location
from blocksearch.runs.merge import merge_ledgers
from blocksearch.search.optuna_io import open_storage, storing
from blocksearch.search.stored_study import open_study
from blocksearch.search.summary import summarise
from blocksearch.training.recipe_text import recipe_named
from tests.fire.forks import images
from tests.runs.test_ledger import make_job, make_run
from tests.search.made import grammar, searched

NAMES = [
    *(
        "a%20b.db",
        "%41.db",
        "%2e%2e%2fup.db",
        "100%.db",
        "%00.db",
        "%.db",
        "%%.db",
        "x%3Fmode=ro.db",
    ),
    *(
        "q?x=1.db",
        "?.db",
        "q?mode=memory.db",
        "a?b?c",
        "?mode=ro&uri=true",
        "b#c.db",
        "#",
        "#?%.db",
    ),
    *("h#frag.db", ":memory:", ":memory:.db", "file:x.db", "file:x?mode=memory", "file::memory:"),
    *("sqlite:x.db", "a:b.db", "C:x.db", "&.db", "a&b=c.db", "+.db", "*.db", "[a].db", "{b}.db"),
    *(
        "{SCHEMA_VERSION}.db",
        "$HOME.db",
        "`id`.db",
        "|.db",
        ";.db",
        "'.db",
        '".db',
        "\\.db",
        "a\\b",
    ),
    *("\t.db", "\n.db", "\x1b[31m.db", "\u202eBD.db", "\x7f", " .db", " lead.db", "trail.db "),
    *(
        "é.db",
        "e\u0301.db",
        "日本.db",
        "🙂.db",
        "-dash.db",
        "--help",
        "..db",
        "...",
        "@.db",
        "u:p@h.db",
    ),
    *("\udcff\udcfe.db", "a\udc80", "x" * 240, "é" * 120, "CON", "nul", "%s%d%n.db", "a,b.db"),
]


def everything(folder):
    return {os.fsencode(path.relative_to(folder)) for path in folder.rglob("*")}


def read_all(file):
    """Ask everything that only reads."""
    assert open_study(str(file)).name == "made"
    with closing(Ledger(file, read_only=True)) as ledger:
        assert len(ledger.runs()) >= 1
    assert summarise(str(file), "theirs").entries == ()


def write_all(file):
    """Write a study, a run, and Optuna's tables."""
    searched(file, trials=3)
    with closing(Ledger(file)) as ledger:
        ledger.add_all([(make_job(), make_run(make_job()))])
    write_as_optuna(file, "theirs")


def write_as_optuna(file, name):
    with storing(str(file)):
        storage = open_storage(str(file))
        storage.create_new_study([StudyDirection.MINIMIZE, StudyDirection.MAXIMIZE], name)
        storage.remove_session()
        storage.engine.dispose()


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """Return the bytes of a file with a study, a run, and Optuna's tables."""
    file = tmp_path_factory.mktemp("whole") / "x.db"
    write_all(file)
    with closing(Ledger(file)) as ledger:
        ledger.add_all([(make_job(2), make_run(make_job(2)))])
    return file.read_bytes()


@pytest.fixture
def at(tmp_path, monkeypatch):
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_there_are_sixty_names_and_no_two_are_one():
    assert len(set(NAMES)) == len(NAMES) >= 60


@pytest.mark.parametrize(
    "name",
    [pytest.param(each, marks=pytest.mark.slow if n % 6 else ()) for n, each in enumerate(NAMES)],
    ids=ascii,
)
def test_what_exists_afterwards_is_exactly_the_name(at, whole, name):
    file = Path(name)
    for read in (read_all, lambda file: merge_ledgers(str(file), "none.db")):
        with pytest.raises(MissingError):
            read(file)
    assert everything(at) == set()
    Ledger(file).close()
    assert everything(at) == {os.fsencode(name)}
    file.write_bytes(whole)
    write_as_optuna(file, "more")
    with closing(Ledger(file)) as ledger:
        ledger.add_all([(make_job(1), make_run(make_job(1)))])
    Ledger("plain.db").close()
    before, left = file.read_bytes(), {os.fsencode(name), b"plain.db"}
    assert everything(at) == left
    read_all(file)
    assert merge_ledgers("plain.db", str(file))["copied"] == 3
    assert file.read_bytes() == before
    assert everything(at.parent) == {b"work"} | {b"work/" + each for each in left}


@pytest.mark.parametrize("folder", ["50%20off", "q?", "exp#3", "日本", "file:", "?mode=memory"])
def test_a_folder_has_whatever_name(tmp_path, monkeypatch, whole, folder):
    (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / folder)
    Ledger("a.db").close()
    Path("a.db").write_bytes(whole)
    write_as_optuna("a.db", "more")
    with closing(Ledger("a.db")) as ledger:
        ledger.add_all([(make_job(1), make_run(make_job(1)))])
    read_all(Path("a.db"))
    assert everything(tmp_path) == {os.fsencode(folder), os.fsencode(f"{folder}/a.db")}


@pytest.mark.parametrize(
    "name", ["nul\0.db", "x" * 244, "y" * 256, "é" * 125, f"{'d' * 200}/" * 3 + "x"]
)
def test_a_name_that_cannot_be_is_one_line_and_leaves_nothing(at, name):
    for act in (Ledger, summarise, Location, lambda file: RunConfig(db=file)):
        with pytest.raises(StoreError) as caught:
            act(name)
        assert "\n" not in str(caught.value)
    assert everything(at) == set()


FOLDERS = ["", ".", "/", "..", "./", "//", "/.", "new/", "new/.", "sub", "sub/", "sqlite:///.", "~"]


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_or_nothing_is_no_database(at, monkeypatch, name):
    Path("sub").mkdir()
    Ledger("a.db").close()
    monkeypatch.setenv("HOME", "/")
    before = everything(at.parent)
    merges = (lambda file: merge_ledgers("a.db", file), lambda file: merge_ledgers(file, "a.db"))
    for act in (Ledger, summarise, *merges):
        with pytest.raises(StoreError, match="a folder"):
            act(name)
    assert everything(at.parent) == before


@pytest.mark.parametrize("name", ["", "."])
@pytest.mark.parametrize(
    "words",
    [
        "pareto {}",
        "importance {}",
        "test {}",
        "verify {}",
        "merge {} a.db",
        "merge a.db {}",
        "ablate --factor residual --dataset own.npz --db {}",
        "search tiny --dataset own.npz --db {}",
        "train effnet --dataset own.npz --db {}",
    ],
)
def test_a_folder_or_nothing_as_a_database_is_one_line(at, monkeypatch, capsys, name, words):
    images(at)
    Ledger("a.db").close()
    before = everything(at.parent)
    given = [word.format(name) for word in words.split()]
    monkeypatch.setattr(sys, "argv", ["blocksearch", *given])
    assert cli._run() == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    assert "a folder" in said.err
    assert said.out == ""
    assert everything(at.parent) == before


SECRET = "s3cr3t"
URLS = [
    f"postgresql://user:{SECRET}@127.0.0.1:1/db",
    f"postgresql+psycopg://user:{SECRET}@127.0.0.1:1/db",
    f"postgresql://user:pa/{SECRET}@h/db",
    f"postgresql://user:pa@{SECRET}@h/db",
    f"postgresql://user:p@{SECRET}/x@h/db",
    f"postgresql://us/er:{SECRET}@h/db",
    f"postgresql://:{SECRET}@h/db",
    f"postgresql://user:{SECRET}@/db",
    f"postgresql://user:{SECRET}",
    "postgresql://user:73737373",
    f"postgresql://user:{SECRET}#frag@h/db",
    f"postgresql://user:{SECRET} with blanks@h/db",
    f"postgresql://user:a%2F{SECRET}@h/db",
    f"postgresql://h/db?user=u&password={SECRET}",
    f"postgresql://u@h/db?sslpassword={SECRET}",
    f"postgresql://u@h/db?passfile=/home/me/{SECRET}",
    f"postgresql://h?password={SECRET}",
    f"postgresql:///host=h password={SECRET}",
    f"postgresql://user:{SECRET}@[::1]:1/db",
    f"postgresql://user:{SECRET}@h:port/db",
    f"nosuch://user:{SECRET}@h/db",
    f"mysql+nosuch://user:{SECRET}@h/db",
    f"sqlite://user:{SECRET}@h/x.db",
    f"sqlite+pysqlcipher://:{SECRET}@/x.db",
    f"sqlite:///x.db?key={SECRET}",
    f"no scheme://user:{SECRET}@h/db",
    f"postgresql:/user:{SECRET}@h/db",
]


def said(act, url):
    """Return all that a call says: its answer, or its error with what that is from."""
    try:
        return repr(act(url)) + str(act(url))
    except BlocksearchError as error:
        return str(error) + repr(error)


@pytest.mark.parametrize("url", URLS)
def test_no_password_is_in_any_text(at, url):
    acts = [
        Location,
        Ledger,
        summarise,
        lambda url: RunConfig(db=url),
        lambda url: asdict(RunConfig(db=url)),
        lambda url: RunConfig(db=url, dataset="digits").settings(),
        lambda url: Study(grammar(), url, objective=print),
        lambda url: Study(grammar(), url, objective=print).search(1),
        lambda url: merge_ledgers(url, url),
        lambda url: merge_ledgers("a.db", url),
    ]
    Ledger("a.db").close()
    for act in acts:
        text = said(act, url)
        assert SECRET not in text
        assert "73737373" not in text
    assert everything(at) == {b"a.db"}


@pytest.mark.parametrize("url", [*URLS, *(url.replace("://", ":/") for url in URLS)])
@pytest.mark.parametrize("before", ["", "--save ", "it is called '", "a.db and "])
def test_no_error_repeats_a_password_of_a_url(url, before):
    """A path in which a URL stands has lost a slash."""
    text = str(ConfigError(f"{before}{url}"))
    assert SECRET not in text
    assert "73737373" not in text
    assert text.startswith(before)


LOST = [
    f"mssql+pyodbc:///?odbc_connect=DRIVER%3D1%3BPWD%3D{SECRET}",
    f"password%3d{SECRET}",
    f"x%253Bpwd%253D{SECRET}",
    f"redis:/u:{SECRET}@h/x.db",
    f"redis:u:{SECRET}@h/x.db",
    f"postgresql:u:{SECRET}@h/d.db",
]


@pytest.mark.parametrize("text", LOST)
def test_no_password_of_a_mangled_url_is_said_or_names_a_folder(at, text):
    assert SECRET not in str(ConfigError(f"--save {text}: no such file"))
    Ledger("a.db").close()
    merges = (lambda url: merge_ledgers("a.db", url), lambda url: merge_ledgers(url, "a.db"))
    weights = (lambda url: RunConfig(keep_weights=url),)
    for act in (Location, Ledger, *merges, *weights) if "@" in text else ():
        with pytest.raises(BlocksearchError) as caught:
            act(text)
        assert SECRET not in str(caught.value)
    assert everything(at) == {b"a.db"}


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://me@host:5433/runs",
        "see https://arxiv.org/abs/1801.06434, or write to a@b",
        "http://localhost:8080/x?page=2",
        "C:/images/a: it is not there",
        "12:/3 tokens=4",
    ],
)
def test_what_is_no_secret_is_said(text):
    assert str(ConfigError(text)) == text


@pytest.mark.parametrize("many", ["inf", "a:/", "a://b:", "a:/b:c@", "pass", "a:/ pass=", "@a:/"])
def test_a_search_for_secrets_ends_in_a_long_text(many):
    code = """import sys
from blocksearch.errors import ConfigError
many = sys.argv[1] * 20_000
for text in (many, f"http://a {many}", f"{many}@"):
    str(ConfigError(text))
"""  # a search that begins again at each character would take hours
    subprocess.run([sys.executable, "-c", code, many], check=True, timeout=100)


GIVEN = [
    "train effnet --dataset {}",
    "pareto s.db --save {}.html",
    "cost effnet --dataset {}",
    "compare --scores {}",
    "train effnet --dataset own.npz --recipe {}",
    "train effnet --dataset own.npz --keep-weights {}",
    "train effnet --dataset own.npz --data-root {}",
    "space {}",
    "show {}",
    "replace {}",
    "data describe {}",
    "search {} --dataset digits",
    "ablate --no-such-option {}",
    "cost effnet --plugin {}",
]


@pytest.mark.parametrize("words", GIVEN)
def test_a_url_where_none_is_wanted_is_one_line_without_its_password(
    at, whole, monkeypatch, capsys, words
):
    images(at)
    Path("s.db").write_bytes(whole)
    before = everything(at)
    for url in (URLS[0], URLS[2], f"s3://key:{SECRET}@bucket/x", f"http://h/x?token={SECRET}"):
        given = [word.format(url) for word in words.split()]
        monkeypatch.setattr(sys, "argv", ["blocksearch", *given])
        assert cli._run() == 2
        said = capsys.readouterr()
        assert said.err.count("\n") == 1
        assert SECRET not in said.err + said.out
    assert everything(at) == before


def test_a_path_may_begin_with_two_slashes(at, whole):
    (at / "x.db").write_bytes(whole)
    read_all(f"/{at}/x.db")
    write_as_optuna(f"/{at}/x.db", "mine")
    assert everything(at) == {b"x.db"}


def test_a_url_without_a_secret_is_shown_whole():
    assert Location("postgresql://me@host:5433/runs") == "postgresql://me@host:5433/runs"
    assert Location("sqlite:///a.db").file == Path("a.db")
    assert Location("sqlite://").file is None


@pytest.mark.slow
@pytest.mark.parametrize("url", URLS[::6])
@pytest.mark.parametrize(
    "command", [["pareto"], ["test"], ["ablate", "--factor", "residual", "--db"], ["merge", "a.db"]]
)
def test_no_command_prints_a_password(at, url, command):
    Ledger("a.db").close()
    done = subprocess.run(
        [sys.executable, "-m", "blocksearch", *command, url],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert SECRET not in done.stdout + done.stderr


def a_socket(path):
    with closing(socket.socket(socket.AF_UNIX)) as opened:
        opened.bind(str(path))


KINDS = {
    "fifo": os.mkfifo,
    "folder": lambda path: path.mkdir(),
    "socket": a_socket,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "loop": lambda path: path.symlink_to(path),
}


@pytest.mark.parametrize("ending", ["", "-journal", "-wal", "-shm"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_file_is_refused_at_once(at, whole, kind, ending):
    if ending:
        Path("x.db").write_bytes(whole)
    KINDS[kind](Path(f"x.db{ending}"))
    Ledger("a.db").close()
    for act in (Ledger, summarise, lambda file: merge_ledgers("a.db", file)):
        with pytest.raises(StoreError) as caught:
            act("x.db")
        assert f"x.db{ending}" in str(caught.value)
        assert "\n" not in str(caught.value)


FIFOS = [
    ("compare --scores f.csv", "it is a pipe"),
    ("train effnet --dataset own.npz --recipe f.toml", "it is a pipe"),
    ("replace f.py:make", "it is a pipe"),
    ("cost effnet --plugin f.py", "is not a file"),
    ("space f.py", "is not a file"),
    ("data describe f.csv", "it is a pipe"),
]


@pytest.mark.parametrize(("words", "says"), FIFOS)
def test_a_pipe_is_no_text(at, monkeypatch, capsys, words, says):
    images(at)
    for ending in ("csv", "toml", "py"):
        os.mkfifo(f"f.{ending}")
    monkeypatch.setattr(sys, "argv", ["blocksearch", *words.split()])
    assert cli._run() == 2
    assert says in capsys.readouterr().err


def test_a_byte_order_mark_is_no_mistake_in_a_recipe(at):
    Path("r.toml").write_text("\ufeffbatch = 64\n", encoding="utf-8")
    assert recipe_named("r.toml", None).batch == 64


def test_images_may_lie_in_a_folder_of_whatever_bytes(at, monkeypatch):
    """A name that is no UTF-8 is one of Linux."""
    images(at)
    names = {open_dataset("own.npz", DataConfig(), root=at / "da\udcffta") for _ in range(2)}
    assert len(names) == 1


@pytest.mark.parametrize("columns", ["0", "000", "", "-3", "many", "1"])
def test_an_answer_is_there_whatever_the_terminal_says_of_its_width(monkeypatch, capsys, columns):
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr(sys, "argv", ["blocksearch", "cost", "effnet", "--dataset", "digits"])
    assert cli._run() == 0
    assert "650c18555ac5" in capsys.readouterr().out.replace("\n", "")


def test_a_file_with_two_names_is_read_and_not_written(at, whole):
    Path("x.db").write_bytes(whole)
    os.link("x.db", "y.db")
    read_all(Path("y.db"))
    with pytest.raises(StoreError, match="hard links"):
        Ledger("y.db")
    with (
        closing(Ledger("y.db", create=False)) as ledger,
        pytest.raises(StoreError, match="hard links"),
    ):
        ledger.add_all([(make_job(5), make_run(make_job(5)))])


@pytest.mark.parametrize("ending", ["-wal", "-journal", "-shm"])
def test_a_database_is_never_taken_for_the_log_of_another(at, whole, ending):
    for name in ("x.db", f"x.db{ending}"):
        Path(name).write_bytes(whole)
    for name in ("x.db", f"x.db{ending}"):
        with pytest.raises(StoreError, match="SQLite"):
            Ledger(name)
        with pytest.raises(StoreError, match="SQLite"):
            summarise(name)
    with pytest.raises(StoreError, match="a name that SQLite gives to a log"):
        Ledger(f"new.db{ending}")
    there = {each.name: each.read_bytes() for each in Path().iterdir()}
    assert there == dict.fromkeys(("x.db", f"x.db{ending}"), whole)


def test_a_file_cut_to_nothing_is_not_taken_for_new_without_a_word(at):
    Ledger("x.db").close()
    Ledger("a.db").close()
    os.truncate("x.db", 0)
    for act in (summarise, lambda file: merge_ledgers("a.db", file)):
        with pytest.raises(StoreError, match=r"holds no study|is empty"):
            act("x.db")
    assert Path("x.db").stat().st_size == 0
    with pytest.warns(UserWarning, match="is empty: it is taken for a new database"):
        Ledger("x.db").close()
