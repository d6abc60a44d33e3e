"""Lists of the images to take, as data sets publish their splits: one path per line."""

import hashlib
from collections.abc import Iterator
from functools import lru_cache

from pipeline.errors import SourceError
from pipeline.raw_files import found_file, read_uri
from pipeline.records import Drop


class Split:
    """The images on a list.

    Only the first field of a line counts (KITTI's lists go on with the depth file and the focal
    length). A path on the list is that of an image if the image's path ends with it, name by name.
    """

    def __init__(self, paths: list[str]) -> None:
        self.paths = dict.fromkeys(paths)  # in their order, each once

    def match(self, path: str) -> str | None:
        """How the image stands on the list; None if it does not."""
        return next((end for end in _ends(path) if end in self.paths), None)


class Taken:
    """Which images are taken: all, or those on a list; remembers which of these came by."""

    def __init__(self, split: Split | None) -> None:
        self._split = split
        self._found: set[str] = set()

    def __contains__(self, path: str) -> bool:
        if self._split is None:
            return True
        on_list = self._split.match(path)
        if on_list is not None:
            self._found.add(on_list)
        return on_list is not None

    def missing(self, uri: str) -> Iterator[Drop]:
        """What is on the list and was never asked for, in its order."""
        for path in self._split.paths if self._split is not None else ():
            if path not in self._found:
                detail = "on the list of images, but not in the data set"
                yield Drop(path, uri, "missing", detail)


def read_split(uri: str) -> Split:
    """A list from a text file: fields between white space; empty lines and ``#`` are passed over.

    The last ones read are kept, for those who read many items of one data set.

    Raises:
        SourceError: There is no such file, it is no text, or nothing is on it.
    """
    try:
        return _read(uri, found_file(uri, "").version)
    except OSError as error:
        raise SourceError(f"the list of images {uri} cannot be read: {error}") from error


@lru_cache(maxsize=2)
def _read(uri: str, version: str) -> Split:
    try:
        text = read_uri(uri).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceError(f"the list of images {uri} is no text: {error}") from error
    paths = [path for line in text.splitlines() if (path := _first_field(line))]
    if not paths:
        raise SourceError(f"the list of images {uri} names no image")
    return Split(paths)


def split_sha256(uri: str) -> str:
    """By which list a run was made, hex."""
    return hashlib.sha256(read_uri(uri)).hexdigest()


def _first_field(line: str) -> str | None:
    if not line.strip() or line.startswith("#"):
        return None
    # A tab or comma lets names have spaces in them.
    for mark in ("\t", ","):
        if mark in line:
            return _plain(line.split(mark)[0])
    return _plain(line.split()[0])


def _plain(path: str) -> str:
    names = path.strip().strip('"').split("/")
    return "/".join(name for name in names if name not in ("", "."))


def _ends(path: str) -> Iterator[str]:
    """The path, then without its first name, and so on."""
    while path:
        yield path
        path = path.partition("/")[2]
