"""What a GPU's training does differently, held against the processor's on the processor: recorded
steps, images on the device, the ways to convolve copies, precision, and memory that does not
suffice.
"""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from blocksearch.errors import ConfigError
from blocksearch.runs.devices import find_places
from blocksearch.training.batches import ResidentImages, SharedImages
from blocksearch.training.modules import SeededConv
from blocksearch.training.trainer import Training
from tests.strategies import tries
from tests.training.test_fused import RECIPE, TEXTS, data, losses, network

__all__ = ["data"]  # a fixture
CPU = torch.device("cpu")
DROPPING = replace(
    RECIPE, dropout=0.5, learning_rate=1e-4
)  # a recorded rate is a single float, and differences grow with it


@pytest.mark.parametrize("text", TEXTS[:6])
def test_a_recorded_step_is_the_plain_step(data, text):
    plain, recorded = (
        Training(network(text).layers, data, DROPPING, [3, 5], recorded=recorded)
        for recorded in (False, True)
    )
    for training in (plain, recorded):
        for _ in range(16):
            training.step()
        training._read_losses()
    assert np.allclose(plain._epoch_losses, recorded._epoch_losses, rtol=1e-4)
    plain.step(), recorded.step()
    assert recorded.accuracies[0] == pytest.approx(plain.accuracies[0], abs=1)


def test_a_recorded_training_is_taken_up_in_the_middle_of_an_epoch(data):
    def begun():
        return Training(network("effnet").layers, data, DROPPING, [1, 2], recorded=True)

    whole, first, second = begun(), begun(), begun()
    for _ in range(9):
        first.step()
    second.load(first.state())
    while not whole.finished:
        whole.step()
    while not second.finished:
        second.step()
    for one, other in zip(whole.outcomes(), second.outcomes(), strict=True):
        assert (one.losses, one.accuracies) == (other.losses, other.accuracies)


def test_a_recorded_training_says_the_same_of_a_seed_that_diverges(data):
    wild = replace(RECIPE, learning_rate=1e30)
    outcomes = []
    for recorded in (False, True):
        training = Training(network("effnet").layers, data, wild, [0, 1], recorded=recorded)
        while not training.finished:
            training.step()
        outcomes.append([(str(o.divergence), o.losses) for o in training.outcomes()])
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][0][0].startswith("the loss became")


def test_images_on_a_device_are_the_shared_ones(data):
    some = data.training.take(np.arange(50, 200)[::-1].copy())
    indices = torch.randint(0, 150, (16, 3))
    (x, y), (shared_x, shared_y) = (
        kind(indices) for kind in (ResidentImages(some, data, CPU), SharedImages(some, data))
    )
    assert torch.allclose(x, shared_x, atol=1e-6)
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(y, shared_y)


@tries(60)
@given(
    st.integers(1, 4),
    st.integers(1, 5),
    st.integers(1, 5),
    st.sampled_from([1, 2, 3]),
    st.sampled_from([1, 2]),
    st.integers(1, 2),
)
def test_convolving_copies_one_by_one_gives_what_a_grouped_convolution_gives(
    copies, inputs, outputs, taps, stride, dilation
):
    kernel, padding = (taps, 3), (taps // 2, dilation)
    for shape in (((1, 1), (0, 0)), (kernel, padding)):
        conv = SeededConv(
            copies, inputs, outputs, shape[0], (stride, 1), shape[1], dilation
        ).double()
        x = torch.randn(2, copies * inputs, 7, 6, dtype=torch.double, requires_grad=True)
        found = []
        for way in (conv, conv.one_by_one):
            x.grad = conv.weight.grad = None
            y = way(x)
            (y * torch.arange(y.numel()).view(y.shape)).sum().backward()
            found.append((y.detach(), x.grad, conv.weight.grad))
        assert all(torch.allclose(a, b) for a, b in zip(*found, strict=True))


def test_bfloat16_multiplies_less_exactly_and_keeps_single_weights(data):
    exact, rounded = (
        Training(network("effnet").layers, data, replace(RECIPE, precision=precision), [1, 2])
        for precision in ("float32", "bfloat16")
    )
    one, other = losses(exact, 5), losses(rounded, 5)
    assert np.allclose(one, other, rtol=0.03)
    assert not np.array_equal(one, other)
    assert all(parameter.dtype == torch.float32 for parameter in rounded.module.parameters())
    with pytest.raises(ConfigError, match="unknown precision 'half'"):
        replace(RECIPE, precision="half")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there():
    assert find_places("auto")[0].device == find_places("cpu")[0].device == "cpu"
    with pytest.raises(ConfigError, match=r"device cuda:1: torch .* sees no CUDA device here"):
        find_places("cuda:1")


LIMITED = """
import json, resource, sys
from dataclasses import replace
from pathlib import Path
from blocksearch.arch.notation import parse
from blocksearch.runs.plan import RunSettings, experiment, task_from
from blocksearch.runs.worker import train_group
from blocksearch.runs.records import Group
from blocksearch.data.splits import Split
from blocksearch.training.recipe import RECIPES

seeds, limit, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
import torch, blocksearch.training.trainer
torch.set_num_threads(1)
network = parse("baseline", task_from("digits", "64,64,64"))
recipe = replace(RECIPES["fast"], epochs=1)
settings = RunSettings(
    protocol=Split("digits", images=256), recipe=recipe, root=folder, ledger="none", workers=1
)
jobs = experiment(settings, network).jobs([network], range(seeds))
def status(name):
    lines = open("/proc/self/status")
    return next(int(l.split()[1]) for l in lines if l.startswith(name)) * 1024

start = status("VmSize")
if limit:
    resource.setrlimit(resource.RLIMIT_AS, (start + limit, start + limit))
runs = train_group(Group(jobs=tuple(jobs), checkpoint=folder / "kept.npz"))
modes = [run.provenance["mode"] for run in runs]
print(json.dumps([status("VmPeak") - start, modes, [run.accuracy for run in runs]]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited as Linux does it")
def test_seeds_that_do_not_fit_into_memory_are_trained_by_halves(tmp_path):
    def run(seeds, limit):
        command = [sys.executable, "-c", LIMITED, str(seeds), str(limit), str(tmp_path)]
        return json.loads(
            subprocess.run(command, check=True, capture_output=True, text=True).stdout
        )

    (one, _, _), (four, modes, _) = run(1, 0), run(4, 0)
    assert modes == ["4 seeds fused"] * 4
    assert one < 0.6 * four
    _, modes, accuracies = run(4, int(0.9 * four))
    # What the first half leaves behind differs by a few percent: the second may be halved again.
    assert modes[:2] == ["2 seeds fused"] * 2
    assert set(modes) <= {"2 seeds fused", "serial"}
    assert all(accuracies)
