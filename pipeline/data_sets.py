"""A raw data set as items that can be read by themselves, on any machine and in any order.

An item is a file (an archive, a video, a loose image), or a sample whose image and ground truth are
found in several files. Finding reads names alone; reading gives members. Both are given the same
`DataSet`, which is small and picklable.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pipeline.archives import archive_kind
from pipeline.raw_files import FoundFile, is_folder, walk_folder
from pipeline.records import Drop, Ignored, Member
from pipeline.sources import SYNTHETIC, find_members, found_in

MAX_MEMBER_BYTES = 256 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class DataSet:
    """What is to be read.

    Attributes:
        uri: Folder, archive, Parquet file or image, local or any fsspec URL; or synthetic://….
        layout: A name in ``LAYOUTS`` or of a preset.
        truth: How ground truth is encoded, for ``pairs``.
        split: A text file that lists the images to take, one path per line; None for all.
        every: Of a video every so many-th frame is taken; None for what the layout says.
        max_bytes: A larger file is dropped unread.
    """

    uri: str
    layout: str = "auto"
    truth: str | None = None
    split: str | None = None
    every: int | None = None
    max_bytes: int = MAX_MEMBER_BYTES


@dataclass(frozen=True, slots=True)
class Part:
    """A file that can be read at will: loose, in a plain tar, or in a zip.

    Attributes:
        path: Inside the data set, with the archive's name where it is in one.
        uri: The file or the archive.
        offset: Where its bytes, as packed, start there.
        length: How many there are, as packed.
        size: Once unpacked.
        version: Changes when the file or archive is overwritten.
    """

    path: str
    uri: str
    offset: int
    length: int
    size: int
    packing: Literal["none", "deflate"] = "none"
    version: str = ""


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


Item = FoundFile | Sample


def find_items(data_set: DataSet) -> Iterator[Item | Drop | Ignored]:
    """Everything in a data set by name, in an order that is the same each time.

    Raises:
        SourceError: At once, if there is nothing at that address or it cannot be read at all.
        StorageError: While listing: the file system failed.
    """
    is_made = data_set.uri.startswith(SYNTHETIC)
    if data_set.layout == "auto" and not is_made and is_folder(data_set.uri):
        return walk_folder(data_set.uri)
    return iter([FoundFile("", data_set.uri, 0)])


def read_item(item: Item, data_set: DataSet) -> Iterator[Member | Drop | Ignored | FoundFile]:
    """What is in one item; a loose file is handed on unread, for threads to `sources.load`."""
    assert isinstance(item, FoundFile)
    if not item.path:
        return find_members(
            data_set.uri, data_set.layout, truth=data_set.truth, max_bytes=data_set.max_bytes
        )
    return found_in(item, max_bytes=data_set.max_bytes)


def is_native(item: Item) -> bool:
    """Whether native code opens the item, which a crafted file may crash: Parquet, LMDB, video."""
    return isinstance(item, FoundFile) and archive_kind(item.path) == "parquet"
