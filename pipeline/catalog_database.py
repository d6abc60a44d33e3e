"""The database under the catalog: SQLite in a file for one driver, PostgreSQL for a team.

Both give the same two things, a transaction that reads and one that writes. SQLite takes its only
write lock at the beginning (BEGIN IMMEDIATE): a transaction that reads first and asks for the lock
later can fail at once instead of waiting its turn. PostgreSQL locks rows, at READ COMMITTED. SQLite
must not lie on a network file system: its locks do not work there.
"""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlalchemy import URL, Connection, Engine, Table, create_engine, event, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError

from pipeline.catalog_schema import bring_up_to_date
from pipeline.catalog_values import storable_text, without_credentials
from pipeline.errors import CatalogConflictError, StorageError

BUSY_TIMEOUT_S = 60.0
CONNECT_TIMEOUT_S = 10


class Database:
    """An open database with the schema of the catalog. Threads may share it, forks may not."""

    def __init__(self, engine: Engine, *, name: str) -> None:
        self.name = name  # the URL without its password
        self._reader = engine
        self._writer = engine.execution_options(begin="IMMEDIATE")

    @classmethod
    def open(cls, url: str) -> Self:
        """Open the database at an SQLAlchemy URL; makes the file and the tables where they lack.

        Raises:
            ValueError: The URL names neither SQLite nor PostgreSQL.
            PermissionError: The folder of an SQLite file cannot be written.
            StorageError: The database cannot be reached.
            CatalogVersionError: Newer code wrote the catalog.
        """
        parsed = parse_url(url)
        name = without_credentials(parsed.render_as_string(hide_password=False))
        database = cls(make_engine(parsed), name=name)
        try:
            with database._errors():
                if parsed.get_backend_name() == "sqlite":
                    _use_write_ahead_log(database._reader)
                bring_up_to_date(reader=database._reader, writer=database._writer, name=name)
        except BaseException:
            database.close()
            raise
        return database

    def close(self) -> None:
        """Close all connections; closing twice is allowed."""
        self._reader.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only reads."""
        with self._errors(), self._reader.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that writes: commits at the end, or nothing of it happened."""
        with self._errors(), self._writer.begin() as connection:
            yield connection

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except IntegrityError as error:
            msg = f"catalog {self.name} refused a row: {storable_text(str(error.orig))}"
            raise CatalogConflictError(msg) from error
        except (DBAPIError, sqlite3.Error) as error:
            reason = storable_text(str(getattr(error, "orig", error)))
            msg = f"catalog {self.name} did not answer: {reason}"
            raise StorageError(msg) from error


def insert_if_absent(connection: Connection, table: Table, **values: Any) -> bool:
    """Insert a row unless its key is taken; True when it was inserted."""
    key = table.primary_key.columns[0]
    if connection.dialect.name == "postgresql":
        row = postgresql.insert(table).values(values).on_conflict_do_nothing().returning(key)
    else:
        row = sqlite.insert(table).values(values).on_conflict_do_nothing().returning(key)
    return connection.execute(row).first() is not None


def parse_url(url: str) -> URL:
    """The parts of the URL of a catalog.

    Raises:
        ValueError: It names neither SQLite nor PostgreSQL.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # the cause is left out: its text may hold the password
        parsed = None
    if parsed is None or parsed.get_backend_name() not in {"sqlite", "postgresql", "postgres"}:
        shown = without_credentials(url)
        msg = f"catalog {shown!r} must be sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME"
        raise ValueError(msg) from None
    if parsed.drivername in {"postgres", "postgresql"}:
        parsed = parsed.set(drivername="postgresql+psycopg")
    return parsed


def make_engine(url: URL) -> Engine:
    """What makes connections; the folder of an SQLite file is made where it lacks.

    Raises:
        PermissionError: That folder cannot be written.
        StorageError: The driver of PostgreSQL is not installed.
    """
    if url.get_backend_name() == "sqlite":
        if url.database and url.database != ":memory:":
            _check_writable(Path(url.database).parent)
        engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S}, hide_parameters=True)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    try:
        return create_engine(
            url.update_query_dict({"connect_timeout": str(CONNECT_TIMEOUT_S), **url.query}),
            isolation_level="READ COMMITTED",
            pool_pre_ping=True,
            hide_parameters=True,
        )
    except ModuleNotFoundError as error:
        msg = "a PostgreSQL catalog needs its driver: pip install 'pseudo-label-factory[postgres]'"
        raise StorageError(msg) from error


def _check_writable(folder: Path) -> None:
    """Make the folder of an SQLite file; its own message says only that it cannot open the file."""
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        msg = f"{folder} cannot be written, and SQLite needs that even to read a catalog there"
        raise PermissionError(msg)


def _prepare_sqlite(connection: Any, record: Any) -> None:
    connection.isolation_level = None  # Python's own idea of when to begin is not ours
    connection.execute("PRAGMA foreign_keys = ON")


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql(f"BEGIN {connection.get_execution_options().get('begin', '')}")


def _use_write_ahead_log(engine: Engine) -> None:
    """Let readers and the writer go on together; the file remembers it.

    SQLite does not wait its busy timeout when two processes switch a new file at the same time.
    """
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    connection = engine.raw_connection()
    try:
        while True:
            try:
                connection.cursor().execute("PRAGMA journal_mode = WAL").close()
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
    finally:
        connection.close()
