"""Raw data sets as a stream of members: folders, archives, Parquet files and what they contain.

Every file counts as exactly one `Member`, one `Drop` or one `Ignored`, in an order that is the same
each time.
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
unsupported_archive   a container that is not read here (rar, zst …): unpack it first
missing_library       a container for which the library is not installed here (7z, video)
====================  ===========================================================================
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import BinaryIO, cast

from pipeline.archives import (
    ARCHIVE_FAULTS,
    ArchiveKind,
    Entry,
    EntryError,
    is_other_archive,
    random_access,
)
from pipeline.choices import Choose, Refused, open_archives
from pipeline.containers import UNIQUE, entries_in, max_copy_bytes
from pipeline.errors import SourceError
from pipeline.filesystems import is_local, public_uri
from pipeline.image_rows import NoImagesError
from pipeline.member_paths import UniqueNames, normalised, normalised_text
from pipeline.parts import MAX_MEMBER_BYTES, MAX_NESTING, Part, Sample
from pipeline.ranged_file import window
from pipeline.raw_files import FoundFile, open_uri, read_uri
from pipeline.records import Drop, Ignored, Member
from pipeline.sidecars import joined
from pipeline.truth import read_sample
from pipeline.video_frames import EVERY

SYNTHETIC = "synthetic://"
LOCAL_READERS, REMOTE_READERS = 2, 16

Unread = FoundFile | Sample  # to be read by `load`, in threads
Found = Iterator[Member | Drop | Ignored | Unread]


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """How archives are read.

    Attributes:
        choose: What is to be done with each path inside them.
        every: Of a video every so many-th frame is taken.
        with_sidecars: JSON beside an image says whose it is.
        max_bytes: A larger file is dropped unread.
    """

    choose: Choose = open_archives
    every: int = EVERY
    with_sidecars: bool = False
    max_bytes: int = MAX_MEMBER_BYTES


def load(item: Member | Drop | Unread, *, max_bytes: int = MAX_MEMBER_BYTES) -> Member | Drop:
    """Read a plain file, or an image with its ground truth; hand on anything else. For threads."""
    if isinstance(item, Sample):
        return read_sample(item)
    return _file(item, max_bytes=max_bytes) if isinstance(item, FoundFile) else item


def weight(item: Member | Drop | Ignored | Unread) -> int:
    """The bytes that an item takes in memory once it is read."""
    if isinstance(item, Member):
        return len(item.data) + (item.truth.values_HW.nbytes if item.truth else 0)
    return item.bytes if isinstance(item, FoundFile | Sample) else 0


def reader_threads(uri: str) -> int:
    """How many threads are worth having for reading: a bucket answers slowly, but many at once."""
    return LOCAL_READERS if uri.startswith(SYNTHETIC) or is_local(uri) else REMOTE_READERS


def named_archive(file: FoundFile, kind: ArchiveKind, reading: Reading) -> Found:
    """What is in the archive that was named: one that gives nothing at all is an error, no drop.

    Raises:
        SourceError: It is no such archive, or broken from the start.
        StorageError: While reading: the file system failed. What was read is sound.
    """
    place = _Place("", public_uri(file.uri), 0, 0, reading)
    with open_uri(file.uri) as stream:
        found = 0
        try:
            for item in _entries_in(kind, stream, place):
                yield item
                found += 1
        except (*ARCHIVE_FAULTS, EntryError) as error:
            if found == 0:
                message = f"source {place.uri} cannot be read as {kind}: {error}"
                raise SourceError(message) from error
            yield _corrupt(place, error)


def found_archive(file: FoundFile, kind: ArchiveKind, reading: Reading) -> Found:
    """What is in an archive of a folder."""
    path, shown = normalised_text(file.path), normalised_text(public_uri(file.uri))
    place = _Place(path, shown, _start(public_uri(file.uri), shown), 0, reading)
    try:
        stream = open_uri(file.uri)
    except (FileNotFoundError, PermissionError) as error:
        yield Drop(place.path, place.uri, "unreadable", str(error))
        return
    with stream:
        yield from _or_drop(_entries_in(kind, stream, place), place)


def part_archive(part: Part, kind: ArchiveKind, reading: Reading) -> Found:
    """What is in an archive that lies in another one as it is."""
    shown = normalised_text(public_uri(part.uri))
    base = part.offset if shown == public_uri(part.uri) else None
    place = _Place(part.path, shown, base, 1, reading)
    with open_uri(part.uri) as stream:
        inner = window(stream, part.offset, part.length)
        yield from _or_drop(_entries_in(kind, inner, place), place)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an archive is.

    Attributes:
        path: Of the archive inside the source; empty for the one that was named.
        base: Where it starts in the file ``uri``; None where it is not there as it is.
        depth: How many archives it is inside of.
        reading: How it is read.
    """

    path: str
    uri: str
    base: int | None
    depth: int
    reading: Reading


