"""The store and the catalog that a command works on."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from jobs.config import Common
from jobs.errors import ConfigError
from pipeline.catalog import Catalog
from pipeline.filesystems import is_local, local_file
from pipeline.storage import Store

CATALOG_FILE = "catalog.sqlite"


@dataclass(frozen=True, slots=True)
class Workspace:
    """Where objects lie, and the database that knows which of them count."""

    store: Store
    catalog: Catalog


@contextmanager
def open_workspace(config: Common) -> Iterator[Workspace]:
    """Open store and catalog, and close the catalog again.

    Raises:
        ConfigError: A store of a kind nothing here reads, a store or catalog where there can be
            none, or a remote store without a named catalog: SQLite cannot live on an object store.
    """
    try:
        store = Store(config.store)
    except ValueError as error:
        raise ConfigError([f"--store: {error}"]) from error
    with _open_catalog(config.catalog or _default_catalog(store)) as catalog:
        yield Workspace(store, catalog)


def check_store_exists(config: Common) -> None:
    """Refuse to look for something in a store that is not there: a mistyped path looks empty.

    Raises:
        ConfigError: The store is local, keeps its own catalog, and has none.
    """
    if config.catalog is not None or not is_local(config.store):
        return
    catalog = local_file(config.store) / CATALOG_FILE
    if not catalog.is_file():
        problem = f"there is no store at {catalog.parent}: check --store, or ingest something first"
        raise ConfigError([problem])


def _open_catalog(url: str) -> Catalog:
    try:
        return Catalog.open(url)
    except (ValueError, OSError) as error:
        raise ConfigError([f"--catalog: {error}"]) from error


def _default_catalog(store: Store) -> str:
    if not store.is_local:
        raise ConfigError(
            [
                f"--catalog is needed with the remote store {store.uri}: "
                "name a database, for example postgresql+psycopg://host/factory"
            ]
        )
    folder = store.local_path("")
    assert folder is not None
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError([f"--store: {folder} cannot be made: {error.strerror}"]) from error
    return f"sqlite:///{Path(folder).resolve() / CATALOG_FILE}"
