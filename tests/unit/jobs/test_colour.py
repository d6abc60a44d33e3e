import numpy as np
import pytest

from jobs.colour import TOO_FAR, TOO_NEAR, UNKNOWN, colourise, colourise_error


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


def test_given_limits_take_the_place_of_the_maps_own():
    values = np.linspace(0, 1, 256)[None]
    narrow = colourise(values, limits=(0.25, 0.75))
    assert (narrow[0, :64] == narrow[0, 0]).all() and (narrow[0, 192:] == narrow[0, -1]).all()
    middle = colourise(np.array([[0.0, 0.5, 1.0]]), limits=(0.25, 0.75))[0, 1]
    assert (middle == colourise(np.zeros((1, 1)))[0, 0]).all(), "as a map of one value"


def test_errors_are_white_at_nothing_and_full_at_the_limit():
    image = colourise_error(np.array([[-9.0, -0.5, 0.0, 0.5, 9.0, np.nan]]), limit=0.5)
    far, blue, white, red, near, unknown = map(tuple, image[0].tolist())
    assert (far, near) == (blue, red) == (TOO_FAR, TOO_NEAR)
    assert white == (255, 255, 255) and unknown == UNKNOWN


def test_larger_errors_are_darker_on_both_sides():
    ramp = lightness(colourise_error(np.linspace(-1, 1, 101)[None], limit=1.0))[0]
    assert (np.diff(ramp[:51]) > 0).all() and (np.diff(ramp[50:]) < 0).all()
