"""What lies in an archive, entry by entry, with nothing ever unpacked to disk: tars and zips.

What else holds images (Parquet, Arrow, LMDB, videos) is told here by its name and first bytes, and
read in modules of its own into the same entries: see `pipeline.containers`.

Archives are not trusted: names are only names, a declared size is checked before anything of that
size is read, and memory is bounded by one entry. Tars are read from front to back, so that they may
come compressed, from a bucket or out of another archive; what needs random access inside another
archive is copied into a nameless temporary file first.
"""

import bz2
import gzip
import io
import lzma
import re
import stat
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal, cast

import pyarrow as pa

from pipeline.errors import StorageError

ArchiveKind = Literal["tar", "zip", "7z", "parquet", "arrow", "lmdb", "video"]

COPY_BYTES = 1 << 20
MAX_HEADER_BYTES = 1 << 20
_TAR_BLOCK = 512
_ZIP_LOCAL_HEADER = 30

_UNPACKERS: dict[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b": lambda packed: gzip.GzipFile(fileobj=packed),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\0": lzma.LZMAFile,
}

_TAR_NAME = re.compile(r"\.(tar|tar\.gz|tgz|tar\.bz2|tbz2?|tar\.xz|txz)$", re.IGNORECASE)
_TAR_SUFFIXES = frozenset(["tar", "gz", "tgz", "bz2", "tbz", "tbz2", "xz", "txz"])
_KINDS: dict[str, ArchiveKind] = {
    "zip": "zip",
    "7z": "7z",
    "parquet": "parquet",
    "arrow": "arrow",
    "mdb": "lmdb",
    "lmdb": "lmdb",
    **dict.fromkeys(("mov", "mp4", "m4v", "avi", "mkv", "webm"), "video"),
}
_OTHER_NAME = re.compile(
    r"\.(rar|egg|zst|tzst|lz4|lz|lzma|gz|bz2|xz|z|z\d\d|tfrecord|cab|iso)$", re.IGNORECASE
)

# What broken archives make the readers raise. Faults of the file system are StorageErrors, which
# are none of these: a lost connection is never taken for a broken archive.
ARCHIVE_FAULTS = (
    tarfile.TarError,
    zipfile.BadZipFile,
    pa.ArrowException,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    OSError,
    ValueError,
    OverflowError,
    IndexError,
    KeyError,
    RuntimeError,  # NotImplementedError and RecursionError (a chain of headers) are among these
)


class EntryError(Exception):
    """One entry cannot be read; the next ones can."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Entry:
    """Something in an archive; to be read, if at all, before the next entry is asked for.

    Attributes:
        name: As the archive has it: not to be trusted.
        size: In bytes, as declared.
        open: A stream of its bytes, from front to back.
        offset: Where its bytes start in the archive; None where they are not there as they are.
        refusal: Reason and detail, where it is nothing that can be read.
        licence: Of the image, where the archive says.
        attribution: Whose the image is, where the archive says.
    """

    name: str
    size: int
    open: Callable[[], BinaryIO]
    offset: int | None = None
    refusal: tuple[str, str] | None = None
    licence: str | None = None
    attribution: str | None = None

    def read(self) -> bytes:
        """All of its bytes.

        Raises:
            EntryError: They are broken, but the archive goes on.
            EOFError: The archive ends inside it.
        """
        with self.open() as stream:
            data = stream.read(self.size)
        if len(data) != self.size:
            raise EOFError(f"the archive ends inside {self.name!r}")
        return data


def archive_kind(name: str) -> ArchiveKind | None:
    """The kind of archive that a file's name announces."""
    base = name.rpartition("/")[2]
    if base.startswith("._") or base == "lock.mdb":  # macOS metadata; LMDB's lock
        return None
    _, dot, suffix = base.rpartition(".")
    suffix = suffix.lower()
    if suffix in _TAR_SUFFIXES and _TAR_NAME.search(base):
        return "tar"
    return _KINDS.get(suffix) if dot else None


def is_other_archive(name: str) -> bool:
    """Whether the name announces a container that is not read here."""
    return archive_kind(name) is None and bool(_OTHER_NAME.search(name))


def sniff_archive(head: bytes) -> ArchiveKind | None:
    """The kind of archive that begins with these 512 bytes."""
    if head.startswith((b"PK\3\4", b"PK\5\6")):
        return "zip"
    if head.startswith(b"7z\xbc\xaf\x27\x1c"):
        return "7z"
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith(b"ARROW1"):
        return "arrow"
    if head[16:24] == b"\xde\xc0\xef\xbe\1\0\0\0":
        return "lmdb"
    if head[257:262] == b"ustar" or head.startswith(tuple(_UNPACKERS)):
        return "tar"
    return None


def tar_entries(stream: BinaryIO) -> Iterator[Entry]:
    """All entries but folders of a tar, compressed or not.

    Raises:
        tarfile.TarError: It is broken, or its end mark is missing; earlier entries were yielded.
    """
    plain, is_compressed = _decompressed(stream)
    forward = _Forward(plain)
    archive = tarfile.TarFile(
        fileobj=cast(BinaryIO, forward), encoding="utf-8", errors="surrogateescape"
    )
    while (info := archive.next()) is not None:
        archive.members = []  # type: ignore[attr-defined]  # it remembers a kilobyte for each
        if not info.isdir():
            yield _tar_entry(info, forward, is_compressed=is_compressed)
    # tarfile takes a broken header for the end.
    if forward.last_block != b"\0" * _TAR_BLOCK:
        raise tarfile.ReadError(f"no end mark at byte {forward.tell()}: what follows is lost")


