"""A large tar of tars, cut into stretches that can be read side by side.

ImageNet-21K is one tar of 1.3 TB that holds 21,841 tars. Their headers are read, which takes
seconds; what is in them is found by whoever reads a stretch.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pipeline.archives import archive_kind
from pipeline.parts import NotAtWillError, Part, list_entries
from pipeline.raw_files import FoundFile

STRETCH_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Stretch:
    """Tars that follow each other inside a plain tar."""

    archives: tuple[Part, ...]

    @property
    def path(self) -> str:
        """That of the first one."""
        return self.archives[0].path

    @property
    def uri(self) -> str:
        """The tar that holds them."""
        return self.archives[0].uri

    @property
    def bytes(self) -> int:
        """Of all of them."""
        return sum(part.length for part in self.archives)

    @property
    def version(self) -> str:
        """Changes when the outer tar is overwritten; empty where nobody can tell."""
        first, last = self.archives[0], self.archives[-1]
        end = last.offset + last.length
        return f"{first.version} {first.offset} {end}" if first.version else ""

    @property
    def kind(self) -> Literal["file"]:
        """As of a file."""
        return "file"


def stretches(file: FoundFile) -> list[Stretch]:
    """A plain tar of nothing but tars, cut; nothing for any other, or one too small to be cut.

    Raises:
        StorageError: The file system failed.
    """
    if file.bytes < 2 * STRETCH_BYTES or file.kind != "file":
        return []
    archives: list[Part] = []
    try:
        for part in list_entries(file):
            if not isinstance(part, Part) or archive_kind(part.path) != "tar":
                return []
            archives.append(part)
    except (NotAtWillError, OSError):
        return []  # whoever reads it will say why
    return list(_cut(archives))


def _cut(archives: list[Part]) -> Iterator[Stretch]:
    run: list[Part] = []
    size = 0
    for part in archives:
        run.append(part)
        size += part.length
        if size >= STRETCH_BYTES:
            yield Stretch(tuple(run))
            run, size = [], 0
    if run:
        yield Stretch(tuple(run))
