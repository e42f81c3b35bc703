"""Training: repeatable to the bit, paired by seed, honest about divergence, and learning
something.
"""

from contextlib import suppress
from dataclasses import replace
from itertools import product
from typing import ClassVar, get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from blocksearch.arch.block import Block
from blocksearch.arch.layers import (
    Activation,
    ActivationKind,
    Conv,
    Dropout,
    Join,
    MatchChannels,
    Pool,
    Shape,
)
from blocksearch.arch.network import Network, Task
from blocksearch.arch.notation import parse
from blocksearch.arch.zoo import NAMED, TASKS, named_network
from blocksearch.data import load, validation_split
from blocksearch.data.splits import Images, Split, normalisation, prepare
from blocksearch.errors import ConfigError, SpecError
from blocksearch.training.batches import gather
from blocksearch.training.build import build
from blocksearch.training.outcome import Divergence
from blocksearch.training.recipe import RECIPES, Recipe
from blocksearch.training.recipe_text import recipe_named
from blocksearch.training.schedules import SCHEDULES
from blocksearch.training.step import (
    EVALUATION_BATCH,
    LARGE,
    SMALL,
    evaluation_batch,
    predict,
    with_dropout,
)
from blocksearch.training.trainer import Training
from tests.training.drawn import drawn_data, train

NETWORK = named_network("effnet", TASKS["digits"])


@pytest.fixture(scope="module")
def data():
    return drawn_data(600, learnt=400)


CPU = torch.device("cpu")
RECIPE = replace(RECIPES["fast"], epochs=2, batch=64)


def test_repeated_training_is_bit_identical(data):
    first, second = (
        train(NETWORK.layers, data, replace(RECIPE, dropout=0.5), seed=1) for _ in range(2)
    )
    assert (first.losses, first.accuracies) == (second.losses, second.accuracies)
    assert (first.right == second.right).all()


def test_training_does_not_depend_on_what_else_draws_random_numbers(data):
    first = train(NETWORK.layers, data, RECIPE, seed=1)
    torch.manual_seed(99)
    np.random.seed(99)
    assert train(NETWORK.layers, data, RECIPE, seed=1).losses == first.losses


def test_seeds_differ(data):
    assert (
        train(NETWORK.layers, data, RECIPE, seed=1).losses
        != train(NETWORK.layers, data, RECIPE, seed=2).losses
    )


def test_weights_that_the_last_step_breaks_are_a_divergence_whoever_trains_beside_it(data):
    """Nothing comes after that step whose loss would say so."""
    training = Training(NETWORK.layers, data, replace(RECIPE, epochs=1), [0, 1])
    for _ in range((steps := training.steps_per_epoch) - 1):
        training.step()
    last = list(training.module.parameters())[-1]  # the classifier's biases, ten for each seed
    training.optimizer.state[last]["exp_avg"].view(-1)[:10] = float("inf")
    training.step()
    broken, whole = training.outcomes()
    assert (broken.divergence.epoch, broken.divergence.step) == (1, steps)
    assert (broken.accuracies, whole.divergence) == ((), None)
    assert len(whole.accuracies) == 1


class Noted(Training):
    """A training that notes which images its steps read."""

    def _body(self, indices):
        self.seen = [*getattr(self, "seen", []), indices.T.tolist()]
        return super()._body(indices)


def test_a_seed_is_the_same_batch_order_for_every_network(data):
    trainings = [
        Noted(n.layers, data, RECIPE, [4])
        for n in (NETWORK, NETWORK.with_factor("residual", "project"))
    ]
    for training in trainings:
        while not training.finished:
            training.step()
    assert trainings[0].seen == trainings[1].seen


