import numpy as np
import pytest

from model.pairs import PAIR_METRICS, Pair, answers, at_points, pair_accuracy, shuffled, whdr


def as_da_2k(count, seed=0):
    """Pairs whose first point is noted as the nearer one, every time."""
    points = np.random.default_rng(seed).integers(0, 40, (count, 4))
    return [(*(int(value) for value in point), 1) for point in points]


def whdr_by_hand(given, noted, weights):
    wrong = total = 0.0
    for said, is_so, weight in zip(given, noted, weights, strict=True):
        total += weight
        if said != is_so:
            wrong += weight
    return wrong / total


def test_always_the_first_scores_about_one_half():
    """Not 1, as it would in the order in which DA-2K notes them."""
    noted = [
        pair.closer
        for image in range(500)
        for pair in shuffled(as_da_2k(2, seed=image), sample_id=f"image-{image}")
    ]
    accuracy = pair_accuracy(np.ones(1000, int), noted)
    assert abs(accuracy - 0.5) < 4 * 0.5 / np.sqrt(1000)
    assert abs(np.mean(np.array(noted[::2]) == np.array(noted[1::2])) - 0.5) < 0.1


def test_the_order_depends_on_the_image_and_the_number_alone():
    pairs = as_da_2k(64)
    assert shuffled(pairs, sample_id="a") == shuffled(iter(pairs), sample_id="a")
    assert shuffled(pairs, sample_id="a") != shuffled(pairs, sample_id="b")
    assert shuffled(pairs, sample_id="a")[:10] == shuffled(pairs[:10], sample_id="a")


def test_a_swapped_pair_says_the_same_of_the_image():
    disparity_HW = np.random.default_rng(3).random((40, 40))
    pairs = [Pair(*pair) for pair in as_da_2k(200)]
    pairs += [pair._replace(closer=2) for pair in pairs] + [
        pair._replace(closer=0) for pair in pairs
    ]
    in_order = shuffled(pairs, sample_id="x")
    assert {pair.closer for pair in in_order} == {0, 1, 2}

    def right(listed):
        given = answers(*at_points(disparity_HW, listed))
        return [said == pair.closer for said, pair in zip(given, listed, strict=True)]

    assert right(in_order) == right(pairs)


def test_larger_disparity_is_nearer_and_a_tie_is_wrong():
    given = answers([3.0, 1.0, 2.0, -5.0], [1.0, 3.0, 2.0, -4.0])
    assert given.tolist() == [1, 2, 0, 2]
    assert pair_accuracy(given, [1, 2, 1, 1]) == 0.5


def test_a_value_that_is_no_number_is_no_answer():
    assert answers([np.nan, 1.0], [1.0, np.nan]).tolist() == [0, 0]


def test_equality_is_a_ratio():
    first, second = [1.09, 1.0, 1.11, 1.0], [1.0, 1.09, 1.0, 1.11]
    assert answers(first, second, equality=0.1).tolist() == [0, 0, 1, 2]
    scaled = answers(np.multiply(700, first), np.multiply(700, second), equality=0.1)
    assert scaled.tolist() == [0, 0, 1, 2]
    with pytest.raises(ValueError, match="above 0"):
        answers([0.0], [1.0], equality=0.1)


@pytest.mark.parametrize("seed", range(5))
def test_whdr_is_the_loop_over_pairs(seed):
    rng = np.random.default_rng(seed)
    given, noted, weights = rng.integers(0, 3, 50), rng.integers(0, 3, 50), rng.random(50)
    expected = whdr_by_hand(given, noted, weights)
    assert whdr(given, noted, weights=weights) == pytest.approx(expected, rel=1e-12)
    assert whdr(given, noted) == pytest.approx(1 - pair_accuracy(given, noted))
    assert whdr(given, noted) == pytest.approx(whdr_by_hand(given, noted, np.ones(50)))


def test_metrics_of_pairs_refuse_what_has_no_answer():
    for metric in PAIR_METRICS.values():
        with pytest.raises(ValueError, match="at least one pair"):
            metric([], [])
        with pytest.raises(ValueError, match="answers for"):
            metric([1, 2], [1])
    for weights in ([1.0], [1.0, -1.0], [0.0, 0.0]):
        with pytest.raises(ValueError, match="weights"):
            whdr([1, 2], [1, 2], weights=weights)


@pytest.mark.parametrize("pair", [(5, 0, 0, 0, 1), (0, 0, 0, 7, 1), (-1, 0, 0, 0, 1)])
def test_a_point_outside_is_refused(pair):
    with pytest.raises(ValueError, match="outside of 5 x 7"):
        at_points(np.zeros((5, 7)), [Pair(*pair)])


def test_points_are_row_and_column():
    first, second = at_points(np.arange(12.0).reshape(3, 4), [Pair(1, 3, 2, 0, 1)])
    assert (first.tolist(), second.tolist()) == ([7.0], [8.0])
