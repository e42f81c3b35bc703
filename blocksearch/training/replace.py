"""Put blocks of the grammar into the place of a PyTorch model's convolutions.

The paper's own aim (Section 1): a block that replaces the convolution layers of any given network.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from blocksearch.arch.block import Block
from blocksearch.arch.cost import Layers, cost
from blocksearch.arch.expansion import expand
from blocksearch.arch.shape import Shape
from blocksearch.errors import BlocksearchError, ConfigError, PluginError
from blocksearch.training.build import placed

Where = str | Sequence[str] | Callable[[str, nn.Module], bool] | None
NORMS = (_NormBase, nn.GroupNorm)
POOLS = (nn.MaxPool2d, nn.AvgPool2d)
FUNCTIONS = ("relu", "leaky_relu", "relu6", "elu", "gelu", "silu", "hardswish", "tanh", "sigmoid")


@dataclass(frozen=True, kw_only=True)
class Replaced:
    """A convolution of a model, and the block that took its place; `reason` says why none did.

    FLOPs are of one image. What went with the convolution (normalisation, activation, pooling) is
    `absorbed`, and its parameters are counted with it.
    """

    name: str
    layer: str
    input: str
    output: str
    block: str = ""
    absorbed: tuple[str, ...] = ()
    reason: str = ""
    flops: int
    new_flops: int
    params: int
    new_params: int


@dataclass(kw_only=True)
class Call:
    """One call of a module without children: its name, and what went in and came out."""

    name: str
    module: nn.Module
    inputs: list[Tensor] = field(default_factory=list)
    output: Any = None


class Usage(TorchFunctionMode):
    """Every use of every tensor while a model runs: by which module's call, or by which function.

    Tensors are kept alive, so that their identities stay theirs.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.users: dict[int, list[Call | str]] = defaultdict(list)
        self._inside: list[Call] = []
        self._kept: list[Tensor] = []

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        made = func(*args, **(kwargs or {}))
        if any(True for _ in _tensors(made)):
            user = self._inside[-1] if self._inside else str(getattr(func, "__name__", func))
            for tensor in _tensors((args, tuple((kwargs or {}).values()))):
                self._kept.append(tensor)
                if not self.users[id(tensor)] or self.users[id(tensor)][-1] is not user:
                    self.users[id(tensor)].append(user)
        return made

    def begun(self, name: str, module: nn.Module, inputs: Any) -> None:
        self._inside.append(Call(name=name, module=module, inputs=list(_tensors(inputs))))

    def ended(self, _: nn.Module, __: Any, output: Any) -> None:
        call = self._inside.pop()
        call.output = output
        self.calls.append(call)
        self._kept += [*call.inputs, *_tensors(output)]


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for each in value:
            yield from _tensors(each)


def replace_convolutions(
    model: nn.Module, block: Block, example: Tensor, where: Where = None
) -> tuple[nn.Module, list[Replaced], tuple[int, int]]:
    """Return a copy of a model with blocks for its vanilla convolutions, a record of each, and the
    model's FLOPs before and after by torch's counter.

    A vanilla convolution mixes all channels and looks at more than a pixel. With it go the
    normalisation, activation and 2×2 pooling that follow it and that nothing else reads. Every
    weight elsewhere is kept. Raises ConfigError for a model that does not run on `example`,
    N×C×H×W, and for patterns that no convolution has.
    """
    new = deepcopy(model)
    recorded = _run(new, example)
    uses = Counter(call.name for call in recorded.calls)
    found, first = list[Replaced](), True
    kind = nn.modules.conv._ConvNd
    convolutions = [each for each in recorded.calls if isinstance(each.module, kind) and each.name]
    _check_asked([each.name for each in convolutions], where)
    for call in convolutions:
        reason = _unfit(call, uses) or _unwanted(call, where, first=first)
        first = False
        plan = reason or _planned(call, block, recorded, uses)
        found.append(_kept(call, plan) if isinstance(plan, str) else _put(new, call, *plan))
    _run(new, example)
    return new, _once(found), (_flops(model, example), _flops(new, example))


