"""The text of blocks and networks, both ways: `parse(format(x)) == x`, and errors that show the
text and a caret.

    bottleneck=reduce(2) minimum=6 kernel=1x3+3x1 pooling=separable_conv
    input=3x32x32 widths=64,128,256 classes=10 first_layer=block [bottleneck=reduce(2) ...]

A block is its factors that differ from their defaults; a network is its task and, in brackets, one
block for all stages or one for each.
"""

import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from blocksearch.arch.block import Block
from blocksearch.arch.factors import FACTORS
from blocksearch.arch.layers import Shape
from blocksearch.arch.network import Network, Task
from blocksearch.arch.ops import NO_OPTIONS, Options
from blocksearch.errors import ParseError, SpecError

_TOKEN = re.compile(r"\s*(?:(?P<bracket>[\[\]])|(?P<word>[^\s\[\]]+))")


@dataclass(frozen=True)
class _Token:
    text: str
    at: int


def format_block(block: Block) -> str:
    """Write a block: its factors that differ from their defaults."""
    return str(block)


def format_network(network: Network) -> str:
    """Write a network on one line."""
    return str(network)


def parse_block(text: str, options: Options = NO_OPTIONS) -> Block:
    """Read a block, with a user's options. Raises ParseError that shows the text and a caret."""
    return _block(text, list(_tokens(text)), Block(), options)


def override(text: str, base: Block, options: Options = NO_OPTIONS) -> Block:
    """Read factors that replace those of a base block."""
    return _block(text, list(_tokens(text)), base, options)


def parse_network(text: str, options: Options = NO_OPTIONS) -> Network:
    """Read a network, with a user's options. Raises ParseError that shows the text and a caret."""
    tokens = list(_tokens(text))
    depth = next((i for i, token in enumerate(tokens) if token.text == "["), len(tokens))
    head = _pairs(text, tokens[:depth], _NETWORK_KEYS)
    for key in ("input", "widths", "classes"):
        if key not in head:
            raise _error(text, 0, f"a network needs {key}=…")
    blocks = tuple(_brackets(text, tokens[depth:], options))
    if not blocks:
        raise _error(text, len(text), "a network needs a block in brackets, such as [kernel=3x3]")
    values = {key: value for key, (value, _) in head.items()}
    first_layer = values.pop("first_layer", "block")
    try:
        return Network(task=Task(**values), blocks=blocks, first_layer=first_layer)
    except ParseError:
        raise
    except SpecError as error:
        raise _error(text, 0, str(error)) from error


def read_shape(text: str) -> Shape | None:
    """Read channels×height×width, written 3x32x32."""
    match = re.fullmatch(r"([0-9]{1,5})x([0-9]{1,5})x([0-9]{1,5})", text)
    return Shape(int(match[1]), int(match[2]), int(match[3])) if match else None


def read_widths(text: str) -> tuple[int, ...] | None:
    """Read stage widths, written 64,128,256."""
    return (
        tuple(map(int, text.split(",")))
        if re.fullmatch(r"[0-9]{1,6}(,[0-9]{1,6})*", text)
        else None
    )


def _read_dropout(text: str) -> float | None:
    return float(text) if re.fullmatch(r"0(\.[0-9]+)?|[0-9](\.[0-9]+)?e-[0-9]+", text) else None


_NETWORK_KEYS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "input": ("channels, height and width such as 3x32x32", read_shape),
    "widths": ("whole numbers such as 64,128,256", read_widths),
    "classes": (
        "a whole number",
        lambda text: int(text) if re.fullmatch(r"[0-9]{1,6}", text) else None,
    ),
    "dropout": ("a rate from 0 and below 1", _read_dropout),
    "first_layer": (
        "vanilla or block",
        lambda text: text if text in {"vanilla", "block"} else None,
    ),
}


def _tokens(text: str) -> Iterator[_Token]:
    for match in _TOKEN.finditer(text):
        group = "bracket" if match["bracket"] else "word"
        yield _Token(match[group], match.start(group))


def _error(text: str, at: int, rule: str) -> ParseError:
    shown = re.sub(r"\s", " ", text)
    return ParseError(f"{rule}\n  {shown}\n  {' ' * at}^")


def _key_value(text: str, token: _Token, known: list[str]) -> tuple[str, str, int]:
    key, equals, value = token.text.partition("=")
    if not equals:
        raise _error(text, token.at, f"expected factor=value, but got {token.text!r}")
    if key not in known:
        near = difflib.get_close_matches(key, known, 1)
        hint = f" (did you mean {near[0]!r}?)" if near else f"; known: {', '.join(known)}"
        raise _error(text, token.at, f"unknown name {key!r}{hint}")
    return key, value, token.at + len(key) + 1


def _pairs(
    text: str, tokens: list[_Token], keys: Mapping[str, tuple[str, Callable[[str], Any]]]
) -> dict[str, tuple[Any, int]]:
    found: dict[str, tuple[Any, int]] = {}
    for token in tokens:
        key, written, at = _key_value(text, token, list(keys))
        if key in found:
            raise _error(text, token.at, f"{key} is given twice")
        rule, read = keys[key]
        try:
            value = read(written)
        except SpecError as error:
            raise _error(text, at, str(error)) from error
        if value is None:
            raise _error(text, at, f"{key} must be {rule}, but got {written!r}")
        found[key] = (value, at)
    return found


def _block(text: str, tokens: list[_Token], base: Block, options: Options) -> Block:
    keys = {
        name: (factor.grammar, partial(factor.parse, options=options))
        for name, factor in FACTORS.items()
    }
    found = _pairs(text, tokens, keys)
    try:
        return base.with_factors({key: value for key, (value, _) in found.items()})
    except SpecError as error:
        raise _error(text, tokens[0].at if tokens else 0, str(error)) from error


def _brackets(text: str, tokens: list[_Token], options: Options) -> Iterator[Block]:
    start = None
    for index, token in enumerate(tokens):
        match token.text, start:
            case "[", None:
                start = index
            case "]", int():
                yield _block(text, tokens[start + 1 : index], Block(), options)
                start = None
            case (("[" | "]"), _):
                raise _error(text, token.at, f"unexpected {token.text!r}")
            case _, None:
                raise _error(
                    text, token.at, f"expected a block in brackets, but got {token.text!r}"
                )
    if start is not None:
        raise _error(text, tokens[start].at, "this bracket is not closed")
