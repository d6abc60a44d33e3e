"""The picture of what a model predicts."""

import io

import numpy as np
import pytest
from PIL import Image

from jobs.colour import UNKNOWN, colourise
from jobs.training_examples import Example
from jobs.training_previews import GAP_PIXELS, TILE_PIXELS, as_png, preview


def example(side: int, geometry: str = "depth_metric") -> Example:
    rng = np.random.default_rng(0)
    values = rng.uniform(1, 10, (side, side)).astype(np.float32)
    values[0, 0] = np.nan
    image = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
    return Example("s", image, values, geometry)


def test_a_row_has_the_image_the_truth_and_the_prediction() -> None:
    side = 28
    shown = example(side)
    truth = 1 / shown.values_HW
    picture = preview(
        lambda images: [np.nan_to_num(truth) for _ in images],
        [shown, shown],
        geometry="disparity_affine_invariant",
    )
    step = side + GAP_PIXELS
    assert picture.shape == (side + step, side + 2 * step, 3)
    for top in (0, step):
        tiles = [picture[top : top + side, left : left + side] for left in (0, step, 2 * step)]
        np.testing.assert_array_equal(tiles[0], shown.image_HWC)
        np.testing.assert_array_equal(tiles[1], colourise(truth))
        assert tuple(tiles[1][0, 0]) == UNKNOWN
        np.testing.assert_array_equal(tiles[2], colourise(np.nan_to_num(truth)))
    assert (picture[side:step] == 255).all(), "white between them"


def test_depth_is_shown_as_disparity() -> None:
    shown = example(28)
    depth = np.nan_to_num(shown.values_HW, nan=5.0)
    picture = preview(lambda images: [depth], [shown], geometry="depth_metric")
    np.testing.assert_array_equal(picture[:, -28:], colourise(1 / depth))


@pytest.mark.parametrize("side", [TILE_PIXELS, 518])
def test_large_images_are_shown_smaller(side: int) -> None:
    shown = example(side)
    picture = preview(lambda images: [shown.values_HW], [shown], geometry="depth_metric")
    assert picture.shape == (TILE_PIXELS, 3 * TILE_PIXELS + 2 * GAP_PIXELS, 3)
    with Image.open(io.BytesIO(as_png(picture))) as read:
        np.testing.assert_array_equal(np.asarray(read), picture)
