"""Depth against closed forms, and against marching along rays in steps too small to miss."""

import numpy as np
import pytest

from pipeline.worlds.raycast import (
    FAR_M,
    NOTHING,
    Camera,
    Shape,
    Solid,
    blocked,
    cast,
    local_normals,
    look,
)
from pipeline.worlds.stage import any_turn
from pipeline.worlds.textures import Material

PAINT = Material("plain", np.full((2, 3), 0.5, np.float32), 1.0)
INSIDE = {
    Shape.BOX: lambda p: np.abs(p).max(axis=0) <= 1,
    Shape.BALL: lambda p: (p * p).sum(axis=0) <= 1,
    Shape.TUBE: lambda p: (p[0] ** 2 + p[1] ** 2 <= 1) & (np.abs(p[2]) <= 1),
    Shape.CONE: lambda p: (np.hypot(p[0], p[1]) <= (1 - p[2]) / 2) & (np.abs(p[2]) <= 1),
}


def solid(shape, centre, half, turn=None) -> Solid:
    turn = np.eye(3) if turn is None else turn
    return Solid(shape, np.array(centre, float), np.array(half, float), turn, PAINT)


def camera(*, yaw=0.0, pitch=0.0, roll=0.0, at=(0, 0, 0), width=41, height=31, focal=30.0):
    axes = look(yaw=yaw, pitch=pitch, roll=roll)
    return Camera(np.array(at, float), axes, focal, width, height)


def points(camera, hits):
    """World points of all hit pixels, shape (3, N)."""
    seen = hits.solid_HW != NOTHING
    rays = camera.rays_3HW[:, seen].astype(float)
    return camera.position[:, None] + rays * hits.depth_HW[seen]


def test_camera_axes_are_a_right_handed_frame():
    for yaw, pitch, roll in np.random.default_rng(0).uniform(-1.4, 1.4, (20, 3)):
        axes = look(yaw=yaw, pitch=pitch, roll=roll)
        np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(axes) == pytest.approx(1)


def test_yaw_turns_right_pitch_lifts_roll_is_clockwise():
    north, east, up = np.eye(3)[1], np.eye(3)[0], np.eye(3)[2]
    right, down, forward = look(yaw=0, pitch=0, roll=0)
    np.testing.assert_allclose([right, down, forward], [east, -up, north], atol=1e-12)
    assert look(yaw=0.1, pitch=0, roll=0)[2] @ east > 0
    assert look(yaw=0, pitch=0.1, roll=0)[2] @ up > 0
    assert look(yaw=0, pitch=0, roll=0.1)[0] @ up < 0  # the camera's right side dips


def test_projection_undoes_the_rays():
    eye = camera(yaw=0.3, pitch=-0.2, roll=0.1, at=(1, 2, 3))
    depth = np.random.default_rng(0).uniform(0.5, 50, eye.width * eye.height)
    world = eye.position[:, None] + eye.rays_3HW.reshape(3, -1) * depth
    x, y, z = eye.project(world)
    rows, columns = np.mgrid[: eye.height, : eye.width]
    np.testing.assert_allclose(x, columns.ravel() + 0.5, atol=1e-4)
    np.testing.assert_allclose(y, rows.ravel() + 0.5, atol=1e-4)
    np.testing.assert_allclose(z, depth, rtol=1e-6)


@pytest.mark.parametrize("pitch", [0.0, -0.3, 0.2])
def test_ground_has_the_depth_of_its_row(pitch):
    eye, height = camera(pitch=pitch, at=(5, -3, 1.6)), 1.6
    hits = cast(eye, [solid(Shape.PLANE, (0, 0, 0), (1, 1, 1))])
    y = (np.arange(eye.height) + 0.5 - eye.height / 2) / eye.focal_px
    # A pixel y below the axis looks down by y cos(pitch) - sin(pitch) per metre of depth.
    fall = y * np.cos(pitch) - np.sin(pitch)
    with np.errstate(divide="ignore"):
        expected = np.where(fall > height / FAR_M, height / fall, np.nan)
    for column in hits.depth_HW.T:
        found = np.where(column < FAR_M, column, np.nan)
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_wall_across_the_view_has_one_depth():
    """Distance along the optical axis, not to the camera's centre."""
    eye = camera()
    hits = cast(eye, [solid(Shape.BOX, (0, 5, 0), (100, 1, 100))])
    np.testing.assert_allclose(hits.depth_HW, 4, rtol=1e-6)
    turned = cast(camera(yaw=0.2), [solid(Shape.BOX, (0, 5, 0), (100, 1, 100))])
    assert np.ptp(turned.depth_HW) > 1
    x, y, _ = points(camera(yaw=0.2), turned)
    np.testing.assert_allclose(y, 4, rtol=1e-5)
    assert x.min() < 0 < x.max()


