"""Things that stand indoors: furniture, shelves of books, small things on tables, people.

See ``stage`` for the axes. Sizes are those of real things: a chair as large as a house would be
the wrong lesson.
"""

from pipeline.worlds.stage import BALL, BOX, CONE, TUBE, Spot, Thing, lean_x
from pipeline.worlds.textures import Material
from pipeline.worlds.themes import Rng, material, one_of


def table(spot: Spot, rng: Rng) -> None:
    """Four legs, a top, and small things on it."""
    w, d, h = rng.uniform(0.6, 1.8), rng.uniform(0.5, 0.9), rng.choice([0.45, 0.74, 0.78])
    paint = material(rng, "wood", "painted")
    spot.put(BOX, (w, d, 0.04), paint, at=(0, 0, h - 0.04))
    legs(spot, w, d, h - 0.04, paint, thick=rng.uniform(0.03, 0.08))
    scatter(spot.near(0, 0, h), rng, w, d, count=int(rng.integers(1, 7)))


def legs(spot: Spot, w: float, d: float, h: float, paint: Material, *, thick: float) -> None:
    """Four legs under the corners of a rectangle."""
    for x in (-1, 1):
        for y in (-1, 1):
            at = (x * (w - thick) / 2, y * (d - thick) / 2, 0.0)
            spot.put(BOX, (thick, thick, h), paint, at=at)


def scatter(spot: Spot, rng: Rng, w: float, d: float, *, count: int) -> None:
    """Small things on a surface: books, cups, bottles, fruit, boxes, lamps."""
    for _ in range(count):
        here = spot.near(*(rng.uniform(-0.45, 0.45, 2) * [w, d]), yaw=rng.uniform(0, 6.3))
        one_of(rng, SMALL)(here, rng)


def books(spot: Spot, rng: Rng) -> None:
    """A pile of books."""
    z = 0.0
    for _ in range(int(rng.integers(1, 5))):
        size = (rng.uniform(0.12, 0.3), rng.uniform(0.1, 0.22), rng.uniform(0.015, 0.05))
        spot.near(0, 0, z, yaw=rng.normal(0, 0.2)).put(BOX, size, material(rng, "paper", "vivid"))
        z += size[2]


def cup(spot: Spot, rng: Rng) -> None:
    """A cup, a tin or a jar."""
    r, h = rng.uniform(0.05, 0.12), rng.uniform(0.07, 0.16)
    spot.put(TUBE, (r, r, h), material(rng, "painted", "metal", "paper", "vivid"))


def bottle(spot: Spot, rng: Rng) -> None:
    """A body, a shoulder and a neck."""
    r, h, paint = rng.uniform(0.05, 0.1), rng.uniform(0.1, 0.22), material(rng, "painted", "vivid")
    spot.put(TUBE, (r, r, h), paint)
    spot.put(BALL, (r, r, r), paint, at=(0, 0, h - r / 2))
    spot.put(TUBE, (r * 0.35, r * 0.35, h * 0.6), paint, at=(0, 0, h))


def fruit(spot: Spot, rng: Rng) -> None:
    """One to four balls."""
    paint = material(rng, "painted", "vivid", "foliage")
    for _ in range(int(rng.integers(1, 5))):
        r = rng.uniform(0.05, 0.13)
        spot.put(BALL, (r, r, r * rng.uniform(0.8, 1.2)), paint, at=(*rng.normal(0, 0.08, 2), 0.0))


def carton(spot: Spot, rng: Rng) -> None:
    """A small box of any proportion."""
    w, d, h = rng.uniform(0.05, 0.3, 3)
    spot.put(BOX, (w, d, h), material(rng, "paper", "fabric", "wood", "vivid"))


def desk_lamp(spot: Spot, rng: Rng) -> None:
    """A foot, a rod and a shade."""
    h, w = rng.uniform(0.25, 0.5), rng.uniform(0.15, 0.3)
    metal = material(rng, "metal", "painted")
    spot.put(TUBE, (0.12, 0.12, 0.02), metal)
    spot.put(TUBE, (0.02, 0.02, h), metal)
    shade = material(rng, "fabric", glow=rng.uniform(0, 1.5))
    spot.put(CONE, (w, w, w), shade, at=(0, 0, h - w / 3))


