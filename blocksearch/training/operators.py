"""Describes what a model does, by torch's operators as it runs and by its exported graph.

Words hold no name, path or address, so that they are the same in every process.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.utils._python_dispatch import TorchDispatchMode

COUNTED = ("convolution", "mm", "addmm", "bmm", "baddbmm")  # whose outputs are activations
_IN_PLACE = ("batch_norm", "native_batch_norm", "dropout", "native_dropout")


class Operators(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Writes down every operator that runs, and counts what is alive of an input's consequences.

    `random` are the operators that draw. `activations` are the elements that convolutions and
    matrix products give, and `peak` the most elements alive at once for the input, where pointwise
    operators, normalisation and additions work in place.
    """

    def __init__(self, x: Tensor | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.lines: list[str] = []
        self.random: list[str] = []
        self.activations = 0
        self._kept: list[Tensor] = []  # so that no storage's address is used twice
        self._cells: dict[int, int] = {}  # by storage: which memory it is
        self._spans: dict[int, tuple[int, int, int]] = {}  # by memory: elements, first and last use
        if x is not None:
            self._place(x, None)

    @property
    def peak(self) -> int:
        """The most elements alive at once: each from where it is made to where it is read last."""
        spans = self._spans.values()
        return max(
            (sum(n for n, begin, end in spans if begin <= at <= end) for _, at, _ in spans),
            default=0,
        )

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        made = func(*args, **(kwargs or {}))
        line = f"{func} {written(args)} {written(kwargs or {})}"
        self.lines.append(line)
        if torch.Tag.nondeterministic_seeded in func.tags:
            self.random.append(line)
        inputs = list(tensors((args, kwargs or {})))
        name = func.overloadpacket.__name__
        used = [self._cells[key] for key in map(_key, inputs) if key in self._cells]
        for cell in used:
            self._use(cell)
        if used:
            first = next(iter(tensors(made)), None)
            if first is not None:
                self.activations += first.numel() if name in COUNTED else 0
                pointwise = torch.Tag.pointwise in func.tags or any(n in name for n in _IN_PLACE)
                self._place(first, self._reused(first, inputs) if pointwise else None)
        return made

    def _reused(self, made: Tensor, inputs: Sequence[Tensor]) -> int | None:
        """Return the memory of an input that a result could be written over."""
        fitting = (each for each in inputs if each.numel() == made.numel())
        return next((self._cells[k] for k in map(_key, fitting) if k in self._cells), None)

    def _place(self, made: Tensor, cell: int | None) -> None:
        key = _key(made)
        if key in self._cells:  # a view, or written in place
            return
        self._kept.append(made)
        self._cells[key] = key if cell is None else cell
        self._spans.setdefault(self._cells[key], (made.numel(), len(self.lines), 0))
        self._use(self._cells[key])

    def _use(self, cell: int) -> None:
        size, begin, _ = self._spans[cell]
        self._spans[cell] = size, begin, len(self.lines)


def _key(value: Tensor) -> int:
    return int(value.untyped_storage()._cdata)


def tensors(value: Any) -> Iterator[Tensor]:
    """Yield the tensors in lists, tuples and dictionaries."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple | dict):
        for each in value.values() if isinstance(value, dict) else value:
            yield from tensors(each)


def graph_text(exported: ExportedProgram) -> list[str]:
    """Write an exported graph line by line: operators, and which results they read.

    Values that no input holds are written by their digest.
    """
    lines = _graph(exported.graph_module)
    for spec in exported.graph_signature.input_specs:
        value = exported.constants.get(spec.target) if spec.target else None
        own = tensor_text(value) if isinstance(value, Tensor) else ""
        lines.append(f"{spec.kind.name} {own if 'CONSTANT' in spec.kind.name else ''}")
    return lines


def _graph(module: fx.GraphModule) -> list[str]:
    lines, numbers = list[str](), dict[fx.Node, int]()
    for node in module.graph.nodes:
        numbers[node] = len(numbers)
        match node.op:
            case "placeholder":
                target = _meta(node)
            case "get_attr":
                target = "\n".join(_attribute(module, str(node.target)))
            case _:
                target = _name(node.target)
        args = written((node.args, node.kwargs), numbers) if node.op != "placeholder" else ""
        lines.append(f"{node.op} {target} {args}")
    return lines


def _attribute(module: fx.GraphModule, target: str) -> list[str]:
    found: Any = module
    for name in target.split("."):
        found = getattr(found, name)
    if isinstance(found, fx.GraphModule):
        return _graph(found)
    return [tensor_text(found) if isinstance(found, Tensor) else type(found).__name__]


def _meta(node: fx.Node) -> str:
    """Write what a graph reads: the number of images has no value there."""
    value = node.meta.get("val")
    if not isinstance(value, Tensor):
        return type(value).__name__
    sizes = [size if size.isdigit() else "N" for size in map(str, value.shape)]
    return f"{value.dtype} {sizes}"


def _name(target: Any) -> str:
    own = getattr(target, "__name__", type(target).__name__)
    return str(target) if isinstance(target, torch._ops.OpOverload) else own


def written(value: Any, numbers: Mapping[fx.Node, int] | None = None) -> str:
    """Write arguments of an operator: tensors by their kind, nodes by their number."""
    match value:
        case Tensor():
            return f"<{value.dtype} {[str(size) for size in value.shape]}>"
        case fx.Node():
            return f"%{(numbers or {}).get(value)}"
        case list() | tuple():
            return f"[{', '.join(written(each, numbers) for each in value)}]"
        case dict():
            return f"{{{', '.join(f'{k}={written(v, numbers)}' for k, v in value.items())}}}"
        case torch.Generator():
            return "generator"
        case _:
            return re.sub(r" at 0x[0-9a-f]+", "", str(value))


def tensor_text(value: Tensor) -> str:
    """Write a tensor as the digest of its values."""
    flat = value.detach().cpu().contiguous().reshape(-1)
    data = flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""
    return hashlib.sha256(f"{value.dtype} {tuple(value.shape)}".encode() + data).hexdigest()
