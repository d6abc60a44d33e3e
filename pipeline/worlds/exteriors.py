"""Random exteriors: streets, squares, parks; the camera stands at the origin and looks north."""

from collections.abc import Sequence

import numpy as np

from pipeline.worlds import landscape
from pipeline.worlds.framing import aim, outdoors
from pipeline.worlds.rendering import Scene
from pipeline.worlds.stage import BOX, Stage, Thing
from pipeline.worlds.themes import Rng, log_uniform, material, one_of


def street(rng: Rng) -> Scene:
    """A road between pavements and facades, with cars, trees, lamps and people."""
    stage = open_ground(rng, "asphalt", "asphalt", "asphalt", "paving")
    road, walk, length = rng.uniform(5, 13), rng.uniform(1.2, 4), rng.uniform(40, 110)
    kerb, low = material(rng, "paving", "asphalt", "stone"), rng.random() < 0.25
    for side in (-1, 1):
        edge = side * road / 2
        middle = stage.spot(edge + side * walk / 2, length / 2)
        middle.put(BOX, (walk, length * 2, 0.15), kerb, shadow=False)
        _facades(stage, edge + side * walk, side, length, low=low)
        _pavement(stage, edge, side, walk)
    _traffic(stage, road)
    if rng.random() < 0.5:
        _skyline(stage, length + 10)
    x, height = rng.uniform(-0.5, 0.5) * (road + walk), log_uniform(rng, 1.2, 5)
    return outdoors(stage, aim(rng, (x, 0, height), turn=0.2, pitch=(-0.2, 0.12)))


def square(rng: Rng) -> Scene:
    """An open place with buildings around it, people on it, perhaps steps."""
    stage = open_ground(rng, "paving", "paving", "asphalt", "earth")
    far = rng.uniform(15, 60)
    for angle in np.arange(-1.3, 1.3, rng.uniform(0.25, 0.5)):
        away, yaw = far * rng.uniform(0.8, 1.5), -angle + rng.normal(0, 0.1)
        spot = stage.spot(away * np.sin(angle), away * np.cos(angle), yaw=yaw)
        if rng.random() < 0.3:
            landscape.house(spot, rng)
        else:
            size = (rng.uniform(6, 20), rng.uniform(6, 12), rng.uniform(4, 25))
            landscape.tower(spot, rng, size)
    _ahead(stage, landscape.SQUARE, count=int(rng.integers(5, 20)), near=2, far=far * 0.75)
    _ahead(stage, landscape.TREES, count=int(rng.integers(0, 5)), near=6, far=far * 0.75)
    if rng.random() < 0.4:
        _steps(stage, far * rng.uniform(0.2, 0.6))
    position = (0, 0, log_uniform(rng, 1.2, 6))
    return outdoors(stage, aim(rng, position, turn=0.3, pitch=(-0.25, 0.15)))


def park(rng: Rng) -> Scene:
    """Open country: trees, bushes, rocks, fences, a path, perhaps houses and hills."""
    stage = open_ground(rng, "grass", "grass", "grass", "earth", "snow")
    if rng.random() < 0.6:
        path, spot = (
            (rng.uniform(1, 4), 90, 0.02),
            stage.spot(rng.normal(0, 2), 30, yaw=rng.normal(0, 0.3)),
        )
        spot.put(BOX, path, material(rng, "earth", "paving", "asphalt"), shadow=False)
    far = log_uniform(rng, 15, 70)
    _ahead(stage, landscape.LOW, count=int(rng.integers(4, 16)), near=2, far=far)
    _ahead(stage, landscape.TREES, count=int(rng.integers(3, 18)), near=5, far=far * 1.5)
    for _ in range(one_of(rng, (0, 0, 1, 2, 3))):
        x, y = rng.uniform([-20, 18], [20, 50])
        landscape.house(stage.spot(x, y, yaw=rng.normal(0, 0.5)), rng)
    for _ in range(int(rng.integers(0, 5))):
        x, y = rng.uniform([-150, 150], [150, 400])
        landscape.hill(stage.spot(x, y, yaw=rng.normal(0, 0.5)), rng)
    position = (0, 0, log_uniform(rng, 0.6, 4))
    return outdoors(stage, aim(rng, position, turn=0.3, pitch=(-0.25, 0.12)))