def _once(found: Sequence[Replaced]) -> list[Replaced]:
    """Keep one record of a module that was called several times."""
    return list({row.name: row for row in found}.values())


def _run(model: nn.Module, example: Tensor) -> Usage:
    recorded = Usage()
    with _judged(model), _hooked(model, recorded), torch.no_grad(), recorded:
        try:
            model(example)
        except BlocksearchError:
            raise
        except Exception as error:
            shape = "x".join(map(str, example.shape))
            raise PluginError(
                f"the model does not run on an input of {shape}: {type(error).__name__}: {error}"
            ) from error
    return recorded


@contextmanager
def _judged(model: nn.Module) -> Iterator[None]:
    """Run a model as when it is judged, so that no statistics change, and put it back."""
    training = [part for part in model.modules() if part.training]
    model.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True


@contextmanager
def _hooked(model: nn.Module, recorded: Usage) -> Iterator[None]:
    handles = []
    for name, part in model.named_modules():
        if not any(True for _ in part.children()):
            handles.append(part.register_forward_pre_hook(partial(recorded.begun, name)))
            handles.append(part.register_forward_hook(recorded.ended))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _unfit(call: Call, uses: Counter[str]) -> str:
    """Say why a layer is no vanilla convolution on a map, or ""."""
    conv: Any = call.module
    if not isinstance(conv, nn.Conv2d):
        return f"{type(conv).__name__} is no convolution of a map"
    if uses[call.name] > 1:
        return "its weights serve several places"
    if conv.groups > 1:
        return f"it has {conv.groups} groups already"
    if conv.kernel_size == (1, 1):
        return "1x1: it looks at one pixel"
    if conv.dilation != (1, 1):
        return f"its taps are {max(conv.dilation)} pixels apart"
    if conv.stride not in ((1, 1), (2, 2)):
        return f"its stride is {conv.stride[0]}x{conv.stride[1]}, and a block halves the map once"
    return ""


def _check_asked(names: Sequence[str], where: Where) -> None:
    """Raise ConfigError for patterns that no convolution has."""
    patterns = [where] if isinstance(where, str) else where
    for pattern in patterns if isinstance(patterns, Sequence) and names else ():
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ConfigError(f"no convolution is named {pattern!r}; they are {', '.join(names)}")


def _unwanted(call: Call, where: Where, *, first: bool) -> str:
    if where is None:
        return "the first layer has few channels to save on; name it to replace it" if first else ""
    names = (where,) if isinstance(where, str) else where
    wanted = (
        names(call.name, call.module)
        if callable(names)
        else any(fnmatchcase(call.name, name) for name in names)
    )
    return "" if wanted else "not asked for"


def _planned(
    call: Call, block: Block, recorded: Usage, uses: Counter[str]
) -> tuple[Block, Layers, list[Call]] | str:
    """Return the block for a convolution, its layers, and the calls that it absorbs; or why not."""
    conv: Any = call.module
    chain, activated = _chain(call, recorded, uses)
    if not chain and not activated:
        return "no normalisation or activation follows it: its outputs are values"
    own = block if activated else block.with_factors({"activation": "linear"})
    strided, pooled = conv.stride != (1, 1), bool(chain) and isinstance(chain[-1].module, POOLS)
    if strided and pooled:
        chain, pooled = chain[:-1], False
    if not (strided or pooled):
        own = own.with_factors({"pooling": "none"})
    elif own.pooling == "none":
        return "it halves the map, and the block does not"
    entry, end = _shape(call.inputs[0]), _shape((chain or [call])[-1].output)
    try:
        layers = expand(own, entry, end.channels)
    except BlocksearchError as error:
        return str(error)
    if layers[-1].output != end:
        return f"the block gives {layers[-1].output} where the layer gives {end}"
    return own, layers, chain


