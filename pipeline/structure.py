"""What the bytes of a JPEG, PNG or WebP say of themselves, without a decoder.

Size, orientation, animation and whether the end is missing are all in the segments; walking them
costs some ten microseconds, allocates nothing that the file asks for, and prints no warnings.
Pillow reads the same facts, but parses every EXIF tag for it, warns about the broken ones through
a global that threads share, and notices a missing end only by decoding.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

MAX_CHUNKS = 1_000_000
MAX_METADATA_BYTES = 1 << 20
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

_ORIENTATION = 0x0112
_XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')
_JPEG_XMP = b"http://ns.adobe.com/xap/1.0/\0"
# Inside a scan, 0xFF before a stuffed zero, a restart or a fill byte is no marker.
_JPEG_IS_MARKER = np.isin(np.arange(256), [0x00, *range(0xD0, 0xD8), 0xFF], invert=True)
_JPEG_STRIDE = 1 << 20
_JPEG_SIZED = frozenset([0xC4, 0xDA, 0xDB, 0xDC, 0xDD, 0xFE, *range(0xE0, 0xF0)])
_JPEG_BARE = frozenset([0x00, 0x01, 0xD8, *range(0xD0, 0xD8)])
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_METADATA = frozenset(range(0xE1, 0xF0)) - {0xEE}  # Adobe's APP14 says how to read colour
_JPEG_HEADER = _JPEG_SIZED | _JPEG_FRAMES
_JPEG_USUAL = _JPEG_METADATA | {0xC4, 0xDA, 0xDD, 0xFE}


class BrokenStructureError(ValueError):
    """The segments up to the pixels make no sense."""


@dataclass(frozen=True, slots=True)
class Structure:
    """What was found.

    Attributes:
        width: As stored, before orientation.
        height: As stored, before orientation.
        orientation: EXIF's 1 to 8; 1 where there is none or it is broken.
        frames: More than one for an animation.
        complete: Whether the end that the format demands is there.
        metadata: Spans (start, end) of the segments that no decoder needs for the pixels.
        is_usual: Of a JPEG: all of its header is as it is in every photograph, so that a decoder
            has nothing to say of it before the pixels.
    """

    width: int
    height: int
    orientation: int
    frames: int
    complete: bool
    metadata: tuple[tuple[int, int], ...] = ()
    is_usual: bool = False


def scan_jpeg(data: bytes) -> Structure:
    """The header segments, then the markers after the first scan up to the end of the picture."""
    size: tuple[int, int] | None = None
    exif = xmp = b""
    metadata: list[tuple[int, int]] = []
    scan, follows, frames, several, is_usual = 0, 2, 0, False, True
    for marker, start, end in _jpeg_header(data):
        if marker in _JPEG_FRAMES:
            size, frames = _jpeg_size(data, start, end), frames + 1
        elif marker in _JPEG_METADATA:
            metadata.append((start, end))
            if marker > 0xE2:
                pass
            elif data.startswith(b"Exif\0\0", start + 4, end):
                exif += data[start + 10 if exif else start + 4 : end]
            elif data.startswith(_JPEG_XMP, start + 4, end):
                xmp = data[start + 4 + len(_JPEG_XMP) : end]
            elif data.startswith(b"MPF\0", start + 4, end):
                several = True
        is_usual = is_usual and start == follows and _is_usual(data, marker, start, end)
        scan, follows = start, end
    if size is None:
        raise BrokenStructureError("no frame header before the pixels")
    width, height = size
    # Where other pictures follow, the mark at the end of the file may be theirs.
    complete = (data.endswith(b"\xff\xd9") and not several) or _jpeg_ends(data, scan)
    turned = orientation(exif, xmp) if exif or xmp else 1
    is_usual = is_usual and frames == 1
    return Structure(width, height, turned, 1, complete, tuple(metadata), is_usual)


def scan_png(data: bytes) -> Structure:
    """All chunks to the end; a chunk that sticks out of the file makes it incomplete."""
    if data[12:16] != b"IHDR" or len(data) < 33:
        raise BrokenStructureError("no IHDR chunk at the start")
    width, height = struct.unpack_from(">II", data, 16)
    exif = xmp = b""
    frames, complete = 1, False
    for name, body in _png_chunks(data):
        if name == b"IEND":
            complete = True
            break
        if name == b"eXIf":
            exif = body[:MAX_METADATA_BYTES]
        elif name == b"acTL" and len(body) >= 4:
            frames = int.from_bytes(body[:4], "big")
        elif name in (b"tEXt", b"zTXt", b"iTXt"):
            keyword, text = _png_text(name, body)
            if keyword == b"XML:com.adobe.xmp":
                xmp = text
            elif keyword == b"Raw profile type exif" and not exif:
                exif = _hexadecimal(text)
    return Structure(width, height, orientation(exif, xmp), frames, complete)


def scan_webp(data: bytes) -> Structure:
    """All chunks; the RIFF header says how long the file must be."""
    declared = int.from_bytes(data[4:8], "little") + 8
    size: tuple[int, int] | None = None
    exif = xmp = b""
    frames, whole = 0, True
    for name, start, length in _webp_chunks(data, end=min(declared, len(data))):
        body = data[start : start + min(length, MAX_METADATA_BYTES)]
        whole = start + length <= len(data)
        if name == b"VP8X" and len(body) >= 10:
            size = (1 + _little(body[4:7]), 1 + _little(body[7:10]))
        elif name in (b"VP8 ", b"VP8L"):
            size = size or _webp_size(name, body)
        frames += name == b"ANMF"
        exif = body if name == b"EXIF" else exif
        xmp = body if name == b"XMP " else xmp
    if size is None:
        raise BrokenStructureError("no image chunk")
    complete = whole and declared <= len(data)
    return Structure(*size, orientation(exif, xmp), max(1, frames), complete)


def boxes_complete(data: bytes) -> bool:
    """Whether the top-level boxes of an ISO base media file (AVIF) end with the file or before."""
    position = 0
    while position + 8 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        if length == 1:
            length = int.from_bytes(data[position + 8 : position + 16], "big")
        if length == 0:
            return True  # to the end of the file
        if length < 8 or position + length > len(data):
            return False
        position += length
    return True


def orientation(exif: bytes, xmp: bytes = b"") -> int:
    """1 to 8 from an EXIF block, or from XMP where EXIF does not say; 1 for anything else."""
    value = _exif_orientation(re.sub(b"^(Exif\0\0){1,2}", b"", exif))
    if value is None:
        match = _XMP_ORIENTATION.search(xmp)
        value = int(match[1]) if match else 1
    return value if 1 <= value <= 8 else 1


def _exif_orientation(tiff: bytes) -> int | None:
    """The value of the tag in the first directory of a TIFF block; None where there is none."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None or len(tiff) < 8:
        return None
    (start,) = struct.unpack_from(f"{order}I", tiff, 4)
    if start + 2 > len(tiff):
        return None
    (entries,) = struct.unpack_from(f"{order}H", tiff, start)
    for place in range(start + 2, min(start + 2 + 12 * entries, len(tiff) - 11), 12):
        tag, kind, count = struct.unpack_from(f"{order}HHI", tiff, place)
        if tag == _ORIENTATION and count:
            code = {1: "B", 3: "H", 4: "I"}.get(kind) if count == 1 else None
            return int(struct.unpack_from(order + code, tiff, place + 8)[0]) if code else 0
    return None


