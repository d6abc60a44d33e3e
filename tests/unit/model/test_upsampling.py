import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs import config
from model.upsampling import UPSAMPLINGS, upsample

torch.set_num_threads(1)


def ramp(height, width):
    """Linear in both directions, at pixel centres."""
    return np.add.outer(3.0 * np.arange(height), np.arange(width)).astype(np.float32)


def noise(*shape):
    return np.random.default_rng(0).random(shape)


def test_the_options_of_the_command_line_are_these():
    assert config.UPSAMPLINGS == UPSAMPLINGS


@pytest.mark.parametrize("how", UPSAMPLINGS)
def test_the_same_size_is_the_same_map(how):
    values = noise(7, 9)
    assert upsample(values, (7, 9), how) is values


@pytest.mark.parametrize(
    ("how", "flag"), [("bilinear", cv2.INTER_LINEAR), ("bicubic", cv2.INTER_CUBIC)]
)
@pytest.mark.parametrize("size", [(31, 17), (5, 40), (4, 4)])
def test_pixel_centres_are_those_of_opencv(how, flag, size):
    values = noise(11, 13)
    expected = cv2.resize(values, size[::-1], interpolation=flag)
    # OpenCV counts places in float32
    np.testing.assert_allclose(upsample(values, size, how), expected, atol=2e-6)


@settings(max_examples=30, deadline=None)
@given(st.tuples(st.integers(2, 40), st.integers(2, 40)))
def test_aligned_corners_keep_the_corners_and_every_line(size):
    """A linear map stays linear from corner to corner: value = closed form at every pixel."""
    rows, columns = np.linspace(0, 3 * 5, size[0]), np.linspace(0, 8, size[1])
    np.testing.assert_allclose(
        upsample(ramp(6, 9), size, "bilinear_corners"), np.add.outer(rows, columns), atol=1e-4
    )


def test_pixel_centres_lie_at_halves():
    """Twice as large: values at -1/4, 1/4, 3/4 … of the old pixels, held at the border."""
    values = upsample(np.array([[0.0, 1.0, 2.0]] * 2), (2, 6), "bilinear")
    np.testing.assert_allclose(values[0], [0, 0.25, 0.75, 1.25, 1.75, 2])


def test_only_cubic_leaves_the_range_of_the_values():
    step = np.zeros((8, 8))
    step[:, 4:] = 1
    for how in ("bilinear", "bilinear_corners"):
        values = upsample(step, (30, 30), how)
        assert values.min() == 0 and values.max() == 1
    assert upsample(step, (30, 30), "bicubic").min() < -0.01


@pytest.mark.parametrize("how", UPSAMPLINGS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_arrays_and_tensors_alone_and_in_batches_agree(how, dtype):
    maps = noise(3, 6, 5).astype(dtype)
    maps.flags.writeable = False
    together = upsample(maps, (9, 14), how)
    assert together.dtype == dtype and together.shape == (3, 9, 14)
    for one, expected in zip(maps, together, strict=True):
        np.testing.assert_array_equal(upsample(one, (9, 14), how), expected)
    tensor = upsample(torch.tensor(maps), (9, 14), how)
    np.testing.assert_array_equal(tensor.numpy(), together)


@pytest.mark.parametrize(
    ("shape", "how", "message"),
    [
        ((3, 3), "nearest", "one of bilinear, bilinear_corners, bicubic"),
        ((2, 1, 3, 3), "bicubic", "H x W"),
    ],
)
def test_anything_else_is_refused(shape, how, message):
    with pytest.raises(ValueError, match=message):
        upsample(np.zeros(shape), (4, 4), how)
