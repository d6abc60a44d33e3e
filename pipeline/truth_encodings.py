"""How data sets encode depth and disparity in files: one row of `TRUTH_ENCODINGS` each.

Pixel disparities are affine invariant here even where a set could say more:
rectified and cropped pairs shift them by an unknown offset (Middlebury 2014 calls it ``doffs``),
and nothing in the file tells whether there is one.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from pipeline.dgp_lidar import project_lidar, scene_index
from pipeline.nyu_hdf5 import labelled_mat, rgb_and_depth
from pipeline.point_pairs import pairs_index, read_points
from pipeline.records import Geometry
from pipeline.truth_decoding import Camera, TruthEncoding, TruthFiles, decode_truth
from pipeline.truth_exr import read_exr
from pipeline.truth_files import (
    Numbers,
    TruthFileError,
    read_npy,
    read_npy_mask,
    read_npz,
    read_pfm,
    read_pgm16,
    read_png8,
    read_png16,
    read_png_mask,
)
from pipeline.truth_hdf5 import read_hdf5
from pipeline.truth_raw import read_bare_floats, read_dpt

__all__ = ["TRUTH_ENCODINGS", "TruthEncoding", "decode_truth"]


# apple/ml-hypersim: 60 degrees across 1024 pixels. A few of its scenes are rendered with shifted
# lenses; its per-scene camera tables say which.
HYPERSIM = Camera(width=1024, height=768, focal=886.81)


def alone(read: Callable[[bytes], Numbers]) -> Callable[[TruthFiles], Numbers]:
    """A reader of one file."""
    return lambda files: read(files.parts[0])


def masked(
    read: Callable[[bytes], Numbers], mask: Callable[[bytes], NDArray[np.bool_]]
) -> Callable[[TruthFiles], Numbers]:
    """A reader of a map and of a mask that is true where the map counts; it is zero elsewhere."""

    def both(files: TruthFiles) -> Numbers:
        values_HW, valid_HW = read(files.parts[0]), mask(files.parts[1])
        if values_HW.shape != valid_HW.shape:
            detail = f"a map {values_HW.shape} with a mask {valid_HW.shape}"
            raise TruthFileError("mask_size_mismatch", detail)
        return np.where(valid_HW, values_HW, np.zeros((), values_HW.dtype))

    return both


def no_map(files: TruthFiles) -> Numbers:
    """For encodings that have something else than one map per file."""
    raise TruthFileError("not_a_depth_map", f"{len(files.parts)} files without a map")


def _png(name: str, divisor: float, help: str, invalid: tuple[int, ...] = ()) -> TruthEncoding:
    return TruthEncoding(
        name=name,
        help=help,
        geometry=Geometry.DEPTH_METRIC,
        suffix=".png",
        read=alone(read_png16),
        divisor=divisor,
        invalid=invalid,
    )


TRUTH_ENCODINGS: dict[str, TruthEncoding] = {
    encoding.name: encoding
    for encoding in (
        _png(
            "png-mm", 1000, "16-bit PNG in millimetres: NYU, 7-Scenes, ScanNet, Redwood", (65535,)
        ),
        _png("png-256", 256, "16-bit PNG, metres = value / 256: KITTI"),
        _png("png-5000", 5000, "16-bit PNG, metres = value / 5000: TUM RGB-D, ICL-NUIM"),
        _png("png-10000", 10000, "16-bit PNG in tenths of a millimetre: Kinect 2", (65535,)),
        TruthEncoding(
            name="png-cm",
            help="16-bit PNG in centimetres, 65535 is sky: Virtual KITTI 2",
            geometry=Geometry.DEPTH_METRIC,
            suffix=".png",
            read=alone(read_png16),
            divisor=100,
            sky=65535,
        ),
        TruthEncoding(
            name="png-sunrgbd",
            help="16-bit PNG, millimetres with bits rotated by three: SUN RGB-D, SUN3D",
            geometry=Geometry.DEPTH_METRIC,
            suffix=".png",
            read=alone(read_png16),
            divisor=1000,
            rotated_bits=3,
        ),
        TruthEncoding(
            name="png-relative",
            help="16-bit PNG, depth of unknown scale",
            geometry=Geometry.DEPTH_SCALE_INVARIANT,
            suffix=".png",
            read=alone(read_png16),
        ),
        TruthEncoding(
            name="png8-disparity",
            help="8-bit grey PNG, disparity: Middlebury 2001 to 2006",
            geometry=Geometry.DISPARITY_AFFINE_INVARIANT,
            suffix=".png",
            read=alone(read_png8),
        ),
        TruthEncoding(
            name="pgm-mm",
            help="16-bit PGM in millimetres",
            geometry=Geometry.DEPTH_METRIC,
            suffix=".pgm",
            read=alone(read_pgm16),
            divisor=1000,
            invalid=(65535,),
        ),
        TruthEncoding(
            name="npy-m",
            help="numpy file in metres: PhoXi, exports of NYU",
            geometry=Geometry.DEPTH_METRIC,
            suffix=".npy",
            read=alone(read_npy),
        ),
        TruthEncoding(
            name="npy-ray-hypersim",
            help="numpy file, metres along each pixel's ray: Hypersim, from its HDF5",
            geometry=Geometry.DEPTH_METRIC,
            suffix=".npy",
            read=alone(read_npy),
            along_rays=HYPERSIM,
        ),
        TruthEncoding(
            name="npz-disparity",
            help="numpy archive with one array, disparity in pixels",
            geometry=Geometry.DISPARITY_AFFINE_INVARIANT,
            suffix=".npz",
            read=alone(read_npz),
        ),
        TruthEncoding(
            name="pfm-disparity",
            help="PFM, disparity in pixels: Middlebury 2014, SceneFlow",
            geometry=Geometry.DISPARITY_AFFINE_INVARIANT,
            suffix=".pfm",
            read=alone(read_pfm),
        ),
        TruthEncoding(
            name="pfm-m",
            help="PFM, depth in metres",
            geometry=Geometry.DEPTH_METRIC,
            suffix=".pfm",
            read=alone(read_pfm),
        ),
        TruthEncoding(
            name="pfm-relative",
            help="PFM, depth of unknown scale: BlendedMVS",
            geometry=Geometry.DEPTH_SCALE_INVARIANT,
            suffix=".pfm",
            read=alone(read_pfm),
        ),
        TruthEncoding(
            name="png-mm-diml",
            help="16-bit PNG in millimetres, unknown above 65500: DIML",
            geometry=Geometry.DEPTH_METRIC,
            suffix=".png",
            read=alone(read_png16),
            divisor=1000,
            above=65500,
        ),
        TruthEncoding(
            name="png8-disparity-mask",
            help="8-bit grey PNG, disparity, with a PNG that is white where it counts: HRWSI",
            geometry=Geometry.DISPARITY_AFFINE_INVARIANT,
            suffix=".png",
            read=masked(read_png8, read_png_mask),
            files=2,
        ),
        TruthEncoding(
            name="pfm-disparity-mask",
            help="PFM, disparity in pixels, with a PNG that is white where it counts: ETH3D",
            geometry=Geometry.DISPARITY_AFFINE_INVARIANT,
            suffix=".pfm",
            read=masked(read_pfm, read_png_mask),
            files=2,
        ),
        TruthEncoding(
            name="npy-m-mask",
            help="numpy file in metres, with one that is 1 where it counts: DIODE",
            geometry=Geometry.DEPTH_METRIC,
            suffix=".npy",
            read=masked(read_npy, read_npy_mask),
            files=2,
        ),
        TruthEncoding(
            name="npy-m-sky",
            help="numpy file in metres, from 1,000 m on it is sky: TartanAir",
            geometry=Geometry.DEPTH_METRIC,
            suffix=".npy",
            read=alone(read_npy),
            sky_from=1000,
        ),
        TruthEncoding(
            name="dpt-m",
            help=".dpt of Sintel, metres",
            geometry=Geometry.DEPTH_METRIC,
            suffix=".dpt",
            read=alone(read_dpt),
        ),
        TruthEncoding(
            name="bare-float32-m",
            help="float32 in metres without any header, as large as the image: ETH3D",
            geometry=Geometry.DEPTH_METRIC,
            suffix="",
            read=read_bare_floats,
        ),
        TruthEncoding(
            name="exr-disparity-irs",
            help="EXR, disparity in pixels, depth = 480 * 0.1 m / disparity: IRS",
            geometry=Geometry.DEPTH_METRIC,
            suffix=".exr",
            read=alone(read_exr),
            library="OpenEXR",
            stereo=480 * 0.1,
        ),
        TruthEncoding(
            name="hdf5-relative",
            help="HDF5 with `depth` of unknown scale: MegaDepth",
            geometry=Geometry.DEPTH_SCALE_INVARIANT,
            suffix=".h5",
            read=alone(partial(read_hdf5, name="depth")),
            library="h5py",
        ),
        TruthEncoding(
            name="hdf5-ray-hypersim",
            help="HDF5 with `dataset`, metres along each pixel's ray: Hypersim",
            geometry=Geometry.DEPTH_METRIC,
            suffix=".hdf5",
            read=alone(partial(read_hdf5, name="dataset")),
            library="h5py",
            along_rays=HYPERSIM,
        ),
        TruthEncoding(
            name="dgp-lidar",
            help="LiDAR points, calibration and scene of DGP, projected: DDAD",
            geometry=Geometry.DEPTH_METRIC,
            suffix="",
            read=project_lidar,
            files=3,
            index=scene_index,
        ),
        TruthEncoding(
            name="nyu-mat",
            help="MATLAB 7.3 file with `images` and filled `depths` in metres: NYU v2",
            geometry=Geometry.DEPTH_METRIC,
            suffix="",
            read=no_map,
            members=partial(labelled_mat, depths="depths"),
            library="h5py",
        ),
        TruthEncoding(
            name="nyu-mat-raw",
            help="MATLAB 7.3 file with `images` and `rawDepths` in metres: NYU v2",
            geometry=Geometry.DEPTH_METRIC,
            suffix="",
            read=no_map,
            members=partial(labelled_mat, depths="rawDepths"),
            library="h5py",
        ),
        TruthEncoding(
            name="nyu-h5",
            help="HDF5 with `rgb` and `depth` in metres: NYU v2 of FastDepth and TFDS",
            geometry=Geometry.DEPTH_METRIC,
            suffix="",
            read=no_map,
            members=rgb_and_depth,
            library="h5py",
        ),
        TruthEncoding(
            name="point-pairs",
            help="JSON with pairs of points of which one is closer: DA-2K",
            geometry=Geometry.DEPTH_SCALE_INVARIANT,
            suffix="",
            read=no_map,
            points=read_points,
            index=pairs_index,
        ),
    )
}
