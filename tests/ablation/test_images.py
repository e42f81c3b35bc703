"""What effects would be on other images: laws, oracles from outside, and the shipped runs."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import blocksearch as bs
from blocksearch.ablation.design import ask
from blocksearch.ablation.images import ImageGroups, gains, on_other_images
from blocksearch.ablation.stats import compare_pairs
from blocksearch.data.splits import Split
from blocksearch.runs.metrics import clustered_error
from tests.ablation.test_study import EFFNET, SHARED, config, made_run
from tests.strategies import tries

SIZES = st.lists(st.integers(1, 30), min_size=25, max_size=60)


@tries(40)
@given(st.integers(0, 10**6), st.integers(2, 50))
def test_without_groups_the_error_is_that_of_a_mean_over_images(seed, count):
    values = np.random.default_rng(seed).integers(-1, 2, count).astype(float)
    assert clustered_error(values, np.ones(count)) == pytest.approx(stats.sem(values))


@tries(40)
@given(st.integers(0, 10**6), SIZES)
def test_the_error_over_groups_is_that_of_leaving_each_out(seed, sizes):
    """The jackknife over whole groups agrees, to the order of one group's share."""
    own = np.array(sizes, float)
    sums = np.random.default_rng(seed).normal(0.1, 1, len(own)) * own
    left = (sums.sum() - sums) / (own.sum() - own)
    count = len(own)
    jackknife = math.sqrt((count - 1) / count * ((left - left.mean()) ** 2).sum())
    assert clustered_error(sums, own) == pytest.approx(jackknife, rel=0.15)


def compared(seed, effect, n=8, groups=40):
    """One comparison, and gains over groups that have its mean."""
    random = np.random.default_rng(seed)
    base = random.normal(80, 1, n)
    own = base + effect + random.normal(0, 0.5, n)
    found = compare_pairs({"v": (dict(enumerate(base)), dict(enumerate(own)))})
    members = ImageGroups(np.repeat(np.arange(groups), 10))
    gained = random.normal(0, 0.5, groups)
    gained += found["v"].difference / 100 * 10 - gained.mean()
    return found, {"v": gained}, members


def welch(own, far, groups=40):
    """The p of both errors together, as of two samples."""
    sizes = (own.error * math.sqrt(own.n), own.n), (far.error * math.sqrt(groups), groups)
    (one, n), (other, m) = sizes
    return stats.ttest_ind_from_stats(own.difference, one, n, 0.0, other, m, equal_var=False).pvalue


def test_more_degrees_of_freedom_make_nothing_surer():
    surer = 0
    for seed in range(100):
        found, gained, groups = compared(seed, 3.0, n=3)
        own, far = found["v"], on_other_images(found, gained, groups)["v"]
        surer += welch(own, far) < own.p_raw
        assert far.p_value >= own.p_value
        assert far.interval[0] <= own.interval[0] <= own.interval[1] <= far.interval[1]
    assert surer > 50  # as often as the rule was needed


@tries(40)
@given(st.integers(0, 10**6), st.floats(-4, 4), st.integers(2, 20))
def test_both_errors_are_joined_as_welch_joins_two_samples(seed, effect, n):
    found, gained, groups = compared(seed, effect, n)
    own, far = found["v"], on_other_images(found, gained, groups)["v"]
    p = welch(own, far)
    # what is said of other images is never surer than what is said of these
    assert far.p_value == pytest.approx(max(p, own.p_raw), rel=1e-6)
    low, high = far.interval
    if own.interval:
        assert low <= own.interval[0] <= own.interval[1] <= high
    assert low <= own.difference <= high
    assert (low > 0 or high < 0 or 0 in (low, high)) == (far.p_value < 0.05)
    holds = far.p_value < 0.05
    if own.verdict == "within":
        holds = -own.margin < low and high < own.margin
    said = "yes" if holds else "not shown"
    assert far.generality == (None if own.verdict == "undecided" else said)


