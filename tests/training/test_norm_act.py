"""Normalisation and activation in one step against torch's own operators in double precision; the
gathering of batches.
"""

from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from blocksearch.arch.layers import LEAKY_SLOPE, Activation, ActivationKind, Norm, Shape
from blocksearch.training import kernels
from blocksearch.training.build import build
from blocksearch.training.norm_act import NormAct
from tests.strategies import tries

SHAPES = st.tuples(st.integers(6, 12), st.integers(1, 40), st.integers(1, 9), st.integers(1, 9))


def pair(shape, slope, seed, layout=torch.channels_last):
    """The module, torch's own in double, and an input and a gradient for both; means lie far from
    zero.
    """
    generator = torch.Generator().manual_seed(seed)
    ours, theirs = NormAct(shape[1], slope), nn.BatchNorm2d(shape[1]).double()
    ours.weight.data.uniform_(-1, 2, generator=generator)
    ours.bias.data.uniform_(-1, 1, generator=generator)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(shape, generator=generator) + 10 * torch.randn(
        1, shape[1], 1, 1, generator=generator
    )
    return ours, theirs, x.contiguous(memory_format=layout), torch.randn(shape, generator=generator)


def near(found, wanted):
    found, wanted = found.detach(), wanted.detach()
    off = (found.double() - wanted.double()).abs() > 2e-5 * (1 + float(wanted.abs().max()))
    return not off.any()


@tries(60)
@given(
    SHAPES,
    st.sampled_from([0.0, 0.2, 1.0]),
    st.integers(0, 2**30),
    st.sampled_from([torch.channels_last, torch.contiguous_format]),
)
def test_values_gradients_and_running_statistics_are_those_of_torch_in_double(
    shape, slope, seed, layout
):
    ours, theirs, x, dy = pair(shape, slope, seed, layout)
    mine, double = x.clone().requires_grad_(), x.double().requires_grad_()
    normalised = theirs(double)
    # at the bend rounding decides the side, and with it a gradient of the whole channel
    assume(slope == 1 or float(normalised.detach().abs().min()) > 5e-6)
    y, wanted = ours(mine), functional.leaky_relu(normalised, slope)
    y.backward(dy)
    wanted.backward(dy.double())
    assert near(y, wanted)
    assert near(mine.grad, double.grad)
    assert near(ours.weight.grad, theirs.weight.grad)
    assert near(ours.bias.grad, theirs.bias.grad)
    assert near(ours.running_mean, theirs.running_mean)
    assert near(ours.running_var, theirs.running_var)
    assert near(ours.eval()(x), functional.leaky_relu(theirs.eval()(x.double()), slope))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -3e38])
def test_what_happens_in_a_channel_stays_there(bad):
    ours, _, x, dy = pair((4, 10, 5, 7), 0.0, seed=1)
    results = []
    for value in (x[1, 3, 2, 2].item(), bad):
        x[1, 3, 2, 2] = value
        own = x.clone().requires_grad_()
        y = ours(own)
        y.backward(dy)
        results.append((y.detach(), own.grad))
    others = [channel for channel in range(10) if channel != 3]
    for before, after in zip(*results, strict=True):
        assert torch.equal(before[:, others], after[:, others])
    assert not torch.isfinite(results[1][0][:, 3]).all() or bad == -3e38


def test_other_precisions_run_on_torchs_operators():
    ours, theirs, x, _ = pair((4, 6, 3, 3), 0.2, seed=2)
    assert torch.equal(ours.double()(x.double()), functional.leaky_relu(theirs(x.double()), 0.2))


@given(st.integers(1, 10**6), st.integers(1, 300))
def test_rows_laid_end_to_end_come_out_even(rows, channels):
    assert rows % kernels.wide(rows, channels) == 0


@given(st.integers(1, 5), st.integers(1, 6), st.integers(0, 2**30))
@settings(deadline=None)
def test_gathered_batches_are_the_images_normalised(copies, channels, seed):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (9, 12, channels), np.uint8)
    scale, shift = rng.random((2, channels), np.float32)
    indices = rng.integers(0, 9, (7, copies))
    x = np.empty((7, 12, copies * channels), np.float32)
    kernels.gathered(pixels, indices, scale, shift, x)
    for k in range(copies):
        assert np.allclose(
            x[:, :, k * channels : (k + 1) * channels],
            pixels[indices[:, k]] * scale + shift,
            rtol=1e-6,
        )


FUNCTIONS = {
    "relu": functional.relu,
    "leaky": lambda x: functional.leaky_relu(x, LEAKY_SLOPE),
    "relu6": functional.relu6,
    "elu": functional.elu,
    "silu": functional.silu,
    "gelu": functional.gelu,
    "hardswish": functional.hardswish,
    "hardsigmoid": functional.hardsigmoid,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
}


def test_every_activation_has_its_function():
    assert set(FUNCTIONS) == set(get_args(ActivationKind))


@pytest.mark.parametrize("kind", FUNCTIONS)
def test_an_activation_is_torchs_alone_and_after_a_normalisation(kind):
    shape = Shape(4, 3, 3)
    x = 4 * torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    normed = build((Norm(shape),)).eval()(x.clone())
    assert torch.allclose(
        build((Activation(shape, kind),)).eval()(x.clone()), FUNCTIONS[kind](x), atol=1e-6
    )
    assert torch.allclose(
        build((Norm(shape), Activation(shape, kind))).eval()(x.clone()),
        FUNCTIONS[kind](normed),
        atol=1e-6,
    )
