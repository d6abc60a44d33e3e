"""What every scene ends with: light, a camera that stands free, and how it takes the picture."""

from dataclasses import replace
from itertools import compress

import numpy as np

from pipeline.worlds.film import Film
from pipeline.worlds.lights import Light
from pipeline.worlds.raycast import Doubles, Shape
from pipeline.worlds.rendering import Scene, Sky, View
from pipeline.worlds.stage import BALL, TUBE, Size, Stage
from pipeline.worlds.themes import Rng, Span, log_uniform, material

CLEAR_M = 0.25  # nothing is nearer to the camera than this, indoors and out


def aim(rng: Rng, position: Size, *, turn: float, pitch: Span) -> View:
    """A view north from a place: ``turn`` is the yaw's deviation, pitch lies within bounds."""
    fov = float(np.deg2rad(log_uniform(rng, 42, 95)))
    yaw, roll = rng.normal(0, turn), rng.normal(0, 0.03)
    return View(np.array(position), yaw, rng.uniform(*pitch), roll, fov)


def indoors(stage: Stage, room: Size, view: View, *, clear_m: float = CLEAR_M) -> Scene:
    """A lamp under the ceiling of a room (width, depth, height), and light from all sides."""
    rng, (w, d, h) = stage.rng, room
    warm = np.array([1, rng.uniform(0.75, 1), rng.uniform(0.5, 1.05)], np.float32)
    place = np.array(
        [rng.uniform(-0.3, 0.3) * w, rng.uniform(-0.3, 0.4) * d, h - rng.uniform(0.1, 0.5)]
    )
    power, reach = np.float32(rng.uniform(0.8, 3)), max(w, d) * rng.uniform(0.3, 0.8)
    if rng.random() < 0.6:
        _hanging_lamp(stage, place, h)
    ambient = np.array([[1, 1, 1], [0.7, 0.62, 0.55]]) * rng.uniform(0.15, 0.7) * (0.5 + 0.5 * warm)
    scene = Scene(
        solids=tuple(stage.solids),
        view=view,
        light=Light(place, warm * power, half_m=reach),
        ambient=ambient.astype(np.float32),
        film=_film(rng),
    )
    return _cleared(scene, clear_m)


def _hanging_lamp(stage: Stage, place: Doubles, ceiling: float) -> None:
    """Where the light comes from; it casts no shadow, or all would be dark."""
    x, y, z = place
    side = stage.rng.uniform(0.15, 0.5)
    shade = material(stage.rng, "light", glow=3.0)
    stage.spot(x, y, z - side / 4).put(BALL, (side, side, side / 2), shade, shadow=False)
    rod = material(stage.rng, "metal")
    stage.spot(x, y, z).put(TUBE, (0.015, 0.015, ceiling - z), rod, shadow=False)


def outdoors(stage: Stage, view: View) -> Scene:
    """Sun, sky and haze: from a clear noon to an overcast evening."""
    rng = stage.rng
    cloud, height, azimuth = rng.random(), np.arcsin(rng.uniform(0.12, 0.95)), rng.uniform(0, 6.28)
    flat = np.cos(height)
    sun = np.array([np.sin(azimuth) * flat, np.cos(azimuth) * flat, np.sin(height)])
    low = np.exp(-3 * sun[2])  # towards evening the light turns warm
    warm = np.array([1, 1 - 0.35 * low, 1 - 0.65 * low])
    power = rng.uniform(1.2, 2.6) * (1 - 0.85 * np.clip(cloud * 1.6 - 0.6, 0, 1))
    blue = rng.uniform([0.12, 0.3, 0.6], [0.4, 0.55, 1.0])
    zenith = blue + (rng.uniform(0.5, 0.9) - blue) * np.clip(cloud * 1.5 - 0.5, 0, 1)
    horizon = 0.45 * zenith + 0.55 * (0.5 + 0.5 * warm) * rng.uniform(0.8, 1.2)
    ambient = np.stack([0.3 + 0.4 * zenith, 0.25 * horizon]) * rng.uniform(0.6, 1.1)
    haze = log_uniform(rng, 0.0003, 0.01)
    scene = Scene(
        solids=tuple(stage.solids),
        view=view,
        light=Light(sun, (warm * power).astype(np.float32)),
        ambient=ambient.astype(np.float32),
        film=_film(rng),
        sky=Sky(
            zenith.astype(np.float32), horizon.astype(np.float32), cloud, int(rng.integers(1000))
        ),
        haze_per_m=haze if rng.random() < 0.7 else 0.0,
    )
    return _cleared(scene, CLEAR_M)


def _cleared(scene: Scene, clear_m: float) -> Scene:
    """The scene without what the camera would stand in, or nearly touch."""
    away = scene.view.position - np.stack([solid.centre for solid in scene.solids])
    turns = np.stack([solid.turn for solid in scene.solids])
    beside = np.abs(np.einsum("kij,ki->kj", turns, away))  # in each solid's own axes
    free = (beside > np.stack([solid.half for solid in scene.solids]) + clear_m).any(axis=1)
    free |= [solid.shape in (Shape.SHELL, Shape.PLANE) for solid in scene.solids]
    return replace(scene, solids=tuple(compress(scene.solids, free)))


def _film(rng: Rng) -> Film:
    return Film(
        stops=rng.normal(0, 0.4),
        tint=np.exp(rng.normal(0, 0.06, 3)).astype(np.float32),
        vignette=rng.uniform(0, 0.5) if rng.random() < 0.5 else 0.0,
        blur=rng.uniform(0.2, 1),
        noise=min(rng.exponential(0.007), 0.03),
        quality=int(rng.integers(80, 96)),
    )
