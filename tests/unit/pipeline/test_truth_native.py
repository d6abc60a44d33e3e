"""Native files of ground truth, written by other means than the readers use, to arrays."""

import io
import struct

import h5py
import numpy as np
import OpenEXR
import pytest
from PIL import Image

from pipeline.errors import SourceError
from pipeline.records import Geometry
from pipeline.truth_decoding import decode_truth
from pipeline.truth_encodings import TRUTH_ENCODINGS
from pipeline.truth_files import TruthFileError

NAN = float("nan")
rng = np.random.default_rng(7)


def decode(name: str, *parts: bytes, **known):
    return decode_truth(parts, TRUTH_ENCODINGS[name], **known)


def npy(values) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(values))
    return buffer.getvalue()


def png(values, dtype) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(values, dtype)).save(buffer, "PNG")
    return buffer.getvalue()


def hdf5(**datasets) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name, values in datasets.items():
            file.create_dataset(name, data=values)
    return buffer.getvalue()


def exr(tmp_path, **channels) -> bytes:
    path = tmp_path / "map.exr"
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    with OpenEXR.File(header, channels) as file:
        file.write(str(path))
    return path.read_bytes()


def bottom_up_pfm(values_HW) -> bytes:
    height, width = values_HW.shape
    rows = b"".join(row.astype(">f4").tobytes() for row in values_HW[::-1])
    return f"Pf\n{width} {height}\n1.0\n".encode() + rows


def test_irs_disparity_becomes_metres(tmp_path):
    disparity = np.array([[4.8, 48.0, 0.0], [96.0, 1.5, -1.0]], np.float32)
    truth = decode("exr-disparity-irs", exr(tmp_path, G=disparity))
    assert truth.geometry is Geometry.DEPTH_METRIC
    np.testing.assert_allclose(truth.values_HW, [[10, 1, NAN], [0.5, 32, NAN]], rtol=1e-6)


def test_irs_copies_with_three_channels_are_read_by_their_green(tmp_path):
    green = rng.uniform(1, 60, (5, 4)).astype(np.float32)
    data = exr(tmp_path, R=green * 2, G=green, B=green * 3)
    np.testing.assert_allclose(decode("exr-disparity-irs", data).values_HW, 48 / green, rtol=1e-6)


def test_an_exr_without_a_green_or_only_channel_is_no_map(tmp_path):
    ones = np.ones((3, 3), np.float32)
    with pytest.raises(TruthFileError, match="one channel or G expected, found B, R"):
        decode("exr-disparity-irs", exr(tmp_path, R=ones, B=ones))


def test_an_exr_of_many_channels_is_refused_unread(tmp_path):
    channels = {f"c{number}": np.ones((2, 2), np.float32) for number in range(9)}
    with pytest.raises(TruthFileError, match="9 channels"):
        decode("exr-disparity-irs", exr(tmp_path, **channels))


def test_a_huge_exr_is_refused_by_its_header(tmp_path):
    data = bytearray(exr(tmp_path, G=np.ones((4, 4), np.float32)))
    window = data.index(b"dataWindow\0box2i\0") + len(b"dataWindow\0box2i\0") + 4
    data[window : window + 16] = struct.pack("<4i", 0, 0, 99_999, 99_999)
    with pytest.raises(TruthFileError) as caught:
        decode("exr-disparity-irs", bytes(data))
    assert caught.value.reason == "corrupt_truth"


@pytest.mark.parametrize("name", ["exr-disparity-irs", "hdf5-relative", "dpt-m"])
@pytest.mark.parametrize("data", [b"", b"junk" * 9, b"\x76\x2f\x31\x01", b"\x89HDF\r\n\x1a\n"])
def test_junk_is_a_corrupt_truth(name, data):
    with pytest.raises(TruthFileError) as caught:
        decode(name, data)
    assert caught.value.reason == "corrupt_truth"


