"""Several seeds in one module are exact for each of them, and a stopped training goes on to the
same bits.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blocksearch.arch.notation import parse
from blocksearch.arch.zoo import TASKS
from blocksearch.runs.plan import loaded
from blocksearch.training.build import build
from blocksearch.training.recipe import RECIPES
from blocksearch.training.trainer import Training
from tests.strategies import networks
from tests.training.drawn import drawn_data, train

RECIPE = replace(RECIPES["fast"], epochs=3, batch=32, learning_rate=1e-3)
OPTIONS = {
    name: family for each in ("squeeze", "gates") for name, family in loaded([each]).options.items()
}
slow = pytest.mark.slow
TEXTS = [
    "effnet",
    "mobilenet",
    "mobilenet_v2",
    "shufflenet",
    "baseline",
    "effnet residual=add groups=both(5)",
    "effnet residual=concatenate attention=squeeze.se(ratio=2)",
    "effnet residual=gates.strongest() activation=gates.swish()",
]


def network(text):
    return parse(text, replace(TASKS["gtsrb"], widths=(8, 12, 16), classes=10), OPTIONS)


@pytest.fixture(scope="module")
def data():
    return drawn_data(700, learnt=560)


def losses(training, steps):
    found = []
    for _ in range(steps):
        training.step()
        found.append(training._epoch_losses[-1] if training.batch else training.losses[-1])
    return np.array(found)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)
@given(networks(), st.integers(2, 4))
def test_each_copy_answers_as_its_own_module(found, copies):
    shape = found.task.input
    x = torch.randn(
        3, copies, shape.channels, *shape.map, generator=torch.Generator().manual_seed(0)
    )
    together = build(found.layers, *range(copies)).eval()(x.flatten(1, 2))
    for seed in range(copies):
        alone = build(found.layers, seed).eval()(x[:, seed])
        assert torch.allclose(
            together[:, seed], alone, rtol=1e-4, atol=1e-4 * float(alone.detach().abs().max())
        )


class Double(Training):
    """The same training in double precision, where rounding cannot hide a mistake."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.module.double().register_forward_pre_hook(lambda _, inputs: (inputs[0].double(),))


@pytest.mark.slow
@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize(
    ("kind", "steps", "rate", "apart"),
    [(Training, 50, 5e-5, 1e-4), (Double, 10, 1e-2, 1e-9)],
    ids=["float32", "float64"],
)
def test_steps_agree_with_each_seed_alone(data, text, kind, steps, rate, apart):
    """Rounding grows about tenfold in ten steps at a rate of 0.001, fused or not: float32 is
    compared at a twentieth of that.
    """
    layers, seeds, recipe = (
        network(text).layers,
        (0, 4),
        replace(RECIPE, batch=32, epochs=20, learning_rate=rate),
    )
    together = losses(kind(layers, data, recipe, seeds), steps)
    for place, seed in enumerate(seeds):
        alone = losses(kind(layers, data, recipe, [seed]), steps)[:, 0]
        assert np.abs(together[:, place] / alone - 1).max() <= apart


class Spoiled(Training):
    """The second seed sees other images: inverted ones, or none that are numbers."""

    def __init__(self, *arguments, spoil):
        super().__init__(*arguments)
        honest = self._learn

        def spoiled(indices):
            x, y = honest(indices)
            channels = x.shape[1] // len(self.seeds)
            x[:, channels : 2 * channels] = spoil(x[:, channels : 2 * channels])
            return x, y

        spoiled.draw = honest.draw
        self._learn = spoiled


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize(
    "spoil", [torch.neg, lambda x: x * float("nan")], ids=["other images", "not numbers"]
)
def test_what_happens_to_one_seed_leaves_the_others_bit_identical(data, text, spoil):
    layers, seeds = network(text).layers, (0, 1, 2)
    whole, spoiled = (
        Training(layers, data, RECIPE, seeds),
        Spoiled(layers, data, RECIPE, seeds, spoil=spoil),
    )
    one, other = losses(whole, 20), losses(spoiled, 20)
    assert (one[:, [0, 2]] == other[:, [0, 2]]).all()
    assert not (one[:, 1] == other[:, 1]).any()
    for name, tensor in whole.module.state_dict().items():
        if tensor.dim():
            mine, theirs = (
                t.reshape(3, -1)[[0, 2]] for t in (tensor, spoiled.module.state_dict()[name])
            )
            assert torch.equal(mine, theirs), name


def test_a_seed_that_diverges_ends_alone(data):
    training = Spoiled(
        network("effnet").layers,
        data,
        replace(RECIPE, epochs=2),
        (0, 1, 2),
        spoil=lambda x: x * float("nan"),
    )
    while not training.finished:
        training.step()
    ended = [outcome.divergence is None for outcome in training.outcomes()]
    assert ended == [True, False, True]
    diverged = training.outcomes()[1]
    assert str(diverged.divergence) == "the loss became nan at step 1 of epoch 1"
    assert diverged.accuracies == diverged.losses == ()
    assert len(training.outcomes()[0].accuracies) == 2


WHOLE = {}  # trainings without a stop, by their seeds


@pytest.fixture(params=[(3,), (0, 1, 2)], ids=["one seed", "three"])
def trained(data, request):
    """A training without a stop, and one at its first step."""
    made = network("effnet").layers, data, replace(RECIPE, dropout=0.3), request.param
    if request.param not in WHOLE:
        WHOLE[request.param] = finished(Training(*made))
    return WHOLE[request.param], lambda: Training(*made)


def finished(training):
    while not training.finished:
        training.step()
    return training


@pytest.mark.parametrize("stop", [1, 17, *(pytest.param(at, marks=slow) for at in (16, 18, 40))])
def test_a_stopped_training_goes_on_to_the_same_bits(trained, stop):
    """There are 17 steps in an epoch: stops in an epoch, at its end, and one step into the next."""
    whole, begin = trained
    first, second = begin(), begin()
    for _ in range(stop):
        first.step()
    second.load(first.state())
    finished(second)
    for one, other in zip(whole.outcomes(), second.outcomes(), strict=True):
        same = {"seconds": 0, "right": None, "predictions": None}
        assert replace(one, **same) == replace(other, **same)
        assert (one.predictions == other.predictions).all()
    states = whole.state(), second.state()
    assert all(
        np.array_equal(states[0][name], states[1][name]) for name in states[0] if name != "seconds"
    )


def test_one_seed_is_what_train_gives(data):
    training = finished(Training(network("effnet").layers, data, RECIPE, [2]))
    assert (
        training.outcomes()[0].losses
        == train(network("effnet").layers, data, RECIPE, seed=2).losses
    )