def _chain(call: Call, recorded: Usage, uses: Counter[str]) -> tuple[list[Call], bool]:
    """Return the normalisation, activation and pooling that follow a convolution and may go with
    it, and whether an activation follows, be it a module or a function.
    """
    chain, activated, current = list[Call](), False, call
    while True:
        readers = [user for user in recorded.users[id(current.output)] if user not in chain]
        following = readers[0] if readers else ""
        if isinstance(following, str):
            activated |= following.rstrip("_") in FUNCTIONS
            return chain, activated
        module = following.module
        activation = type(module).__module__ == "torch.nn.modules.activation"
        activated |= activation
        alone = len(readers) == 1 or getattr(module, "inplace", False)
        known = activation or isinstance(module, NORMS) or _halves(following)
        if following is current or not (alone and known and uses[following.name] == 1):
            return chain, activated
        chain.append(following)
        current = following
        if isinstance(module, POOLS):
            return chain, activated


def _halves(call: Call) -> bool:
    """Whether a pooling halves the map, as a block does."""
    module: Any = call.module
    return isinstance(module, POOLS) and module.stride in (2, (2, 2))


def _shape(tensor: Tensor) -> Shape:
    channels, height, width = tensor.shape[1:]
    return Shape(channels, height, width)


def _put(
    model: nn.Module, call: Call, block: Block, layers: Layers, absorbed: Sequence[Call]
) -> Replaced:
    """Put a block where a convolution was, and an identity where it took something along."""
    conv: Any = call.module
    made = placed(layers).to(conv.weight.device, conv.weight.dtype)
    made.train(conv.training)
    model.set_submodule(call.name, made)
    for each in absorbed:
        model.set_submodule(each.name, nn.Identity())
    row = _kept(call, "")
    return Replaced(
        name=row.name,
        layer=row.layer,
        input=row.input,
        output=str(_shape((absorbed or [call])[-1].output)),
        block=str(block),
        absorbed=tuple(each.name for each in absorbed),
        flops=row.flops,
        new_flops=cost(layers).flops,
        params=row.params + sum(_params(each.module) for each in absorbed),
        new_params=_params(made),
    )


def _kept(call: Call, reason: str) -> Replaced:
    conv: Any = call.module
    kernel, stride = ("x".join(map(str, size)) for size in (conv.kernel_size, conv.stride))
    strided = f" stride {stride}" if set(conv.stride) != {1} else ""
    macs = conv.weight[0].numel() * call.output[0].numel()
    if conv.transposed:
        macs = conv.weight[0].numel() * call.inputs[0][0].numel()
    return Replaced(
        name=call.name,
        layer=f"{kernel}x{conv.out_channels}{strided}",
        input="x".join(map(str, call.inputs[0].shape[1:])),
        output="x".join(map(str, call.output.shape[1:])),
        reason=reason,
        flops=2 * macs,
        new_flops=2 * macs,
        params=_params(conv),
        new_params=_params(conv),
    )


def _params(module: nn.Module) -> int:
    return sum(each.numel() for each in module.parameters())


def _flops(model: nn.Module, example: Tensor) -> int:
    """Count a model's FLOPs for one image by torch's own counter."""
    with _judged(model), torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(example)
    return int(counter.get_total_flops()) // len(example)


def read_example(given: Any) -> Tensor:
    """Return an input: a tensor N×C×H×W as it is, or zeros of a shape C×H×W. Raises ConfigError."""
    if isinstance(given, Tensor) and given.dim() == 4 and len(given):
        return given
    try:
        shape = [int(size) for size in given]
    except (TypeError, ValueError):
        shape = []
    if len(shape) != 3 or min(shape) < 1:
        raise ConfigError(
            "example_input must be a tensor N×C×H×W or a shape (channels, height, width), "
            f"but got {given if not isinstance(given, Tensor) else tuple(given.shape)}"
        )
    return torch.zeros(1, *shape)
