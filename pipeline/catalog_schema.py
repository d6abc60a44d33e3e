"""Bring the schema of a catalog to what this code needs: Alembic, run by the code itself.

Opening an up-to-date catalog costs one read. Two processes that open a new one together take turns:
the second waits for the lock of the first and then finds nothing left to do.
"""

import threading
from dataclasses import dataclass
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

from pipeline.errors import CatalogVersionError

VERSION_TABLE = "catalog_version"
_MIGRATIONS = Path(__file__).with_name("migrations")
_ADVISORY_LOCK = 0x66616374  # any number that no other program locks on this database
_alembic = threading.Lock()  # Alembic keeps its context in module globals


@dataclass(frozen=True, slots=True)
class SchemaState:
    """Of a catalog.

    Attributes:
        found: The revision that it has; None where there are no tables yet.
        newest: The revision that this code works with.
        is_known: Whether this code knows what was found: if not, newer code wrote it.
    """

    found: str | None
    newest: str
    is_known: bool


def bring_up_to_date(*, reader: Engine, writer: Engine, name: str) -> None:
    """Run the migrations that are missing.

    Args:
        reader: Begins transactions that only read.
        writer: Begins transactions that hold the lock for writing (SQLite).
        name: Of the catalog, for the message.

    Raises:
        CatalogVersionError: Newer code wrote the catalog.
    """
    with reader.begin() as connection:
        if _is_current(connection, name=name):
            return
    with _alembic, writer.begin() as connection:
        if connection.dialect.name == "postgresql":
            lock = text("SELECT pg_advisory_xact_lock(:number)")
            connection.execute(lock, {"number": _ADVISORY_LOCK})
        command.upgrade(_config(connection), "head")  # nothing, if another process was faster


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    config.attributes["version_table"] = VERSION_TABLE
    return config


def schema_of(connection: Connection) -> SchemaState:
    """What the catalog behind a connection has, and what this code wants; nothing is changed."""
    script = ScriptDirectory.from_config(_config())
    options = {"version_table": VERSION_TABLE}
    found = MigrationContext.configure(connection, opts=options).get_current_revision()
    known = {revision.revision for revision in script.walk_revisions()}
    return SchemaState(found, str(script.get_current_head()), found is None or found in known)


def _is_current(connection: Connection, *, name: str) -> bool:
    state = schema_of(connection)
    if not state.is_known:
        msg = (
            f"catalog {name} has schema {state.found!r}, which this code does not know "
            f"(its own is {state.newest!r}): newer code wrote it, update this one"
        )
        raise CatalogVersionError(msg)
    return state.found == state.newest
