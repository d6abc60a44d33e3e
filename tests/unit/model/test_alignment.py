import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.alignment import Affine, align_affine, align_scale_median

ALL = np.ones(50, bool)


def noisy(seed=0, size=50):
    rng = np.random.default_rng(seed)
    prediction = rng.normal(3, 2, size)
    return prediction, 0.7 * prediction - 1.3 + rng.normal(0, 0.5, size), rng.random(size) < 0.6


@pytest.mark.parametrize("seed", range(10))
def test_is_the_least_squares_solution_of_numpy(seed):
    prediction, target, mask = noisy(seed)
    design = np.stack([prediction[mask], np.ones(mask.sum())], axis=1)
    expected = np.linalg.lstsq(design, target[mask], rcond=None)[0]
    np.testing.assert_allclose(align_affine(prediction, target, mask), expected, rtol=1e-9)


def test_finds_scale_and_shift_exactly():
    prediction = np.arange(12, dtype=np.float32).reshape(3, 4)
    found = align_affine(prediction, prediction * 2.5 - 7, np.ones((3, 4), bool))
    np.testing.assert_allclose(found, (2.5, -7), rtol=1e-12)
    np.testing.assert_allclose(found(prediction), prediction * 2.5 - 7, rtol=1e-12)


@given(scale=st.floats(0.01, 100), shift=st.floats(-100, 100), seed=st.integers(0, 100))
def test_an_affine_change_of_the_prediction_changes_nothing_after_alignment(scale, shift, seed):
    prediction, target, mask = noisy(seed)
    plain = align_affine(prediction, target, mask)(prediction)
    moved = prediction * scale + shift
    np.testing.assert_allclose(
        align_affine(moved, target, mask)(moved), plain, rtol=1e-6, atol=1e-6
    )


def test_a_large_offset_does_not_eat_the_precision():
    prediction, target, _ = noisy()
    near = align_affine(prediction, target, ALL)
    far = align_affine(prediction + 1e6, target, ALL)
    assert far.scale == pytest.approx(near.scale, rel=1e-8)


def test_masked_pixels_may_hold_anything():
    prediction, target, mask = noisy()
    expected = align_affine(prediction[mask], target[mask], ALL[: mask.sum()])
    prediction[~mask], target[~mask] = np.nan, np.inf
    np.testing.assert_allclose(align_affine(prediction, target, mask), expected, rtol=1e-12)


@pytest.mark.parametrize("constant", [0.0, 0.1, 3e8])
def test_a_constant_prediction_becomes_the_mean_of_the_truth(constant):
    _, target, _ = noisy()
    found = align_affine(np.full(50, constant), target, ALL)
    assert found == Affine(0.0, pytest.approx(target.mean()))


def test_a_single_pixel_becomes_the_truth():
    found = align_affine([4.0, 9.0], [2.0, 7.0], [True, False])
    assert found == (0.0, 2.0)


def test_an_inverted_prediction_gets_a_negative_scale():
    assert align_affine([1, 2, 3], [3, 2, 1], [True] * 3).scale == pytest.approx(-1)


def test_nothing_valid_or_not_finite_is_an_error():
    with pytest.raises(ValueError, match="without a valid pixel"):
        align_affine([1.0], [1.0], [False])
    with pytest.raises(ValueError, match="not finite"):
        align_affine([1.0, np.nan], [1.0, 2.0], [True, True])


def test_median_scale_is_the_ratio_of_medians():
    prediction = np.array([1.0, 2.0, 4.0, np.nan])
    target = np.array([30.0, 50.0, 20.0, 1.0])
    found = align_scale_median(prediction, target, [True, True, True, False])
    assert found == (15.0, 0.0)
    scaled = align_scale_median(prediction * 8, target, [True, True, True, False])
    np.testing.assert_allclose(scaled(prediction * 8)[:3], found(prediction)[:3])


@pytest.mark.parametrize("prediction", [[-3.0, -2.0, 5.0], [-3.0, 0.0, 5.0]])
def test_median_scale_needs_a_positive_prediction(prediction):
    with pytest.raises(ValueError, match="above 0, not"):
        align_scale_median(prediction, [1.0, 1.0, 1.0], [True] * 3)
