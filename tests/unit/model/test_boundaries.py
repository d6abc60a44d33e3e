import numpy as np
import pytest

from model.boundaries import boundary_f1


def boxes(seed=0, size=(14, 17), count=5):
    """Depth of rectangles before one another: steps of many heights, in all directions."""
    rng = np.random.default_rng(seed)
    depth = np.full(size, 10.0)
    for _ in range(count):
        top, left = rng.integers(0, size[0] - 3), rng.integers(0, size[1] - 3)
        height, width = rng.integers(2, 8, 2)
        depth[top : top + height, left : left + width] *= rng.uniform(0.75, 0.97)
    return depth


def noisy(depth, seed=1, amount=0.05):
    return depth * np.exp(np.random.default_rng(seed).normal(0, amount, depth.shape))


def f1_by_loops(prediction, truth):
    """Every pair of neighbours, every threshold, written out; directions by name."""
    thresholds = [1.05 + 0.2 * step / 9 for step in range(10)]
    height, width = truth.shape
    total = 0.0
    for threshold in thresholds:
        precision = recall = 0.0
        for down, right in ((0, 1), (0, -1), (1, 0), (-1, 0)):
            common = said = is_so = 0
            for row in range(height):
                for column in range(width):
                    i, j = row + down, column + right
                    if not (0 <= i < height and 0 <= j < width):
                        continue
                    here = (prediction[row, column], truth[row, column])
                    there = (prediction[i, j], truth[i, j])
                    if not np.isfinite([*here, *there]).all():
                        continue
                    p, t = there[0] / here[0] > threshold, there[1] / here[1] > threshold
                    said, is_so, common = said + p, is_so + t, common + (p and t)
            precision += common / max(said, 1) / 4
            recall += common / max(is_so, 1) / 4
        if precision + recall:
            total += threshold * 2 * precision * recall / (precision + recall)
    return total / sum(thresholds)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("holes", [0.0, 0.2])
def test_is_the_loop_over_all_neighbours(seed, holes):
    truth = boxes(seed)
    prediction = noisy(truth, seed + 10)
    rng = np.random.default_rng(seed)
    truth[rng.random(truth.shape) < holes] = np.nan
    prediction[rng.random(truth.shape) < holes / 2] = np.nan
    found = boundary_f1(prediction, truth)
    assert 0 < found < 1
    assert found == pytest.approx(f1_by_loops(prediction, truth), rel=1e-9)


def test_a_box_found_exactly_is_one_and_one_not_seen_is_zero():
    truth = np.full((9, 9), 8.0)
    truth[3:6, 3:6] = 2.0
    assert boundary_f1(truth, truth) == pytest.approx(1)
    assert boundary_f1(np.full_like(truth, 8.0), truth) == 0
    assert boundary_f1(1 / truth, truth) == 0, "behind is not before"


def test_a_box_one_pixel_beside_itself_by_hand():
    """Shifted one to the right, 3 x 3: the vertical edges miss, two thirds of the others meet."""
    truth, shifted = np.full((9, 9), 8.0), np.full((9, 9), 8.0)
    truth[3:6, 3:6] = shifted[3:6, 4:7] = 2.0
    assert boundary_f1(shifted, truth) == pytest.approx((0 + 0 + 2 / 3 + 2 / 3) / 4)


@pytest.mark.parametrize("factor", [1e-3, 400.0])
def test_a_factor_on_either_changes_nothing(factor):
    truth = boxes(2)
    prediction = noisy(truth)
    plain = boundary_f1(prediction, truth)
    assert boundary_f1(factor * prediction, truth) == pytest.approx(plain)
    assert boundary_f1(prediction, factor * truth) == pytest.approx(plain)


def test_depth_and_disparity_are_the_same():
    truth = boxes(3)
    prediction = noisy(truth)
    assert boundary_f1(1 / prediction, 1 / truth) == pytest.approx(boundary_f1(prediction, truth))


def test_blur_costs():
    truth = np.full((20, 20), 9.0)
    truth[6:14, 6:14] = 5.0
    blurred = truth.copy()
    for axis in (0, 1):
        blurred = (blurred + np.roll(blurred, 1, axis) + np.roll(blurred, -1, axis)) / 3
    assert boundary_f1(blurred, truth) < 0.9 < boundary_f1(truth, truth)


def test_truth_without_a_boundary_has_no_score():
    slope = np.linspace(5, 6, 20)[None].repeat(8, axis=0)
    assert boundary_f1(noisy(slope), slope) is None
    alone = np.full((4, 4), np.nan)
    alone[::2, ::2] = 3.0
    assert boundary_f1(np.ones((4, 4)), alone) is None


def test_pixels_without_a_value_take_no_part():
    truth = boxes(1)
    prediction = noisy(truth)
    wider_truth = np.pad(truth, 2, constant_values=np.nan)
    wider = np.pad(prediction, 2, constant_values=0.001)
    assert boundary_f1(wider, wider_truth) == pytest.approx(boundary_f1(prediction, truth))


def test_other_input_is_refused():
    with pytest.raises(ValueError, match="H x W"):
        boundary_f1(np.ones((3, 3)), np.ones((3, 4)))
    with pytest.raises(ValueError, match="H x W"):
        boundary_f1(np.ones(9), np.ones(9))
    with pytest.raises(ValueError, match="above 0"):
        boundary_f1(np.zeros((3, 3)), np.ones((3, 3)))
