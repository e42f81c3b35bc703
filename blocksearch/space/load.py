"""Loads a space by name or file, with the ops that it defines. Only a named file is executed."""

import importlib.util
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blocksearch.arch.ops import Ops, ops_in
from blocksearch.errors import ConfigError, PluginError, SpecError, check_type, near, unknown
from blocksearch.files import check_regular
from blocksearch.space.grammar import Grammar

_RUNNING: set[Path] = set()  # files that are being executed, so that one cannot load itself


@dataclass(frozen=True, kw_only=True)
class SpaceFile:
    """The ops of a file by name, its space, if it has one, and the question that it asks."""

    path: Path = Path()
    options: Ops = field(default_factory=dict)
    grammar: Grammar | None = None
    question: str = ""

    def space(self) -> Grammar:
        """Return the space. Raises SpecError if the file has none."""
        if self.grammar is None:
            raise SpecError(
                f"{self.path} has options but no grammar; "
                "a space is a variable such as grammar = Grammar(…)"
            )
        return self.grammar


def load_space(name: str | Path) -> Grammar:
    """Load a shipped space by its name, or one of a file.

    >>> len(load_space("tiny"))
    288

    Raises ConfigError for an unknown name, SpecError for a file that defines no space.
    """
    return read_space(name).space()


def shipped_spaces() -> dict[str, Path]:
    """Return the files of the shipped spaces by name: inside an installed package, beside it in a
    checkout.
    """
    package = Path(__file__).parent.parent
    folders = (package / "search_spaces", package.parent / "search_spaces")
    folder = next((each for each in folders if each.is_dir()), None)
    return {path.stem: path for path in sorted(folder.glob("*.py"))} if folder else {}


def find_space(name: str | Path) -> Path:
    """Return the file of a shipped space, or of a path. Raises ConfigError for an unknown name."""
    check_type("a space", name, str | Path)
    try:
        path = Path(name).expanduser()
        if path.suffix or len(path.parts) > 1 or path.exists():
            return path
    except (RuntimeError, OSError) as error:  # no such user, a name that is too long
        raise ConfigError(f"{name} is no path of a file: {error}") from error
    shipped = shipped_spaces()
    if str(name) not in shipped:
        raise unknown("space", str(name), shipped, "; or name a file such as my_space.py")
    return shipped[str(name)]


def read_space(name: str | Path, registered: Callable[[], int] = lambda: 0) -> SpaceFile:
    """Execute the file of a space and collect what it defines.

    A file that registers something, which `registered` counts, may define nothing else. Raises
    SpecError with file and line if it is missing, is not Python, fails, or defines nothing or two
    spaces.
    """
    path, before = find_space(name), registered()
    if not path.is_file():
        raise SpecError(
            f"{path} is not a file; a space is a Python file such as my_space.py, "
            "or the name of a shipped one such as section3"
        )
    defined = run_file(path)
    values = list(defined.values())
    grammars = {id(value): value for value in values if isinstance(value, Grammar)}
    if len(grammars) > 1:
        raise SpecError(f"{path} defines {len(grammars)} grammars; a space file has one")
    options = ops_in(values)
    if not grammars and not options and registered() == before:
        raise SpecError(f"{path} defines neither a grammar nor an option")
    question = " ".join((defined["__doc__"] or "").split())
    return SpaceFile(
        path=path, options=options, grammar=next(iter(grammars.values()), None), question=question
    )


def import_beside(path: Path) -> None:
    """Allow a file to import modules that lie beside it, as a script may, after all others, so that
    none takes a library's place.
    """
    if (folder := str(path.resolve().parent)) not in sys.path:
        sys.path.append(folder)


def made_in(place: str, kind: str, is_one: Callable[[Any], bool]) -> Any:
    """Run a user's file and return what a name in it is, such as `my_model.py:make`; or what that
    returns, where it can be called and is not one itself.

    Raises SpecError, ConfigError or PluginError in one line.
    """
    made = value_in(place, kind)
    if not callable(made) or is_one(made):
        return made
    try:
        return made()
    except Exception as error:
        raise PluginError(f"{place}(): {type(error).__name__}: {error}") from error


def value_in(place: str, kind: str) -> Any:
    """Run a user's file and return what a name in it is. Raises as `made_in` does."""
    file, _, name = place.rpartition(":")
    if not file or not name.isidentifier():
        raise ConfigError(f"a {kind} is named FILE:NAME, such as my_{kind}.py:make, not {place!r}")
    try:
        path = Path(file).expanduser()
    except RuntimeError as error:  # no such user
        raise SpecError(f"{file} cannot be read: {error}") from error
    values = run_file(path)
    if name not in values:
        raise ConfigError(f"{file} defines no {name}{near(name, values)}")
    return values[name]


def run_file(path: Path) -> dict[str, Any]:
    """Execute a user's Python file and return what it defines, by name.

    It may import what lies beside it. Raises SpecError with file and line if it is no Python file,
    fails, or loads itself.
    """
    try:
        check_regular(path)
    except OSError as error:
        raise SpecError(f"{path} cannot be read: {error.strerror}") from error
    if path.resolve() in _RUNNING:
        raise SpecError(f"{path} loads itself")
    found = importlib.util.spec_from_file_location(path.stem, path)
    if found is None or found.loader is None:
        raise SpecError(f"{path} is not a Python file: its name must end in .py")
    module = importlib.util.module_from_spec(found)
    import_beside(path)
    _RUNNING.add(path.resolve())
    try:
        found.loader.exec_module(module)
    except SyntaxError as error:
        raise SpecError(f"{path}:{error.lineno or 1}: not Python: {error.msg}") from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a user's file may raise anything: say where
        frames = traceback.extract_tb(error.__traceback__)
        lines = [each.lineno for each in frames if Path(each.filename) == path.absolute()]
        line = lines[-1] if lines else 1
        raise SpecError(f"{path}:{line}: {type(error).__name__}: {error}") from error
    finally:
        _RUNNING.discard(path.resolve())
    return vars(module)