def test_a_face_covers_the_pixels_that_it_projects_to():
    eye = camera()
    hits = cast(eye, [solid(Shape.BOX, (0.51, 3, -0.42), (0.7, 1, 0.3))])
    x, y = eye.plane
    left, right, top, bottom = -0.19 / 2, 1.21 / 2, 0.12 / 2, 0.72 / 2
    columns, rows = (x > left) & (x < right), (y > top) & (y < bottom)
    face = rows[:, None] & columns
    assert (hits.solid_HW[face] == 0).all()
    np.testing.assert_allclose(hits.depth_HW[face], 2, rtol=1e-6)
    assert (hits.depth_HW[(hits.solid_HW == 0) & ~face] > 2).all()  # only its sides lie around


@pytest.mark.parametrize("centre", [(0, 10, 0), (2, 9, 1.5), (-3, 40, 2)])
@pytest.mark.parametrize("radius", [1.0, 0.5])
def test_a_ball_has_its_nearest_point_its_outline_and_its_surface(centre, radius):
    eye = camera(width=161, height=121, focal=160.0)
    hits = cast(eye, [solid(Shape.BALL, centre, [radius] * 3)])
    away = np.linalg.norm(centre)
    rays = eye.rays_3HW.astype(float)
    cosine = np.tensordot(centre, rays, 1) / away / np.sqrt((rays**2).sum(axis=0))
    outline = np.arcsin(radius / away)
    clear = np.abs(np.arccos(np.minimum(cosine, 1)) - outline) > 1e-5
    assert ((hits.solid_HW == 0) == (cosine > np.cos(outline)))[clear].all()
    distance = np.linalg.norm(points(eye, hits) - np.array(centre)[:, None], axis=0)
    np.testing.assert_allclose(distance, radius, rtol=2e-4)
    if centre[0] == 0:
        assert hits.depth_HW.min() == pytest.approx(away - radius, rel=1e-6)


def march(solid, origin, directions, *, stop, steps) -> np.ndarray:
    """First ray parameter inside the solid, found by trying ``steps`` of them; inf where none."""
    t = np.linspace(0, stop, steps)
    first = np.full(directions.shape[1], np.inf)
    for i, direction in enumerate(directions.T):
        along = origin[:, None] + direction[:, None] * t
        local = (solid.turn.T @ (along - solid.centre[:, None])) / solid.half[:, None]
        inside = INSIDE[solid.shape](local)
        if inside.any():
            first[i] = t[inside.argmax()]
    return first


@pytest.mark.parametrize("shape", INSIDE)
def test_solids_of_any_size_and_turn_are_where_marching_finds_them(shape):
    rng = np.random.default_rng(len(shape.value))
    eye = camera(yaw=0.4, pitch=-0.1, roll=0.3, at=(1, -1, 0.5), width=14, height=10, focal=8.0)
    hit = 0
    for _ in range(30):
        thing = solid(
            shape, rng.uniform([0, 0, -1], [4, 5, 1]), rng.uniform(0.2, 1.6, 3), any_turn(rng)
        )
        hits = cast(eye, [thing])
        rays = eye.rays_3HW.reshape(3, -1).astype(float)
        found = march(thing, eye.position, rays, stop=12, steps=4000)
        depth = np.where(hits.solid_HW == 0, hits.depth_HW, np.inf).ravel()
        if found.min() == 0 or np.isfinite(found).sum() < 6:
            continue  # the camera stands in it, or it is a speck that is not drawn
        both = np.isfinite(found) & np.isfinite(depth)
        np.testing.assert_allclose(depth[both], found[both], atol=0.004)
        # Marching steps over slivers that the exact ray still hits, never the other way round.
        assert np.isfinite(depth[np.isfinite(found)]).all()
        assert (np.isfinite(depth) & ~np.isfinite(found)).mean() < 0.03
        hit += both.sum()
    assert hit > 300


