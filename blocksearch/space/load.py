"""Load a user's space file: the options it defines, and its grammar. Only files that the user names
are executed.
"""

import importlib.util
import traceback
from dataclasses import dataclass, field
from pathlib import Path

from blocksearch.arch.ops import Options, options_in
from blocksearch.errors import ConfigError, SpecError, unknown
from blocksearch.space.grammar import Grammar


@dataclass(frozen=True)
class Space:
    """What a file defines: its options by name, its one grammar if it has one, and the question
    that it asks.
    """

    options: Options = field(default_factory=dict)
    grammar: Grammar | None = None
    question: str = ""


def shipped_spaces() -> dict[str, Path]:
    """Return the spaces that come with the package, by name: inside it when installed, beside it in
    a checkout.
    """
    package = Path(__file__).parent.parent
    folder = next(
        (
            each
            for each in (package / "search_spaces", package.parent / "search_spaces")
            if each.is_dir()
        ),
        package,
    )
    return {
        path.stem: path for path in sorted(folder.glob("*.py")) if folder.name == "search_spaces"
    }


def find_space(text: str) -> Path:
    """Return the file that a user names by its path, or a shipped one by its name. Raises
    ConfigError with the known names.
    """
    try:
        path = Path(text).expanduser()
    except RuntimeError as error:  # no such user
        raise ConfigError(f"{text} is no path of a file: {error}") from error
    if path.suffix or len(path.parts) > 1 or path.exists():
        return path
    shipped = shipped_spaces()
    if text not in shipped:
        raise unknown("space", text, shipped, "; or name a file such as my_space.py")
    return shipped[text]


def load_space(path: Path) -> Space:
    """Execute a file and collect what it defines.

    Raises SpecError, with file and line, where it is missing, is not Python, fails, or defines two
    grammars or nothing.
    """
    if not path.is_file():
        raise SpecError(
            f"{path} is not a file; a space is a Python file such as my_space.py, or the name of a shipped one such as section3"
        )
    key = importlib.util.spec_from_file_location(path.stem, path)
    if key is None or key.loader is None:
        raise SpecError(f"{path} is not a Python file: its name must end in .py")
    module = importlib.util.module_from_spec(key)
    try:
        key.loader.exec_module(module)
    except SyntaxError as error:
        raise SpecError(f"{path}:{error.lineno or 1}: not Python: {error.msg}") from error
    except (Exception, SystemExit) as error:  # a user's file may raise anything: say where
        lines = [
            frame.lineno
            for frame in traceback.extract_tb(error.__traceback__)
            if Path(frame.filename) == path.absolute()
        ]
        raise SpecError(
            f"{path}:{lines[-1] if lines else 1}: {type(error).__name__}: {error}"
        ) from error
    grammars = {id(value): value for value in vars(module).values() if isinstance(value, Grammar)}
    if len(grammars) > 1:
        raise SpecError(f"{path} defines {len(grammars)} grammars; a space file has one")
    options = options_in(vars(module).values())
    if not grammars and not options:
        raise SpecError(f"{path} defines neither a grammar nor an option")
    question = " ".join((module.__doc__ or "").split())
    return Space(options, next(iter(grammars.values()), None), question)


def load_grammar(text: str) -> tuple[Grammar, str]:
    """Load a file's grammar, and the question it asks. Raises SpecError where it has none."""
    path = find_space(text)
    space = load_space(path)
    if space.grammar is None:
        raise SpecError(
            f"{path} has options but no grammar; a space is a variable such as grammar = Grammar(…)"
        )
    return space.grammar, space.question
