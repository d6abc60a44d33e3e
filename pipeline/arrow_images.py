"""Images in Arrow files, as ``datasets.Dataset.save_to_disk`` writes them.

Such a folder has ``data-00000-of-00002.arrow`` and so on, ``state.json`` and ``dataset_info.json``;
a ``DatasetDict`` has one such folder per split and a ``dataset_dict.json``. The files are streams
of record batches (or, of other tools, Arrow files), one of which is in memory at a time: that is
1,000 rows, or 100 for newer ones with images.
"""

import json
from collections.abc import Iterator
from typing import BinaryIO

import pyarrow as pa

from pipeline.archives import Entry
from pipeline.image_rows import ImageColumns, image_columns, row_entries
from pipeline.raw_files import read_uri

INFO_FILE = "dataset_info.json"
_FILE_MAGIC = b"ARROW1"


def arrow_entries(stream: BinaryIO) -> Iterator[Entry]:
    """One entry per row, named by its path, or by its row number where it has none.

    Args:
        stream: To be read from anywhere.

    Raises:
        NoImagesError: No column holds images.
        pa.ArrowException: It is broken; rows of the batches before were yielded.
    """
    head = stream.read(len(_FILE_MAGIC))
    stream.seek(0)
    if head == _FILE_MAGIC:
        with pa.ipc.open_file(stream) as file:
            columns = image_columns(file.schema)
            batches = (file.get_batch(number) for number in range(file.num_record_batches))
            yield from row_entries(_sound(batches, columns), columns)
    else:
        with pa.ipc.open_stream(stream) as reader:
            columns = image_columns(reader.schema)
            yield from row_entries(_sound(reader, columns), columns)


def stated_licence(uri: str) -> str | None:
    """The licence that the ``dataset_info.json`` beside an Arrow file states, if it does."""
    folder, _, _ = uri.rpartition("/")
    try:
        info = json.loads(read_uri(f"{folder}/{INFO_FILE}" if folder else INFO_FILE))
    except (FileNotFoundError, PermissionError, ValueError):
        return None
    licence = info.get("license") if isinstance(info, dict) else None
    return licence.strip() or None if isinstance(licence, str) else None


def _sound(batches: Iterator[pa.RecordBatch], columns: ImageColumns) -> Iterator[pa.RecordBatch]:
    """The columns that matter, once it is certain that no offset in them leads outside."""
    for batch in batches:
        wanted = batch.select(columns.names)
        wanted.validate(full=True)
        yield wanted
