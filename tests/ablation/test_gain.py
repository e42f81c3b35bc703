"""What a network gains on random networks of its space: against an oracle, the shipped table of
`tiny`, and by simulation.
"""

import csv
import shutil
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import blocksearch as bs
from blocksearch.ablation.config import GainConfig
from blocksearch.ablation.gain import welch
from blocksearch.data import split_id
from blocksearch.errors import ConfigError, SpecError
from blocksearch.runs.ledger import Ledger
from tests.strategies import tries

STUDIES = Path(__file__).parent.parent.parent / "studies"
SPACE = STUDIES.parent / "search_spaces" / "tiny.py"
HOW = {"dataset": "gtsrb", "max_images": 8000, "epochs": 10, "db": "tiny-gtsrb.db"}


@tries(60)
@given(st.integers(0, 10**6), st.integers(2, 8), st.integers(2, 40), st.floats(-5, 5))
def test_the_test_is_that_of_welch(seed, n, count, gain):
    random = np.random.default_rng(seed)
    own, members = 80 + gain + random.normal(0, 2, n), 80 + random.normal(0, 6, count)
    found, oracle = welch(own, members), stats.ttest_ind(own, members, equal_var=False)
    low, high = oracle.confidence_interval(0.95)
    reach = found.error * stats.t.isf(0.025, found.freedom)
    assert (found.p, found.freedom) == pytest.approx((oracle.pvalue, oracle.df))
    assert (found.mean - reach, found.mean + reach) == pytest.approx((low, high))


def test_too_few_or_equal_values_estimate_nothing():
    assert welch([1.0], [1.0, 2.0]) is welch([1.0, 2.0], [1.0]) is None
    assert welch([2.0, 2.0], [1.0, 1.0]) is None


def test_a_gain_in_the_shipped_table_is_that_of_its_rows(tmp_path, monkeypatch):
    """Its images are not here: another shipped file tells what those of this digest are."""
    monkeypatch.chdir(tmp_path)
    for name in ("gtsrb.db", "tiny-gtsrb.db"):
        shutil.copy(STUDIES / name, name)
    with closing(Ledger("gtsrb.db")) as other, closing(Ledger("tiny-gtsrb.db")) as ledger:
        told = next(each for each in other.all_images() if each.split == split_id(0))
        ledger.add_images(replace(told, split=split_id(0, 8000)))
    space = bs.load_space(Path(STUDIES).parent / "search_spaces" / "tiny.py").on(bs.TASKS["gtsrb"])
    network = max(space, key=lambda each: each.cost.flops)
    answer = bs.gain(space, network, seeds=3, sample=40, draw=7, **HOW)
    (found,) = answer.records()
    with (STUDIES / "tiny-gtsrb.csv").open() as opened:
        next(opened)
        rows = list(csv.DictReader(opened))
    table = {
        (row["fingerprint"], int(row["seed"])): float(row["accuracies"].split()[-1]) for row in rows
    }
    assert found["accuracies"] == pytest.approx(
        [table[network.digest, seed] for seed in range(3)], abs=1e-3
    )
    drawn = space.where(f"flops <= {network.cost.flops}").sample(40, 7)
    wanted = [table[each.digest, place % 3] for place, each in enumerate(drawn)]
    assert found["sampled_accuracies"] == pytest.approx(wanted, abs=1e-3)
    assert (found["sampled_stored"], found["available"]) == (40, len(space))
    assert found["gain"] == pytest.approx(np.mean(found["accuracies"]) - np.mean(wanted), abs=1e-3)
    whole = np.mean(found["accuracies"]) - np.mean(list(table.values()))
    assert found["interval_low"] < whole < found["interval_high"]
    assert "40 of the 40 random networks had been trained before" in " ".join(
        answer.data()["notes"]
    )


@pytest.mark.slow
def test_a_space_without_networks_so_cheap_is_refused(root, tmp_path, monkeypatch):
    monkeypatch.setenv("BLOCKSEARCH_DATA", str(root))
    monkeypatch.chdir(tmp_path)
    space = bs.load_space(SPACE).on(bs.TASKS["digits"])
    cheapest = min(space, key=lambda each: each.cost.flops)
    others = space.where(lambda each: each.cost.flops > cheapest.cost.flops)
    with pytest.raises(SpecError, match=r"no network of the space meets .* and flops <= "):
        bs.gain(others, cheapest, dry_run=True, dataset="digits")


@pytest.mark.parametrize(
    "wrong", [{"sample": 1}, {"sample": 10**6}, {"draw": -1}, {"seeds": 1}, {"margin": 0}]
)
def test_what_cannot_be_asked(wrong):
    with pytest.raises(ConfigError):
        GainConfig(**wrong)