def test_each_seed_and_each_epoch_has_an_order_of_its_own(data):
    training = Noted(NETWORK.layers, data, RECIPE, [4, 5])
    while not training.finished:
        training.step()
    steps = training.steps_per_epoch
    assert len(training.seen) == RECIPE.epochs * steps
    assert all(one != other for one, other in training.seen)
    for first, second in zip(training.seen[:steps], training.seen[steps:], strict=True):
        assert all(one != other for one, other in zip(first, second, strict=True))
    of_an_epoch = [index for step in training.seen[:steps] for index in step[0]]
    assert len(set(of_an_epoch)) == len(of_an_epoch) == steps * RECIPE.batch


def test_the_recipe_reaches_the_optimiser_and_the_loss(data):
    recipe = replace(RECIPE, beta1=0.6, beta2=0.97, weight_decay=0.01)
    training, rates = Training(NETWORK.layers, data, recipe, [0]), []
    (group,) = training.optimizer.param_groups
    assert (group["betas"], group["weight_decay"]) == ((0.6, 0.97), 0.01)
    while not training.finished:
        training.step()
        rates.append(float(group["lr"]))
    steps = recipe.epochs * training.steps_per_epoch
    share = SCHEDULES.made(recipe.schedule)
    assert rates == [recipe.learning_rate * share(step, steps) for step in range(steps)]
    smoothed, plain = (
        Training(NETWORK.layers, data, replace(RECIPE, label_smoothing=s), [0]) for s in (0.3, 0.0)
    )
    for each in (smoothed, plain):
        each.step()
    assert smoothed.state()["epoch_losses"] != plain.state()["epoch_losses"]


def test_the_accuracy_is_that_of_the_stored_bits_after_the_last_epoch(data):
    outcome = train(NETWORK.layers, data, RECIPE, seed=0)
    assert outcome.accuracies[-1] == 100 * outcome.right.sum() / 200
    assert len(outcome.accuracies) == len(outcome.losses) == RECIPE.epochs


@pytest.mark.parametrize("rate", [1e-3, 1e30])
def test_images_that_judge_once_see_the_last_epoch_alone(data, rate, monkeypatch):
    looks = []
    monkeypatch.setattr(
        "blocksearch.training.trainer.predict", lambda *given: looks.append(0) or predict(*given)
    )
    recipe = replace(RECIPE, learning_rate=rate)
    watched = train(NETWORK.layers, data, recipe, seed=0)
    seen = len(looks)
    once = train(NETWORK.layers, replace(data, once=True), recipe, seed=0)
    assert (str(once.divergence), once.losses, once.accuracies) == (
        str(watched.divergence),
        watched.losses,
        watched.accuracies[-1:],
    )
    assert (once.right == watched.right).all()
    assert (seen, len(looks) - seen) == ((RECIPE.epochs, 1) if once.divergence is None else (0, 0))


@pytest.mark.parametrize("last", [False, True])
def test_a_seed_that_diverges_in_the_last_epoch_is_not_judged(data, last):
    training = Training(NETWORK.layers, replace(data, once=True), RECIPE, [0, 1])
    while not training.finished:
        training.step()
        if training.epoch == RECIPE.epochs - 1 and last:
            training.divergences[0] = Divergence(2, 1, float("nan"))
    found, other = training.outcomes()
    assert (found.divergence is not None, found.accuracies == ()) == (last, last)
    assert len(other.accuracies) == 1


@pytest.mark.slow
def test_a_small_net_learns_digits():
    layers = named_network("baseline", TASKS["digits"]).layers
    outcome = train(layers, drawn_data(3000, learnt=2500), replace(RECIPE, epochs=4), seed=0)
    assert outcome.accuracies[-1] > 20


def test_a_diverging_run_says_where(data):
    outcome = train(NETWORK.layers, data, replace(RECIPE, learning_rate=1e30), seed=0)
    assert outcome.divergence
    assert not np.isfinite(outcome.divergence.value)
    assert str(outcome.divergence).startswith("the loss became")
    assert outcome.right.size == 0


def test_evaluation_does_not_change_the_module(data):
    module = build(NETWORK.layers, 0)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    judge = gather(data.evaluation, data, CPU)
    first = predict(module, judge, 200, 1, CPU)
    assert (predict(module, judge, 200, 1, CPU) == first).all()
    assert all((value == before[name]).all() for name, value in module.state_dict().items())


