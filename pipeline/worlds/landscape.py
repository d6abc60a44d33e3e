"""Things that stand outdoors: trees, houses, cars, lamps, fences. See ``stage`` for the axes."""

import numpy as np

from pipeline.worlds.furniture import crates, person, pot_plant
from pipeline.worlds.stage import BALL, BOX, CONE, TUBE, Size, Spot, Thing, any_turn, lean_x
from pipeline.worlds.themes import Rng, log_uniform, material, one_of


def broad_tree(spot: Spot, rng: Rng) -> None:
    """A trunk and clumps of leaves."""
    h = rng.uniform(2.5, 9)
    leaf, bark = material(rng, "foliage", "foliage", "autumn"), material(rng, "wood", "earth")
    thick = h * rng.uniform(0.03, 0.07)
    spot.put(TUBE, (thick, thick, h * 0.6), bark)
    for _ in range(int(rng.integers(3, 8))):
        w, d, tall = h * rng.uniform(0.2, 0.5, 3)
        at = (*rng.normal(0, 0.13 * h, 2), rng.uniform(0.4, 0.75) * h)
        spot.put(BALL, (w, d, tall), leaf, at=at)


def fir(spot: Spot, rng: Rng) -> None:
    """A trunk under cones."""
    h, leaf = rng.uniform(3, 12), material(rng, "foliage")
    spot.put(TUBE, (h * 0.04, h * 0.04, h * 0.3), material(rng, "wood"))
    for i in range(3):
        width = h * (0.42 - 0.1 * i)
        spot.put(CONE, (width, width, h * 0.45), leaf, at=(0, 0, h * (0.15 + 0.22 * i)))


def bush(spot: Spot, rng: Rng) -> None:
    """One to four low clumps."""
    leaf = material(rng, "foliage", "foliage", "autumn")
    for _ in range(int(rng.integers(1, 5))):
        w, d, h = rng.uniform(0.5, 1.6, 3)
        spot.put(BALL, (w, d, h), leaf, at=(*rng.normal(0, 0.5, 2), -0.25 * h))


def rock(spot: Spot, rng: Rng) -> None:
    """A boulder, half in the ground."""
    w, d, h = log_uniform(rng, 0.2, 2) * rng.uniform(0.6, 1.5, 3)
    shape, stone = one_of(rng, (BALL, BALL, BOX)), material(rng, "stone")
    spot.put(shape, (w, d, h), stone, at=(0, 0, -0.4 * h), lean=any_turn(rng))


def lamp_post(spot: Spot, rng: Rng) -> None:
    """A tall thin post with a lamp, an arm or a sign."""
    h, metal = rng.uniform(2.5, 7), material(rng, "metal", "painted")
    spot.put(TUBE, (0.12, 0.12, h), metal)
    if rng.random() < 0.5:
        globe = material(rng, "light", glow=rng.uniform(0, 1))
        spot.put(BALL, (0.4, 0.4, 0.4), globe, at=(0, 0, h))
    else:
        sign = (rng.uniform(0.4, 1.2), 0.04, rng.uniform(0.3, 0.8))
        spot.put(BOX, sign, material(rng, "paper", "vivid"), at=(0, -0.08, h * 0.8))


def bench(spot: Spot, rng: Rng) -> None:
    """A seat and a back on two blocks."""
    wood, stone = material(rng, "wood"), material(rng, "stone", "metal")
    spot.put(BOX, (1.6, 0.45, 0.06), wood, at=(0, 0, 0.42))
    spot.put(BOX, (1.6, 0.05, 0.4), wood, at=(0, 0.22, 0.5))
    for x in (-0.6, 0.6):
        spot.put(BOX, (0.12, 0.4, 0.42), stone, at=(x, 0, 0))


def fence(spot: Spot, rng: Rng) -> None:
    """A run of posts and rails."""
    length, h, paint = rng.uniform(4, 14), rng.uniform(0.8, 1.5), material(rng, "wood", "painted")
    for x in np.linspace(-length / 2, length / 2, int(length / rng.uniform(0.6, 2)) + 2):
        spot.put(BOX, (0.09, 0.09, h), paint, at=(float(x), 0, 0))
    for z in (0.35 * h, 0.8 * h):
        spot.put(BOX, (length, 0.04, 0.1), paint, at=(0, 0, z))


def wall(spot: Spot, rng: Rng) -> None:
    """A garden wall or a hedge."""
    size = (rng.uniform(3, 12), rng.uniform(0.25, 0.8), rng.uniform(0.7, 2.4))
    spot.put(BOX, size, material(rng, "masonry", "stone", "foliage"))


