"""Traces models that a skeleton makes before they are trained, for their costs by torch's counter,
the digest of their exported graph, and a form from which a worker makes them again.

A model's digest is of its graphs in training and in evaluation, of all values that no seed decides
(weights that the callable loads, say), and of torch's random operators that draw the rest.
"""

import hashlib
import logging
import pickle
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy

import cloudpickle  # type: ignore[import-untyped]
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from blocksearch.arch.block import Block
from blocksearch.arch.cost import Cost
from blocksearch.arch.shape import Shape
from blocksearch.arch.skeleton import Skeleton
from blocksearch.arch.tree import ModelSource, UserModel
from blocksearch.errors import ConfigError, PluginError, SpecError
from blocksearch.training.operators import Operators, graph_text, tensor_text
from blocksearch.training.usage import flop_counter
from blocksearch.training.users import failure

_IMAGES = {True: 2, False: 1}  # in training, normalisation needs two


def made(skeleton: Skeleton, block: Block, seed: int) -> nn.Module:
    """Call a skeleton's function under a seed of torch's.

    Raises SpecError for a block that does not fit, ConfigError or PluginError for other failures.
    """
    where = f"{skeleton.name} on [{block}]"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            module = skeleton.make(block)
        except SpecError:
            raise
        except Exception as error:  # a user's function may raise anything: say where
            raise failure(f"{where} fails", error) from error
    if not isinstance(module, nn.Module):
        raise ConfigError(f"{where} must return a torch.nn.Module, but returned {type(module)}")
    if not any(each.requires_grad for each in module.parameters()):
        raise ConfigError(f"{where} returned a model without a parameter that could be trained")
    return module


def made_again(source: ModelSource, classes: int, input: Shape, seed: int) -> nn.Module:
    """Make a model in a worker, with the weights that a seed's training begins with.

    It reads what our loop gives it in torch's usual layout. Raises PluginError if it is not the
    model that was looked at before.
    """
    try:
        # bytes that this command's driver wrote, and no file holds
        make, block = pickle.loads(source.code), pickle.loads(source.block)  # noqa: S301
    except Exception as error:
        raise failure(f"{source.name} cannot be loaded in a worker process", error) from error
    module = made(Skeleton(make), block, seed)
    if _looked_at(module, input, classes, source.name)[1] != source.outline:
        raise PluginError(
            f"{source.name} makes another model in a worker process than it did here: start again, "
            "since its file may have changed after it was imported"
        )
    module.register_forward_pre_hook(_usual_layout)
    return module


def _usual_layout(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor]:
    """Copy images of one channel, too, whose strides fit both layouts, because with those of
    channels-last, torch's convolutions to few channels have been seen to write beyond their memory.
    """
    return (inputs[0].clone(memory_format=torch.contiguous_format),)


def price(skeleton: Skeleton, block: Block, input: Shape, classes: int) -> Cost:
    """Count a model by torch's counter. Raises as `made` does, and for a model that does not take
    these images or give these classes.
    """
    return _looked_at(made(skeleton, block, 0), input, classes, f"{skeleton.name} on [{block}]")[0]


def layer_of(skeleton: Skeleton, block: Block, input: Shape, classes: int) -> UserModel:
    """Return a model as one layer, with its costs, its graph's digest and its source."""
    name = f"{skeleton.name} on [{block}]"
    with Operators() as drawn:
        module = made(skeleton, block, 0)
    other = _values(made(skeleton, block, 1))
    _check_draws(skeleton, block, module, other)
    cost, outline = _looked_at(module, input, classes, name)
    return UserModel(
        input=input,
        classes=classes,
        graph=_digest(module, other, drawn, input, name),
        macs=cost.macs,
        params=cost.params,
        activations=cost.activations,
        peak=cost.peak_activations,
        source=ModelSource(
            name=skeleton.name,
            code=_pickled(skeleton.make, name),
            block=_pickled(block, name),
            outline=outline,
        ),
    )


