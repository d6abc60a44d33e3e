"""A picture of a described scene: light where it should be, and depth that no light touches."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.worlds.film import Film
from pipeline.worlds.lights import Light
from pipeline.worlds.rendering import Scene, Sky, View, render
from pipeline.worlds.stage import BALL, BOX, Stage
from pipeline.worlds.textures import Material

GREY = Material("plain", np.full((2, 3), 0.5, np.float32), 1.0, grain=0.0)
FILM = Film(stops=0.0, tint=np.ones(3, np.float32), vignette=0.0, blur=0.0, noise=0.0, quality=90)
SKY = Sky(np.array([0.2, 0.4, 0.9], np.float32), np.full(3, 0.7, np.float32), cloud=0.0, salt=0)
SUN = Light(np.array([0.6, 0.0, 0.8]), np.ones(3, np.float32))
DIM = np.full((2, 3), 0.1, np.float32)


def scene(*, ball=True, **changes) -> Scene:
    """A ball over a plane, the sun to the right."""
    stage = Stage(np.random.default_rng(0))
    stage.ground(GREY)
    if ball:
        stage.spot(0, 6, 0.5).put(BALL, (2, 2, 2), GREY)
    view = View(np.array([0, 0, 1.5]), yaw=0.0, pitch=0.0, roll=0.0, fov=1.0)
    plain = Scene(tuple(stage.solids), view, SUN, DIM, FILM, sky=SKY)
    return replace(plain, **changes)


def picture(described, *, width=96, height=72, seed=0):
    return render(described, width=width, height=height, rng=np.random.default_rng(seed))


def test_sky_has_no_depth_and_all_else_has():
    made = picture(scene())
    assert made.rgb_HW3.shape == (72, 96, 3)
    assert made.rgb_HW3.dtype == np.uint8
    assert made.depth_HW.dtype == np.float32
    np.testing.assert_array_equal(np.isnan(made.depth_HW), made.sky_HW)
    assert made.sky_HW[:20, :20].all()  # above the horizon, beside the ball
    assert not made.sky_HW[40:].any()
    assert (made.depth_HW[~made.sky_HW] > 0).all()


def test_depth_is_that_of_the_ball_and_the_plane():
    made = picture(scene(), width=97, height=73)
    assert made.depth_HW[36, 48] == pytest.approx(5, rel=1e-5)  # six metres less its radius
    focal = 97 / 2 / np.tan(0.5)
    assert made.depth_HW[72, 0] == pytest.approx(1.5 * focal / 36, rel=1e-5)


def test_light_and_film_leave_the_depth_alone():
    one = picture(scene())
    other = picture(
        scene(
            light=Light(np.array([0, 3, 4.0]), np.ones(3, np.float32), half_m=3.0),
            film=replace(FILM, noise=0.05, blur=1.0, stops=1.0),
            haze_per_m=0.05,
        ),
        seed=5,
    )
    np.testing.assert_array_equal(one.depth_HW, other.depth_HW)
    assert (one.rgb_HW3 != other.rgb_HW3).any()


def test_the_lit_side_is_bright_and_the_shadow_falls_away_from_the_sun():
    made = picture(scene())
    green = made.rgb_HW3[..., 1].astype(int)
    assert green[34, 60] - green[34, 36] > 30
    with_ball, without = green, picture(scene(ball=False)).rgb_HW3[..., 1].astype(int)
    change = (with_ball - without)[55:]  # on the ground
    assert change[:, :48].min() < change[:, 60:].min() - 20


def linear(bytes_) -> np.ndarray:
    """Light up to one factor of the picture, the tone curve undone."""
    return -np.log(1 - (bytes_ / 255) ** 2.2)


def test_surfaces_reflect_by_the_cosine_to_the_sun():
    stage = Stage(np.random.default_rng(0))
    stage.ground(GREY)
    stage.spot(0, 6).put(BOX, (2, 2, 3), GREY)
    sun = Light(np.array([0.0, -0.6, 0.8]), np.ones(3, np.float32))
    dark = np.zeros((2, 3), np.float32)
    made = picture(scene(solids=tuple(stage.solids), light=sun, ambient=dark))
    face, ground = linear(made.rgb_HW3[36, 48]), linear(made.rgb_HW3[66, 10])
    np.testing.assert_allclose(face / ground, 0.6 / 0.8, rtol=0.03)


def test_haze_hides_the_distance_and_not_the_foreground():
    clear, hazy = picture(scene(ball=False)), picture(scene(ball=False, haze_per_m=0.2))
    change = np.abs(clear.rgb_HW3.astype(int) - hazy.rgb_HW3).sum(axis=2)
    sky_rows = clear.sky_HW.all(axis=1).sum()
    assert change[sky_rows + 2].mean() > change[-1].mean()


def test_glow_shines_without_light():
    lamp = Material("plain", np.ones((2, 3), np.float32), 1.0, grain=0.0, glow=2.0)
    stage = Stage(np.random.default_rng(0))
    stage.shell((6, 6, 3), GREY)
    stage.spot(0, 2, 1).put(BOX, (1, 1, 1), lamp)
    view = View(np.array([0, -2.5, 1.5]), yaw=0.0, pitch=0.0, roll=0.0, fov=1.2)
    night = Light(np.array([0, 0, 2.9]), np.zeros(3, np.float32), half_m=1.0)
    made = picture(Scene(tuple(stage.solids), view, night, DIM * np.float32(0.1), FILM))
    assert not made.sky_HW.any()
    assert made.rgb_HW3[36, 48].min() > 200 > 100 > made.rgb_HW3[36, 5].max()


def test_only_sky():
    up = replace(scene().view, pitch=1.5)
    made = picture(scene(view=up))
    assert made.sky_HW.all()
    assert np.isnan(made.depth_HW).all()
    assert made.rgb_HW3.std() > 0


def test_size_changes_the_sampling_and_not_the_world():
    small, large = picture(scene()), picture(scene(), width=288, height=216)
    middle = large.depth_HW[1::3, 1::3]  # the same rays
    np.testing.assert_allclose(small.depth_HW, middle, rtol=1e-4)
