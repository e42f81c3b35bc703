"""Verdicts, intervals and p-values as laws, against oracles from outside, and by simulation."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from blocksearch.errors import UsageError
from blocksearch.experiments.stats import compare, holm, seeds_to_decide, sign_flip_p

accuracies = st.floats(0, 100, allow_nan=False).map(lambda value: round(value, 2))


@st.composite
def experiments(draw, least=2):
    n, m = draw(st.integers(least, 8)), draw(st.integers(1, 5))
    rows = [draw(st.lists(accuracies, min_size=n, max_size=n)) for _ in range(m + 1)]
    reference, *variants = [dict(enumerate(row)) for row in rows]
    return reference, {f"v{k}": variant for k, variant in enumerate(variants)}


@settings(max_examples=200, deadline=None)
@given(experiments())
def test_verdict_and_interval_never_contradict(experiment):
    for effect in compare(*experiment).values():
        low, high = effect.interval
        assert low <= effect.difference + 1e-9
        assert effect.difference <= high + 1e-9
        # An end at exactly zero is open: Holm has excluded zero itself.
        excludes_zero = low > 0 or high < 0 or (0 in (low, high) and effect.p_value < 0.05)
        assert excludes_zero == (effect.verdict in ("helps", "hurts"))
        if effect.verdict == "helps":
            assert effect.difference > 0
            assert low >= 0
        if effect.verdict.startswith("within"):
            assert -0.5 < low <= high < 0.5


@settings(max_examples=100, deadline=None)
@given(experiments())
def test_swapping_sides_negates_the_effect(experiment):
    reference, variants = experiment
    variant = variants["v0"]
    there, back = compare(reference, {"v": variant})["v"], compare(variant, {"v": reference})["v"]
    assert there.difference == pytest.approx(-back.difference)
    assert there.interval == pytest.approx((-back.interval[1], -back.interval[0]))
    assert there.verdict == {"helps": "hurts", "hurts": "helps"}.get(back.verdict, back.verdict)


@settings(max_examples=50, deadline=None)
@given(experiments(), st.randoms(use_true_random=False))
def test_order_of_seeds_and_variants_does_not_matter(experiment, random):
    reference, variants = experiment
    before = compare(reference, variants)
    names, seeds = list(variants), list(reference)
    random.shuffle(names)
    random.shuffle(seeds)
    after = compare({s: reference[s] for s in seeds}, {n: {s: variants[n][s] for s in seeds} for n in names})
    assert after == before


@settings(deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=2, max_size=9))
def test_p_value_is_scipys_paired_t_test(differences):
    assume(np.std(differences) > 1e-3)
    reference = {seed: 50.0 for seed in range(len(differences))}
    effect = compare(reference, {"v": {s: 50.0 + d for s, d in enumerate(differences)}})["v"]
    expected = stats.ttest_rel([50.0 + d for d in differences], [50.0] * len(differences)).pvalue
    assert effect.p_value == pytest.approx(expected, rel=1e-6, abs=1e-12)


def closed_testing(p_values):
    """Holm by definition: a hypothesis falls only if every intersection with it falls, tested by Bonferroni."""
    m, adjusted = len(p_values), []
    for k in range(m):
        groups = [g for r in range(1, m + 1) for g in itertools.combinations(range(m), r) if k in g]
        adjusted.append(max(min(1.0, len(g) * min(p_values[i] for i in g)) for g in groups))
    return adjusted


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_is_closed_testing_with_bonferroni(p_values):
    assert holm(p_values) == pytest.approx(closed_testing(p_values))


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=8))
def test_sign_flip_counts_every_choice_of_signs(differences):
    observed = abs(sum(differences))
    flips = [
        abs(sum(s * d for s, d in zip(signs, differences, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(differences))
    ]
    tolerance = 1e-9 * max(1.0, sum(map(abs, differences)))
    assert sign_flip_p(np.array(differences)) == pytest.approx(np.mean([f >= observed - tolerance for f in flips]))


def test_sign_flip_is_exact_at_twenty_seeds_and_absent_beyond():
    assert sign_flip_p(np.linspace(1, 2, 20)) == 2 / 2**20
    assert sign_flip_p(np.ones(21)) is None


def test_smallest_sign_flip_p_at_five_seeds():
    effect = compare(dict.fromkeys(range(5), 50.0), {"v": {s: 51.0 + s / 10 for s in range(5)}})["v"]
    assert effect.p_sign_flip == effect.p_sign_flip_smallest == 0.0625
    assert effect.verdict == "helps"


@pytest.mark.parametrize(
    ("reference", "variant", "verdict", "difference"),
    [
        ({}, {}, "undecided", None),
        ({0: 50.0}, {1: 60.0}, "undecided", None),
        ({0: 50.0}, {0: 60.0}, "undecided", 10.0),
        ({0: 50.0, 1: 60.0}, {0: 50.0, 1: 60.0}, "within ±0.5", 0.0),
        ({0: 50.0, 1: 60.0}, {0: 52.0, 1: 62.0}, "helps", 2.0),
        ({0: 0.1, 1: 0.2, 2: 0.3}, {0: 0.1, 1: 0.2, 2: 0.3}, "within ±0.5", 0.0),
    ],
)
def test_degenerate_comparisons_are_plain(reference, variant, verdict, difference):
    effect = compare(reference, {"v": variant})["v"]
    assert (effect.verdict, effect.difference) == (verdict, difference)
    numbers = [effect.p_value, effect.p_sign_flip, effect.correlation, *(effect.interval or ())]
    assert all(number is None or math.isfinite(number) for number in numbers)


def test_only_shared_seeds_are_compared():
    effect = compare({0: 50.0, 1: 51.0, 2: 52.0}, {"v": {1: 52.0, 2: 52.0, 9: 0.0}})["v"]
    assert (effect.n, effect.difference) == (2, 0.5)


def test_an_accuracy_that_is_not_finite_is_refused():
    with pytest.raises(UsageError, match="seed 3 has nan"):
        compare({3: float("nan")}, {"v": {3: 1.0}})


def family_of_nulls(trials, variants=8, seeds=5):
    random = np.random.default_rng(7)
    base = random.normal(0, 1, (trials, 1, seeds))
    return base[:, 0], base + random.normal(0, 1, (trials, variants, seeds))


def false_verdicts(decide):
    """Share of families of eight variants that truly do nothing in which anything is decided."""
    references, variants = family_of_nulls(600)
    return np.mean([decide(reference, rows) for reference, rows in zip(references, variants, strict=True)])


def as_map(row):
    return dict(enumerate(row.tolist()))


def test_a_family_of_nulls_is_decided_falsely_at_most_one_time_in_twenty():
    def decide(reference, rows):
        effects = compare(as_map(reference), {str(k): as_map(row) for k, row in enumerate(rows)})
        return any(effect.verdict in ("helps", "hurts") for effect in effects.values())

    assert false_verdicts(decide) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 600)


def test_the_same_families_break_that_bound_without_holm():
    rate = false_verdicts(lambda reference, rows: any(stats.ttest_rel(row, reference).pvalue < 0.05 for row in rows))
    assert rate > 0.15


def test_intervals_cover_together():
    """True effects 0 and 2 points, 4 variants: all four intervals hold theirs in at least 90 % of families (the stated bound)."""
    random, truths, misses = np.random.default_rng(11), np.array([0.0, 0.0, 2.0, 2.0]), 0
    for _ in range(400):
        base = random.normal(80, 1, 6)
        rows = base + truths[:, None] + random.normal(0, 1, (4, 6))
        effects = compare(as_map(base), {str(k): as_map(row) for k, row in enumerate(rows)})
        misses += any(not e.interval[0] <= truth <= e.interval[1] for e, truth in zip(effects.values(), truths, strict=True))
    assert misses / 400 <= 0.10


@pytest.mark.parametrize("mean", [0.6, 1.0, 2.0])
def test_the_seeds_that_would_decide_do(mean):
    """At the advised number of seeds the t-test finds the effect in about 80 % of simulated experiments."""
    n = seeds_to_decide(mean, 1.0, 0.05, 0.01)
    draws = np.random.default_rng(3).normal(mean, 1.0, (4000, n))
    found = np.mean(stats.ttest_1samp(draws, 0, axis=1).pvalue < 0.05)
    assert 0.78 <= found <= 0.92


def test_more_seeds_than_a_thousand_are_not_advised():
    assert seeds_to_decide(0.5, 100.0, 0.05, 0.5) is None
