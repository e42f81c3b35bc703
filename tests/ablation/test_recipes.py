"""A recipe is one more factor: it is varied like others, and given like others."""

from dataclasses import replace

import numpy as np
import pytest

import blocksearch as bs
from blocksearch.ablation.config import AblationConfig
from blocksearch.ablation.design import ask
from blocksearch.ablation.results import compare_variants
from blocksearch.ablation.study import _lookup, jobs
from blocksearch.arch.zoo import TASKS, named_network
from blocksearch.data.splits import Split
from blocksearch.errors import ConfigError
from blocksearch.runs.config import RunConfig
from blocksearch.runs.plan import Experiment
from blocksearch.runs.records import Run, RunState
from tests.made import made_images

EFFNET = named_network("effnet", TASKS["digits"])
RUN = RunConfig(dataset="digits", epochs=2)
IMAGES = made_images()
SHARED = Experiment(protocol=Split("digits"), recipe=RUN.recipe_of(), root=None, images=IMAGES)
GAINS = {"fast": 0.0, "augmented": 6.0, "paper": -3.0}


def asked(**question):
    config = AblationConfig(**{"seeds": 5} | question)
    return config, ask(EFFNET, config, recipe_of=RUN.recipe_of)


def made_runs(found, config, accuracy):
    """A run of each job, whose accuracy is a function of the recipe's name, the block and seed."""
    names = {RUN.recipe_of(name).digest: name for name in GAINS}
    runs = {}
    for job in jobs(found, [SHARED], config.seed_list):
        value = accuracy(names[job.key.recipe], "residual=add" in job.text, job.key.seed)
        runs[job.key] = Run(
            key=job.key,
            epoch_to=2,
            state=RunState.COMPLETE,
            accuracies=(value,),
            losses=(1.0,),
            right=np.zeros(0, bool),
            seconds=1.0,
            provenance={},
        )
    return runs


def compared(accuracy, **question):
    config, found = asked(**question)
    runs = made_runs(found, config, accuracy)
    return compare_variants(found, config, _lookup(SHARED, runs))


def noise(recipe, add, seed):
    return 0.1 * ((seed * 7 + len(recipe) + 2 * add + seed * add) % 3)


def test_a_recipe_is_varied_like_a_factor():
    results = compared(
        lambda recipe, add, seed: 60 + GAINS[recipe] + noise(recipe, add, seed),
        factors="recipe",
        values="fast,augmented,paper",
    )
    told = [(r.variant.value, str(r.variant.role)) for r in results]
    assert told == [("fast", "reference"), ("augmented", "variant"), ("paper", "variant")]
    differences = [r.comparison.difference for r in results[1:]]
    assert differences == pytest.approx([6.0, -3.0], abs=0.3)
    assert [str(r.comparison.verdict) for r in results[1:]] == ["helps", "hurts"]


def test_whether_a_blocks_gain_survives_a_recipe():
    """Added shortcuts gain 4 points by `fast`, and 1 by `augmented`."""
    results = compared(
        lambda recipe, add, seed: (
            60 + GAINS[recipe] + noise(recipe, add, seed) + add * (4 if recipe == "fast" else 1)
        ),
        factors="residual",
        values=("add",),
        given="recipe=fast,augmented",
    )
    rows = [(r.variant.given, r.variant.value, r.variant.role.value) for r in results]
    assert rows == [
        ("recipe=fast", "none", "reference"),
        ("recipe=fast", "add", "variant"),
        ("recipe=augmented", "none", "reference"),
        ("recipe=augmented", "add", "variant"),
        ("recipe=augmented − fast", "add", "interaction"),
    ]
    found = [r.comparison.difference for r in results if r.comparison]
    assert found == pytest.approx([4, 1, -3], abs=0.6)


def test_what_a_recipe_does_under_each_block():
    results = compared(
        lambda recipe, add, seed: 60 + GAINS[recipe] * (2 if add else 1) + noise(recipe, add, seed),
        factors="recipe",
        values=("augmented",),
        given="residual=none,add",
    )
    assert [r.comparison.difference for r in results if r.comparison] == pytest.approx(
        [6, 12, 6], abs=0.6
    )


def test_each_arm_is_trained_once_seed_by_seed():
    config, found = asked(factors="residual", values=("add",), given="recipe=fast,augmented")
    wanted = jobs(found, [SHARED], config.seed_list)
    assert len(wanted) == 4 * 5 == len({job.key for job in wanted})
    assert [job.key.seed for job in wanted] == sorted(job.key.seed for job in wanted)
    assert {job.recipe.digest for job in wanted} == {job.key.recipe for job in wanted}


def test_the_commands_own_recipe_is_the_reference():
    own = replace(RUN, recipe="fast batch=64")
    config = AblationConfig(factors="recipe", values="augmented,fast")
    found = ask(EFFNET, config, recipe_of=own.recipe_of)
    assert [v.value for v in found] == ["as asked", "augmented", "fast"]
    assert found[0].recipe.batch == 64
    batched = replace(RUN, batch=64)
    found = ask(EFFNET, config, recipe_of=batched.recipe_of)
    assert [v.value for v in found] == ["fast", "augmented"]
    assert {v.recipe.batch for v in found} == {64}


def test_a_command_whose_own_fields_make_all_recipes_one_is_told_so():
    config = AblationConfig(factors="recipe", values="fast,fast epochs=4")
    with pytest.raises(ConfigError, match=r"beside \(epochs, batch.* every value is fast again"):
        ask(EFFNET, config, recipe_of=replace(RUN, epochs=3).recipe_of)


def test_every_factor_leaves_the_recipe_alone():
    _, found = asked(factors="all")
    assert "recipe" not in {v.factor for v in found}


@pytest.mark.parametrize(
    ("question", "says"),
    [
        ({"factors": "recip"}, "unknown factor 'recip' .did you mean 'recipe'"),
        ({"factors": "recipe", "values": "fats"}, "unknown recipe 'fats' .did you mean 'fast'"),
        ({"factors": "recipe", "values": "fast"}, "factor recipe does not apply"),
        ({"factors": "recipe", "given": "recipe=fast"}, "given recipe is the factor"),
        ({"factors": "residual", "given": "recipe=none.toml"}, "none.toml cannot be read"),
    ],
)
def test_a_mistake_is_one_line(question, says):
    with pytest.raises(ConfigError, match=says) as caught:
        asked(**question)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_recipes_are_trained_and_compared(root, tmp_path, monkeypatch):
    monkeypatch.setenv("BLOCKSEARCH_DATA", str(root))
    monkeypatch.chdir(tmp_path)
    small = {"dataset": "digits", "epochs": 1, "max_images": 64, "batch": 32, "workers": 1}
    answer = bs.ablate("effnet", factor="recipe", values=["fast", "augmented"], seeds=2, **small)
    assert [row["value"] for row in answer.records()] == ["fast", "augmented"]
    assert "recipe augmented: 1 epoch (linear schedule, batch 32, augment flip+shift)" in (
        answer.report.title
    )
    accuracies = [row["accuracies"] for row in answer.records()]
    assert accuracies[0] != accuracies[1]
    again = bs.ablate(
        "effnet", factor="residual", values=["add"], given="recipe=fast,augmented", seeds=2, **small
    )
    assert [row["role"] for row in again.records()][-1] == "interaction"
    assert again.records()[0]["accuracies"] == accuracies[0]
