"""The simulations that hold the statistics: their rule is the project's, and their bounds are
kept.
"""

import numpy as np
import pytest

from blocksearch.ablation.config import Variance
from blocksearch.ablation.looks import sequential
from blocksearch.ablation.stats import compare_pairs
from tests.benchmarks import evidence
from tests.benchmarks.decisions import Rule, decided, decided_by_looks

RULES = ((Rule.OWN, Variance.OWN), (Rule.MODERATED, Variance.MODERATED))
TINY = 1e-9  # a margin within which nothing lies


def drawn(seed, n):
    random = np.random.default_rng(seed)
    m = int(random.integers(1, 37))
    shape = evidence.SHAPES[seed % len(evidence.SHAPES)]
    effects = random.choice([0.0, 2.0, 4.0], m)
    return evidence.families(random, 1, shape, effects, n)


def pairs(rows):
    zero = dict.fromkeys(range(rows.shape[1]), 0.0)
    return {k: (zero, dict(enumerate(row))) for k, row in enumerate(rows)}


@pytest.mark.parametrize(("rule", "variance"), RULES)
def test_the_simulations_decide_as_the_project_does(rule, variance):
    for seed in range(60):
        rows = drawn(seed, (2, 5, 8)[seed % 3])
        found = compare_pairs(pairs(rows[0]), variance=variance, margin=TINY)
        wanted = [own.verdict.differs for own in found.values()]
        assert decided(rows, rule)[0].tolist() == wanted


@pytest.mark.parametrize(("rule", "variance"), RULES)
def test_the_simulations_look_as_the_project_does(rule, variance):
    for seed in range(40):
        rows = drawn(seed, 12)

        def more(names, count, rows=rows):
            return {name: own for name, own in pairs(rows[0, :, :count]).items() if name in names}

        names = range(rows.shape[1])
        found = sequential(names, (5, 8, 12), more, variance=variance, margin=TINY)
        wanted = [own.verdict.differs for own in found.values()]
        assert decided_by_looks(rows, (5, 8, 12), rule)[0].tolist() == wanted


@pytest.mark.slow
@pytest.mark.parametrize("table", evidence.TABLES, ids=lambda table: table.__name__)
def test_every_bound_is_kept_and_every_control_fails(table):
    few = 6_000 if table is evidence.images else 800  # a family of images is one effect's draws
    rows = list(table(few))
    assert rows
    assert [row for row in rows if not row.kept] == []
