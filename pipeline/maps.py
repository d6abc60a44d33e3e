"""The canonical encoding of ground truth: float32 maps and masks, lossless to the last bit.

A map is stored byte by byte instead of value by value (all first bytes, then all second ones …) and
then packed with zstd: neighbouring values share sign and exponent, so the upper bytes pack well.
Whatever a NaN or a negative zero looked like in bits, it looks the same afterwards. Size and
geometry stand in columns of their own (`pipeline.shards`).
"""

import hashlib
import json
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.errors import ShardCorruptError
from pipeline.records import PointPair, Truth

MAP_CODEC = "float32-byteshuffle-zstd"
_LEVEL = 3


def encode_map(values_HW: NDArray[np.float32]) -> bytes:
    """Pack a float32 map H x W; NaN says that there is no value.

    Raises:
        ValueError: It is no float32 map with at least one pixel.
    """
    if values_HW.dtype != np.float32 or values_HW.ndim != 2 or values_HW.size == 0:
        raise ValueError(f"not a float32 map: {values_HW.dtype} {values_HW.shape}")
    raw = np.ascontiguousarray(values_HW, dtype="<f4").reshape(-1).view(np.uint8)
    return _pack(np.ascontiguousarray(raw.reshape(-1, 4).T))


def decode_map(data: bytes, *, height: int, width: int) -> NDArray[np.float32]:
    """The float32 map H x W that was packed.

    Raises:
        ShardCorruptError: The bytes do not give a map of that size.
    """
    planes = _unpack(data, 4 * height * width).reshape(4, -1)
    return np.ascontiguousarray(planes.T).view("<f4").astype(np.float32).reshape(height, width)


def encode_mask(mask_HW: NDArray[np.bool_]) -> bytes:
    """Pack a mask H x W, eight pixels to a byte before zstd."""
    if mask_HW.dtype != np.bool_ or mask_HW.ndim != 2 or mask_HW.size == 0:
        raise ValueError(f"not a mask: {mask_HW.dtype} {mask_HW.shape}")
    return _pack(np.packbits(mask_HW))


def decode_mask(data: bytes, *, height: int, width: int) -> NDArray[np.bool_]:
    """The mask H x W that was packed.

    Raises:
        ShardCorruptError: The bytes do not give a mask of that size.
    """
    bits = _unpack(data, (height * width + 7) // 8)
    return np.unpackbits(bits, count=height * width).astype(np.bool_).reshape(height, width)


def _pack(raw: NDArray[np.uint8]) -> bytes:
    packed: bytes = pa.Codec("zstd", compression_level=_LEVEL).compress(raw.data, asbytes=True)
    return packed


def _unpack(data: bytes, size: int) -> NDArray[np.uint8]:
    try:
        raw = pa.Codec("zstd").decompress(data, decompressed_size=size)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ShardCorruptError(f"a packed map of {len(data)} bytes is broken: {error}") from error
    if raw.size != size:
        raise ShardCorruptError(f"a packed map gives {raw.size} bytes, not {size}")
    return np.frombuffer(raw, np.uint8)


def truth_digest(truth: Truth) -> str:
    """Hex SHA-256 of ground truth: geometry, size, every bit of every value, and the sky mask."""
    height, width = truth.values_HW.shape
    digest = hashlib.sha256(f"{truth.geometry.value} {height} {width}".encode())
    digest.update(np.ascontiguousarray(truth.values_HW, dtype="<f4").data)
    if truth.sky_HW is not None:
        digest.update(np.packbits(truth.sky_HW).data)
    return digest.hexdigest()


def annotation_digest(truth: Truth | None, points: Sequence[PointPair]) -> str | None:
    """Hex SHA-256 of what is known of an image: its map or its pairs of points; None of nothing.

    Raises:
        ValueError: It has both.
    """
    if truth is not None and points:
        raise ValueError("an image has a map or pairs of points, not both")
    if truth is not None:
        return truth_digest(truth)
    return (
        hashlib.sha256(b"points " + encode_points(points).encode()).hexdigest() if points else None
    )


def encode_points(points: Sequence[PointPair]) -> str:
    """Pairs of points as JSON: a list of ``[row1, column1, row2, column2, closer]``."""
    return json.dumps([list(pair) for pair in points], separators=(",", ":"))


def decode_points(text: str) -> tuple[PointPair, ...]:
    """The pairs that were written.

    Raises:
        ShardCorruptError: It is no such text.
    """
    try:
        return tuple(PointPair(*(int(number) for number in pair)) for pair in json.loads(text))
    except (ValueError, TypeError) as error:
        raise ShardCorruptError(f"pairs of points {text[:80]!r} cannot be read: {error}") from error