def test_megadepth_knows_no_zero_and_no_order_codes():
    stored = np.array([[0.0, 1.25, -1.0], [np.nan, 3e4, -32.0]], np.float32)
    truth = decode("hdf5-relative", hdf5(depth=stored))
    assert truth.geometry is Geometry.DEPTH_SCALE_INVARIANT
    np.testing.assert_array_equal(truth.values_HW, [[NAN, 1.25, NAN], [NAN, 3e4, NAN]])


def test_every_value_of_megadepth_stays_however_rare():
    values = rng.lognormal(0, 2, (40, 50)).astype(np.float32)
    np.testing.assert_array_equal(decode("hdf5-relative", hdf5(depth=values)).values_HW, values)


def test_hypersim_rays_become_depth():
    """A wall at 3 m across the axis: distances grow to the corners, depth is 3 m everywhere."""
    height, width = 96, 128
    focal = (width / 2) / np.tan(np.radians(30))
    rows, columns = np.mgrid[:height, :width]
    ray = np.stack([columns - (width - 1) / 2, rows - (height - 1) / 2, np.full(rows.shape, focal)])
    distance = (3 * np.linalg.norm(ray, axis=0) / focal).astype(np.float16)
    distance[5, 6] = np.nan
    truth = decode("hdf5-ray-hypersim", hdf5(dataset=distance))
    assert truth.geometry is Geometry.DEPTH_METRIC
    assert np.isnan(truth.values_HW[5, 6]) and np.isnan(truth.values_HW).sum() == 1
    assert np.nanmax(np.abs(truth.values_HW - 3)) < 3 * 2**-10  # half floats round so far
    assert np.nanmax(distance) > 3.6, "as rays, the corners would be a fifth too far"


def test_hdf5_of_another_set_is_no_map_and_says_what_is_in_it():
    with pytest.raises(TruthFileError, match="no data set 'depth' in it; there is other, rgb"):
        decode("hdf5-relative", hdf5(other=np.ones((2, 2)), rgb=np.ones((2, 2))))


def test_hdf5_leads_to_no_other_file(tmp_path):
    secret = tmp_path / "secret.h5"
    secret.write_bytes(hdf5(depth=np.ones((2, 2), np.float32)))
    raw = tmp_path / "secret.bin"
    raw.write_bytes(bytes(16))
    linked, stored = io.BytesIO(), tmp_path / "stored.h5"
    with h5py.File(linked, "w") as file:
        file["depth"] = h5py.ExternalLink(str(secret), "depth")
    with h5py.File(stored, "w") as file:
        file.create_dataset("depth", (2, 2), "f4", external=[(str(raw), 0, 16)])
    for data in (linked.getvalue(), stored.read_bytes()):
        with pytest.raises(TruthFileError, match="no numbers in the file itself"):
            decode("hdf5-relative", data)


def test_hdf5_that_would_fill_the_memory_is_refused():
    large, chunk = io.BytesIO(), io.BytesIO()
    with h5py.File(large, "w") as file:
        file.create_dataset("depth", (200_000, 200_000), "f4", chunks=(8, 8))
    with h5py.File(chunk, "w") as file:
        file.create_dataset(
            "depth", (8, 8), "f8", maxshape=(None, None), chunks=(8192, 8192), compression="gzip"
        )
    for data in (large.getvalue(), chunk.getvalue()):
        with pytest.raises(TruthFileError, match=r"no size of a map|too large"):
            decode("hdf5-relative", data)


def test_sintel_dpt_row_by_row():
    values = rng.uniform(0.5, 900, (3, 5)).astype(np.float32)
    data = b"PIEH" + struct.pack("<ii", 5, 3) + values.astype("<f4").tobytes()
    assert struct.pack("<f", 202021.25) == b"PIEH"
    truth = decode("dpt-m", data)
    assert truth.geometry is Geometry.DEPTH_METRIC
    np.testing.assert_array_equal(truth.values_HW, values)
    for broken in (data[:-4], data + b"\0" * 4, b"HEIP" + data[4:]):
        with pytest.raises(TruthFileError):
            decode("dpt-m", broken)


