"""Pairs of points from DA-2K's annotations."""

import json

import pytest

from pipeline.point_pairs import pairs_index
from pipeline.records import Member, PointPair
from pipeline.truth_decoding import with_truth
from pipeline.truth_encodings import TRUTH_ENCODINGS
from pipeline.truth_files import TruthFileError

PAIRS = TRUTH_ENCODINGS["point-pairs"]


def noted(point1, point2, closer="point1") -> dict:
    return {"point1": point1, "point2": point2, "closer_point": closer}


ANNOTATIONS = {
    "images/indoor/a.jpg": [noted([3, 7], [0, 1]), noted([2, 2], [3, 3], "point2")],
    "./images/outdoor/a.jpg": [noted([0, 0], [1, 1])],
}


def read(path="DA-2K/images/indoor/a.jpg", annotations=ANNOTATIONS, size=(4, 8)):
    data = json.dumps(annotations).encode()
    return with_truth(Member(path, "/data", b""), [data], PAIRS, image_size=size)


def test_rows_come_first_and_the_order_of_the_file_is_kept():
    member = read()
    assert member.points == (PointPair(3, 7, 0, 1, closer=1), PointPair(2, 2, 3, 3, closer=2))
    assert member.truth is None


def test_images_of_one_name_are_told_apart_by_their_folder():
    assert read("DA-2K/images/outdoor/a.jpg").points == (PointPair(0, 0, 1, 1, 1),)
    with pytest.raises(TruthFileError) as caught:
        read("DA-2K/images/night/a.jpg")
    assert caught.value.reason == "no_truth"


def test_the_index_names_images_beside_it():
    entries = list(pairs_index(json.dumps(ANNOTATIONS).encode(), "x.zip/DA-2K/annotations.json"))
    assert [entry.image for entry in entries] == [
        "x.zip/DA-2K/images/indoor/a.jpg",
        "x.zip/DA-2K/images/outdoor/a.jpg",
    ]
    assert {entry.truth for entry in entries} == {("x.zip/DA-2K/annotations.json",)}


@pytest.mark.parametrize(
    ("pair", "reason"),
    [
        (noted([4, 0], [0, 0]), "points_outside"),
        (noted([0, 0], [0, 8]), "points_outside"),
        (noted([-1, 0], [0, 0]), "corrupt_truth"),
        (noted([0.5, 0], [0, 0]), "corrupt_truth"),
        (noted([0], [0, 0]), "corrupt_truth"),
        (noted([0, 0], [0, 1], "neither"), "corrupt_truth"),
        ({}, "corrupt_truth"),
        ("x", "corrupt_truth"),
    ],
)
def test_points_that_cannot_be_are_refused(pair, reason):
    with pytest.raises(TruthFileError) as caught:
        read(annotations={"images/indoor/a.jpg": [pair]})
    assert caught.value.reason == reason


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff", b"[" * 100_000])
def test_broken_annotations_are_named(data):
    with pytest.raises(TruthFileError) as caught:
        list(pairs_index(data, "annotations.json"))
    assert caught.value.reason == "corrupt_truth"


def test_the_closer_point_of_the_sample_is_always_the_first(shared_data):
    """Why an evaluation has to swap: whoever answers "the first" would be right every time."""
    folder = shared_data / "containers/da2k"
    data = (folder / "annotations.json").read_bytes()
    pairs = []
    for entry in pairs_index(data, "annotations.json"):
        found = with_truth(Member(entry.image, "", b""), [data], PAIRS, image_size=(160, 213))
        assert (folder / entry.image).is_file()
        pairs += found.points
    assert len(pairs) == 20 and {pair.closer for pair in pairs} == {1}
