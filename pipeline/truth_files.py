"""Files of ground truth to arrays, without trusting them: PNG, PGM, PFM, npy, npz.

Sizes are checked against the header before anything of that size is read, nothing is unpickled, and
a picture of depth (a palette, colours, eight bits where sixteen belong) is refused: its numbers are
colours, not distances.
"""

import io
import re
import struct
import tokenize
import zipfile
import zlib

import numpy as np
from numpy.typing import NDArray
from PIL import PngImagePlugin

from pipeline.errors import PipelineError
from pipeline.images import MAX_PIXELS
from pipeline.structure import BrokenStructureError, scan_png

Numbers = NDArray[np.number]

_PNG_START = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
_PNG_COLOURS = {0: "grey", 2: "RGB", 3: "palette", 4: "grey with alpha", 6: "RGB with alpha"}
_PNM = re.compile(rb"(P[1-7fF])\s(?:\s*#[^\n]*\n)*\s*(\d+)\s+(\d+)\s+([-+.\deE]+)(?:\r\n|\s)")
_FAULTS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    EOFError,
    OverflowError,
    RuntimeError,
    struct.error,
    tokenize.TokenError,  # of the header of a numpy file, which is Python
    zlib.error,
    zipfile.BadZipFile,
    BrokenStructureError,
)


class TruthFileError(PipelineError):
    """A file of ground truth is not what its encoding says: the pair is dropped with this reason.

    Attributes:
        reason: ``corrupt_truth``, or ``not_a_depth_map`` for a sound file of another kind.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def read_png16(data: bytes) -> Numbers:
    """A 16-bit grey PNG, uint16 H x W."""
    return _read_png(data, bits=16)


def read_png8(data: bytes) -> Numbers:
    """An 8-bit grey PNG, uint8 H x W."""
    return _read_png(data, bits=8)


def read_pgm16(data: bytes) -> Numbers:
    """A binary PGM of 16-bit samples, which are big-endian, uint16 H x W."""
    kind, width, height, largest, start = _pnm_header(data, "a 16-bit PGM")
    if kind != b"P5" or not largest.isdigit() or not 255 < int(largest) < 65536:
        raise _other(f"a 16-bit PGM expected, found {kind.decode()} with maximum {largest!r}")
    values = raw_samples(data, start, width, height, dtype=">u2").astype(np.uint16)
    if values.max() > int(largest):
        raise _corrupt(f"a sample is {values.max()}, the header says at most {int(largest)}")
    if values.max() > 4096 and (values & 255).max() < 16:
        # Kinect's raw 11-bit disparities are kept like this; no distances have such low bytes.
        raise _other("the samples are little-endian, that is not depth but raw Kinect output")
    return values


def read_pfm(data: bytes) -> Numbers:
    """A one-channel PFM, float32 H x W, first row on top.

    The file has its rows from the bottom up; the sign of its scale says the byte order, the
    scale's size is ignored, as everywhere.
    """
    kind, width, height, scale, start = _pnm_header(data, "a PFM")
    if kind != b"Pf":
        raise _other(f"a one-channel PFM (Pf) expected, found {kind.decode()}")
    try:
        order = "<" if float(scale) < 0 else ">"
    except ValueError as error:
        raise _corrupt(f"the PFM's scale is {scale!r}") from error
    return raw_samples(data, start, width, height, dtype=f"{order}f4")[::-1].astype(np.float32)


def read_npy(data: bytes) -> Numbers:
    """A numpy file of numbers, H x W; axes of length one in front or at the end are dropped."""
    file = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        old = version == (1, 0)
        read = np.lib.format.read_array_header_1_0 if old else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(file)
    except _FAULTS as error:
        raise _corrupt(f"a numpy file expected: {error}") from error
    if dtype.kind not in "fiu":
        raise _other(f"numbers expected, found {dtype}")
    values = raw_samples(data, file.tell(), *_flat(shape), dtype=dtype)
    return as_map(values.reshape(shape[::-1]).T if fortran else values.reshape(shape))


def read_npz(data: bytes) -> Numbers:
    """The only array of a numpy archive, H x W."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
            if len(names) != 1:
                raise _other(f"one array expected, found {', '.join(names[:5]) or 'none'}")
            with archive.open(names[0]) as member:
                inner = member.read(8 * MAX_PIXELS + 4096)
    except _FAULTS as error:
        raise _corrupt(f"a numpy archive (npz) expected: {error}") from error
    return read_npy(inner)


