"""Random interiors: rooms, halls, corridors, tabletops; their floor's middle is the origin."""

from collections.abc import Sequence

import numpy as np

from pipeline.worlds import furniture
from pipeline.worlds.framing import aim, indoors
from pipeline.worlds.furniture import AGAINST_WALL, FREE_STANDING
from pipeline.worlds.rendering import Scene, View
from pipeline.worlds.stage import BOX, TUBE, Size, Spot, Stage, Thing
from pipeline.worlds.themes import Rng, Span, material, one_of


def room(rng: Rng) -> Scene:
    """A furnished room seen from near one of its walls."""
    size = (rng.uniform(2.8, 7), rng.uniform(3.2, 8), rng.uniform(2.3, 3.2))
    stage = interior(rng, size)
    _along_walls(stage, size, share=rng.uniform(0.4, 0.9))
    _scattered(stage, FREE_STANDING, size, count=int(rng.integers(1, 6)), gap=0.9)
    return indoors(stage, size, _stand(rng, size, height=(0.8, 1.8), pitch=(-0.35, 0.08)))


def hall(rng: Rng) -> Scene:
    """A large interior, a shop, a lobby, a workshop: pillars, lamps, things all over the floor."""
    size = (rng.uniform(8, 22), rng.uniform(10, 35), rng.uniform(3.2, 8))
    stage = interior(rng, size)
    _pillars(stage, size)
    _along_walls(stage, size, share=0.25)
    things = (*FREE_STANDING, furniture.shelf, furniture.cabinet)
    _scattered(stage, things, size, count=int(rng.integers(6, 16)), gap=1.6)
    return indoors(stage, size, _stand(rng, size, height=(1.2, 2.6), pitch=(-0.2, 0.06)))


def corridor(rng: Rng) -> Scene:
    """A long narrow passage with doors, lamps, pictures and a few things along its sides."""
    size = w, d, h = rng.uniform(1.4, 3.4), rng.uniform(8, 30), rng.uniform(2.2, 3.2)
    stage = interior(rng, size)
    door, frame = material(rng, "wood", "painted"), material(rng, "painted", "wood")
    for side in (-1, 1):
        for y in np.arange(-d / 2 + rng.uniform(0.8, 2), d / 2 - 1, rng.uniform(1.6, 3)):
            spot = stage.spot(side * w / 2, float(y), yaw=-side * np.pi / 2)
            kind = rng.random()
            if kind < 0.45:
                spot.put(BOX, (1.05, 0.12, 2.12), frame)
                spot.put(BOX, (0.9, 0.16, 2.03), door)
            elif kind < 0.65:
                _picture(spot, rng)
            elif w > 1.9:
                one_of(rng, AGAINST_WALL)(spot.near(0, -0.4), rng)
    for y in np.arange(-d / 2 + 1, d / 2, 3.0):
        lamp = material(rng, "light", glow=2.5)
        stage.spot(0, float(y), h - 0.06).put(BOX, (0.3, 1.0, 0.05), lamp, shadow=False)
    if w > 1.9 and rng.random() < 0.6:
        one_of(rng, FREE_STANDING)(stage.spot(rng.normal(0, 0.3), rng.uniform(-0.3, 0.4) * d), rng)
    position = (rng.uniform(-0.25, 0.25) * w, -d / 2 + rng.uniform(0.5, 2), rng.uniform(1, 1.8))
    return indoors(stage, size, aim(rng, position, turn=0.18, pitch=(-0.2, 0.1)))


def tabletop(rng: Rng) -> Scene:
    """Small things on a surface, from close by."""
    size = (rng.uniform(3, 6), rng.uniform(3, 7), rng.uniform(2.3, 3))
    stage = interior(rng, size)
    _along_walls(stage, size, share=0.8)
    wide, deep, top = rng.uniform(0.8, 2), rng.uniform(0.6, 1.2), rng.uniform(0.5, 0.9)
    wood, spot = material(rng, "wood", "painted", "stone", "fabric"), stage.spot(0, 0)
    spot.put(BOX, (wide, deep, 0.05), wood, at=(0, 0, top - 0.05))
    furniture.legs(spot, wide, deep, top - 0.05, wood, thick=0.06)
    furniture.scatter(spot.near(0, 0, top), rng, wide, deep, count=int(rng.integers(5, 16)))
    away, pitch = rng.uniform(0.3, 0.7), -rng.uniform(0.15, 0.9)
    height = top + 0.15 - 0.7 * away * np.tan(pitch)
    position = np.array([rng.uniform(-0.3, 0.3), -deep / 2 - 0.6 * away, height])
    view = View(position, rng.normal(0, 0.2), pitch, rng.normal(0, 0.05), rng.uniform(0.7, 1.2))
    return indoors(stage, size, view, clear_m=0.12)


