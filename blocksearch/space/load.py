"""Load a user's space file: the options it defines, and its grammar. Only files that the user names are executed."""

import importlib.util
import traceback
from dataclasses import dataclass, field
from pathlib import Path

from blocksearch.errors import SpaceError
from blocksearch.space.grammar import Grammar
from blocksearch.space.options import Options, options_in


@dataclass(frozen=True)
class Space:
    """What a file defines: its options by name, and its one grammar if it has one."""

    options: Options = field(default_factory=dict)
    grammar: Grammar | None = None


def load_space(path: Path) -> Space:
    """Execute a file and collect what it defines.

    Raises SpaceError, with file and line, where it is missing, is not Python, fails, or defines two grammars or nothing.
    """
    if not path.is_file():
        raise SpaceError(f"{path} is not a file; a space is a Python file such as search_spaces/section3.py")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise SpaceError(f"{path} is not a Python file: its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise SpaceError(f"{path}:{error.lineno}: not Python: {error.msg}") from error
    except Exception as error:  # a user's file may raise anything: say where
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        raise SpaceError(f"{path}:{lines[-1] if lines else 1}: {type(error).__name__}: {error}") from error
    grammars = {id(value): value for value in vars(module).values() if isinstance(value, Grammar)}
    if len(grammars) > 1:
        raise SpaceError(f"{path} defines {len(grammars)} grammars; a space file has one")
    options = options_in(vars(module).values())
    if not grammars and not options:
        raise SpaceError(f"{path} defines neither a grammar nor an option")
    return Space(options, next(iter(grammars.values()), None))
