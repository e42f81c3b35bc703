"""Reads what a call is asked in keyword arguments, by the configuration classes."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from inspect import Parameter, signature
from typing import Any

from blocksearch.data import open_dataset
from blocksearch.data.datasets import is_own
from blocksearch.data.opening import DatasetLike, label_of
from blocksearch.data.own import ProgressFunction
from blocksearch.errors import unknown
from blocksearch.files import RESULTS
from blocksearch.runs.config import RunConfig


def run_config(
    dataset: DatasetLike,
    given: Mapping[str, Any],
    reading: ProgressFunction = lambda _: None,
    call: Callable[..., object] | None = None,
) -> RunConfig:
    """Make the configuration of trainings; images of one's own are read, as `reading` hears. Raises
    ConfigError for what neither it nor the `call` takes.
    """
    (own,) = divided(given, RunConfig, beside=named(call))
    config = RunConfig(**own)
    name = open_dataset(dataset, config, root=config.data_root, progress=reading)
    db = config.db or (f"{RESULTS}/{label_of(dataset)}.db" if is_own(name) else None)
    return replace(config, dataset=name, db=db)


def named(call: Callable[..., object] | None) -> list[str]:
    """Return the names of the arguments of a call, but for those that it hands on."""
    several = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
    own = signature(call).parameters.values() if call else ()
    return [each.name for each in own if each.kind not in several]


def divided(
    given: Mapping[str, Any], *kinds: Any, without: Sequence[str] = (), beside: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Divide keyword arguments among configuration classes. Raises ConfigError for one that none of
    them has, or that is given in another way (`without`); `beside` are others that the call has.
    """
    names = [[each.name for each in fields(kind) if each.name not in without] for kind in kinds]
    known = [name for own in names for name in own]
    check_known(given, known, beside)
    return [{name: given[name] for name in own if name in given} for own in names]


def check_known(given: Iterable[str], known: Collection[str], beside: Collection[str] = ()) -> None:
    """Raise ConfigError for a keyword argument that is none of those known, whose names it lists
    behind those `beside`.
    """
    for name in given:
        if name not in known:
            raise unknown("argument", name, [*beside, *known])
