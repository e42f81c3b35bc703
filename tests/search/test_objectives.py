"""Laws of fronts and volumes: each against a slow definition that is plainly right."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from blocksearch.search.objectives import Boxes, Frame, dominated, front, hypervolume, ranks

COARSE = st.integers(0, 4).map(float)  # few values: many ties and equal points


@st.composite
def some_points(draw, least=0):
    shape = (draw(st.integers(least, 12)), draw(st.integers(2, 4)))
    return draw(arrays(float, shape, elements=COARSE))


@st.composite
def scaled_points(draw):
    """Points of the unit cube and somewhat beyond."""
    shape = (draw(st.integers(0, 7)), draw(st.integers(2, 4)))
    return draw(arrays(float, shape, elements=st.integers(-2, 12).map(lambda n: n / 10)))


def beats(one, other):
    """Accuracy, first, is to be large, costs small."""
    better = [one[0] > other[0], *(a < b for a, b in zip(one[1:], other[1:], strict=True))]
    as_good = [one[0] >= other[0], *(a <= b for a, b in zip(one[1:], other[1:], strict=True))]
    return all(as_good) and any(better)


@given(some_points())
def test_dominated_is_its_definition(points):
    assert dominated(points).tolist() == [
        any(beats(other, own) for other in points) for own in points
    ]


def test_dominated_of_many_points_is_that_of_the_front_alone():
    points = np.random.default_rng(0).normal(size=(3000, 2)).round(1)
    beaten = dominated(points)
    best = points[~beaten]
    assert [any(beats(other, own) for other in best) for own in points] == beaten.tolist()


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinite_values_are_compared_like_others(value):
    points = np.array([[value, 1.0], [value, 2.0], [1.0, 1.0]])
    assert dominated(points).tolist() == [
        any(beats(other, own) for other in points) for own in points
    ]


@given(some_points())
def test_a_front_has_each_undominated_row_once_cheapest_first(points):
    """Equal points are all there: nothing beats any of them."""
    found = front(points)
    assert sorted(found) == np.flatnonzero(~dominated(points)).tolist()
    assert [tuple(points[row, 1:]) for row in found] == sorted(
        tuple(points[row, 1:]) for row in found
    )


@given(some_points())
def test_a_rank_is_one_more_than_the_worst_that_beats_it(points):
    found = ranks(points)
    for own, rank in zip(points, found, strict=True):
        above = [other for point, other in zip(points, found, strict=True) if beats(point, own)]
        assert rank == max(above, default=-1) + 1


def by_inclusion_and_exclusion(scaled):
    """Volume of a union of boxes, term by term."""
    boxes = [np.array([own[0], *(1 - own[1:])]) for own in scaled]
    boxes = [box for box in boxes if (box > 0).all()]
    terms = (
        ((-1) ** (n + 1), chosen)
        for n in range(1, len(boxes) + 1)
        for chosen in combinations(boxes, n)
    )
    return sum(sign * np.min(chosen, axis=0).prod() for sign, chosen in terms)


@given(scaled_points())
def test_hypervolume_is_inclusion_and_exclusion(scaled):
    assert hypervolume(scaled) == pytest.approx(by_inclusion_and_exclusion(scaled), abs=1e-12)


@pytest.mark.parametrize("axes", [2, 3, 4])
def test_hypervolume_is_what_random_points_hit(axes):
    rng = np.random.default_rng(axes)
    scaled = rng.random((40, axes))
    darts = rng.random((200_000, axes))
    hit = np.zeros(len(darts), bool)
    for own in scaled:
        hit |= (darts[:, 0] <= own[0]) & (darts[:, 1:] >= own[1:]).all(1)
    assert hypervolume(scaled) == pytest.approx(hit.mean(), abs=0.005)


@given(scaled_points())
def test_what_is_dominated_adds_no_volume_and_nothing_takes_any_away(scaled):
    whole = hypervolume(scaled)
    assert hypervolume(scaled[~dominated(scaled)]) == pytest.approx(whole)
    assert all(
        hypervolume(np.delete(scaled, row, 0)) <= whole + 1e-12 for row in range(len(scaled))
    )


def test_a_frame_puts_chance_and_the_largest_at_the_reference_and_the_best_at_the_corner():
    frame = Frame(chance=10.0, least=(100.0, 10.0), largest=(10_000.0, 1_000.0))
    scaled = frame.scaled(
        np.array([[10.0, 10_000.0, 1_000.0], [100.0, 100.0, 10.0], [55.0, 1_000.0, 100.0]])
    )
    assert scaled == pytest.approx(np.array([[0, 1, 1], [1, 0, 0], [0.5, 0.5, 0.5]]))
    assert frame.volume(np.array([[100.0, 100.0, 10.0]])) == pytest.approx(1)
    assert frame.volume(np.array([[55.0, 1_000.0, 100.0]])) == pytest.approx(1 / 8)
    assert (
        frame.volume(np.array([[10.0, 100.0, 10.0], [100.0, 10_000.0, 10.0]])) == 0
    )  # no better than chance, or the largest
    assert frame.volume(np.zeros((0, 3))) == 0
    flat = Frame(
        chance=10.0, least=(1_000.0,), largest=(1_000.0,)
    )  # all networks cost the same: tenfold is the unit
    assert [flat.volume(np.array([[55.0, cost]])) for cost in (1_000.0, 100.0)] == pytest.approx(
        [0.5, 1.0]
    )


@given(
    scaled_points(), arrays(float, (5, 3), elements=st.integers(-1, 9).map(lambda n: n / 10 + 0.05))
)
def test_boxes_know_the_best_accuracy_at_no_more_than_a_cost(scaled, asked):
    asked = asked[:, : scaled.shape[1] - 1]
    found = Boxes.around(scaled).reached(asked)
    for own, best in zip(asked, found, strict=True):
        assert best == max(
            [0.0, *(float(point[0]) for point in scaled if (point[1:] <= own).all())]
        )


@pytest.mark.parametrize("axes", [2, 3])
def test_the_expected_gain_by_boxes_is_that_of_integration(axes):
    """The gain of hypervolume of a point whose accuracy is normal, by boxes and by adding up over
    accuracies.
    """
    rng = np.random.default_rng(axes)
    scaled = rng.random((8, axes))
    cost, mean, deviation = np.full(axes - 1, 0.3), 0.6, 0.15
    grid = np.linspace(mean - 8 * deviation, mean + 8 * deviation, 4001)
    density = np.exp(-0.5 * ((grid - mean) / deviation) ** 2) / (deviation * np.sqrt(2 * np.pi))
    gains = [
        hypervolume(np.vstack([scaled, [accuracy, *cost]])) - hypervolume(scaled)
        for accuracy in grid
    ]
    expected = float(np.trapezoid(np.array(gains) * density, grid))

    boxes = Boxes.around(scaled)
    surplus = [
        float(np.trapezoid(np.maximum(grid - best, 0) * density, grid)) for best in boxes.best
    ]
    assert float(boxes.weights(cost[None])[0] @ surplus) == pytest.approx(expected, rel=1e-3)
