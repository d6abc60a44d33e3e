"""Rows put back into an empty catalog, as the ledger of the store has them.

A row that this schema refuses is an error that names its object, and only that row is lost.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Table, func, insert, select
from sqlalchemy.exc import SQLAlchemyError

from pipeline import catalog_tables as tables
from pipeline.catalog_values import storable_text
from pipeline.errors import CatalogConflictError, ShardCorruptError

_COUNTED = (tables.sources, tables.label_sets, tables.models, tables.runs, tables.evaluations)


@dataclass(frozen=True, slots=True)
class KnownShard:
    """An image shard that is back in the catalog."""

    shard_id: str
    source: str
    number: int
    key: str
    rows: int
    sha256: str
    run_id: str
    withdrawn_at: float | None


def require_empty(connection: Connection, name: str) -> None:
    """Refuse to mix what is in a catalog with what is in the store.

    Raises:
        CatalogConflictError: It has rows; says how many of what.
    """
    held = {
        table.name: connection.scalar(select(func.count()).select_from(table)) for table in _COUNTED
    }
    listed = ", ".join(f"{n} {what.replace('_', ' ')}" for what, n in held.items() if n)
    if listed:
        msg = (
            f"catalog {name} is not empty ({listed}), and only an empty one can be rebuilt: "
            "move it away, or name a new one with --catalog, for example sqlite:////path/new.sqlite"
        )
        raise CatalogConflictError(msg)


def restore(connection: Connection, table: Table, row: Mapping[str, Any], *, key: str) -> None:
    """Insert one row that was read from the object ``key``; numbers are given anew.

    Raises:
        ShardCorruptError: It lacks a value, or the catalog does not take it.
    """
    names = [column.name for column in table.columns if column.name != "number" or table is _WORK]
    lacking = [name for name in names if name not in row and not table.columns[name].nullable]
    if lacking:
        raise ShardCorruptError(f"{key}: {table.name} without {', '.join(lacking)}")
    try:
        with connection.begin_nested():
            connection.execute(insert(table).values({name: row.get(name) for name in names}))
    except SQLAlchemyError as error:
        reason = storable_text(str(getattr(error, "orig", None) or error), limit=300)
        raise ShardCorruptError(f"{key}: {table.name}: {reason}") from error


def known_shards(connection: Connection) -> dict[str, KnownShard]:
    """The image shards that are back, by id."""
    columns = [tables.image_shards.c[name] for name in KnownShard.__slots__]
    rows = connection.execute(select(*columns))
    return {row.shard_id: KnownShard(*row) for row in rows}


_WORK = tables.work  # its number is that of the image shard
