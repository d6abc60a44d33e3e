"""From a described scene to a photograph and its exact depth.

Deferred shading: cast first, colour each solid's pixels once, then light all pixels together.
Surfaces are Lambertian with a soft highlight under one key light with cast shadows and an ambient
light with the colours of sky and ground; then haze, and what the camera does to it all. None of it
touches the depth.

Axes: H, W image; N pixels that see a solid, ordered by solid so that each solid has one slice.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress, pairwise

import numpy as np
from numpy.typing import NDArray

from pipeline.worlds import raycast, textures
from pipeline.worlds.film import Film, develop
from pipeline.worlds.lights import Light, shadowed
from pipeline.worlds.raycast import NOTHING, Camera, Doubles, Shape, Solid, dot, unit
from pipeline.worlds.textures import Floats


@dataclass(frozen=True, slots=True)
class Sky:
    """Linear RGB of zenith and horizon, shape (3,) each, and how much of it is cloud, 0 to 1."""

    zenith: Floats
    horizon: Floats
    cloud: float
    salt: int


@dataclass(frozen=True, slots=True)
class View:
    """Where the camera stands: metres and radians; ``fov`` spans the longer side."""

    position: Doubles
    yaw: float
    pitch: float
    roll: float
    fov: float

    def camera(self, *, width: int, height: int) -> Camera:
        """The camera of this view for an image size in pixels."""
        axes = raycast.look(yaw=self.yaw, pitch=self.pitch, roll=self.roll)
        focal = max(width, height) / 2 / np.tan(self.fov / 2)
        return Camera(self.position, axes, float(focal), width, height)


@dataclass(frozen=True, slots=True)
class Scene:
    """A little world, described.

    Attributes:
        ambient: Linear RGB light from above and from below, shape (2, 3).
        sky: None indoors, where every pixel sees a solid.
        haze_per_m: Share of light lost to haze per metre; its colour is the horizon's.
    """

    solids: tuple[Solid, ...]
    view: View
    light: Light
    ambient: Floats
    film: Film
    sky: Sky | None = None
    haze_per_m: float = 0.0


@dataclass(frozen=True, slots=True)
class Picture:
    """A rendered scene.

    Attributes:
        rgb_HW3: uint8 sRGB.
        depth_HW: float32 z-depth in metres, NaN where the pixel is sky.
        sky_HW: bool.
    """

    rgb_HW3: NDArray[np.uint8]
    depth_HW: Floats
    sky_HW: NDArray[np.bool_]


def render(scene: Scene, *, width: int, height: int, rng: np.random.Generator) -> Picture:
    """Picture and exact depth of a scene; ``rng`` is used for the sensor's noise alone."""
    camera = scene.view.camera(width=width, height=height)
    solids = sorted(scene.solids, key=lambda solid: solid.material.pattern)  # painted in few goes
    hits = raycast.cast(camera, solids)
    sky = hits.solid_HW == NOTHING
    light = np.zeros((3, height * width), np.float32)
    seen = _seen(camera, hits, len(solids))
    if len(seen.pixels):
        light[:, seen.pixels] = _lit(scene, solids, seen)
    if scene.sky is not None and sky.any():
        light[:, sky.ravel()] = _sky(scene.sky, scene.light, camera.rays_3HW[:, sky])
    rgb = develop(light.reshape(3, height, width), scene.film, rng)
    return Picture(rgb, np.where(sky, np.float32(np.nan), hits.depth_HW), sky)


@dataclass(frozen=True, slots=True)
class _Seen:
    """The N pixels that see a solid.

    Attributes:
        pixels: Flat positions in the image, shape (N,).
        slices: Which of the N belong to each solid.
        points: World, metres, shape (3, N).
        view: Unit direction to the camera, shape (3, N).
        depth: z-depth, metres, shape (N,).
        pixel_m: Side of a pixel at that depth, metres, shape (N,).
    """

    pixels: NDArray[np.intp]
    slices: tuple[slice, ...]
    points: Floats
    view: Floats
    depth: Floats
    pixel_m: Floats


def _seen(camera: Camera, hits: raycast.Hits, solids: int) -> _Seen:
    index = hits.solid_HW.ravel()
    order = np.argsort(index, kind="stable")
    bounds = np.searchsorted(index[order], np.arange(solids + 1))
    pixels, bounds = order[bounds[0] :], (bounds - bounds[0]).tolist()
    rays = camera.rays_3HW.reshape(3, -1)[:, pixels]
    depth = hits.depth_HW.ravel()[pixels]
    return _Seen(
        pixels=pixels,
        slices=tuple(slice(a, b) for a, b in pairwise(bounds)),
        points=rays * depth + camera.position.astype(np.float32)[:, None],
        view=-unit(rays),
        depth=depth,
        pixel_m=depth / np.float32(camera.focal_px),
    )