def read_png_mask(data: bytes) -> NDArray[np.bool_]:
    """A grey PNG of one or eight bits, True where it is white: what is neither is not."""
    bits = 1 if data[24:25] == b"\1" else 8
    return np.asarray(_read_png(data, bits=bits) == (1 if bits == 1 else 255))


def read_npy_mask(data: bytes) -> NDArray[np.bool_]:
    """A numpy file H x W, True where it is one."""
    return np.asarray(read_npy(data) == 1)


def as_map(values: Numbers) -> Numbers:
    """An array H x W, once axes of length one in front or at the end are dropped.

    Raises:
        TruthFileError: It is no map, or too large for one.
    """
    if values.dtype.kind not in "fiu":
        raise _other(f"numbers expected, found {values.dtype}")
    return np.asarray(values.reshape(_flat(values.shape)[::-1]))


def _read_png(data: bytes, *, bits: int) -> Numbers:
    if not data.startswith(_PNG_START) or len(data) < 26:
        raise _corrupt(f"a grey PNG of {bits} bits expected; no PNG begins like this")
    width, height, depth, colour = struct.unpack(">IIBB", data[16:26])
    if (depth, colour) != (bits, 0):
        found = f"{_PNG_COLOURS.get(colour, f'colour type {colour}')} of {depth}"
        raise _other(f"a grey PNG of {bits} bits expected, found {found}")
    check_size(width, height)
    try:
        if not scan_png(data).complete:
            raise _corrupt("the end of the PNG is missing")
        with PngImagePlugin.PngImageFile(io.BytesIO(data)) as image:
            values = np.array(image)
    except _FAULTS as error:
        raise _corrupt(f"the PNG cannot be decoded: {error}") from error
    return values


def _pnm_header(data: bytes, expected: str) -> tuple[bytes, int, int, bytes, int]:
    """Kind, width, height, the last field, and where the samples start."""
    header = _PNM.match(data[:4096])
    if header is None:
        raise _corrupt(f"{expected} expected; none begins like this")
    kind, width, height, last = header.groups()
    check_size(int(width[:9]), int(height[:9]))
    return kind, int(width), int(height), last, header.end()


def raw_samples(
    data: bytes, start: int, width: int, height: int, *, dtype: str | np.dtype
) -> Numbers:
    """Samples row by row, H x W, from ``start`` to the very end.

    Raises:
        TruthFileError: There are more or fewer bytes, or that is no size of a map.
    """
    check_size(width, height)
    wanted, found = width * height * np.dtype(dtype).itemsize, len(data) - start
    if wanted != found:
        raise _corrupt(f"{width} x {height} {np.dtype(dtype)} are {wanted} bytes, found {found}")
    return np.frombuffer(data, dtype, offset=start).reshape(height, width)


def _flat(shape: tuple[int, ...]) -> tuple[int, int]:
    """Width and height of an array that is a map but for axes of length one."""
    inner = shape
    while len(inner) > 2 and inner[-1] == 1:
        inner = inner[:-1]
    while len(inner) > 2 and inner[0] == 1:
        inner = inner[1:]
    if len(inner) != 2:
        raise _other(f"a map of height x width expected, found an array of shape {shape}")
    check_size(inner[1], inner[0])
    return inner[1], inner[0]


def check_size(width: int, height: int) -> None:
    """Refuse sizes that no map has.

    Raises:
        TruthFileError: It is empty or too large.
    """
    if min(width, height) < 1 or width * height > MAX_PIXELS:
        raise _corrupt(f"{width} x {height} is no size of a map (at most {MAX_PIXELS:,} pixels)")


def _corrupt(detail: str) -> TruthFileError:
    return TruthFileError("corrupt_truth", detail)


def _other(detail: str) -> TruthFileError:
    return TruthFileError("not_a_depth_map", detail)
