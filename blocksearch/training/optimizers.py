"""Makes optimisers for the parameters of a module, stores their state and takes it up again.

An optimiser is added in one place: a class here and its name in `OPTIMIZERS`, or one of your own
handed to `OPTIMIZERS.register`. Several seeds share the tensors of one module, so an optimiser must
treat each number by itself: none that looks at the norm of a whole tensor. torch is imported when
one is made, so that names can be checked without it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from blocksearch.errors import ConfigError
from blocksearch.training.registry import Registry, within

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from blocksearch.training.recipe import Recipe

Group = dict[str, Any]  # parameters with their learning rate `lr` and their `weight_decay`
OptimizerMaker = Callable[["list[Group]", "Recipe"], "torch.optim.Optimizer"]


@dataclass(frozen=True)
class Adam:
    """Adam with the recipe's betas; weight decay is added to the gradients (L2)."""

    def __call__(self, groups: list[Group], recipe: "Recipe") -> "torch.optim.Optimizer":
        """Make it for groups of parameters."""
        from torch import optim

        betas = recipe.beta1, recipe.beta2
        return optim.Adam(groups, betas=betas, fused=True, capturable=_on_gpu(groups))


@dataclass(frozen=True)
class AdamW:
    """Adam with the recipe's betas, and weight decay apart from the gradients."""

    def __call__(self, groups: list[Group], recipe: "Recipe") -> "torch.optim.Optimizer":
        """Make it for groups of parameters."""
        from torch import optim

        betas = recipe.beta1, recipe.beta2
        return optim.AdamW(groups, betas=betas, fused=True, capturable=_on_gpu(groups))


@dataclass(frozen=True)
class Sgd:
    """Stochastic gradient descent with momentum, Nesterov's on request."""

    momentum: float = 0.9
    nesterov: bool = False

    def __post_init__(self) -> None:
        within("momentum", self.momentum, 0, 1)
        if self.nesterov and not self.momentum:
            raise ConfigError("nesterov needs a momentum above 0, but got 0")

    def __call__(self, groups: list[Group], recipe: "Recipe") -> "torch.optim.Optimizer":
        """Make it for groups of parameters."""
        from torch import optim

        return optim.SGD(groups, momentum=self.momentum, nesterov=self.nesterov, fused=True)


OPTIMIZERS: Registry[OptimizerMaker] = Registry(
    "optimizer", {"adam": Adam, "adamw": AdamW, "sgd": Sgd}
)


def optimizer_for(
    module: "nn.Module", recipe: "Recipe", rate: "Tensor | float"
) -> "torch.optim.Optimizer":
    """Make the recipe's optimiser. Where normalisation is not to decay, it and biases are a group
    of their own. Parameters that are frozen are left out.
    """
    learnt = [each for each in module.parameters() if each.requires_grad]
    bare = set[int]() if recipe.decay_norm else _bare(module)
    decayed = [each for each in learnt if id(each) not in bare]
    spared = [each for each in learnt if id(each) in bare]
    parts = [(decayed, recipe.weight_decay), (spared, 0.0)]
    groups = [{"params": own, "weight_decay": decay, "lr": rate} for own, decay in parts if own]
    return OPTIMIZERS.made(recipe.optimizer)(groups, recipe)


def _bare(module: "nn.Module") -> set[int]:
    """Return the biases, and all parameters of normalisation, by their identity."""
    from torch import nn
    from torch.nn.modules.batchnorm import _NormBase

    norms = (_NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)
    return {
        id(parameter)
        for part in module.modules()
        for name, parameter in part.named_parameters(recurse=False)
        if name == "bias" or isinstance(part, norms)
    }


def _on_gpu(groups: list[Group]) -> bool:
    return bool(groups[0]["params"][0].is_cuda)


def stored(optimizer: "torch.optim.Optimizer") -> dict[str, "NDArray[Any]"]:
    """Return what an optimiser remembers, as arrays by name."""
    import torch

    return {
        f"optimizer/{index}/{name}": value.cpu().numpy().copy()
        for index, own in optimizer.state_dict()["state"].items()
        for name, value in own.items()
        if isinstance(value, torch.Tensor)
    }


def restore(optimizer: "torch.optim.Optimizer", arrays: Mapping[str, "NDArray[Any]"]) -> None:
    """Take up what `stored` returned. Raises ValueError or RuntimeError if shapes differ."""
    import torch

    state: dict[int, dict[str, Tensor]] = {}
    parameters = [each for group in optimizer.param_groups for each in group["params"]]
    for key, array in arrays.items():
        if key.startswith("optimizer/"):
            _, index, name = key.split("/")
            like, value = parameters[int(index)].data, torch.from_numpy(array)
            # fused optimisers read memory in order: moments are laid out as their parameter is
            same = value.shape == like.shape and name != "step"
            state.setdefault(int(index), {})[name] = (
                torch.empty_like(like).copy_(value) if same else value.clone()
            )
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})
