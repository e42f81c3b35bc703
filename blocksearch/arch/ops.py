"""Registers layers of users as values of a factor, each a function from shapes to layers.

    @op("attention")
    def se(entry: Shape, ratio: int = 4) -> Layers: ...

    se(ratio=8)        # a value of the factor `attention`, written `squeeze.se(ratio=8)` if the
                       # file is squeeze.py

An op is for `attention` (layers after the spatial ones), for any of the activations
(`@op("activation")`), or for `residual` (`f(entry, output, …)`: the shortcut's layers, which are
added if they end in the output's shape, else concatenated).
"""

import hashlib
import inspect
import re
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from blocksearch.arch.layers import CustomOp, Layer, Layers, Shape
from blocksearch.errors import ConfigError, PluginError, SpecError, check_fields

Parameter = bool | int | float | str | None

OP_KINDS = ("activation", "attention", "residual")
_MOST_LAYERS = 1000  # a generator that never ends is a mistake, not an op
NAME = r"[A-Za-z_]\w*\.[A-Za-z_]\w*"  # of an op, with its file's
_TEXT = re.compile(rf"({NAME})\(([^()\s]*)\)")


@dataclass(frozen=True, kw_only=True)
class Op:
    """A user's function as a value of a factor. Call it for the same one with other parameters.

    Equal if name, parameters and source are.
    """

    kind: str
    name: str
    source: str
    function: Callable[..., Layers] = field(compare=False, repr=False)
    arguments: tuple[tuple[str, Parameter], ...] = ()

    def __str__(self) -> str:
        return f"{self.name}({','.join(f'{name}={value}' for name, value in self.arguments)})"

    @property
    def defaults(self) -> dict[str, Any]:
        """Its parameters with their defaults, or `inspect.Parameter.empty` for a required one."""
        shapes = 2 if self.kind == "residual" else 1
        own = list(inspect.signature(self.function).parameters.values())[shapes:]
        return {parameter.name: parameter.default for parameter in own}

    def __call__(self, **parameters: Parameter) -> "Op":
        """Choose parameters. Raises ConfigError for one that the function lacks or still needs."""
        known = self.defaults
        if wrong := sorted(set(parameters) - set(known)):
            raise ConfigError(
                f"op {self.name} has no parameter {wrong[0]!r}; known: {', '.join(known) or 'none'}"
            )
        chosen = known | dict(self.arguments) | parameters
        if missing := [name for name, value in chosen.items() if value is inspect.Parameter.empty]:
            raise ConfigError(
                f"op {self.name} needs its parameter {missing[0]!r}; "
                f"call it: {self.function.__name__}({', '.join(f'{name}=…' for name in missing)})"
            )
        for name, value in chosen.items():
            chosen[name] = value.item() if isinstance(value, np.generic) else value
            _check_written(self.name, name, chosen[name])
        return replace(self, arguments=tuple(chosen.items()))

    def expand(self, entry: Shape, *others: Shape) -> Layers:
        """Expand into one CustomOp layer, or none.

        Raises PluginError with file and line if the function fails, its shapes do not chain, or an
        attention or activation changes the shape.
        """
        try:
            made = self.function(entry, *others, **dict(self.arguments))
            body = tuple(islice(made, _MOST_LAYERS + 1))
            self._check(body, entry)
        except Exception as error:  # a user's function may raise anything: say where and what
            file, code = inspect.getfile(self.function), self.function.__code__
            frames = traceback.extract_tb(error.__traceback__)
            numbers = [frame.lineno for frame in frames if frame.filename == file]
            where = f"{Path(file).name}:{numbers[-1] if numbers else code.co_firstlineno}"
            rule = f"op {self} does not expand on {entry}: {type(error).__name__}: {error}"
            raise PluginError(f"{rule} ({where})") from error
        return (CustomOp(entry, str(self), self.source, body),) if body else ()

    def _check(self, body: Layers, entry: Shape) -> None:
        if len(body) > _MOST_LAYERS:
            raise SpecError(f"it has more than {_MOST_LAYERS} layers")
        shape = entry
        for layer in body:
            _check_layer(layer)
            if layer.input != shape:
                raise SpecError(f"{type(layer).__name__} reads {layer.input} but follows {shape}")
            shape = layer.output
        if self.kind != "residual" and shape != entry:
            raise SpecError(f"an op for {self.kind} keeps the shape, but it ends in {shape}")