def interior(rng: Rng, size: Size) -> Stage:
    """Walls, and a floor and a ceiling with surfaces of their own; perhaps boards and a rug."""
    stage, (w, d, h) = Stage(rng), size
    stage.shell(size, material(rng, "wall"))
    floor, ceiling = material(rng, "floor", "floor", "stone"), material(rng, "ceiling")
    stage.spot(0, 0, -0.99).put(BOX, (w, d, 1.0), floor, shadow=False)
    stage.spot(0, 0, h - 0.01).put(BOX, (w, d, 1.0), ceiling, shadow=False)
    if rng.random() < 0.4:
        board = material(rng, "wood", "painted")
        stage.spot(0, d / 2).put(BOX, (w, 0.04, 0.1), board, shadow=False)
        for x in (-w / 2, w / 2):
            stage.spot(x, 0).put(BOX, (0.04, d, 0.1), board, shadow=False)
    if rng.random() < 0.3:
        rug = (rng.uniform(0.4, 0.8) * w, rng.uniform(0.3, 0.6) * d, 0.02)
        paint = material(rng, "fabric", "paper")
        stage.spot(rng.normal(0, 0.3), rng.normal(0, 0.3)).put(BOX, rug, paint, shadow=False)
    return stage


def _along_walls(stage: Stage, size: Size, *, share: float) -> None:
    """Furniture, doors, windows, pictures along three walls; the camera stands at the fourth."""
    rng, (w, d, _) = stage.rng, size
    for x, y, length, yaw in (
        (0, d / 2, w, 0),
        (w / 2, 0, d, -np.pi / 2),
        (-w / 2, 0, d, np.pi / 2),
    ):
        wall = stage.spot(x, y, yaw=yaw)
        for along in np.arange(-length / 2 + 0.9, length / 2 - 0.7, rng.uniform(1.3, 2.3)):
            here = wall.near(float(along) + rng.normal(0, 0.1), 0)
            if rng.random() < share:
                one_of(rng, AGAINST_WALL)(here.near(0, -rng.uniform(0.4, 0.55)), rng)
            if rng.random() < 0.5:
                one_of(rng, (_picture, _picture, _window, _door))(here, rng)


def _picture(spot: Spot, rng: Rng) -> None:
    w, h, z = rng.uniform(0.3, 1.1), rng.uniform(0.3, 0.9), rng.uniform(1.1, 1.5)
    spot.put(BOX, (w, 0.05, h), material(rng, "wood", "metal"), at=(0, 0, z))
    spot.put(BOX, (w - 0.06, 0.06, h - 0.06), material(rng, "paper"), at=(0, 0, z + 0.03))


def _window(spot: Spot, rng: Rng) -> None:
    w, h = rng.uniform(0.7, 1.8), rng.uniform(0.8, 1.4)
    spot.put(BOX, (w, 0.1, h), material(rng, "painted"), at=(0, 0, 0.85))
    pane = material(rng, "light", "paper", glow=rng.uniform(0.5, 2.5))
    for side in (-1, 1):
        spot.put(BOX, (w / 2 - 0.07, 0.12, h - 0.1), pane, at=(side * w / 4, 0, 0.9))


def _door(spot: Spot, rng: Rng) -> None:
    spot.put(BOX, (1.05, 0.1, 2.1), material(rng, "painted", "wood"))
    spot.put(BOX, (0.9, 0.14, 2.03), material(rng, "wood", "painted"))


def _pillars(stage: Stage, size: Size) -> None:
    """Two rows of pillars, and lamps between them."""
    rng, (w, d, h) = stage.rng, size
    paint, side = material(rng, "wall", "stone", "masonry"), rng.uniform(0.25, 0.8)
    shape = one_of(rng, (BOX, TUBE))
    for x in (-w / 4, w / 4):
        for y in np.arange(-d / 2 + 2, d / 2, rng.uniform(3, 6)):
            stage.spot(x, float(y)).put(shape, (side, side, h), paint)
    lamp = material(rng, "light", glow=2.0)
    for y in np.arange(-d / 2 + 2, d / 2, rng.uniform(2.5, 5)):
        stage.spot(0, float(y), h - 0.1).put(BOX, (1.5, 0.3, 0.08), lamp, shadow=False)


def _scattered(
    stage: Stage, things: Sequence[Thing], size: Size, *, count: int, gap: float
) -> None:
    """Things on the floor, no two nearer to each other than the gap."""
    rng, taken = stage.rng, [np.array([np.inf, 0])]
    reach = np.array(size[:2]) / 2 - 0.7
    for _ in range(count):
        place = rng.uniform(-reach, reach)
        if min(np.hypot(*(place - other)) for other in taken) > gap:
            taken.append(place)
            one_of(rng, things)(stage.spot(*place, yaw=rng.uniform(0, 6.28)), rng)


def _stand(rng: Rng, size: Size, *, height: Span, pitch: Span) -> View:
    """Near the south wall, looking to the far side, sometimes from a corner."""
    w, d, _ = size
    x = rng.uniform(-0.4, 0.4) * w
    yaw = -x / w * rng.uniform(0, 1.6) + rng.normal(0, 0.12)
    position = np.array([x, -d / 2 + rng.uniform(0.15, 0.8), rng.uniform(*height)])
    return View(position, yaw, rng.uniform(*pitch), rng.normal(0, 0.025), rng.uniform(0.9, 1.55))
