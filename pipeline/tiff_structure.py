"""What the first directory of a TIFF says, and a TIFF without all that decoding does not need.

A TIFF can carry any number of tags, directories and pages. Pillow reads all tags of a directory,
warns about each that is broken, and turns the picture by itself; handed a directory with nothing
but the tags of the pixels it does none of that.
"""

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.structure import BrokenStructureError, Structure, orientation

_ORIENTATION, _XMP = 274, 700
_BITS = 258
_STRIPS, _TILES = (273, 279), (324, 325)
_SINGLE = frozenset([256, 257, 259, 262, 266, 277, 278, 284, 317, 322, 323])
_PIXELS = _SINGLE | {258, 273, 279, 292, 293, 320, 324, 325, 338, 339, 347, *range(512, 522)}
_PIXELS |= {529, 530, 531, 532}
_UNIT_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_INTEGERS = {1: "u1", 3: "u2", 4: "u4"}


@dataclass(frozen=True, slots=True)
class _Tag:
    kind: int
    count: int
    raw: bytes
    entry: bytes


def scan_tiff(data: bytes) -> Structure:
    """Size, orientation and completeness of the first page; further pages are not looked at."""
    order, tags = _first_directory(data)
    width, height = (_integer(tags, tag, order, 0) for tag in (256, 257))
    turned = _integer(tags, _ORIENTATION, order, 0)
    if _ORIENTATION not in tags:
        turned = orientation(b"", tags[_XMP].raw if _XMP in tags else b"")
    complete = all(_inside(tags, pair, order, len(data)) for pair in (_STRIPS, _TILES))
    return Structure(width, height, turned if 1 <= turned <= 8 else 1, 1, complete)


def tiff_of_pixels(data: bytes) -> bytes:
    """The same pixels under a new directory at the end, with the tags of the pixels alone."""
    order, tags = _first_directory(data)
    entries = [tag.entry for number, tag in tags.items() if number in _PIXELS]
    padding = b"\0" * (len(data) % 2)
    place = len(data) + len(padding)
    head = data[:4] + struct.pack(f"{order}I", place)
    directory = struct.pack(f"{order}H", len(entries)) + b"".join(entries) + b"\0\0\0\0"
    return b"".join([head, memoryview(data)[8:], padding, directory])


def grey_bits(data: bytes) -> int:
    """Bits of the first sample of a pixel."""
    order, tags = _first_directory(data)
    return _integer(tags, _BITS, order, 1)


def _first_directory(data: bytes) -> tuple[str, dict[int, _Tag]]:
    """Byte order, and the first entry of each known tag."""
    order = "<" if data[:2] == b"II" else ">"
    if len(data) < 8:
        raise BrokenStructureError("no directory")
    (start,) = struct.unpack_from(f"{order}I", data, 4)
    if start + 2 > len(data):
        raise BrokenStructureError("the directory is outside the file")
    (count,) = struct.unpack_from(f"{order}H", data, start)
    if start + 2 + 12 * count > len(data):
        raise BrokenStructureError("the directory ends outside the file")
    tags: dict[int, _Tag] = {}
    for place in range(start + 2, start + 2 + 12 * count, 12):
        number, kind, values = struct.unpack_from(f"{order}HHI", data, place)
        wanted = number in _PIXELS or number in (_ORIENTATION, _XMP)
        if wanted and number not in tags and kind in _UNIT_BYTES and values:
            tags[number] = _tag(data, place, order, number=number, kind=kind, count=values)
    if sum(len(tag.raw) for tag in tags.values()) > len(data):
        raise BrokenStructureError("the tags claim more bytes than the file has")
    return order, tags


def _tag(data: bytes, place: int, order: str, *, number: int, kind: int, count: int) -> _Tag:
    size = count * _UNIT_BYTES[kind]
    (start,) = struct.unpack_from(f"{order}I", data, place + 8) if size > 4 else (place + 8,)
    if start + size > len(data):
        raise BrokenStructureError(f"the values of tag {number} are outside the file")
    if count != 1 and number in _SINGLE:
        raise BrokenStructureError(f"tag {number} has {count} values")
    return _Tag(kind, count, data[start : start + size], data[place : place + 12])


def _integers(tags: dict[int, _Tag], number: int, order: str) -> NDArray[np.integer[Any]]:
    tag = tags.get(number)
    if tag is None or tag.kind not in _INTEGERS:
        return np.zeros(0, np.int64)
    return np.frombuffer(tag.raw, np.dtype(order + _INTEGERS[tag.kind]))


def _integer(tags: dict[int, _Tag], number: int, order: str, default: int) -> int:
    values = _integers(tags, number, order)
    return int(values[0]) if len(values) else default


def _inside(tags: dict[int, _Tag], pair: tuple[int, int], order: str, size: int) -> bool:
    """Whether all strips, or all tiles, lie inside the file."""
    starts, lengths = (_integers(tags, number, order).astype(np.int64) for number in pair)
    shared = min(len(starts), len(lengths))
    return bool(np.all(starts[:shared] + lengths[:shared] <= size))
