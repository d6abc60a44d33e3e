"""Exact ray casting of simple convex solids, in numpy alone.

Every solid is a unit shape seen through an affine map, so four small intersectors cover boxes,
ellipsoids, tubes and cones of any size and turn. A ray's direction has forward component 1, which
makes the ray parameter the z-depth itself: metres along the optical axis, perpendicular to the
image plane, never the distance to the camera's centre.

A solid is cast only inside the pixel rectangle of its projected corners: a scene of a hundred
small things costs little more than an empty one.

Axes: world x east, y north, z up, metres; camera x right, y down, z forward. Arrays are planar,
``_3N`` and ``_3HW``: numpy is several times slower where the last axis has three elements.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pipeline.worlds.textures import Floats, Material

Doubles = NDArray[np.float64]
NOTHING = -1  # in a map of solid indices
NEAR_M, FAR_M = 0.05, 1000.0  # nothing nearer or farther is seen
SPECK_PX = 2  # nothing that covers fewer pixels each way is drawn


class Shape(StrEnum):
    """A unit shape; all but the plane lie inside the cube from -1 to 1."""

    BOX = "box"
    BALL = "ball"
    TUBE = "tube"  # upright, with both caps
    CONE = "cone"  # apex up, base down, with its base
    SHELL = "shell"  # a box seen from inside: a room
    PLANE = "plane"  # z = 0, endless, seen from above


@dataclass(frozen=True)
class Solid:
    """A unit shape placed in the world.

    Attributes:
        centre: Metres, shape (3,).
        half: Half extents before turning, metres, shape (3,); of a plane only the texture's unit.
        turn: Rotation, its columns are the solid's own axes in the world, shape (3, 3).
        casts_shadow: False for what should not darken others (rooms, ground, lamps).
    """

    shape: Shape
    centre: Doubles
    half: Doubles
    turn: Doubles
    material: Material
    casts_shadow: bool = True

    @cached_property
    def to_local(self) -> Doubles:
        """World offset from the centre to unit coordinates, shape (3, 3)."""
        return np.asarray(self.turn.T / self.half[:, None])

    @cached_property
    def corners(self) -> Doubles:
        """World corners of the bounding box, shape (3, 8)."""
        return np.asarray(self.centre[:, None] + self.turn @ (_CUBE * self.half[:, None]))

    def local(self, points_3N: Floats) -> Floats:
        """World points in unit coordinates, shape (3, N)."""
        return self.local_vectors(points_3N - self.centre[:, None].astype(np.float32))

    def local_vectors(self, vectors_3N: Floats) -> Floats:
        """World directions in unit coordinates, shape (3, N)."""
        return np.asarray(self.to_local.astype(np.float32) @ vectors_3N)


@dataclass(frozen=True)
class Camera:
    """A pinhole camera with square pixels and its principal point in the middle.

    Attributes:
        position: World, metres, shape (3,).
        axes: Rows are the camera's right, down and forward in the world, shape (3, 3).
        focal_px: Focal length, pixels.
    """

    position: Doubles
    axes: Doubles
    focal_px: float
    width: int
    height: int

    @cached_property
    def plane(self) -> tuple[Doubles, Doubles]:
        """Where pixel centres lie at z = 1: x of the columns (W,), y of the rows (H,)."""
        return self._centres(self.width), self._centres(self.height)

    def _centres(self, pixels: int) -> Doubles:
        return (np.arange(pixels, dtype=np.float64) + 0.5 - pixels / 2) / self.focal_px

    @cached_property
    def rays_3HW(self) -> Floats:
        """World directions through the pixel centres, forward component 1."""
        everything = (slice(None), slice(None))
        return self.rays(self.axes.T, everything)

    def rays(self, basis: Doubles, window: tuple[slice, slice]) -> Floats:
        """Directions through a rectangle of pixels (rows, columns), shape (3, h, w).

        Args:
            basis: Columns are the images of right, down and forward, shape (3, 3).
            window: Rows and columns.
        """
        (x, y), (rows, columns) = self.plane, window
        along = basis[:, :1] * x[columns]
        down = basis[:, 1:2] * y[rows] + basis[:, 2:]
        return np.asarray(along[:, None, :] + down[:, :, None], np.float32)

    def project(self, points: Doubles) -> Doubles:
        """World points (…, 3, N) to pixel x, pixel y and z-depth in metres, same shape."""
        seen = self.axes @ (points - self.position[:, None])
        seen[..., 0, :] = seen[..., 0, :] / seen[..., 2, :] * self.focal_px + self.width / 2
        seen[..., 1, :] = seen[..., 1, :] / seen[..., 2, :] * self.focal_px + self.height / 2
        return np.asarray(seen)


@dataclass(frozen=True, slots=True)
class Hits:
    """What each pixel sees.

    Attributes:
        depth_HW: float32 z-depth in metres, FAR_M where nothing is hit.
        solid_HW: int16 index of the solid, NOTHING where nothing is hit.
    """

    depth_HW: Floats
    solid_HW: NDArray[np.int16]


def look(*, yaw: float, pitch: float, roll: float) -> Doubles:
    """Camera axes; radians. Yaw turns right from north, pitch lifts, roll is clockwise."""
    forward = np.array([np.sin(yaw) * np.cos(pitch), np.cos(yaw) * np.cos(pitch), np.sin(pitch)])
    right = np.array([np.cos(yaw), -np.sin(yaw), 0.0])
    down = np.cross(forward, right)
    c, s = np.cos(roll), np.sin(roll)
    return np.stack([c * right + s * down, c * down - s * right, forward])


def cast(camera: Camera, solids: Sequence[Solid]) -> Hits:
    """The nearest surface at the centre of every pixel."""
    depth = np.full((camera.height, camera.width), FAR_M, np.float32)
    index = np.full(depth.shape, NOTHING, np.int16)
    for i, window in _windows(camera, solids):
        solid = solids[i]
        origin = solid.to_local @ (camera.position - solid.centre)
        rays = camera.rays(solid.to_local @ camera.axes.T, window)
        enter, leave = _intersect(solid.shape, origin.astype(np.float32)[:, None, None], rays)
        t = leave if solid.shape is Shape.SHELL else enter
        nearer = (t > NEAR_M) & (t < depth[window]) & (enter <= leave)
        np.copyto(depth[window], t, where=nearer)
        np.copyto(index[window], np.int16(i), where=nearer)
    return Hits(depth, index)


def blocked(
    solid: Solid, points_3N: Floats, towards_3N: Floats, *, reach: float
) -> NDArray[np.bool_]:
    """Whether the solid lies between each point and the point plus ``reach`` times ``towards``."""
    enter, leave = _intersect(solid.shape, solid.local(points_3N), solid.local_vectors(towards_3N))
    return (enter > 0) & (enter < reach) & (enter <= leave)


def local_normals(shape: Shape, local_3N: Floats) -> Floats:
    """Outward normals of the unit shape (of a shell inward) at surface points, unit length."""
    return _NORMALS[shape](local_3N)


def dot(a: Floats, b: Floats) -> Floats:
    """Scalar products along the first axis."""
    return np.asarray(a[0] * b[0] + a[1] * b[1] + a[2] * b[2])


def unit(v: Floats) -> Floats:
    """Vectors along the first axis at unit length."""
    return v / np.sqrt(np.maximum(dot(v, v), 1e-20))


_CUBE = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float64).T


def _windows(camera: Camera, solids: Sequence[Solid]) -> Iterator[tuple[int, tuple[slice, slice]]]:
    """Index and pixel rectangle (rows, columns) of each solid that can be seen.

    The projection of a convex body in front of the camera lies inside that of its corners; a body
    that reaches behind the camera may be anywhere and gets the whole image.
    """
    if not solids:
        return
    with np.errstate(divide="ignore", invalid="ignore"):
        projected = camera.project(np.stack([solid.corners for solid in solids]))
    limit = np.array([camera.width, camera.height])
    low = np.clip(np.nan_to_num(projected.min(axis=2)[:, :2]), 0, limit).astype(int)
    high = np.clip(np.nan_to_num(projected.max(axis=2)[:, :2]) + 1, 0, limit).astype(int)
    in_front = projected[:, 2].min(axis=1) > NEAR_M
    everywhere = (projected[:, 2].max(axis=1) > NEAR_M) & ~in_front
    everywhere |= [solid.shape in (Shape.PLANE, Shape.SHELL) for solid in solids]
    large = (high - low > 0).all(axis=1) & (high - low > SPECK_PX).any(axis=1) & in_front
    low[everywhere], high[everywhere] = 0, limit
    bounds = np.concatenate([low, high], axis=1).tolist()
    for i in np.flatnonzero(everywhere | large).tolist():
        left, top, right, bottom = bounds[i]
        yield i, (slice(top, bottom), slice(left, right))


Span = tuple[Floats, Floats]


def _intersect(shape: Shape, origin: Floats, direction: Floats) -> Span:
    """Ray parameters of entry and exit; the ray misses unless entry <= exit (both may be NaN)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return _SPANS[shape](origin, direction)