def screen(spot: Spot, rng: Rng) -> None:
    """A monitor on a foot."""
    w = rng.uniform(0.4, 0.9)
    metal = material(rng, "metal")
    spot.put(BOX, (0.2, 0.15, 0.02), metal)
    spot.put(BOX, (0.04, 0.03, 0.2), metal, at=(0, 0.02, 0))
    picture = material(rng, "paper", glow=rng.uniform(0, 0.8))
    spot.put(BOX, (w, 0.04, w * 0.6), picture, at=(0, 0, 0.12))


def chair(spot: Spot, rng: Rng) -> None:
    """A seat, a back and four legs."""
    w, h, paint = rng.uniform(0.38, 0.5), rng.uniform(0.42, 0.5), material(rng, "wood", "metal")
    seat = material(rng, "fabric") if rng.random() < 0.5 else paint
    spot.put(BOX, (w, w, 0.05), seat, at=(0, 0, h - 0.05))
    back = (w, 0.04, rng.uniform(0.3, 0.6))
    spot.put(BOX, back, seat, at=(0, w / 2 - 0.02, h), lean=lean_x(-0.1))
    legs(spot, w, w, h - 0.05, paint, thick=0.04)


def sofa(spot: Spot, rng: Rng) -> None:
    """A base, a back, two arms and cushions."""
    w, d, paint = rng.uniform(0.8, 2.2), rng.uniform(0.75, 0.95), material(rng, "fabric")
    spot.put(BOX, (w, d, 0.42), paint)
    spot.put(BOX, (w, 0.22, 0.82), paint, at=(0, d / 2 - 0.11, 0))
    for side in (-1, 1):
        spot.put(BOX, (0.18, d, 0.6), paint, at=(side * w / 2, 0, 0))
    for _ in range(int(rng.integers(0, 4))):
        at = (rng.uniform(-0.4, 0.4) * w, d / 2 - 0.3, 0.42)
        spot.put(BOX, (0.4, 0.14, 0.38), material(rng, "fabric", "vivid"), at=at, lean=lean_x(-0.3))


def bed(spot: Spot, rng: Rng) -> None:
    """A frame, a mattress, a blanket and pillows; its head is behind the spot."""
    spot = spot.near(0, -0.6)
    w = rng.choice([0.9, 1.4, 1.8])
    wood, sheet = material(rng, "wood", "painted"), material(rng, "fabric")
    spot.put(BOX, (w, 2.05, 0.3), wood)
    spot.put(BOX, (w - 0.05, 2.0, 0.22), sheet, at=(0, 0, 0.3))
    spot.put(BOX, (w + 0.02, 1.3, 0.25), material(rng, "fabric"), at=(0, -0.33, 0.3))
    spot.put(BOX, (w, 0.06, rng.uniform(0.7, 1.2)), wood, at=(0, 1.05, 0))
    for x in (-w / 4, w / 4) if w > 1 else (0.0,):
        spot.put(BALL, (0.6, 0.4, 0.2), sheet, at=(x, 0.75, 0.48))


def shelf(spot: Spot, rng: Rng) -> None:
    """Boards between two sides, with books and boxes on them."""
    w, d, h = rng.uniform(0.6, 1.4), rng.uniform(0.25, 0.4), rng.uniform(0.8, 2.1)
    paint = material(rng, "wood", "painted", "metal")
    spot.put(BOX, (w, 0.02, h), paint, at=(0, d / 2, 0))
    for side in (-1, 1):
        spot.put(BOX, (0.03, d, h), paint, at=(side * w / 2, 0, 0))
    levels = max(2, int(h / 0.38))
    for i in range(levels + 1):
        z = i * (h - 0.03) / levels
        spot.put(BOX, (w, d, 0.03), paint, at=(0, 0, z))
        if i < levels:
            _shelf_row(spot, rng, w, d, z + 0.03, h / levels - 0.06)


def _shelf_row(spot: Spot, rng: Rng, w: float, d: float, z: float, room: float) -> None:
    x = -w / 2 + 0.05
    while x < w / 2 - 0.1:
        size = (rng.uniform(0.05, 0.35), d * rng.uniform(0.5, 0.9), room * rng.uniform(0.4, 0.95))
        size = (min(size[0], w / 2 - 0.02 - x), *size[1:])
        if rng.random() < 0.75:
            at = (x + size[0] / 2, 0.02, z)
            shape = one_of(rng, (BOX, BOX, BOX, TUBE))
            spot.put(shape, size, material(rng, "paper", "vivid"), at=at)
        x += size[0] + 0.01