def test_large_maps_are_judged_in_smaller_batches_and_those_of_the_paper_as_ever(data):
    for task, name in product(TASKS, NAMED):
        with suppress(SpecError):
            layers = named_network(name, TASKS[task]).layers
            assert evaluation_batch(layers) == EVALUATION_BATCH == 500
    sizes = []
    for side in (96, 160, 224):
        text = "effnet widths=64,128 head=global_pool"
        net = parse(text, Task(input=Shape(3, side, side), classes=10))
        sizes.append(evaluation_batch(net.layers))
        peak = net.cost.peak_activations
        assert peak > SMALL
        assert sizes[-1] * peak <= LARGE < (sizes[-1] + 1) * peak
    assert 500 > sizes[0] > sizes[1] > sizes[2] >= 1
    module, judge = build(NETWORK.layers, 0), gather(data.evaluation, data, CPU)
    whole = predict(module, judge, 200, 1, CPU)
    for batch in (1, 7, 199):  # of images that are nearly a tie the rounding may decide
        assert (predict(module, judge, 200, 1, CPU, batch) == whole).mean() > 0.99


def test_weights_are_he_normal_and_belong_to_the_seed():
    first, second, other = (build(NETWORK.layers, seed) for seed in (0, 0, 1))
    assert all((a == b).all() for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert any((a != b).any() for a, b in zip(first.parameters(), other.parameters(), strict=True))
    wide = Task(input=Shape(64, 8, 8), widths=(256,), classes=10)
    conv = build(Network(task=wide, blocks=(Block(spatial="dense", last="none"),)).layers, 0)[0]
    assert conv.weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.02)


def test_images_are_normalised_by_the_training_images(data):
    x, y = gather(data.training, data, CPU)(torch.arange(400)[:, None])
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert x.mean((0, 2, 3)).tolist() == pytest.approx([0, 0, 0], abs=1e-4)
    assert x.std((0, 2, 3)).tolist() == pytest.approx([1, 1, 1], abs=1e-3)
    assert y[:, 0].tolist() == data.training.labels.tolist()


@pytest.mark.parametrize("kind", ["max", "average"])
@pytest.mark.parametrize(
    ("kernel", "size"),
    [((2, 2), (5, 7)), ((1, 2), (4, 5)), ((2, 1), (5, 4)), ((3, 3), (5, 6)), ((3, 3), (4, 7))],
)
def test_pools_leave_padding_out(kind, kernel, size):
    """Against windows taken by hand: an odd map keeps its last row and column, and padding is never
    averaged in.
    """
    stride = tuple(2 if k > 1 else 1 for k in kernel)
    layer = Pool(Shape(1, *size), kind, kernel, stride)
    x = torch.randn(1, 1, *size)
    y = build((layer,))(x)[0, 0]
    assert tuple(y.shape) == layer.output.map
    for i in range(y.shape[0]):
        for j in range(y.shape[1]):
            top, left = i * stride[0] - (kernel[0] - 1) // 2, j * stride[1] - (kernel[1] - 1) // 2
            window = x[0, 0, max(top, 0) : top + kernel[0], max(left, 0) : left + kernel[1]]
            assert y[i, j].item() == pytest.approx(
                (window.max() if kind == "max" else window.mean()).item(), abs=1e-6
            )


