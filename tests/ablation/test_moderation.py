"""The spread that a family lends its comparisons: laws, an oracle from outside, and real runs."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, special, stats

import blocksearch as bs
from blocksearch.ablation.config import AblationConfig, Variance
from blocksearch.ablation.looks import sequential
from blocksearch.ablation.moderation import CAP, fitted
from blocksearch.ablation.stats import compare_pairs
from blocksearch.errors import ConfigError
from tests.strategies import tries

STUDIES = Path(__file__).parent.parent.parent / "studies"


def family(spreads, n, seed, effects=0.0):
    """Draw a family whose paired differences have these spreads."""
    random = np.random.default_rng(seed)
    reference = 80 + random.normal(size=n)
    rows = np.asarray(spreads)[:, None] * random.normal(size=(len(spreads), n))
    own = reference + rows + np.broadcast_to(effects, len(spreads))[:, None]
    base = dict(enumerate(reference))
    return {str(k): (base, dict(enumerate(row))) for k, row in enumerate(own)}


def variances(pairs):
    differences = [[own[s] - base[s] for s in base] for base, own in pairs.values()]
    return np.var(differences, axis=1, ddof=1)


def oracle(squares, f):
    """Fit the prior by scipy's root finder; appendix A without its words."""
    logs = np.log(squares) - special.digamma(f / 2) + np.log(f / 2)
    excess = logs.var(ddof=1) - special.polygamma(1, f / 2)
    if excess <= 1e-12:
        return math.inf, math.exp(logs.mean())
    d0 = 2 * optimize.brentq(lambda y: special.polygamma(1, y) - excess, 1e-3, 1e9)
    return d0, math.exp(logs.mean() + special.digamma(d0 / 2) - math.log(d0 / 2))


@tries(40)
@given(st.integers(0, 10**6), st.integers(5, 9), st.integers(10, 30), st.floats(0, 1.5))
def test_the_prior_and_what_it_lends_are_those_of_an_oracle(seed, n, m, apart):
    spreads = np.exp(apart * np.random.default_rng(seed).normal(size=m))
    pairs = family(spreads, n, seed, effects=0.5)
    squares, f = variances(pairs), n - 1
    d0, usual = oracle(squares, f)
    found = compare_pairs(pairs)
    for own, square in zip(found.values(), squares, strict=True):
        assert own.prior.deviation == pytest.approx(math.sqrt(usual), rel=1e-6)
        assert own.prior.freedom == pytest.approx(min(d0, CAP), rel=1e-6)
        lent = own.prior.freedom * stats.f.sf(square / usual, f, own.prior.freedom)
        blended = max(square, (lent * usual + f * square) / (lent + f))
        assert own.freedom == pytest.approx(f + lent, rel=1e-6)
        assert own.error == pytest.approx(math.sqrt(blended / n), rel=1e-6)
        by_both = 2 * stats.t.sf(abs(own.difference) / own.error, own.freedom)
        by_own = stats.ttest_1samp(own.differences, 0).pvalue
        assert own.p_own == pytest.approx(by_own, rel=1e-6)
        wanted = max(by_both, by_own) if by_own > 0.05 else by_both
        assert own.p_raw == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize(("m", "n"), [(9, 8), (12, 4), (40, 2)])
def test_small_families_and_few_seeds_are_tested_by_their_own_spread(m, n):
    pairs = family(np.linspace(0.5, 2, m), n, 3, effects=1.0)
    assert compare_pairs(pairs) == compare_pairs(pairs, variance=Variance.OWN)
    assert all(own.prior is None for own in compare_pairs(pairs).values())


