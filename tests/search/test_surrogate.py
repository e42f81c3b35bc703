"""The model of accuracy against the same beliefs written as one large normal distribution, and
results folded in or not.
"""

import numpy as np
import pytest

from blocksearch.search import averaging, surrogate
from blocksearch.search.averaging import NEGLIGIBLE, averaged, likely_scales
from blocksearch.search.surrogate import FeatureRows, Features, Model, Scales, SeedNoise, Seen

LEVELS = (2, 3, 4)
SCALES = Scales(
    costs=30.0, factors=20.0, pairs=8.0, unexplained=3.0, seeds=4.0, middle=70.0, spread=90.0
)


@pytest.fixture
def seen():
    """Forty networks with one to three seeds, some of them with options that the space has not."""
    rng = np.random.default_rng(0)
    codes = np.column_stack([rng.integers(-1, size, 40) for size in LEVELS]).astype(np.int16)
    costs = rng.uniform(1e4, 1e6, (40, 2))
    features = Features(LEVELS, costs)
    return (
        features,
        codes,
        Seen(
            rows=features.rows(codes, costs),
            means=rng.normal(70, 9, 40),
            counts=rng.integers(1, 4, 40).astype(float),
        ),
    )


def unexplained(codes):
    """Say it from the codes: each factor has an equal share of what factors may matter, each pair
    one of what pairs may.
    """
    known = (codes >= 0).sum(1)
    count = len(LEVELS)
    pairs = count * (count - 1) / 2
    return (
        SCALES.unexplained
        + SCALES.factors * (1 - known / count)
        + SCALES.pairs * (1 - known * (known - 1) / 2 / pairs)
    )


def test_means_and_deviations_are_those_of_the_normal_distribution_that_the_model_stands_for(seen):
    features, codes, data = seen
    prior = np.array([SCALES.spread, SCALES.costs, SCALES.factors, SCALES.pairs])[features.groups]
    true = data.rows * prior @ data.rows.T + np.diag(unexplained(codes))
    gain = true @ np.linalg.inv(true + np.diag(SCALES.seeds / data.counts))
    means, deviations = Model(features, SCALES, data).settled(data)
    np.testing.assert_allclose(means, SCALES.middle + gain @ (data.means - SCALES.middle))
    np.testing.assert_allclose(deviations, np.sqrt(np.diag(true - gain @ true)))


def test_only_a_network_with_options_that_the_space_has_not_is_believed_more(
    seen,
):
    features, codes, data = seen
    model = Model(features, SCALES, data)
    np.testing.assert_allclose(model.unexplained(data.rows), unexplained(codes))
    inside = (codes >= 0).all(1)
    assert 0 < inside.sum() < len(codes)
    assert (model.unexplained(data.rows)[inside] == SCALES.unexplained).all()
    assert (model.unexplained(data.rows)[~inside] > SCALES.unexplained).all()


def test_results_folded_in_one_by_one_are_those_of_a_fit_to_all(seen):
    features, _, data = seen
    first = Seen(rows=data.rows[:20], means=data.means[:20], counts=data.counts[:20])
    model, whole = Model(features, SCALES, first), Model(features, SCALES, data)
    before = model.variance(data.rows)
    for row, mean, count in zip(data.rows[20:], data.means[20:], data.counts[20:], strict=True):
        step = model.fold_in(row, (0.0, 0.0), (model.weight(row, count), mean))
        before -= (data.rows @ step) ** 2
    np.testing.assert_allclose(model.weights, whole.weights)
    np.testing.assert_allclose(model.variance(data.rows), whole.variance(data.rows))
    np.testing.assert_allclose(before, whole.variance(data.rows))


def test_another_seed_folded_in_is_the_mean_of_both(seen):
    features, _, data = seen
    more = Seen(
        rows=data.rows,
        means=np.where(np.arange(40) == 7, data.means + 2, data.means),
        counts=data.counts + (np.arange(40) == 7),
    )
    model = Model(features, SCALES, data)
    row, weights = (
        data.rows[7],
        [model.weight(data.rows[7], seen.counts[7]) for seen in (data, more)],
    )
    model.fold_in(row, (weights[0], data.means[7]), (weights[1], more.means[7]))
    np.testing.assert_allclose(model.weights, Model(features, SCALES, more).weights)


@pytest.mark.parametrize("freedom", [0, 3, 40])
def test_what_is_averaged_over_scales_is_the_average_of_their_models(seen, freedom):
    features, _, data = seen
    noise = SeedNoise(4.0, freedom)
    every = likely_scales(features, data, noise, SCALES)
    weights, scales = zip(*((w, own) for w, own in every if w > NEGLIGIBLE), strict=True)
    parts = np.array([Model(features, own, data).settled(data) for own in scales])
    mean = np.average(parts[:, 0], axis=0, weights=weights)
    spread = parts[:, 1] ** 2 + (parts[:, 0] - mean) ** 2
    found, deviation = averaged(features, data, noise, SCALES)
    assert len(set(scales)) > 10
    np.testing.assert_allclose(found, mean)
    np.testing.assert_allclose(deviation, np.sqrt(np.average(spread, axis=0, weights=weights)))


def test_of_many_networks_the_features_are_made_part_by_part(seen, monkeypatch):
    features, codes, data = seen
    costs = 10 ** np.random.default_rng(0).uniform(4, 6, (40, 2))
    whole = Seen(rows=features.rows(codes, costs), means=data.means, counts=data.counts)
    at_once = (
        *Model(features, SCALES, whole).settled(whole),
        *averaged(features, whole, SeedNoise(4.0, 9), SCALES),
    )
    monkeypatch.setattr(surrogate, "PART", 7)
    monkeypatch.setattr(averaging, "PART", 7)
    monkeypatch.setattr(averaging, "_AT_A_TIME", 3)
    parts = Seen(
        rows=FeatureRows(features=features, codes=codes, costs=costs),
        means=data.means,
        counts=data.counts,
    )
    assert max(len(parts.rows[part]) for part in parts.parts()) == 7
    by_parts = (
        *Model(features, SCALES, parts).settled(parts),
        *averaged(features, parts, SeedNoise(4.0, 9), SCALES),
    )
    np.testing.assert_allclose(by_parts, at_once)
