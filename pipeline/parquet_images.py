"""Images in somebody else's Parquet file: Hugging Face data sets, img2dataset, or our own shards.

Rows are read some at a time whatever the size of the row groups: files with one row group of
1,000,000 images exist.
"""

from collections.abc import Iterator
from typing import BinaryIO

import pyarrow.parquet as pq

from pipeline.archives import Entry
from pipeline.image_rows import BATCH_ROWS, image_columns, row_entries

BUFFER_BYTES = 1 << 20
BATCH_BYTES = 64 << 20


def parquet_entries(stream: BinaryIO) -> Iterator[Entry]:
    """One entry per row, named by its path, or by its row number where it has none.

    Raises:
        NoImagesError: No column holds images.
    """
    with pq.ParquetFile(stream, buffer_size=BUFFER_BYTES, pre_buffer=False) as parquet:
        columns = image_columns(parquet.schema_arrow)
        rows = _batch_rows(parquet.metadata)
        batches = parquet.iter_batches(batch_size=rows, columns=columns.names)
        yield from row_entries(batches, columns)


def _batch_rows(said: pq.FileMetaData) -> int:
    """Fewer rows at a time where the footer says that they are large: of zeros 200 MB take 1 kB."""
    groups = (said.row_group(number) for number in range(said.num_row_groups))
    largest = max((group.total_byte_size // max(group.num_rows, 1) for group in groups), default=0)
    return max(1, min(BATCH_ROWS, BATCH_BYTES // max(largest, 1)))
