"""Exact costs: the paper's figures, torch's own counter, and a count over positions."""

import pytest
import torch
from hypothesis import given
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from blocksearch.arch.cost import cost
from blocksearch.arch.layers import Conv, Join, Linear
from blocksearch.arch.network import Network
from blocksearch.arch.zoo import NAMED, TASKS, named_network
from blocksearch.training.build import build
from tests.strategies import networks, tries

# "Expected counts (exact)", recovered from the FLOPs columns of the EffNet paper's tables.
EXPECTED = {
    "cifar10": {
        "baseline": 79_118_336,
        "mobilenet": 5_828_608,
        "shufflenet": 4_655_104,
        "effnet": 11_280_384,
        "effnet_revised": 30_040_064,
        "effnet_revised_4": 21_233_664,
        "effnet_revised_2": 12_427_264,
        "mobilenet_v2": 42_033_152,
        "mobilenet_v2_4": 29_229_056,
        "mobilenet_v2_2": 16_424_960,
        "mob_imp": 44_023_808,
    },
    "svhn": {
        "baseline": 3_333_120,
        "mobilenet": 773_376,
        "shufflenet": 733_056,
        "effnet": 517_632,
        "effnet_revised": 1_798_656,
        "effnet_revised_4": 1_425_408,
        "effnet_revised_2": 1_052_160,
        "mobilenet_v2": 2_130_432,
        "mobilenet_v2_4": 1_646_592,
        "mobilenet_v2_2": 1_162_752,
        "mob_imp": 2_503_680,
    },
    "gtsrb": {
        "baseline": 1_666_048,
        "mobilenet": 532_992,
        "shufflenet": 540_672,
        "effnet": 344_064,
        "effnet_revised": 1_045_504,
        "effnet_revised_4": 859_136,
        "effnet_revised_2": 672_768,
        "mobilenet_v2": 1_159_168,
        "mobilenet_v2_4": 934_912,
        "mobilenet_v2_2": 710_656,
        "mob_imp": 1_408_000,
    },
}
AS_WRITTEN = {
    "cifar10": {
        "effnet_revised": 30_113_792,
        "effnet_revised_4": 21_282_816,
        "effnet_revised_2": 12_451_840,
    },
    "svhn": {
        "effnet_revised": 1_812_480,
        "effnet_revised_4": 1_434_624,
        "effnet_revised_2": 1_056_768,
    },
    "gtsrb": {
        "effnet_revised": 1_045_504,
        "effnet_revised_4": 859_136,
        "effnet_revised_2": 672_768,
    },
}
LARGE = {
    "effnet_large",
    "effnet_large_published",
}  # widths of ours, filled to a budget: see test_rescale
PLACES = [(dataset, name) for dataset in EXPECTED for name in NAMED if name not in LARGE]


def check_against_torch(network: Network) -> None:
    """Compare FLOPs, parameters and every output shape with the module on the meta device; one of
    two seeds has twice the parameters.
    """
    price, task = cost(network.layers), network.task
    module = build(network.layers, device="meta").eval()
    x = torch.empty((2, task.input.channels, *task.input.map), device="meta")
    with FlopCounterMode(display=False) as counter:
        module(x)
    assert counter.get_total_flops() == 2 * price.flops
    assert sum(p.numel() for p in module.parameters()) == price.params
    pair = build(network.layers, 0, 1, device="meta")
    assert sum(p.numel() for p in pair.parameters()) == 2 * price.params
    for part, layer in zip(module, network.layers, strict=True):
        x = part(x)
        expected = (
            (2, layer.classes)
            if isinstance(layer, Linear)
            else (2, layer.output.channels, *layer.output.map)
        )
        assert tuple(x.shape) == expected


@pytest.mark.parametrize(("dataset", "name"), PLACES)
def test_named_points_cost_exactly_what_the_paper_implies(dataset, name):
    network = named_network(name, TASKS[dataset], dataset=dataset)
    assert cost(network.layers).flops == EXPECTED[dataset][name]
    check_against_torch(network)


@pytest.mark.parametrize(("dataset", "name"), [(d, n) for d in AS_WRITTEN for n in AS_WRITTEN[d]])
def test_revised_effnet_as_written(dataset, name):
    network = named_network(name, TASKS[dataset], dataset=dataset, as_written=True)
    assert cost(network.layers).flops == AS_WRITTEN[dataset][name]


