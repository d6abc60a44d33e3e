"""Raw data sets as a stream of members: folders, archives, Parquet files and what they contain.

Every file counts as exactly one `Member` or one `Drop`, in an order that is the same each time.
Archives inside folders and inside archives are opened in place, and paths join with ``/``:
ImageNet-21K is a tar of tars. Of an archive, one member is in memory at a time. The files of a
folder are handed out unread, so that threads can read them and go on to work on them.

Drops say why a file never became a member:

====================  ===========================================================================
reason                meaning
====================  ===========================================================================
not_a_file            a link or a device; links are not followed, give their target as the source
unreadable            a file that is listed, but may not be read or is gone
too_many_bytes        larger than the limit for one file, seen before reading it
empty                 a Parquet row without image bytes
not_an_image          a Parquet file without a column of images
corrupt_archive       an archive that broke off, or is none; what could be read of it was
corrupt_member        a zip entry that is broken, while the zip goes on
encrypted             a zip entry with a password
nested_too_deep       an archive in an archive, more than `MAX_NESTING` deep
unsupported_archive   a container that is not read here (7z, rar, LMDB …): unpack it first
====================  ===========================================================================
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO

from pipeline.archives import (
    ARCHIVE_FAULTS,
    ArchiveKind,
    Entry,
    EntryError,
    archive_kind,
    is_other_archive,
    random_access,
    sniff_archive,
    tar_entries,
    zip_entries,
)
from pipeline.errors import SourceError
from pipeline.filesystems import is_local, public_uri
from pipeline.lookahead import map_ahead
from pipeline.parquet_images import parquet_entries
from pipeline.raw_files import (
    FoundFile,
    file_bytes,
    is_folder,
    open_uri,
    read_uri,
    walk_folder,
)
from pipeline.records import Drop, Member

LAYOUTS = ("auto", "images", "tar", "zip", "parquet", "pairs")
SYNTHETIC = "synthetic://"
MAX_NESTING = 4
MAX_MEMBER_BYTES = 256 << 20
MAX_COPY_BYTES = 16 << 30
READ_AHEAD_BYTES = 64 << 20
LOCAL_READERS, REMOTE_READERS = 2, 16

Found = Iterator[Member | Drop | FoundFile]
_ENTRIES: dict[ArchiveKind, Callable[[BinaryIO], Iterator[Entry]]] = {
    "tar": tar_entries,
    "zip": zip_entries,
    "parquet": parquet_entries,
}


def read_members(
    uri: str, layout: str = "auto", *, truth: str | None = None, max_bytes: int = MAX_MEMBER_BYTES
) -> Iterator[Member | Drop]:
    """Everything in a data set, read; see `find_members`."""
    return map_ahead(
        lambda item: load(item, max_bytes=max_bytes),
        find_members(uri, layout, truth=truth, max_bytes=max_bytes),
        threads=reader_threads(uri),
        ahead=64,
        weigh=weight,
        max_weight=READ_AHEAD_BYTES,
    )


def find_members(
    uri: str, layout: str = "auto", *, truth: str | None = None, max_bytes: int = MAX_MEMBER_BYTES
) -> Found:
    """Everything in a data set; plain files are to be read with `load`.

    Args:
        uri: Folder, archive, Parquet file or image, local or any fsspec URL; or synthetic://….
        layout: ``auto`` opens archives wherever they are; ``images`` opens none; ``tar``, ``zip``
            and ``parquet`` say what the named file is, whatever it is called; ``pairs`` finds
            ground truth beside the images.
        truth: How ground truth is encoded, for ``pairs``.
        max_bytes: A larger file is dropped unread.

    Raises:
        SourceError: At once, if there is nothing at that address or it cannot be read at all.
        StorageError: While reading: the file system failed. What was read is sound.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"layout {layout!r} is none of {', '.join(LAYOUTS)}")
    if uri.startswith(SYNTHETIC):
        from pipeline.synthetic import read_synthetic

        return read_synthetic(uri)
    if layout == "pairs":
        from pipeline.truth import read_pairs

        return read_pairs(uri, truth)
    return _find(uri, layout, max_bytes=max_bytes)


def load(item: Member | Drop | FoundFile, *, max_bytes: int = MAX_MEMBER_BYTES) -> Member | Drop:
    """Read a plain file; hand on anything else. For threads."""
    return _file(item, max_bytes=max_bytes) if isinstance(item, FoundFile) else item


