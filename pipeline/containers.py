"""Every kind of container that is read here, and how: each gives its content entry by entry."""

from collections.abc import Callable, Iterator, Mapping
from typing import BinaryIO

from pipeline.archives import ArchiveKind, Entry, EntryError, tar_entries, zip_entries
from pipeline.arrow_images import arrow_entries
from pipeline.lmdb_images import lmdb_entries
from pipeline.parquet_images import parquet_entries
from pipeline.video_frames import EVERY, video_entries

# Opened by native code, which crafted files have crashed: never in the process that commits.
NATIVE: frozenset[ArchiveKind] = frozenset({"parquet", "arrow", "video"})

# Their entries have names that need no check: of millions of keys each would be remembered.
UNIQUE: frozenset[ArchiveKind] = frozenset({"lmdb", "video"})

# The largest copy that is made of what lies packed in something else and has to be read at will.
MAX_COPY_BYTES = 16 << 30
MAX_LMDB_COPY_BYTES = 128 << 30  # LSUN's bedrooms are one file of some 50 GB in a zip

_ENTRIES: Mapping[ArchiveKind, Callable[[BinaryIO], Iterator[Entry]]] = {
    "tar": tar_entries,
    "zip": zip_entries,
    "parquet": parquet_entries,
    "arrow": arrow_entries,
    "lmdb": lmdb_entries,
}


def entries_in(kind: ArchiveKind, stream: BinaryIO, *, every: int = EVERY) -> Iterator[Entry]:
    """What is in a container, in an order that is the same each time.

    Args:
        kind: What it is.
        stream: All but tars are read from anywhere.
        every: Of a video, every so many-th frame is taken.
    """
    if kind == "video":
        return video_entries(stream, every=every)
    if kind == "7z":
        from pipeline.seven_zip import seven_zip_entries

        return seven_zip_entries(stream)
    entries = _ENTRIES[kind](stream)
    return _with_room(entries) if kind in ("parquet", "arrow") else entries


def _with_room(entries: Iterator[Entry]) -> Iterator[Entry]:
    """A length that no machine has memory for is a fault of the file that has it."""
    try:
        yield from entries
    except MemoryError as error:
        detail = f"it asks for more memory than there is: {error}"
        raise EntryError("corrupt_archive", detail) from error


def max_copy_bytes(kind: ArchiveKind) -> int:
    """How large it may be, inside of something else, to be copied to disk for reading."""
    return MAX_LMDB_COPY_BYTES if kind == "lmdb" else MAX_COPY_BYTES
