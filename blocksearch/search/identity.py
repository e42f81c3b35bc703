"""What a user's function or sampler is, in words that change with what it does; what it reads
elsewhere is not seen.
"""

import inspect
from functools import partial
from hashlib import sha256
from types import CodeType
from typing import Any


def source_digest(function: Any) -> tuple[str, str]:
    """Return the name of a callable, an object or a class, and the digest of its source."""
    name, source = described(function)
    return name, sha256(source.encode()).hexdigest()


def is_optuna(sampler: object) -> bool:
    """Say whether an object is one of Optuna's samplers; Optuna need not be there."""
    return any(
        kind.__name__ == "BaseSampler" and kind.__module__.startswith("optuna.")
        for kind in type(sampler).__mro__
    )


def sampler_text(sampler: Any) -> str:
    """Return what a sampler is: its name, or its class with the arguments that are plain values; of
    a class of the user's own its source, too, and those of the user's that it is derived from.

    >>> sampler_text("evolution")
    'evolution'
    """
    if isinstance(sampler, str):
        return sampler
    if id(sampler) not in _TEXTS:
        _TEXTS[id(sampler)] = sampler, _text_of(sampler)
    return _TEXTS[id(sampler)][1]


# as they were when first seen: some of Optuna's change their own arguments once they are used; kept
# with the samplers, which need have no hash
_TEXTS: dict[int, tuple[Any, str]] = {}


def _text_of(sampler: Any) -> str:
    arguments = ", ".join(f"{name}={value}" for name, value in _arguments(sampler).items())
    text = f"{type(sampler).__module__}.{type(sampler).__qualname__}({arguments})"
    if type(sampler).__module__.startswith("optuna."):
        return text
    own = [kind for kind in type(sampler).__mro__ if kind.__module__.split(".")[0] not in _OTHERS]
    sources = "".join(source_digest(kind)[1] for kind in own)
    return f"{text} {sources[:16] if len(own) == 1 else sha256(sources.encode()).hexdigest()[:16]}"


_OTHERS = ("abc", "blocksearch", "builtins", "optuna", "typing")


def _arguments(sampler: object) -> dict[str, str]:
    """Return the plain arguments that an object was made with, as far as it keeps them."""
    found = {}
    for name in inspect.signature(type(sampler)).parameters:
        value = getattr(sampler, f"_{name}", getattr(sampler, name, None))
        if isinstance(value, bool | int | float | str | tuple):
            found[name] = repr(value)
        elif callable(value) and hasattr(value, "__qualname__"):
            found[name] = f"{value.__module__}.{value.__qualname__}"
    return found


def described(function: Any) -> tuple[str, str]:
    """Return the name of a callable, and a text that changes with what it does."""
    if isinstance(function, partial):
        name, source = described(function.func)
        return f"partial {name}", repr((source, function.args, sorted(function.keywords.items())))
    named = function if hasattr(function, "__qualname__") else type(function)
    try:
        source = inspect.getsource(named)
        if named.__qualname__.endswith("<lambda>"):  # its lines may hold others
            source += _code(named.__code__)
    except (OSError, TypeError):  # typed into a console, or written in another language
        source = _code(named.__code__) if hasattr(named, "__code__") else ""
    return f"{named.__module__}.{named.__qualname__}", source


def _code(code: CodeType) -> str:
    # a set is printed in another order by each process
    ordered = (
        sorted(map(repr, each)) if isinstance(each, frozenset) else each for each in code.co_consts
    )
    constants = [_code(each) if isinstance(each, CodeType) else repr(each) for each in ordered]
    return repr((code.co_code.hex(), code.co_names, constants))
