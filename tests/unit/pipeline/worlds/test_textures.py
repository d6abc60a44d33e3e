"""Patterns: what they repeat, and that far away they are the mean of what is near."""

import numpy as np
import pytest

from pipeline.worlds.textures import PATTERNS, Material, albedo, fractal

RNG = np.random.default_rng(0)
BLACK_AND_WHITE = np.array([[0, 0, 0], [1, 1, 1]], np.float32)


def grid(periods=8, n=160):
    x, y = np.meshgrid(*[np.linspace(0, periods, n, endpoint=False, dtype=np.float32)] * 2)
    return np.stack([x.ravel(), y.ravel()])


def mixed(name, uv, width, salt=3):
    n = uv.shape[1]
    return PATTERNS[name](uv, np.full(n, width, np.float32), np.full(n, salt, np.int32))


@pytest.mark.parametrize("name", PATTERNS)
def test_mix_is_between_the_two_colours(name):
    for width in (1e-4, 0.03, 0.7, 20.0):
        mix = mixed(name, RNG.normal(size=(2, 500)).astype(np.float32) * 40, width)
        assert mix.shape == (500,)
        assert -2e-3 <= mix.min() <= mix.max() <= 1.15  # the brightest veins of marble


@pytest.mark.parametrize("name", PATTERNS)
@pytest.mark.parametrize("salt", [0, 3, 500])
def test_far_away_is_the_mean_of_near(name, salt):
    near = mixed(name, grid(), 1e-3, salt).mean()
    far = mixed(name, grid(), 30.0, salt)
    assert far.std() < 0.1
    assert far.mean() == pytest.approx(near, abs=0.13)


@pytest.mark.parametrize("name", ["stripes", "checker", "weave", "dots"])
def test_regular_patterns_repeat(name):
    uv = RNG.uniform(0, 2, (2, 400)).astype(np.float32)
    moved = uv + np.array([[2], [4]], np.float32)
    np.testing.assert_allclose(mixed(name, uv, 0.01), mixed(name, moved, 0.01), atol=1e-3)


def test_a_bar_blurs_exactly_over_its_footprint():
    """Stripes of duty 0.3 seen through a footprint: the share that the footprint holds."""
    uv = RNG.uniform(0, 3, (2, 50)).astype(np.float32)
    for width in (0.1, 0.5, 1.7):
        fine = uv[0, :, None] + np.linspace(-0.5, 0.5, 4001) * width
        expected = (fine - np.floor(fine) < 0.3).mean(axis=1)
        np.testing.assert_allclose(mixed("stripes", uv, width, salt=0), expected, atol=2e-3)


def test_checkers_alternate():
    uv = np.array([[0.5, 1.5, 0.5, 1.5], [0.5, 0.5, 1.5, 1.5]], np.float32)
    np.testing.assert_allclose(mixed("checker", uv, 0.01), [0, 1, 1, 0], atol=1e-5)


def test_noise_is_continuous_and_as_coarse_as_the_pixel():
    uv = RNG.uniform(-50, 50, (2, 2000)).astype(np.float32)
    fine = np.full(2000, 1e-3, np.float32)
    step = np.abs(fractal(uv, fine) - fractal(uv + np.float32(1e-3), fine))
    assert step.max() < 0.05
    spread = [fractal(uv, np.full(2000, width, np.float32)).std() for width in (0.01, 1, 4, 30)]
    assert spread == sorted(spread, reverse=True)
    assert spread[0] > 0.15 > 0.05 > spread[-1]
    assert fractal(uv, fine).mean() == pytest.approx(0.5, abs=0.03)


def test_salt_picks_another_part_of_the_noise():
    uv, fine = grid(n=20), np.full(400, 1e-3, np.float32)
    assert np.abs(fractal(uv, fine, salt=1) - fractal(uv, fine, salt=2)).mean() > 0.05
    np.testing.assert_array_equal(fractal(uv, fine, salt=1), fractal(uv, fine, salt=1))


def test_surfaces_painted_together_look_as_if_painted_alone():
    materials = [
        Material("bricks", RNG.random((2, 3)).astype(np.float32), 0.4, grain=0.3, salt=5),
        Material("bricks", RNG.random((2, 3)).astype(np.float32), 0.4, grain=0.0, salt=9),
        Material("cloudy", RNG.random((2, 3)).astype(np.float32), 0.4, grain=0.1, salt=5),
    ]
    counts, uv = [30, 50, 20], RNG.uniform(0, 9, (2, 100)).astype(np.float32)
    width = RNG.uniform(0.001, 0.5, 100).astype(np.float32)
    together, start = albedo(materials, counts, uv, width), 0
    assert 0 <= together.min() <= together.max() <= 1
    for material, count in zip(materials, counts, strict=True):
        part = slice(start, start + count)
        alone = albedo([material], [count], uv[:, part], width[part])
        np.testing.assert_allclose(together[:, part], alone, atol=1e-6)
        start += count


def test_colours_are_the_ends_of_the_mix():
    material = Material("checker", BLACK_AND_WHITE, 1.0, grain=0.0)
    uv = np.array([[0.5, 1.5], [0.5, 0.5]], np.float32)
    colour = albedo([material], [2], uv, np.full(2, 0.01, np.float32))
    np.testing.assert_allclose(colour, [[0, 1]] * 3, atol=1e-5)


def test_turn_takes_metres_to_turned_periods():
    material = Material("plain", BLACK_AND_WHITE, period=0.5, angle=np.pi / 2)
    np.testing.assert_allclose(material.turn @ [1, 0], [0, -2], atol=1e-6)