def test_eth3d_has_no_header_and_infinity_is_unknown():
    values = rng.uniform(1, 30, (4, 7)).astype(np.float32)
    values[0, 0] = values[3, 6] = np.inf
    truth = decode("bare-float32-m", values.astype("<f4").tobytes(), image_size=(4, 7))
    values[np.isinf(values)] = np.nan
    np.testing.assert_array_equal(truth.values_HW, values)


def test_eth3d_needs_the_size_and_is_no_picture():
    data = np.ones((4, 7), "<f4").tobytes()
    with pytest.raises(TruthFileError, match="size is not known"):
        decode("bare-float32-m", data)
    with pytest.raises(TruthFileError, match="are 224 bytes, found 112"):
        decode("bare-float32-m", data, image_size=(8, 7))
    with pytest.raises(TruthFileError, match="a JPEG image"):
        decode("bare-float32-m", b"\xff\xd8\xff\xe0" + data, image_size=(4, 7))


def test_diode_counts_where_its_mask_is_one():
    depth = np.array([[[0.6], [350.0]], [[12.5], [3.0]]], np.float32)
    mask = np.array([[1.0, 0.0], [1.0, 1.0]])
    truth = decode("npy-m-mask", npy(depth), npy(mask))
    np.testing.assert_allclose(truth.values_HW, [[0.6, NAN], [12.5, 3.0]], rtol=1e-6)
    with pytest.raises(TruthFileError) as caught:
        decode("npy-m-mask", npy(depth), npy(mask[:1]))
    assert caught.value.reason == "mask_size_mismatch"


@pytest.mark.parametrize("white", [np.uint8(255), True])
def test_hrwsi_counts_where_its_mask_is_white(white):
    disparity = np.array([[31, 162, 255, 0]])
    mask = np.array([[1, 0, 1, 1]]).astype(bool)
    stored = png(mask, bool) if white is True else png(np.where(mask, white, 0), np.uint8)
    truth = decode("png8-disparity-mask", png(disparity, np.uint8), stored)
    assert truth.geometry is Geometry.DISPARITY_AFFINE_INVARIANT
    np.testing.assert_array_equal(truth.values_HW, [[31, NAN, 255, NAN]])


def test_two_view_disparity_is_bottom_up_and_masked():
    disparity = np.array([[1.5, 2.5], [np.inf, 4.0], [5.0, 6.0]])
    mask = np.array([[255, 255], [255, 128], [255, 0]])
    truth = decode("pfm-disparity-mask", bottom_up_pfm(disparity), png(mask, np.uint8))
    np.testing.assert_array_equal(truth.values_HW, [[1.5, 2.5], [NAN, NAN], [5.0, NAN]])


def test_tartanair_sky_is_far_and_no_depth():
    stored = np.array([[0.5, 999.0, 1000.0], [10_000.0, np.inf, 65504.0]], np.float32)
    truth = decode("npy-m-sky", npy(stored))
    np.testing.assert_array_equal(truth.values_HW, [[0.5, 999, NAN], [NAN, NAN, NAN]])
    assert truth.sky_HW.tolist() == [[False, False, True], [True, True, True]]


def test_diml_does_not_know_what_is_above_65500():
    truth = decode("png-mm-diml", png([[0, 1, 65500, 65501, 65535]], np.uint16))
    np.testing.assert_allclose(truth.values_HW, [[NAN, 0.001, 65.5, NAN, NAN]], rtol=1e-6)


def test_the_number_of_files_is_checked():
    with pytest.raises(TruthFileError, match="takes 2 files, found 1"):
        decode("npy-m-mask", npy(np.ones((2, 2))))


def test_a_missing_library_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(SourceError, match=r"pseudo-label-factory\[sources\]"):
        decode("hdf5-relative", b"")
