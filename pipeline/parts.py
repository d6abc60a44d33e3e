"""Files that can be read at will, in any order and by any process: loose, in plain tars, in zips.

Listing reads the headers of a tar and the directory of a zip, nothing else; a tar or a stored zip
inside of one is listed in place. What cannot be read at will has to be streamed from front to back
instead: compressed tars, and archives that are packed themselves. Reading takes one range of the
file, unpacked against the declared size and its checksum.

Drops of what is listed and read here: those of `pipeline.sources`, and

====================  ===========================================================================
reason                meaning
====================  ===========================================================================
unsupported_packing   a zip entry packed in another way than deflate
====================  ===========================================================================
"""

import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO, Literal, cast

from pipeline.archives import (
    ARCHIVE_FAULTS,
    MAX_HEADER_BYTES,
    EntryError,
    archive_kind,
    listed_in,
    sniff_archive,
)
from pipeline.filesystems import public_uri
from pipeline.member_paths import UniqueNames, normalised, normalised_text
from pipeline.ranged_file import window
from pipeline.raw_files import FoundFile, open_uri, read_range
from pipeline.records import Drop

MAX_MEMBER_BYTES = 256 << 20
MAX_NESTING = 4
_BLOCK = 512
_LOCAL_HEADER = 30
# Room for extra fields that only the local header has. Behind the last entry there is so much at
# least: its record in the directory, besides the name, and the end of the directory.
_LOCAL_SLACK = 46 + 22

Packing = Literal["none", "stored", "deflate"]


@dataclass(frozen=True, slots=True)
class Part:
    """A file that can be read at will.

    Attributes:
        path: Inside the data set, with the archive's name where it is in one.
        uri: The file or the archive, to be opened.
        offset: Where it starts there: its bytes, or for an entry of a zip its local header.
        length: How many bytes there are, as packed.
        size: Once unpacked.
        packing: ``stored`` and ``deflate`` are entries of a zip.
        checksum: CRC-32 of the bytes; None where nobody says.
        version: Changes when the file or archive is overwritten.
        name_bytes: Of an entry of a zip, the length of its name there.
    """

    path: str
    uri: str
    offset: int
    length: int
    size: int
    packing: Packing = "none"
    checksum: int | None = None
    version: str = ""
    name_bytes: int = 0

    @property
    def bytes(self) -> int:
        """What it takes in memory once it is read."""
        return self.size


@dataclass(frozen=True, slots=True)
class Sample:
    """An image with its ground truth.

    Attributes:
        truth: The file of depth, then what else its encoding takes (masks, calibration).
        encoding: Name in ``TRUTH_ENCODINGS``.
    """

    path: str
    image: Part
    truth: tuple[Part, ...]
    encoding: str

    @property
    def bytes(self) -> int:
        """Of all of its files, unpacked."""
        return self.image.size + sum(part.size for part in self.truth)

    @property
    def version(self) -> str:
        """Changes when one of its files is overwritten or moves inside its archive."""
        parts = (self.image, *self.truth)
        return " ".join(f"{part.uri} {part.offset} {part.version}" for part in parts)


@dataclass(frozen=True, slots=True)
class Placed:
    """Bytes, and where they lie in the file as they are; None where they do not."""

    data: bytes
    offset: int | None


class NotAtWillError(Exception):
    """The archive, or one inside of it, can only be streamed from front to back."""


def loose_part(file: FoundFile) -> Part:
    """A file of a folder."""
    path = normalised_text(file.path)
    return Part(path, file.uri, 0, file.bytes, file.bytes, version=file.version)


def list_archive(
    file: FoundFile,
    *,
    skip: Callable[[str], bool] = lambda path: False,
    max_bytes: int = MAX_MEMBER_BYTES,
) -> Iterator[Part | Drop]:
    """What is in a tar or zip; what cannot be listed as a whole raises before anything is given.

    Args:
        file: Its path stands before those of its entries; empty for an archive that was named.
        skip: Says of a path that archives under it are not to be opened.
        max_bytes: A larger entry is dropped.

    Raises:
        NotAtWillError: It has to be streamed.
        StorageError: The file system failed.
    """
    place = _Place(file.uri, file.version, skip, max_bytes)
    path = normalised_text(file.path)
    try:
        stream = open_uri(file.uri, is_scattered=True)
    except (FileNotFoundError, PermissionError) as error:
        return iter([Drop(path, public_uri(file.uri), "unreadable", str(error))])
    with stream:
        if not stream.seekable():
            raise NotAtWillError(path)
        return iter(list(_listed(stream, path, 0, file.bytes, place, depth=0)))