def open_ground(rng: Rng, *themes: str) -> Stage:
    """A stage with nothing but a ground of one of the themes."""
    stage = Stage(rng)
    stage.ground(material(rng, *themes))
    return stage


def _facades(stage: Stage, edge: float, side: int, length: float, *, low: bool) -> None:
    """Buildings in a row along one side of the road, fronts towards it."""
    rng, y, storeys = stage.rng, -12.0, stage.rng.uniform(2, 7)
    while y < length:
        w, d = rng.uniform(5, 16), rng.uniform(8, 12)
        back = rng.uniform(2, 7) if low else rng.exponential(0.4)
        spot = stage.spot(edge + side * (d / 2 + back), y + w / 2, yaw=-side * np.pi / 2)
        if low:
            landscape.house(spot, rng)
        elif rng.random() < 0.9:
            landscape.tower(spot, rng, (w, d, max(3.0, 3 * (storeys + rng.normal(0, 1.2)))))
        y += w * (1.5 if low else 1)


def _pavement(stage: Stage, edge: float, side: int, walk: float) -> None:
    """Parked cars at the kerb; trees, lamps and people on the pavement."""
    rng = stage.rng
    parking, y = rng.random() < 0.6, rng.uniform(2, 6)
    while y < 60:
        if parking and rng.random() < 0.6:
            landscape.car(stage.spot(edge - side * 1.1, y, yaw=one_of(rng, (0, np.pi))), rng)
        if rng.random() < 0.6:
            x = edge + side * rng.uniform(0.3, max(0.5, walk - 0.4))
            spot = stage.spot(x, y + 1, 0.15, yaw=one_of(rng, (0, np.pi / 2, np.pi)))
            one_of(rng, landscape.PAVEMENT)(spot, rng)
        y += rng.uniform(5, 10)


def _traffic(stage: Stage, road: float) -> None:
    """Cars in both lanes and the line between them."""
    rng, paint = stage.rng, material(stage.rng, "snow")
    for y in np.arange(2, 50, 6.0) if rng.random() < 0.7 else ():
        stage.spot(0, float(y)).put(BOX, (0.14, 2.5, 0.004), paint, shadow=False)
    for _ in range(int(rng.integers(0, 5))):
        lane = one_of(rng, (-1, 1))
        yaw = np.pi if lane > 0 else 0.0
        landscape.car(stage.spot(lane * road / 4, log_uniform(rng, 8, 60), yaw=yaw), rng)


def _skyline(stage: Stage, y: float) -> None:
    """What closes the street: towers or hills."""
    rng = stage.rng
    for _ in range(int(rng.integers(1, 5))):
        spot = stage.spot(rng.normal(0, 20), y + rng.uniform(0, 80))
        if rng.random() < 0.5:
            landscape.hill(spot.near(0, 120), rng)
        else:
            landscape.tower(spot, rng, (rng.uniform(8, 25), 12.0, rng.uniform(10, 45)))


def _ahead(stage: Stage, things: Sequence[Thing], *, count: int, near: float, far: float) -> None:
    """Things in front of the camera, as many near as far."""
    rng = stage.rng
    for _ in range(count):
        y = log_uniform(rng, near, far)
        spot = stage.spot(rng.uniform(-0.9, 0.9) * (y + 1), y, yaw=rng.uniform(0, 6.28))
        one_of(rng, things)(spot, rng)


def _steps(stage: Stage, y: float) -> None:
    """A flight of steps across the view."""
    paint, w = material(stage.rng, "stone", "paving"), stage.rng.uniform(4, 20)
    for i in range(int(stage.rng.integers(3, 9))):
        stage.spot(0, y + 0.35 * i).put(BOX, (w, 0.36, 0.16 * (i + 1)), paint)
