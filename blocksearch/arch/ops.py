"""Options that users add to a factor in a file of their own: a function from shapes to layers, and
its parameters.

    @option("attention")
    def se(entry: Shape, ratio: int = 4) -> Layers: ...

    se(ratio=8)                      # a value of the factor `attention`, written
    `squeeze.se(ratio=8)` if the file is squeeze.py

What an option may fill: `attention` (layers after the spatial ones), any of the activations
(`@option("activation")`), and `residual` (`f(entry, output, …)`: the shortcut's layers, added where
they end in the output's shape, else concatenated).
"""

import hashlib
import inspect
import re
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from blocksearch.arch.layers import Custom, Layers, Shape
from blocksearch.errors import ConfigError, PluginError, SpecError

Parameter = bool | int | float | str | None

FILLED_BY = {
    "attention": "attention",
    "residual": "residual",
    "first_activation": "activation",
    "spatial_activation": "activation",
    "activation": "activation",
    "join_activation": "activation",
}
_MOST_LAYERS = 1000  # a generator that never ends is a mistake, not an option
_TEXT = re.compile(r"([A-Za-z_]\w*\.[A-Za-z_]\w*)\(([^()\s]*)\)")


@dataclass(frozen=True)
class Option:
    """One value that a user defined; equal where text and source are."""

    factor: str
    text: str
    source: str
    function: Callable[..., Layers] = field(compare=False, repr=False)
    arguments: tuple[tuple[str, Parameter], ...] = ()

    def __str__(self) -> str:
        return self.text

    def expand(self, entry: Shape, *others: Shape) -> Layers:
        """Expand into one Custom layer.

        Raises PluginError, with file and line, where the user's function fails, its shapes do not
        chain, or an attention or activation does not keep the shape.
        """
        try:
            body = tuple(
                islice(self.function(entry, *others, **dict(self.arguments)), _MOST_LAYERS + 1)
            )
            self._check(body, entry)
        except Exception as error:  # a user's function may raise anything: say where and what
            file = inspect.getfile(self.function)
            frames = [
                frame.lineno
                for frame in traceback.extract_tb(error.__traceback__)
                if frame.filename == file
            ]
            line = frames[-1] if frames else self.function.__code__.co_firstlineno
            rule = f"option {self.text} does not expand on {entry}: {type(error).__name__}: {error}"
            raise PluginError(f"{rule} ({Path(file).name}:{line})") from error
        return (Custom(entry, self.text, self.source, body),) if body else ()

    def _check(self, body: Layers, entry: Shape) -> None:
        if len(body) > _MOST_LAYERS:
            raise SpecError(f"it has more than {_MOST_LAYERS} layers")
        shape = entry
        for layer in body:
            if layer.input != shape:
                raise SpecError(f"{type(layer).__name__} reads {layer.input} but follows {shape}")
            shape = layer.output
        if self.factor != "residual" and shape != entry:
            raise SpecError(f"an option of {self.factor} keeps the shape, but it ends in {shape}")


@dataclass(frozen=True)
class OptionFamily:
    """What `@option` makes of a function: call it with parameters for a value."""

    factor: str
    name: str
    source: str
    function: Callable[..., Layers] = field(compare=False, repr=False)

    @property
    def defaults(self) -> dict[str, Any]:
        """Its parameters with their defaults, or `inspect.Parameter.empty` for one that must be
        given.
        """
        shapes = 2 if self.factor == "residual" else 1
        own = list(inspect.signature(self.function).parameters.values())[shapes:]
        return {parameter.name: parameter.default for parameter in own}

    @property
    def example(self) -> str:
        """A call that makes a value."""
        missing = [n for n, value in self.defaults.items() if value is inspect.Parameter.empty]
        return f"{self.function.__name__}({', '.join(f'{name}=…' for name in missing)})"

    def __call__(self, **parameters: Parameter) -> Option:
        """Make a value. Raises ConfigError for a parameter that the function does not have."""
        known = self.defaults
        if wrong := set(parameters) - set(known):
            raise ConfigError(
                f"option {self.name} has no parameter {sorted(wrong)[0]!r}; known: {', '.join(known) or 'none'}"
            )
        chosen = {**known, **parameters}
        if missing := [name for name, value in chosen.items() if value is inspect.Parameter.empty]:
            raise ConfigError(f"option {self.name} needs its parameter {missing[0]!r}")
        chosen = {
            name: value.item() if isinstance(value, np.generic) else value
            for name, value in chosen.items()
        }
        for name, value in chosen.items():
            _check_written(self.name, name, value)
        text = f"{self.name}({','.join(f'{name}={value}' for name, value in chosen.items())})"
        return Option(self.factor, text, self.source, self.function, tuple(chosen.items()))


def option(factor: str) -> Callable[[Callable[..., Layers]], OptionFamily]:
    """Declare a function as an option of a factor. Raises ConfigError where the factor takes none."""
    if factor not in FILLED_BY.values():
        raise ConfigError(
            f"options are for {' or '.join(sorted(set(FILLED_BY.values())))}, but got {factor!r}"
        )

    def declare(function: Callable[..., Layers]) -> OptionFamily:
        name = f"{Path(inspect.getfile(function)).stem}.{function.__name__}"
        return OptionFamily(
            factor, name, hashlib.sha256(inspect.getsource(function).encode()).hexdigest(), function
        )

    return declare


Options = Mapping[str, OptionFamily]
NO_OPTIONS: Options = {}


def options_in(values: Iterable[Any]) -> Options:
    """Collect the options among a module's values, by name."""
    return {value.name: value for value in values if isinstance(value, OptionFamily)}


def read_option(factor: str, text: str, options: Options) -> Option | None:
    """Read `namespace.name(key=value,…)` as a factor's value; None where the text is no option's.

    Raises SpecError where the file that defines it is not loaded, or where it fills another factor.
    """
    match = _TEXT.fullmatch(text)
    if match is None:
        return None
    name, arguments = match.groups()
    if name not in options:
        raise SpecError(
            f"{factor}={text} is defined in {name.split('.')[0]}.py, which is not loaded; name it with --space"
        )
    pairs = [pair.partition("=") for pair in arguments.split(",") if pair]
    made = options[name](**{key: _parameter(value) for key, _, value in pairs})
    check_fills(factor, made)
    return made


def check_fills(factor: str, value: Option) -> None:
    """Raise SpecError where an option is given to a factor it was not declared for."""
    if FILLED_BY.get(factor) != value.factor:
        raise SpecError(f"{factor} cannot be {value}: that is an option of {value.factor}")


def _check_written(option: str, name: str, value: object) -> None:
    """Raise ConfigError for a parameter that would not be read back as it is written: a text means
    one network.
    """
    read = _parameter(str(value))
    if type(read) is not type(value) or read != value or re.search(r"[\s,()\[\]|]", str(value)):
        raise ConfigError(
            f"option {option} cannot have {name}={value!r}: a parameter is a number, True, False, None, "
            "or a word that is none of these, without spaces, commas, bars and brackets"
        )


_CONSTANTS: dict[str, Parameter] = {"True": True, "False": False, "None": None}


def _parameter(text: str) -> Parameter:
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
