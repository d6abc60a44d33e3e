"""The files of a data set, and what lies in those that can be read at will."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from pipeline.archives import ArchiveKind, archive_kind, is_other_archive, sniff_archive
from pipeline.errors import SourceError
from pipeline.filesystems import public_uri
from pipeline.member_paths import normalised_text
from pipeline.parts import NotAtWillError, Part, list_archive, loose_part
from pipeline.presets import presets
from pipeline.raw_files import FoundFile, found_file, is_folder, open_uri, walk_folder
from pipeline.records import Drop

_FORCED: dict[str, ArchiveKind] = {
    "tar": "tar",
    "zip": "zip",
    "parquet": "parquet",
    "lmdb": "lmdb",
    "arrow": "arrow",
    "video": "video",
}
_HEAD_BYTES = 512


def files_of(uri: str, layout: str) -> Iterable[FoundFile]:
    """The files of a folder, or the one that was named; an archive that was has no path.

    Raises:
        SourceError: At once, if there is nothing at that address or it cannot be read.
    """
    where = public_uri(uri)
    try:
        if is_folder(uri):
            return walk_folder(uri)
        name = where.rpartition("/")[2]
        if layout == "auto" and is_other_archive(name):
            raise ValueError("a container of this kind is not read here: unpack it first")
        file = found_file(uri, "")
        kind = named_kind(file, layout)
    except FileNotFoundError as error:
        raise SourceError(f"there is nothing at {where}") from error
    except (PermissionError, ValueError) as error:
        raise SourceError(f"{where} cannot be read as a source: {error}") from error
    is_known = layout in presets()
    # The frames of a video of a known data set are told by the video's name.
    if kind is None or (is_known and kind not in ("tar", "zip", "7z")):
        return [replace(file, path=name)]
    return [file]


def named_kind(file: FoundFile, layout: str) -> ArchiveKind | None:
    """The kind of the archive that was named; None for a plain file."""
    if layout == "images":
        return None
    if layout in _FORCED:
        return _FORCED[layout]
    name = public_uri(file.uri).rpartition("/")[2]
    with open_uri(file.uri) as stream:
        return archive_kind(name) or sniff_archive(stream.read(_HEAD_BYTES))


def kind_of(file: FoundFile) -> ArchiveKind | None:
    """The kind of archive that a file of a known data set, or of pairs, is."""
    return archive_kind(file.path) if file.path else named_kind(file, "auto")


def all_parts(
    files: Iterable[FoundFile],
    *,
    max_bytes: int,
    ignores: Callable[[str], bool],
    later: list[FoundFile] | None,
) -> Iterator[Part | Drop]:
    """All that can be read at will; archives that can only be streamed are added to ``later``.

    Args:
        files: Of a data set.
        max_bytes: A larger file is dropped.
        ignores: Says of a path that it is not to be opened.
        later: None drops those archives.
    """
    for file in files:
        part = loose_part(file)
        if ignores(part.path):
            yield part
        elif (refused := _refusal(file, max_bytes)) is not None:
            yield Drop(part.path, shown_uri(file), *refused, bytes=file.bytes)
        elif kind_of(file) in ("tar", "zip", "7z"):
            try:
                yield from list_archive(file, skip=ignores, max_bytes=max_bytes)
            except NotAtWillError:
                if later is None:
                    yield streamed_only(file)
                else:
                    later.append(file)
        else:
            yield part


def _refusal(file: FoundFile, max_bytes: int) -> tuple[str, str] | None:
    """Why a file is not even looked at for its name."""
    if file.path.rpartition("/")[2].startswith("._"):
        return "apple_double", "left by macOS beside the real file"
    if file.kind != "file":
        return "not_a_file", "links and devices are not followed"
    if is_other_archive(file.path):
        return "unsupported_archive", "unpack it first"
    if file.bytes > max_bytes and kind_of(file) is None:
        return "too_many_bytes", f"{file.bytes:,} bytes, the limit is {max_bytes:,}"
    return None


def streamed_only(file: FoundFile) -> Drop:
    """The drop of an archive that nobody can stream."""
    detail = "it can only be read from front to back: unpack it, or pack it as zip or plain tar"
    path = normalised_text(file.path) or shown_uri(file).rpartition("/")[2]
    return Drop(path, shown_uri(file), "unsupported_archive", detail, bytes=file.bytes)


def shown_uri(file: FoundFile) -> str:
    """Where a file is, as text without credentials."""
    return normalised_text(public_uri(file.uri))
