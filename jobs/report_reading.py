"""A store as a report reads it: what is gone or damaged is passed over, and the page says so.

A report is often asked for because something is wrong; it shows what there is.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from jobs.report_page import Section
from pipeline.errors import ShardCorruptError
from pipeline.storage import Store

NAMED = 5
Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Reading:
    """A store, and what of it could not be read so far: why, by key."""

    store: Store
    unreadable: dict[str, str] = field(default_factory=dict)

    def rows(self, read: Callable[..., Iterable[Row]], key: str, **options: Any) -> Iterator[Row]:
        """What ``read(store, key, **options)`` gives, up to where it cannot be read.

        Raises:
            StorageError: The store does not answer, which says nothing of the object.
        """
        try:
            yield from read(self.store, key, **options)
        except (FileNotFoundError, ShardCorruptError) as error:
            self.unreadable.setdefault(key, str(error))

    def section(self) -> Section | None:
        """What the page lacks, once all of it has been read; None where it lacks nothing."""
        if not self.unreadable:
            return None
        count = len(self.unreadable)
        objects = f"{count:,} objects are" if count > 1 else "1 object is"
        named = [self.unreadable[key] for key in sorted(self.unreadable)[:NAMED]]
        return Section(
            "unreadable",
            "Not readable",
            f"{objects} gone or damaged, of those that were looked at: what they hold is not on "
            "this page. factory catalog verify looks at all, and says what to do.",
            notes=(*named, *([f"and {count - NAMED:,} more"] if count > NAMED else [])),
        )
