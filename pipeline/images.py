"""Encoded images to upright RGB, without trusting them.

Formats come from a list of what is allowed, recognised by their first bytes, and each is opened by
its own Pillow plugin: ``Image.open`` would try others, and check the size against a global that
threads share, with a warning. The size is checked before a pixel is decoded. JPEG and TIFF are
handed to Pillow without their metadata, which it would parse, and warn about, for nothing.

Alpha is dropped, not blended, as the networks' own loaders do. Sixteen bits are scaled to eight.
"""

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
    features,
)
from PIL.ImageFile import ImageFile

from pipeline.errors import PipelineError
from pipeline.image_formats import sniff
from pipeline.structure import (
    BrokenStructureError,
    Structure,
    boxes_complete,
    orientation,
    scan_jpeg,
    scan_png,
    scan_webp,
)
from pipeline.tiff_structure import grey_bits as tiff_grey_bits
from pipeline.tiff_structure import scan_tiff, tiff_of_pixels

MAX_PIXELS = 100_000_000

_Opener = Callable[[io.BytesIO], ImageFile]
_OPENERS: dict[str, _Opener] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "PPM": PpmImagePlugin.PpmImageFile,
    "AVIF": AvifImagePlugin.AvifImageFile,
}
_SCANNERS: dict[str, Callable[[bytes], Structure]] = {
    "JPEG": scan_jpeg,
    "PNG": scan_png,
    "WEBP": scan_webp,
    "TIFF": scan_tiff,
}
_EIGHT_BIT = frozenset(
    ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"]
)
_SIXTEEN_BIT = frozenset(["I;16", "I;16L", "I;16B", "I;16N"])
_STRIP_BYTES = 1 << 18
# What undoes each EXIF orientation.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# What Pillow's readers raise on broken files; tests/unit/pipeline/test_filters.py has the fuzzing
# that looks for more.
_PILLOW_FAULTS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    EOFError,
    OverflowError,
    RuntimeError,  # libavif
    struct.error,
    zlib.error,
)


