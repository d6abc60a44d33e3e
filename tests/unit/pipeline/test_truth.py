"""An image and its ground truth are read together, or it is said why they do not go together."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from pipeline.parts import Part, Sample
from pipeline.records import Drop, Member
from pipeline.truth import decoded, misfit, read_sample
from pipeline.truth_encodings import TRUTH_ENCODINGS


def picture(width: int, height: int, *, orientation: int = 1, kind: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (width, height), (9, 200, 30)).save(buffer, kind, exif=exif)
    return buffer.getvalue()


def depth(width: int, height: int, value: int = 1500) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((height, width), value, np.uint16)).save(buffer, "PNG")
    return buffer.getvalue()


def part(tmp_path, name: str, data: bytes) -> Part:
    (tmp_path / name).write_bytes(data)
    return Part(name, str(tmp_path / name), 0, len(data), len(data))


def sample(tmp_path, image: bytes, truth: bytes) -> Sample:
    parts = part(tmp_path, "a.jpg", image), part(tmp_path, "a.png", truth)
    return Sample("set/a.jpg", parts[0], parts[1:], "png-mm")


def test_a_sample_has_its_values_and_its_place(tmp_path):
    image = picture(8, 6)
    found = read_sample(sample(tmp_path, image, depth(8, 6)))
    assert isinstance(found, Member) and found.truth is not None
    assert (found.path, found.uri, found.offset) == ("set/a.jpg", str(tmp_path / "a.jpg"), 0)
    assert found.data == image
    assert (found.truth.values_HW == 1.5).all() and found.truth.values_HW.shape == (6, 8)


@pytest.mark.parametrize(
    ("image", "truth", "reason"),
    [
        (picture(8, 6), depth(6, 8), "truth_size_mismatch"),
        (picture(8, 6), depth(8, 6, 0), "empty_truth"),
        (picture(8, 6, orientation=6), depth(6, 8), "truth_orientation"),
        (picture(8, 6), b"no PNG", "corrupt_truth"),
        (picture(8, 6), picture(8, 6, kind="PNG"), "not_a_depth_map"),
    ],
)
def test_what_does_not_go_together(tmp_path, image, truth, reason):
    found = read_sample(sample(tmp_path, image, truth))
    assert isinstance(found, Drop) and found.reason == reason
    assert found.path == "set/a.jpg" and "a.png" in found.detail and found.bytes == len(image)


def test_truth_of_another_size_but_the_shape_of_the_image_is_kept(tmp_path):
    found = read_sample(sample(tmp_path, picture(80, 60), depth(8, 6)))
    assert isinstance(found, Member)


def test_an_image_that_cannot_be_opened_is_for_others_to_refuse(tmp_path):
    found = read_sample(sample(tmp_path, b"no picture", depth(8, 6)))
    assert isinstance(found, Member) and found.data == b"no picture"


def test_files_that_went_away_are_unreadable(tmp_path):
    gone = sample(tmp_path, picture(8, 6), depth(8, 6))
    (tmp_path / "a.png").unlink()
    assert read_sample(gone).reason == "unreadable"


def test_the_size_of_the_image_reaches_files_that_do_not_say_theirs():
    """ETH3D's depth is bare numbers: 6 x 4 and 4 x 6 are the same bytes."""
    values = np.arange(1, 25, dtype="<f4").tobytes()
    for width, height in ((6, 4), (4, 6)):
        member = Member("a.JPG", "/x", picture(width, height))
        found = decoded(member, [values], TRUTH_ENCODINGS["bare-float32-m"], names=["d.JPG"])
        assert isinstance(found, Member) and found.truth is not None
        assert found.truth.values_HW.shape == (height, width)
        assert found.truth.values_HW[0, 1] == 2 and found.truth.values_HW[1, 0] == width + 1


def test_points_are_those_of_the_image_as_it_is_shown():
    """DA-2K's images were looked at by people: one that EXIF turns is none to refuse."""
    pair = {"point1": [7, 1], "point2": [2, 3], "closer_point": "point1"}
    notes = json.dumps({"images/a.jpg": [pair]}).encode()
    encoding = TRUTH_ENCODINGS["point-pairs"]
    for orientation, kept in ((6, True), (1, False)):  # 8 rows as shown, 6 as stored
        member = Member("images/a.jpg", "/x", picture(8, 6, orientation=orientation))
        found = decoded(member, [notes], encoding, names=["annotations.json"])
        assert isinstance(found, Member) is kept
        assert kept or found.reason == "points_outside"


def test_what_native_code_would_open_is_left_to_the_sandbox():
    """Its shape is compared with the map's when its header is known."""
    member = Member("a.webp", "/x", picture(8, 6, kind="WEBP"))
    found = decoded(member, [depth(6, 8)], TRUTH_ENCODINGS["png-mm"], names=["a.png"])
    assert isinstance(found, Member) and found.truth is not None
    assert misfit(found.truth, size=(8, 6), orientation=1)[0] == "truth_size_mismatch"
    assert misfit(found.truth, size=(60, 80), orientation=1) is None
    assert misfit(found.truth, size=(6, 8), orientation=3)[0] == "truth_orientation"
