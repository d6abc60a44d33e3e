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


def parquet_entries(stream: BinaryIO) -> Iterator[Entry]:
    """One entry per row, named by its path, or by its row number where it has none.

    Raises:
        NoImagesError: No column holds images.
    """
    with pq.ParquetFile(stream, buffer_size=BUFFER_BYTES, pre_buffer=False) as parquet:
        columns = image_columns(parquet.schema_arrow)
        batches = parquet.iter_batches(batch_size=BATCH_ROWS, columns=columns.names)
        yield from row_entries(batches, columns)
