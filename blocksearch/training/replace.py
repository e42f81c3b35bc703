"""Replaces the convolutions of a PyTorch model by blocks of the grammar.

This is the paper's own aim (Section 1), a block that replaces any network's convolutions.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from blocksearch.arch.block import Block
from blocksearch.arch.cost import Layers
from blocksearch.arch.expansion import expand
from blocksearch.arch.shape import Shape
from blocksearch.errors import BlocksearchError, ConfigError, PluginError, check_type
from blocksearch.training.build import placed
from blocksearch.training.norm_act import LINEAR, NormAct
from blocksearch.training.usage import CONVOLUTION, Call, Usage, use

Where = str | Sequence[str] | Callable[[str, nn.Module], bool] | None
NORMS = (_NormBase, nn.GroupNorm)
POOLS = (nn.MaxPool2d, nn.AvgPool2d)
# Not those whose values a model may be asked for, such as a sigmoid's.
ACTIVATIONS = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU),
    *(nn.SiLU, nn.Mish, nn.Hardswish, nn.Softplus, nn.Threshold),
)
FUNCTIONS = ("relu", "relu6", "leaky_relu", "prelu", "rrelu", "elu", "selu", "celu", "gelu",
             "silu", "mish", "hardswish", "softplus", "threshold", "clamp_min")  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Replaced:
    """A convolution of a model, and the block that took its place; `reason` says why none did.

    FLOPs are of one image, by torch's counter. What went with the convolution (normalisation,
    activation, pooling) is `absorbed`, and its parameters are counted with it. What is no
    convolution is one row for each type, so that rows add up to the model.
    """

    name: str
    layer: str
    input: str = ""
    output: str = ""
    block: str = ""
    absorbed: tuple[str, ...] = ()
    reason: str = ""
    flops: int = 0
    new_flops: int = 0
    params: int = 0
    new_params: int = 0


@dataclass(frozen=True)
class Counted:
    """FLOPs of one image and parameters of a model by the name of the module that has them."""

    flops: Mapping[str, int]
    params: Mapping[str, int]

    @property
    def total(self) -> tuple[int, int]:
        return sum(self.flops.values()), sum(self.params.values())

    def of(self, *names: str) -> tuple[int, int]:
        """Return the FLOPs and parameters of modules with all that is in them."""
        own = [each for each in self.params if any(_is_in(each, name) for name in names)]
        return sum(self.flops[each] for each in own), sum(self.params[each] for each in own)


def _is_in(module: str, name: str) -> bool:
    return not name or module == name or module.startswith(f"{name}.")


def counted(model: nn.Module, seen: Usage, images: int) -> Counted:
    """Count a model that was watched. A parameter of several modules is the first one's."""
    params, known = Counter[str](), set[int]()
    for name, part in model.named_modules():
        own = {id(each): each.numel() for each in part.parameters(recurse=False)}
        params[name] = sum(size for key, size in own.items() if key not in known)
        known |= own.keys()
    return Counted({name: seen.flops[name] // images for name in params}, params)


def replace_convolutions(
    model: nn.Module, block: Block, example: Tensor, where: Where = None
) -> tuple[nn.Module, list[Replaced], tuple[Counted, Counted]]:
    """Return a copy of a model with blocks for its vanilla convolutions, a record of each and of
    what else costs anything, and what is counted before and after.

    A vanilla convolution mixes all channels and looks at more than a pixel. With it go the
    normalisation, activation and 2×2 pooling that follow it and that nothing else reads. Every
    weight elsewhere is kept. Raises ConfigError for a model that does not run on `example`,
    N×C×H×W, and for patterns that no convolution has.
    """
    try:
        new = deepcopy(model)
    except Exception as error:
        raise PluginError(f"the model cannot be copied: {type(error).__name__}: {error}") from error
    seen = use(new, example)
    before, kinds = counted(new, seen, len(example)), dict(new.named_modules())
    calls = {each.name: each for each in seen.calls if isinstance(each.module, CONVOLUTION)}
    _check_asked([*calls], where)
    rows = [
        _row(new, call, block, where, seen, first=not at) for at, call in enumerate(calls.values())
    ]
    after = counted(new, use(new, example), len(example))
    found = [
        _priced(row, *(own.of(row.name, *row.absorbed) for own in (before, after))) for row in rows
    ]
    taken = [name for row in rows for name in (row.name, *row.absorbed)]
    left = {name: part for name, part in kinds.items() if not any(_is_in(name, t) for t in taken)}
    return new, [*found, *_others(left, before, after)], (before, after)


def _priced(row: Replaced, before: tuple[int, int], after: tuple[int, int]) -> Replaced:
    (flops, params), (new_flops, new_params) = before, after
    return replace(row, flops=flops, new_flops=new_flops, params=params, new_params=new_params)


def _others(left: Mapping[str, nn.Module], before: Counted, after: Counted) -> Iterator[Replaced]:
    """Count what is no convolution, and convolutions that no call was seen of, by type."""
    kinds = defaultdict[type[nn.Module], list[str]](list)
    for name, part in left.items():
        if any((before.flops[name], before.params[name], after.flops[name])):
            kinds[type(part)].append(name)
    for kind, names in kinds.items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        if issubclass(kind, CONVOLUTION):
            why = "the model does not call it"
        elif kind.__module__.startswith("torch.nn."):
            why = "no convolution"
        else:
            why = "what it computes itself, outside of layers"
        row = Replaced(name=f"{names[0] or 'the model'}{more}", layer=kind.__name__, reason=why)
        sums = [
            (sum(own.flops[each] for each in names), sum(own.params[each] for each in names))
            for own in (before, after)
        ]
        yield _priced(row, *sums)


def _row(
    model: nn.Module, call: Call, block: Block, where: Where, seen: Usage, *, first: bool
) -> Replaced:
    """Replace a convolution, or say why not."""
    reason = _unfit(call, seen) or _unwanted(call, where, first=first)
    plan = reason or _planned(call, block, seen)
    if isinstance(plan, str):
        return _described(call, call, reason=plan)
    own, layers, absorbed = plan
    _put(model, call, layers, absorbed)
    names = tuple(each.name for each in absorbed)
    return _described(call, (absorbed or [call])[-1], block=str(own), absorbed=names)


def _unfit(call: Call, seen: Usage) -> str:
    """Say why a layer is no vanilla convolution on a map, or ""."""
    conv: Any = call.module
    if not isinstance(conv, nn.Conv2d):
        return f"{type(conv).__name__} is no convolution of a map"
    if not call.name:
        return "it is the whole model: put it into an nn.Sequential"
    if seen.is_shared(call):
        return "its weights serve several places"
    if call.outputs[0].dim() != 4:
        return "it reads a single image, and a block reads N×C×H×W"
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
    check_type("where", where, str | Sequence[str] | Callable[..., Any] | None)
    patterns = [where] if isinstance(where, str) else where
    for pattern in patterns if isinstance(patterns, Sequence) and names else ():
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ConfigError(f"no convolution is named {pattern!r}; they are {', '.join(names)}")


def _unwanted(call: Call, where: Where, *, first: bool) -> str:
    if where is None:
        return "the first layer has few channels to save on; name it to replace it" if first else ""
    names = (where,) if isinstance(where, str) else where
    if callable(names):
        try:
            wanted = names(call.name, call.module)
        except Exception as error:  # a user's function may raise anything
            raise PluginError(f"where raises {type(error).__name__}: {error}") from error
    else:
        wanted = any(fnmatchcase(call.name, name) for name in names)
    return "" if wanted else "not asked for"


def _planned(call: Call, block: Block, seen: Usage) -> tuple[Block, Layers, list[Call]] | str:
    """Return the block for a convolution, its layers, and the calls that it absorbs; or why not."""
    conv: Any = call.module
    chain, activated = _chain(call, seen)
    if not (chain or activated or seen.is_read(call)):
        return "no normalisation or activation follows it, and no layer: its outputs are values"
    own = block if activated else block.with_factors({"activation": "linear"})
    pooled = bool(chain) and isinstance(chain[-1].module, POOLS)
    rest = chain[:-1] if pooled else chain
    if conv.stride != (1, 1):
        halved = own.pooling != "none"
        return _fitted(call, own, rest) if halved else "it halves the map, and the block does not"
    plan = _fitted(call, own, chain) if pooled else ""
    # A pooling that rounds odd sizes down, or looks at 3×3 pixels, stays behind the block.
    alone = own.with_factors({"pooling": "none"})
    return _fitted(call, alone, rest) if isinstance(plan, str) else plan


def _fitted(call: Call, block: Block, chain: list[Call]) -> tuple[Block, Layers, list[Call]] | str:
    """Return a block with its layers for a convolution and what it absorbs; or why not."""
    entry, end = _shape(call.inputs[0]), _shape((chain or [call])[-1].output)
    try:
        layers = expand(block, entry, end.channels)
    except BlocksearchError as error:
        return str(error)
    if layers[-1].output != end:
        return f"the block gives {layers[-1].output} where the layer gives {end}"
    return block, layers, chain


def _chain(call: Call, seen: Usage) -> tuple[list[Call], bool]:
    """Return the normalisation, activation and pooling that follow a convolution and may go with
    it, and whether an activation follows, be it a module or a function.
    """
    chain, activated, current = list[Call](), False, call
    while True:
        users = seen.users[id(current.output)]
        readers = [user for user in users if user is not current and user not in chain]
        following = readers[0] if readers else None
        if not isinstance(following, Call):
            return chain, activated or (following is not None and following.name in FUNCTIONS)
        module = following.module
        activation = isinstance(module, ACTIVATIONS)
        activated |= activation or (isinstance(module, NormAct) and module.slope != LINEAR)
        alone = len(readers) == 1 or getattr(module, "inplace", False)
        known = activation or isinstance(module, NORMS) or _halves(following)
        if not (alone and known) or seen.is_shared(following):
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


def _put(model: nn.Module, call: Call, layers: Layers, absorbed: Sequence[Call]) -> None:
    """Put a block where a convolution was, by all of its names, and an identity where it took
    something along.
    """
    conv: Any = call.module
    made = placed(layers).to(conv.weight.device, conv.weight.dtype)
    made.train(conv.training)
    instead = {id(each.module): nn.Identity() for each in absorbed} | {id(conv): made}
    for name, part in list(model.named_modules(remove_duplicate=False)):
        if id(part) in instead:
            model.set_submodule(name, instead[id(part)])


def _described(call: Call, last: Call, **found: Any) -> Replaced:
    conv: Any = call.module
    kernel, stride = ("x".join(map(str, size)) for size in (conv.kernel_size, conv.stride))
    strided = f" stride {stride}" if set(conv.stride) != {1} else ""
    return Replaced(
        name=call.name,
        layer=f"{kernel}x{conv.out_channels}{strided}",
        input="x".join(map(str, call.inputs[0].shape[1:])),
        output="x".join(map(str, last.outputs[0].shape[1:])),
        **found,
    )


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
