"""Exports networks with trained weights for other programs, by one exporter for each suffix, and
registers a user's own.
"""

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from blocksearch.arch.network import Network
from blocksearch.errors import BlocksearchError, ConfigError, unknown
from blocksearch.files import check_place, check_suffix, write_file
from blocksearch.training.build import build
from blocksearch.training.registry import note_registration
from blocksearch.training.traced import quiet
from blocksearch.training.users import failure
from blocksearch.training.weights import packed, read_weights


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A network with trained weights, for an exporter.

    `module` is in evaluation: N×C×H×W floats in, N×classes logits out. `description` says what the
    weights are of, by the names that a training keeps with them.
    """

    network: Network
    module: nn.Module
    description: Mapping[str, str]

    @property
    def images(self) -> Tensor:
        """Two black images, to follow the module with."""
        shape = self.network.task.input
        return torch.zeros(2, shape.channels, shape.height, shape.width)

    @property
    def weights(self) -> dict[str, Tensor]:
        """The weights by the names under which a training keeps them."""
        own = self.module.state_dict()
        if self.network.skeleton:
            return own
        names = build(self.network.layers, device="meta").state_dict()
        return dict(zip(names, own.values(), strict=True))


# Turns a network with trained weights into a file's content.
Exporter: TypeAlias = Callable[[Trained], bytes]


def _safetensors(trained: Trained) -> bytes:
    arrays = {name: own.contiguous().numpy() for name, own in trained.weights.items()}
    return packed(arrays, trained.description)


def _pt2(trained: Trained) -> bytes:
    """Export for any number of images, without the paths of this machine's files."""
    batch, content = {0: torch.export.Dim.DYNAMIC}, io.BytesIO()
    with quiet():
        exported = torch.export.export(
            trained.module, (trained.images,), dynamic_shapes=(batch,), strict=False
        )
        for node in exported.graph.nodes:
            node.meta.pop("stack_trace", None)
        torch.export.save(exported, content)
    return content.getvalue()


EXPORTERS: dict[str, Exporter] = {".safetensors": _safetensors, ".pt2": _pt2}


def register_exporter(suffix: str, exporter: Exporter) -> None:
    """Register an exporter for files of another suffix. A file named as a plugin may call it.

    >>> register_exporter(".text", lambda trained: str(trained.network).encode())
    """
    EXPORTERS[check_suffix(suffix)] = exporter
    note_registration(suffix)


def exporter_for(path: Path) -> Exporter:
    """Return the exporter of a file. Raises ConfigError for another suffix, and if there can be
    no such file.
    """
    if path.suffix.lower() not in EXPORTERS:
        raise unknown("model format", path.suffix, EXPORTERS, f"; the file is {path}")
    check_place(path, "a model")
    return EXPORTERS[path.suffix.lower()]


def export(network: Network, weights: str | Path | Mapping[str, Any], path: Path) -> int:
    """Write a network with trained weights to a file, in the format of its suffix; return its
    bytes. What stood there is replaced whole or not at all.

    Raises ConfigError for an unknown suffix, for weights of another network, and if the file
    cannot be written; DataError for a file of weights that cannot be read; PluginError for an
    exporter that fails.

    >>> from blocksearch import network
    >>> export(network("effnet"), "weights/a.safetensors", Path("effnet.pt2"))  # doctest: +SKIP
    203123
    """
    write = exporter_for(path)
    trained = with_weights(network, weights)
    try:
        content = write(trained)
    except BlocksearchError:
        raise
    except Exception as error:  # a user's model or exporter may raise anything: say where
        raise failure(f"{path} cannot be made", error) from error
    if not isinstance(content, bytes):
        raise ConfigError(
            f"the exporter of {path.suffix} must return bytes, but returned {type(content)}"
        )
    write_file(path, content)
    return len(content)


def with_weights(network: Network, weights: str | Path | Mapping[str, Any]) -> Trained:
    """Build a network with trained weights: those of a file of safetensors, or tensors by name as
    `state_dict()` returns them. Raises as `export` does.
    """
    found: Any = weights
    where, said = "what is given as weights", dict[str, str]()
    if isinstance(weights, str | Path):
        (found, said), where = read_weights(Path(weights)), str(weights)
    if not isinstance(found, Mapping) or not all(isinstance(name, str) for name in found):
        raise ConfigError(
            "weights are a file of safetensors, or tensors by name as model.state_dict() returns "
            f"them, but got {found!r:.80}"
        )
    if said.get("network", network.digest) != network.digest:
        raise ConfigError(
            f"{where} is of another network, {said.get('text')}, than {network}: ask for the first "
            "one, whole or with the data set that it was trained on"
        )
    module = network.module(seed=0)
    try:
        module.load_state_dict({name: torch.as_tensor(own) for name, own in found.items()})
    except (RuntimeError, TypeError, ValueError) as error:
        why = str(error).splitlines()[-1].strip()
        raise ConfigError(f"{where} does not fit this network: {why}") from error
    own = {"text": str(network), "network": network.digest}
    return Trained(network=network, module=module.eval(), description=own | said)