class ImageDecodeError(PipelineError, ValueError):
    """The bytes give no picture: the image is left out, its reason counted.

    Attributes:
        reason: A code of the table in `pipeline.filters`.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type["ImageDecodeError"], tuple[str, str]]:
        return ImageDecodeError, (self.reason, self.detail)


@dataclass(frozen=True, slots=True)
class ReadHeader:
    """What is known of an image before its pixels are.

    Attributes:
        structure: Size, orientation and completeness; the size is as stored.
    """

    format: str
    structure: Structure

    @property
    def shown_size(self) -> tuple[int, int]:
        """Width and height after orientation."""
        width, height = self.structure.width, self.structure.height
        return (height, width) if self.structure.orientation >= 5 else (width, height)


@dataclass(frozen=True, slots=True)
class OpenedImage(ReadHeader):
    """An image whose header was read and whose pixels were not.

    Attributes:
        grey_bits: Of a grey value that has more than eight; Pillow keeps a TIFF's 12 as they are.
    """

    image: ImageFile
    grey_bits: int


def decode_rgb(
    data: bytes, *, max_pixels: int = MAX_PIXELS, least_side: int | None = None
) -> NDArray[np.uint8]:
    """Decode to uint8 H x W x 3, upright, 0 to 255 sRGB as stored (colour profiles not applied).

    With ``least_side`` a JPEG comes at the smallest of the scales 1, 1/2, 1/4, 1/8 whose sides have
    that many pixels, where it has them at all: for small pictures of it, in a part of the time.

    Raises:
        ImageDecodeError: Not a picture that is allowed, too large, or broken.
    """
    opened = open_image(data, max_pixels=max_pixels)
    with _faults("decode_failed"):
        if least_side is not None:
            opened.image.draft(None, (least_side, least_side))  # only JPEG knows how
        opened.image.load()
        opened.image.info.pop("transparency", None)  # alpha in a palette is dropped like any other
        turn = _TURNS.get(opened.structure.orientation)
        image = opened.image if turn is None else opened.image.transpose(turn)
        return _rgb(image, grey_bits=opened.grey_bits)


def decode_grey(data: bytes, *, side: int, max_pixels: int = MAX_PIXELS) -> NDArray[np.float32]:
    """Decode to float32 side x side, upright, 0 to 255: the mean luma of each cell of that grid.

    A JPEG is decoded at the smallest of the scales 1, 1/2, 1/4, 1/8 that still has two pixels for
    each cell, which takes a small part of the time and memory.

    Raises:
        ImageDecodeError: As `decode_rgb`.
    """
    opened = open_image(data, max_pixels=max_pixels)
    with _faults("decode_failed"):
        image: Image.Image = opened.image
        full = image.size
        opened.image.draft("L", (2 * side, 2 * side))  # only JPEG knows how
        opened.image.load()
        if image.mode in _SIXTEEN_BIT or image.mode == "I":
            image = Image.fromarray(_rgb(image, grey_bits=opened.grey_bits)[..., 0])
        # What was made smaller may have a last row and column that lie partly outside.
        decoded = [
            max(1, round(whole / there)) for whole, there in zip(full, image.size, strict=True)
        ]
        factor = max(1, image.width // (4 * side)), max(1, image.height // (4 * side))
        image = _luma(image).reduce(factor)
        turn = _TURNS.get(opened.structure.orientation)
        width, height = (
            whole / (times * again)
            for whole, times, again in zip(full, decoded, factor, strict=True)
        )
        grey_HW = _cell_means(np.asarray(image, np.float64), height, cells=side)
        grey_HW = _cell_means(grey_HW.T, width, cells=side).T
        image = Image.fromarray(grey_HW.astype(np.float32))
        return np.asarray(image if turn is None else image.transpose(turn))


def _cell_means(
    values_HW: NDArray[np.float64], height: float, *, cells: int
) -> NDArray[np.float64]:
    """The mean of the rows 0 to ``height``, not always a whole number, in each of some cells."""
    sums_HW = np.zeros((len(values_HW) + 1, values_HW.shape[1]))
    np.cumsum(values_HW, axis=0, out=sums_HW[1:])
    edges = np.linspace(0, min(height, len(values_HW)), cells + 1)
    before = np.minimum(edges.astype(np.intp), len(values_HW) - 1)
    at_edges_HW = sums_HW[before] + (edges - before)[:, None] * values_HW[before]
    means_HW: NDArray[np.float64] = np.diff(at_edges_HW, axis=0) / (edges[1] - edges[0])
    return means_HW


def _luma(image: Image.Image) -> Image.Image:
    """Eight bits of grey; alpha is dropped."""
    image.info.pop("transparency", None)
    return image if image.mode == "L" else image.convert("RGB").convert("L")


def read_header(data: bytes, *, max_pixels: int = MAX_PIXELS) -> ReadHeader:
    """As `open_image`, without what decoding takes: a usual JPEG need not be opened for that.

    Raises:
        ImageDecodeError: As `open_image`, in every case.
    """
    if data.startswith(b"\xff\xd8\xff"):
        structure = _scan("JPEG", data)
        if structure is not None and structure.is_usual:
            _check_structure(structure, max_pixels)
            return ReadHeader("JPEG", structure)
    return open_image(data, max_pixels=max_pixels)


def open_image(data: bytes, *, max_pixels: int = MAX_PIXELS) -> OpenedImage:
    """Read the header of an allowed format; nothing the size of the picture is allocated.

    Raises:
        ImageDecodeError: With reason ``empty``, ``not_an_image``, ``unsupported_format``,
            ``corrupt_header``, ``too_many_pixels``, ``animated`` or ``unsupported_pixels``.
    """
    format_ = _allowed_format(data)
    structure = _scan(format_, data)
    grey_bits = 12 if format_ == "TIFF" and tiff_grey_bits(data) == 12 else 16
    if structure is not None:
        _check_structure(structure, max_pixels)
        data = tiff_of_pixels(data) if format_ == "TIFF" else _without(data, structure.metadata)
    cut = structure is not None and not structure.complete
    with _faults("truncated" if cut else "corrupt_header"):
        image = _OPENERS[format_](io.BytesIO(data))
        if structure is None:
            structure = _structure_from_pillow(format_, image, data)
            _check_structure(structure, max_pixels)
    _check_mode(format_, image.mode)
    return OpenedImage(format_, structure, image, grey_bits)


def _allowed_format(data: bytes) -> str:
    if not data:
        raise ImageDecodeError("empty", "the file has no bytes")
    format_ = sniff(data)
    if format_ is None:
        raise ImageDecodeError("not_an_image", "no image format begins like this")
    if format_ not in _OPENERS or (format_ == "AVIF" and not features.check("avif")):
        raise ImageDecodeError("unsupported_format", f"{format_} is not read here")
    return format_


def _scan(format_: str, data: bytes) -> Structure | None:
    try:
        return _SCANNERS[format_](data) if format_ in _SCANNERS else None
    except BrokenStructureError as error:
        raise ImageDecodeError("corrupt_header", str(error)) from error


def _check_structure(structure: Structure, max_pixels: int) -> None:
    width, height = structure.width, structure.height
    if min(width, height) < 1:
        raise ImageDecodeError("corrupt_header", f"the size is {width} x {height}")
    if width * height > max_pixels:
        message = f"{width} x {height} is more than {max_pixels:,} pixels"
        raise ImageDecodeError("too_many_pixels", message)
    if structure.frames != 1:
        raise ImageDecodeError("animated", f"{structure.frames} frames")


def _check_mode(format_: str, mode: str) -> None:
    # Pillow calls a 16-bit PGM "I"; elsewhere "I" and "F" have no range that says what is white.
    if mode not in _EIGHT_BIT | _SIXTEEN_BIT and (format_, mode) != ("PPM", "I"):
        message = f"{format_} with pixels of mode {mode}: their range is unknown"
        raise ImageDecodeError("unsupported_pixels", message)


def _without(data: bytes, spans: tuple[tuple[int, int], ...]) -> bytes:
    if not spans:
        return data
    kept, position = [], 0
    for start, end in spans:
        kept.append(data[position:start])
        position = end
    return b"".join([*kept, data[position:]])


def _structure_from_pillow(format_: str, image: ImageFile, data: bytes) -> Structure:
    """For BMP, PPM and AVIF, of which Pillow reads nothing that could warn."""
    width, height = image.size
    if format_ != "AVIF":
        return Structure(width, height, 1, 1, _raw_complete(image, len(data)))
    turned, frames = orientation(image.info.get("exif", b"")), int(getattr(image, "n_frames", 1))
    return Structure(width, height, turned, frames, boxes_complete(data))


def _raw_complete(image: ImageFile, size: int) -> bool:
    """Whether an uncompressed BMP or PPM has as many bytes as its rows need."""
    tile = image.tile[0]
    width, height = image.size
    arguments = tile.args if isinstance(tile.args, tuple) else (tile.args,)
    if image.format == "BMP" and tile.codec_name == "raw":
        return tile.offset + int(arguments[1]) * height <= size
    if tile.codec_name == "raw" and image.mode == "1":
        return tile.offset + (width + 7) // 8 * height <= size
    if tile.codec_name in ("raw", "ppm"):
        wide = arguments[0] == "I;16B" or (tile.codec_name == "ppm" and int(arguments[1]) > 255)
        samples = width * height * len(image.getbands())
        return tile.offset + samples * (2 if wide else 1) <= size
    return True


def _rgb(image: Image.Image, *, grey_bits: int) -> NDArray[np.uint8]:
    """H x W x 3, filled strip by strip.

    Conversions of the whole picture would each touch as much fresh memory as it has, which costs
    up to as much time as decoding it.
    """
    width, height = image.size
    pixels_HWC = np.empty((height, width, 3), np.uint8)
    rows = max(1, _STRIP_BYTES // (3 * width))
    for top in range(0, height, rows):
        strip = image.crop((0, top, width, min(height, top + rows)))
        pixels_HWC[top : top + rows] = _strip_rgb(strip, grey_bits=grey_bits)
    return pixels_HWC


def _strip_rgb(strip: Image.Image, *, grey_bits: int) -> NDArray[np.uint8]:
    """H x W x 3, or H x W x 1 for 16-bit grey, scaled so that its largest value becomes 255."""
    if strip.mode not in _SIXTEEN_BIT and strip.mode != "I":
        return np.asarray(strip if strip.mode == "RGB" else strip.convert("RGB"))
    largest = (1 << grey_bits) - 1
    grey_HW = np.asarray(strip).astype(np.uint32)
    grey_HW = np.minimum((grey_HW * 255 + largest // 2) // largest, 255)
    return grey_HW.astype(np.uint8)[..., None]


@contextmanager
def _faults(reason: str) -> Iterator[None]:
    """Turn what Pillow raises on broken files into a reason; nothing else is done inside."""
    try:
        yield
    except ImageDecodeError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageDecodeError("too_many_pixels", str(error)) from error
    except _PILLOW_FAULTS as error:
        text = f"{type(error).__name__}: {error}"
        if reason == "decode_failed" and "truncated" in str(error):
            reason = "truncated"
        raise ImageDecodeError(reason, text) from error