@given(
    kernel=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    stride=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
)
def test_a_pool_has_the_map_that_it_is_priced_with_or_is_refused(kernel, stride, size):
    """Of all windows: what cannot be built as it is priced is refused, and nothing else."""
    torchs = nn.MaxPool2d(
        kernel,
        stride,
        tuple((k - 1) // 2 for k in kernel),
        ceil_mode=any(k % 2 == 0 for k in kernel),
    )
    try:
        made = tuple(torchs(torch.zeros(1, 1, *size)).shape[2:])
    except RuntimeError:  # the kernel is larger than the map
        made = (0, 0)
    expected = tuple(-(-n // s) for n, s in zip(size, stride, strict=True))
    below = any(n == 1 < s for n, s in zip(size, stride, strict=True))
    try:
        layer = Pool(Shape(1, *size), "max", kernel, stride)
    except SpecError:
        assert below or made != expected
    else:
        assert tuple(build((layer,))(torch.zeros(1, 1, *size)).shape[2:]) == expected == made


def test_a_free_shortcut_is_the_pooled_input_with_zeros_for_missing_channels():
    network = Network(
        task=Task(input=Shape(3, 6, 6), widths=(5,), classes=2),
        blocks=(Block(residual="add", activation="linear"),),
    )
    module = build(network.layers, 0).eval()
    x = torch.randn(2, 3, 6, 6)
    body, joined = module[0].branches[0](x), module[0](x)
    assert torch.allclose((joined - body)[:, :3], functional.avg_pool2d(x, 2), atol=1e-6)
    assert (joined - body)[:, 3:].abs().max() == 0


def test_dropout_of_the_recipe_replaces_the_networks():
    layers = named_network("effnet", TASKS["gtsrb"]).layers
    rates = lambda found: [layer.rate for layer in found if isinstance(layer, Dropout)]  # noqa: E731
    assert rates(with_dropout(layers, None)) == [0.5]
    assert rates(with_dropout(layers, 0.25)) == [0.25]
    assert rates(with_dropout(layers, 0.0)) == []
    assert rates(with_dropout(NETWORK.layers, 0.1)) == [0.1]


S = Shape(4, 3, 3)
HANDS_ON = {  # layers that may hand on what they were given
    "nothing": (),
    "as many channels": (MatchChannels(S, 4),),
    "fewer channels": (MatchChannels(S, 3), MatchChannels(Shape(3, 3, 3), 4)),
    "dropout": (Dropout(S, 0.5),),
    "one branch": (Join(S, "add", ((),)),),
}


@pytest.mark.parametrize("before", HANDS_ON.values(), ids=HANDS_ON)
@pytest.mark.parametrize("kind", ["hardsigmoid", "elu", "relu"])
@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_an_activation_never_writes_into_what_other_branches_read(before, kind, seeds):
    branch = (*before, Activation(S, kind))
    own, joined = (
        build(layers, *seeds).eval() for layers in (branch, (Join(S, "add", (branch, ())),))
    )
    x = torch.randn(5, 4 * len(seeds), 3, 3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(joined(x.clone()), own(x.clone()) + x)


@pytest.mark.parametrize("kind", get_args(ActivationKind))
def test_an_activation_after_any_other_can_be_trained(kind):
    for first in get_args(ActivationKind):
        module = build((Conv(S, 4, (1, 1)), Activation(S, first), Activation(S, kind)), 0)
        x = torch.randn(2, 4, 3, 3, requires_grad=True)
        module(x).sum().backward()
        assert x.grad.isfinite().all(), first


def test_two_dropouts_of_one_shape_draw_masks_of_their_own():
    two = build((Dropout(S, 0.5), Dropout(S, 0.5)), 3).train()
    one = build((Dropout(S, 0.5),), 3).train()
    x = torch.ones(2, 4, 3, 3)
    assert torch.equal(two[0](x), one(x))  # a network with one has the masks that it always had
    assert not torch.equal(two[1](x), one[0](x))
    assert two(x).unique().tolist() == [0.0, 4.0]


def test_dropout_keeps_the_mean_and_acts_only_in_training():
    module = build((Dropout(Shape(1, 100, 100), 0.3),), 0)
    x = torch.ones(1, 1, 100, 100)
    assert (module.eval()(x) == x).all()
    dropped = module.train()(x)
    assert (dropped == 0).float().mean().item() == pytest.approx(0.3, abs=0.02)
    assert dropped.mean().item() == pytest.approx(1, abs=0.03)


class TestRecipe:
    BAD: ClassVar = [
        ({"epochs": 0}, "epochs must be at least 1, but got 0"),
        ({"epochs": 1, "batch": 1}, "batch must be at least 2, but got 1"),
        (
            {"epochs": 1, "label_smoothing": 1.0},
            "label_smoothing must be at least 0 and below 1, but got 1.0",
        ),
        ({"epochs": 1, "dropout": -0.1}, "dropout must be at least 0 and below 1, but got -0.1"),
        (
            {"epochs": 1, "learning_rate": float("nan")},
            "learning_rate must be above 0, but got nan",
        ),
    ]

    @pytest.mark.parametrize(("values", "says"), BAD)
    def test_values_out_of_range(self, values, says):
        with pytest.raises(ConfigError, match=says):
            Recipe(**values)

    def test_an_unknown_recipe(self):
        with pytest.raises(ConfigError, match="unknown recipe 'quick'; known: paper, fast"):
            recipe_named("quick", 1, {})

    def test_a_title_says_what_is_not_as_usual(self):
        fast = RECIPES["fast"]
        assert fast.title == "10 epochs (linear schedule, batch 128)"
        assert replace(
            fast, epochs=1, beta1=0.5, label_smoothing=0.1, precision="bfloat16"
        ).title == (
            "1 epoch (linear schedule, batch 128, beta1 0.5, label smoothing 0.1, precision "
            "bfloat16)"
        )

    def test_the_papers(self):
        paper = RECIPES["paper"]
        assert (paper.learning_rate, paper.beta1, paper.schedule) == (0.001, 0.75, "constant")

    def test_everything_in_a_recipe_is_in_its_digest(self):
        base = Recipe(epochs=3)
        changes = {
            "epochs": 4,
            "batch": 64,
            "learning_rate": 0.1,
            "beta1": 0.5,
            "beta2": 0.9,
            "weight_decay": 0.1,
            "schedule": "linear",
            "label_smoothing": 0.1,
            "dropout": 0.1,
        }
        digests = {replace(base, **{key: value}).digest for key, value in changes.items()}
        assert len(digests | {base.digest}) == len(changes) + 1

    def test_the_linear_schedule_warms_up_and_ends_near_zero(self):
        rates = [SCHEDULES.made("linear")(step, 100) for step in range(100)]
        assert max(rates) == 1.0
        assert rates[0] == 0.1
        assert rates[-1] == pytest.approx(1 / 90)
        assert rates[9:] == sorted(rates[9:], reverse=True)


@pytest.mark.slow
def test_test_images_judge_once(tmp_path):
    assert [
        prepare(Split("digits", images=20, test=test), tmp_path).once for test in (False, True)
    ] == [False, True]


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.slow
def test_a_split_is_the_one_that_is_asked_for_and_only_what_is_learned_from_normalises(
    root, number
):
    whole = load("digits", "train", root)
    learn, judge = validation_split(whole.labels, whole.groups, number)
    found = prepare(Split("digits", number=number), root)
    assert np.array_equal(found.training.places, learn)
    assert np.array_equal(found.evaluation.places, judge)
    assert np.array_equal(
        found.normalisation,
        normalisation(Images(pixels=whole.images, labels=whole.labels).take(learn)),
    )
    tested = prepare(Split("digits", test=True), root)
    assert np.array_equal(tested.evaluation.pixels, load("digits", "test", root).images)
    assert np.array_equal(
        tested.normalisation, normalisation(Images(pixels=whole.images, labels=whole.labels))
    )


def test_a_cap_on_images_is_part_of_the_protocol(root):
    capped = prepare(Split("digits", images=500), root)
    assert (len(capped.training.labels), len(capped.evaluation.labels)) == (500, 500)
    assert np.bincount(capped.training.labels).tolist() == [50] * 10
    assert Split("digits", images=500).id != Split("digits").id != Split("digits", number=1).id
    with pytest.raises(ConfigError, match="max_images must be at least 2, but got 1"):
        Split("digits", images=1)
