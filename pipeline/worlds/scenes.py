"""The kinds of random little worlds, by name.

What they share, on purpose: the lower part of a picture is mostly nearer, things hide each other,
and everything carries texture, so that neither shading nor pattern alone gives depth away.
"""

from collections.abc import Callable

from pipeline.worlds.exteriors import open_ground, park, square, street
from pipeline.worlds.framing import aim, indoors, outdoors
from pipeline.worlds.interiors import corridor, hall, interior, room, tabletop
from pipeline.worlds.rendering import Scene
from pipeline.worlds.stage import BALL, BOX, CONE, TUBE, Stage, any_turn
from pipeline.worlds.themes import Rng, log_uniform, material, one_of


def clutter(rng: Rng) -> Scene:
    """Many solids of any size and turn at all distances, in a room or under the sky."""
    inside, d = rng.random() < 0.6, log_uniform(rng, 4, 25)
    size = _, _, h = d * rng.uniform(0.6, 1.4), d, d * rng.uniform(0.4, 0.9)
    stage = interior(rng, size) if inside else open_ground(rng, "paving", "grass", "asphalt")
    eye = (0, 0.3 - d / 2, h * rng.uniform(0.25, 0.7))
    for _ in range(int(rng.integers(25, 80))):
        _float(stage, away=log_uniform(rng, 0.9, d), eye=eye)
    view = aim(rng, eye, turn=0.2, pitch=(-0.3, 0.15))
    return indoors(stage, size, view) if inside else outdoors(stage, view)


def _float(stage: Stage, *, away: float, eye: tuple[float, float, float]) -> None:
    """One solid in the air or on the floor, larger the farther away."""
    rng = stage.rng
    w, d, h = away * log_uniform(rng, 0.06, 0.4) * rng.uniform(0.3, 1.3, 3)
    paint = material(rng, "paper", "vivid", "wood", "stone", "painted", "foliage", "masonry")
    x, z = rng.uniform(-0.8, 0.8) * away, 0.0
    if rng.random() < 0.6:
        z = max(0, eye[2] + rng.uniform(-0.7, 0.5) * away)
    lean = any_turn(rng) if rng.random() < 0.6 else None
    shape = one_of(rng, (BOX, BOX, BALL, TUBE, CONE))
    spot = stage.spot(x, eye[1] + away, z, yaw=rng.uniform(0, 6.28))
    spot.put(shape, (w, d, h), paint, lean=lean)


SCENES: dict[str, Callable[[Rng], Scene]] = {
    "rooms": room,
    "halls": hall,
    "corridors": corridor,
    "tabletops": tabletop,
    "clutter": clutter,
    "streets": street,
    "squares": square,
    "parks": park,
}

_INDOOR = ("rooms", "rooms", "halls", "corridors", "tabletops")
_OUTDOOR = ("streets", "streets", "squares", "parks", "parks")

MIXTURES: dict[str, tuple[str, ...]] = {
    "indoor": _INDOOR,
    "outdoor": _OUTDOOR,
    "mixed": (*_INDOOR, *_OUTDOOR, "clutter"),
}
