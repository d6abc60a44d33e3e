"""The synthetic source: a URI to members, the same each time, whatever their number."""

import io
from itertools import islice

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import SourceError
from pipeline.filters import ImageLimits, examine
from pipeline.records import Geometry, ImageHeader
from pipeline.synthetic import read_synthetic
from pipeline.worlds.scenes import MIXTURES, SCENES

SIZE = "width=64&height=48"


def members(query, kind="mixed"):
    return list(read_synthetic(f"synthetic://{kind}?{SIZE}&{query}"))


def test_a_source_can_grow():
    few, many = members("n=3&seed=4"), members("n=6&seed=4")
    assert (len(few), len(many)) == (3, 6)
    for one, other in zip(few, many, strict=False):
        assert (one.path, one.uri, one.data) == (other.path, other.uri, other.data)
        np.testing.assert_array_equal(one.truth.values_HW, other.truth.values_HW)


def test_members_are_pictures_with_metric_depth():
    for member in members("n=8"):
        with Image.open(io.BytesIO(member.data)) as image:
            assert (image.format, image.size, image.mode) == ("JPEG", (64, 48), "RGB")
        truth = member.truth
        assert truth.geometry is Geometry.DEPTH_METRIC
        assert truth.values_HW.dtype == np.float32
        assert truth.values_HW.shape == truth.sky_HW.shape == (48, 64)
        np.testing.assert_array_equal(np.isnan(truth.values_HW), truth.sky_HW)
        depth = truth.values_HW[~truth.sky_HW]
        assert (np.isfinite(depth) & (depth > 0)).all()
        assert isinstance(examine(member.data, limits=ImageLimits(), verify="decode"), ImageHeader)


def test_the_jpeg_is_the_picture_and_not_another():
    """Sharp steps of brightness lie where the depth has its steps more often than not."""
    agree = []
    for member in members("n=12", kind="clutter"):
        with Image.open(io.BytesIO(member.data)) as image:
            grey = np.asarray(image.convert("L")).astype(float)
        depth = np.log(np.nan_to_num(member.truth.values_HW, nan=1000.0))
        step = np.abs(np.diff(depth, axis=1)) > 0.2
        change = np.abs(np.diff(grey, axis=1))
        agree.append(change[step].mean() > change[~step].mean())
    assert np.mean(agree) > 0.8


def test_seeds_and_kinds_differ():
    data = {query + kind: members(query, kind)[0].data for query in ("n=1&seed=1", "n=1&seed=2")
            for kind in ("mixed", "rooms", "parks")}  # fmt: skip
    assert len(set(data.values())) == len(data)


def test_paths_are_unique_and_say_where_they_come_from():
    made = members("n=5&seed=7")
    assert len({member.path for member in made}) == 5
    assert all(member.path.startswith("mixed/seed-7/0000000") for member in made)
    assert {member.uri for member in made} == {"synthetic://mixed?seed=7&width=64&height=48"}
    assert {member.offset for member in made} == {None}
    assert made[0].path.split("-")[-1].removesuffix(".jpg") in SCENES


def test_pictures_are_made_one_by_one():
    first = next(islice(read_synthetic(f"synthetic://rooms?n=100000000&{SIZE}"), 1))
    assert first.path == "rooms/seed-0/00000000-rooms.jpg"


@pytest.mark.parametrize("kind", [*SCENES, *MIXTURES])
def test_every_name_gives_pictures(kind):
    (member,) = members("n=1", kind=kind)
    scene = member.path.removesuffix(".jpg").split("-")[-1]
    assert scene in MIXTURES.get(kind, (kind,))


def test_mixtures_hold_all_their_parts():
    made = {m.path.removesuffix(".jpg").split("-")[-1] for m in members("n=20", kind="outdoor")}
    assert made == set(MIXTURES["outdoor"])


def test_defaults():
    first = next(iter(read_synthetic("synthetic://parks")))
    assert first.truth.values_HW.shape == (240, 320)


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("synthetic://castles", r"no 'castles' scene; there are indoor, outdoor, mixed, rooms"),
        ("synthetic://", r"nameless"),
        ("synthetic://rooms?m=3", r"m is unknown; there are n, seed, width, height"),
        ("synthetic://rooms?n=3&n=4", r"n is twice"),
        ("synthetic://rooms?n=-1", r"n=-1 is no whole number from 1 to 100000000"),
        ("synthetic://rooms?n=", r"n= is no whole number"),
        ("synthetic://rooms?seed=1.5", r"seed=1.5 is no whole number"),
        ("synthetic://rooms?width=9999999", r"width=9999999 is no whole number from 32 to 4096"),
        ("synthetic://rooms/large", r"nothing may follow the scene's name"),
        ("synthetic://castles?m=1", r"castles.*m is unknown"),
    ],
)
def test_impossible_requests_are_refused_at_once(uri, says):
    with pytest.raises(SourceError, match=says):
        read_synthetic(uri)
