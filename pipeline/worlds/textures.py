"""Procedural surface colours: patterns in metres that fade where a pixel can no longer see them.

Textures matter more than they look: a network that has only met flat shading takes every edge for
a step in depth. Patterns are filtered analytically by the pixel's footprint on the surface, since
point-sampled ones shimmer with distance and would give depth away in a manner no photograph does.

Axes: N points; ``uv_2N`` are coordinates along the surface, ``width_N`` the pixel's footprint, both
in periods of the pattern. A pattern answers a mix from 0 (first colour) to 1 (second colour).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]  # float32 throughout
Ints = NDArray[np.int32]
_TABLE = 256  # side of the table of random numbers, a power of two
_TILE, _CELL = 1024, 32  # side of the noise tile and of its coarsest cells, texels
_LEVELS = 9  # of its pyramid, each half the size of the one before


@dataclass(frozen=True, slots=True)
class Material:
    """How a surface looks.

    Attributes:
        colours: Two linear RGB albedos in 0 to 1, shape (2, 3).
        period: Size of one repeat of the pattern, metres.
        angle: The pattern's turn on the surface, radians.
        grain: Strength of the fine irregular variation over the pattern, 0 to 1.
        gloss: Strength of the highlight, 0 to 1.
        glow: Light the surface gives off, in units of its albedo under full light.
        salt: Which part of the noise is used: two materials alike differ by it.
    """

    pattern: str
    colours: NDArray[np.float32]
    period: float
    angle: float = 0.0
    grain: float = 0.2
    gloss: float = 0.0
    glow: float = 0.0
    salt: int = 0

    @property
    def turn(self) -> Floats:
        """Surface coordinates from metres to turned periods, shape (2, 2)."""
        c, s = np.cos(self.angle) / self.period, np.sin(self.angle) / self.period
        return np.array([[c, s], [-s, c]], np.float32)


def albedo(
    materials: Sequence[Material], counts: Sequence[int], uv_2N: Floats, width_N: Floats
) -> Floats:
    """Linear RGB albedo, shape (3, N), of surfaces one after the other.

    Args:
        materials: One per surface; neighbours with the same pattern are painted in one go.
        counts: Points of each surface; their sum is N.
        uv_2N: Surface coordinates in periods of the surface's material.
        width_N: Pixel footprints in the same unit.
    """
    mix, start = np.empty(len(width_N), np.float32), 0
    salt = np.repeat(np.array([m.salt for m in materials], np.int32), counts)
    for pattern, group in groupby(
        zip(materials, counts, strict=True), lambda pair: pair[0].pattern
    ):
        part = slice(start, start + sum(count for _, count in group))
        mix[part] = PATTERNS[pattern](uv_2N[:, part], width_N[part], salt[part])
        start = part.stop
    first, second = np.stack([m.colours.T for m in materials]).transpose(2, 1, 0)
    colour = np.repeat(first, counts, axis=1) + np.repeat(second - first, counts, axis=1) * mix
    grain = np.repeat(np.array([2 * m.grain for m in materials], np.float32), counts)
    stains = fractal(uv_2N * np.float32(1.7), width_N * np.float32(1.7), salt=salt + 7)
    return np.asarray(np.clip(colour * (1 + grain * (stains - np.float32(0.5))), 0, 1))


def fractal(uv_2N: Floats, width_N: Floats, *, salt: Ints | int = 0) -> Floats:
    """Value noise of five octaves in 0 to 1 around 0.5, as fine as the pixel can see, shape (N,).

    Read from a pyramid of one repeating tile of 32 x 32 periods, bilinearly within the level whose
    texels are about as large as the footprint; ``salt`` picks where on the tile.
    """
    pyramid, starts = _pyramid()
    level = np.clip(np.frexp(width_N * np.float32(_CELL))[1], 0, _LEVELS - 1)
    side = np.int32(_TILE) >> level
    texels = side.astype(np.float32) * np.float32(_CELL / _TILE)  # per period
    x = (uv_2N[0] + np.float32(0.618) * salt) * texels
    y = (uv_2N[1] + np.float32(0.414) * salt) * texels
    return _bilinear(pyramid, x, y, side=side, start=starts[level])


def _bilinear(table: Floats, x: Floats, y: Floats, *, side: Ints, start: Ints) -> Floats:
    """The repeating square of ``side`` that begins at ``start``, at texel coordinates."""
    left, top = np.floor(x), np.floor(y)
    fx, fy = x - left, y - top
    column, row = left.astype(np.int32) & (side - 1), top.astype(np.int32) & (side - 1)
    right = (column + 1) & (side - 1)
    this, below = start + row * side, start + ((row + 1) & (side - 1)) * side
    upper = table[this + column] * (1 - fx) + table[this + right] * fx
    lower = table[below + column] * (1 - fx) + table[below + right] * fx
    return np.asarray(upper + (lower - upper) * fy)


@lru_cache(maxsize=1)
def _pyramid() -> tuple[Floats, Ints]:
    """The levels of the noise tile one after the other, and where each starts."""
    tile = np.full((_TILE, _TILE), 0.5, np.float32)
    rng = np.random.default_rng(2401_10891)
    for octave in range(5):
        cell = _CELL >> octave
        corners = rng.random((_TILE // cell, _TILE // cell), dtype=np.float32) - 0.5
        tile += np.float32(0.6**octave) * _smooth(_smooth(corners, cell).T, cell).T
    levels: list[Floats] = [np.clip(tile, 0, 1)]
    for _ in range(_LEVELS - 1):
        rows = levels[-1][::2] + levels[-1][1::2]
        levels.append((rows[:, ::2] + rows[:, 1::2]) / 4)
    sizes = [level.size for level in levels]
    return np.concatenate([level.ravel() for level in levels]), np.cumsum(
        [0, *sizes[:-1]], dtype=np.int32
    )


def _smooth(rows: Floats, cell: int) -> Floats:
    """Rows stretched by ``cell`` with a smooth step between neighbours, repeating."""
    f = (np.arange(cell, dtype=np.float32) / cell)[:, None]
    f = f * f * (3 - 2 * f)
    between = rows[:, None] * (1 - f) + np.roll(rows, -1, axis=0)[:, None] * f
    return np.asarray(between.reshape(-1, rows.shape[1]))


def _random(u_N: Floats, v_N: Floats, salt: Ints) -> Floats:
    """One value in 0 to 1 per whole cell, shape (N,)."""
    x = (np.floor(u_N).astype(np.int32) + salt * 73) & (_TABLE - 1)
    y = (np.floor(v_N).astype(np.int32) + salt * 151) & (_TABLE - 1)
    return _table()[y * _TABLE + x]


@lru_cache(maxsize=1)
def _table() -> Floats:
    return np.random.default_rng(2406_09414).random(_TABLE * _TABLE, dtype=np.float32)


def _bar(x_N: Floats, width_N: Floats, duty: Floats | float) -> Floats:
    """Share of the footprint where the fraction of x is below ``duty``: a filtered square wave."""
    width = np.maximum(width_N, np.float32(1e-3))
    low, high = x_N - width / 2, x_N + width / 2
    floor_low, floor_high = np.floor(low), np.floor(high)
    below = np.minimum(high - floor_high, duty) - np.minimum(low - floor_low, duty)
    return (below + (floor_high - floor_low) * duty) / width


def _plain(uv: Floats, width: Floats, salt: Ints) -> Floats:
    return np.full(len(width), 0.3, np.float32)


def _cloudy(uv: Floats, width: Floats, salt: Ints) -> Floats:
    return np.asarray(np.clip(2.2 * fractal(uv, width, salt=salt) - 0.6, 0, 1))


def _speckle(uv: Floats, width: Floats, salt: Ints) -> Floats:
    return np.asarray(np.clip(2.5 * fractal(uv * 4, width * 4, salt=salt) - 0.85, 0, 1))


def _stripes(uv: Floats, width: Floats, salt: Ints) -> Floats:
    return _bar(uv[0], width, 0.3 + np.float32(0.05) * (salt % 9))


def _checker(uv: Floats, width: Floats, salt: Ints) -> Floats:
    a, b = _bar(uv[0] / 2, width / 2, 0.5), _bar(uv[1] / 2, width / 2, 0.5)
    return a + b - 2 * a * b


def _weave(uv: Floats, width: Floats, salt: Ints) -> Floats:
    """Two sets of stripes over each other, as on cloth."""
    return (_bar(uv[0], width, 0.35) + _bar(uv[1], width, 0.2 + np.float32(0.06) * (salt % 7))) / 2


def _bricks(uv: Floats, width: Floats, salt: Ints) -> Floats:
    """Courses half a brick apart, mortar 0, bricks of different shade."""
    v = uv[1] * np.float32(2.6)
    row = np.floor(v)
    u = uv[0] + 0.5 * (row % 2)
    brick = _bar(u, width, 0.94) * _bar(v, width * 2.6, 0.87)
    return brick * _settle(0.55 + 0.45 * _random(u, row, salt), 0.78, width)


def _tiles(uv: Floats, width: Floats, salt: Ints) -> Floats:
    """Square tiles with joints."""
    joints = _bar(uv[0], width, 0.95) * _bar(uv[1], width, 0.95)
    return joints * _settle(0.8 + 0.2 * _random(uv[0], uv[1], salt), 0.9, width)


def _planks(uv: Floats, width: Floats, salt: Ints) -> Floats:
    """Boards along u, each of its own shade, with grain along them."""
    board = np.floor(uv[1])
    shade = _random(uv[0] / 6 + board * 0.37, board, salt)
    along = np.stack([uv[0] * 0.25 + board * 3.1, uv[1] * 4])
    grain = fractal(along, width * 4, salt=salt)
    return (0.45 * _settle(shade, 0.5, width) + 0.55 * grain) * _bar(uv[1], width, 0.96)


def _marble(uv: Floats, width: Floats, salt: Ints) -> Floats:
    """Thin dark veins on a clouded ground."""
    bend = fractal(uv * 0.5, width * 0.5, salt=salt)
    veins = 1 - np.abs(np.sin(np.pi * (0.4 * uv[0] + 3 * bend)))
    return _settle(0.7 * veins**4 + 0.4 * bend, 0.35, width)


def _dots(uv: Floats, width: Floats, salt: Ints) -> Floats:
    away = np.hypot(uv[0] - np.floor(uv[0]) - 0.5, uv[1] - np.floor(uv[1]) - 0.5)
    return _settle(np.clip((0.3 - away) / np.maximum(width, 0.02) + 0.5, 0, 1), 0.28, width)


def _patches(uv: Floats, width: Floats, salt: Ints) -> Floats:
    """Rectangles of random shade at two scales: posters, book backs, crates, screens."""
    coarse = _settle(_random(uv[0], uv[1] * 0.4, salt), 0.5, width)
    fine = _settle(_random(uv[0] * 2.9, uv[1] * 4.3, salt + 5), 0.5, width * 4.3)
    return 0.65 * coarse + 0.35 * fine


def _leaves(uv: Floats, width: Floats, salt: Ints) -> Floats:
    """Clumps with dark gaps between them."""
    return _settle(np.clip(4 * (fractal(uv, width, salt=salt) - 0.4), 0, 1), 0.48, width)


def _windows(uv: Floats, width: Floats, salt: Ints) -> Floats:
    """A facade: rows of windows, each with its own reflection."""
    glass = _bar(uv[0], width, 0.35 + np.float32(0.05) * (salt % 6)) * _bar(uv[1], width, 0.55)
    return glass * _settle(0.6 + 0.4 * _random(uv[0], uv[1], salt), 0.8, width)


def _settle(value: Floats, mean: float, width: Floats) -> Floats:
    """The value where a period spans pixels, its mean where it is finer than a pixel."""
    return np.asarray(mean + (value - mean) * np.clip(2 - 2 * width, 0, 1))


Pattern = Callable[[Floats, Floats, Ints], Floats]
PATTERNS: dict[str, Pattern] = {
    "plain": _plain,
    "cloudy": _cloudy,
    "speckle": _speckle,
    "stripes": _stripes,
    "checker": _checker,
    "weave": _weave,
    "bricks": _bricks,
    "tiles": _tiles,
    "planks": _planks,
    "marble": _marble,
    "dots": _dots,
    "patches": _patches,
    "leaves": _leaves,
    "windows": _windows,
}