@tries(300)
@given(networks())
def test_cost_is_what_torch_counts(network):
    check_against_torch(network)


def count_over_positions(layers) -> int:
    """Count MACs one output position at a time, from kernel and channels alone."""
    total = 0
    for layer in layers:
        match layer:
            case Join():
                total += sum(count_over_positions(branch) for branch in layer.branches)
            case Conv():
                for inputs, outputs in layer.parts:
                    for _ in range(layer.output.height):
                        for _ in range(layer.output.width):
                            total += outputs * inputs * layer.kernel[0] * layer.kernel[1]
            case Linear():
                total += (
                    layer.input.channels * layer.input.height * layer.input.width * layer.classes
                )
    return total


@tries(60)
@given(networks())
def test_cost_is_what_a_count_over_positions_gives(network):
    assert cost(network.layers).macs == count_over_positions(network.layers)


def test_table_1_floats_out():
    """Table 1 of the paper: baseline, mobilenet, shufflenet and effnet on CIFAR-10 (effnet's first
    rows are shifted there).
    """
    floats = {
        name: cost(named_network(name, TASKS["cifar10"]).layers).layer_activations for name in NAMED
    }
    assert floats["baseline"] == (16384, 8192, 4096, 10)
    assert floats["mobilenet"] == (16384, 4096, 8192, 2048, 4096, 10)
    assert floats["shufflenet"] == (16384, 8192, 2048, 8192, 4096, 1024, 4096, 10)
    assert floats["effnet"] == (
        32768,
        16384,
        16384,
        16384,
        16384,
        8192,
        8192,
        8192,
        8192,
        4096,
        4096,
        4096,
        10,
    )


class _Liveness:
    """The peak measured: sum of live tensors while the built module runs, by patching nothing and
    recomputing from its parts.
    """

    def __init__(self) -> None:
        self.peak = 0

    def run(self, module: nn.Module, x: torch.Tensor, held: int) -> torch.Tensor:
        for part in module:
            x = self._step(part, x, held)
        return x

    def _step(self, part, x, held):
        if hasattr(part, "branches"):
            outputs, kept = [], held
            for k, branch in enumerate(part.branches):
                source = x.numel() if k < len(part.branches) - 1 else 0
                y = x
                for i, inner in enumerate(branch):
                    y = self._step(inner, y, kept + (source if i else 0))
                outputs.append(y)
                kept += y.numel()
            joined = torch.cat(outputs, 1) if part.kind == "concatenate" else outputs[0]
            self.peak = max(self.peak, kept + (joined.numel() if part.kind == "concatenate" else 0))
            return joined
        y = part(x)
        in_place = (
            isinstance(part, nn.BatchNorm2d | nn.Identity | nn.ReLU | nn.LeakyReLU)
            or type(part).__name__ == "SeededDropout"
        )
        self.peak = max(self.peak, held + x.numel() + (0 if in_place else y.numel()))
        return y


@tries(100)
@given(networks())
def test_peak_activation_is_the_largest_sum_of_live_tensors(network):
    module, task, live = build(network.layers, device="meta").eval(), network.task, _Liveness()
    live.run(module, torch.empty((1, task.input.channels, *task.input.map), device="meta"), 0)
    assert cost(network.layers).peak_activations == live.peak


def test_peak_activation_in_closed_form():
    """Baseline on CIFAR-10: the first convolution's output and its pooled map; a held shortcut adds
    its source.
    """
    plain = named_network("baseline", TASKS["cifar10"])
    assert cost(plain.layers).peak_activations == 64 * 32 * 32 + 64 * 16 * 16
    held = cost(plain.with_factor("residual", "add").layers).peak_activations
    assert held == 64 * 32 * 32 + 64 * 16 * 16 + 3 * 32 * 32


def test_revised_effnet_pools_late_only_on_the_data_sets_whose_tables_demand_it():
    assert len(named_network("effnet_revised", TASKS["gtsrb"], dataset="gtsrb").blocks) == 1
    assert (
        named_network("effnet_revised", TASKS["svhn"], dataset="svhn").blocks[-1].pooling == "first"
    )
