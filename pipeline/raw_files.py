"""The files of data sets, where they lie: list, open and read them, never write.

What goes wrong with the file system while one is read is a StorageError, and so cannot be mistaken
for a fault of the archive inside.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

from pipeline import remote_files
from pipeline.filesystems import (
    checked_file,
    filesystem,
    is_local,
    local_file,
    local_path,
    ordinary_errors,
    public_uri,
)
from pipeline.ranged_file import ranged_file

BUFFER_BYTES = 1 << 20
STREAM_AHEAD_BYTES = 8 << 20
SCATTERED_BUFFER_BYTES, SCATTERED_AHEAD_BYTES = 4 << 10, 64 << 10


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file in a folder that is read as a source.

    Attributes:
        path: Below the folder, with ``/``.
        uri: Where to open it.
        kind: ``link`` and ``other`` (a device, a socket) are not to be opened.
        version: Changes when the file is overwritten: its time of change, or what the bucket calls
            its version; empty where nobody says.
    """

    path: str
    uri: str
    bytes: int
    kind: Literal["file", "link", "other"] = "file"
    version: str = ""


def open_uri(uri: str, *, is_scattered: bool = False) -> BinaryIO:
    """A source file or archive for reading, best from front to back; the caller closes it.

    What goes wrong while it is read is a StorageError, and so cannot be mistaken for a fault of
    the archive inside.

    Args:
        uri: Local path or any fsspec URL.
        is_scattered: Little will be read, here and there: do not read ahead of it.
    """
    what = public_uri(uri)
    ahead = SCATTERED_AHEAD_BYTES if is_scattered else STREAM_AHEAD_BYTES
    with ordinary_errors(what):
        if is_local(uri):
            raw: Any = local_file(uri).open("rb", buffering=0)
        else:
            fs, path = filesystem(uri)
            raw = _remote_file(fs, path, ahead=ahead)
    buffer_bytes = SCATTERED_BUFFER_BYTES if is_scattered else BUFFER_BYTES
    return checked_file(raw, what, buffer_bytes=buffer_bytes)


def _remote_file(fs: Any, path: str, *, ahead: int) -> Any:
    """As it is opened there, in exact and patient reads where it can be read from anywhere."""
    opened = remote_files.persistent(
        lambda: fs.open(path, "rb", block_size=STREAM_AHEAD_BYTES, cache_type="none")
    )
    size = getattr(opened, "size", None)
    if not isinstance(size, int) or not opened.seekable():
        return opened
    return ranged_file(remote_files.exact_reads(opened), size=size, ahead=ahead, close=opened.close)


def read_uri(uri: str) -> bytes:
    """A whole source file."""
    if is_local(uri):
        path = local_path(uri)
        with ordinary_errors(path), open(path, "rb", buffering=0) as file:
            return file.read()
    with ordinary_errors(public_uri(uri)):
        fs, path = filesystem(uri)
        if isinstance(remote_files.describe(fs, path).get("size"), int):
            return remote_files.read(fs, path)
        return remote_files.persistent(lambda: bytes(fs.cat_file(path)))


def found_file(uri: str, path: str) -> FoundFile:
    """A file by its address, with its size and version.

    Raises:
        ValueError: It is a pipe or a device, which might never end, or can be read only once.
    """
    if is_local(uri):
        with ordinary_errors(local_path(uri)):
            facts = local_file(uri).stat()
        if not stat.S_ISREG(facts.st_mode):
            raise ValueError("neither file nor folder: pipes and devices are not read")
        return FoundFile(path, uri, facts.st_size, version=str(facts.st_mtime_ns))
    with ordinary_errors(public_uri(uri)):
        fs, there = filesystem(uri)
        entry = remote_files.describe(fs, there)
        return FoundFile(path, uri, int(entry["size"] or 0), version=_version(entry))


