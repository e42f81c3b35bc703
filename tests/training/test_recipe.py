"""Recipes: everything in them is part of a digest that nothing new changes, and each schedule and
optimiser is torch's own. One of a user's own is one entry.
"""

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional
from torch.optim import lr_scheduler

import blocksearch as bs
from blocksearch.arch.zoo import TASKS, named_network
from blocksearch.errors import ConfigError
from blocksearch.training.optimizers import OPTIMIZERS
from blocksearch.training.recipe import RECIPES, Recipe
from blocksearch.training.recipe_text import recipe_named
from blocksearch.training.schedules import SCHEDULES, Warmed
from blocksearch.training.step import class_weights, seed_losses
from blocksearch.training.trainer import Training
from tests.training.drawn import drawn_data

STUDIES = Path(__file__).parent.parent.parent / "studies"
BASE = Recipe(epochs=3)


@pytest.fixture(scope="module")
def data():
    return drawn_data(400, learnt=320)


def stored_recipes():
    for file in sorted(STUDIES.glob("*.db")):
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
            yield from database.execute("select digest, text from ledger_recipes")


def test_a_recipe_with_nothing_new_keeps_its_digest():
    """Read off the shipped databases."""
    found = dict(stored_recipes())
    assert len(found) >= 5
    for digest, text in found.items():
        assert Recipe.from_text(text).digest == digest
        assert recipe_named("fast", json.loads(text)["epochs"]).batch == 128
    assert recipe_named("fast", 10).digest in found


NEW = {
    "optimizer": "sgd",
    "schedule": "cosine",
    "decay_norm": False,
    "class_weights": "balanced",
    "label_smoothing": 0.1,
}


@pytest.mark.parametrize("name", NEW)
def test_what_is_new_is_in_the_digest_and_is_read_back(name):
    changed = replace(BASE, **{name: NEW[name]})
    assert changed.digest != BASE.digest
    assert Recipe.from_text(changed.text) == changed
    assert str(NEW[name]) in changed.title


def test_one_recipe_has_one_digest():
    one = Recipe(epochs=3, weight_decay=0, optimizer="sgd( 0.5 , nesterov = True )")
    other = Recipe(epochs=3, weight_decay=0.0, optimizer="sgd(nesterov=true,momentum=0.5)")
    assert one == other
    assert one.digest == other.digest
    assert Recipe(epochs=3, optimizer="sgd(momentum=0.9)").optimizer == "sgd"


BAD = [
    ({"optimizer": "adamm"}, "unknown optimizer 'adamm' .did you mean 'adam"),
    ({"optimizer": "sgd(moment=0.9)"}, "unknown option of optimizer sgd 'moment' .did you mean"),
    ({"optimizer": "sgd(momentum=high)"}, "sgd: momentum must be a number, but got 'high'"),
    ({"optimizer": "sgd(1.5)"}, "momentum must be at least 0 and below 1, but got 1.5"),
    ({"optimizer": "sgd(0,nesterov=true)"}, "nesterov needs a momentum above 0"),
    ({"optimizer": "sgd(0.9,true,3)"}, "unknown option of optimizer sgd '3'"),
    ({"optimizer": "sgd(0.9,momentum=0.8)"}, "sgd has momentum twice"),
    ({"optimizer": "sgd(0.9"}, "is a name such as adam"),
    ({"optimizer": 3}, "optimizer must be a text"),
    ({"schedule": "cosin"}, "unknown schedule 'cosin' .did you mean 'cosine'.*constant, linear"),
    ({"schedule": "step(every=0)"}, "every must be at least 0.001"),
    ({"schedule": "linear(warmup=nan)"}, "linear: warmup must be a finite number"),
    ({"class_weights": "even"}, "class_weights must be balanced, or a number from 0"),
    ({"class_weights": (1.0, -1.0)}, "class_weights must be balanced, or a number from 0"),
    ({"class_weights": (0.0, 0.0)}, "class_weights must have one above 0"),
    ({"decay_norm": 1}, "decay_norm must be true or false, but got 1"),
    ({"batch": "64"}, "batch must be a whole number, but got '64'"),
    ({"learning_rate": "fast"}, "learning_rate must be a number"),
]


@pytest.mark.parametrize(("values", "says"), BAD)
def test_what_a_recipe_cannot_be_is_refused(values, says):
    with pytest.raises(ConfigError, match=says) as caught:
        Recipe(epochs=3, **values)
    assert "\n" not in str(caught.value)


