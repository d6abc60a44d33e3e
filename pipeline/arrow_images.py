"""Images in Arrow files, as ``datasets.Dataset.save_to_disk`` writes them.

Such a folder has ``data-00000-of-00002.arrow`` and so on, ``state.json`` and ``dataset_info.json``;
a ``DatasetDict`` has one such folder per split and a ``dataset_dict.json``. The files are streams
of record batches (or, of other tools, Arrow files), one of which is in memory at a time: that is
1,000 rows, or 100 for newer ones with images.
"""

import json
import re
from collections.abc import Iterator
from typing import BinaryIO

import pyarrow as pa

from pipeline.archives import Entry, archive_kind
from pipeline.choices import Choice
from pipeline.image_rows import ImageColumns, image_columns, row_entries
from pipeline.raw_files import is_folder, list_folder, read_uri
from pipeline.records import Ignored

INFO_FILE = "dataset_info.json"
_ABOUT = (INFO_FILE, "dataset_dict.json", "state.json", "README.md", ".gitattributes")
# What the library keeps of its own computations: the same images once more.
_CACHE = re.compile(r"cache-.*\.arrow|(?:.*-)?indices(?:-.*)?\.arrow")
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


def choose_saved(path: str) -> Choice:
    """Arrow files are opened, files about them ignored."""
    name = path.rpartition("/")[2]
    if name in _ABOUT:
        return Ignored(path, "table")
    if _CACHE.fullmatch(name):
        return Ignored(path, "cache")
    return archive_kind(path)


def stated_licence(uri: str) -> str | None:
    """The licence that a saved data set states in its ``dataset_info.json``, if it does.

    Args:
        uri: Of its folder, of that of several splits (the first one's counts), or of an Arrow file.
    """
    try:
        folder = uri.rstrip("/") if is_folder(uri) else uri.rpartition("/")[0] or "."
        named = {file.path for file in list_folder(folder)}
        if INFO_FILE not in named and "dataset_dict.json" in named:
            splits = json.loads(read_uri(f"{folder}/dataset_dict.json"))["splits"]
            folder = f"{folder}/{splits[0]}"
        info = json.loads(read_uri(f"{folder}/{INFO_FILE}"))
    except (FileNotFoundError, PermissionError, ValueError, LookupError, TypeError):
        return None
    licence = info.get("license") if isinstance(info, dict) else None
    return licence.strip() or None if isinstance(licence, str) else None


def _sound(batches: Iterator[pa.RecordBatch], columns: ImageColumns) -> Iterator[pa.RecordBatch]:
    """The columns that matter, once it is certain that no offset in them leads outside."""
    for batch in batches:
        wanted = batch.select(columns.names)
        wanted.validate(full=True)
        yield wanted
