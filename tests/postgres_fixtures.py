"""A real PostgreSQL for the tests, and both kinds of catalog.

The server is started once per session from the machine's own binaries (Debian keeps them off the
PATH), listens on a socket in a private folder only, and does not wait for the disk. It refuses to
run as root, so a test session of root runs it as ``postgres`` or ``nobody``.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import create_engine, text

from pipeline.catalog import Catalog

# Commits do reach the kernel before they are acknowledged: what a test stops at once is not lost.
SETTINGS = "-c listen_addresses= -c fsync=off -c full_page_writes=off"


@dataclass(frozen=True)
class PostgresServer:
    """A server in a private folder, which can be stopped and started again."""

    folder: Path
    binaries: Path
    user: dict[str, Any]

    @property
    def url(self) -> str:
        """Of an empty database."""
        return _url(str(self.folder), "postgres")

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._control("-o", f"{SETTINGS} -k {self.folder}", "start")

    def stop(self) -> None:
        """Stop it at once, as if it had crashed: whoever is connected loses the connection."""
        self._control("-m", "immediate", "stop")

    def _control(self, *arguments: str) -> None:
        data, log = self.folder / "data", self.folder / "log"
        command = [self.binaries / "pg_ctl", "-D", data, "-w", "-l", log, *arguments]
        _call(command, self.folder, self.user)


@contextmanager
def _running_server() -> Iterator[PostgresServer]:
    binaries = _binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL server here: neither in PATH nor in /usr/lib/postgresql/*/bin")
    pytest.importorskip("psycopg", reason="the PostgreSQL driver (psycopg) is not installed")
    # A short name, because the path of a socket has 107 bytes at most.
    folder = Path(tempfile.mkdtemp(prefix="factory-pg-", dir=_memory()))
    server = PostgresServer(folder, binaries, _unprivileged(folder))
    try:
        initdb = [binaries / "initdb", "-D", folder / "data", "-U", "factory", "-A", "trust"]
        initdb += ["-E", "UTF8", "--no-locale", "--no-sync", "--no-instructions"]
        _call(initdb, folder, server.user)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The folder of the socket of a running server; skips where there are no binaries."""
    with _running_server() as server:
        yield str(server.folder)


@pytest.fixture
def postgres_of_its_own() -> Iterator[PostgresServer]:
    """A server that nobody else uses, to be stopped and started."""
    with _running_server() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_template(postgres_server: str) -> str:
    """The name of a database that holds an empty catalog: copying it is quicker than migrating."""
    _administer(postgres_server, "CREATE DATABASE catalog_template TEMPLATE template0")
    Catalog.open(_url(postgres_server, "catalog_template")).close()
    return "catalog_template"


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that holds an empty catalog."""
    file = tmp_path_factory.mktemp("catalog") / "template.sqlite"
    Catalog.open(f"sqlite:///{file}").close()
    return file


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """The URL of a fresh database with nothing in it."""
    with _database(postgres_server, "template0") as url:
        yield url


@pytest.fixture
def postgres_catalog_url(postgres_server: str, postgres_template: str) -> Iterator[str]:
    """The URL of a fresh, empty catalog on PostgreSQL."""
    with _database(postgres_server, postgres_template) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a fresh database with nothing in it, once on each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'catalog.sqlite'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture(params=["sqlite", "postgres"])
def catalog_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a fresh, empty catalog, once on each kind of database."""
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres_catalog_url"))
    file = shutil.copy(request.getfixturevalue("sqlite_template"), tmp_path / "catalog.sqlite")
    return f"sqlite:///{file}"


@contextmanager
def _database(server: str, template: str) -> Iterator[str]:
    name = f"test_{uuid4().hex[:12]}"
    _administer(server, f"CREATE DATABASE {name} TEMPLATE {template}")
    try:
        yield _url(server, name)
    finally:
        _administer(server, f"DROP DATABASE {name} WITH (FORCE)")


def _url(server: str, database: str) -> str:
    return f"postgresql+psycopg://factory@/{database}?host={server}"


def _binaries() -> Path | None:
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    versions = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    newest = sorted(versions, key=lambda path: float(path.parts[-3]))
    return newest[-1].parent if newest else None


def _memory() -> Path | None:
    """Where files lie in memory, if there is room: a new database is 950 files, 0.3 s on a disk."""
    folder = Path("/dev/shm")
    return folder if folder.is_dir() and shutil.disk_usage(folder).free > 2**30 else None


def _unprivileged(folder: Path) -> dict[str, Any]:
    """How to call a process as somebody else when this one is root; gives the folder away too."""
    if os.geteuid() != 0:
        return {}
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    entry = known.get("postgres") or known["nobody"]
    os.chown(folder, entry.pw_uid, entry.pw_gid)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _call(command: list[Any], folder: Path, user: dict[str, Any]) -> None:
    # The server inherits the descriptors of pg_ctl: a pipe would never end, so output is a file.
    with (folder / "output").open("w+") as output:
        done = subprocess.run(
            [str(part) for part in command],
            cwd=folder,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
            **user,
        )
        if done.returncode:
            output.seek(0)
            raise RuntimeError(f"{command[0]} failed: {output.read()}")


def _administer(server: str, statement: str) -> None:
    engine = create_engine(_url(server, "postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))
    engine.dispose()
