"""Tiny data sets in the native layouts of the labelled sets and benchmarks.

Written with struct, h5py, OpenEXR and numpy, never with what the readers of the project use.
"""

import io
import json
import struct
import zipfile
from dataclasses import dataclass, field

import h5py
import numpy as np
import OpenEXR
from PIL import Image

from pipeline.records import Geometry

NAN, INF = np.nan, np.inf
METRES, UNSCALED = Geometry.DEPTH_METRIC, Geometry.DEPTH_SCALE_INVARIANT
AFFINE = Geometry.DISPARITY_AFFINE_INVARIANT
DEPTH = np.array([[1.0, 2.0, 4.0, 8.0], [0.0, 16.0, 2.5, 0.5], [3.0, 6.0, 12.0, 24.0]], np.float32)
KNOWN = np.where(DEPTH > 0, DEPTH, NAN)
PIXELS = np.random.default_rng(0).integers(0, 256, (*DEPTH.shape, 3), dtype=np.uint8)


def picture(values=PIXELS, format="PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, format)
    return buffer.getvalue()


PNG, JPG = picture(), picture(format="JPEG")


def png16(metres, per_metre) -> bytes:
    return picture(np.round(np.asarray(metres) * per_metre).astype(np.uint16))


def npy(values) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


def pfm(values) -> bytes:
    """Rows from the bottom up, as the format has it."""
    height, width = values.shape
    return f"Pf\n{width} {height}\n-1.0\n".encode() + values[::-1].astype("<f4").tobytes()


def hdf5(**datasets) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name, values in datasets.items():
            file[name] = values
    return buffer.getvalue()


def exr(path, values) -> bytes:
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    with OpenEXR.File(header, {"G": values.astype(np.float32)}) as file:
        file.write(str(path))
    return path.read_bytes()


@dataclass
class Native:
    """A tiny data set: its files, and what is to come of them."""

    files: dict[str, bytes]
    truths: dict[str, np.ndarray | None]
    geometry: Geometry = METRES
    ignored: dict[str, int] = field(default_factory=dict)


def blendedmvs(tmp_path) -> Native:
    scene = "5a3ca9cb270f0e3f14d0eddb"
    image = f"{scene}/blended_images/00000000.jpg"
    files = {
        image: JPG,
        f"{scene}/blended_images/00000000_masked.jpg": JPG,
        f"{scene}/rendered_depth_maps/00000000.pfm": pfm(DEPTH),
        f"{scene}/cams/00000000_cam.txt": b"extrinsic",
        f"{scene}/cams/pair.txt": b"1",
    }
    return Native(files, {image: KNOWN}, UNSCALED, {"masked twin": 1, "camera": 2})


def diml_indoor(tmp_path) -> Native:
    files = {
        "HR/Bedroom/color/in_1_c.png": PNG,
        "HR/Bedroom/depth_filled/in_1_depth_filled.png": png16(DEPTH, 1000),
        "HR/Bedroom/depth_vis/in_1_v.png": PNG,
    }
    return Native(files, {"HR/Bedroom/color/in_1_c.png": KNOWN}, METRES, {"other picture": 1})


def diml_outdoor(tmp_path) -> Native:
    depth = np.round(DEPTH * 1000).astype(np.uint16)
    depth[0, 0] = 65535
    wanted = KNOWN.copy()
    wanted[0, 0] = NAN
    files = {
        "1/outleft/a.png": PNG,
        "1/outright/a.png": PNG,
        "1/depthmap/a.png": picture(depth),
        "1/disparity/a.png": picture(PIXELS[..., 0]),
    }
    return Native(files, {"1/outleft/a.png": wanted}, METRES, {"other picture": 2})


def hrwsi(tmp_path) -> Native:
    stored = np.arange(20, 32, dtype=np.uint8).reshape(3, 4)
    mask = np.where(DEPTH > 0, 255, 0).astype(np.uint8)
    files = {
        "train/imgs/7.jpg": JPG,
        "train/gts/7.png": picture(stored),
        "train/valid_masks/7.png": picture(mask),
    }
    return Native(files, {"train/imgs/7.jpg": np.where(mask, stored, NAN)}, AFFINE)


def irs(tmp_path) -> Native:
    with np.errstate(divide="ignore"):
        disparity = np.where(DEPTH > 0, 48 / DEPTH, 0)
    room = "IRSDataset/Home/Attic"
    files = {
        f"{room}/l_1.png": PNG,
        f"{room}/r_1.png": PNG,
        f"{room}/d_1.exr": exr(tmp_path / "d.exr", disparity),
        f"{room}/n_1.exr": b"normals",
    }
    return Native(files, {f"{room}/l_1.png": KNOWN}, METRES, {"right view": 1, "normals": 1})


def megadepth(tmp_path) -> Native:
    files = {
        "0000/dense0/imgs/a_o.jpg": JPG,
        "0000/dense0/depths/a_o.h5": hdf5(depth=DEPTH),
        "0000/dense1/imgs/a_o.jpg": JPG,
        "0000/dense1/depths/a_o.h5": hdf5(depth=DEPTH * 3),
    }
    wanted = {f"0000/dense{n}/imgs/a_o.jpg": KNOWN * factor for n, factor in ((0, 1), (1, 3))}
    return Native(files, wanted, UNSCALED)


def tartanair(tmp_path) -> Native:
    depth = DEPTH.copy()
    depth[0, 0] = 10_000
    wanted = KNOWN.copy()
    wanted[0, 0] = NAN
    easy, hard = "seasidetown/Easy/P000", "seasidetown/Hard/P000"
    files = {
        f"{easy}/image_left/000000_left.png": PNG,
        f"{easy}/depth_left/000000_left_depth.npy": npy(depth),
        f"{hard}/image_left/000000_left.png": PNG,
        f"{hard}/depth_left/000000_left_depth.npy": npy(DEPTH),
        f"{easy}/image_right/000000_right.png": PNG,
        f"{easy}/seg_left/000000_left_seg.npy": b"",
        f"{easy}/pose_left.txt": b"0",
    }
    truths = {
        f"{easy}/image_left/000000_left.png": wanted,
        f"{hard}/image_left/000000_left.png": KNOWN,
    }
    return Native(files, truths, METRES, {"other picture": 2, "text": 1})


def hypersim(tmp_path) -> Native:
    """A wall at 2 m in a view of 60 degrees, as distances along rays."""
    height, width = 6, 8
    focal = (width / 2) / np.tan(np.radians(30))
    x, y = np.arange(width) - (width - 1) / 2, np.arange(height) - (height - 1) / 2
    rays = (2 * np.sqrt(focal**2 + x**2 + y[:, None] ** 2) / focal).astype(np.float16)
    rays[0, 0] = NAN
    wanted = np.full((height, width), 2.0)
    wanted[0, 0] = NAN
    image = "ai_001_001/images/scene_cam_00_final_preview/frame.0003.tonemap.jpg"
    geometry = "ai_001_001/images/scene_cam_00_geometry_hdf5/frame.0003"
    files = {
        image: picture(np.zeros((height, width, 3), np.uint8), "JPEG"),
        f"{geometry}.depth_meters.hdf5": hdf5(dataset=rays),
        f"{geometry}.normal_cam.hdf5": b"",
        image.replace("tonemap", "color"): JPG,
        "ai_001_001/_detail/metadata_cameras.csv": b"",
    }
    return Native(files, {image: wanted}, METRES, {"other picture": 2, "camera": 1})


def vkitti2(tmp_path) -> Native:
    stored = np.round(DEPTH * 100).astype(np.uint16)
    stored[0, 0] = 65535
    wanted = KNOWN.copy()
    wanted[0, 0] = NAN
    frames = "Scene01/15-deg-left/frames"
    files = {
        f"{frames}/rgb/Camera_0/rgb_00000.jpg": JPG,
        f"{frames}/depth/Camera_0/depth_00000.png": picture(stored),
        f"{frames}/classSegmentation/Camera_0/classgt_00000.png": PNG,
    }
    ignored = {"other picture": 1}
    return Native(files, {f"{frames}/rgb/Camera_0/rgb_00000.jpg": wanted}, METRES, ignored)


def kitti(tmp_path) -> Native:
    drive = "2011_09_26_drive_0002_sync"
    image = f"2011_09_26/{drive}/image_02/data/0000000069.png"
    truth = f"val/{drive}/proj_depth/groundtruth/image_02/0000000069.png"
    files = {
        image: PNG,
        truth: png16(DEPTH, 256),
        image.replace("image_02", "image_00"): PNG,
        truth.replace("groundtruth", "velodyne_raw"): PNG,
        f"2011_09_26/{drive}/oxts/data/0000000069.txt": b"0",
    }
    return Native(files, {image: KNOWN}, METRES, {"grey camera": 1, "other sensor": 2})


def nyu_mat(depths) -> bytes:
    stack = np.stack([depths, depths * 2]).transpose(0, 2, 1)
    images = np.stack([PIXELS, PIXELS[::-1]]).transpose(0, 3, 2, 1)
    filled = np.where(stack > 0, stack, 7)
    return hdf5(images=images, depths=filled, rawDepths=stack)


def nyu_v2(tmp_path) -> Native:
    name = "nyu_depth_v2_labeled.mat"
    filled = np.where(DEPTH > 0, DEPTH, 7)
    truths = {
        f"{name}/00001.png": filled,
        f"{name}/00002.png": np.where(DEPTH > 0, DEPTH * 2, 7),
    }
    return Native({name: nyu_mat(DEPTH), "splits.mat": b""}, truths, METRES, {"list": 1})


def nyu_v2_raw(tmp_path) -> Native:
    name = "nyu_depth_v2_labeled.mat"
    truths = {f"{name}/00001.png": KNOWN, f"{name}/00002.png": KNOWN * 2}
    return Native({name: nyu_mat(DEPTH)}, truths)


def nyu_v2_h5(tmp_path) -> Native:
    data = hdf5(rgb=PIXELS.transpose(2, 0, 1), depth=DEPTH)
    return Native({"val/official/00001.h5": data}, {"val/official/00001.h5/rgb.png": KNOWN})


def nyu_v2_png(tmp_path) -> Native:
    files = {
        "test/kitchen_01/rgb_0001.png": PNG,
        "test/kitchen_01/depth_0001.png": png16(DEPTH, 1000),
        "test/kitchen_01/filled_0001.png": png16(np.where(DEPTH > 0, DEPTH, 7), 1000),
    }
    return Native(files, {"test/kitchen_01/rgb_0001.png": KNOWN}, METRES, {"filled depth": 1})


def sintel(tmp_path) -> Native:
    height, width = DEPTH.shape
    dpt = struct.pack("<fii", 202021.25, width, height) + DEPTH.astype("<f4").tobytes()
    image = "training/final/alley_1/frame_0001.png"
    files = {
        image: PNG,
        image.replace("final", "clean"): PNG,
        image.replace("final", "albedo"): PNG,
        "training/depth/alley_1/frame_0001.dpt": dpt,
        "training/depth_viz/alley_1/frame_0001.png": PNG,
        "test/final/ambush_3/frame_0001.png": PNG,
    }
    ignored = {"clean pass": 1, "other picture": 2, "without truth": 1}
    return Native(files, {image: KNOWN}, METRES, ignored)


def ddad(tmp_path) -> Native:
    """One point each for two cameras that stand at the LiDAR; clocks of sensors differ."""
    still = {
        "rotation": {"qw": 1, "qx": 0, "qy": 0, "qz": 0},
        "translation": dict.fromkeys("xyz", 0),
    }
    cloud = {"filename": "point_cloud/LIDAR/100.npz", "pose": still}
    data = [{"key": "l", "id": {"name": "LIDAR"}, "datum": {"point_cloud": cloud}}]
    cameras = ("CAMERA_01", "CAMERA_05")
    for name in cameras:
        image = {"filename": f"rgb/{name}/105.png", "height": 3, "width": 4, "pose": still}
        data.append({"key": name, "id": {"name": name}, "datum": {"image": image}})
    samples = [{"calibration_key": "ab", "datum_keys": ["l", *cameras]}]
    known = {"fx": 1, "fy": 1, "cx": 0, "cy": 0, "skew": 0}
    calibration = {"names": cameras, "intrinsics": [known, known | {"cx": 2}]}
    points = io.BytesIO()
    np.savez(points, data=np.array([[5.0, 10.0, 5.0, 0.3]]))
    files = {
        "000150/scene_0a.json": json.dumps({"data": data, "samples": samples}).encode(),
        "000150/calibration/ab.json": json.dumps(calibration).encode(),
        "000150/point_cloud/LIDAR/100.npz": points.getvalue(),
        "000150/point_cloud/LIDAR/200.npz": points.getvalue(),
        **{f"000150/rgb/{name}/105.png": PNG for name in cameras},
        "ddad.json": b"{}",
    }
    truths = {}
    for name, column in zip(cameras, (1, 3), strict=True):
        truths[f"000150/rgb/{name}/105.png"] = np.full(DEPTH.shape, NAN)
        truths[f"000150/rgb/{name}/105.png"][2, column] = 5.0
    return Native(files, truths, METRES, {"other sweep": 1, "list of scenes": 1})


def ddad_png(tmp_path) -> Native:
    files = {"input/9.jpg": JPG, "gt_depth/9.png": png16(DEPTH, 256)}
    return Native(files, {"input/9.jpg": KNOWN})


def eth3d(tmp_path) -> Native:
    bare = np.where(DEPTH > 0, DEPTH, INF).astype("<f4").tobytes()
    files = {
        "office/images/dslr_images/DSC_0219.JPG": JPG,
        "office/ground_truth_depth/dslr_images/DSC_0219.JPG": bare,
        "office/images/dslr_images_undistorted/DSC_0219.JPG": JPG,
        "office/dslr_calibration_jpg/cameras.txt": b"",
    }
    ignored = {"undistorted twin": 1, "calibration": 1}
    return Native(files, {"office/images/dslr_images/DSC_0219.JPG": KNOWN}, METRES, ignored)


def eth3d_two_view(tmp_path) -> Native:
    mask = np.full(DEPTH.shape, 255, np.uint8)
    mask[2, 3] = 0
    wanted = KNOWN.copy()
    wanted[2, 3] = NAN
    left, truth = "two_view_training/forest_1s", "two_view_training_gt/forest_1s"
    files = {
        f"{left}/im0.png": PNG,
        f"{left}/im1.png": PNG,
        f"{left}/calib.txt": b"",
        f"{truth}/disp0GT.pfm": pfm(np.where(DEPTH > 0, DEPTH, INF)),
        f"{truth}/mask0nocc.png": picture(mask),
    }
    return Native(files, {f"{left}/im0.png": wanted}, AFFINE, {"right view": 1, "text": 1})


def diode(tmp_path) -> Native:
    files, truths = {}, {}
    for place in ("indoors", "outdoor"):  # one with an s, one without
        name = f"val/{place}/scene_00001/scan_00012/00001_00012_{place}_300_010"
        mask = (DEPTH > 2).astype(np.float64)
        files |= {
            f"{name}.png": PNG,
            f"{name}_depth.npy": npy(DEPTH[..., None]),
            f"{name}_depth_mask.npy": npy(mask),
            f"{name}_normal.npy": b"",
        }
        truths[f"{name}.png"] = np.where(mask, DEPTH, NAN)
    return Native(files, truths, METRES, {"normals": 2})


def da_2k(tmp_path) -> Native:
    pair = {"point1": [2, 3], "point2": [0, 1], "closer_point": "point1"}
    files = {
        "DA-2K/images/indoor/a.jpg": JPG,
        "DA-2K/annotations.json": json.dumps({"images/indoor/a.jpg": [pair]}).encode(),
    }
    return Native(files, {"DA-2K/images/indoor/a.jpg": None})


NATIVE = {
    "blendedmvs": blendedmvs,
    "diml-indoor": diml_indoor,
    "diml-outdoor": diml_outdoor,
    "hrwsi": hrwsi,
    "irs": irs,
    "megadepth": megadepth,
    "tartanair": tartanair,
    "hypersim": hypersim,
    "vkitti2": vkitti2,
    "kitti": kitti,
    "nyu-v2": nyu_v2,
    "nyu-v2-raw": nyu_v2_raw,
    "nyu-v2-h5": nyu_v2_h5,
    "nyu-v2-png": nyu_v2_png,
    "sintel": sintel,
    "ddad": ddad,
    "ddad-png": ddad_png,
    "eth3d": eth3d,
    "eth3d-two-view": eth3d_two_view,
    "diode": diode,
    "da-2k": da_2k,
}


def write(files: dict[str, bytes], folder) -> str:
    for path, data in files.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    return str(folder)


def zipped(files: dict[str, bytes], path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return str(path)
