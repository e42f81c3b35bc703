"""Augmentation: each transform is what a slow one makes of the same draws, a seed sees the same
images whatever trains beside it, and a stopped training goes on to the same ones.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

import blocksearch as bs
from blocksearch.arch.zoo import TASKS, named_network
from blocksearch.data.splits import Images, Prepared, Split, normalisation
from blocksearch.errors import ConfigError
from blocksearch.runs.config import RunConfig
from blocksearch.runs.plan import Experiment
from blocksearch.search.definition import Evaluation
from blocksearch.training.batches import ResidentImages, SharedImages
from blocksearch.training.recipe import RECIPES, Recipe
from blocksearch.training.recipe_text import recipe_named
from blocksearch.training.trainer import Training
from blocksearch.training.transforms import TRANSFORMS, Augmentation, check_fits
from tests.made import made_images
from tests.training.drawn import drawn_data

CPU = torch.device("cpu")
STREAM = int.from_bytes(b"augment", "big")


def images(height=9, width=12, channels=3, count=20, seed=0):
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, (count, height, width, channels), np.uint8)
    found = Images(pixels=pixels, labels=np.arange(count) % 2)
    return found, Prepared(
        training=found, evaluation=found, normalisation=normalisation(found), digest="d"
    )


def augmented(texts, own, data, indices, seeds, step=0, kind=SharedImages):
    """Levels of each seed's images: N×K×H×W×C."""
    augmentation = Augmentation(texts, own.pixels.shape[1:3], seeds)
    where = () if kind is SharedImages else (CPU,)
    gather = kind(own, data, *where, augmentation)
    gather.draw(step, len(indices))
    x, _ = gather(torch.from_numpy(indices))
    scale, shift = data.normalisation
    split = x.permute(0, 2, 3, 1).unflatten(3, (len(seeds), -1)).permute(0, 3, 1, 2, 4)
    return (split.numpy() - shift) / scale


def numbers(seed, step, draws, count):
    """A seed's draws for a step, as the documentation says."""
    philox = np.random.Philox(key=[seed, STREAM], counter=[0, 0, step, 0])
    return np.random.Generator(philox).random((draws, count))


def interpolated(image, rows, columns, mode):
    planes = image.astype(float).transpose(2, 0, 1)
    return np.stack([map_coordinates(p, [rows, columns], order=1, mode=mode) for p in planes], -1)


def about(image, matrix, mode):
    """Read an image at `matrix` times the way from its centre, by loops and scipy."""
    height, width = image.shape[:2]
    y, x = (height - 1) / 2, (width - 1) / 2
    rows, columns = np.empty((height, width)), np.empty((height, width))
    for r in range(height):
        for c in range(width):
            rows[r, c] = y + matrix[0][0] * (r - y) + matrix[0][1] * (c - x)
            columns[r, c] = x + matrix[1][0] * (r - y) + matrix[1][1] * (c - x)
    return interpolated(image, rows, columns, mode)


def shifted(image, u, pixels, mode):
    down, along = (int(each * (2 * pixels + 1)) for each in u)
    wide = np.pad(image, [(pixels, pixels)] * 2 + [(0, 0)], mode)
    return wide[down : down + image.shape[0], along : along + image.shape[1]]


def cut(image, u, size, mean):
    found = image.astype(float).copy()
    top, left = (int(each * side) - size // 2 for each, side in zip(u, image.shape, strict=False))
    for r in range(image.shape[0]):
        for c in range(image.shape[1]):
            if top <= r < top + size and left <= c < left + size:
                found[r, c] = mean
    return found


def turned(image, u, degrees, mode):
    angle = np.radians((2 * u - 1) * degrees)
    return about(image, [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]], mode)


def scaled(image, u, by, mode):
    return about(image, np.eye(2) / (1 + by) ** (2 * u - 1), mode)


