"""Encodings of ground truth against hand-computed values and the figures of real files."""

import io
import re
import struct

import numpy as np
import pytest
from PIL import Image

from pipeline.records import Geometry
from pipeline.truth_encodings import TRUTH_ENCODINGS, decode_truth
from pipeline.truth_files import TruthFileError

METRES, UNSCALED = Geometry.DEPTH_METRIC, Geometry.DEPTH_SCALE_INVARIANT
AFFINE = Geometry.DISPARITY_AFFINE_INVARIANT


def png(values, dtype=np.uint16) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.array([values], dtype)).save(buffer, "PNG")
    return buffer.getvalue()


def rotated_left(millimetres: int) -> int:
    """What SUN RGB-D stores: bits moved up by three, those that fall off come in below."""
    bits = f"{millimetres:016b}"
    return int(bits[3:] + bits[:3], 2)


@pytest.mark.parametrize(
    ("name", "stored", "expected"),
    [
        ("png-mm", [0, 1, 1500, 65534, 65535], [None, 0.001, 1.5, 65.534, None]),
        ("png-256", [0, 256, 640, 65535], [None, 1.0, 2.5, 65535 / 256]),
        ("png-5000", [0, 5000, 65535], [None, 1.0, 13.107]),
        ("png-10000", [0, 10000, 65535], [None, 1.0, None]),
        ("png-cm", [0, 250, 65535], [None, 2.5, None]),
        ("png-relative", [0, 7, 65535], [None, 7, 65535]),
        ("png-sunrgbd", [rotated_left(mm) for mm in (0, 1, 1500, 40000)], [None, 0.001, 1.5, 40]),
    ],
)
def test_stored_numbers_become_the_unit_of_the_geometry(name, stored, expected):
    truth = decode_truth([png(stored)], TRUTH_ENCODINGS[name])
    assert truth.values_HW.dtype == np.float32
    wanted = np.array([[np.nan if value is None else value for value in expected]], np.float32)
    np.testing.assert_allclose(truth.values_HW, wanted, rtol=1e-6)
    assert truth.geometry is (UNSCALED if name == "png-relative" else METRES)


def test_eight_bit_disparity_knows_no_zero():
    truth = decode_truth([png([0, 1, 255], np.uint8)], TRUTH_ENCODINGS["png8-disparity"])
    assert truth.geometry is AFFINE
    np.testing.assert_array_equal(truth.values_HW, [[np.nan, 1, 255]])


def test_only_png_cm_knows_the_sky():
    sky = decode_truth([png([0, 250, 65535])], TRUTH_ENCODINGS["png-cm"]).sky_HW
    assert sky.tolist() == [[False, False, True]]
    assert decode_truth([png([0, 250, 65535])], TRUTH_ENCODINGS["png-mm"]).sky_HW is None


@pytest.mark.parametrize(
    ("name", "geometry"),
    [("pfm-disparity", AFFINE), ("pfm-m", METRES), ("pfm-relative", UNSCALED)],
)
def test_only_finite_positive_numbers_are_values(name, geometry):
    stored = [1.5, 0.0, -2.0, float("inf"), float("nan"), 1e-3]
    data = b"Pf\n6 1\n-1\n" + struct.pack("<6f", *stored)
    truth = decode_truth([data], TRUTH_ENCODINGS[name])
    assert truth.geometry is geometry
    nan = float("nan")
    np.testing.assert_allclose(truth.values_HW, [[1.5, nan, nan, nan, nan, 1e-3]], rtol=1e-6)


def test_doubles_beyond_float32_are_no_values():
    buffer = io.BytesIO()
    np.save(buffer, np.array([[1e300, 2.0]]))
    truth = decode_truth([buffer.getvalue()], TRUTH_ENCODINGS["npy-m"])
    np.testing.assert_array_equal(truth.values_HW, [[np.nan, 2]])


def npy(values) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


@pytest.mark.parametrize("size", [(768, 1024), (192, 256)])
def test_distances_along_rays_become_depth(size):
    # A wall three metres away, seen by Hypersim's camera, which spans 60 degrees: the corner's ray
    # is as long as the diagonal of half the width, half the height and the focal length.
    height, width = size
    focal = width / 2 / np.tan(np.radians(30))
    x = np.arange(width) + 0.5 - width / 2
    y = np.arange(height)[:, None] + 0.5 - height / 2
    distance = 3.0 * np.sqrt((x / focal) ** 2 + (y / focal) ** 2 + 1)
    distance[0, 0] = np.nan
    data = npy(distance.astype(np.float16 if width == 256 else np.float32))
    truth = decode_truth([data], TRUTH_ENCODINGS["npy-ray-hypersim"])
    assert truth.geometry is METRES
    assert np.isnan(truth.values_HW[0, 0])
    rounding = 1e-3 if width == 256 else 1e-5
    assert np.nanmax(np.abs(truth.values_HW - 3)) < 3 * rounding
    assert distance[-1, -1] / 3 == pytest.approx(1.232, abs=2e-3)


