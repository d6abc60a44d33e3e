"""What the parts of a rebuild share: the store's objects, the open transaction, what was found."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy import Connection, Table

from pipeline.audit import READ_ERRORS, Problem, unreadable
from pipeline.catalog_restore import restore
from pipeline.storage import Store
from pipeline.store_layout import StoredObject, describe

READERS = 8
AHEAD = 4 * READERS
BY = "rebuild"  # who is said to have done what nobody wrote down
Restored = (
    "sources",
    "image_shards",
    "withdrawals",
    "label_sets",
    "label_shards",
    "runs",
    "models",
    "evaluations",
)


@dataclass(slots=True)
class Rebuilding:
    """A rebuild under way.

    Attributes:
        objects: What lies in the store, per kind and then per source, label set, model or run.
        advance: Called for each shard that was looked at.
    """

    store: Store
    connection: Connection
    objects: Mapping[str, Mapping[str, list[StoredObject]]]
    advance: Callable[[int], None]
    now: float
    count: Counter[str] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)
    unknown: list[dict[str, str]] = field(default_factory=list)
    skipped: list[dict[str, str]] = field(default_factory=list)

    def names(self, *kinds: str) -> list[str]:
        """Sources, label sets, models or runs of which there are objects of these kinds."""
        return sorted({name for kind in kinds for name in self.objects.get(kind, {})})

    def of(self, kind: str, name: str) -> list[StoredObject]:
        """Objects of one of them, by key."""
        return self.objects.get(kind, {}).get(name, [])

    def insert(self, table: Table, row: Mapping[str, Any], *, key: str) -> None:
        """Put a row back; raises ShardCorruptError where the catalog refuses it."""
        restore(self.connection, table, row, key=key)
        self.count[table.name] += 1

    def say_unknown(self, what: str, facts: str) -> None:
        """Note what the store does not say of something."""
        self.unknown.append({"what": what, "unknown": facts})

    def skip(self, key: str, reason: str) -> None:
        """Note an object that does not count."""
        self.skipped.append({"key": key, "reason": reason})

    @contextmanager
    def noting(self, key: str) -> Iterator[None]:
        """Go on after what cannot be read or put back, and name it."""
        try:
            yield
        except READ_ERRORS as error:
            self.problems.append(unreadable(key, error))

    def summary(self) -> dict[str, Any]:
        """How much is back, and what is not."""
        return {
            **{name: self.count[name] for name in Restored},
            "unknown": self.unknown,
            "skipped": self.skipped,
            "problems": [asdict(problem) for problem in self.problems],
        }


def stored_objects(store: Store) -> dict[str, dict[str, list[StoredObject]]]:
    """What lies in a store, per kind and then per source, label set, model or run."""
    found: dict[str, dict[str, list[StoredObject]]] = defaultdict(lambda: defaultdict(list))
    for key in store.list():
        if "/" in key:  # the catalog itself may lie at the top
            item = describe(key)
            found[item.kind][item.of].append(item)
    return found