MIRROR, ZERO = "mirror", "grid-constant"  # scipy's names; numpy's are reflect and constant
SLOW = {
    "flip": (1, lambda x, u, m: x[:, ::-1] if u[0] < 0.5 else x),
    "flip(share=0.9)": (1, lambda x, u, m: x[:, ::-1] if u[0] < 0.9 else x),
    "shift": (2, lambda x, u, m: shifted(x, u, 4, "reflect")),
    "shift(3,zero)": (2, lambda x, u, m: shifted(x, u, 3, "constant")),
    "shift(20)": (2, lambda x, u, m: shifted(x, u, 20, "reflect")),
    "rotate": (1, lambda x, u, m: turned(x, u[0], 15, MIRROR)),
    "rotate(180,zero)": (1, lambda x, u, m: turned(x, u[0], 180, ZERO)),
    "scale(0.5)": (1, lambda x, u, m: scaled(x, u[0], 0.5, MIRROR)),
    "scale(by=2,padding=zero)": (1, lambda x, u, m: scaled(x, u[0], 2, ZERO)),
    "shear(0.4)": (1, lambda x, u, m: about(x, [[1, 0], [0.4 * (2 * u[0] - 1), 1]], MIRROR)),
    "brightness(0.6)": (1, lambda x, u, m: np.clip(x * (1 + 0.6 * (2 * u[0] - 1)), 0, 255)),
    "contrast(0.9)": (
        1,
        lambda x, u, m: np.clip(m + (x.astype(float) - m) * (1 + 0.9 * (2 * u[0] - 1)), 0, 255),
    ),
    "cutout": (2, lambda x, u, m: cut(x, u, 8, m)),
    "cutout(3)": (2, lambda x, u, m: cut(x, u, 3, m)),
}


def means(data):
    scale, shift = data.normalisation
    return -shift / scale


@pytest.mark.parametrize("text", SLOW)
@pytest.mark.parametrize("shape", [(9, 12, 3), (7, 5, 1), (1, 1, 2)])
def test_a_transform_is_what_a_slow_one_makes_of_the_same_draws(text, shape):
    own, data = images(*shape)
    draws, slow = SLOW[text]
    assert TRANSFORMS.made(text).draws == draws
    indices = np.random.default_rng(1).integers(0, 20, (16, 2))
    found = augmented((text,), own, data, indices, seeds=[4, 9], step=3)
    changed = 0
    for k, seed in enumerate([4, 9]):
        u = numbers(seed, 3, draws, 16)
        for n in range(16):
            image = own.pixels[indices[n, k]]
            expected = slow(image, u[:, n], means(data))
            assert np.allclose(found[n, k], expected, atol=0.02), (n, seed)
            changed += not np.allclose(expected, image, atol=0.5)
    assert changed > 8 or shape[0] == 1


def test_transforms_of_whole_pixels_are_made_one_after_another():
    own, data = images()
    texts = ("flip", "shift(3,zero)", "contrast", "cutout(4)")
    indices = np.arange(16)[:, None]
    found = augmented(texts, own, data, indices, seeds=[2])[:, 0]
    u = numbers(2, 0, 6, 16)
    for n in range(16):
        image = SLOW["contrast(0.9)"][1](
            own.pixels[n], [(u[3, n] * 2 - 1) / 4.5 / 2 + 0.5], means(data)
        )
        image = SLOW["flip"][1](image, u[:1, n], None)
        image = shifted(image, u[1:3, n], 3, "constant")
        assert np.allclose(found[n], cut(image, u[4:, n], 4, means(data)), atol=0.02)


def test_movements_are_one_map_of_places():
    """Turned, then shifted: a place is read where the turn sends what the shift gives."""
    own, data = images()
    found = augmented(("rotate(30,zero)", "shift(2,zero)"), own, data, np.arange(16)[:, None], [7])
    u = numbers(7, 0, 3, 16)
    rows, columns = np.mgrid[:9, :12].astype(float)
    for n in range(16):
        down, along = (np.floor(each * 5) - 2 for each in u[1:, n])
        y, x = rows + down - 4, columns + along - 5.5
        a = np.radians((2 * u[0, n] - 1) * 30)
        sources = y * np.cos(a) - x * np.sin(a) + 4, y * np.sin(a) + x * np.cos(a) + 5.5
        assert np.allclose(found[n, 0], interpolated(own.pixels[n], *sources, ZERO), atol=0.02)


one_of = st.sampled_from
MOVES = ["flip", "shift({})", "rotate(40,{})", "scale(0.3,{})", "shear(0.3,{})"]


