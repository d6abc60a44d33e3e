"""What lies in a 7z archive, entry by entry.

Files in it are packed together in large blocks, so that none can be had without unpacking those
before it. All are unpacked once, into a temporary file without a name, and read from there: it
takes as much disk as the archive's content, which is checked first.
"""

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, BinaryIO, cast

from pipeline.archives import ARCHIVE_FAULTS, Entry, EntryError
from pipeline.errors import StorageError
from pipeline.optional import needs
from pipeline.ranged_file import window

MAX_UNPACKED_BYTES = 64 << 30
MAGIC = b"7z\xbc\xaf\x27\x1c"


def seven_zip_entries(stream: BinaryIO) -> Iterator[Entry]:
    """All files of a 7z archive, in its order.

    Args:
        stream: Of the archive, to be read from anywhere.

    Raises:
        SourceError: The library is not installed.
        ValueError: It is broken, too large, or not to be unpacked without a password.
        StorageError: The disk of temporary files is full.
    """
    py7zr = needs("py7zr", "7z archives")
    broken = (*ARCHIVE_FAULTS, py7zr.exceptions.ArchiveError, py7zr.exceptions.PasswordRequired)
    with tempfile.TemporaryFile(prefix="factory-") as file:
        disk = cast(BinaryIO, file)
        try:
            with py7zr.SevenZipFile(stream) as archive:
                files = [info for info in archive.files if not info.is_directory]
                _check(archive, files)
                names = _out_names(files, py7zr.helpers.get_sanitized_output_path, broken)
                places = _Places(disk)
                wanted = {files[at].filename for at in names}
                fault = _unpack(archive, wanted, places, broken)
        except broken as error:
            raise ValueError(f"{type(error).__name__}: {error}") from error
        for at, info in enumerate(files):
            yield _entry(info, places.found.get(names.get(at, "")), disk)
        if fault is not None:
            raise ValueError(f"{type(fault).__name__}: {fault}") from fault


def _check(archive: Any, files: list[Any]) -> None:
    if archive.needs_password():
        raise ValueError("it asks for a password")
    total = sum(info.uncompressed for info in files)
    if total > MAX_UNPACKED_BYTES:
        raise ValueError(f"{total:,} bytes unpacked, the limit is {MAX_UNPACKED_BYTES:,}")


def _unpack(
    archive: Any, wanted: set[str], places: "_Places", broken: tuple[type[Exception], ...]
) -> Exception | None:
    """Unpack files; what went wrong, after those that came before it are on the disk."""
    try:
        archive.extract(targets=wanted, factory=places)
    except broken as error:
        return error
    return None


def _out_names(
    files: list[Any], clean: Callable[..., Any], broken: tuple[type[Exception], ...]
) -> dict[int, str]:
    """What the library calls each file when it unpacks it: equal names get a number.

    Those that are no ordinary files are left out, and names that climb, for which it would refuse
    the whole archive.
    """
    names: dict[int, str] = {}
    counts: Counter[str] = Counter()
    for at, info in enumerate(files):
        if info.is_file:
            count = counts[info.filename]
            counts[info.filename] += 1
            name = f"{info.filename}_{count - 1}" if count else info.filename
            with suppress(*broken):
                names[at] = clean(name, None).as_posix()
    return names


def _entry(info: Any, place: "_Place | None", disk: BinaryIO) -> Entry:
    def section() -> BinaryIO:
        if place is None or not place.is_whole or place.size() != info.uncompressed:
            raise EntryError("corrupt_member", "it cannot be unpacked")
        return window(disk, place.start, place.size())

    refusal = None if info.is_file else ("not_a_file", "a link or a device; not followed")
    return Entry(info.filename, info.uncompressed, section, refusal=refusal)


class _Places:
    """Hands out places on the disk, one after the other as files are unpacked."""

    def __init__(self, disk: BinaryIO) -> None:
        self._disk = disk
        self.found: dict[str, _Place] = {}

    def create(self, filename: str) -> "_Place":
        """Where the next file goes."""
        self.found[filename] = _Place(self._disk)
        return self.found[filename]


class _Place:
    """A file of the archive on the disk; written once, from front to back."""

    def __init__(self, disk: BinaryIO) -> None:
        self._disk = disk
        self.start = disk.seek(0, 2)
        self._size = 0
        self.is_whole = False

    def write(self, data: bytes) -> int:
        try:
            self._disk.seek(self.start + self._size)
            self._size += self._disk.write(data)
        except OSError as error:
            where = tempfile.gettempdir()
            raise StorageError(f"{where} has no room to unpack (set TMPDIR): {error}") from error
        return len(data)

    def read(self, size: int | None = None) -> bytes:
        return b""

    def seek(self, offset: int, whence: int = 0) -> int:
        return offset

    def flush(self) -> None:
        pass

    def size(self) -> int:
        return self._size

    def close(self) -> None:
        self.is_whole = True  # not called where its checksum was wrong