STEPS = 60
TORCHS = {
    "constant": lambda own: lr_scheduler.LambdaLR(own, lambda _: 1.0),
    "linear(warmup=0)": lambda own: lr_scheduler.LinearLR(own, 1.0, 0.0, STEPS),
    "cosine(warmup=0)": lambda own: lr_scheduler.CosineAnnealingLR(own, STEPS),
    "step(every=0.3)": lambda own: lr_scheduler.StepLR(own, 18, 0.1),
    "step(0.25,factor=0.5)": lambda own: lr_scheduler.StepLR(own, 15, 0.5),
    "cosine(warmup=0.2)": lambda own: lr_scheduler.SequentialLR(
        own,
        [
            lr_scheduler.LinearLR(own, 1 / 12, 1.0, 11),
            lr_scheduler.CosineAnnealingLR(own, STEPS - 12),
        ],
        [12],
    ),
}


@pytest.mark.parametrize("text", TORCHS)
@pytest.mark.filterwarnings("ignore:.*epoch parameter:UserWarning")
def test_a_schedule_is_torchs(text):
    own = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    oracle, rates = TORCHS[text](own), []
    for _ in range(STEPS):
        rates.append(own.param_groups[0]["lr"])
        own.step()
        oracle.step()
    ours = [0.5 * SCHEDULES.made(text)(step, STEPS) for step in range(STEPS)]
    assert ours == pytest.approx(rates, abs=1e-6)