def test_few_groups_and_one_seed_have_an_error_alone():
    found, gained, groups = compared(1, 3.0, groups=19)
    assert on_other_images(found, gained, groups)["v"].interval is None
    found, gained, groups = compared(1, 3.0, n=1)
    far = on_other_images(found, gained, groups)["v"]
    assert far.error > 0
    assert far.interval is far.p_value is far.generality is None


def test_equal_gains_leave_the_error_of_seeds():
    found, _, groups = compared(2, 3.0)
    far = on_other_images(found, {"v": np.full(40, 0.3)}, groups)["v"]
    assert far.error == pytest.approx(0)
    assert far.interval == pytest.approx(found["v"].interval)
    assert far.p_value == pytest.approx(found["v"].p_value)


def test_a_family_is_adjusted_as_a_whole():
    found, gained, groups = compared(3, 1.2)
    nulls = {str(k): ({0: 1.0, 1: 2.0}, {0: 2.0, 1: 1.0}) for k in range(3)}
    more = compare_pairs(
        {"v": tuple(dict(enumerate(a)) for a in (found["v"].reference, found["v"].variant))} | nulls
    )
    alone = on_other_images(found, gained, groups)["v"].p_value
    assert on_other_images(more, gained, groups)["v"].p_value == pytest.approx(min(1, 4 * alone))


def test_images_of_unknown_groups_say_nothing_of_others(tmp_path, monkeypatch):
    """GTSRB's test images come in tracks, and nobody published which is of which."""
    monkeypatch.chdir(tmp_path)
    shared = replace(SHARED, protocol=Split("gtsrb", test=True))
    assert ImageGroups.of(shared) is None
    assert ImageGroups.of(replace(shared, protocol=Split("cifar10", test=True))) is not None
    answer = bs.reproduce("table7").data()
    assert {row["other_images"] for row in answer["comparisons"]} == {None}
    assert "tracks whose numbers are not published, so it is more" in " ".join(answer["notes"])


def test_gains_are_counted_by_group_and_an_interaction_is_their_difference():
    asked = ask(EFFNET, config(values=["add"], given=("bottleneck", ["2", "4"])))
    random = np.random.default_rng(0)
    members = ImageGroups(np.array([0, 0, 1, 2, 2, 2]))
    bits = {
        (network.digest, seed): random.random(6) < 0.5
        for variant in asked
        for network in variant.networks
        for seed in range(3)
    }

    def lookup(arm, seed):
        key = SHARED.job(arm[0], seed).key
        return made_run(key, "complete", (50.0,), right=bits[arm[0].digest, seed])

    def by_hand(variant):
        own = [
            bits[variant.network.digest, seed].astype(int)
            - bits[variant.reference.digest, seed].astype(int)
            for seed in range(3)
        ]
        each = np.mean(own, axis=0)
        return [each[:2].sum(), each[2], each[3:].sum()]

    found = [gains(variant, range(3), members, lookup) for variant in (asked[1], asked[3])]
    for own, variant in zip(found, (asked[1], asked[3]), strict=True):
        assert own == pytest.approx(by_hand(variant))
    apart = gains(asked[4], range(3), members, lookup)
    assert apart == pytest.approx(found[1] - found[0])
    assert gains(asked[1], range(3), ImageGroups(np.arange(5)), lookup) is None


@pytest.mark.parametrize(
    ("how", "add", "shown"),
    [
        ({"dataset": "gtsrb", "seeds": 8}, (0.37, 0.51), ["yes"] * 3),
        ({"dataset": "gtsrb", "seeds": 8, "val_split": 1}, (0.55, 0.33), ["yes", "yes", None]),
        (
            {"dataset": "cifar10", "widths": "32,64,128", "epochs": 6},
            (0.18, 0.20),
            ["not shown", "not shown", "yes"],
        ),
    ],
)
def test_what_shortcuts_do_on_other_images(how, add, shown, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, *rows = bs.ablate("effnet", factor="residual", **how).records()
    errors = (round(rows[0]["error"], 2), round(rows[0]["error_images"], 2))
    assert errors == add
    assert [row["other_images"] for row in rows] == shown
