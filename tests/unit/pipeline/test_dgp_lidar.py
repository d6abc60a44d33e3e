"""Projected LiDAR against hand-made scenes, SciPy's rotations, and a projection of a real scene."""

import dataclasses
import io
import json

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from pipeline.dgp_lidar import Intrinsics, pose_of, scene_index, splat
from pipeline.records import Geometry
from pipeline.truth_decoding import decode_truth
from pipeline.truth_encodings import TRUTH_ENCODINGS
from pipeline.truth_files import TruthFileError

LIDAR = TRUTH_ENCODINGS["dgp-lidar"]
NAN = float("nan")
CAMERA = Intrinsics(fx=4, fy=2, cx=3.5, cy=1.5, skew=0, width=8, height=4)
IDENTITY = {
    "rotation": {"qw": 1, "qx": 0, "qy": 0, "qz": 0},
    "translation": dict.fromkeys("xyz", 0),
}


def pose(rotation: Rotation, translation) -> dict:
    x, y, z, w = rotation.as_quat()
    return {
        "rotation": {"qw": w, "qx": x, "qy": y, "qz": z},
        "translation": dict(zip("xyz", translation, strict=True)),
    }


def npz(points) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, data=np.c_[points, np.ones(len(points))])
    return buffer.getvalue()


def scene(*, camera=IDENTITY, lidar=IDENTITY, time="9") -> dict:
    image = {"filename": f"rgb/CAMERA_01/{time}.png", "height": 4, "width": 8, "pose": camera}
    cloud = {"filename": "point_cloud/LIDAR/7.npz", "pose": lidar}
    return {
        "data": [
            {"key": "c", "id": {"name": "LIDAR"}, "datum": {"point_cloud": cloud}},
            {"key": "i", "id": {"name": "CAMERA_01"}, "datum": {"image": image}},
        ],
        "samples": [{"calibration_key": "cal", "datum_keys": ["c", "i"]}],
    }


def calibration(camera=CAMERA) -> dict:
    known = {name: getattr(camera, name) for name in ("fx", "fy", "cx", "cy", "skew")}
    nothing = dict.fromkeys(known, 0.0)
    return {"names": ["LIDAR", "CAMERA_01"], "intrinsics": [nothing, known]}


def project(points, *, image="000001/rgb/CAMERA_01/9.png", size=None, **poses):
    files = (npz(points), json.dumps(calibration()).encode(), json.dumps(scene(**poses)).encode())
    return decode_truth(files, LIDAR, image_size=size, image_path=image)


def test_the_nearest_of_a_pixel_stays_and_nothing_behind_is_seen():
    points = [[0, 0, 5], [0, 0, 2], [0, 0, 9], [0, 0, -3], [2, 1, 4], [90, 0, 1]]
    truth = project(points)
    wanted = np.full((4, 8), NAN)
    wanted[2, 4] = 2  # the axis meets the image at 3.5, 1.5, which is halfway: up
    wanted[2, 6] = 4  # 4 * 2 / 4 + 3.5 = 5.5, 2 * 1 / 4 + 1.5 = 2
    np.testing.assert_array_equal(truth.values_HW, wanted)
    assert truth.geometry is Geometry.DEPTH_METRIC and truth.sky_HW is None


def test_poses_lead_from_the_lidar_through_the_world_to_the_camera():
    rng = np.random.default_rng(5)
    turned, seen = Rotation.random(rng=rng), Rotation.random(rng=rng)
    here, there = rng.normal(0, 100, 3), rng.normal(0, 100, 3)
    at_camera = np.array([[0.4, 0.2, 2.0], [-1.2, 0.6, 4.0], [0.2, -0.6, 3.0]])
    world = seen.apply(at_camera) + there
    cloud = turned.inv().apply(world - here)
    direct = splat(at_camera, CAMERA)
    truth = project(cloud, camera=pose(seen, there), lidar=pose(turned, here))
    assert np.isfinite(direct).sum() == 3
    np.testing.assert_array_equal(np.isfinite(truth.values_HW), np.isfinite(direct))
    valid = np.isfinite(direct)
    np.testing.assert_allclose(truth.values_HW[valid], direct[valid], rtol=1e-5)


