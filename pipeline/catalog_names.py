"""Names that a catalog in an SQLite file knows, for a shell that completes a word.

Only what Python itself has is imported here, because somebody has just pressed a key and waits; a
test keeps the names of the tables equal to those of `pipeline.catalog_tables`.
"""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

SOURCES, LABEL_SETS, MODELS, RUNS = "sources", "label_sets", "models", "runs"
PATIENCE_S = 0.2
MOST = 1000  # nobody reads more


def names_in(file: Path, tables: Sequence[str], *, prefix: str = "") -> list[str]:
    """Names that begin with ``prefix``, sorted; none where there is no such catalog to be read."""
    # Opened for writing: a reader that may not write would leave its log files behind.
    address = f"file:{quote(str(file.absolute()))}?mode=rw"
    begins = " UNION ".join(
        f"SELECT name FROM {table} WHERE substr(name, 1, :length) = :prefix" for table in tables
    )
    values = {"prefix": prefix, "length": len(prefix), "most": MOST}
    try:
        with closing(sqlite3.connect(address, uri=True, timeout=PATIENCE_S)) as connection:
            rows = connection.execute(f"{begins} ORDER BY name LIMIT :most", values).fetchall()
    except sqlite3.Error:
        return []
    return [str(name) for (name,) in rows]
