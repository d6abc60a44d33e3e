"""The stage that scenes are built on, part by part.

A thing is built at a ``Spot`` in its own axes: x to the right and y away for whoever stands in
front of it, z up from the floor. A part is placed by the middle of its underside. All in metres.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from pipeline.worlds.raycast import Doubles, Shape, Solid
from pipeline.worlds.textures import Material
from pipeline.worlds.themes import Rng

Size = tuple[float, float, float]
BOX, BALL, TUBE, CONE = Shape.BOX, Shape.BALL, Shape.TUBE, Shape.CONE


@dataclass(frozen=True, slots=True)
class Stage:
    """The solids of a scene while it is being built."""

    rng: Rng
    solids: list[Solid] = field(default_factory=list)

    def spot(self, x: float, y: float, z: float = 0.0, *, yaw: float = 0.0) -> "Spot":
        """A place to build at; yaw turns counter-clockwise seen from above, radians."""
        return Spot(self, np.array([x, y, z], np.float64), about_z(yaw))

    def shell(self, size: Size, paint: Material) -> None:
        """A closed room, its floor's middle at the world's origin."""
        half = np.array(size, np.float64) / 2
        centre = np.array([0, 0, half[2]])
        self.solids.append(Solid(Shape.SHELL, centre, half, np.eye(3), paint, casts_shadow=False))

    def ground(self, paint: Material) -> None:
        """The endless plane z = 0."""
        flat = Solid(Shape.PLANE, np.zeros(3), np.ones(3), np.eye(3), paint, casts_shadow=False)
        self.solids.append(flat)


@dataclass(frozen=True, slots=True)
class Spot:
    """A place on a stage; the columns of ``turn`` are its own axes in the world."""

    stage: Stage
    origin: Doubles
    turn: Doubles

    def put(
        self,
        shape: Shape,
        size: Size,
        paint: Material,
        *,
        at: Size = (0.0, 0.0, 0.0),
        lean: Doubles | None = None,
        shadow: bool = True,
    ) -> None:
        """Add one part: its full extents and where the middle of its underside is."""
        half = np.array(size, np.float64) / 2
        centre = self.origin + self.turn @ np.array([at[0], at[1], at[2] + half[2]])
        turn = self.turn if lean is None else self.turn @ lean
        self.stage.solids.append(Solid(shape, centre, half, turn, paint, casts_shadow=shadow))

    def near(self, x: float, y: float, z: float = 0.0, *, yaw: float = 0.0) -> "Spot":
        """Another spot, given in this one's axes."""
        turn = self.turn @ about_z(yaw) if yaw else self.turn
        return Spot(self.stage, self.origin + self.turn @ np.array([x, y, z]), turn)


Thing = Callable[[Spot, Rng], None]


def any_turn(rng: Rng) -> Doubles:
    """A rotation drawn evenly from all rotations."""
    w, x, y, z = (q := rng.standard_normal(4)) / np.linalg.norm(q)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def lean_x(angle: float) -> Doubles:
    """A rotation about the thing's own x axis, radians."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def about_z(angle: float) -> Doubles:
    """A rotation about the vertical, counter-clockwise seen from above, radians."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
