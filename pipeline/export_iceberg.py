"""An Iceberg table over the Parquet files of an export, in a catalog that is one SQLite file.

Nothing is copied: the table adopts ``data/*.parquet``. It is made anew from all parts when they are
there, in one snapshot, so that readers see all of an export or none. Iceberg writes whole paths
into its metadata: a folder that has been moved is registered again by exporting once more.
"""

import re
import shutil
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from sqlalchemy import URL

from pipeline.export_parts import Part
from pipeline.export_table import export_schema
from pipeline.storage import Store

INSTALL = "pip install 'pseudo-label-factory[iceberg]'"
CATALOG = "catalog.db"
METADATA = "metadata"
CATALOG_NAME = "factory"  # part of the key of each table in the SQLite file
# Blobs have no statistics, of which pyiceberg would warn file by file.
_NO_METRICS = {f"write.metadata.metrics.column.{name}.bytes": "none" for name in ("image", "depth")}


def is_installed() -> bool:
    """Whether pyiceberg is there."""
    return find_spec("pyiceberg") is not None


def table_name(kind: str, name: str) -> tuple[str, str]:
    """Namespace and name of the table: letters, digits and underlines, as SQL has them."""
    return kind.replace("-", "_") + "s", re.sub(r"\W", "_", name, flags=re.ASCII)


def write_table(
    out: Store,
    parts: Sequence[Part],
    *,
    table: tuple[str, str],
    pixels: bool,
) -> None:
    """Make the table over all files of the parts, in place of an earlier one.

    Args:
        out: A local folder.
        parts: Those that have files.
        table: Namespace and name.
        pixels: Whether the files have a column of images.
    """
    from pyiceberg.catalog.sql import SqlCatalog

    folder = out.local_path("")
    assert folder is not None
    _remove_table(folder)
    database = URL.create("sqlite", database=str(folder / CATALOG)).render_as_string()
    # Not percent-encoded: pyiceberg takes what follows file:// as the path.
    location = f"file://{folder}"
    catalog = SqlCatalog(CATALOG_NAME, uri=database, warehouse=location)
    try:
        catalog.create_namespace(table[0])
        made = catalog.create_table(
            table, export_schema(pixels=pixels), location, properties=_NO_METRICS
        )
        files = [f"{location}/{file.path}" for part in parts for file in part.files]
        made.add_files(files, check_duplicate_files=False)
    finally:
        catalog.close()


def _remove_table(folder: Path) -> None:
    (folder / CATALOG).unlink(missing_ok=True)
    shutil.rmtree(folder / METADATA, ignore_errors=True)