def _check_layer(layer: Any) -> None:
    """Raise ConfigError or SpecError for what is no layer, and for a field of another kind than the
    layer's class says.
    """
    if not isinstance(layer, Layer):
        raise SpecError(f"{type(layer).__name__} is no layer")
    check_fields(layer)
    for inner in _layers_in(tuple(vars(layer).values())):
        _check_layer(inner)


def _layers_in(value: Any) -> Iterator[Layer]:
    """Yield the outermost layers of nested tuples."""
    if isinstance(value, Layer):
        yield value
    elif isinstance(value, tuple):
        for each in value:
            yield from _layers_in(each)


def op(kind: str) -> Callable[[Callable[..., Layers]], Op]:
    """Make a function a value of `activation`, `attention` or `residual`.

    The digest of its source is part of a network's identity. Raises ConfigError for another kind,
    and for a function whose source cannot be read.

    >>> from blocksearch.arch.layers import Activation, Join
    >>> @op("activation")
    ... def swish(entry: Shape) -> Layers:
    ...     return (Join(entry, "multiply", ((), (Activation(entry, "hardsigmoid"),))),)
    >>> print(swish)
    notebook.swish()
    """
    if kind not in OP_KINDS:
        raise ConfigError(f"an op is for {' or '.join(OP_KINDS)}, but got {kind!r}")

    def declare(function: Callable[..., Layers]) -> Op:
        name = getattr(function, "__name__", "")
        try:
            source = hashlib.sha256(inspect.getsource(function).encode()).hexdigest()
            space = Path(inspect.getfile(function)).stem
        except (OSError, TypeError) as error:
            raise ConfigError(
                f"the source of op {name or function!r} cannot be read, and it is part of a "
                "network's identity: define the function in a file or a notebook"
            ) from error
        if not name.isidentifier():
            raise ConfigError(f"an op is a function with a name, but got {name or function!r}")
        space = space if space.isidentifier() else "notebook"  # where a cell is a file, a number
        return Op(kind=kind, name=f"{space}.{name}", source=source, function=function)

    return declare


Ops = Mapping[str, Op]
NO_OPS: Ops = {}


def ops_in(values: Iterable[Any]) -> Ops:
    """Collect the ops among a module's values, by name, as they were declared."""
    return {value.name: replace(value, arguments=()) for value in values if isinstance(value, Op)}


def read_op(factor: str, kind: str, text: str, ops: Ops) -> Op | None:
    """Read `namespace.name(key=value,…)` as a factor's value, or None if it is not such a text.

    Raises SpecError if its file is not loaded or has no such op, or the op is for another kind of
    factor.
    """
    match = _TEXT.fullmatch(text)
    if match is None:
        return None
    name, arguments = match.groups()
    if name not in ops:
        file = name.split(".")[0]
        if any(own.startswith(f"{file}.") for own in ops):
            raise SpecError(f"{factor}={text} is no op of {file}.py{loaded_ops(kind, ops)}")
        raise SpecError(f"{factor}={text} is defined in {file}.py, which is not loaded")
    pairs = [pair.partition("=") for pair in arguments.split(",") if pair]
    made = ops[name](**{key: _parameter(value) for key, _, value in pairs})
    return checked(factor, kind, made)


def loaded_ops(kind: str, ops: Ops) -> str:
    """Name the ops that a factor may have, for the end of an error; nothing if there are none."""
    own = sorted(f"{name}()" for name, each in ops.items() if each.kind == kind)
    return f"; loaded ops: {', '.join(own)}" if own else ""


def checked(factor: str, kind: str, value: Op) -> Op:
    """Return an op with all its parameters. Raises SpecError if the factor takes no such op."""
    if value.kind != kind:
        raise SpecError(f"{factor} cannot be {value}: that is an op for {value.kind}")
    return value if value.arguments else value()


def _check_written(op: str, name: str, value: object) -> None:
    """Raise ConfigError for a parameter that is not read back as it is written."""
    read = _parameter(str(value))
    if type(read) is not type(value) or read != value or re.search(r"[\s,()\[\]|]", str(value)):
        raise ConfigError(
            f"op {op} cannot have {name}={value!r}: a parameter is a number, True, False, None, "
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
