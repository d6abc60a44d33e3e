"""Random materials: possible ones, of the theme that was asked for."""

import numpy as np

from pipeline.worlds.textures import PATTERNS
from pipeline.worlds.themes import THEMES, log_uniform, material, one_of


def test_every_theme_gives_possible_materials():
    rng = np.random.default_rng(0)
    for name, theme in THEMES.items():
        for _ in range(50):
            made = material(rng, name)
            assert made.pattern in theme.patterns
            assert made.pattern in PATTERNS
            assert made.colours.shape == (2, 3)
            assert 0 <= made.colours.min() <= made.colours.max() <= 1
            assert theme.period[0] <= made.period <= theme.period[1]
            assert theme.grain[0] <= made.grain <= theme.grain[1]
            assert 0 <= made.gloss <= theme.gloss


def test_leaves_are_green_and_snow_is_bright():
    rng = np.random.default_rng(0)
    for _ in range(50):
        red, green, blue = material(rng, "foliage").colours[0]
        assert green > max(red, blue)
        assert material(rng, "snow").colours[0].min() > 0.5


def test_one_of_the_themes_is_drawn():
    rng = np.random.default_rng(0)
    drawn = {material(rng, "facade", "foliage").pattern for _ in range(40)}
    assert drawn == {"windows", "leaves"}


def test_each_octave_is_as_likely():
    rng = np.random.default_rng(0)
    drawn = np.array([log_uniform(rng, 1, 16) for _ in range(4000)])
    assert 1 <= drawn.min() <= drawn.max() <= 16
    np.testing.assert_allclose(np.histogram(drawn, [1, 2, 4, 8, 16])[0] / 4000, 0.25, atol=0.03)


def test_one_of_takes_each():
    rng = np.random.default_rng(0)
    assert {one_of(rng, "abc") for _ in range(60)} == set("abc")
