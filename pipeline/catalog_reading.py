"""A catalog for questions alone: it is not made, not migrated and not written to.

`Catalog.open` makes and migrates, which is right for whoever works there. A watcher may be older
than the catalog, or have mistyped where it is: either must be said, and nothing be left behind.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.pool import QueuePool

from pipeline.catalog import Catalog
from pipeline.catalog_database import make_engine, parse_url
from pipeline.catalog_look import sqlite_file
from pipeline.catalog_schema import SchemaState, schema_of
from pipeline.catalog_values import without_credentials
from pipeline.errors import CatalogMissingError, CatalogVersionError

BUSY_S = 5.0  # a reader waits only for whoever opens or closes the file


@contextmanager
def catalog_to_read(url: str) -> Iterator[Catalog]:
    """Open the catalog at an SQLAlchemy URL for questions; the database refuses to write.

    Raises:
        ValueError: The URL names neither SQLite nor PostgreSQL, or no file.
        CatalogMissingError: There is none.
        CatalogVersionError: It is of another version; says how to bring it up to date.
        StorageError: It does not answer.
    """
    parsed = parse_url(url)
    name = without_credentials(parsed.render_as_string(hide_password=False))
    file = sqlite_file(url)
    if file is not None and not file.is_file():
        raise CatalogMissingError(f"there is no catalog at {name}")
    engine = _sqlite(file) if file is not None else _postgresql(parsed)
    with Catalog(engine, name=name) as catalog:
        with catalog.read() as connection:
            state = schema_of(connection)
        _check(state, name)
        yield catalog


def _check(state: SchemaState, name: str) -> None:
    if state.found is None:
        raise CatalogMissingError(f"there is no catalog at {name}: the database has no such tables")
    if state.found != state.newest:
        other = "an older" if state.is_known else "a newer"
        advice = (
            "any command that works on it brings it up to date, such as `factory catalog sources`"
            if state.is_known
            else "update this code"
        )
        raise CatalogVersionError(
            f"catalog {name} was written by {other} version (schema {state.found!r}, this code "
            f"reads {state.newest!r}): {advice}"
        )


def _sqlite(file: Path) -> Engine:
    """Opened for writing too: a reader that may not write could not follow a writer's log."""
    address = f"file:{quote(str(file.absolute()))}?mode=rw"

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(address, uri=True, timeout=BUSY_S, isolation_level=None)
        connection.execute("PRAGMA query_only = ON")
        return connection

    engine = create_engine("sqlite://", creator=connect, poolclass=QueuePool)
    event.listen(engine, "begin", _begin)
    return engine


def _begin(connection: Any) -> None:
    connection.exec_driver_sql("BEGIN")


def _postgresql(url: URL) -> Engine:
    return make_engine(url).execution_options(postgresql_readonly=True)
