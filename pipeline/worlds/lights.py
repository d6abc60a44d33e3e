"""The key light of a scene, sun or lamp, and who stands in whose shadow.

Shadows are exact, ray by ray, but a ray is only cast where it can matter: points are taken in runs
along the image rows, and a solid is tried on the runs that its outline, seen from the light, meets.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pipeline.worlds import raycast
from pipeline.worlds.raycast import Doubles, Solid, dot
from pipeline.worlds.textures import Floats

_RUN = 32  # points per run


@dataclass(frozen=True)
class Light:
    """The key light.

    Attributes:
        place: Of the sun the direction to it (unit length), of a lamp its position, metres.
        colour: Linear RGB at the surface, of a lamp at no distance.
        half_m: Distance at which a lamp has lost half its light; None for the sun.
    """

    place: Doubles
    colour: Floats
    half_m: float | None = None

    def towards(self, points_3N: Floats) -> tuple[Floats, float]:
        """Vectors to the light (3, N) or (3, 1), and how many of their lengths away it is."""
        place = self.place.astype(np.float32)[:, None]
        return (place, np.inf) if self.half_m is None else (place - points_3N, 1.0)

    def arriving(self, points_3N: Floats) -> tuple[Floats, Floats]:
        """Unit direction to the light and its linear RGB at each point, shapes (3, N or 1)."""
        away, _ = self.towards(points_3N)
        if self.half_m is None:
            return away, self.colour[:, None]
        squared = dot(away, away)
        return away / np.sqrt(squared), self.colour[:, None] / (1 + squared / self.half_m**2)

    def outline(self, points_3N: Floats) -> Floats:
        """Where points are seen from the light: two coordinates (2, N); a lamp looks down."""
        place = self.place.astype(points_3N.dtype)[:, None]
        if self.half_m is None:
            return np.asarray(self._across.astype(points_3N.dtype) @ points_3N)
        away = points_3N - place
        return np.asarray(away[:2] / np.maximum(-away[2], 1e-3))

    @cached_property
    def _across(self) -> Doubles:
        """Two axes perpendicular to the sun's rays, shape (2, 3)."""
        a = np.cross(self.place, [1.0, 0.0, 0.0] if abs(self.place[0]) < 0.9 else [0.0, 1.0, 0.0])
        a /= np.linalg.norm(a)
        return np.stack([a, np.cross(self.place, a)])


def shadowed(
    light: Light, casters: Sequence[Solid], points_3N: Floats, facing_N: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Which of the points that face the light do not see it, shape (N,)."""
    shadow = np.zeros(facing_N.shape, bool)
    facing = np.flatnonzero(facing_N)
    if not casters or not len(facing):
        return shadow
    points = points_3N[:, facing]
    dark = np.zeros(len(facing), bool)
    seen = light.outline(points)
    corners = light.outline(np.concatenate([solid.corners for solid in casters], axis=1))
    corners = corners.reshape(2, len(casters), 8).astype(np.float32)
    low, high = corners.min(axis=2), corners.max(axis=2)
    meets = _meetings(seen, low, high)
    for i, solid in enumerate(casters):
        pixels = _inside(seen, meets[i], low[:, i], high[:, i])
        if len(pixels):
            towards, reach = light.towards(points[:, pixels])
            dark[pixels] |= raycast.blocked(solid, points[:, pixels], towards, reach=reach)
    shadow[facing] = dark
    return shadow


def _meetings(seen_2N: Floats, low_2K: Floats, high_2K: Floats) -> NDArray[np.bool_]:
    """Whether each of K outlines meets each run of points, shape (K, runs)."""
    runs = np.pad(seen_2N, ((0, 0), (0, -seen_2N.shape[1] % _RUN)), mode="edge")
    runs = runs.reshape(2, 1, -1, _RUN)
    meets = (runs.min(axis=3) < high_2K[:, :, None]) & (runs.max(axis=3) > low_2K[:, :, None])
    return np.asarray(meets[0] & meets[1])


def _inside(
    seen_2N: Floats, runs: NDArray[np.bool_], low: Floats, high: Floats
) -> NDArray[np.intp]:
    """Positions of the points of these runs that lie inside one outline."""
    pixels = (np.flatnonzero(runs)[:, None] * _RUN + np.arange(_RUN)).ravel()
    pixels = pixels[: np.searchsorted(pixels, seen_2N.shape[1])]
    a, b = seen_2N[0, pixels], seen_2N[1, pixels]
    inside = (a > low[0]) & (a < high[0]) & (b > low[1]) & (b < high[1])
    return np.asarray(pixels[inside])
