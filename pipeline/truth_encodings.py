"""How data sets encode depth and disparity in files: one row of `TRUTH_ENCODINGS` each.

Whatever a file holds, only finite numbers above zero that are no code for "unknown" are values; the
rest becomes NaN. Pixel disparities are affine invariant here even where a set could say more:
rectified and cropped pairs shift them by an unknown offset (Middlebury 2014 calls it ``doffs``),
and nothing in the file tells whether there is one.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.records import Geometry, Truth
from pipeline.truth_files import (
    Numbers,
    TruthFileError,
    read_npy,
    read_npz,
    read_pfm,
    read_pgm16,
    read_png8,
    read_png16,
)


@dataclass(frozen=True, slots=True)
class Camera:
    """A pinhole camera with its centre in the middle of the image.

    Attributes:
        focal: Focal length in pixels, of an image of ``width`` x ``height``.
    """

    width: int
    height: int
    focal: float

    def depth(self, distance_HW: Numbers) -> NDArray[np.float64]:
        """Distance along each pixel's ray to depth along the axis, in the same unit.

        depth = distance * f / sqrt(f^2 + x^2 + y^2), x and y the pixel centre's offsets from the
        middle. An image of another size is taken as the whole view in other pixels.

        Raises:
            TruthFileError: The shape is not the camera's.
        """
        height, width = distance_HW.shape
        if width * self.height != height * self.width:
            detail = f"{width} x {height} is not the shape of {self.width} x {self.height}"
            raise TruthFileError("not_a_depth_map", detail)
        focal = self.focal * width / self.width
        x_W = np.arange(width) - (width - 1) / 2
        y_H1 = np.arange(height)[:, None] - (height - 1) / 2
        share_HW = focal / np.sqrt(focal**2 + x_W**2 + y_H1**2)
        return np.asarray(distance_HW * share_HW, np.float64)


# apple/ml-hypersim: 60 degrees across 1024 pixels. A few of its scenes are rendered with shifted
# lenses; its per-scene camera tables say which.
HYPERSIM = Camera(width=1024, height=768, focal=886.81)


@dataclass(frozen=True, kw_only=True, slots=True)
class TruthEncoding:
    """How numbers in a file mean depth or disparity.

    Attributes:
        help: One line: which data sets, which unit.
        suffix: Of the files.
        read: Bytes to an array H x W.
        divisor: Stored number over value: 1000 for millimetres kept as whole numbers.
        invalid: Stored numbers that say "unknown"; zero, negative and non-finite ones always do.
        sky: The stored number that says "sky", if any.
        rotated_bits: How far the 16 bits are to be rotated right before use.
        along_rays: The camera, where the file has distances from it in place of depths.
    """

    name: str
    help: str
    geometry: Geometry
    suffix: str
    read: Callable[[bytes], Numbers]
    divisor: float = 1.0
    invalid: tuple[int, ...] = ()
    sky: int | None = None
    rotated_bits: int = 0
    along_rays: Camera | None = None


def _png(name: str, divisor: float, help: str, invalid: tuple[int, ...] = ()) -> TruthEncoding:
    return TruthEncoding(
        name=name,
        help=help,
        geometry=Geometry.DEPTH_METRIC,
        suffix=".png",
        read=read_png16,
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
            read=read_png16,
            divisor=100,
            sky=65535,
        ),
        TruthEncoding(
            name="png-sunrgbd",
            help="16-bit PNG, millimetres with bits rotated by three: SUN RGB-D, SUN3D",
            geometry=Geometry.DEPTH_METRIC,
            suffix=".png",
            read=read_png16,
            divisor=1000,
            rotated_bits=3,
        ),
        TruthEncoding(
            name="png-relative",
            help="16-bit PNG, depth of unknown scale",
            geometry=Geometry.DEPTH_SCALE_INVARIANT,
            suffix=".png",
            read=read_png16,
        ),
        TruthEncoding(
            name="png8-disparity",
            help="8-bit grey PNG, disparity: Middlebury 2001 to 2006, HRWSI",
            geometry=Geometry.DISPARITY_AFFINE_INVARIANT,
            suffix=".png",
            read=read_png8,
        ),
        TruthEncoding(
            name="pgm-mm",
            help="16-bit PGM in millimetres",
            geometry=Geometry.DEPTH_METRIC,
            suffix=".pgm",
            read=read_pgm16,
            divisor=1000,
            invalid=(65535,),
        ),
        TruthEncoding(
            name="npy-m",
            help="numpy file in metres: TartanAir, DIODE, PhoXi",
            geometry=Geometry.DEPTH_METRIC,
            suffix=".npy",
            read=read_npy,
        ),
        TruthEncoding(
            name="npy-ray-hypersim",
            help="numpy file, metres along each pixel's ray: Hypersim, from its HDF5",
            geometry=Geometry.DEPTH_METRIC,
            suffix=".npy",
            read=read_npy,
            along_rays=HYPERSIM,
        ),
        TruthEncoding(
            name="npz-disparity",
            help="numpy archive with one array, disparity in pixels",
            geometry=Geometry.DISPARITY_AFFINE_INVARIANT,
            suffix=".npz",
            read=read_npz,
        ),
        TruthEncoding(
            name="pfm-disparity",
            help="PFM, disparity in pixels: Middlebury 2014, SceneFlow, ETH3D two-view",
            geometry=Geometry.DISPARITY_AFFINE_INVARIANT,
            suffix=".pfm",
            read=read_pfm,
        ),
        TruthEncoding(
            name="pfm-m",
            help="PFM, depth in metres",
            geometry=Geometry.DEPTH_METRIC,
            suffix=".pfm",
            read=read_pfm,
        ),
        TruthEncoding(
            name="pfm-relative",
            help="PFM, depth of unknown scale: BlendedMVS",
            geometry=Geometry.DEPTH_SCALE_INVARIANT,
            suffix=".pfm",
            read=read_pfm,
        ),
    )
}


def decode_truth(data: bytes, encoding: TruthEncoding) -> Truth:
    """A file's bytes to values in the geometry's unit; pixel disparities stay in pixels.

    Raises:
        TruthFileError: It is no such file, or broken.
    """
    stored = encoding.read(data)
    if encoding.rotated_bits:
        bits, right = stored.astype(np.uint16), encoding.rotated_bits
        stored = (bits >> right) | (bits << (16 - right))
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = stored / encoding.divisor
        if encoding.along_rays is not None:
            scaled = encoding.along_rays.depth(scaled)
        values = scaled.astype(np.float32)
    unknown = ~(np.isfinite(values) & (values > 0))
    for code in (*encoding.invalid, *(() if encoding.sky is None else (encoding.sky,))):
        unknown |= stored == code
    values[unknown] = np.nan
    sky = None if encoding.sky is None else stored == encoding.sky
    return Truth(values, encoding.geometry, sky)
