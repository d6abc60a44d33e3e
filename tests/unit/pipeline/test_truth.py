"""An image and its ground truth are read together, or it is said why they do not go together."""

import io

import numpy as np
import pytest
from PIL import Image

from pipeline.parts import Part, Sample
from pipeline.records import Drop, Member
from pipeline.truth import decoded, read_sample
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
