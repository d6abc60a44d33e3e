"""Disparity maps to bytes and back: 16 or 12 bits per value, lossless JPEG XL.

A map is quantised linearly between its own minimum and maximum, kept beside it as float64. An
affine-invariant target loses nothing by that, and the largest error, half a step, is less than half
precision loses. JPEG XL at effort 1 was measured 15x faster than PNG level 1 and 28 % smaller.

Exact 0 (sky) stays exact 0: where a map has values of both signs, its range is widened by less
than one step so that 0 falls on a code.
"""

from dataclasses import dataclass

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ShardCorruptError
from pipeline.records import LabelRecord

# Effort 1 of libjxl (0.11.2) writes beyond its buffer where an image is a single group and its 16
# bits are nearly noise (more than some 17 bits per value come out), and the process dies. Larger
# images are whole at 22 bits per value; effort 2 has another encoder, 8 times slower.
_ONE_GROUP = 256  # pixels, both sides

CODECS = {16: "jxl-u16", 12: "jxl-u12"}
BITS = {name: bits for bits, name in CODECS.items()}


@dataclass(frozen=True, slots=True)
class QuantisedMap:
    """Codes 0 … 2**bits - 1 and the values that the first and the last of them stand for."""

    codes_HW: NDArray[np.uint16]
    minimum: float
    maximum: float
    bits: int


def quantise(values_HW: NDArray[np.floating], *, bits: int = 16) -> QuantisedMap:
    """Round every value to the nearest of ``2**bits`` codes.

    Raises:
        ValueError: A value is NaN or infinite, the map is empty, or ``bits`` is neither 16 nor 12.
    """
    if bits not in CODECS:
        raise ValueError(f"bits must be one of {sorted(CODECS)}, not {bits}")
    values = np.asarray(values_HW, dtype=np.float64)
    if values.ndim != 2 or values.size == 0:
        raise ValueError(f"expected a map of height x width, got shape {values.shape}")
    minimum, maximum = float(values.min()), float(values.max())
    if not np.isfinite(minimum) or not np.isfinite(maximum):
        raise ValueError("a map to be quantised must be finite everywhere")
    minimum, maximum = _put_zero_on_a_code(minimum, maximum, levels=2**bits - 1)
    step = _step(minimum, maximum, bits)
    codes = np.zeros(values.shape, np.uint16) if step == 0 else _codes(values, minimum, step, bits)
    return QuantisedMap(codes, minimum, maximum, bits)


def dequantise(quantised: QuantisedMap) -> NDArray[np.float32]:
    """The inverse of `quantise`: float32, at most `error_bound` away from what went in."""
    step = _step(quantised.minimum, quantised.maximum, quantised.bits)
    codes = quantised.codes_HW.astype(np.float64)
    if step > 0 and quantised.minimum <= 0 <= quantised.maximum:
        zero_code = round(-quantised.minimum / step)
        return ((codes - zero_code) * step).astype(np.float32)
    return (quantised.minimum + codes * step).astype(np.float32)


def error_bound(minimum: float, maximum: float, *, bits: int = 16) -> float:
    """Largest absolute error of a stored value: half a step, plus the rounding to float32."""
    largest = max(abs(minimum), abs(maximum))
    return _step(minimum, maximum, bits) / 2 + float(np.spacing(np.float32(largest)))


def encode(quantised: QuantisedMap) -> bytes:
    """A lossless JPEG XL file at effort 1, small maps at 2; one thread: callers bring their own."""
    return bytes(
        imagecodecs.jpegxl_encode(
            quantised.codes_HW,
            lossless=True,
            effort=1 if max(quantised.codes_HW.shape) > _ONE_GROUP else 2,
            bitspersample=quantised.bits,
            numthreads=1,
        )
    )


def decode_disparity(record: LabelRecord) -> NDArray[np.float32]:
    """The map of a labelled row, float32 height x width.

    Raises:
        ValueError: The row is quarantined: it has no map.
        ShardCorruptError: The bytes are not the map that the row describes.
    """
    if record.disparity is None or record.codec is None:
        raise ValueError(f"sample {record.sample_id} is {record.status}: it has no disparity map")
    if record.codec not in BITS:
        raise ShardCorruptError(f"sample {record.sample_id}: unknown codec {record.codec!r}")
    try:
        codes = imagecodecs.jpegxl_decode(record.disparity, numthreads=1)
    except (imagecodecs.JpegxlError, ValueError, RuntimeError) as error:
        raise ShardCorruptError(f"sample {record.sample_id}: {error}") from error
    height, width = codes.shape[:2]
    if (height, width) != (record.height, record.width) or codes.dtype != np.uint16:
        raise ShardCorruptError(
            f"sample {record.sample_id}: map is {(height, width)} {codes.dtype}, "
            f"expected {(record.height, record.width)} uint16"
        )
    assert record.minimum is not None and record.maximum is not None
    codes_HW = codes.reshape(height, width)
    return dequantise(QuantisedMap(codes_HW, record.minimum, record.maximum, BITS[record.codec]))


def _step(minimum: float, maximum: float, bits: int) -> float:
    levels: int = 2**bits - 1
    return (maximum - minimum) / levels


def _codes(
    values: NDArray[np.float64], minimum: float, step: float, bits: int
) -> NDArray[np.uint16]:
    codes = np.rint((values - minimum) / step)
    return np.clip(codes, 0, 2**bits - 1).astype(np.uint16)


def _put_zero_on_a_code(minimum: float, maximum: float, *, levels: int) -> tuple[float, float]:
    """Widen a range that contains 0 so that 0 is ``minimum + k * step`` for a whole k."""
    if not minimum < 0 < maximum:
        return minimum, maximum
    step = (maximum - minimum) / (levels - 1)
    below = int(np.ceil(-minimum / step))
    return -below * step, (levels - below) * step