def car(spot: Spot, rng: Rng) -> None:
    """A body, a cabin with dark windows, four wheels; its length along y."""
    length, w, h = rng.uniform(3.4, 5), rng.uniform(1.6, 1.95), rng.uniform(0.6, 0.85)
    tall = rng.random() < 0.25
    paint, glass = material(rng, "painted", "metal", "vivid"), material(rng, "metal")
    spot.put(BOX, (w, length, h), paint, at=(0, 0, 0.25))
    cabin = length * (0.85 if tall else 0.5)
    spot.put(BOX, (w * 0.88, cabin, 0.45), glass, at=(0, length * 0.03, 0.25 + h))
    spot.put(BOX, (w * 0.9, cabin * 0.9, 0.07), paint, at=(0, length * 0.03, 0.7 + h))
    tyre, flat = material(rng, "asphalt"), np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])
    for x in (-1, 1):
        for y in (-0.32, 0.32):
            # The tube's axis is turned into x, so its third extent is the tyre's width.
            spot.put(TUBE, (0.64, 0.64, 0.2), tyre, at=(x * w / 2, y * length, 0.22), lean=flat)
        lamp = material(rng, "light", "vivid")
        spot.put(BOX, (0.3, 0.03, 0.12), lamp, at=(x * w * 0.35, -length / 2, 0.65))


def house(spot: Spot, rng: Rng) -> None:
    """A block with a door, windows and a roof; its front towards -y."""
    w, d, h = rng.uniform(5, 12), rng.uniform(5, 10), rng.uniform(2.6, 6.5)
    block = material(rng, "masonry", "wall", "wood")
    spot.put(BOX, (w, d, h), block)
    roof = material(rng, "masonry", "painted", "stone")
    side = d * 0.72  # a box on its edge, sunk into the house
    gable = lean_x(np.pi / 4)
    spot.put(BOX, (w + 0.6, side, side), roof, at=(0, 0, h - side / 2 - 0.25), lean=gable)
    glass, frame = material(rng, "metal"), material(rng, "painted")
    for x in np.arange(-w / 2 + 1.2, w / 2 - 0.9, rng.uniform(1.6, 2.6)):
        for z in np.arange(0.9, h - 1.5, 2.6):
            spot.put(BOX, (1.1, 0.1, 1.3), frame, at=(float(x), -d / 2, float(z)))
            spot.put(BOX, (0.9, 0.16, 1.1), glass, at=(float(x), -d / 2, float(z) + 0.1))
    door, x = material(rng, "wood", "vivid"), rng.uniform(-0.3, 0.3) * w
    spot.put(BOX, (1.0, 0.2, 2.1), door, at=(x, -d / 2, 0))


def tower(spot: Spot, rng: Rng, size: Size) -> None:
    """A town building: facade, plinth or shop front, cornice; its front towards -y."""
    w, d, h = size
    face = material(rng, "facade", "facade", "facade", "masonry")
    spot.put(BOX, (w, d, h), face)
    if rng.random() < 0.7:
        _ground_floor(spot, rng, size)
    if rng.random() < 0.6:
        spot.put(BOX, (w + 0.4, d + 0.8, 0.4), material(rng, "stone", "wall"), at=(0, 0, h))
    if rng.random() < 0.3:
        _balconies(spot, rng, size)


def _ground_floor(spot: Spot, rng: Rng, size: Size) -> None:
    """A plinth with doors and shop windows, perhaps under an awning."""
    (w, d, h), high = size, rng.uniform(2.6, 4)
    spot.put(BOX, (w, d + 0.3, min(high, h)), material(rng, "masonry", "paper", "painted"))
    for x in np.arange(-w / 2 + 1, w / 2 - 0.8, rng.uniform(1.8, 4)):
        opening = (rng.uniform(0.9, 1.7), d + 0.5, high * 0.75)
        spot.put(BOX, opening, material(rng, "metal", "wood", "paper"), at=(float(x), 0, 0))
    if rng.random() < 0.4:
        awning = material(rng, "vivid", "fabric")
        spot.put(BOX, (w * 0.8, 1.4, 0.12), awning, at=(0, -d / 2 - 0.7, high * 0.85))


def _balconies(spot: Spot, rng: Rng, size: Size) -> None:
    """A slab with a parapet on each floor."""
    w, d, h = size
    x, paint = rng.uniform(-0.3, 0.3) * w, material(rng, "painted", "masonry", "metal")
    for z in np.arange(4.0, h - 2, 3.0):
        spot.put(BOX, (2.4, 1.2, 1.0), paint, at=(x, -d / 2 - 0.5, float(z)))


def hill(spot: Spot, rng: Rng) -> None:
    """A low wide mound, far larger than anything else."""
    size = log_uniform(rng, 20, 150)
    long, high = size * rng.uniform(1, 3), size * rng.uniform(0.15, 0.5)
    cover = material(rng, "grass", "earth", "stone", "foliage")
    spot.put(BALL, (long, size, high), cover, at=(0, 0, -high / 2), shadow=False)


PAVEMENT: tuple[Thing, ...] = (
    *(broad_tree, lamp_post, lamp_post, person, person),
    *(bench, bush, pot_plant, crates),
)
LOW: tuple[Thing, ...] = (bush, bush, rock, rock, bench, lamp_post, fence, wall, person)
TREES: tuple[Thing, ...] = (broad_tree, fir)
SQUARE: tuple[Thing, ...] = (person, person, person, lamp_post, bench, pot_plant, crates, bush, car)
