"""Search, price and ablate convolution blocks: which block gives the most accuracy per operation,
and is that true or noise?

>>> import blocksearch as bs
>>> net = bs.network("effnet residual=add", task="gtsrb")
>>> net.cost.flops, net.cost.params
(344064, 24245)

Every name is loaded when it is first used, so that importing the package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the same names, for type checkers and editors
    from blocksearch import data
    from blocksearch.api.answer import Answer
    from blocksearch.api.catalog import (
        catalog,
        check_dataset,
        datasets,
        describe,
        fetch_dataset,
        load_dataset,
    )
    from blocksearch.api.models import replace
    from blocksearch.api.networks import cost, export, layers, network, price, survey
    from blocksearch.api.scores import compare
    from blocksearch.api.studies import front, gain, importance, tabulate, test
    from blocksearch.api.study import Study
    from blocksearch.api.trainings import ablate, bench, merge, reproduce, train, verify
    from blocksearch.arch.block import Block
    from blocksearch.arch.cost import Cost
    from blocksearch.arch.layers import Shape
    from blocksearch.arch.network import Network, Task
    from blocksearch.arch.notation import parse, parse_block
    from blocksearch.arch.ops import op
    from blocksearch.arch.quantities import METRICS
    from blocksearch.arch.scale import rescaled
    from blocksearch.arch.zoo import TASKS, named_network
    from blocksearch.errors import BlocksearchError
    from blocksearch.report.progress import Progress
    from blocksearch.report.writers import register_writer
    from blocksearch.runs.callback import Callback
    from blocksearch.search.objectives import Objective
    from blocksearch.search.samplers import Proposal, Sampler
    from blocksearch.space.grammar import Grammar
    from blocksearch.space.load import load_space
    from blocksearch.training.exporters import register_exporter
    from blocksearch.training.optimizers import OPTIMIZERS
    from blocksearch.training.recipe import Recipe
    from blocksearch.training.schedules import SCHEDULES
    from blocksearch.training.transforms import TRANSFORMS

__version__ = "0.1.0"
_HOMES = {
    "api.answer": ("Answer",),
    "api.models": ("replace",),
    "api.catalog": (
        "catalog",
        "check_dataset",
        "datasets",
        "describe",
        "fetch_dataset",
        "load_dataset",
    ),
    "api.networks": ("cost", "export", "layers", "network", "price", "survey"),
    "api.scores": ("compare",),
    "api.studies": ("front", "gain", "importance", "tabulate", "test"),
    "api.study": ("Study",),
    "api.trainings": ("ablate", "bench", "merge", "reproduce", "train", "verify"),
    "arch.block": ("Block",),
    "arch.cost": ("Cost",),
    "arch.layers": ("Shape",),
    "arch.network": ("Network", "Task"),
    "arch.notation": ("parse", "parse_block"),
    "arch.ops": ("op",),
    "arch.quantities": ("METRICS",),
    "arch.scale": ("rescaled",),
    "arch.zoo": ("TASKS", "named_network"),
    "errors": ("BlocksearchError",),
    "report.progress": ("Progress",),
    "report.writers": ("register_writer",),
    "runs.callback": ("Callback",),
    "search.objectives": ("Objective",),
    "search.samplers": ("Proposal", "Sampler"),
    "space.grammar": ("Grammar",),
    "space.load": ("load_space",),
    "training.exporters": ("register_exporter",),
    "training.optimizers": ("OPTIMIZERS",),
    "training.recipe": ("Recipe",),
    "training.schedules": ("SCHEDULES",),
    "training.transforms": ("TRANSFORMS",),
}
_MODULES = {name: module for module, names in _HOMES.items() for name in names}
__all__ = [
    "METRICS",
    "OPTIMIZERS",
    "SCHEDULES",
    "TASKS",
    "TRANSFORMS",
    "Answer",
    "Block",
    "BlocksearchError",
    "Callback",
    "Cost",
    "Grammar",
    "Network",
    "Objective",
    "Progress",
    "Proposal",
    "Recipe",
    "Sampler",
    "Shape",
    "Study",
    "Task",
    "ablate",
    "bench",
    "catalog",
    "check_dataset",
    "compare",
    "cost",
    "data",
    "datasets",
    "describe",
    "export",
    "fetch_dataset",
    "front",
    "gain",
    "importance",
    "layers",
    "load_dataset",
    "load_space",
    "merge",
    "named_network",
    "network",
    "op",
    "parse",
    "parse_block",
    "price",
    "register_exporter",
    "register_writer",
    "replace",
    "reproduce",
    "rescaled",
    "survey",
    "tabulate",
    "test",
    "train",
    "verify",
]


# where people look first who know PyTorch, Optuna or NAS benchmarks
_OTHERS = {
    "build": "network",
    "Dataset": "data.Dataset",
    "create_study": "Study",
    "Executor": "train",
    "executor": "train",
    "list": "catalog",
    "list_datasets": "datasets",
    "list_models": "named_network",
    "list_networks": "named_network",
    "load_study": "front",
    "pareto": "front",
    "parse_network": "parse",
    "search": "Study",
    "show": "layers",
    "space": "load_space",
    "SearchSpace": "Grammar",
}


def _hint(name: str) -> str:
    from blocksearch.errors import near  # once there is a mistake

    return f" (did you mean {_OTHERS[name]!r}?)" if name in _OTHERS else near(name, __all__)


if not TYPE_CHECKING:  # a checker knows the names above, and no others

    def __getattr__(name: str) -> object:
        """Load a public name when it is first used."""
        if name == "data":
            return import_module("blocksearch.data")
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}{_hint(name)}")
        globals()[name] = found = getattr(import_module(f"blocksearch.{_MODULES[name]}"), name)
        return found


def __dir__() -> list[str]:
    return __all__
