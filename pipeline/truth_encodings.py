"""How data sets encode depth and disparity in files: one row of `TRUTH_ENCODINGS` each.

Pixel disparities are affine invariant here even where a set could say more:
rectified and cropped pairs shift them by an unknown offset (Middlebury 2014 calls it ``doffs``),
and nothing in the file tells whether there is one.
"""

from collections.abc import Callable

from pipeline.records import Geometry
from pipeline.truth_decoding import Camera, TruthEncoding, TruthFiles, decode_truth
from pipeline.truth_files import (
    Numbers,
    read_npy,
    read_npz,
    read_pfm,
    read_pgm16,
    read_png8,
    read_png16,
)

__all__ = ["TRUTH_ENCODINGS", "TruthEncoding", "decode_truth"]


# apple/ml-hypersim: 60 degrees across 1024 pixels. A few of its scenes are rendered with shifted
# lenses; its per-scene camera tables say which.
HYPERSIM = Camera(width=1024, height=768, focal=886.81)


def alone(read: Callable[[bytes], Numbers]) -> Callable[[TruthFiles], Numbers]:
    """A reader of one file."""
    return lambda files: read(files.parts[0])


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
            help="8-bit grey PNG, disparity: Middlebury 2001 to 2006, HRWSI",
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
            help="numpy file in metres: TartanAir, DIODE, PhoXi",
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
            help="PFM, disparity in pixels: Middlebury 2014, SceneFlow, ETH3D two-view",
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
    )
}