def weight(item: Member | Drop | FoundFile) -> int:
    """The bytes that an item takes in memory once it is read."""
    if isinstance(item, Member):
        return len(item.data) + (item.truth.values_HW.nbytes if item.truth else 0)
    return item.bytes if isinstance(item, FoundFile) else 0


def reader_threads(uri: str) -> int:
    """How many threads are worth having for reading: a bucket answers slowly, but many at once."""
    return LOCAL_READERS if uri.startswith(SYNTHETIC) or is_local(uri) else REMOTE_READERS


def normalised(name: str) -> str:
    """A path with ``/`` that climbs nowhere, from whatever an archive calls its entry."""
    parts = name.replace("\\", "/").split("/")
    return (
        normalised_text("/".join(part for part in parts if part not in ("", ".", "..")))
        or "unnamed"
    )


class UniqueNames:
    """Makes names unique by a count: ``a.jpg``, ``a.jpg#2``; remembers 64-bit hashes only."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}

    def __call__(self, name: str) -> str:
        """The name, or the name with a count if it came before."""
        count, unique = self._counts.get(hash(name), 0) + 1, name
        while hash(unique) in self._counts:
            count = max(count, 2)
            unique, count = f"{name}#{count}", count + 1
        self._counts[hash(name)] = max(1, count - 1)
        self._counts.setdefault(hash(unique), 1)
        return unique


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an archive is.

    Attributes:
        path: Of the archive inside the source; empty for the one that was named.
        base: Where it starts in the file ``uri``; None where it is not there as it is.
        depth: How many archives it is inside of.
    """

    path: str
    uri: str
    base: int | None
    depth: int
    max_bytes: int


def _find(uri: str, layout: str, *, max_bytes: int) -> Found:
    try:
        if is_folder(uri):
            return _folder(uri, opens_archives=layout != "images", max_bytes=max_bytes)
        name = public_uri(uri).rpartition("/")[2]
        kind = _named_kind(uri, name, layout)
    except FileNotFoundError as error:
        raise SourceError(f"there is nothing at {public_uri(uri)}") from error
    except (PermissionError, ValueError) as error:
        raise SourceError(f"{public_uri(uri)} cannot be read as a source: {error}") from error
    if kind is None:
        return iter([FoundFile(name, uri, file_bytes(uri))])
    place = _Place("", public_uri(uri), 0, 0, max_bytes)
    return _named_archive(uri, kind, place)


def _named_kind(uri: str, name: str, layout: str) -> ArchiveKind | None:
    if layout in ("tar", "zip", "parquet"):
        return layout  # type: ignore[return-value]
    if layout == "images":
        return None
    if is_other_archive(name):
        raise ValueError("a container of this kind is not read here: unpack it first")
    with open_uri(uri) as file:
        head = file.read(512)
    return archive_kind(name) or sniff_archive(head)


def _named_archive(uri: str, kind: ArchiveKind, place: _Place) -> Found:
    """The archive that was named: one that gives nothing at all is an error, not a drop."""
    with open_uri(uri) as stream:
        found = 0
        try:
            for item in _entries_in(kind, stream, place):
                yield item
                found += 1
        except ARCHIVE_FAULTS as error:
            if found == 0:
                message = f"source {place.uri} cannot be read as {kind}: {error}"
                raise SourceError(message) from error
            yield _corrupt(place, error)


def _folder(uri: str, *, opens_archives: bool, max_bytes: int) -> Found:
    for file in walk_folder(uri):
        if opens_archives:
            yield from found_in(file, max_bytes=max_bytes)
        else:
            yield file


def found_in(file: FoundFile, *, max_bytes: int = MAX_MEMBER_BYTES) -> Found:
    """What is in a file of a folder: of an archive its members, of any other itself, unread."""
    kind = archive_kind(file.path) if file.kind == "file" else None
    if kind is None:
        yield file
    else:
        path, shown = normalised_text(file.path), normalised_text(public_uri(file.uri))
        place = _Place(path, shown, _start(file, shown), 0, max_bytes)
        yield from _archive_file(file.uri, kind, place)