def _looked_at(module: nn.Module, input: Shape, classes: int, name: str) -> tuple[Cost, str]:
    """Run a model on images without values, and return its cost and an outline of what it does."""
    lines = [_kind(each) for each in _values(module).values()]
    module = deepcopy(module).cpu()
    for training in (True, False):
        module.train(training)
        with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
            x = torch.zeros(_IMAGES[training], input.channels, input.height, input.width)
            with quiet(), flop_counter() as counter, Operators(x) as seen:
                try:
                    given = module(x)
                except Exception as error:
                    raise failure(f"the model of {name} fails on {_shape(x)}", error) from error
        _check_output(given, x, classes, name)
        lines += seen.lines
    cost = Cost(
        macs=int(counter.get_total_flops()) // 2,
        params=sum(each.numel() for each in module.parameters()),
        layer_activations=(seen.activations,),
        peak_activations=seen.peak,
    )
    return cost, _sha("\n".join(lines))


def _check_output(given: object, x: Tensor, classes: int, name: str) -> None:
    wanted = f"the model of {name} must give {len(x)}x{classes} numbers for images of {_shape(x)}"
    if not isinstance(given, Tensor):
        raise ConfigError(f"{wanted}, but gives a {type(given).__name__}")
    if given.shape != (len(x), classes) or not given.is_floating_point():
        raise ConfigError(f"{wanted}, but gives {_shape(given)} of {given.dtype}")


def _check_draws(
    skeleton: Skeleton, block: Block, module: nn.Module, other: dict[str, Tensor]
) -> None:
    """Raise PluginError if torch's seed does not decide the weights; say so where no weight
    depends on it.
    """
    if skeleton.checked:
        return
    own, again = _values(module), _values(made(skeleton, block, 0))
    if own.keys() != again.keys() or any(not _same(own[name], again[name]) for name in own):
        raise PluginError(
            f"{skeleton.name} returns other weights each time, although torch is seeded: it must "
            "draw them from torch's own generator"
        )
    if all(_same(value, other.get(name)) for name, value in own.items()):
        warnings.warn(
            f"{skeleton.name} returns the same weights whatever torch's seed is: seeds differ in "
            "the order of images alone",
            stacklevel=2,
        )
    skeleton.checked = True


def _digest(
    module: nn.Module, other: dict[str, Tensor], drawn: Operators, input: Shape, name: str
) -> str:
    lines, values = list(drawn.random), _values(module)
    lines += [
        f"{_kind(value)} {tensor_text(value) if _same(value, other.get(key)) else 'drawn'}"
        for key, value in values.items()
    ]
    module = deepcopy(module).cpu()
    for training in (True, False):
        module.train(training)
        x = torch.zeros(2, input.channels, input.height, input.width)
        try:
            with quiet():
                batch = {0: torch.export.Dim.AUTO}
                exported = torch.export.export(module, (x,), dynamic_shapes=(batch,), strict=False)
        except Exception as error:
            raise failure(f"torch.export cannot follow the model of {name}", error) from error
        lines += graph_text(exported)
    return _sha("\n".join(lines))


def _values(module: nn.Module) -> dict[str, Tensor]:
    """Return all parameters and buffers, kept in state dicts or not."""
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def _kind(value: Tensor) -> str:
    return f"{value.dtype} {tuple(value.shape)} {value.requires_grad}"


def _same(one: Tensor, other: Tensor | None) -> bool:
    return other is not None and tensor_text(one) == tensor_text(other)


def _shape(value: Tensor) -> str:
    return "x".join(map(str, value.shape)) or "no axis"


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _pickled(value: object, name: str) -> bytes:
    try:
        return bytes(cloudpickle.dumps(value))
    except Exception as error:
        raise PluginError(
            f"{name} cannot be sent to worker processes: {type(error).__name__}: {error}; make "
            "what it holds inside of it"
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Silence torch's warnings and logs; what it raises becomes our one line."""
    logger = logging.getLogger("torch")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
