"""Reads a recipe from a name, a TOML file, either with changes, or a `Recipe`."""

import tomllib
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeAlias, get_type_hints

from blocksearch.arch.notation import divided
from blocksearch.errors import ConfigError, unknown
from blocksearch.files import read_text
from blocksearch.training.recipe import BALANCED, RECIPES, Recipe
from blocksearch.training.registry import read_value

RecipeLike: TypeAlias = str | Path | Recipe
_FIELDS = {each.name: each for each in fields(Recipe) if each.init}
_BASE = "base"  # in a file: the recipe of which the rest are changes


def recipe_named(
    given: RecipeLike,
    epochs: int | None,
    changes: Mapping[str, Any] | None = None,
    usual: int | None = None,
) -> Recipe:
    """Read a recipe and make the changes that are not None.

    `given` is a name, a file such as "mine.toml", either with changes after it ("fast batch=64
    optimizer=sgd(momentum=0.8)"), or a `Recipe`. It lasts `epochs`, else what the text says, else
    the `usual` number, else the recipe's own. A file has the fields of a `Recipe` and the name of
    its `base`, which is "paper" unless said. Raises ConfigError for what it cannot be.

    >>> recipe_named("fast batch=64", epochs=5).batch
    64
    """
    told = {key: value for key, value in (changes or {}).items() if value is not None}
    if isinstance(given, Recipe):
        return replace(given, **told | ({} if epochs is None else {"epochs": epochs}))
    name, *words = _words(str(given))
    base, own = _file(Path(name)) if name.endswith(".toml") else (name, {})
    if base not in RECIPES:
        raise unknown("recipe", base, RECIPES, "; or name a file such as mine.toml")
    own |= dict(_change(word) for word in words)
    replace(RECIPES[base], **own)  # what is wrong there is said, whatever goes before it
    lasting = next((n for n in (epochs, own.get("epochs"), usual) if n is not None), None)
    own |= told | ({} if lasting is None else {"epochs": lasting})
    return replace(RECIPES[base], **own)


def _words(text: str) -> list[str]:
    """Divide a text at spaces, but not at those within brackets."""
    words = divided(text.strip(), at=r"\s+")
    if not words[0]:
        raise ConfigError(f"a recipe must have a name, such as {', '.join(RECIPES)}, but got ''")
    return words


def _change(word: str) -> tuple[str, Any]:
    """Read `name=value`."""
    name, equals, text = word.partition("=")
    if not equals:
        raise ConfigError(f"a change of a recipe must be name=value, but got {word!r}")
    if name not in _FIELDS:
        raise unknown("field of a recipe", name, _FIELDS)
    return name, _value(name, text)


def _value(name: str, text: str) -> Any:
    """Read a field's value from a text."""
    match name:
        case "class_weights":
            if text == BALANCED:
                return text
            return tuple(read_value(name, each, float) for each in divided(text) if each)
        case "dropout":
            return read_value(name, text, float)
        case _:
            kind = get_type_hints(Recipe)[name]
            return read_value(name, text, kind) if kind in (int, float, bool) else text


def _file(path: Path) -> tuple[str, dict[str, Any]]:
    """Read a file of a recipe: its base, and the fields that it changes."""
    try:
        found = tomllib.loads(read_text(path.expanduser()))
    except OSError as error:
        raise ConfigError(f"recipe {path} cannot be read: {error.strerror or error}") from error
    except (ValueError, RuntimeError) as error:  # not TOML, not UTF-8, no such user
        said = " ".join(str(error).split())
        raise ConfigError(f"recipe {path} is not a TOML file: {said}") from error
    base = found.pop(_BASE, "paper")
    if not isinstance(base, str):
        raise ConfigError(f"recipe {path}: base must be the name of a recipe, but got {base!r}")
    if base not in RECIPES:
        raise ConfigError(f"recipe {path}: {unknown('base', base, RECIPES)}")
    for name in found:
        if name not in _FIELDS:
            raise ConfigError(f"recipe {path}: {unknown('field', name, [_BASE, *_FIELDS])}")
    return base, found