def cabinet(spot: Spot, rng: Rng) -> None:
    """A closed piece with doors or drawers, perhaps with things on top."""
    w, d, h = rng.uniform(0.4, 1.6), rng.uniform(0.35, 0.65), rng.choice([0.5, 0.85, 1.2, 2.0])
    paint = material(rng, "wood", "painted")
    spot.put(BOX, (w, d, h), paint)
    rows, columns = int(rng.integers(1, 5)), int(rng.integers(1, 4))
    front = material(rng, "wood", "painted") if rng.random() < 0.5 else paint
    for i in range(rows):
        for j in range(columns):
            size = (w / columns - 0.03, 0.02, h / rows - 0.04)
            at = ((j + 0.5) * w / columns - w / 2, -d / 2, i * h / rows + 0.02)
            spot.put(BOX, size, front, at=at)
    if h < 1.3:
        scatter(spot.near(0, 0, h), rng, w, d, count=int(rng.integers(0, 5)))


def floor_lamp(spot: Spot, rng: Rng) -> None:
    """A rod with a shade at the height of a face."""
    h, metal = rng.uniform(1.2, 1.7), material(rng, "metal")
    spot.put(TUBE, (0.3, 0.3, 0.03), metal)
    spot.put(TUBE, (0.03, 0.03, h), metal)
    shade = material(rng, "light", "fabric", glow=rng.uniform(0.5, 2))
    spot.put(TUBE, (0.35, 0.35, 0.3), shade, at=(0, 0, h))


def pot_plant(spot: Spot, rng: Rng) -> None:
    """A pot with a few leaves."""
    h, leaf = rng.uniform(0.2, 0.5), material(rng, "foliage")
    spot.put(TUBE, (h, h, h), material(rng, "painted", "stone", "vivid"))
    for _ in range(int(rng.integers(4, 10))):
        size = (0.12 * h * 4, 0.05 * h * 4, rng.uniform(0.5, 1.3))
        at = (*rng.normal(0, 0.2 * h, 2), h * 0.9)
        here = spot.near(0, 0, yaw=rng.uniform(0, 6.28))
        here.put(BALL, size, leaf, at=at, lean=lean_x(rng.normal(0, 0.5)))


def crates(spot: Spot, rng: Rng) -> None:
    """Boxes and barrels beside and on each other."""
    for i in range(int(rng.integers(1, 5))):
        side, paint = rng.uniform(0.3, 0.8), material(rng, "wood", "paper", "painted")
        here = spot.near(*rng.normal(0, 0.6, 2), yaw=rng.uniform(0, 1.5))
        here.put(BOX if i % 3 else TUBE, (side, side, side * rng.uniform(0.6, 1.3)), paint)


def person(spot: Spot, rng: Rng) -> None:
    """Somebody standing or walking: legs, trunk, arms, head and hair."""
    h = rng.uniform(1.5, 1.95)
    trousers, shirt = material(rng, "fabric", "painted"), material(rng, "fabric", "vivid")
    skin, step = material(rng, "skin"), rng.normal(0, 0.2)
    for side in (-1, 1):
        swing = side * step
        leg, arm = (0.15, 0.16, 0.48 * h), (0.1, 0.1, 0.36 * h)
        spot.put(TUBE, leg, trousers, at=(side * 0.09, swing / 2, 0), lean=lean_x(swing))
        spot.put(BALL, arm, shirt, at=(side * 0.23, -swing / 3, 0.46 * h), lean=lean_x(-swing))
    spot.put(TUBE, (0.36, 0.22, 0.31 * h), shirt, at=(0, 0, 0.47 * h))
    spot.put(BALL, (0.46, 0.24, 0.14 * h), shirt, at=(0, 0, 0.71 * h))
    spot.put(BALL, (0.16, 0.19, 0.13 * h), skin, at=(0, 0, 0.85 * h))
    spot.put(BALL, (0.18, 0.2, 0.1 * h), material(rng, "wood"), at=(0, 0.03, 0.9 * h))


SMALL: tuple[Thing, ...] = (books, cup, cup, bottle, fruit, carton, carton, desk_lamp, screen)
AT_WALL: tuple[Thing, ...] = (shelf, shelf, cabinet, cabinet, cabinet, sofa, table, bed, chair)
STANDING: tuple[Thing, ...] = (table, table, chair, chair, sofa, person)
ANYWHERE: tuple[Thing, ...] = (crates, pot_plant, floor_lamp)
AGAINST_WALL, FREE_STANDING = (*AT_WALL, *ANYWHERE), (*STANDING, *ANYWHERE)
