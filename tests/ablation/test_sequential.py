"""Adding seeds at interim analyses keeps the error rate that peeking breaks."""

import numpy as np
import pytest
from scipy import stats

from blocksearch.ablation.config import STAGES, AblationConfig, read_stages
from blocksearch.ablation.looks import sequential, shares
from blocksearch.ablation.stats import ALPHA, compare_pairs
from blocksearch.errors import ConfigError


def simulated(effects, seed, spread=1.0):
    """Accuracies of a reference and of variants, seed by seed, as `sequential` asks for them; and
    what it asked for.
    """
    rng = np.random.default_rng(seed)
    base = dict(enumerate(80 + rng.normal(size=20)))
    own = {
        str(k): dict(enumerate(80 + effect + spread * rng.normal(size=20)))
        for k, effect in enumerate(effects)
    }
    asked = []

    def more(names, count):
        asked.append((sorted(names), count))
        return {
            name: ({s: base[s] for s in range(count)}, {s: own[name][s] for s in range(count)})
            for name in names
        }

    return list(own), more, asked


def test_only_what_is_undecided_gets_more_seeds():
    names, more, asked = simulated([8.0, 0.9, -8.0], seed=3, spread=0.5)
    found = sequential(names, STAGES, more)
    assert (found["0"].verdict, found["2"].verdict) == ("helps", "hurts")
    assert asked[0] == (["0", "1", "2"], 5)
    assert all(open_ == ["1"] for open_, _ in asked[1:])
    assert found["0"].n == 5 < found["1"].n == asked[-1][1]


def test_what_is_equivalent_is_decided_and_the_margin_is_the_users():
    asked = []

    def apart(points):
        def more(names, count):
            asked.append(count)
            reference = {seed: 80.0 + seed for seed in range(count)}
            return {
                name: (reference, {s: a + points * (-1) ** s for s, a in reference.items()})
                for name in names
            }

        return more

    assert sequential(["0"], (5, 8), apart(0.01))["0"].verdict == "within"
    assert asked == [5]
    assert sequential(["0"], (5, 8), apart(1.5))["0"].verdict == "undecided"
    assert sequential(["0"], (5, 8), apart(1.5), margin=9.0)["0"].verdict == "within"


def test_intervals_are_those_of_a_stages_share():
    names, more, _ = simulated([8.0], seed=1)
    effect = sequential(names, (5, 8), more)["0"]
    alone = compare_pairs(more(["0"], effect.n), share=1 / 3)["0"]
    assert (
        effect.interval
        == alone.interval
        == compare_pairs(more(["0"], effect.n), alpha=0.05 / 3)["0"].interval
    )


@pytest.mark.parametrize("analyses", range(1, 9))
def test_shares_rise_evenly_and_spend_the_whole_rate(analyses):
    found = shares(analyses)
    assert sum(found) == pytest.approx(1)
    assert [share / found[0] for share in found] == pytest.approx(range(1, analyses + 1))


def test_rising_shares_decide_more_than_equal_ones():
    """One comparison, an effect of one network's spread, looks at 5, 8, 12 and 20 seeds."""

    def decided(rates):
        random = np.random.default_rng(4)
        base, own = (80 + random.normal(size=(4000, 20)) for _ in range(2))
        p_values = [
            stats.ttest_rel(own[:, :n] + 1, base[:, :n], axis=1).pvalue / rate
            for n, rate in zip(STAGES, rates, strict=True)
        ]
        return np.mean(np.min(p_values, axis=0) < ALPHA)

    assert decided([0.25] * 4) == pytest.approx(0.68, abs=0.025)
    assert decided(shares(4)) == pytest.approx(0.74, abs=0.025)


def test_a_rejected_variant_stays_in_the_family():
    """Holm behind a rejection: the other of two is tested at α, not at α/2; its interval is still
    that of one of two.
    """
    _, more, _ = simulated([6.0, 1.0], seed=5)
    both = compare_pairs(more(["0", "1"], 8), rejected={"0"})
    alone, halved = (compare_pairs(more(["1"], 8), alpha=alpha) for alpha in (0.05, 0.025))
    assert both["1"].p_value == alone["1"].p_value
    assert both["1"].interval == halved["1"].interval != alone["1"].interval


@pytest.mark.parametrize("seed", range(20))
def test_a_p_is_below_the_error_rate_exactly_where_it_decided(seed):
    names, more, _ = simulated([0.0, 0.8, 1.2, 2.0], seed)
    for effect in sequential(names, STAGES, more).values():
        assert (effect.p_value < ALPHA) == (effect.verdict in ("helps", "hurts"))


def test_a_variant_of_which_no_seed_completes_gets_no_more_seeds():
    names, more, asked = simulated([0.0, 0.0], seed=2)

    def diverging(wanted, count):
        return {
            name: (own, {} if name == "1" else other)
            for name, (own, other) in more(wanted, count).items()
        }

    found = sequential(names, STAGES, diverging)
    assert (found["1"].n, found["1"].verdict) == (0, "undecided")
    assert [open_ for open_, _ in asked] == [["0", "1"], ["0"], ["0"], ["0"]]


def test_a_range_of_seeds_is_read():
    assert read_stages("5..20") == STAGES
    assert read_stages("5..12") == (5, 8, 12)
    assert read_stages("3..4") == (3, 4)
    assert read_stages("5") == ()
    for wrong in ("5..5", "1..4", "8..5", "5..99999"):
        with pytest.raises(ConfigError, match="a range of seeds must rise"):
            read_stages(wrong)


@pytest.mark.parametrize(
    ("seeds", "stages", "last"),
    [(3, (), 2), ("3", (), 2), ([0, 4], (), 4), ("0,4", (), 4), ("2..6", (2, 5, 6), 5)],
)
def test_seeds_are_a_count_a_list_or_a_range(seeds, stages, last):
    config = AblationConfig(factors=["residual"], seeds=seeds)
    assert (config.stages, config.seed_list[-1]) == (stages, last)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"seeds": 0}, "seeds must be a count of at least 1"),
        ({"seeds": [1, 1]}, "seeds must be distinct"),
        ({"seeds": "8..5"}, "a range of seeds must rise"),
        ({"margin": 0.0}, "margin must be points of accuracy above 0 and at most 100"),
        ({"margin": float("nan")}, "margin must be points"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused_when_made(wrong, says):
    with pytest.raises(ConfigError, match=says):
        AblationConfig(factors=["residual"], **wrong)