def _file(file: FoundFile, *, max_bytes: int) -> Member | Drop:
    path, uri = normalised_text(file.path), normalised_text(public_uri(file.uri))
    if file.kind != "file":
        detail = "links are not followed" if file.kind == "link" else "neither file nor folder"
        return Drop(path, uri, "not_a_file", detail)
    if is_other_archive(path):
        return Drop(path, uri, "unsupported_archive", "unpack it first", bytes=file.bytes)
    if file.bytes > max_bytes:
        return _too_large(path, uri, file.bytes, max_bytes)
    try:
        return Member(path, uri, read_uri(file.uri), offset=_start(file, uri))
    except (FileNotFoundError, PermissionError) as error:
        return Drop(path, uri, "unreadable", str(error), bytes=file.bytes)


def _start(file: FoundFile, uri: str) -> int | None:
    """0; None where the name is not UTF-8, for text then does not lead back to the file."""
    return 0 if uri == public_uri(file.uri) else None


def normalised_text(path: str) -> str:
    """A path of the file system as valid text; names need not be UTF-8 there."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _archive_file(uri: str, kind: ArchiveKind, place: _Place) -> Found:
    """An archive found in a folder."""
    try:
        stream = open_uri(uri)
    except (FileNotFoundError, PermissionError) as error:
        yield Drop(place.path, place.uri, "unreadable", str(error))
        return
    with stream:
        yield from _or_drop(_entries_in(kind, stream, place), place)


def _or_drop(items: Found, place: _Place) -> Found:
    try:
        yield from items
    except EntryError as error:
        yield Drop(place.path, place.uri, "corrupt_archive", error.detail)
    except ARCHIVE_FAULTS as error:
        yield _corrupt(place, error)


def _entries_in(kind: ArchiveKind, stream: BinaryIO, place: _Place) -> Found:
    if kind != "tar" and (place.depth or not stream.seekable()):
        with random_access(stream) as copy:
            yield from _from_entries(_ENTRIES[kind](copy), place)
    else:
        yield from _from_entries(_ENTRIES[kind](stream), place)


def _from_entries(entries: Iterator[Entry], place: _Place) -> Found:
    unique = UniqueNames()
    for entry in entries:
        name = unique(normalised(entry.name))
        path = f"{place.path}/{name}" if place.path else name
        known = None if place.base is None or entry.offset is None else place.base + entry.offset
        inner = replace(place, path=path, base=known, depth=place.depth + 1)
        kind = archive_kind(path)
        if entry.refusal is not None:
            yield Drop(path, place.uri, *entry.refusal)
        elif kind is not None:
            yield from _nested(kind, entry, inner)
        else:
            yield _member(entry, inner)


def _nested(kind: ArchiveKind, entry: Entry, place: _Place) -> Found:
    if place.depth > MAX_NESTING:
        detail = f"archives in archives are read {MAX_NESTING} deep"
        yield Drop(place.path, place.uri, "nested_too_deep", detail, bytes=entry.size)
    elif kind != "tar" and entry.size > MAX_COPY_BYTES:
        yield _too_large(place.path, place.uri, entry.size, MAX_COPY_BYTES)
    else:
        yield from _or_drop(_opened(kind, entry, place), place)


def _opened(kind: ArchiveKind, entry: Entry, place: _Place) -> Found:
    with entry.open() as stream:
        yield from _entries_in(kind, stream, place)


def _member(entry: Entry, place: _Place) -> Member | Drop:
    if is_other_archive(place.path):
        return Drop(
            place.path, place.uri, "unsupported_archive", "unpack it first", bytes=entry.size
        )
    if entry.size > place.max_bytes:
        return _too_large(place.path, place.uri, entry.size, place.max_bytes)
    try:
        data = entry.read()
    except EntryError as error:
        return Drop(place.path, place.uri, error.reason, error.detail, bytes=entry.size)
    return Member(
        place.path,
        place.uri,
        data,
        offset=place.base,
        licence=entry.licence,
        attribution=entry.attribution,
    )


def _too_large(path: str, uri: str, size: int, limit: int) -> Drop:
    return Drop(path, uri, "too_many_bytes", f"{size:,} bytes, the limit is {limit:,}", bytes=size)


def _corrupt(place: _Place, error: BaseException) -> Drop:
    path = place.path or place.uri.rpartition("/")[2]
    return Drop(path, place.uri, "corrupt_archive", f"{type(error).__name__}: {error}")