def _lit(scene: Scene, solids: Sequence[Solid], seen: _Seen) -> Floats:
    """Linear radiance of the seen pixels, shape (3, N)."""
    paint = _paint(solids, seen)
    casters = _casters(solids, scene.view)
    towards, power = scene.light.arriving(seen.points)
    facing = np.maximum(dot(paint.normal, towards), 0)
    lifted = seen.points + paint.normal * (0.004 + 0.5 * seen.pixel_m)
    facing[shadowed(scene.light, casters, lifted, facing > 0)] = 0
    above, below = scene.ambient[:, :, None]
    ambient = (below + (above - below) * (paint.normal[2] * 0.5 + 0.5)) * paint.openness
    colour = paint.albedo * (ambient + power * facing + paint.glow)
    shine = np.maximum(dot(paint.normal, unit(seen.view + towards)), 0)
    for _ in range(5):
        shine *= shine  # to the power of 32
    colour += power * (paint.gloss * shine * (facing > 0))
    if scene.sky is not None and scene.haze_per_m:
        clear = np.exp(-scene.haze_per_m * seen.depth)
        colour += (scene.sky.horizon[:, None] - colour) * (1 - clear)
    return np.asarray(colour)


def _casters(solids: Sequence[Solid], view: View) -> list[Solid]:
    """The solids whose shadow anybody would miss: those more than half a degree across."""
    away = np.stack([solid.centre for solid in solids]) - view.position
    half = np.stack([solid.half for solid in solids]).max(axis=1)
    large = half**2 > 2e-5 * (away**2).sum(axis=1)
    return [solid for solid in compress(solids, large) if solid.casts_shadow]


@dataclass(frozen=True, slots=True)
class _Paint:
    """Surface properties of the N seen pixels; ``openness`` is the ambient light let in, 0 to 1."""

    albedo: Floats
    normal: Floats
    gloss: Floats
    glow: Floats
    openness: Floats


def _paint(solids: Sequence[Solid], seen: _Seen) -> _Paint:
    n = len(seen.pixels)
    normal, uv, period = np.empty((3, n), np.float32), np.empty((2, n), np.float32), []
    openness = 1 - 0.5 * np.exp(-5 * np.maximum(seen.points[2], 0))
    visible = [
        (s, part) for s, part in zip(solids, seen.slices, strict=True) if part.start < part.stop
    ]
    for solid, part in visible:
        local = solid.local(seen.points[:, part])
        local_normal = raycast.local_normals(solid.shape, local)
        normal[:, part] = solid.to_local.T.astype(np.float32) @ local_normal
        uv[:, part] = solid.material.turn @ _surface(solid, local, local_normal)
        period.append(solid.material.period)
        if solid.shape in (Shape.SHELL, Shape.PLANE):
            openness[part] = _openness(solid, local)
    normal = unit(normal)
    # Seen at a slant a pixel is long and narrow; the filters are round, so meet in the middle.
    slant = np.sqrt(np.maximum(np.abs(dot(normal, seen.view)), 0.05))
    counts = [part.stop - part.start for _, part in visible]
    width = seen.pixel_m / (slant * np.repeat(np.array(period, np.float32), counts))
    materials = [solid.material for solid, _ in visible]
    return _Paint(
        albedo=textures.albedo(materials, counts, uv, width),
        normal=normal,
        gloss=np.repeat(np.array([m.gloss for m in materials], np.float32), counts),
        glow=np.repeat(np.array([m.glow for m in materials], np.float32), counts),
        openness=openness,
    )


def _surface(solid: Solid, local: Floats, normal: Floats) -> Floats:
    """Texture coordinates along the surface, metres, shape (2, N).

    Round shapes unroll around their axis; flat faces take the two axes they lie in, v upwards.
    Masks multiply here and elsewhere: ``np.where`` on ragged masks costs fifty times as much.
    """
    x, y, z = local * solid.half.astype(np.float32)[:, None]
    if solid.shape is Shape.PLANE:
        return np.stack([x, y])
    if solid.shape in (Shape.BALL, Shape.TUBE, Shape.CONE):
        flat = np.abs(normal[2]) > 0.9
        around = np.arctan2(local[1], local[0]) * np.float32(solid.half[:2].mean())
        return np.stack([around + (x - around) * flat, z + (y - z) * flat])
    return np.stack([x + (y - x) * (normal[0] != 0), z + (y - z) * (normal[2] != 0)])


def _openness(solid: Solid, local: Floats) -> Floats:
    """Share of ambient light on what encloses the scene: less in the corners of a room."""
    if solid.shape is Shape.PLANE:
        return np.ones(local.shape[1], np.float32)
    away = (1 - np.abs(local)) * solid.half.astype(np.float32)[:, None]
    near = np.exp(-2.5 * away).sum(axis=0) - 1  # without the wall that the point lies on
    return np.asarray(1 - 0.35 * np.minimum(near, 1.5))


def _sky(sky: Sky, light: Light, rays: Floats) -> Floats:
    """Linear radiance of the sky along rays (3, N): a gradient, clouds on a plane, sun's glow."""
    d = unit(rays)
    up = np.maximum(d[2], 0)
    horizon, zenith = sky.horizon[:, None], sky.zenith[:, None]
    colour = horizon + (zenith - horizon) * (1 - np.exp(-3.5 * up))
    puffs = textures.fractal(d[:2] / (up + 0.12) * 1.5, 0.02 / (up + 0.12), salt=sky.salt)
    cover = np.clip((puffs - 0.85 + 0.6 * sky.cloud) * 4, 0, 1) * np.clip(6 * up, 0, 1)
    colour += (horizon * (1.1 - 0.5 * np.clip(puffs - 0.5, 0, 1)) - colour) * cover
    if light.half_m is not None:
        return np.asarray(colour)
    glow = np.maximum(light.place.astype(np.float32) @ d, 0) ** 60
    return np.asarray(colour + glow * (1 - 0.8 * cover) * 0.6 * light.colour[:, None])