def test_a_shell_is_seen_from_inside():
    eye = camera(yaw=0.7, pitch=0.2, at=(0.5, -0.5, 0.2), focal=12.0)
    hits = cast(eye, [solid(Shape.SHELL, (0, 0, 1), (3, 4, 2))])
    assert (hits.solid_HW == 0).all()
    x, y, z = points(eye, hits)
    walls = np.stack([np.abs(x) / 3, np.abs(y) / 4, np.abs(z - 1) / 2])
    np.testing.assert_allclose(walls.max(axis=0), 1, rtol=1e-5)


def test_the_nearest_of_many_is_seen():
    rng = np.random.default_rng(3)
    eye = camera()
    things = [
        solid(shape, rng.uniform([-3, 1, -2], [3, 12, 2]), rng.uniform(0.2, 2, 3), any_turn(rng))
        for shape in (*INSIDE, *INSIDE, *INSIDE)
    ]
    together = cast(eye, things)
    alone = np.stack([cast(eye, [thing]).depth_HW for thing in things])
    np.testing.assert_array_equal(together.depth_HW, alone.min(axis=0))
    seen = together.solid_HW != NOTHING
    np.testing.assert_array_equal(together.solid_HW[seen], alone.argmin(axis=0)[seen])


def test_nothing_behind_the_camera_and_nothing_at_all():
    hits = cast(camera(), [solid(Shape.BALL, (0, -5, 0), (1, 1, 1))])
    assert (hits.solid_HW == NOTHING).all()
    assert (cast(camera(), []).solid_HW == NOTHING).all()


@pytest.mark.parametrize("shape", [*INSIDE, Shape.SHELL, Shape.PLANE])
def test_normals_stand_on_the_surface_and_face_the_camera(shape):
    eye = camera(width=200, height=160, focal=200.0)
    if shape is Shape.SHELL:
        thing, eye = solid(shape, (0, 0, 0), (3, 4, 2)), camera(width=200, height=160, focal=90.0)
    elif shape is Shape.PLANE:
        thing = solid(shape, (0, 0, -2), (1, 1, 1))
    else:
        thing = solid(shape, (0, 5, 0), (1.5, 0.8, 1.1), any_turn(np.random.default_rng(1)))
    hits = cast(eye, [thing])
    rays = eye.rays_3HW.astype(float)
    surface = rays * np.where(hits.depth_HW < 30, hits.depth_HW, np.nan)
    across, down = np.gradient(surface, axis=2), np.gradient(surface, axis=1)
    expected = np.cross(down, across, axis=0)
    expected /= np.linalg.norm(expected, axis=0)
    seen = np.isfinite(expected).all(axis=0)
    local = thing.local(surface[:, seen].astype(np.float32))
    normal = thing.to_local.T @ local_normals(shape, local)
    normal /= np.linalg.norm(normal, axis=0)
    assert (np.einsum("ij,ij->j", normal, rays[:, seen]) < 1e-3).all()
    agreement = np.abs(np.einsum("ij,ij->j", normal, expected[:, seen]))
    assert np.median(agreement) > 0.9999
    assert (agreement > 0.99).mean() > 0.9  # all but the edges, where a gradient means nothing


@pytest.mark.parametrize("shape", INSIDE)
def test_blocked_is_what_marching_finds(shape):
    rng = np.random.default_rng(7)
    thing = solid(shape, (0, 0, 0), (1, 0.7, 1.2), any_turn(rng))
    start = rng.normal(size=(3, 400))
    start *= 3 / np.linalg.norm(start, axis=0)
    towards = rng.normal(size=(3, 400)) * 2 - start
    found = np.array(
        [
            march(thing, point, direction[:, None], stop=1, steps=3000)[0]
            for point, direction in zip(start.T, towards.T, strict=True)
        ]
    )
    dark = blocked(thing, start.astype(np.float32), towards.astype(np.float32), reach=1.0)
    assert dark[np.isfinite(found)].all()
    assert (dark != np.isfinite(found)).mean() < 0.02
    assert 20 < dark.sum() < 380
    short = blocked(thing, start.astype(np.float32), towards.astype(np.float32), reach=1e-3)
    assert not short.any()
