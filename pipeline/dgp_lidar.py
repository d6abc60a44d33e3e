"""DDAD as it is distributed (TRI-ML's DGP layout): LiDAR points to a sparse map of depth.

A scene's JSON file names cameras and point clouds of each moment with the pose of the vehicle's
sensors then, and which calibration holds; names of files alone do not tell what belongs together,
because a sweep and a picture have timestamps of their own. All is of the official release's
version: poses are those of the sensor in the world, at its own timestamp.
"""

import json
import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.truth_decoding import IndexEntry, TruthFiles
from pipeline.truth_files import Numbers, TruthFileError, check_size, read_npz

_FAULTS = (LookupError, TypeError, ValueError, AttributeError, RecursionError, StopIteration)


@dataclass(frozen=True, slots=True)
class Pose:
    """From a sensor's coordinates to the world's: ``rotation_33 @ point + translation_3``."""

    rotation_33: NDArray[np.float64]
    translation_3: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Intrinsics:
    """A pinhole camera for an image of ``width`` x ``height``; pixel centres are whole numbers."""

    fx: float
    fy: float
    cx: float
    cy: float
    skew: float
    width: int
    height: int

    def resized(self, *, width: int, height: int) -> "Intrinsics":
        """The same camera, of an image shown in other pixels: corners stay corners."""
        across, down = width / self.width, height / self.height
        return Intrinsics(
            fx=self.fx * across,
            fy=self.fy * down,
            cx=(self.cx + 0.5) * across - 0.5,
            cy=(self.cy + 0.5) * down - 0.5,
            skew=self.skew * across,
            width=width,
            height=height,
        )


def scene_index(data: bytes, path: str) -> Iterator[IndexEntry]:
    """Each picture of a scene with the point cloud of its moment, its calibration and the scene.

    Raises:
        TruthFileError: It is no scene of DGP.
    """
    folder = posixpath.dirname(path)
    scene = _json(data, path)
    try:
        datums = {datum["key"]: datum["datum"] for datum in scene["data"]}
        for sample in scene["samples"]:
            found = [datums[key] for key in sample["datum_keys"]]
            calibration = f"calibration/{sample['calibration_key']}.json"
            clouds = [datum["point_cloud"] for datum in found if "point_cloud" in datum]
            for datum in found if clouds else ():
                if "image" in datum:
                    names = (clouds[0]["filename"], calibration)
                    truth = (*(posixpath.join(folder, name) for name in names), path)
                    yield IndexEntry(posixpath.join(folder, datum["image"]["filename"]), truth)
    except _FAULTS as error:
        raise TruthFileError("corrupt_truth", f"{path}: no scene of DGP: {error!r}") from error


def project_lidar(files: TruthFiles) -> Numbers:
    """Depth in metres, float32 H x W, as large as the image; infinite where no point lies.

    A point of the cloud's ``(N, 4)`` x, y, z, intensity goes to the world by the LiDAR's pose, from
    there to the camera by the inverse of its own, and to the nearest pixel; the nearest of several
    points in a pixel stays. (TRI-ML's own `generate_depth_map` cuts positions off to whole pixels,
    half a pixel beside its rule for resized cameras, and keeps the last point of the cloud.)

    Raises:
        TruthFileError: Cloud, calibration or scene are broken or know nothing of that image.
    """
    cloud, calibration, scene = files.parts
    points_N3 = read_npz(cloud)[:, :3].astype(np.float64)
    try:
        datum, cloud_pose = _picture(_json(scene, "the scene"), files.image_path)
        camera = _camera(_json(calibration, "the calibration"), datum)
        camera_pose = pose_of(datum["datum"]["image"]["pose"])
    except _FAULTS as error:
        raise TruthFileError("corrupt_truth", f"scene or calibration: {error!r}") from error
    if files.image_size is not None:
        camera = camera.resized(height=files.image_size[0], width=files.image_size[1])
    world_N3 = points_N3 @ cloud_pose.rotation_33.T + cloud_pose.translation_3
    return splat((world_N3 - camera_pose.translation_3) @ camera_pose.rotation_33, camera)


def splat(points_N3: NDArray[np.float64], camera: Intrinsics) -> NDArray[np.float32]:
    """Points in the camera's coordinates (z ahead, y down, metres) to the depth of the nearest.

    Returns:
        float32 H x W; infinite where there is no point.
    """
    check_size(camera.width, camera.height)
    depth_HW = np.full((camera.height, camera.width), np.inf, np.float32)
    ahead_N3 = points_N3[points_N3[:, 2] > 0]
    x, y, z = ahead_N3.T
    with np.errstate(over="ignore", invalid="ignore"):
        column = np.floor((camera.fx * x + camera.skew * y) / z + camera.cx + 0.5)
        row = np.floor(camera.fy * y / z + camera.cy + 0.5)
    inside = (column >= 0) & (column < camera.width) & (row >= 0) & (row < camera.height)
    pixels = (row[inside].astype(np.intp), column[inside].astype(np.intp))
    np.minimum.at(depth_HW, pixels, z[inside].astype(np.float32))
    return depth_HW


def pose_of(pose: Mapping[str, Any]) -> Pose:
    """A pose of DGP: a quaternion ``qw, qx, qy, qz``, normalised here, and a translation."""
    turned = pose["rotation"]
    w, x, y, z = (float(turned[name]) for name in ("qw", "qx", "qy", "qz"))
    size = (w * w + x * x + y * y + z * z) ** 0.5
    if not 0.5 < size < 2:
        raise ValueError(f"{w, x, y, z} is no rotation")
    w, x, y, z = w / size, x / size, y / size, z / size
    rotation = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    moved = [float(pose["translation"][name]) for name in "xyz"]
    return Pose(np.array(rotation), np.array(moved))


def _picture(scene: Mapping[str, Any], image_path: str) -> tuple[Mapping[str, Any], Pose]:
    """The picture of that path, and where the LiDAR was that belongs to it."""
    datums = {datum["key"]: datum for datum in scene["data"]}
    for sample in scene["samples"]:
        found = [datums[key] for key in sample["datum_keys"]]
        for picture in found:
            name = picture["datum"].get("image", {}).get("filename")
            if name and f"/{image_path}".endswith(f"/{name}"):
                clouds = (datum["datum"].get("point_cloud") for datum in found)
                return picture, pose_of(next(cloud for cloud in clouds if cloud)["pose"])
    raise KeyError(f"no picture {image_path}")


def _camera(calibration: Mapping[str, Any], datum: Mapping[str, Any]) -> Intrinsics:
    known = calibration["intrinsics"][calibration["names"].index(datum["id"]["name"])]
    numbers = {name: float(known[name]) for name in ("fx", "fy", "cx", "cy", "skew")}
    image = datum["datum"]["image"]
    if not (numbers["fx"] > 0 and numbers["fy"] > 0):
        raise ValueError(f"{datum['id']['name']} has no focal length")
    return Intrinsics(**numbers, width=int(image["width"]), height=int(image["height"]))


def _json(data: bytes, what: str) -> Mapping[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise TruthFileError("corrupt_truth", f"{what} is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise TruthFileError("corrupt_truth", f"{what}: a JSON object expected")
    return found