@given(st.integers(1, 20_000), st.data())
def test_the_linear_schedule_is_as_it_was(steps, drawn):
    """The formula by which the shipped runs were trained."""
    step = drawn.draw(st.integers(0, steps - 1))
    warm = max(1, steps // 10)
    before = min((step + 1) / warm, (steps - step) / max(1, steps - warm))
    assert SCHEDULES.made("linear")(step, steps) == before


ADAMS = {"betas": (0.75, 0.999), "lr": 1e-3}
OPTIMA = {
    "adam": lambda groups: torch.optim.Adam(groups, **ADAMS),
    "adamw": lambda groups: torch.optim.AdamW(groups, **ADAMS),
    "sgd": lambda groups: torch.optim.SGD(groups, 1e-3, momentum=0.9),
    "sgd(momentum=0)": lambda groups: torch.optim.SGD(groups, 1e-3),
    "sgd(0.8,nesterov=true)": lambda groups: torch.optim.SGD(groups, 1e-3, 0.8, nesterov=True),
}


def copy_of(tensor, place, copies):
    """What of a tensor of several seeds is the one's at `place`; every tensor has them in front."""
    return tensor.detach().reshape(copies, -1)[place].clone()


@pytest.mark.parametrize("text", OPTIMA)
@pytest.mark.parametrize("decay_norm", [True, False])
@pytest.mark.parametrize("seeds", [(3,), (0, 1, 2)])
def test_an_optimiser_is_torchs(data, text, decay_norm, seeds):
    """Torch's own, unfused, on one seed's numbers, is given the gradients of a fused training."""
    layers = named_network("effnet", replace(TASKS["digits"], widths=(4, 8, 8))).layers
    own = replace(BASE, optimizer=text, weight_decay=0.1, decay_norm=decay_norm, batch=32)
    training, copies = Training(layers, data, own, seeds), len(seeds)
    named = list(training.module.named_parameters())
    norms = [
        p
        for m in training.module.modules()
        if isinstance(m, torch.nn.BatchNorm2d)
        for p in m.parameters()
    ]
    bare = [name.endswith("bias") or any(p is norm for norm in norms) for name, p in named]
    assert sum(bare) > 3
    theirs = [[copy_of(p, place, copies) for _, p in named] for place in range(copies)]
    oracles = [
        OPTIMA[text](
            [
                {"params": [p], "weight_decay": 0.1 if decay_norm or not spared else 0.0}
                for p, spared in zip(each, bare, strict=True)
            ]
        )
        for each in theirs
    ]
    for _ in range(6):
        training.step()
        for place, (each, oracle) in enumerate(zip(theirs, oracles, strict=True)):
            for mine, (_, p) in zip(each, named, strict=True):
                mine.grad = copy_of(p.grad, place, copies)
            oracle.step()
    for place, each in enumerate(theirs):
        for mine, (name, p) in zip(each, named, strict=True):
            assert torch.allclose(copy_of(p, place, copies), mine, rtol=1e-4, atol=1e-6), name


@pytest.mark.parametrize("text", ["adamw", "sgd(0.8,nesterov=true)", "sgd(momentum=0)"])
@pytest.mark.parametrize("recorded", [False, True])
def test_an_optimiser_is_taken_up_in_the_middle_of_an_epoch(data, text, recorded):
    layers = named_network("effnet", replace(TASKS["digits"], widths=(4, 8, 8))).layers
    own = replace(BASE, optimizer=text, weight_decay=0.1, decay_norm=False, batch=32, epochs=2)
    own = replace(own, schedule="cosine", class_weights="balanced", label_smoothing=0.1)
    whole, first, second = (
        Training(layers, data, own, (0, 1), recorded=recorded) for _ in range(3)
    )
    for _ in range(7):
        first.step()
    second.load(first.state())
    for training in (whole, second):
        while not training.finished:
            training.step()
    ended = whole.state(), second.state()
    assert ended[0].keys() == ended[1].keys()
    assert all(np.array_equal(ended[0][key], ended[1][key]) for key in ended[0] if key != "seconds")


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("wanted", [None, "balanced", tuple(range(1, 11))])
def test_the_loss_of_each_seed_is_torchs(smoothing, wanted):
    random = np.random.default_rng(0)
    labels = torch.from_numpy(random.integers(0, 10, (32, 3)))
    logits = torch.from_numpy(random.normal(size=(32, 3, 10)).astype(np.float32))
    counted = random.integers(0, 10, 500)
    found = class_weights(wanted, counted, 10)
    weights = None if found is None else torch.from_numpy(found)
    ours = seed_losses(logits, labels, smoothing, weights)
    for seed in range(3):
        own = functional.cross_entropy(
            logits[:, seed], labels[:, seed], weights, label_smoothing=smoothing
        )
        assert ours[seed].item() == pytest.approx(own.item(), rel=1e-5)


def test_balanced_weights_give_each_class_the_same_say():
    labels = np.array([0] * 6 + [1] * 3 + [3] * 1)
    weights = class_weights("balanced", labels, 4)
    assert np.bincount(labels, weights[labels]).tolist() == pytest.approx(
        [10 / 3, 10 / 3, 0, 10 / 3]
    )
    assert weights[2] == 0


def test_class_weights_are_as_many_as_classes(tmp_path):
    with pytest.raises(ConfigError, match="one number for each of 10 classes, but are 2"):
        bs.train("effnet", dataset="digits", recipe="fast class_weights=1,2", max_images=100)


@dataclass(frozen=True)
class Halved(Warmed):
    warmup: float = 0.0

    def after(self, step, steps):
        return 0.5 ** (2 * step // steps)


@dataclass(frozen=True)
class Signed:
    scale: float = 1.0

    def __call__(self, groups, own):
        scale = self.scale

        class Sign(torch.optim.Optimizer):
            def step(self):
                for group in self.param_groups:
                    for p in group["params"]:
                        p.data.sub_(scale * group["lr"] * p.grad.sign())

        return Sign(groups, {})


@pytest.fixture
def own_pieces():
    yield
    for pieces in (SCHEDULES, OPTIMIZERS):
        for name in list(pieces.sources):
            del pieces.sources[name], pieces[name]


@pytest.mark.usefixtures("own_pieces")
def test_a_schedule_and_an_optimiser_of_ones_own_are_one_entry_each(data):
    SCHEDULES.register("halved", Halved)
    OPTIMIZERS.register("signed", Signed)
    own = recipe_named("fast schedule=halved optimizer=signed(0.5)", 3)
    assert own.learning_rate == 0.02
    assert [SCHEDULES.made(own.schedule)(step, 4) for step in range(4)] == [1.0, 1.0, 0.5, 0.5]
    assert "halved schedule" in own.title
    assert Recipe.from_text(own.text) == own
    layers = named_network("effnet", replace(TASKS["digits"], widths=(4, 8, 8))).layers
    training = Training(layers, data, replace(own, batch=32), (0, 1))
    before = [p.detach().clone() for p in training.module.parameters()]
    training.step()
    moved = [
        (p - was).abs().max().item()
        for p, was in zip(training.module.parameters(), before, strict=True)
    ]
    assert max(moved) == pytest.approx(0.5 * 0.02, rel=1e-4)
    with pytest.raises(ConfigError, match="another optimizer has the name 'adam' already"):
        OPTIMIZERS.register("adam", Signed)
    with pytest.raises(ConfigError, match="must be written in a file of its own"):
        SCHEDULES.register("typed", eval("lambda step, steps: 1.0"))


PLUGIN = """
from dataclasses import dataclass
from blocksearch.training.schedules import SCHEDULES

@dataclass(frozen=True)
class Falling:
    to: float = {to}

    def __call__(self, step, steps):
        return self.to

SCHEDULES.register("falling", Falling)
"""


@pytest.mark.usefixtures("own_pieces")
@pytest.mark.slow
def test_a_schedule_in_a_plugin_reaches_the_workers(root, tmp_path, monkeypatch):
    monkeypatch.setenv("BLOCKSEARCH_DATA", str(root))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(PLUGIN.format(to=0.5))
    asked = {"dataset": "digits", "epochs": 1, "max_images": 64, "batch": 32, "workers": 1}
    asked |= {"recipe": "fast schedule=falling", "plugins": ["mine.py"]}
    first = bs.train("effnet", **asked)
    assert first.records()[0]["state"] == "complete"
    digest = recipe_named("fast schedule=falling", 1).digest
    (tmp_path / "mine.py").write_text(PLUGIN.format(to=0.25))
    second = bs.train("effnet", **asked)
    assert recipe_named("fast schedule=falling", 1).digest != digest  # its source is another
    assert first.records() != second.records()


def test_a_recipe_is_a_name_a_file_or_either_with_changes(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('base = "fast"\nlearning_rate = 1\noptimizer = "sgd"\nclass_weights = [1, 2]\n')
    found = recipe_named(file, 5)
    assert found == replace(
        RECIPES["fast"], epochs=5, learning_rate=1.0, optimizer="sgd", class_weights=(1.0, 2.0)
    )
    changed = recipe_named(f"{file} batch=64 decay_norm=false class_weights=3,4", 5)
    assert (changed.batch, changed.decay_norm, changed.class_weights) == (64, False, (3.0, 4.0))
    spaced = recipe_named("fast  optimizer=sgd(0.5, nesterov=true)  dropout=0.2", 5)
    assert (spaced.optimizer, spaced.dropout) == ("sgd(momentum=0.5,nesterov=true)", 0.2)
    file.write_text("")
    assert recipe_named(file, 30) == RECIPES["paper"]


def test_epochs_are_the_commands_or_the_texts_or_the_usual_ones():
    last = lambda *given: recipe_named(*given).epochs  # noqa: E731
    assert last("fast epochs=7", 5, {}, 20) == 5
    assert last("fast epochs=7", None, {}, 20) == 7
    assert last("fast", None, {}, 20) == 20
    assert last("fast", None) == 10
    assert last(Recipe(epochs=4), None, {}, 20) == 4
    assert recipe_named(Recipe(epochs=4), 2, {"batch": 8}) == Recipe(epochs=2, batch=8)


WRONG = [
    ("fst", "unknown recipe 'fst' .did you mean 'fast'"),
    ("", "a recipe must have a name"),
    (
        "fast learning_rat=1",
        "unknown field of a recipe 'learning_rat' .did you mean 'learning_rate'",
    ),
    ("fast cosine", "a change of a recipe must be name=value, but got 'cosine'"),
    ("fast batch=many", "batch must be a whole number, but got 'many'"),
    ("fast decay_norm=yes", "decay_norm must be true or false, but got 'yes'"),
    ("fast class_weights=a,b", "class_weights must be a number, but got 'a'"),
    ("fast _sources=1", "unknown field of a recipe '_sources'"),
    ("none.toml", "recipe none.toml cannot be read: No such file"),
]


@pytest.mark.parametrize(("text", "says"), WRONG)
def test_a_recipe_that_cannot_be_read_is_one_line(text, says):
    with pytest.raises(ConfigError, match=says) as caught:
        recipe_named(text, 1)
    assert "\n" not in str(caught.value)


FILES = [
    (b"batc = 3", "mine.toml: unknown field 'batc' .did you mean 'batch'"),
    (b"batch = ", "mine.toml is not a TOML file"),
    (b"\xff\xfe", "mine.toml is not a TOML file"),
    (b"base = 3", "base must be the name of a recipe, but got 3"),
    (b"batch = true", "batch must be a whole number, but got True"),
    (b'base = "fats"', "recipe .*mine.toml: unknown base 'fats' .did you mean 'fast'"),
    (b'base = "mine.toml"', "unknown base 'mine.toml'; known: paper, fast, augmented, signs$"),
    (b"epochs = 0", "epochs must be at least 1, but got 0"),
    (b"learning_rate = inf", "learning_rate must be above 0, but got inf"),
]


@pytest.mark.parametrize("joined", ["flip,shift(4)", "flip+shift(4)", "flip+shift(pixels=4)"])
def test_transforms_are_joined_as_titles_join_them(joined):
    """A list of recipes is divided at commas."""
    own = recipe_named(f"fast augment={joined}", 3)
    assert own == replace(RECIPES["fast"], epochs=3, augment=("flip", "shift(4)"))


@pytest.mark.parametrize(("content", "says"), FILES)
def test_a_file_that_is_no_recipe_is_one_line(tmp_path, content, says):
    (tmp_path / "mine.toml").write_bytes(content)
    with pytest.raises(ConfigError, match=says) as caught:
        recipe_named(tmp_path / "mine.toml", 1)
    assert "\n" not in str(caught.value)


def test_a_plan_needs_no_torch():
    code = "import sys; from blocksearch.training.recipe_text import recipe_named as r\n"
    code += "r('fast optimizer=sgd', 3).digest; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