def _plane(o: Floats, d: Floats) -> Span:
    """Seen from above only: the exit of a ray that rises is before any entry."""
    t = -o[2] / d[2]
    return t, np.copysign(np.float32(np.inf), -d[2])


def _box(o: Floats, d: Floats) -> Span:
    """Slabs: enter all three, leave the first. A ray along a slab gives -inf and +inf."""
    inverse = 1 / d
    one, other = (-1 - o) * inverse, (1 - o) * inverse
    near, far = np.minimum(one, other), np.maximum(one, other)
    return (
        np.maximum(np.maximum(near[0], near[1]), near[2]),
        np.minimum(np.minimum(far[0], far[1]), far[2]),
    )


def _ball(o: Floats, d: Floats) -> Span:
    """From the nearest point to the centre the quadratic has no linear term."""
    shift, p = _nearest(o, d)
    half = np.sqrt((1 - dot(p, p)) / dot(d, d))
    return shift - half, shift + half


def _tube(o: Floats, d: Floats) -> Span:
    """The disc in x, y cut with the slab in z."""
    shift, p = _nearest(o, d)
    a = d[0] * d[0] + d[1] * d[1]
    b = p[0] * d[0] + p[1] * d[1]
    c = p[0] * p[0] + p[1] * p[1] - 1
    root = np.sqrt(b * b - a * c)
    enter, leave = _slab(p, d)
    return (
        np.maximum(enter, (-b - root) / a) + shift,
        np.minimum(leave, (-b + root) / a) + shift,
    )