def zip_entries(stream: BinaryIO) -> Iterator[Entry]:
    """All entries but folders of a zip, in the order of its directory.

    Raises:
        zipfile.BadZipFile: It is none, or `listed_in` finds that it is a bomb.
    """
    with zipfile.ZipFile(stream) as archive:
        for info in listed_in(archive, stream.seek(0, io.SEEK_END)):
            yield _zip_entry(info, archive, stream)


def listed_in(archive: zipfile.ZipFile, size: int) -> Iterator[zipfile.ZipInfo]:
    """All entries but folders, as long as there is room for them in a zip of so many bytes.

    Raises:
        zipfile.BadZipFile: They overlap: the same bytes would be read over and over.
    """
    left = size
    for info in archive.infolist():
        left -= info.compress_size
        if left < 0:
            raise zipfile.BadZipFile(f"{info.filename!r} and the entries before it overlap")
        if not info.is_dir():
            yield info


@contextmanager
def random_access(stream: BinaryIO) -> Iterator[BinaryIO]:
    """A copy of the stream in a temporary file without a name.

    Raises:
        StorageError: There is no room for it.
    """
    with tempfile.TemporaryFile(prefix="factory-") as copy:
        while data := stream.read(COPY_BYTES):
            try:
                copy.write(data)
            except OSError as error:
                where = tempfile.gettempdir()
                message = f"no room in {where} for a copy of what has to be read at will"
                raise StorageError(f"{message} (set TMPDIR): {error}") from error
        copy.seek(0)
        yield cast(BinaryIO, copy)


def _decompressed(stream: BinaryIO) -> tuple[BinaryIO, bool]:
    """The tar itself; what packs it is told by its first bytes, as names are often wrong."""
    buffered = stream
    if not isinstance(stream, io.BufferedReader):
        buffered = io.BufferedReader(_Raw(stream), COPY_BYTES)
    head = buffered.peek(6)[:6]  # type: ignore[attr-defined]
    for magic, unpack in _UNPACKERS.items():
        if head.startswith(magic):
            return unpack(buffered), True
    return buffered, False


def _tar_entry(info: tarfile.TarInfo, forward: "_Forward", *, is_compressed: bool) -> Entry:
    start, size = info.offset_data, info.size
    if size < 0:
        raise tarfile.ReadError(f"{info.name!r} has a size of {size}")

    def section() -> BinaryIO:
        forward.seek(start)
        return cast(BinaryIO, _Section(forward, size))

    refusal = None
    if info.islnk() or info.issym():
        refusal = ("not_a_file", f"a link to {info.linkname!r}; links are not followed")
    elif not info.isreg() or info.issparse():
        refusal = ("not_a_file", f"tar entry of type {info.type!r}")
    return Entry(info.name, size, section, None if is_compressed else start, refusal)


def _zip_entry(info: zipfile.ZipInfo, archive: zipfile.ZipFile, stream: BinaryIO) -> Entry:
    mode = info.external_attr >> 16

    def unpacked() -> BinaryIO:
        return cast(BinaryIO, _ZipStream(archive, info))

    refusal = None
    if info.flag_bits & 1:
        refusal = ("encrypted", "the zip entry asks for a password")
    elif stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        refusal = ("not_a_file", f"zip entry of file type {stat.S_IFMT(mode):#o}")
    offset = None
    if refusal is None and info.compress_type == zipfile.ZIP_STORED:
        offset = _zip_data_offset(info, stream)
    return Entry(info.filename, info.file_size, unpacked, offset, refusal)


def _zip_data_offset(info: zipfile.ZipInfo, stream: BinaryIO) -> int | None:
    """Name and extra field may differ in length from those of the directory: look at the place."""
    stream.seek(info.header_offset)
    header = stream.read(_ZIP_LOCAL_HEADER)
    if len(header) < _ZIP_LOCAL_HEADER or not header.startswith(b"PK\3\4"):
        return None
    name, extra = struct.unpack_from("<HH", header, 26)
    return int(info.header_offset + _ZIP_LOCAL_HEADER + name + extra)


class _ZipStream(io.RawIOBase):
    """A zip entry whose faults are its own, not the archive's."""

    def __init__(self, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
        try:
            self._file = archive.open(info)
        except ARCHIVE_FAULTS as error:
            raise EntryError("corrupt_member", str(error)) from error

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        try:
            return self._file.read(size)
        except ARCHIVE_FAULTS as error:
            raise EntryError("corrupt_member", str(error)) from error

    def close(self) -> None:
        self._file.close()
        super().close()


class _Raw(io.RawIOBase):
    """Any stream as a raw one; closing it leaves the stream open."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class _Forward:
    """A stream that only goes forward, as far as `tarfile` is concerned.

    ``tarfile`` reads headers of any declared size into memory, and goes backwards for a negative
    one: both are errors here. Entries are read through `read_some`.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._position = 0
        self.last_block = b""

    def tell(self) -> int:
        return self._position

    def read(self, size: int) -> bytes:
        if not 0 <= size <= MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {size} bytes at byte {self._position}")
        data = self._stream.read(size)
        self._position += len(data)
        if size == _TAR_BLOCK:
            self.last_block = data
        return data

    def read_some(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._position += len(data)
        return data

    def seek(self, position: int) -> None:
        if position < self._position:
            raise tarfile.ReadError(f"an entry at byte {self._position} claims to end before it")
        while self._position < position:
            if not self.read_some(min(COPY_BYTES, position - self._position)):
                raise tarfile.ReadError(f"it ends at byte {self._position}, inside an entry")


class _Section(io.RawIOBase):
    """The bytes of one tar entry."""

    def __init__(self, forward: _Forward, size: int) -> None:
        self._forward = forward
        self._left = size

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        data = self._forward.read_some(self._left if size < 0 else min(size, self._left))
        self._left -= len(data)
        return data