def test_quaternions_are_scipys_and_need_not_be_of_length_one():
    for rotation in Rotation.random(20, rng=np.random.default_rng(1)):
        noted = pose(rotation, (1, 2, 3))
        noted["rotation"] = {name: value * 1.3 for name, value in noted["rotation"].items()}
        made = pose_of(noted)
        np.testing.assert_allclose(made.rotation_33, rotation.as_matrix(), atol=1e-12)
        np.testing.assert_array_equal(made.translation_3, [1, 2, 3])


def test_an_image_of_another_size_has_the_same_rays():
    """The corners of the pixels stay where they are: a ray through (u, v) goes through both."""
    small = CAMERA.resized(width=4, height=2)
    for u, v in ((-0.5, -0.5), (7.5, 3.5), (3.5, 1.5)):
        x, y = (u - CAMERA.cx) / CAMERA.fx, (v - CAMERA.cy) / CAMERA.fy
        assert small.fx * x + small.cx == pytest.approx((u + 0.5) / 2 - 0.5)
        assert small.fy * y + small.cy == pytest.approx((v + 0.5) / 2 - 0.5)
    assert project([[0, 0, 5]], size=(2, 4)).values_HW.shape == (2, 4)


def test_the_index_says_what_belongs_together():
    (entry,) = scene_index(json.dumps(scene()).encode(), "ddad/000001/scene_ab.json")
    assert entry.image == "ddad/000001/rgb/CAMERA_01/9.png"
    assert entry.truth == (
        "ddad/000001/point_cloud/LIDAR/7.npz",
        "ddad/000001/calibration/cal.json",
        "ddad/000001/scene_ab.json",
    )


def test_moments_without_a_point_cloud_give_nothing():
    some = scene()
    some["samples"][0]["datum_keys"] = ["i"]
    assert list(scene_index(json.dumps(some).encode(), "a/scene_1.json")) == []


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{}", b'{"data": [], "samples": [{}]}', b"[" * 100_000]
)
def test_broken_scenes_are_named(data):
    with pytest.raises(TruthFileError) as caught:
        list(scene_index(data, "a/scene_1.json"))
    assert caught.value.reason == "corrupt_truth"


def test_a_picture_that_no_scene_knows_and_a_camera_without_focal_length_are_refused():
    with pytest.raises(TruthFileError, match="no picture"):
        project([[0, 0, 5]], image="000001/rgb/CAMERA_01/8.png")
    flat = calibration(dataclasses.replace(CAMERA, fx=0))
    files = (npz([[0, 0, 5]]), json.dumps(flat).encode(), json.dumps(scene()).encode())
    with pytest.raises(TruthFileError, match="no focal length"):
        decode_truth(files, LIDAR, image_path="000001/rgb/CAMERA_01/9.png")


def test_a_real_scene_as_somebody_else_projected_it(shared_data):
    """The other one is at half the size, cuts positions off to whole pixels, and keeps 1/256 m."""
    folder = shared_data / "depth" / "ddad_dgp"
    path = next(folder.glob("scene_01/scene_*.json")).relative_to(folder).as_posix()
    image = "scene_01/rgb/CAMERA_01/15569195938415230.jpg"
    index = {entry.image: entry for entry in scene_index((folder / path).read_bytes(), path)}
    parts = [(folder / name).read_bytes() for name in index[image].truth]
    assert len(index) == 9
    other = shared_data / "containers/ddad_projected/gt_depth/15569195938415230.png"
    wanted = np.asarray(Image.open(other)).astype(np.float64) / 256
    halved = json.loads(parts[1])
    for known in halved["intrinsics"]:  # there, pixels begin at whole numbers
        known |= {"cx": known["cx"] - 0.5, "cy": known["cy"] - 0.5}
    for changed, agree in ((json.dumps(halved).encode(), 0.999), (parts[1], 0.5)):
        mine = decode_truth(
            [parts[0], changed, parts[2]], LIDAR, image_size=(608, 968), image_path=image
        ).values_HW
        assert mine.shape == wanted.shape
        both = np.isfinite(mine) & (wanted > 0)
        assert both.sum() > agree * (wanted > 0).sum()
        assert np.isfinite(mine).sum() == pytest.approx((wanted > 0).sum(), rel=0.01)
        assert np.median(np.abs(mine - wanted)[both]) < 1 / 256
    assert 100 * np.isfinite(mine).mean() == pytest.approx(0.8, abs=0.05)
    figures = [np.nanmin(mine), np.nanmedian(mine), np.nanmax(mine)]
    np.testing.assert_allclose(figures, [5.06, 11.4, 226], rtol=5e-3)