def _cone(o: Floats, d: Floats) -> Span:
    """x² + y² = r² with r = (1 - z) / 2, cut with the slab in z.

    A ray flatter than the cone (a > 0) is inside between the roots. A steeper one is inside before
    the smaller and after the larger root; it is below the apex where r > 0, which r's slope tells.
    """
    shift, p = _nearest(o, d)
    r, slope = (1 - p[2]) / 2, -d[2] / 2
    a = d[0] * d[0] + d[1] * d[1] - slope * slope
    b = p[0] * d[0] + p[1] * d[1] - r * slope
    c = p[0] * p[0] + p[1] * p[1] - r * r
    root = np.sqrt(b * b - a * c)
    first, second = (-b - root) / a, (-b + root) / a  # of a steep ray the larger comes first
    steep, widening = a < 0, slope > 0
    low = np.where(steep & ~widening, -np.float32(np.inf), first)
    high = np.where(steep & widening, np.float32(np.inf), second)
    enter, leave = _slab(p, d)
    return np.maximum(enter, low) + shift, np.minimum(leave, high) + shift


def _nearest(o: Floats, d: Floats) -> tuple[Floats, Floats]:
    """Ray parameter of the point nearest to the unit shape's centre, and that point.

    Starting there keeps the digits that a far ray's quadratic would lose in float32.
    """
    shift = -dot(o, d) / dot(d, d)
    return shift, o + shift * d


def _slab(p: Floats, d: Floats) -> Span:
    one, other = (-1 - p[2]) / d[2], (1 - p[2]) / d[2]
    return np.minimum(one, other), np.maximum(one, other)


def _box_normal(p: Floats) -> Floats:
    away = np.abs(p)
    return np.asarray(np.sign(p) * (away == np.maximum(np.maximum(away[0], away[1]), away[2])))


def _tube_normal(p: Floats) -> Floats:
    side = p[0] * p[0] + p[1] * p[1] >= p[2] * p[2]
    return np.stack([p[0] * side, p[1] * side, np.sign(p[2]) * ~side])


def _cone_normal(p: Floats) -> Floats:
    radius = np.hypot(p[0], p[1])
    side = p[2] + 1 > (1 - p[2]) / 2 - radius + np.float32(1e-4)
    return unit(np.stack([p[0] * side, p[1] * side, radius / 2 * side - ~side]))


_SPANS: dict[Shape, Callable[[Floats, Floats], Span]] = {
    Shape.BOX: _box,
    Shape.SHELL: _box,
    Shape.BALL: _ball,
    Shape.TUBE: _tube,
    Shape.CONE: _cone,
    Shape.PLANE: _plane,
}
_NORMALS: dict[Shape, Callable[[Floats], Floats]] = {
    Shape.BOX: _box_normal,
    Shape.SHELL: lambda p: -_box_normal(p),
    Shape.BALL: unit,
    Shape.TUBE: _tube_normal,
    Shape.CONE: _cone_normal,
    Shape.PLANE: lambda p: np.zeros_like(p) + np.array([[0], [0], [1]], np.float32),
}
