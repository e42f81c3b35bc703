"""Verdicts, intervals and p-values as laws, against oracles from outside, and by simulation."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from blocksearch.ablation.flips import sign_flip_p
from blocksearch.ablation.stats import compare_pairs, holm
from blocksearch.errors import ConfigError
from tests.strategies import tries


def compare(reference, variants, **options):
    """Compare variants with one reference."""
    pairs = {name: (reference, accuracies) for name, accuracies in variants.items()}
    return compare_pairs(pairs, **options)


def eighths(low, high):
    """Eighths of a point: sums are exact, so laws hold to the last bit, and ties are common."""
    return st.integers(8 * low, 8 * high).map(lambda value: value / 8)


@st.composite
def experiments(draw):
    """Draw a reference and variants near it, small and large effects among them, over two to eight
    seeds: up to five of them, or as many as have a prior.
    """
    n, m = draw(st.integers(2, 8)), draw(st.integers(1, 5) | st.integers(10, 12))
    reference = draw(st.lists(eighths(30, 70), min_size=n, max_size=n))
    variants = {}
    for k in range(m):
        shift, noise = (
            draw(eighths(-4, 4)),
            draw(st.lists(st.integers(-4, 4), min_size=n, max_size=n)),
        )
        scale = draw(st.sampled_from([1 / 32, 1 / 8, 1]))
        variants[f"v{k}"] = {s: reference[s] + shift + scale * noise[s] for s in range(n)}
    return dict(enumerate(reference)), variants


def as_map(row):
    return dict(enumerate(np.asarray(row).tolist()))


def bare(comparison, **changes):
    """A comparison without its accuracies, and without what rounding may touch."""
    return replace(comparison, **{"reference": (), "variant": (), "correlation": None} | changes)


def assert_coherent(effect, margin=0.5, alpha=0.05):
    decided = effect.verdict in ("helps", "hurts")
    assert decided == (effect.p_value < alpha)
    assert effect.p_raw <= effect.p_value <= 1
    if effect.interval is None:
        assert effect.verdict == "undecided"
        return
    low, high = effect.interval
    slack = 1e-9 * max(1, abs(effect.difference))
    assert low - slack <= effect.difference <= high + slack
    if decided:  # an end at exactly zero is open
        assert low >= 0 if effect.verdict == "helps" else high <= 0
        assert (effect.difference > 0) == (effect.verdict == "helps")
    else:
        assert low <= 0 <= high
        inside = -margin < low and high < margin
        assert effect.verdict == ("within" if inside else "undecided")
        assert effect.margin == margin


@tries(150)
@given(experiments())
def test_verdict_and_interval_never_contradict(experiment):
    for effect in compare(*experiment).values():
        assert_coherent(effect)


@tries(100)
@given(st.lists(st.tuples(*[st.floats(-1e100, 1e100)] * 3), min_size=2, max_size=6))
def test_any_finite_numbers_give_finite_coherent_effects(rows):
    reference, *variants = zip(*rows, strict=True)
    for effect in compare(
        as_map(reference), {str(k): as_map(v) for k, v in enumerate(variants)}
    ).values():
        assert_coherent(effect)
        numbers = (
            effect.difference,
            effect.p_value,
            effect.p_sign_flip,
            effect.correlation,
            *(effect.interval or ()),
        )
        assert all(number is None or math.isfinite(number) for number in numbers)


@tries(60)
@given(experiments())
def test_swapping_sides_negates_the_effect(experiment):
    reference, variants = experiment
    variant = variants["v0"]
    there, back = compare(reference, {"v": variant})["v"], compare(variant, {"v": reference})["v"]
    opposite = {"helps": "hurts", "hurts": "helps"}.get(back.verdict, back.verdict)
    interval = back.interval and (-back.interval[1], -back.interval[0])
    mirrored = replace(back, verdict=opposite, difference=-back.difference, interval=interval)
    assert bare(there) == bare(mirrored)
    assert there.correlation == pytest.approx(back.correlation)
    assert there.decides == back.decides


@tries(60)
@given(experiments(), eighths(-20, 20))
def test_adding_a_constant_to_all_changes_nothing(experiment, constant):
    reference, variants = experiment
    moved = {name: {s: a + constant for s, a in row.items()} for name, row in variants.items()}
    before, after = (
        compare(reference, variants),
        compare({s: a + constant for s, a in reference.items()}, moved),
    )
    for name, effect in before.items():
        assert bare(effect) == bare(after[name])
        assert effect.correlation == pytest.approx(after[name].correlation)


@tries(60)
@given(experiments(), st.sampled_from([0.25, 0.5, 2.0, 16.0]))
def test_scaling_accuracies_and_margin_scales_the_effect(experiment, factor):
    reference, variants = experiment
    scaled = {name: {s: factor * a for s, a in row.items()} for name, row in variants.items()}
    before = compare(reference, variants)
    after = compare({s: factor * a for s, a in reference.items()}, scaled, margin=0.5 * factor)
    for name, effect in before.items():
        interval = effect.interval and (factor * effect.interval[0], factor * effect.interval[1])
        expected = bare(
            effect,
            margin=0.5 * factor,
            difference=factor * effect.difference,
            interval=interval,
            error=factor * effect.error,
            prior=effect.prior and replace(effect.prior, deviation=factor * effect.prior.deviation),
        )
        assert bare(after[name]) == expected


@tries(50)
@given(experiments(), st.randoms(use_true_random=False))
def test_order_of_seeds_and_variants_does_not_matter(experiment, random):
    reference, variants = experiment
    names, seeds = list(variants), list(reference)
    random.shuffle(names)
    random.shuffle(seeds)
    after = compare(
        {s: reference[s] for s in seeds}, {n: {s: variants[n][s] for s in seeds} for n in names}
    )
    assert after == compare(reference, variants)
    assert list(after) == names


@tries(50)
@given(experiments())
def test_a_variant_with_one_seed_is_outside_the_family(experiment):
    reference, variants = experiment
    with_single = compare(reference, {"single": {0: 99.0}, "absent": {}, **variants})
    assert {name: with_single[name] for name in variants} == compare(reference, variants)


@tries(80)
@given(
    st.lists(st.tuples(st.floats(40, 60), st.floats(40, 60)), min_size=3, max_size=9),
    st.integers(1, 4),
)
def test_one_test_and_interval_are_scipys(pairs, m):
    reference, variant = map(list, zip(*pairs, strict=True))
    assume(min(np.std(variant), np.std(reference), np.std(np.subtract(variant, reference))) > 1e-3)
    nulls = {f"null{k}": {0: reference[0] + 1, 1: reference[1] - 1} for k in range(m - 1)}
    effect = compare(as_map(reference), {"v": as_map(variant), **nulls})["v"]
    oracle = stats.ttest_rel(variant, reference)
    assert effect.p_raw == pytest.approx(oracle.pvalue, rel=1e-6, abs=1e-12)
    assert effect.p_value == pytest.approx(min(1, m * oracle.pvalue), rel=1e-6, abs=1e-12)
    assert effect.correlation == pytest.approx(
        stats.pearsonr(variant, reference).statistic, abs=1e-6
    )
    assert effect.interval == pytest.approx(
        tuple(oracle.confidence_interval(1 - 0.05 / m)), rel=1e-6, abs=1e-9
    )


def test_where_holm_sees_more_than_bonferroni_the_interval_ends_at_zero():
    """p = 0.0001 and 0.031: Holm tests the second at 0.05, Bonferroni's interval at 0.025 still
    holds zero.
    """
    reference = dict.fromkeys(range(5), 50.0)
    clear, faint = [2.0, 2.1, 1.9, 2.4, 1.6], [1.0, 0.2, 1.4, 0.5, 1.9]
    effects = compare(
        reference,
        {
            "clear": {s: 50 + d for s, d in enumerate(clear)},
            "faint": {s: 50 + d for s, d in enumerate(faint)},
        },
    )
    assert stats.ttest_1samp(faint, 0).confidence_interval(0.975).low < 0
    assert effects["faint"].verdict == "helps"
    assert effects["faint"].interval[0] == 0
    assert effects["faint"].interval[1] == pytest.approx(
        stats.ttest_1samp(faint, 0).confidence_interval(0.975).high
    )


def test_a_p_value_on_the_border_leaves_zero_inside_the_interval():
    """With α equal to p the interval ends at zero but for rounding, which falls on either side."""
    reference, random = dict.fromkeys(range(6), 50.0), np.random.default_rng(1)
    for row in random.normal(51, 1, (50, 6)):
        border = compare(reference, {"v": as_map(row)})["v"].p_value
        assert_coherent(compare(reference, {"v": as_map(row)}, alpha=border)["v"], alpha=border)


def closed_testing(p_values):
    """Holm by definition: a hypothesis falls only if every intersection with it falls, tested by
    Bonferroni.
    """
    m, adjusted = len(p_values), []
    for k in range(m):
        groups = [g for r in range(1, m + 1) for g in itertools.combinations(range(m), r) if k in g]
        adjusted.append(max(min(1.0, len(g) * min(p_values[i] for i in g)) for g in groups))
    return adjusted


@settings(deadline=None)
@given(st.lists(st.floats(0, 1) | st.floats(0, 0.05), min_size=1, max_size=6))
def test_holm_is_closed_testing_with_bonferroni(p_values):
    assert holm(p_values) == pytest.approx(closed_testing(p_values))


@tries(60)
@given(st.lists(st.floats(-5, 5) | eighths(-1, 1), min_size=1, max_size=8))
def test_sign_flip_counts_every_choice_of_signs(differences):
    observed = abs(sum(differences))
    flips = [
        abs(sum(s * d for s, d in zip(signs, differences, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(differences))
    ]
    tolerance = 1e-9 * max(1.0, sum(map(abs, differences)))
    assert sign_flip_p(np.array(differences)) == pytest.approx(
        np.mean([f >= observed - tolerance for f in flips])
    )


def test_sign_flip_is_not_misled_by_rounding():
    """0.1 + 0.2 is not 0.3 in floats; of 8 flips, the data, its mirror and two more have a sum as
    large as 0.
    """
    assert sign_flip_p(np.array([0.1, 0.2, -0.3])) == 1.0
    assert sign_flip_p(np.array([80.1 - 80.0, 80.2 - 80.1, 80.3 - 80.2])) == 0.25


def test_sign_flip_is_exact_at_twenty_seeds_and_absent_beyond():
    assert sign_flip_p(np.linspace(1, 2, 20)) == 2 / 2**20
    assert sign_flip_p(np.linspace(1, 2, 21)) is None


@pytest.mark.parametrize("n", [2, 5, 8])
def test_smallest_sign_flip_p_is_reached_by_one_sided_data(n):
    effect = compare(dict.fromkeys(range(n), 50.0), {"v": {s: 51.0 + s / 10 for s in range(n)}})[
        "v"
    ]
    assert effect.p_sign_flip == effect.p_sign_flip_smallest == 2 / 2**n


def test_without_a_shared_pair_nothing_is_claimed():
    effects = compare({0: 50.0, 1: 60.0}, {"none": {2: 60.0}, "one": {0: 60.0}, "empty": {}})
    assert {name: (e.n, e.difference) for name, e in effects.items()} == {
        "none": (0, None),
        "one": (1, 10.0),
        "empty": (0, None),
    }
    for effect in effects.values():
        assert effect.verdict == "undecided"
        assert (
            effect.interval
            is effect.p_value
            is effect.p_sign_flip
            is effect.correlation
            is effect.decides
            is None
        )
    assert compare({}, {}) == {}


@pytest.mark.parametrize(
    ("n", "difference", "verdict", "p_value", "interval"),
    [
        (2, 0.0, "undecided", 1.0, None),
        (2, 2.0, "undecided", 0.5, None),
        (5, -2.0, "undecided", 0.0625, None),
        (6, 0.0, "within", 1.0, (0, 0)),
        (6, -2.0, "hurts", 0.03125, (-2, -2)),
        (25, 0.25, "helps", 2.0**-24, (0.25, 0.25)),
    ],
)
def test_differences_without_spread_are_judged_by_the_sign_flip(
    n, difference, verdict, p_value, interval
):
    reference = {s: 50.0 + s % 3 for s in range(n)}
    effect = compare(reference, {"v": {s: a + difference for s, a in reference.items()}})["v"]
    assert (effect.verdict, effect.difference, effect.p_value) == (verdict, difference, p_value)
    assert (effect.interval, effect.decides) == (interval, None)


def test_a_reference_without_spread_has_no_correlation():
    effect = compare(dict.fromkeys(range(4), 50.0), {"v": {s: 50.0 + s for s in range(4)}})["v"]
    assert effect.correlation is None
    assert compare({0: 1.0, 1: 3.0}, {"v": {0: 2.0, 1: 9.0}})["v"].correlation is None


def test_only_shared_seeds_are_compared():
    effect = compare({0: 50.0, 1: 51.0, 2: 52.0}, {"v": {1: 52.0, 2: 52.0, 9: 0.0}})["v"]
    assert (effect.n, effect.difference) == (2, 0.5)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e101])
def test_an_accuracy_that_is_not_finite_is_refused(value):
    for reference, variant, name in [({3: value}, {}, "reference"), ({}, {3: value}, "wide")]:
        with pytest.raises(ConfigError) as error:
            compare(reference, {"wide": variant})
        assert (
            str(error.value)
            == f"an accuracy must be finite and at most 1e+100, but {name} at seed 3 has {value}"
        )


@pytest.mark.parametrize(
    "wrong",
    [{"alpha": 0.0}, {"alpha": 1.0}, {"alpha": math.nan}, {"margin": 0.0}, {"margin": math.inf}],
)
def test_alpha_and_margin_out_of_range_are_refused(wrong):
    (name, value), *_ = wrong.items()
    with pytest.raises(ConfigError, match=f"^{name} must .*{value}$"):
        compare({0: 1.0}, {"v": {0: 1.0}}, **wrong)


def false_verdicts(decide, trials=400, n=5, step=None):
    """Share of families of eight variants that truly do nothing in which anything is decided;
    accuracies in steps of `step`.
    """
    random = np.random.default_rng(7)
    references = random.normal(80, 1, (trials, 1, n))
    variants = references + random.normal(0, 1, (trials, 8, n))
    if step:
        references, variants = (np.round(values / step) * step for values in (references, variants))
    return np.mean(
        [decide(reference[0], rows) for reference, rows in zip(references, variants, strict=True)]
    )


def bound(rate, trials):
    return rate + 3 * math.sqrt(rate * (1 - rate) / trials)


def is_decided(reference, rows):
    effects = compare(as_map(reference), {str(k): as_map(row) for k, row in enumerate(rows)})
    return any(effect.verdict in ("helps", "hurts") for effect in effects.values())


def test_a_family_of_nulls_is_decided_falsely_at_most_one_time_in_twenty():
    assert false_verdicts(is_decided) <= bound(0.05, 400)


def test_the_same_families_break_that_bound_without_holm():
    rate = false_verdicts(
        lambda reference, rows: (stats.ttest_rel(rows, reference[None], axis=1).pvalue < 0.05).any()
    )
    assert rate > 3 * bound(0.05, 400)


def test_ties_on_a_small_validation_set_are_not_taken_for_certainty():
    """With 297 images and two seeds, p = 0 for equal differences would decide nearly half of all
    such families.
    """
    assert false_verdicts(is_decided, trials=300, n=2, step=100 / 297) <= bound(0.05, 300)


def joint_miss(truths, trials=800, n=6):
    random, misses = np.random.default_rng(11), 0
    for _ in range(trials):
        base = random.normal(80, 1, n)
        rows = base + truths[:, None] + random.normal(0, 1, (len(truths), n))
        effects = compare(as_map(base), {str(k): as_map(row) for k, row in enumerate(rows)})
        for effect, truth in zip(effects.values(), truths, strict=True):
            low, high = effect.interval
            is_open = truth == 0 and effect.verdict != "undecided" and 0 in (low, high)
            if is_open or not low <= truth <= high:
                misses += 1
                break
    return misses / trials


def test_intervals_cover_together_where_nothing_is_real():
    assert joint_miss(np.zeros(4), trials=400) <= bound(0.05, 400)


def test_intervals_miss_more_often_beside_real_effects_but_no_more_than_stated():
    """Holm leaves all of α to the one null: 1 − 0.95·0.9875³ = 8.5 % of families, below the stated
    (2 − 1/4)·α = 8.75 %.
    """
    rate = joint_miss(np.array([0.0, 9.0, 9.0, 9.0]))
    assert rate <= bound(0.0875, 800)
    assert rate > 0.06


def test_an_effect_on_the_margin_is_rarely_called_equal():
    """A deviation of 0.8 makes the interval about as wide as ±0.3: an equal verdict needs an
    unlucky mean below 0.2.
    """
    random, base, calls = np.random.default_rng(5), dict.fromkeys(range(30), 80.0), 0
    for row in random.normal(80.5, 0.8, (800, 30)):
        calls += compare(base, {"v": as_map(row)})["v"].verdict == "within"
    assert 0 < calls / 800 <= bound(0.025, 800)
    assert compare(base, {"v": {s: 80 + 0.8 * (-1) ** s for s in base}})["v"].verdict == "within"
