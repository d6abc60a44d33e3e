"""Pictures and maps out of NYU's containers, with axes as MATLAB leaves them."""

import io

import h5py
import numpy as np
import pytest
from PIL import Image

from pipeline.inner_images import inner_of, read_inner
from pipeline.raw_files import found_file
from pipeline.records import Drop, Geometry, Member
from pipeline.truth_encodings import TRUTH_ENCODINGS

rng = np.random.default_rng(3)
IMAGES = rng.integers(0, 256, (3, 6, 9, 3), dtype=np.uint8)  # N, H, W, C
FILLED = rng.uniform(0.7, 9.9, (3, 6, 9)).astype(np.float32)
RAW = np.where(rng.random((3, 6, 9)) < 0.3, 0, FILLED).astype(np.float32)


@pytest.fixture
def mat(tmp_path):
    path = tmp_path / "nyu_depth_v2_labeled.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        file["images"] = IMAGES.transpose(0, 3, 2, 1)
        file["depths"] = FILLED.transpose(0, 2, 1)
        file["rawDepths"] = RAW.transpose(0, 2, 1)
    return path


@pytest.mark.parametrize(("name", "maps"), [("nyu-mat", FILLED), ("nyu-mat-raw", RAW)])
def test_axes_are_turned_back_and_filled_is_not_raw(mat, name, maps):
    members = list(read_inner(found_file(str(mat), "in/a.mat"), TRUTH_ENCODINGS[name]))
    assert [member.path for member in members] == [f"in/a.mat/0000{n}.png" for n in (1, 2, 3)]
    for member, image, depth in zip(members, IMAGES, maps, strict=True):
        np.testing.assert_array_equal(np.array(Image.open(io.BytesIO(member.data))), image)
        assert member.truth.geometry is Geometry.DEPTH_METRIC
        np.testing.assert_array_equal(
            member.truth.values_HW, np.where(depth > 0, depth, np.nan).astype(np.float32)
        )
        assert member.offset is None, "these bytes lie nowhere"


def test_what_a_file_without_raw_depth_lacks_is_said(mat):
    with h5py.File(mat, "a") as file:
        del file["rawDepths"]
    (drop,) = read_inner(found_file(str(mat), ""), TRUTH_ENCODINGS["nyu-mat-raw"])
    assert isinstance(drop, Drop) and drop.path == mat.name
    assert drop.reason == "not_a_depth_map" and "'rawDepths'" in drop.detail


def test_a_file_that_breaks_off_gives_what_was_read_and_a_drop(mat, monkeypatch):
    with h5py.File(mat, "a") as file:
        maps = file["depths"][:]
        del file["depths"]
        packed = {"chunks": (1, 9, 6), "compression": "gzip"}
        stored = file.create_dataset("depths", data=maps, **packed)
        place = stored.id.get_chunk_info(2)
    data = bytearray(mat.read_bytes())
    data[place.byte_offset : place.byte_offset + place.size] = b"\xff" * place.size
    mat.write_bytes(data)
    *members, drop = read_inner(found_file(str(mat), ""), TRUTH_ENCODINGS["nyu-mat"])
    assert len(members) == 2 and all(isinstance(member, Member) for member in members)
    assert drop.reason == "corrupt_truth"


def h5(rgb, depth) -> Member:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file["rgb"], file["depth"] = rgb, depth
    return Member("val.tar.gz/val/kitchen/00001.h5", "/data/val.tar.gz", buffer.getvalue())


def test_fastdepth_has_channels_first():
    entry = h5(IMAGES[0].transpose(2, 0, 1), RAW[0])
    (member,) = inner_of(entry, TRUTH_ENCODINGS["nyu-h5"])
    assert member.path == "val.tar.gz/val/kitchen/00001.h5/rgb.png" and member.uri == entry.uri
    np.testing.assert_array_equal(np.array(Image.open(io.BytesIO(member.data))), IMAGES[0])
    np.testing.assert_array_equal(np.nan_to_num(member.truth.values_HW), RAW[0])


@pytest.mark.parametrize(
    ("rgb", "depth", "reason"),
    [
        (IMAGES[0], RAW[0], "not_a_depth_map"),
        (IMAGES[0].transpose(2, 0, 1), RAW[0].T, "not_a_depth_map"),
        (IMAGES[0].transpose(2, 0, 1).astype(np.float32), RAW[0], "not_a_depth_map"),
    ],
    ids=["channels last", "axes of MATLAB", "floats"],
)
def test_other_axes_and_types_are_refused(rgb, depth, reason):
    (drop,) = inner_of(h5(rgb, depth), TRUTH_ENCODINGS["nyu-h5"])
    assert drop.reason == reason


def test_the_sample_has_the_figures_of_the_manifest(shared_data):
    folder = shared_data / "containers"
    for path, name in (
        ("nyu_labeled/nyu_depth_v2_labeled_mini.mat", "nyu-mat"),
        ("nyu_h5/val/official/00001.h5", "nyu-h5"),
    ):
        (member,) = read_inner(found_file(str(folder / path), path), TRUTH_ENCODINGS[name])
        values = member.truth.values_HW
        assert Image.open(io.BytesIO(member.data)).size == (320, 240)
        assert values.shape == (240, 320)
        assert np.isfinite(values).mean() == pytest.approx(0.750, abs=6e-4)
        figures = [np.nanmin(values), np.nanmedian(values), np.nanmax(values)]
        np.testing.assert_allclose(figures, [0.89, 3.21, 8.27], rtol=2e-3)
