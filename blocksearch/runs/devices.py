"""Lists devices, and finds the one that a text means; only a worker imports torch for that."""

import os
import platform
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

from blocksearch.errors import ConfigError
from blocksearch.runs.records import Machine


def find_places(wanted: str) -> tuple[Machine, ...]:
    """Return the devices that `auto`, `cpu`, `cuda`, or a list such as `cuda:0,cuda:1` means in a
    worker. `cuda` is all GPUs of the first one's kind, `auto` the same or the processor.

    Raises ConfigError if torch sees no such device (CUDA_VISIBLE_DEVICES has been honoured by
    then), and for a list of devices of several kinds.
    """
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    names = [f"cuda:{index}" for index in range(count)]
    return places_among([Machine(each, machine(each)) for each in names], wanted)


def places_among(gpus: Sequence[Machine], wanted: str) -> tuple[Machine, ...]:
    """Return the devices that a text means where these GPUs are; see `find_places`.

    Trainings are equal to the bit on devices of one kind only, so all workers have the same kind.
    """
    if wanted == "auto":
        wanted = "cuda" if gpus else "cpu"
    if wanted == "cuda" and gpus:
        return tuple(each for each in gpus if each.machine == gpus[0].machine)
    known = {each.device: each for each in gpus}
    found = []
    for name in wanted.split(","):
        if name == "cpu":
            found.append(Machine("cpu", machine("cpu")))
        elif name in known:
            found.append(known[name])
        else:
            seen = f"{len(gpus)} CUDA devices" if gpus else "no CUDA device"
            visible = os.environ.get("CUDA_VISIBLE_DEVICES")
            limited = f" with CUDA_VISIBLE_DEVICES={visible}" if visible is not None else ""
            raise ConfigError(f"device {name}: torch {version('torch')} sees {seen} here{limited}")
    kinds = dict.fromkeys(each.machine for each in found)
    if len(kinds) > 1:
        raise ConfigError(
            f"devices {wanted} are of several kinds ({'; '.join(kinds)}): what a training gives "
            "would depend on which of them trains it"
        )
    return tuple(found)


@lru_cache(maxsize=8)
def machine(device: str) -> str:
    """Name the processor or GPU and torch's version, which decide the speed and the exact bits of a
    training here.
    """
    what = f"{_processor()}, {os.cpu_count()} cores" if device == "cpu" else device_name(device)
    return f"{what}, torch {version('torch')}"[:255]


@lru_cache(maxsize=8)
def instructions(device: str) -> str:
    """Name the instruction sets for which torch's and our loops are compiled here, because they
    decide how sums are rounded, and processors of one name may differ in them. Empty for a GPU.
    """
    if device != "cpu":
        return ""
    import torch

    from blocksearch.training.kernels import compiled_for

    return f"{torch.backends.cpu.get_cpu_capability()}, {compiled_for()}"


@lru_cache(maxsize=8)
def device_name(device: str) -> str:
    """Name a device for the record: `cpu`, or the kind of GPU."""
    if device == "cpu":
        return device
    import torch

    return torch.cuda.get_device_name(device)


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