@given(
    st.lists(
        one_of([*MOVES, "brightness", "contrast", "cutout(3)"]), min_size=1, max_size=5, unique=True
    ),
    one_of(["reflect", "zero"]),
    st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4)),
    st.integers(1, 3),
    st.integers(0, 1000),
)
def test_a_device_gives_the_processors_pixels(found, padding, shape, copies, step):
    texts = tuple(
        each.format(f"2,{padding}" if each.startswith("shift") else padding) for each in found
    )
    own, data = images(*shape, seed=step)
    indices = np.random.default_rng(step).integers(0, 20, (8, copies))
    seeds = list(range(copies))
    one, other = (
        augmented(texts, own, data, indices, seeds, step, kind)
        for kind in (SharedImages, ResidentImages)
    )
    assert np.allclose(one, other, atol=0.05)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=4, unique=True), st.integers(0, 10**6))
def test_a_seed_sees_the_same_images_whatever_trains_beside_it(seeds, step):
    own, data = images()
    texts, indices = ("flip", "shift", "rotate", "cutout"), np.arange(10)
    every = augmented(texts, own, data, np.repeat(indices[:, None], len(seeds), 1), seeds, step)
    for k, seed in enumerate(seeds):
        alone = augmented(texts, own, data, indices[:, None], [seed], step)
        assert np.array_equal(every[:, k], alone[:, 0])
    other = augmented(texts, own, data, indices[:, None], [seeds[0]], step + 1)
    assert not np.array_equal(every[:, 0], other[:, 0])


def test_a_transform_more_leaves_the_draws_of_those_before_it():
    one, other = (
        Augmentation(texts, (8, 8), [3]).warp(5, 10).matrix
        for texts in (("flip",), ("flip", "brightness", "cutout"))
    )
    assert np.array_equal(one, other)


RECIPE = replace(
    RECIPES["fast"], epochs=2, batch=32, augment=("flip", "shift", "rotate", "contrast", "cutout")
)


@pytest.fixture(scope="module")
def data():
    return drawn_data(400, learnt=320)


def layers():
    return named_network("effnet", replace(TASKS["digits"], widths=(4, 8, 8))).layers


def test_seeds_side_by_side_train_as_each_alone(data):
    slowly = replace(RECIPE, learning_rate=5e-5)
    together, alone = (Training(layers(), data, slowly, seeds) for seeds in ((0, 4), (4,)))
    for _ in range(10):
        together.step()
        alone.step()
    for own in (together, alone):
        own._read_losses()
    one, other = (np.stack(own.state()["losses"]) for own in (together, alone))
    assert np.abs(one[:, 1] / other[:, 0] - 1).max() < 1e-4


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("seeds", [(3,), (0, 1)])
def test_a_stopped_training_sees_the_same_images(data, seeds, recorded):
    whole, first, second = (
        Training(layers(), data, RECIPE, seeds, recorded=recorded) for _ in range(3)
    )
    for _ in range(13):  # of 10 steps an epoch
        first.step()
    second.load(first.state())
    for training in (whole, second):
        while not training.finished:
            training.step()
    ended = whole.state(), second.state()
    assert all(np.array_equal(ended[0][k], ended[1][k]) for k in ended[0] if k != "seconds")


def test_each_step_of_each_epoch_draws_anew(data):
    training, drawn = Training(layers(), data, RECIPE, (0,)), []
    draw = training._learn.draw
    training._learn.draw = lambda step, images: (drawn.append((step, images)), draw(step, images))
    while not training.finished:
        training.step()
    assert drawn == [(step, 32) for step in range(2 * training.steps_per_epoch)]


def test_images_that_judge_are_not_augmented(data):
    plain, changed = (
        Training(layers(), data, own, (0,)) for own in (replace(RECIPE, augment=()), RECIPE)
    )
    x, other = (own._judge(torch.arange(20)[:, None])[0] for own in (plain, changed))
    assert torch.equal(x, other)


BAD = [
    ("flop", "unknown transform 'flop' .did you mean 'flip'"),
    ("shift(0)", "shift: pixels must be at least 1"),
    ("shift(2,mirror)", "unknown padding 'mirror'"),
    ("shift(2.5)", "shift: pixels must be a whole number, but got '2.5'"),
    ("flip(2)", "flip: share must be at least 0 and at most 1, but got 2.0"),
    ("rotate(270)", "rotate: degrees must be at least 0 and at most 180"),
    ("brightness(1.5)", "brightness: by must be at least 0 and at most 1"),
    ("flip,flip(0.3)", "a transform is named once, but flip is there twice"),
    ("shift(2,zero),rotate", r"padding=zero\) has zero and rotate has reflect: images are moved"),
    ("scale(padding=zero),flip,shear(0.2)", r"\) has zero and shear\(by=0.2\) has reflect: images"),
    ("cutout(size=many)", "cutout: size must be a whole number, but got 'many'"),
]


