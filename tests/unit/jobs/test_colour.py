import numpy as np
import pytest

from jobs.colour import UNKNOWN, colourise


def lightness(image):
    return image.astype(float) @ (0.2126, 0.7152, 0.0722)


def test_brighter_is_nearer_at_every_step():
    ramp = np.linspace(3, 9, 256)[None]
    image = colourise(ramp)
    assert image.shape == (1, 256, 3)
    assert image.dtype == np.uint8
    light = lightness(image)[0]
    assert (np.diff(light) > -1).all()
    assert light[0] < 5 and light[-1] > 230


def test_colours_are_inferno():
    colormaps = pytest.importorskip("matplotlib").colormaps
    # 1 % of the pixels on either side are cut off: put them there
    ramp = np.linspace(0, 1, 256)
    values = np.concatenate([np.zeros(20), ramp, np.ones(20)])
    image = colourise(values[None])[0, 20:-20]
    expected = np.array(colormaps["inferno"].colors) * 255
    assert np.abs(image - expected).max() < 8


def test_scale_and_shift_change_nothing():
    values = np.random.default_rng(0).random((20, 30)).astype(np.float32)
    assert np.abs(colourise(values).astype(int) - colourise(values * 7 - 3)).max() <= 1


def test_unknown_values_are_grey_and_do_not_colour_others():
    values = np.random.default_rng(0).random((20, 30))
    holes = values.copy()
    holes[0] = (np.nan, np.inf, -np.inf) * 10
    image = colourise(holes)
    assert (image[0] == UNKNOWN).all()
    assert (image[1:] == colourise(values[1:])).all()


def test_a_few_stray_pixels_do_not_darken_the_rest():
    values = np.tile(np.linspace(0, 1, 100), (50, 1))
    stray = values.copy()
    stray[0, :20] = 1e6
    difference = np.abs(colourise(values)[1:].astype(int) - colourise(stray)[1:])
    assert np.median(difference) <= 2


@pytest.mark.parametrize("value", [0.0, 5.0, np.nan])
def test_flat_maps_have_one_colour(value):
    image = colourise(np.full((4, 5), value, np.float32))
    assert len(np.unique(image.reshape(-1, 3), axis=0)) == 1
    assert ((image == UNKNOWN).all()) == np.isnan(value)


def test_argument_is_left_alone():
    values = np.array([[1.0, np.nan, 3.0]])
    colourise(values)
    np.testing.assert_array_equal(values, [[1.0, np.nan, 3.0]])
