"""A look at a catalog that changes nothing: no file is made, no table, no migration is run.

`Database.open` does all of that, which is right for whoever works there, and wrong for whoever only
asks whether that would go well.
"""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, inspect, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from pipeline.catalog_database import make_engine, parse_url
from pipeline.catalog_schema import SchemaState, schema_of
from pipeline.catalog_tables import database_now, sources
from pipeline.catalog_values import storable_text, without_credentials
from pipeline.errors import StorageError

BUSY_S = 2.0  # for a look nobody waits as long as for work


@dataclass(frozen=True, kw_only=True, slots=True)
class CatalogLook:
    """What was seen.

    Attributes:
        name: Its URL without the password.
        server: Kind and version of the database.
        schema: What its tables are.
        clock_ahead_s: Its clock minus this machine's, seconds; half the way there and back is
            taken off.
        answer_s: How long a question takes, seconds.
        cannot_write: Why nothing can be written there; empty where it can.
        is_busy: Somebody else was writing all the time (SQLite).
    """

    name: str
    server: str
    schema: SchemaState
    clock_ahead_s: float
    answer_s: float
    cannot_write: str = ""
    is_busy: bool = False


def sqlite_file(url: str) -> Path | None:
    """The file of an SQLite catalog; None for PostgreSQL.

    Raises:
        ValueError: The URL names neither, or no file.
    """
    parsed = parse_url(url)
    if parsed.get_backend_name() != "sqlite":
        return None
    if not parsed.database or parsed.database == ":memory:":
        raise ValueError("a catalog in memory is gone with its process: name a file")
    return Path(parsed.database)


def look_at_catalog(url: str) -> CatalogLook:
    """Look at the catalog at an SQLAlchemy URL.

    Raises:
        ValueError: The URL names neither SQLite nor PostgreSQL.
        StorageError: It does not answer; an SQLite file that is not there, too.
    """
    parsed = parse_url(url)
    name = without_credentials(parsed.render_as_string(hide_password=False))
    is_sqlite = parsed.get_backend_name() == "sqlite"
    engine = _existing_file(parsed) if is_sqlite else make_engine(parsed)
    with _answering(engine, name) as connection:
        ahead_s, answer_s = _clock(connection)
        schema = schema_of(connection)
        connection.rollback()
        refused, busy = _try_sqlite(connection) if is_sqlite else (_refusal(connection), False)
        return CatalogLook(
            name=name,
            server=_server(connection),
            schema=schema,
            clock_ahead_s=ahead_s,
            answer_s=answer_s,
            cannot_write=refused,
            is_busy=busy,
        )


@contextmanager
def _answering(engine: Engine, name: str) -> Iterator[Connection]:
    try:
        with engine.connect() as connection:
            yield connection
    except (DBAPIError, sqlite3.Error) as error:
        reason = storable_text(str(getattr(error, "orig", error)))
        raise StorageError(f"catalog {name} did not answer: {reason}") from error
    finally:
        engine.dispose()


def _existing_file(url: URL) -> Engine:
    """Opened for writing too: a reader that may not write would leave its log files behind."""
    address = f"file:{quote(str(Path(str(url.database)).absolute()))}?mode=rw"

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(address, uri=True, timeout=BUSY_S, isolation_level=None)

    return create_engine("sqlite://", creator=connect, poolclass=NullPool)


def _clock(connection: Connection) -> tuple[float, float]:
    connection.execute(select(database_now())).scalar_one()  # the first one opens the connection
    asked = time.time()
    theirs = float(connection.execute(select(database_now())).scalar_one())
    answered = time.time()
    return theirs - (asked + answered) / 2, answered - asked


def _server(connection: Connection) -> str:
    if connection.dialect.name == "sqlite":
        return f"SQLite {sqlite3.sqlite_version}"
    return "PostgreSQL " + ".".join(map(str, connection.dialect.server_version_info or ()))


def _try_sqlite(connection: Connection) -> tuple[str, bool]:
    """Why the lock for writing is refused, and whether that is because somebody else has it."""
    try:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        # The lock alone is given for a file that may not be written, as long as nobody writes.
        version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
        connection.exec_driver_sql(f"PRAGMA user_version = {int(version)}")
        connection.exec_driver_sql("ROLLBACK")
    except DBAPIError as error:
        code = getattr(error.orig, "sqlite_errorcode", None)
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return "", True
        return storable_text(str(error.orig)), False
    return "", False


def _refusal(connection: Connection) -> str:
    """What PostgreSQL would refuse to this user."""

    def answer(question: str, **values: str) -> bool:
        return bool(connection.execute(text(question), values).scalar_one())

    if answer("SELECT pg_is_in_recovery()"):
        return "it is a replica that only reads"
    if answer("SELECT current_setting('default_transaction_read_only') = 'on'"):
        return "default_transaction_read_only is on"
    if inspect(connection).has_table(sources.name):
        may = answer("SELECT has_table_privilege(:name, 'INSERT, UPDATE')", name=sources.name)
        return "" if may else f"this user may not write to the table {sources.name}"
    if answer("SELECT coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)"):
        return ""
    return "this user may not make tables there"