def test_comparisons_of_few_seeds_are_in_the_family_and_keep_their_own_spread():
    pairs = family(np.ones(12), 8, 5, effects=1.0)
    few = {name: ({s: a[s] for s in range(4)}, b) for name, (a, b) in list(pairs.items())[:2]}
    found, own = compare_pairs(pairs | few), compare_pairs(pairs | few, variance=Variance.OWN)
    assert [found[name].p_raw for name in few] == [own[name].p_raw for name in few]
    assert found["0"].level == found["5"].level == 0.05 / 12
    assert found["5"].freedom > 7 == own["5"].freedom


def test_a_family_of_which_most_have_no_spread_has_no_prior():
    pairs = family([0] * 7 + [1] * 5, 6, 1)
    assert compare_pairs(pairs) == compare_pairs(pairs, variance=Variance.OWN)


def test_without_spread_a_comparison_has_the_familys():
    """Five equal differences of 2 points would need the sign flip; the family knows better."""
    pairs = family([0.0] + [1.0] * 14, 5, 2)
    base = pairs["0"][0]
    for shift, same in ((2.0, False), (0.0, True)):
        own = compare_pairs(pairs | {"0": (base, {s: a + shift for s, a in base.items()})})["0"]
        d0, usual = own.prior.freedom, own.prior.deviation**2
        assert own.freedom == pytest.approx(4 + d0)
        assert own.error == pytest.approx(math.sqrt(d0 * usual / (d0 + 4) / 5))
        assert (own.p_raw == pytest.approx(1.0)) == same


def test_what_is_much_louder_than_its_family_has_its_own_t_test():
    pairs = family([60.0] + [1.0] * 39, 6, 4)
    own = compare_pairs(pairs)["0"]
    alone = stats.ttest_1samp(own.differences, 0)
    assert own.freedom == pytest.approx(5, abs=0.02)
    assert own.p_raw == pytest.approx(alone.pvalue, rel=0.01)


@tries(60)
@given(st.integers(0, 10**6))
def test_nothing_is_decided_that_its_own_t_test_would_not_call_surprising(seed):
    random = np.random.default_rng(seed)
    pairs = family(np.exp(random.normal(size=14)), 5, seed, effects=random.normal(size=14) * 2)
    for own in compare_pairs(pairs).values():
        assert own.p_own < 0.05 or not own.verdict.differs
        assert own.freedom >= 4


def test_looks_are_moderated_and_may_be_asked_not_to_be():
    pairs = family(np.ones(12), 8, 6, effects=1.5)

    def more(names, count):
        return {name: tuple({s: a[s] for s in range(count)} for a in pairs[name]) for name in names}

    found, own = (sequential(pairs, (5, 8), more, variance=each) for each in Variance)
    assert all(each.prior for each in found.values())
    assert not any(each.prior for each in own.values())


def test_order_and_scale_change_no_bit_of_a_prior():
    squares = [(float(v), 4) for v in np.random.default_rng(0).chisquare(4, 25)]
    assert fitted(squares) == fitted(squares[::-1])
    scaled = fitted([(1024 * v, f) for v, f in squares])
    assert scaled == replace(fitted(squares), deviation=32 * fitted(squares).deviation)


def test_an_unknown_variance_is_refused():
    with pytest.raises(ConfigError, match=r"unknown variance 'owned' .did you mean 'own'"):
        AblationConfig(factors=["residual"], variance="owned")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dataset", "how", "size", "usual", "decided"),
    [
        ("gtsrb", {}, 37, 1.863, 13),
        ("cifar10", {"widths": "16,32,64", "epochs": 6}, 35, 0.887, 20),
    ],
)
def test_the_shipped_runs_have_these_priors(
    dataset, how, size, usual, decided, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    answer = bs.reproduce("section3", dataset=dataset, seeds=5, **how).found
    found = {
        tuple(network.digest for network in own.variant.networks): own.comparison
        for own in answer.results
        if own.comparison
    }
    assert len(found) == size
    (prior,) = {own.prior for own in found.values()}
    assert (prior.freedom, round(prior.deviation**2, 3)) == (12, usual)
    assert sum(own.verdict.differs for own in found.values()) == decided
