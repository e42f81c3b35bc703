"""Effects over seeds and validation splits: laws, oracles from outside, and the shipped runs."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import blocksearch as bs
from blocksearch.ablation.design import ask
from blocksearch.ablation.results import compare_variants
from blocksearch.ablation.splits import crossed
from blocksearch.ablation.stats import compare_pairs
from blocksearch.errors import ConfigError
from blocksearch.runs.plan import read_splits
from blocksearch.runs.records import RunState
from tests.ablation.test_study import EFFNET, SHARED, config, made_run
from tests.strategies import tries

OVERLAP = 0.25
SIZES = st.tuples(st.integers(2, 8), st.integers(2, 6))


def drawn(seed, sizes, effect=0.0):
    """Differences, seeds × splits, in which both leave their marks."""
    random = np.random.default_rng(seed)
    n, splits = sizes
    by_seed, by_split, rest = random.exponential(1, 3)
    found = effect + rest * random.normal(size=sizes)
    return found + by_seed * random.normal(size=(n, 1)) + by_split * random.normal(size=splits)


def corrected(means):
    """Nadeau and Bengio's test of split means, as they write it: a variance and its p."""
    variance = (1 / len(means) + OVERLAP) * means.var(ddof=1)
    return variance, 2 * stats.t.sf(abs(means.mean()) / math.sqrt(variance), len(means) - 1)


@tries(100)
@given(st.integers(0, 10**6), SIZES, st.floats(-3, 3), st.sampled_from([0.05, 0.005]))
def test_no_interval_is_narrower_than_over_splits_or_seeds_alone(seed, sizes, effect, level):
    own = drawn(seed, sizes, effect)
    found = crossed(own, OVERLAP)
    reach = (lambda at: at.error * stats.t.isf(level / 2, at.freedom))(found.at(level))
    variance, p = corrected(own.mean(0))
    assert reach >= (1 - 1e-9) * math.sqrt(variance) * stats.t.isf(level / 2, sizes[1] - 1)
    seeds = stats.ttest_1samp(own.mean(1), 0)
    low, high = seeds.confidence_interval(1 - level)
    assert reach >= (1 - 1e-9) * (high - low) / 2
    assert found.p >= (1 - 1e-9) * max(p, seeds.pvalue)
    assert (abs(found.mean) > reach) == (found.p < level)


@tries(60)
@given(st.integers(0, 10**6), SIZES)
def test_what_a_seed_does_on_all_splits_is_added_to_the_variance(seed, sizes):
    """The parts are those of an analysis of variance by least squares."""
    n, splits = sizes
    own = drawn(seed, sizes)
    rows, columns = np.indices(sizes)
    marks = np.hstack([np.eye(n)[rows.ravel()], np.eye(splits)[columns.ravel()]])
    fit, *_ = np.linalg.lstsq(marks, own.ravel())
    rest = ((own.ravel() - marks @ fit) ** 2).sum() / ((n - 1) * (splits - 1))
    shared = max(0.0, (splits * own.mean(1).var(ddof=1) - rest) / (splits * n))
    variance, _ = corrected(own.mean(0))
    assert crossed(own, OVERLAP).error ** 2 == pytest.approx(variance + shared)


@tries(60)
@given(st.integers(0, 10**6), SIZES)
def test_order_does_not_matter_and_scaling_scales(seed, sizes):
    own, random = drawn(seed, sizes, 1.0), np.random.default_rng(seed)
    found = crossed(own, OVERLAP)
    mixed = crossed(random.permutation(random.permutation(own), axis=1) * 4, OVERLAP)
    assert mixed.mean == pytest.approx(4 * found.mean)
    assert mixed.error == pytest.approx(4 * found.error)
    assert (mixed.freedom, mixed.p) == pytest.approx((found.freedom, found.p))


def test_without_spread_the_signs_of_seeds_decide():
    assert crossed(np.full((5, 3), 2.0), OVERLAP).p == 0.0625
    assert crossed(np.zeros((5, 3)), OVERLAP).p == 1.0


def test_a_family_over_splits_is_adjusted_and_has_no_sign_flip():
    pairs = {
        str(k): (
            {seed: np.zeros(5) for seed in range(5)},
            dict(enumerate(drawn(k, (5, 5), effect=8.0 * (k == 0)))),
        )
        for k in range(12)
    }
    found = compare_pairs(pairs, overlap=OVERLAP)
    alone = compare_pairs({"0": pairs["0"]}, overlap=OVERLAP)["0"]
    assert str(found["0"].verdict) == "helps"
    assert found["0"].p_value == pytest.approx(12 * alone.p_value)
    own = found["0"]
    assert (own.n, own.p_sign_flip, own.prior, len(own.by_split)) == (5, None, None, 5)
    assert own.difference == pytest.approx(np.mean(own.by_split))


def test_a_seed_counts_that_completed_on_every_split():
    asked = ask(EFFNET, config(values=["add"], seeds=3))

    def runs_of(split):
        def lookup(arm, seed):
            failed = (split, seed, arm[0] is EFFNET) == (1, 2, False)
            key = SHARED.job(arm[0], seed).key
            value = 50.0 + seed + split + (arm[0] is not EFFNET)
            state = RunState.DIVERGED if failed else RunState.COMPLETE
            return made_run(key, state, () if failed else (value,), reason="nan")

        return lookup

    both = {"others": [runs_of(1)], "overlap": OVERLAP}
    reference, found = compare_variants(asked, config(seeds=3), runs_of(0), **both)
    assert found.comparison.seeds == (0, 1)
    assert found.record()["differences_by_split"] == [1.0, 1.0]
    assert found.accuracies == {0: 51.5, 1: 52.5}
    assert [run.key.seed for run in found.failed] == [2]
    assert reference.accuracies == {0: 50.5, 1: 51.5, 2: 52.5}


def test_shipped_runs_on_two_splits(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    how = {"factor": "residual", "dataset": "gtsrb", "seeds": 8}
    one, other = (bs.ablate("effnet", **how, val_split=split).records() for split in (0, 1))
    answer = bs.ablate("effnet", **how, val_split="0..1")
    for mine, *single in zip(answer.records()[1:], one[1:], other[1:], strict=True):
        assert mine["differences_by_split"] == [each["difference"] for each in single]
        assert mine["interval_low"] <= min(mine["differences_by_split"])
        assert mine["other_images"] is None
    assert "again on validation split 1" in answer.data()["title"]
    assert any("these images, split again" in note for note in answer.data()["notes"])
    # Section 3, the shortcuts on each of the two splits, and this one
    assert answer.data()["questions"] == 4


@pytest.mark.parametrize("text", ["", "x", "-1", "1,1", "4..2", "0..100", "0..", "1;2", "²"])
def test_other_texts_are_no_splits(text):
    with pytest.raises(ConfigError, match="validation splits must be"):
        read_splits(text)


def test_only_an_ablation_takes_several_splits():
    with pytest.raises(ConfigError, match=r"one validation split at a time.*0,1"):
        bs.train("effnet", val_split=[0, 1])
