"""Files that hold images and their ground truth at once, as members of a source."""

import io
from collections.abc import Iterator
from typing import BinaryIO

from pipeline.filesystems import public_uri
from pipeline.member_paths import normalised_text
from pipeline.raw_files import FoundFile, open_uri
from pipeline.records import Drop, Member
from pipeline.truth_decoding import TruthEncoding, inner_members
from pipeline.truth_files import TruthFileError


def read_inner(file: FoundFile, encoding: TruthEncoding) -> Iterator[Member | Drop]:
    """The images of a file, read in place and one at a time.

    Raises:
        SourceError: The library that reads it is not installed.
        StorageError: The file system failed.
    """
    uri = normalised_text(public_uri(file.uri))
    path = normalised_text(file.path or file.uri.rstrip("/").rpartition("/")[2])
    with open_uri(file.uri, is_scattered=True) as stream:
        yield from _members(stream, encoding, path=path, uri=uri)


def inner_of(entry: Member, encoding: TruthEncoding) -> Iterator[Member | Drop]:
    """The images of a file that was itself read from an archive.

    Raises:
        SourceError: The library that reads it is not installed.
    """
    yield from _members(io.BytesIO(entry.data), encoding, path=entry.path, uri=entry.uri)


def _members(
    stream: BinaryIO, encoding: TruthEncoding, *, path: str, uri: str
) -> Iterator[Member | Drop]:
    """What can be read, and a drop for the file where it cannot be read from there on."""
    try:
        yield from inner_members(stream, encoding, path=path, uri=uri)
    except TruthFileError as error:
        yield Drop(path, uri, error.reason, normalised_text(error.detail))