def test_rays_of_another_camera_are_refused():
    with pytest.raises(TruthFileError, match="640 x 360 is not the shape of 1024 x 768"):
        decode_truth([npy(np.ones((360, 640)))], TRUTH_ENCODINGS["npy-ray-hypersim"])


def test_names_and_help_are_for_people():
    for name, encoding in TRUTH_ENCODINGS.items():
        assert encoding.name == name
        assert re.fullmatch(r"[a-z0-9-]+", name)
        assert 10 < len(encoding.help) < 80


def manifest_figures(folder) -> dict[str, re.Match]:
    """What an independent decode of each file gave: valid share, minimum, median, maximum."""
    row = re.compile(
        r"^\| (\S+) .* valid (?P<valid>[\d.]+)% min (?P<low>\S+) med (?P<median>\S+) max "
        r"(?P<high>[\d.e+]+)",
        re.MULTILINE,
    )
    text = (folder / "MANIFEST.md").read_text(encoding="utf-8")
    return {match[1]: match for match in row.finditer(text)}


REAL = {
    "depth/kitti/0000000005_depth.png": "png-256",
    "depth/kitti/0000000050_depth.png": "png-256",
    "depth/kitti_road_u16/um_depth.png": "png-mm",
    "depth/nyu_sync/00000_depth.png": "png-mm",
    "depth/nyu_sync/00050_depth.png": "png-mm",
    "depth/nyu_rel_u16/000000_depth.png": "png-relative",
    "depth/nyu_rel_u16/000001_depth.png": "png-relative",
    "depth/tum_rgbd/fr3_office_depth.png": "png-5000",
    "depth/icl_nuim/1_depth.png": "png-5000",
    "depth/esanet_kinect2/sample_depth.png": "png-10000",
    "depth/redwood/00000_depth.png": "png-mm",
    "depth/seven_scenes/000000_depth.png": "png-mm",
    "depth/seven_scenes/stairs_seq01_000000.depth.png": "png-mm",
    "depth/sunrgbd/corridor_depth.png": "png-sunrgbd",
    "depth/middlebury_png8/cone_depth.png": "png8-disparity",
    "depth/middlebury14_npz/motorcycle_depth.npz": "npz-disparity",
    "depth/sceneflow_pfm/0_depth.pfm": "pfm-disparity",
    "depth/pgm16_rgbd/1_depth.pgm": "pgm-mm",
    "depth/phoxi_npy/dex-net_4.0_depth.npy": "npy-m",
    "depth/fastdepth_nyu/val_depth.npy": "npy-m",
    "depth/tartanair/lietorch_1_depth.npy": "npy-m",
    "depth/tartanair/P0/depth_left/000050_left_depth.npy": "npy-m",
    "containers/blendedmvs/000000000000000000000001/rendered_depth_maps/00000000.pfm": "pfm-m",
    "containers/eth3d_two_view/two_view_training_gt/scene_1l/disp0GT.pfm": "pfm-disparity",
    "containers/hrwsi/train/gts/000001.png": "png8-disparity",
    "containers/vkitti2/Scene01/clone/frames/depth/Camera_0/depth_00000.png": "png-cm",
    "containers/ddad_projected/gt_depth/15569195938415230.png": "png-256",
    "containers/diode/val/indoors/scene_00001/scan_00001/00001_00001_indoors_000_010_depth.npy": (
        "npy-m"
    ),
}


@pytest.mark.parametrize("path", REAL)
def test_real_files_have_the_figures_of_the_manifest(shared_data, path):
    figures = manifest_figures(shared_data)[path]
    truth = decode_truth([(shared_data / path).read_bytes()], TRUTH_ENCODINGS[REAL[path]])
    values = truth.values_HW[np.isfinite(truth.values_HW)]
    if path == "depth/middlebury_png8/cone_depth.png":
        values = values / 4  # the manifest gives pixels, the file quarters of them
    assert 100 * values.size / truth.values_HW.size == pytest.approx(
        float(figures["valid"]), abs=0.06
    )
    for found, name in (
        (values.min(), "low"),
        (np.median(values), "median"),
        (values.max(), "high"),
    ):
        assert found == pytest.approx(float(figures[name]), rel=0.006)


def test_colour_pictures_of_depth_are_refused(shared_data):
    for name in ("irs_disparity_vis.png", "irs_left.png"):
        data = (shared_data / "depth/decoy_visualisations" / name).read_bytes()
        for encoding in TRUTH_ENCODINGS.values():
            with pytest.raises(TruthFileError) as caught:
                decode_truth([data] * encoding.files, encoding)
            no_maps = encoding.suffix in (".png", "") and encoding.name != "dgp-lidar"
            wanted = "not_a_depth_map" if no_maps else "corrupt_truth"
            assert caught.value.reason == wanted


def test_raw_kinect_output_is_refused(shared_data):
    data = (shared_data / "depth/nyu_raw_kinect/basement_depth.pgm").read_bytes()
    with pytest.raises(TruthFileError, match="little-endian"):
        decode_truth([data], TRUTH_ENCODINGS["pgm-mm"])
