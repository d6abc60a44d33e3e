"""Which colours and patterns walls, wood, leaves or asphalt have: random materials by theme."""

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from pipeline.worlds.textures import Floats, Material

T = TypeVar("T")
Rng = np.random.Generator
Span = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Theme:
    """Ranges that a material is drawn from.

    Attributes:
        patterns: Names in ``textures.PATTERNS``; one named twice is twice as likely.
        period: Metres.
        hue: Turns of the colour circle, 0 red, 1/3 green, 2/3 blue.
    """

    patterns: tuple[str, ...]
    period: Span
    hue: Span = (0.0, 1.0)
    saturation: Span = (0.0, 0.6)
    value: Span = (0.2, 0.9)
    grain: Span = (0.05, 0.4)
    gloss: float = 0.0


def material(rng: Rng, *themes: str, glow: float = 0.0) -> Material:
    """A random material of one of the themes."""
    u = rng.random(13).tolist()  # at once: a scene has hundreds, and single draws are slow
    theme = THEMES[_pick(u[0], themes)]
    pattern = _pick(u[1], theme.patterns)
    return Material(
        pattern=pattern,
        colours=_colours(u[2:9], theme, pattern),
        period=theme.period[0] * (theme.period[1] / theme.period[0]) ** u[9],
        angle=_pick(u[10], (0.0, 0.0, 0.0, 0.0, np.pi / 2, np.pi / 4)),
        grain=_within(theme.grain, u[11]),
        gloss=theme.gloss * u[12] ** 2,
        glow=glow,
        salt=int(u[12] * 1e5) % 1000,
    )


def one_of(rng: Rng, options: Sequence[T]) -> T:
    """One of them, each as likely."""
    return options[int(rng.integers(len(options)))]


def log_uniform(rng: Rng, low: float, high: float) -> float:
    """A number between two positive bounds, each octave as likely as the next."""
    return float(low * (high / low) ** rng.random())


def _colours(u: list[float], theme: Theme, pattern: str) -> Floats:
    """Two linear RGB colours, mostly relatives; the panes of a facade are dark and bluish."""
    hue, saturation, value = (
        _within(theme.hue, u[0]),
        _within(theme.saturation, u[1]),
        _within(theme.value, u[2]),
    )
    first = colorsys.hsv_to_rgb(hue, saturation, value)
    if pattern == "windows":
        hue, saturation, value = 0.5 + 0.15 * u[3], 0.4 * u[4], 0.1 + 0.4 * u[5]
    elif u[3] < 0.25:
        hue, saturation = _within(theme.hue, u[4]), _within(theme.saturation, u[5])
    second = colorsys.hsv_to_rgb(
        (hue + 0.06 * (u[6] - 0.5)) % 1, saturation, value * (0.3 + 0.6 * u[6])
    )
    return np.array([first, second], np.float32) ** np.float32(2.2)


def _within(span: Span, u: float) -> float:
    return span[0] + (span[1] - span[0]) * u


def _pick(u: float, options: Sequence[T]) -> T:
    return options[int(u * len(options))]


_WALLS = ("plain", "plain", "cloudy", "stripes", "bricks", "tiles", "dots", "planks", "weave")
_FLOORS = ("planks", "planks", "tiles", "checker", "cloudy", "marble", "speckle", "weave")
_CLOTH = ("weave", "stripes", "plain", "dots", "cloudy", "checker", "patches")
_PRINT = ("patches", "patches", "stripes", "dots", "cloudy", "checker", "leaves")
_GREY = (0.0, 0.1)
_BROWN = (0.04, 0.12)

THEMES = {
    "wall": Theme(_WALLS, (0.15, 0.9), saturation=(0, 0.35), value=(0.45, 0.95), grain=(0.05, 0.3)),
    "ceiling": Theme(("plain", "tiles", "planks"), (0.3, 1.2), saturation=_GREY, value=(0.7, 1)),
    "floor": Theme(_FLOORS, (0.12, 0.6), _BROWN, (0.05, 0.6), (0.2, 0.8), gloss=0.3),
    "wood": Theme(
        ("planks", "planks", "plain"), (0.06, 0.4), _BROWN, (0.3, 0.75), (0.2, 0.75), gloss=0.3
    ),
    "fabric": Theme(_CLOTH, (0.02, 0.3), saturation=(0, 0.8)),
    "painted": Theme(("plain", "plain", "stripes", "cloudy"), (0.1, 0.6), gloss=0.5),
    "vivid": Theme(("plain", "stripes", "dots", "checker"), (0.1, 0.6), saturation=(0.5, 1.0)),
    "stone": Theme(("cloudy", "speckle", "marble"), (0.2, 1.5), _BROWN, (0.0, 0.25), (0.3, 0.8)),
    "masonry": Theme(
        ("bricks", "bricks", "cloudy", "tiles"), (0.25, 0.8), _BROWN, value=(0.3, 0.9)
    ),
    "facade": Theme(("windows",), (1.6, 4.0), (0.0, 0.15), (0.0, 0.5), (0.35, 0.95), (0.05, 0.25)),
    "foliage": Theme(("leaves",), (0.25, 1.2), (0.17, 0.38), (0.3, 0.8), (0.15, 0.55), (0.2, 0.6)),
    "autumn": Theme(("leaves",), (0.25, 1.2), (0.02, 0.16), (0.4, 0.9), (0.3, 0.7), (0.2, 0.6)),
    "grass": Theme(
        ("leaves", "cloudy", "speckle"),
        (0.3, 3.0),
        (0.14, 0.33),
        (0.25, 0.7),
        (0.25, 0.6),
        (0.3, 0.7),
    ),
    "earth": Theme(("cloudy", "speckle"), (0.4, 4.0), _BROWN, (0.1, 0.6), (0.35, 0.85), (0.2, 0.6)),
    "snow": Theme(("cloudy", "plain"), (1, 6), (0.5, 0.65), (0.0, 0.08), (0.85, 1.0), (0.05, 0.2)),
    "asphalt": Theme(
        ("speckle", "cloudy"), (0.3, 3.0), saturation=_GREY, value=(0.2, 0.5), grain=(0.1, 0.5)
    ),
    "paving": Theme(("tiles", "bricks", "checker"), (0.3, 1.5), _BROWN, (0.0, 0.3), (0.4, 0.8)),
    "paper": Theme(_PRINT, (0.03, 0.5), saturation=(0, 0.9), value=(0.2, 1.0)),
    "metal": Theme(("plain", "plain", "stripes"), (0.05, 0.5), saturation=_GREY, gloss=0.9),
    "skin": Theme(("plain",), (0.3, 0.5), (0.03, 0.09), (0.3, 0.6), (0.3, 0.85), (0.0, 0.1)),
    "light": Theme(("plain",), (1, 2), (0.08, 0.16), (0.0, 0.2), (0.95, 1.0), (0.0, 0.1)),
}
