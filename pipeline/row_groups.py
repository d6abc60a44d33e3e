"""One row group of a Parquet object, column by column, with faults that name the object."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import ShardCorruptError
from pipeline.storage import Store


@contextmanager
def opened_shard(store: Store, key: str) -> Iterator[pq.ParquetFile]:
    """A Parquet object, to be read inside; reading fails in the same ways.

    Raises:
        FileNotFoundError: There is no such object.
        StorageError: The store does not answer.
        ShardCorruptError: It is no readable Parquet file, or pages that were written with a
            checksum have another one.
    """
    with store.open(key) as file:
        try:
            with pq.ParquetFile(file, page_checksum_verification=True) as parquet:
                yield parquet
        except FileNotFoundError:  # removed while it was read
            raise
        # Flipped bits also make text that is none, and columns of other types or names.
        except (pa.ArrowException, OSError, IndexError, KeyError, ValueError) as error:
            raise ShardCorruptError(
                f"{key} in {store.uri} is no readable shard: {error}"
            ) from error


def read_columns(
    parquet: pq.ParquetFile,
    group: int,
    columns: Sequence[str],
    *,
    rows: Sequence[int] | None = None,
) -> list[dict[str, Any]]:
    """Some columns of a row group, of all rows or of some; nothing is read for no rows.

    Raises:
        KeyError: There is no such column.
    """
    if rows is not None and not rows:
        return []
    missing = set(columns) - set(parquet.schema_arrow.names)
    if missing:
        raise KeyError(f"no column {', '.join(sorted(missing))}")
    table = parquet.read_row_group(group, columns=list(columns))
    found: list[dict[str, Any]] = (table if rows is None else table.take(list(rows))).to_pylist()
    return found
