"""From the files of one image's ground truth to values in metres, or whatever is known of them.

Whatever a file holds, only finite numbers above zero that are no code for "unknown" are values; the
rest becomes NaN.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from pipeline.records import Geometry, Member, PointPair, Truth
from pipeline.truth_files import Numbers, TruthFileError


@dataclass(frozen=True, slots=True)
class TruthFiles:
    """What is known of one image's ground truth before it is decoded.

    Attributes:
        parts: Bytes of the file of depth, then of what else the encoding takes, in its order.
        image_size: Height and width of the image as encoded; None where nobody looked.
        image_path: Path of the image inside its data set.
    """

    parts: tuple[bytes, ...]
    image_size: tuple[int, int] | None = None
    image_path: str = ""


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """An image with its ground truth, as a file of the data set says.

    Attributes:
        image: Path inside the data set.
        truth: Paths of what the encoding takes, in its order.
    """

    image: str
    truth: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Inner:
    """A picture with its map, of a file that holds several.

    Attributes:
        name: Unique in the file; with a suffix that says how ``image`` is encoded.
        image: An encoded image.
        stored_HW: Numbers as the file has them.
    """

    name: str
    image: bytes
    stored_HW: Numbers


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


@dataclass(frozen=True, kw_only=True, slots=True)
class TruthEncoding:
    """How numbers in files mean depth or disparity.

    Attributes:
        help: One line: which data sets, which unit.
        suffix: Of the file of depth; empty where no name tells.
        read: The files to an array H x W.
        files: How many it takes.
        index: The bytes and the path of a file that a preset's ``index`` matches, to what it says
            belongs together; raises TruthFileError if it is no such file.
        points: Pairs of points in the files, for sets that have those and no maps.
        members: What the pictures and maps are in a file that holds both, opened for reading.
        library: What has to be installed besides to read the files; its native code parses them,
            and crafted ones may crash it.
        divisor: Stored number over value: 1000 for millimetres kept as whole numbers.
        stereo: Focal length in pixels times baseline in metres, where the file has disparities in
            pixels and is said to be rectified: depth = stereo / disparity.
        invalid: Stored numbers that say "unknown"; zero, negative and non-finite ones always do.
        above: Stored numbers above this say "unknown".
        sky: The stored number that says "sky", if any.
        sky_from: Values from here on, in metres, are sky.
        rotated_bits: How far the 16 bits are to be rotated right before use.
        along_rays: The camera, where the file has distances from it in place of depths.
    """

    name: str
    help: str
    geometry: Geometry
    suffix: str
    read: Callable[[TruthFiles], Numbers]
    files: int = 1
    index: Callable[[bytes, str], Iterator[IndexEntry]] | None = None
    points: Callable[[TruthFiles], tuple[PointPair, ...]] | None = None
    members: Callable[[BinaryIO], Iterator[Inner]] | None = None
    library: str | None = None
    divisor: float = 1.0
    stereo: float | None = None
    invalid: tuple[int, ...] = ()
    above: float | None = None
    sky: int | None = None
    sky_from: float | None = None
    rotated_bits: int = 0
    along_rays: Camera | None = None

    @property
    def native(self) -> bool:
        """Whether native code parses the files."""
        return self.library is not None

    @property
    def for_pairs(self) -> bool:
        """Whether one file with a telling name is all that it takes."""
        return self.files == 1 and bool(self.suffix)


def decode_truth(
    parts: Sequence[bytes],
    encoding: TruthEncoding,
    *,
    image_size: tuple[int, int] | None = None,
    image_path: str = "",
) -> Truth:
    """Bytes of files to values in the geometry's unit; pixel disparities stay in pixels.

    Args:
        parts: The file of depth, then what else the encoding takes (masks, calibration).
        encoding: A row of `TRUTH_ENCODINGS`.
        image_size: Height and width of the image as encoded: some files do not say their own.
        image_path: Path of the image inside the data set: some files are about several images.

    Raises:
        TruthFileError: They are no such files, broken, or not about that image.
        SourceError: The library that reads them is not installed.
    """
    if len(parts) != encoding.files:
        raise TruthFileError(
            "no_truth", f"{encoding.name} takes {encoding.files} files, found {len(parts)}"
        )
    return truth_of(encoding.read(TruthFiles(tuple(parts), image_size, image_path)), encoding)


def with_truth(
    member: Member,
    parts: Sequence[bytes],
    encoding: TruthEncoding,
    *,
    image_size: tuple[int, int] | None = None,
) -> Member:
    """An image with its map, or with its pairs of points where the encoding has those.

    Raises:
        TruthFileError: As of `decode_truth`.
        SourceError: The library that reads the files is not installed.
    """
    if encoding.points is not None:
        files = TruthFiles(tuple(parts), image_size, member.path)
        return replace(member, points=encoding.points(files))
    truth = decode_truth(parts, encoding, image_size=image_size, image_path=member.path)
    return replace(member, truth=truth)


def inner_members(
    file: BinaryIO, encoding: TruthEncoding, *, path: str, uri: str
) -> Iterator[Member]:
    """The images with their truth inside a file that holds both, under ``path``.

    Raises:
        TruthFileError: It is no such file, or broken from there on.
        SourceError: The library that reads it is not installed.
    """
    assert encoding.members is not None
    for inner in encoding.members(file):
        truth = truth_of(inner.stored_HW, encoding)
        yield Member(f"{path}/{inner.name}", uri, inner.image, truth=truth)


def truth_of(stored: Numbers, encoding: TruthEncoding) -> Truth:
    """Numbers as a file has them to values in the geometry's unit."""
    if encoding.rotated_bits:
        bits, right = stored.astype(np.uint16), encoding.rotated_bits
        stored = (bits >> right) | (bits << (16 - right))
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        values = _values(stored, encoding).astype(np.float32)
    unknown = ~(np.isfinite(values) & (values > 0))
    for code in encoding.invalid:
        unknown |= stored == code
    if encoding.above is not None:
        unknown |= stored > encoding.above
    sky = _sky(stored, values, encoding)
    values[unknown if sky is None else unknown | sky] = np.nan
    return Truth(values, encoding.geometry, sky)


def _values(stored: Numbers, encoding: TruthEncoding) -> Numbers:
    scaled = stored / encoding.divisor
    if encoding.stereo is not None:
        scaled = encoding.stereo / scaled
    return scaled if encoding.along_rays is None else encoding.along_rays.depth(scaled)


def _sky(
    stored: Numbers, values_HW: NDArray[np.float32], encoding: TruthEncoding
) -> NDArray[np.bool_] | None:
    if encoding.sky is not None:
        return np.asarray(stored == encoding.sky)
    if encoding.sky_from is not None:
        return np.asarray(values_HW >= encoding.sky_from)  # infinite is far, NaN is nothing
    return None
