"""Shadows against trying every ray on every solid, and against shadows known by hand."""

import numpy as np
import pytest

from pipeline.worlds.lights import Light, shadowed
from pipeline.worlds.raycast import Shape, Solid, blocked
from pipeline.worlds.stage import any_turn
from pipeline.worlds.textures import Material

PAINT = Material("plain", np.full((2, 3), 0.5, np.float32), 1.0)
WHITE = np.ones(3, np.float32)
SUN = Light(np.array([0.48, 0.6, 0.64]), WHITE)
LAMP = Light(np.array([0.3, -0.2, 4.0]), WHITE, half_m=2.0)


def solid(shape, centre, half, turn=None) -> Solid:
    turn = np.eye(3) if turn is None else turn
    return Solid(shape, np.array(centre, float), np.array(half, float), turn, PAINT)


def floor(side=5.0, n=61) -> np.ndarray:
    x, y = np.meshgrid(np.linspace(-side, side, n), np.linspace(-side, side, n))
    return np.stack([x.ravel(), y.ravel(), np.zeros(n * n)]).astype(np.float32)


@pytest.mark.parametrize("light", [SUN, LAMP])
def test_no_shadow_is_lost_to_the_short_cuts(light):
    rng = np.random.default_rng(2)
    shapes = (Shape.BOX, Shape.BALL, Shape.TUBE, Shape.CONE)
    things = [
        solid(shape, rng.uniform([-4, -4, 0.3], [4, 4, 2]), rng.uniform(0.1, 0.8, 3), any_turn(rng))
        for shape in shapes * 3
    ]
    points = floor()
    facing = rng.random(points.shape[1]) < 0.8
    expected = np.zeros(points.shape[1], bool)
    towards, reach = light.towards(points)
    towards = np.broadcast_to(towards, points.shape)
    for thing in things:
        expected |= blocked(thing, points, towards, reach=reach)
    found = shadowed(light, things, points, facing)
    np.testing.assert_array_equal(found, expected & facing)
    assert 0.02 < found.mean() < 0.9


def test_the_sun_throws_an_outline_moved_by_its_slant():
    """A ball's shadow on the floor is the disc of its radius across the rays."""
    radius, height = 1.0, 2.0
    sun = Light(np.array([0.6, 0.0, 0.8]), WHITE)
    ball = solid(Shape.BALL, (0, 0, height), [radius] * 3)
    points = floor()
    dark = shadowed(sun, [ball], points, np.ones(points.shape[1], bool))
    along = (points[0] + height * 0.6 / 0.8) * 0.8  # distance from the ray through the centre
    away = np.hypot(along, points[1])
    clear = np.abs(away - radius) > 1e-4
    np.testing.assert_array_equal(dark[clear], (away < radius)[clear])


def test_a_lamp_throws_a_larger_outline():
    """A plate halfway up doubles in size."""
    lamp = Light(np.array([0.0, 0.0, 4.0]), WHITE, half_m=2.0)
    plate = solid(Shape.BOX, (0, 0, 2), (1, 0.5, 1e-4))
    points = floor()
    dark = shadowed(lamp, [plate], points, np.ones(points.shape[1], bool))
    clear = (np.abs(np.abs(points[0]) - 2) > 0.01) & (np.abs(np.abs(points[1]) - 1) > 0.01)
    expected = (np.abs(points[0]) < 2) & (np.abs(points[1]) < 1)
    np.testing.assert_array_equal(dark[clear], expected[clear])


def test_what_lies_beyond_the_lamp_throws_no_shadow():
    lamp = Light(np.array([0.0, 0.0, 2.0]), WHITE, half_m=2.0)
    above = solid(Shape.BOX, (0, 0, 3), (5, 5, 0.1))
    points = floor()
    assert not shadowed(lamp, [above], points, np.ones(points.shape[1], bool)).any()


def test_nothing_to_throw_or_to_take_a_shadow():
    points = floor(n=5)
    ball = solid(Shape.BALL, (0, 0, 1), (1, 1, 1))
    assert not shadowed(SUN, [], points, np.ones(25, bool)).any()
    assert not shadowed(SUN, [ball], points, np.zeros(25, bool)).any()


def test_a_lamp_fades_and_the_sun_does_not():
    points = np.array([[0.3, 0.3], [-0.2, -0.2], [4.0 - 1e-3, 2.0]], np.float32)
    direction, power = LAMP.arriving(points)
    np.testing.assert_allclose(direction[:, 1], [0, 0, 1], atol=1e-6)
    np.testing.assert_allclose(power[0], [1, 0.5], rtol=1e-5)  # half at half_m
    assert (SUN.arriving(points)[1] == 1).all()
