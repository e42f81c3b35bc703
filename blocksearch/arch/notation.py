"""Reads texts of blocks and networks. `parse(str(network)) == network`.

effnet                                              a network of the zoo, on a task
effnet residual=add stem=conv widths=8,16,32        with changes
bottleneck=reduce(2) kernel=1x3+3x1                 a block, here for every stage
input=3x32x32 widths=8,16 classes=10 stem=block [kernel=3x3]      a network, with its task
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

from blocksearch.arch.block import Block
from blocksearch.arch.factors import FACTORS
from blocksearch.arch.network import HEADS, Network, Task
from blocksearch.arch.ops import NO_OPS, Ops
from blocksearch.arch.shape import read_shape
from blocksearch.arch.skeleton import Skeleton
from blocksearch.arch.stem import RULE, Stem, read_stem
from blocksearch.arch.zoo import NAMED, dataset_of, named, reference, with_stages
from blocksearch.errors import ConfigError, ParseError, SpecError, check_type, near

_TASK_KEYS = ("input=", "classes=")  # only in a network's text
_TOKEN = re.compile(r"[\[\]]|[^\s\[\]]+")
EARLIER_STEMS = {"vanilla": "conv"}  # in stored texts, where the key is first_layer
_EARLIER_STEM = re.compile(r"\bfirst_layer=(\w+)")
_SHOWN = 80
_Tokens: TypeAlias = Sequence[re.Match[str]]
_Keys: TypeAlias = dict[str, tuple[str, Callable[[str], Any]]]  # what a value is, and its reader


def has_task(text: str) -> bool:
    """Return whether a text is a whole network's, which brings its own task.

    >>> has_task("effnet residual=add"), has_task("input=3x8x8 widths=4 classes=2 [kernel=3x3]")
    (False, True)
    """
    words = (token[0] for token in _TOKEN.finditer(text))
    return any(word == "[" or word.startswith(_TASK_KEYS) for word in words)


def parse(
    text: str,
    task: Task | str | None = None,
    ops: Ops = NO_OPS,
    *,
    dataset: str | None = None,
    as_written: bool = False,
) -> Network:
    """Read a network: a name of the zoo, one with changes, a block's text, or a network's text.

    >>> from blocksearch import TASKS
    >>> parse("effnet residual=add", TASKS["gtsrb"]).cost.flops
    344064

    A network's text brings its own task; the name of a shipped data set stands for its task. A
    task without widths gets 8,16,32. `ops` are a user's, by name; for `dataset` and `as_written`,
    see `zoo.named_network`. Raises ParseError with the text, ConfigError for an unknown name,
    SpecError if it cannot be built.
    """
    check_type("a network", text, str)
    tokens = list(_TOKEN.finditer(text))
    if has_task(text):
        return _network(text, tokens, ops)
    if task is None:
        raise ConfigError(f"a network needs a task unless its text has one, but got {text!r}")
    is_block = bool(tokens) and "=" in tokens[0][0]
    found = _pairs(text, tokens if is_block else tokens[1:], _CHANGES | _factor_keys(ops))
    dataset, task = dataset_of(task) or dataset, with_stages(task)
    task = replace(task, widths=found.pop("widths", task.widths))
    if is_block:
        stem, widths = "block", task.widths
        blocks: tuple[Block, ...] = (Block(),)
    else:
        name = tokens[0][0] if tokens else text
        stem, blocks, widths = reference(name, task, dataset=dataset, as_written=as_written)
    stem = found.pop("first_layer", found.pop("stem", stem))
    head = found.pop("head", "flatten")
    blocks = tuple(_changed(text, block, found) for block in blocks)
    return Network(task=task, widths=widths, stem=stem, head=head, blocks=blocks)


def called(network: Network, dataset: str | None = None) -> str:
    """Write a network in the fewest letters from which `parse` reads it on its task: its block, or
    a name of the zoo with changes. One whose blocks differ, and have no name, has each in brackets.

    >>> called(parse("spatial=dense last=none residual=add stem=block", "gtsrb"))
    'baseline residual=add'
    """
    own = [f"stem={network.stem}", *(f"[{block}]" for block in network.blocks)]
    found = [] if len(network.blocks) > 1 else [_changes(network, "", "block", (Block(),))]
    for name, row in NAMED.items():
        if not (row.fills or network.skeleton):
            stem, blocks, _ = reference(name, network.task, dataset=dataset)
            found.append(_changes(network, name, stem, blocks))
    return min((text for text in found if text), key=len, default=" ".join(own))


def _changes(network: Network, name: str, stem: Stem, blocks: tuple[Block, ...]) -> str:
    """Write a network as changes of another; nothing where one change of all blocks is too few."""
    count = max(len(network.blocks), len(blocks))
    own, others = (each * (count // len(each)) for each in (network.blocks, blocks))
    changes: dict[str, Any] = {
        factor: value
        for mine, other in zip(own, others, strict=True)
        for factor, value in mine.values().items()
        if value != other.values()[factor]
    }
    try:
        same = own == tuple(other.with_factors(changes) for other in others)
    except SpecError:  # of another block they may contradict each other
        same = False
    if not same:
        return ""
    around = {"stem": (network.stem, read_stem(stem)), "head": (network.head, HEADS[0])}
    changes |= {key: mine for key, (mine, other) in around.items() if mine != other}
    words = [*([name] if name else []), *(f"{key}={own}" for key, own in changes.items())]
    return " ".join(words) or f"kernel={blocks[0].kernel}"


def parse_inside(text: str, skeleton: Skeleton, ops: Ops = NO_OPS) -> Network:
    """Read the text of a network inside a user's model, which only the function gives again.

    Raises ParseError for another text.
    """
    match = re.fullmatch(r"model=\S+ input=(\S+) classes=([0-9]{1,6}) \[([^][]*)\]", text)
    shape = read_shape(match[1]) if match else None
    if match is None or shape is None:
        raise ParseError(f"{text} is no network inside a model")
    task = Task(input=shape, classes=int(match[2]), widths=(1,))
    return Network(task=task, blocks=(parse_block(match[3], ops),), skeleton=skeleton)


def parse_block(text: str, ops: Ops = NO_OPS) -> Block:
    """Read a block: its text, or the name of a reference network, whose block is meant, with
    changes. Raises ParseError with the text.

    >>> parse_block("kernel=1x3+3x1 residual=add")
    Block(kernel='1x3+3x1', residual='add')
    >>> parse_block("mobilenet pooling=last")
    Block(spatial_activation='relu')
    """
    check_type("a block", text, str)
    block, tokens = Block(), list(_TOKEN.finditer(text))
    if tokens and re.fullmatch(r"\w+", tokens[0][0]):
        try:
            block = named(tokens[0][0]).block
        except ConfigError as error:
            raise _error(text, tokens[0].start(), str(error)) from error
        tokens = tokens[1:]
    return _changed(text, block, _pairs(text, tokens, _factor_keys(ops)))


def divided(text: str, at: str = ",") -> list[str]:
    """Divide a text at what a pattern finds, by default commas, but not within brackets.

    >>> divided("none, mine.se(ratio=2,gate=hard)")
    ['none', 'mine.se(ratio=2,gate=hard)']
    """
    # each bracket is read once, because a look ahead from every comma would take n² steps
    found = re.finditer(rf"\([^()]*\)|{at}", text)
    cuts = [match.span() for match in found if not match[0].startswith("(")]
    starts, ends = [0, *(end for _, end in cuts)], [*(start for start, _ in cuts), len(text)]
    return [text[start:end].strip() for start, end in zip(starts, ends, strict=True)]


def read_widths(text: str) -> tuple[int, ...] | None:
    """Read stage widths, written 64,128,256."""
    known = re.fullmatch(r"[0-9]{1,6}(,[0-9]{1,6})*", text)
    return tuple(map(int, text.split(","))) if known else None


def todays(text: str) -> str:
    """Write a stored network's text in today's words; it means the same network.

    >>> todays("input=3x32x32 widths=8,16 classes=10 first_layer=vanilla [residual=add]")
    'input=3x32x32 widths=8,16 classes=10 stem=conv [residual=add]'
    """
    return _EARLIER_STEM.sub(lambda own: f"stem={EARLIER_STEMS.get(own[1], own[1])}", text)


def _read_classes(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[0-9]{1,6}", text) else None


def _read_dropout(text: str) -> float | None:
    return float(text) if re.fullmatch(r"0(\.[0-9]+)?|[0-9](\.[0-9]+)?e-[0-9]+", text) else None


def _read_stem(text: str) -> Stem:
    return read_stem(EARLIER_STEMS.get(text, text))


def _read_head(text: str) -> str | None:
    return text if text in HEADS else None


_WIDTHS = ("whole numbers such as 64,128,256", read_widths)
_CHANGES: _Keys = {
    "stem": (RULE, _read_stem),
    "first_layer": (RULE, _read_stem),
    "head": (" or ".join(HEADS), _read_head),
    "widths": _WIDTHS,
}
_NETWORK_KEYS: _Keys = {
    "input": ("channels, height and width such as 3x32x32", read_shape),
    "widths": _WIDTHS,
    "classes": ("a whole number", _read_classes),
    "dropout": ("a rate from 0 and below 1", _read_dropout),
} | _CHANGES


def _factor_keys(ops: Ops) -> _Keys:
    return {name: (each.rule, partial(each.parse, ops=ops)) for name, each in FACTORS.items()}


def _error(text: str, at: int, rule: str) -> ParseError:
    shown = "".join(each if each.isprintable() else " " for each in text)
    start = max(0, min(at - _SHOWN // 2, len(shown) - _SHOWN))
    end = start + _SHOWN
    part = f"{'…' if start else ''}{shown[start:end]}{'…' if end < len(shown) else ''}"
    return ParseError(f"{rule}, at column {at + 1} of '{part}'")


def _pairs(text: str, tokens: _Tokens, keys: _Keys) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for token in tokens:
        key, equals, written = token[0].partition("=")
        if not equals:
            raise _error(text, token.start(), f"expected factor=value, but got {token[0]!r}")
        if key not in keys:
            hint = near(key, keys) or f"; known: {', '.join(keys)}"
            raise _error(text, token.start(), f"unknown name {key!r}{hint}")
        if key in found:
            raise _error(text, token.start(), f"{key} is given twice")
        rule, read = keys[key]
        at = token.start() + len(key) + 1
        try:
            value = read(written)
        except SpecError as error:
            raise _error(text, at, str(error)) from error
        if value is None:
            raise _error(text, at, f"{key} must be {rule}, but got {written!r}")
        found[key] = value
    return found


def _changed(text: str, block: Block, values: Mapping[str, Any], at: int = 0) -> Block:
    try:
        return block.with_factors(values)
    except SpecError as error:
        raise _error(text, at, str(error)) from error


def _network(text: str, tokens: _Tokens, ops: Ops) -> Network:
    depth = next((i for i, token in enumerate(tokens) if token[0] == "["), len(tokens))
    given = _pairs(text, tokens[:depth], _NETWORK_KEYS)
    for key in ("input", "widths", "classes"):
        if key not in given:
            raise _error(text, 0, f"a network needs {key}=…")
    blocks = tuple(_brackets(text, tokens[depth:], ops))
    if not blocks:
        raise _error(text, len(text), "a network needs a block in brackets, such as [kernel=3x3]")
    stem = given.pop("first_layer", given.pop("stem", "block"))
    head = given.pop("head", "flatten")
    try:
        return Network(task=Task(**given), blocks=blocks, stem=stem, head=head)
    except SpecError as error:
        raise _error(text, 0, str(error)) from error


def _brackets(text: str, tokens: _Tokens, ops: Ops) -> Iterator[Block]:
    start = None
    for index, token in enumerate(tokens):
        match token[0], start:
            case "[", None:
                start = index
            case "]", int():
                found = _pairs(text, tokens[start + 1 : index], _factor_keys(ops))
                yield _changed(text, Block(), found, tokens[start].start())
                start = None
            case (("[" | "]"), _):
                raise _error(text, token.start(), f"unexpected {token[0]!r}")
            case _, None:
                rule = f"expected a block in brackets, but got {token[0]!r}"
                raise _error(text, token.start(), rule)
    if start is not None:
        raise _error(text, tokens[start].start(), "this bracket is not closed")