@pytest.mark.parametrize(("text", "says"), BAD)
def test_what_cannot_be_is_refused(text, says):
    with pytest.raises(ConfigError, match=says):
        recipe_named(f"fast augment={text}", 1)


@pytest.mark.parametrize("text", ["cutout(32)", "shift(32)", "shift(32,zero)"])
def test_what_leaves_nothing_of_the_images_is_refused(tmp_path, monkeypatch, text):
    """They are 32 pixels a side; one pixel less leaves something."""
    monkeypatch.chdir(tmp_path)
    own = {"dataset": "digits", "recipe": f"fast augment={text}", "epochs": 1, "db": "a.db"}
    says = "must be smaller than the images, but they are 32×32"
    with pytest.raises(ConfigError, match=says):
        bs.train("effnet", **own)
    asked = own | {"factor": "recipe", "values": [own.pop("recipe")], "recipe": "fast"}
    with pytest.raises(ConfigError, match=says):
        bs.ablate("effnet", **asked)
    assert list(tmp_path.iterdir()) == []
    check_fits([text.replace("32", "31")], (32, 32))


def test_augmentation_is_part_of_a_recipe():
    found = recipe_named("fast augment=flip,shift(4,reflect),cutout(size=8)", 10)
    assert found.augment == ("flip", "shift", "cutout")
    assert found.digest != recipe_named("fast", 10).digest
    assert Recipe.from_text(found.text) == found
    assert "augment flip+shift+cutout" in found.title


@pytest.mark.parametrize(
    ("dataset", "recipe", "says"),
    [
        ("gtsrb", "augmented", ", although flip does not suit gtsrb (mirrored, it is another"),
        ("svhn", "fast augment=cutout,flip(0.1)", "although flip does not suit svhn"),
        ("digits", "augmented", "although flip does not suit digits"),
        ("gtsrb", "signs", ""),
        ("cifar10", "augmented", ""),
    ],
)
def test_a_title_says_which_transform_does_not_suit_the_images(dataset, recipe, says):
    found = RunConfig(dataset=dataset, epochs=2).recipe_of(recipe)
    images = made_images(dataset)
    shared = Experiment(protocol=Split(dataset), recipe=found, root=None, images=images)
    title = shared.title("effnet", named_network("effnet", TASKS[dataset]))
    assert says in title
    assert bool(says) == ("does not suit" in title)
    assert says in Evaluation.by(shared).title


@dataclass(frozen=True)
class Upside:
    """Turn upside down, a `share` of the images."""

    share: float = 0.5
    draws: ClassVar[int] = 1
    whole: ClassVar[bool] = True

    def __call__(self, warp, draws):
        sign = np.where(draws[0] < self.share, -1.0, 1.0)
        warp.about_centre(np.stack([np.diag([each, 1.0]) for each in sign]))


@dataclass(frozen=True)
class Liar:
    draws: ClassVar[int] = 1
    whole: ClassVar[bool] = True

    def __call__(self, warp, draws):
        warp.about_centre(np.tile([[0.0, 1.0], [1.0, 0.0]], (warp.count, 1, 1)))


def test_a_transform_of_ones_own_is_one_entry(data):
    try:
        TRANSFORMS.register("upside", Upside)
        own, split = images()
        found = augmented(("upside(1)",), own, split, np.arange(20)[:, None], [0])
        assert np.allclose(found[:, 0], own.pixels[:, ::-1], atol=0.02)
        recipe = recipe_named("fast augment=upside batch=32", 1)
        assert "transform" not in recipe.text
        assert "upside" in recipe.text
        training = Training(layers(), data, recipe, (0,))
        assert not training.step()
        TRANSFORMS.register("liar", Liar)
        with pytest.raises(ConfigError, match="says it moves whole pixels turns or scales"):
            augmented(("liar",), own, split, np.arange(20)[:, None], [0])
    finally:
        for name in list(TRANSFORMS.sources):
            del TRANSFORMS.sources[name], TRANSFORMS[name]
