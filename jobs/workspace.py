"""The store and the catalog that a command works on."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from jobs.config import Common
from jobs.errors import ConfigError
from pipeline.catalog import Catalog
from pipeline.storage import Store


@dataclass(frozen=True, slots=True)
class Workspace:
    """Where objects lie, and the database that knows which of them count."""

    store: Store
    catalog: Catalog


@contextmanager
def open_workspace(config: Common) -> Iterator[Workspace]:
    """Open store and catalog, and close the catalog again.

    Raises:
        ConfigError: A store of a kind nothing here reads, or a remote store without a named
            catalog: SQLite cannot live on an object store.
    """
    try:
        store = Store(config.store)
    except ValueError as error:
        raise ConfigError([f"--store: {error}"]) from error
    url = config.catalog or _default_catalog(store)
    with Catalog.open(url) as catalog:
        yield Workspace(store, catalog)


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
    folder.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{Path(folder).resolve() / 'catalog.sqlite'}"
