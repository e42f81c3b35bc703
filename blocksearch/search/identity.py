"""Identifies a user's function or sampler by a text that changes with its code; what it reads
elsewhere is not seen.
"""

import inspect
from functools import partial
from hashlib import sha256
from itertools import takewhile
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
    """Return what a sampler is: its name, or its class with the arguments that it keeps; of a class
    of the user's own its source, too, and those of the user's that it is derived from.

    >>> sampler_text("evolution")
    'evolution'
    """
    if isinstance(sampler, str):
        return sampler
    if id(sampler) not in _TEXTS:
        _TEXTS[id(sampler)] = sampler, _text_of(sampler)
    return _TEXTS[id(sampler)][1]


# texts as first seen, because some of Optuna's samplers change their own arguments when used; kept
# with the samplers, which need not be hashable
_TEXTS: dict[int, tuple[Any, str]] = {}


def _text_of(sampler: Any) -> str:
    given = ", ".join(f"{name}={value}" for name, value in _arguments(sampler).items())
    text = f"{type(sampler).__module__}.{type(sampler).__qualname__}({given})"
    if type(sampler).__module__.startswith("optuna."):
        return text
    own = [kind for kind in type(sampler).__mro__ if kind.__module__.split(".")[0] not in _OTHERS]
    sources = "".join(source_digest(kind)[1] for kind in own)
    return f"{text} {sources[:16] if len(own) == 1 else sha256(sources.encode()).hexdigest()[:16]}"


_OTHERS = ("abc", "blocksearch", "builtins", "optuna", "typing")


def _arguments(made: object) -> dict[str, str]:
    """Return what an object keeps of the arguments that it was made with."""
    names = inspect.signature(type(made)).parameters
    kept = {name: _kept(made, name) for name in names}
    return {name: _told(value) for name, value in kept.items() if value is not _LOST}


_LOST = object()
_OTHERWISE = {"deterministic_objective": "_deterministic"}  # where Optuna keeps an argument


def _kept(made: object, name: str) -> object:
    """Return an argument that an object keeps, itself or in a part of it that is Optuna's."""
    parts = [part for part in getattr(made, "__dict__", {}).values() if _is_of_optuna(part)]
    for place in (made, *parts) if name != "seed" else (made,):
        for own in (f"_{name}", name, _OTHERWISE.get(name, name)):
            if hasattr(place, own):
                found = getattr(place, own)
                return _LOST if name == "seed" and _is_drawn(found) else found
    return _LOST


def _is_drawn(seed: object) -> bool:
    """Say whether a sampler drew a seed for itself, another in each process. `QMCSampler` draws 64
    bits if it gets none, and a given seed has at most 32.
    """
    return isinstance(seed, int) and seed >= 1 << 32


def _is_of_optuna(value: object) -> bool:
    return any(kind.__module__.startswith("optuna.") for kind in type(value).__mro__)


def _told(value: Any) -> str:
    """Write an argument so that every process writes it alike, without addresses and with sets in
    order.
    """
    match value:
        case None | bool() | int() | float() | str():
            return repr(value)
        case dict():
            items = (f"{_told(key)}: {_told(own)}" for key, own in value.items())
            return f"{{{', '.join(sorted(items))}}}"
        case list() | tuple():
            return f"[{', '.join(map(_told, value))}]"
        case set() | frozenset():
            return f"{{{', '.join(sorted(map(_told, value)))}}}"
    if hasattr(value, "tolist"):
        return _told(value.tolist())
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    if _is_of_optuna(value):
        return _text_of(value).removeprefix(f"{type(value).__module__}.")
    return f"{type(value).__module__}.{type(value).__qualname__}"


def apart(old: str, new: str) -> tuple[str, str]:
    """Cut two texts to what a line has room for; those of one class to where they differ.

    >>> apart("A(a=1, b=2)", "A(a=1, b=4)")
    ('A(… b=2)', 'A(… b=4)')
    """
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(old, new, strict=False)))
    head, start = old[: old.find("(") + 1], old.rfind(", ", 0, same) + 2
    if not 2 <= len(head) < start:
        return f"{old:.90}", f"{new:.90}"
    return f"{head}… {old[start:]:.36}", f"{head}… {new[start:]:.36}"


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
