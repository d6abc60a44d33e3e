"""What is to be done with a file of a data set, by its path: opened, read, ignored or refused."""

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.archives import ArchiveKind, archive_kind
from pipeline.records import Ignored


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a path is none of a data set's."""

    reason: str
    detail: str


# An archive of that kind is to be opened, None is a file to be read.
Choice = ArchiveKind | Ignored | Refused | None
Choose = Callable[[str], Choice]


def open_archives(path: str) -> Choice:
    """Archives are opened, everything else is read."""
    return archive_kind(path)


def open_nothing(path: str) -> Choice:
    """Everything is read as it is."""
    return None
