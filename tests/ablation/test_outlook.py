"""What a plan says of seeds, and which runs an answer says to have collapsed."""

import numpy as np
import pytest
from scipy import stats

import blocksearch as bs
from blocksearch.ablation.collapse import collapsed, unseen
from blocksearch.ablation.design import variants
from blocksearch.ablation.study import Ablation
from blocksearch.errors import ConfigError
from blocksearch.report.comparisons import ablation_report
from tests.ablation.test_study import EFFNET, config, made_up_runs, results


@pytest.mark.parametrize("effect", [None, 1.0, 3.0])
def test_a_plan_says_how_many_seeds_each_comparison_needs(effect, tmp_path, monkeypatch):
    """The shipped shortcuts of GTSRB are the pilot; the oracle is the noncentral t."""
    monkeypatch.chdir(tmp_path)
    asked = {"factor": "residual", "dataset": "gtsrb", "seeds": 8}
    plan = bs.ablate("effnet", **asked, effect=effect, dry_run=True)
    answer = bs.ablate("effnet", **asked).records()[1:]
    assert [row["value"] for row in plan.records()] == [row["value"] for row in answer]

    def power(n, deviation):
        limit = stats.t.isf(0.05 / 6, n - 1)
        return stats.nct.sf(limit, n - 1, effect / deviation * np.sqrt(n))

    for row, own in zip(plan.records(), answer, strict=True):
        assert row["n"] == 8
        assert row["deviation"] == pytest.approx(own["error"] * np.sqrt(8))
        assert row["within"] > 50
        if effect is None:
            assert row["fewest"] is row["most"] is None
            continue
        for seeds, q in ((row["fewest"], 0.9), (row["most"], 0.1)):
            limit = row["deviation"] / np.sqrt(stats.chi2.ppf(q, 7) / 7)
            assert power(seeds, limit) >= 0.795
            assert power(seeds - 1, limit) <= 0.805


def test_an_effect_is_asked_about_in_a_plan_alone():
    with pytest.raises(ConfigError, match="an effect is asked about in a plan"):
        bs.ablate("effnet", factor="residual", dataset="gtsrb", seeds=8, effect=1.0)
    with pytest.raises(ConfigError, match="effect must be points of accuracy above 0"):
        config(effect=-1.0)


@pytest.mark.parametrize("n", [5, 8, 12, 20])
def test_the_share_of_collapses_that_is_not_seen_is_the_binomials(n):
    assert stats.binom.pmf(0, n, unseen(n)) == pytest.approx(0.05)
    oracle = stats.binomtest(0, n, alternative="less").proportion_ci(0.95).high
    assert unseen(n) == pytest.approx(oracle)


def test_usual_noise_is_not_called_a_collapse():
    random = np.random.default_rng(0)
    flagged = 0
    for _ in range(200):
        rows = random.normal(80, 3, (10, 5))
        flagged += len(collapsed({str(k): dict(enumerate(row)) for k, row in enumerate(rows)}))
    assert flagged <= 2


def test_a_run_that_collapsed_is_flagged_in_its_row():
    found = variants(EFFNET, "residual", ["add"])
    runs = made_up_runs(found, lambda v, seed: 60.0 + seed - 30 * (v.value == "add" and seed == 3))
    answer = Ablation(title="t", results=tuple(results(found, runs)), notes=())
    assert [row["collapsed"] for row in answer.records()] == [[], [3]]
    (table,) = ablation_report(answer).tables
    said = table.rows[1]["outcome"]
    assert "collapsed, against a median of 61.0 %: seed 3 at 33.0 %" in said
    assert any("may collapse in up to 45% of its runs" in note for note in table.notes)


@pytest.mark.parametrize("lost", [True, False])
def test_verdicts_beside_a_run_that_diverged_say_what_they_are_about(lost):
    found = variants(EFFNET, "residual", ["add"])
    runs = made_up_runs(
        found, lambda v, s: None if lost and s == 2 else 50.0 + s * (1 + v.is_reference)
    )
    answer = Ablation(title="t", results=tuple(results(found, runs)), notes=())
    notes = ablation_report(answer).tables[0].notes
    assert any("not missing at random" in note for note in notes) == lost