def list_entries(file: FoundFile) -> Iterator[Part | Drop]:
    """The entries of a plain tar one by one, archives among them unopened.

    Raises:
        NotAtWillError: It is none.
        FileNotFoundError: It is gone.
        StorageError: The file system failed.
    """
    place = _Place(file.uri, file.version, lambda path: True, file.bytes)
    with open_uri(file.uri, is_scattered=True) as stream:
        if not stream.seekable():
            raise NotAtWillError(file.path)
        yield from _listed(stream, normalised_text(file.path), 0, file.bytes, place, depth=0)


def read_part(part: Part) -> Placed:
    """The bytes of a part; for any number of threads and processes.

    Raises:
        EntryError: They are not what was listed: broken, cut off, overwritten.
        FileNotFoundError: The file is gone.
        StorageError: The file system failed.
    """
    if part.packing == "none":
        return Placed(_exactly(part, part.offset, part.length), part.offset)
    head_bytes = _LOCAL_HEADER + part.name_bytes + _LOCAL_SLACK
    data = read_range(part.uri, part.offset, head_bytes + part.length)
    start = _data_start(data, part)
    packed = data[start : start + part.length]
    if len(packed) < part.length:  # a long local header
        packed = _exactly(part, part.offset + start, part.length)
    unpacked = packed if part.packing == "stored" else _inflated(packed, part)
    if len(unpacked) != part.size:
        raise _corrupt(part, f"{len(unpacked):,} bytes came of {part.size:,}")
    if part.checksum is not None and zlib.crc32(unpacked) != part.checksum:
        raise _corrupt(part, "its checksum is wrong")
    return Placed(unpacked, part.offset + start if part.packing == "stored" else None)


@dataclass(frozen=True, slots=True)
class _Place:
    uri: str
    version: str
    skip: Callable[[str], bool]
    max_bytes: int

    def drop(self, path: str, reason: str, detail: str, size: int | None = None) -> Drop:
        return Drop(path, normalised_text(public_uri(self.uri)), reason, detail, bytes=size)


def _listed(
    stream: BinaryIO, path: str, start: int, length: int, place: _Place, *, depth: int
) -> Iterator[Part | Drop]:
    inner = window(stream, start, length)
    kind = sniff_archive(inner.read(_BLOCK)) or archive_kind(path)
    inner.seek(0)
    entries = {"tar": _tar_parts, "zip": _zip_parts}.get(kind or "")
    if entries is None:
        raise NotAtWillError(path)
    unique = UniqueNames()
    try:
        for found in entries(inner, length, place):
            name = unique(normalised(found.path))
            whole = f"{path}/{name}" if path else name
            yield from _checked(found, whole, stream, start, place, depth=depth)
    except ARCHIVE_FAULTS as error:
        name = path or normalised_text(public_uri(place.uri)).rpartition("/")[2]
        yield place.drop(name, "corrupt_archive", f"{type(error).__name__}: {error}")


def _checked(
    found: Part | Drop, path: str, stream: BinaryIO, start: int, place: _Place, *, depth: int
) -> Iterator[Part | Drop]:
    """One entry under its path inside the data set; an archive gives its own entries."""
    if isinstance(found, Drop):
        yield place.drop(path, found.reason, found.detail, found.bytes)
    elif archive_kind(path) in ("tar", "zip") and not place.skip(path):
        if depth >= MAX_NESTING:
            detail = f"archives in archives are read {MAX_NESTING} deep"
            yield place.drop(path, "nested_too_deep", detail, found.size)
            return
        at = _plain_start(found, stream, start, path)
        yield from _listed(stream, path, at, found.size, place, depth=depth + 1)
    elif found.size > place.max_bytes or found.length > place.max_bytes:
        detail = f"{max(found.size, found.length):,} bytes, the limit is {place.max_bytes:,}"
        yield place.drop(path, "too_many_bytes", detail, found.size)
    else:
        at = start + found.offset
        yield replace(found, path=path, uri=place.uri, offset=at, version=place.version)


def _plain_start(found: Part, stream: BinaryIO, start: int, path: str) -> int:
    """Where an archive in the archive starts in the file."""
    if found.packing == "deflate":
        raise NotAtWillError(path)
    if found.packing == "none":
        return start + found.offset
    stream.seek(start + found.offset)
    return start + found.offset + _data_start(stream.read(_LOCAL_HEADER), found)


