"""Every kind of scene, many times over: possible, different, and worth learning from."""

import numpy as np
import pytest

from pipeline.worlds.raycast import NOTHING, Shape, cast
from pipeline.worlds.rendering import render
from pipeline.worlds.scenes import MIXTURES, SCENES

SIZE = {"width": 64, "height": 48}
INDOOR = ("rooms", "halls", "corridors", "tabletops")
N = 8


def scenes(kind, n=N):
    return [SCENES[kind](np.random.default_rng([index, 1])) for index in range(n)]


@pytest.mark.parametrize("kind", SCENES)
def test_scenes_are_possible(kind):
    for index, scene in enumerate(scenes(kind)):
        made = render(scene, **SIZE, rng=np.random.default_rng(index))
        depth = made.depth_HW[~made.sky_HW]
        assert np.isnan(made.depth_HW[made.sky_HW]).all()
        assert np.isfinite(depth).all()
        assert depth.min() > 0.1  # nothing sticks to the lens
        assert made.rgb_HW3.std() > 8  # there is something to see
        if kind in INDOOR:
            assert not made.sky_HW.any()
        if kind == "rooms":
            assert depth.max() < 15


@pytest.mark.parametrize("kind", SCENES)
def test_scenes_differ_and_come_again(kind):
    first, again = scenes(kind, n=4), scenes(kind, n=4)
    pictures = [render(s, **SIZE, rng=np.random.default_rng(0)) for s in first]
    copies = [render(s, **SIZE, rng=np.random.default_rng(0)) for s in again]
    for one, copy in zip(pictures, copies, strict=True):
        np.testing.assert_array_equal(one.rgb_HW3, copy.rgb_HW3)
        np.testing.assert_array_equal(one.depth_HW, copy.depth_HW)
    maps = {made.depth_HW.tobytes() for made in pictures}
    assert len(maps) == 4


@pytest.mark.parametrize("kind", SCENES)
def test_things_hide_each_other(kind):
    seen = []
    for scene in scenes(kind):
        hits = cast(scene.view.camera(**SIZE), scene.solids)
        seen.append(len(np.unique(hits.solid_HW[hits.solid_HW != NOTHING])))
    assert np.median(seen) >= 8


def test_the_lower_part_of_a_picture_is_mostly_nearer():
    nearer = []
    for kind in SCENES:
        for scene in scenes(kind, n=5):
            depth = render(scene, **SIZE, rng=np.random.default_rng(0)).depth_HW
            with np.errstate(all="ignore"):
                upper = np.nan_to_num(depth[:24], nan=1e3)
                nearer.append(np.median(np.nan_to_num(depth[36:], nan=1e3)) < np.median(upper))
    assert np.mean(nearer) > 0.75


def test_depths_span_a_tabletop_to_a_landscape():
    medians = []
    for kind in SCENES:
        for scene in scenes(kind, n=4):
            depth = render(scene, **SIZE, rng=np.random.default_rng(0)).depth_HW
            medians.append(np.nanmedian(depth))
    assert min(medians) < 1.5
    assert max(medians) > 10


@pytest.mark.parametrize("kind", SCENES)
def test_the_camera_stands_free(kind):
    for scene in scenes(kind):
        for solid in scene.solids:
            if solid.shape in (Shape.PLANE, Shape.SHELL):
                continue
            away = np.abs(solid.turn.T @ (scene.view.position - solid.centre)) - solid.half
            assert away.max() > 0.1
        shells = [solid for solid in scene.solids if solid.shape is Shape.SHELL]
        for shell in shells:
            assert (np.abs(scene.view.position - shell.centre) < shell.half).all()


def test_mixtures_are_made_of_scenes():
    assert not set(MIXTURES) & set(SCENES)
    for parts in MIXTURES.values():
        assert set(parts) <= set(SCENES)
    assert set(MIXTURES["mixed"]) == set(SCENES)
