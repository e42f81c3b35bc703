"""Records a model while it runs once, for which layer and function reads every tensor, and what
each module costs by torch's counter.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from blocksearch.errors import BlocksearchError, PluginError

CONVOLUTION = nn.modules.conv._ConvNd


@dataclass(kw_only=True, eq=False)
class Call:
    """One call of a layer: its name, and what went in and came out."""

    name: str
    module: nn.Module
    inputs: list[Tensor] = field(default_factory=list)
    output: Any = None

    @property
    def outputs(self) -> list[Tensor]:
        return list(_tensors(self.output))

    @property
    def learned(self) -> bool:
        return any(True for _ in self.module.parameters())


@dataclass(kw_only=True, eq=False)
class Function:
    """One call of a function outside of layers; `learned` where a parameter goes in."""

    name: str
    outputs: list[Tensor]
    learned: bool


User: TypeAlias = Call | Function


class Usage(TorchFunctionMode):
    """Every use of every tensor while a model runs, by which layer's call or by which function.

    A layer is a convolution or a module without children. `flops` are a module's own, without its
    children's, over all its calls. Tensors are kept alive, so that their identities stay theirs.
    """

    def __init__(self, counter: FlopCounterMode) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.users: dict[int, list[User]] = defaultdict(list)
        self.flops: Counter[str] = Counter()
        self._calls: Counter[str] = Counter()
        self._owners: Counter[int] = Counter()  # of parameters
        self._counter = counter
        self._inside: list[Call] = []
        self._running: list[str] = []
        self._counted = 0
        self._kept: list[Tensor] = []

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        made = func(*args, **(kwargs or {}))
        outputs = list(_tensors(made))
        if outputs:
            given = list(_tensors((args, tuple((kwargs or {}).values()))))
            name = str(getattr(func, "__name__", func)).strip("_")
            learned = any(isinstance(tensor, nn.Parameter) for tensor in given)
            outside = Function(name=name, outputs=outputs, learned=learned)
            user: User = self._inside[-1] if self._inside else outside
            self._kept += [*given, *outputs]
            for tensor in given:
                if not self.users[id(tensor)] or self.users[id(tensor)][-1] is not user:
                    self.users[id(tensor)].append(user)
        return made

    def is_shared(self, call: Call) -> bool:
        """Return whether a layer is called again, or another module has its parameters, too."""
        own = (self._owners[id(each)] for each in call.module.parameters())
        return self._calls[call.name] > 1 or max(own, default=1) > 1

    def is_read(self, call: Call) -> bool:
        """Return whether a layer with parameters reads what a call returns, at any distance."""
        seen, left = {id(call.output)}, call.outputs
        while left:
            for user in self.users[id(left.pop())]:
                if user is not call and user.learned:
                    return True
                new = [each for each in user.outputs if id(each) not in seen]
                seen |= {id(each) for each in new}
                left += new
        return False

    def _begun(self, name: str, is_layer: bool, module: nn.Module, inputs: Any) -> None:
        self._count()
        self._running.append(name)
        if is_layer:
            self._inside.append(Call(name=name, module=module, inputs=list(_tensors(inputs))))

    def _ended(self, _: nn.Module, __: Any, output: Any, *, is_layer: bool) -> None:
        self._count()
        self._running.pop()
        if is_layer:
            call = self._inside.pop()
            call.output = output
            self.calls.append(call)
            self._calls[call.name] += 1
            self._kept += [*call.inputs, *call.outputs]

    def _count(self) -> None:
        """Give what was counted since the last time to the module that has been running."""
        now = self._counter.get_total_flops()
        if self._running:
            self.flops[self._running[-1]] += now - self._counted
        self._counted = now

    @contextmanager
    def watching(self, model: nn.Module) -> Iterator[None]:
        """Watch every call of a model's modules."""
        handles = []
        for name, part in model.named_modules():
            self._owners.update(map(id, part.parameters(recurse=False)))
            is_layer = isinstance(part, CONVOLUTION) or not any(True for _ in part.children())
            begun, ended = (
                partial(self._begun, name, is_layer),
                partial(self._ended, is_layer=is_layer),
            )
            handles.append(part.register_forward_pre_hook(begun))
            handles.append(part.register_forward_hook(ended, always_call=True))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def use(model: nn.Module, example: Tensor) -> Usage:
    """Run a model once on N×C×H×W, as when it is judged, and return what was seen.

    Raises PluginError if it does not run.
    """
    with _judged(model), torch.no_grad(), flop_counter() as counter:
        seen = Usage(counter)
        with seen, seen.watching(model):
            try:
                model(example)
            except BlocksearchError:
                raise
            except Exception as error:
                shape = "x".join(map(str, example.shape))
                raise PluginError(
                    f"the model does not run on an input of {shape}: "
                    f"{type(error).__name__}: {error}"
                ) from error
    return seen


@contextmanager
def flop_counter() -> Iterator[FlopCounterMode]:
    """Count by torch's counter what runs inside, attention as the products that it is made of.

    Fused kernels (a whole encoder layer in evaluation, attention on a CPU) are not in the counter's
    table, so that it takes them for free.

    >>> layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True).eval()
    >>> with torch.no_grad(), flop_counter() as counter:
    ...     y = layer(torch.zeros(1, 64, 16))
    >>> counter.get_total_flops() == 2 * 64 * (4 * 16 * 16 + 2 * 16 * 32) + 2 * 2 * 64 * 64 * 16
    True
    """
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            yield counter
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


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


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for each in value:
            yield from _tensors(each)