def _file(file: FoundFile, *, max_bytes: int) -> Member | Drop:
    place = public_uri(file.uri)
    path, uri = normalised_text(file.path), normalised_text(place)
    if file.kind != "file":
        detail = "links are not followed" if file.kind == "link" else "neither file nor folder"
        return Drop(path, uri, "not_a_file", detail)
    if is_other_archive(path):
        return Drop(path, uri, "unsupported_archive", "unpack it first", bytes=file.bytes)
    if file.bytes > max_bytes:
        return _too_large(path, uri, file.bytes, max_bytes)
    try:
        return Member(path, uri, read_uri(file.uri), offset=_start(place, uri))
    except (FileNotFoundError, PermissionError) as error:
        return Drop(path, uri, "unreadable", str(error), bytes=file.bytes)


def _start(place: str, uri: str) -> int | None:
    """0; None where the name is not UTF-8, for text then does not lead back to the file."""
    return 0 if uri == place else None


def _or_drop(items: Found, place: _Place) -> Found:
    try:
        yield from items
    except EntryError as error:
        yield Drop(place.path, place.uri, "corrupt_archive", error.detail)
    except SourceError as error:  # the library that reads it is not installed
        yield Drop(place.path, place.uri, "missing_library", str(error))
    except NoImagesError as error:
        yield Drop(place.path, place.uri, "not_an_image", str(error))
    except ARCHIVE_FAULTS as error:
        yield _corrupt(place, error)


def _entries_in(kind: ArchiveKind, stream: BinaryIO, place: _Place) -> Found:
    copied: AbstractContextManager[BinaryIO] = nullcontext(stream)
    # What was opened by a window can be read from anywhere, an entry of an archive cannot. Of an
    # LMDB file in a bucket, each value would be a request.
    is_scattered = kind == "lmdb" and not is_local(place.uri)
    if kind != "tar" and (is_scattered or not stream.seekable()):
        copied = random_access(stream)
    with copied as seekable:
        entries = entries_in(kind, seekable, every=place.reading.every)
        if place.reading.with_sidecars:
            entries = joined(entries, max_bytes=place.reading.max_bytes)
        yield from _from_entries(entries, place, names_are_unique=kind in UNIQUE)


def _from_entries(entries: Iterator[Entry], place: _Place, *, names_are_unique: bool) -> Found:
    unique = UniqueNames()
    for entry in entries:
        name = entry.name if names_are_unique else unique(normalised(entry.name))
        path = f"{place.path}/{name}" if place.path else name
        known = None if place.base is None or entry.offset is None else place.base + entry.offset
        inner = replace(place, path=path, base=known, depth=place.depth + 1)
        choice = place.reading.choose(path)
        if isinstance(choice, Ignored):
            yield choice
        elif entry.refusal is not None:
            yield Drop(path, place.uri, *entry.refusal)
        elif isinstance(choice, Refused):
            yield Drop(path, place.uri, choice.reason, choice.detail, bytes=entry.size)
        elif choice is not None:
            yield from _nested(choice, entry, inner)
        else:
            yield _member(entry, inner)


def _nested(kind: ArchiveKind, entry: Entry, place: _Place) -> Found:
    if place.depth > MAX_NESTING:
        detail = f"archives in archives are read {MAX_NESTING} deep"
        yield Drop(place.path, place.uri, "nested_too_deep", detail, bytes=entry.size)
    elif kind != "tar" and place.base is not None and is_local(place.uri):
        yield from _or_drop(_opened_in_place(kind, entry, place), place)
    elif kind != "tar" and entry.size > max_copy_bytes(kind):
        yield _too_large(place.path, place.uri, entry.size, max_copy_bytes(kind))
    else:
        yield from _or_drop(_opened(kind, entry, place), place)


def _opened_in_place(kind: ArchiveKind, entry: Entry, place: _Place) -> Found:
    """By a handle of its own: what lies in the file as it is can be read from anywhere."""
    assert place.base is not None, place
    with open_uri(place.uri) as whole:
        # Past the buffer, which would read a megabyte wherever a little is asked for.
        file = cast(BinaryIO, getattr(whole, "raw", whole))
        yield from _entries_in(kind, window(file, place.base, entry.size), place)


def _opened(kind: ArchiveKind, entry: Entry, place: _Place) -> Found:
    with entry.open() as stream:
        yield from _entries_in(kind, stream, place)


def _member(entry: Entry, place: _Place) -> Member | Drop:
    if is_other_archive(place.path):
        return Drop(
            place.path, place.uri, "unsupported_archive", "unpack it first", bytes=entry.size
        )
    if entry.size > place.reading.max_bytes:
        return _too_large(place.path, place.uri, entry.size, place.reading.max_bytes)
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
