"""The documents say what is so: their commands exist, their factors and rooms are all there, their
programs run. Figures of results are held to the shipped databases in `test_studies.py`.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

import blocksearch
from blocksearch.arch.factors import FACTORS
from blocksearch.arch.zoo import NAMED
from blocksearch.cli import app
from blocksearch.cli.commands import Deferred
from blocksearch.cli.options import names_of

ROOT = Path(__file__).parent.parent
README, MAP = ROOT / "README.md", ROOT / "blocksearch" / "README.md"
DOCUMENTS = [
    README,
    MAP,
    *(ROOT / name for name in ("CONTRIBUTING.md", "CHANGELOG.md")),
    *(
        ROOT / room / "README.md"
        for room in (
            *("studies", "search_spaces"),
            *(f"blocksearch/{name}" for name in ("ablation", "data", "training")),
        )
    ),
]
PROGRAMS = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def commands_in(text: str) -> list[str]:
    """Return what follows `blocksearch` in lines to type, and in quoted ones."""
    typed = re.findall(r"^    (?:.* && )?blocksearch (.+)$", text, re.MULTILINE)
    quoted = re.findall(r"`blocksearch ([^`]+)`", text)
    return typed + quoted


def loaded(command: object) -> object:
    return command.load() if isinstance(command, Deferred) else command


def found_command(words: list[str]) -> tuple[str, object, list[str]]:
    """Return the command that words call, with its name and the words that are left."""
    path, command, rest = [], typer.main.get_command(app), list(words)
    while rest and rest[0] in getattr(command, "commands", {}):
        path.append(rest.pop(0))
        command = loaded(command.commands[path[-1]])
    return " ".join(path), command, rest


COMMANDS = sorted({each for path in DOCUMENTS for each in commands_in(path.read_text())})


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_exists_with_its_options(line):
    name, command, rest = found_command(shlex.split(line))
    assert name, line
    assert not getattr(command, "commands", {}) or not rest, f"{name} has no command {rest[0]}"
    options = {option for each in command.params for option in each.opts}
    given = {word.split("=")[0] for word in rest if word.startswith("-")}
    assert given <= options | {"--help"}


def test_the_documents_name_every_command():
    def every(command, *path):
        if not getattr(command, "commands", {}):
            yield " ".join(path)
        for name, each in getattr(command, "commands", {}).items():
            yield from every(loaded(each), *path, name)

    named = {found_command(shlex.split(line))[0] for line in COMMANDS}
    text = README.read_text()
    named |= {f"reproduce {part}" for part in ("section3", "flops", "all") if f"`{part}`" in text}
    of_tables = {f"reproduce table{number}" for number in range(2, 8)}
    assert set(every(typer.main.get_command(app))) - of_tables - {"train"} <= named


def test_the_readme_is_short():
    lines = README.read_text().splitlines()
    assert len(lines) <= 150
    assert max(len(line) for line in lines if line[:1] not in (" ", "|")) <= 105


def test_the_table_of_factors_is_that_of_the_code():
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \| (.*) \|$", README.read_text(), re.MULTILINE)
    assert [(name, default) for name, default, _ in rows] == [
        (name, str(factor.default)) for name, factor in FACTORS.items()
    ]
    for name, _, said in rows:
        factor, words = FACTORS[name], set(re.findall(r"`([^`]+)`", said))
        for word in words - {"reduce(k)", "expand(r)", "last(g)", "both(g)", "reduce"}:
            factor.parse(word)  # raises an error where it is no value
        plain = {str(value) for value in factor.values if isinstance(value, str)}
        assert plain - words <= {str(factor.default)}
        assert ("an op of yours" in said) == bool(factor.op)


def test_the_rooms_and_words_are_those_of_the_code():
    text = MAP.read_text()
    rooms = re.findall(r"^\| `(\w+)(?:/|\.py)` \|", text, re.MULTILINE)
    package = Path(blocksearch.__file__).parent
    wanted = {path.parent.name for path in package.glob("*/__init__.py")} | {"errors", "files"}
    assert sorted(rooms) == sorted(wanted)
    glossary = text.partition("## Words")[2].strip().splitlines()[2:]
    assert len(glossary) <= 30
    words = [line.split("|")[1].strip() for line in glossary]
    assert words == sorted(words, key=str.lower)


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_files_that_a_document_names_are_there(path):
    text = path.read_text()
    linked = re.findall(r"\]\((?!https?:)([^)#]+)\)", text)
    assert [each for each in linked if not (path.parent / each).exists()] == []
    rooms = "|".join(("api", "arch", "cli", "data", "paper", "report", "runs", "search", "space"))
    named = re.findall(rf"`((?:{rooms}|training|ablation)/\w+\.py)`", text)
    assert [each for each in named if not any((ROOT / top / each).exists() for top in TOPS)] == []


TOPS = ("blocksearch", "tests")


def test_there_is_a_place_for_everything_that_may_be_added():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    assert len(text.splitlines()) <= 50
    for what in (
        *("factor", "layer", "data set", "augmentation", "objective", "sampler", "executor"),
        *("model format", "file format", "figure"),
    ):
        assert re.search(rf"^\| an? (\w+ )?{what} \|", text, re.MULTILINE), what


def test_the_command_line_lists_the_names_that_may_be_written():
    """So no document repeats them, but for the spaces, which have a guide."""
    assert names_of("networks") == list(NAMED)
    guide = (ROOT / "search_spaces" / "README.md").read_text()
    assert [name for name in names_of("spaces") if f"| `{name}` |" not in guide] == []


@pytest.mark.slow
@pytest.mark.parametrize("last", ["result", "study"])
def test_the_readmes_programs_run(last, tmp_path):
    result, space, study = PROGRAMS
    assert space.startswith("# my_space.py")
    programs = {"result": result, "my_space": space, "study": study}
    for name, code in programs.items():
        (tmp_path / f"{name}.py").write_text(code)
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    done = subprocess.run(
        [sys.executable, f"{last}.py"],
        check=False,
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    if last == "result":
        assert "pooling" in done.stdout
        assert "<html" in (tmp_path / "pooling.html").read_text()
    else:
        assert done.stdout.startswith("8 ")