def read_range(uri: str, offset: int, length: int) -> bytes:
    """``length`` bytes from ``offset``; fewer where the file ends before."""
    with ordinary_errors(public_uri(uri)):
        if is_local(uri):
            with local_file(uri).open("rb", buffering=0) as file:
                file.seek(offset)
                return file.read(length)
        fs, path = filesystem(uri)
        return remote_files.read_up_to(fs, path, offset, offset + length)


def is_folder(uri: str) -> bool:
    """Whether a source is a folder rather than a file.

    Raises:
        FileNotFoundError: It is neither.
    """
    with ordinary_errors(public_uri(uri)):
        if is_local(uri):
            path = local_file(uri)
            path.stat()
            return path.is_dir()
        fs, path_there = filesystem(uri)
        return bool(remote_files.describe(fs, path_there)["type"] == "directory")


def walk_folder(uri: str) -> Iterator[FoundFile]:
    """Every file below a folder, folder by folder in the order of names; links are not followed.

    One folder is listed at a time, so that memory is bounded by the largest one.
    """
    if is_local(uri):
        yield from _walk_local(local_file(uri), "")
    else:
        fs, root = filesystem(uri)
        yield from _walk_remote(fs, root.rstrip("/"), uri=uri.rstrip("/"))


def list_folder(uri: str) -> Iterator[FoundFile]:
    """The files of one folder in the order of names, without those of the folders in it."""
    if is_local(uri):
        yield from _walk_local(local_file(uri), "", is_deep=False)
    else:
        fs, root = filesystem(uri)
        yield from _walk_remote(fs, root.rstrip("/"), uri=uri.rstrip("/"), is_deep=False)


def _walk_local(folder: Path, above: str, *, is_deep: bool = True) -> Iterator[FoundFile]:
    # Names alone are kept to be sorted: all that is known of a file takes ten times the memory.
    names: list[str] = []
    folders: set[str] = set()
    unread: dict[str, Literal["link", "other"]] = {}
    with ordinary_errors(str(folder)), os.scandir(folder) as entries:
        for entry in entries:
            names.append(entry.name)
            if entry.is_dir(follow_symlinks=False):
                folders.add(entry.name)
            elif not entry.is_file(follow_symlinks=False):
                unread[entry.name] = "link" if entry.is_symlink() else "other"
    names.sort()
    for name in names:
        path, place = f"{above}{name}", os.path.join(folder, name)
        if name in folders:
            if is_deep:
                yield from _walk_local(Path(place), f"{path}/")
        elif name in unread:
            yield FoundFile(path, place, 0, unread[name])
        else:
            with ordinary_errors(place):
                facts = os.stat(place, follow_symlinks=False)
            yield FoundFile(path, place, facts.st_size, version=str(facts.st_mtime_ns))


def _walk_remote(
    fs: Any, folder: str, *, uri: str, above: str = "", is_deep: bool = True
) -> Iterator[FoundFile]:
    with ordinary_errors(public_uri(f"{uri}/{above}")):
        found = remote_files.persistent(lambda: fs.ls(folder, detail=True))
        entries = sorted(found, key=lambda entry: str(entry["name"]))
    for entry in entries:
        place = str(entry["name"]).rstrip("/")
        if place == folder:  # the empty object that marks a folder in a bucket
            continue
        path = f"{above}{place.rpartition('/')[2]}"
        if entry["type"] == "directory":
            if is_deep:
                yield from _walk_remote(fs, place, uri=uri, above=f"{path}/")
        else:
            size = int(entry.get("size") or 0)
            yield FoundFile(path, f"{uri}/{path}", size, version=_version(entry))


def _version(entry: dict[str, Any]) -> str:
    """What changes when an object is overwritten, under the names that file systems have for it."""
    names = ("ETag", "etag", "md5Hash", "content_md5", "LastModified", "last_modified", "mtime")
    return next((str(entry[name]).strip('"') for name in names if entry.get(name)), "")