def _tar_parts(stream: BinaryIO, length: int, place: _Place) -> Iterator[Part | Drop]:
    if stream.peek(6)[:6].startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ")):  # type: ignore[attr-defined]
        raise NotAtWillError("a packed tar")
    headers = _Headers(stream)
    archive = tarfile.TarFile(
        fileobj=cast(BinaryIO, headers), encoding="utf-8", errors="surrogateescape"
    )
    while (info := archive.next()) is not None:
        archive.members = []  # type: ignore[attr-defined]  # it remembers a kilobyte for each
        if info.size < 0:
            raise tarfile.ReadError(f"{info.name!r} has a size of {info.size}")
        if info.isreg() and not info.issparse() and info.offset_data + info.size > length:
            raise tarfile.ReadError(f"it ends inside {info.name!r}")
        if not info.isdir():
            yield _tar_part(info, place)
    # tarfile takes a broken header for the end.
    if headers.last_block != b"\0" * _BLOCK:
        raise tarfile.ReadError(f"no end mark at byte {headers.tell()}: what follows is lost")


def _tar_part(info: tarfile.TarInfo, place: _Place) -> Part | Drop:
    if info.islnk() or info.issym():
        detail = f"a link to {info.linkname!r}; links are not followed"
        return place.drop(info.name, "not_a_file", normalised_text(detail))
    if not info.isreg() or info.issparse():
        return place.drop(info.name, "not_a_file", f"tar entry of type {info.type!r}")
    return Part(info.name, place.uri, info.offset_data, info.size, info.size)


def _zip_parts(stream: BinaryIO, length: int, place: _Place) -> Iterator[Part | Drop]:
    with zipfile.ZipFile(stream) as archive:
        infos = listed_in(archive, length)
    for info in infos:
        yield _zip_part(info, length, place)


def _zip_part(info: zipfile.ZipInfo, length: int, place: _Place) -> Part | Drop:
    kind = stat.S_IFMT(info.external_attr >> 16)
    packings: dict[int, Packing] = {zipfile.ZIP_STORED: "stored", zipfile.ZIP_DEFLATED: "deflate"}
    packing = packings.get(info.compress_type)
    if info.flag_bits & 1:
        return place.drop(info.filename, "encrypted", "the zip entry asks for a password")
    if kind not in (0, stat.S_IFREG):
        return place.drop(info.filename, "not_a_file", f"zip entry of file type {kind:#o}")
    if packing is None:
        detail = f"packed by method {info.compress_type}; only stored and deflate are read"
        return place.drop(info.filename, "unsupported_packing", detail, info.file_size)
    if info.compress_size > length or info.header_offset > length:
        return place.drop(info.filename, "corrupt_member", "it lies outside of the archive")
    return Part(
        info.filename,
        place.uri,
        info.header_offset,
        info.compress_size,
        info.file_size,
        packing=packing,
        checksum=info.CRC,
        name_bytes=len(info.orig_filename.encode("utf-8" if info.flag_bits & 0x800 else "cp437")),
    )


def _data_start(data: bytes, part: Part) -> int:
    """Name and extra field may differ in length from those of the directory: look at the place."""
    if len(data) < _LOCAL_HEADER or not data.startswith(b"PK\3\4"):
        raise _corrupt(part, "no zip entry begins where the directory says")
    name, extra = struct.unpack_from("<HH", data, 26)
    return int(_LOCAL_HEADER + name + extra)


def _inflated(packed: bytes, part: Part) -> bytes:
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        return unpacker.decompress(
            packed, part.size + 1
        )  # one more shows a declared size that lies
    except zlib.error as error:
        raise _corrupt(part, str(error)) from error


def _exactly(part: Part, offset: int, length: int) -> bytes:
    data = read_range(part.uri, offset, length)
    if len(data) != length:
        raise _corrupt(part, f"the file ends after {len(data):,} of its {length:,} bytes")
    return data


def _corrupt(part: Part, detail: str) -> EntryError:
    return EntryError("corrupt_member", f"{part.path}: {detail}")


class _Headers:
    """A tar as `tarfile` may see it: headers of bounded size, and never backwards."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._place = 0
        self.last_block = b""

    def tell(self) -> int:
        return self._place

    def seek(self, position: int) -> None:
        if position < self._place:
            raise tarfile.ReadError(f"an entry at byte {self._place} claims to end before it")
        self._place = self._stream.seek(position)

    def read(self, size: int) -> bytes:
        if not 0 <= size <= MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {size} bytes at byte {self._place}")
        data = self._stream.read(size)
        self._place += len(data)
        if size == _BLOCK:
            self.last_block = data
        return data
