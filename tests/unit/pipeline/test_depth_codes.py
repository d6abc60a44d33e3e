import io

import numpy as np
import pytest
from PIL import Image

from pipeline.depth_codes import depth_png, to_codes


@pytest.mark.parametrize(
    "geometry", ["depth_metric", "disparity_metric", "disparity_affine_invariant"]
)
@pytest.mark.parametrize(
    "low_high", [(0.5, 80.0), (-3.0, 4.0), (10.0, 1e6), (2.0, 2.0), (0.0, 0.0)]
)
def test_codes_are_within_half_a_step(geometry, low_high):
    values = np.random.default_rng(0).uniform(*low_high, (20, 30)).astype(np.float32)
    values[3, 4] = np.nan
    codes = to_codes(values, geometry=geometry)
    assert codes.codes_HW.dtype == np.uint16
    assert ((codes.codes_HW == 0) == np.isnan(values)).all()
    decoded = codes.offset + codes.scale * codes.codes_HW
    if geometry == "depth_metric" and low_high == (0, 0):
        assert (codes.codes_HW[0] == 1).all()  # 0 is taken: the nearest depth is one step
    else:
        assert np.nanmax(np.abs(decoded - values)[np.isfinite(values)]) <= codes.scale / 2 * 1.01


def test_metric_depth_is_stored_as_kitti_does():
    codes = to_codes(np.array([[1.0, 80.0, 255.0]], np.float32), geometry="depth_metric")
    assert codes.codes_HW.tolist() == [[256, 20480, 65280]]
    assert (codes.scale, codes.offset) == (1 / 256, 0.0)


def test_a_map_without_values_is_all_zero():
    codes = to_codes(np.full((2, 2), np.nan, np.float32), geometry="disparity_metric")
    assert not codes.codes_HW.any()


def test_a_file_says_what_its_codes_mean():
    values = np.linspace(0.2, 7, 12, dtype=np.float32).reshape(3, 4)
    codes = to_codes(values, geometry="disparity_metric")
    data = depth_png(codes, geometry="disparity_metric", more={"sample_id": "a"})
    with Image.open(io.BytesIO(data)) as image:
        read_HW, text = np.asarray(image), image.text
    assert read_HW.dtype == np.uint16
    decoded = float(text["offset"]) + float(text["scale"]) * read_HW
    assert np.abs(decoded - values).max() <= float(text["scale"]) / 2 * 1.01
    assert (text["geometry"], text["sample_id"]) == ("disparity_metric", "a")
    assert text["formula"] == "value = offset + scale * code; code 0 is no value"