def _jpeg_header(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of each segment up to and including the first start of scan."""
    position, last = 2, len(data) - 4
    while True:
        # Nearly always the next segment follows at once.
        if position <= last and data[position] == 0xFF and data[position + 1] in _JPEG_HEADER:
            marker = data[position + 1]
            end = position + 2 + (data[position + 2] << 8 | data[position + 3])
            if position + 4 <= end <= len(data):
                yield marker, position, end
                if marker == 0xDA:
                    return
                position = end
                continue
        start = data.find(b"\xff", position)
        position = start + 1
        while start >= 0 and data[position : position + 1] == b"\xff":
            start, position = position, position + 1
        if start < 0 or position + 3 > len(data):
            raise BrokenStructureError("the file ends inside the header")
        marker = data[position]
        if marker in _JPEG_BARE:
            position += 1
            continue
        end = position + 1 + int.from_bytes(data[position + 1 : position + 3], "big")
        if marker == 0xD9 or end < position + 3:
            raise BrokenStructureError(f"marker {marker:#04x} where a segment should be")
        if end > len(data):
            raise BrokenStructureError("the file ends inside the header")
        yield marker, start, end
        if marker == 0xDA:
            return
        position = end


def _is_usual(data: bytes, marker: int, start: int, end: int) -> bool:
    """Whether every decoder takes a segment as a matter of course.

    Baseline, extended or progressive frames of 8 bits with 1, 3 or 4 components; whole quantisation
    tables; JFIF and Adobe segments that are long enough for what they are to say.
    """
    if marker in (0xC0, 0xC1, 0xC2):
        bits, components = data[start + 4], data[start + 9]
        return bits == 8 and components in (1, 3, 4) and end == start + 10 + 3 * components
    if marker == 0xDB:
        place = start + 4
        while place < end:
            place += 129 if data[place] >> 4 else 65
        return place == end
    if marker in (0xE0, 0xEE):
        return end >= start + 16
    return marker in _JPEG_USUAL


def _jpeg_size(data: bytes, start: int, end: int) -> tuple[int, int]:
    if end - start < 10:
        raise BrokenStructureError("the frame header is too short")
    height, width = struct.unpack_from(">HH", data, start + 5)
    return width, height


def _jpeg_ends(data: bytes, scan: int) -> bool:
    """Whether the end of image follows the last scan that begins at or after ``scan``."""
    position = scan
    for place, marker in _jpeg_markers(data, scan):
        if place < position:  # inside a segment
            continue
        if marker == 0xD9:
            return True
        if marker in _JPEG_SIZED:
            position = place + 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return False


def _jpeg_markers(data: bytes, start: int) -> Iterator[tuple[int, int]]:
    """Place and value of what looks like a marker; a regular expression takes 20 times as long."""
    for begin in range(start, len(data) - 1, _JPEG_STRIDE):
        count = min(_JPEG_STRIDE + 1, len(data) - begin)
        coded = np.frombuffer(data, np.uint8, count=count, offset=begin)
        escapes = np.flatnonzero(coded[:-1] == 0xFF)
        for place in escapes[_JPEG_IS_MARKER[coded[escapes + 1]]].tolist():
            yield begin + place, int(coded[place + 1])


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and body of each whole chunk; the bodies of pixels are left out."""
    position = len(PNG_SIGNATURE)
    for _ in range(MAX_CHUNKS):
        if position + 12 > len(data):
            return
        length, name = struct.unpack_from(">I4s", data, position)
        start, position = position + 8, position + 12 + length
        if position > len(data):
            return
        pixels = name in (b"IDAT", b"fdAT")
        yield name, b"" if pixels else data[start : start + length]
    raise BrokenStructureError(f"more than {MAX_CHUNKS} chunks")


def _png_text(name: bytes, body: bytes) -> tuple[bytes, bytes]:
    """Keyword and text of a text chunk; at most `MAX_METADATA_BYTES` are unpacked."""
    keyword, _, text = body.partition(b"\0")
    packed = name == b"zTXt"
    if name == b"iTXt":
        packed = text[:1] == b"\x01"
        text = text[2:].partition(b"\0")[2].partition(b"\0")[2]
    elif packed:
        text = text[1:]
    if packed and keyword in (b"XML:com.adobe.xmp", b"Raw profile type exif"):
        try:
            text = zlib.decompressobj().decompress(text, MAX_METADATA_BYTES)
        except zlib.error:
            text = b""
    return keyword, text[:MAX_METADATA_BYTES]


def _hexadecimal(profile: bytes) -> bytes:
    """The block inside ImageMagick's ``Raw profile``: a name, a length, then hexadecimal lines."""
    try:
        return bytes.fromhex(b"".join(profile.split(b"\n")[3:]).decode("ascii"))
    except ValueError:
        return b""


def _webp_chunks(data: bytes, *, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, start of the body and its declared length."""
    position = 12
    for _ in range(MAX_CHUNKS):
        if position + 8 > end:
            return
        name, length = struct.unpack_from("<4sI", data, position)
        yield name, position + 8, length
        position += 8 + length + (length & 1)
    raise BrokenStructureError(f"more than {MAX_CHUNKS} chunks")


def _webp_size(name: bytes, body: bytes) -> tuple[int, int]:
    if name == b"VP8L" and len(body) >= 5 and body[0] == 0x2F:
        bits = _little(body[1:5])
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if name == b"VP8 " and len(body) >= 10 and body[3:6] == b"\x9d\x01\x2a":
        return _little(body[6:8]) & 0x3FFF, _little(body[8:10]) & 0x3FFF
    raise BrokenStructureError("the image chunk has no header")


def _little(value: bytes) -> int:
    return int.from_bytes(value, "little")
