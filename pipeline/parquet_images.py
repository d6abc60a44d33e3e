"""Images in somebody else's Parquet file: Hugging Face data sets, img2dataset, or our own shards.

The image column is the Hugging Face struct ``{bytes, path}``, or plain bytes. Rows are read some at
a time whatever the size of the row groups: files with one row group of 1,000,000 images exist.
"""

import io
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.archives import Entry

BATCH_ROWS = 16
BUFFER_BYTES = 1 << 20
_IMAGE_NAMES = ("image", "img", "jpg", "jpeg", "png", "webp", "image_bytes", "bytes", "content")
_PATH_NAMES = ("path", "file_name", "filename", "file_path", "image_path", "__key__", "key")
_LICENCE_NAMES = ("licence", "license")


def parquet_entries(stream: BinaryIO) -> Iterator[Entry]:
    """One entry per row, named by its path, or by its row number where it has none.

    Raises:
        ValueError: No column holds images.
    """
    with pq.ParquetFile(stream, buffer_size=BUFFER_BYTES, pre_buffer=False) as parquet:
        schema = parquet.schema_arrow
        image = _image_column(schema)
        texts = {
            "path": _text_column(schema, _PATH_NAMES),
            "licence": _text_column(schema, _LICENCE_NAMES),
            "attribution": _text_column(schema, ("attribution",)),
        }
        columns = [image, *{name for name in texts.values() if name}]
        number = 0
        for batch in parquet.iter_batches(batch_size=BATCH_ROWS, columns=columns):
            for row in batch.to_pylist():
                known = {what: row[name] for what, name in texts.items() if name}
                yield _entry(row[image], known, number)
                number += 1


def _entry(value: Any, known: Mapping[str, str | None], number: int) -> Entry:
    data, inner = (value or {}).get("bytes") if isinstance(value, dict) else value, None
    if isinstance(value, dict):
        inner = value.get("path")
    name = inner or known.get("path") or f"{number:09d}"
    refusal = ("empty", "the row has no image bytes") if data is None else None
    return Entry(
        name,
        len(data or b""),
        lambda: io.BytesIO(data or b""),
        refusal=refusal,
        licence=known.get("licence"),
        attribution=known.get("attribution"),
    )


def _image_column(schema: pa.Schema) -> str:
    structs = [field.name for field in schema if _is_image_struct(field.type)]
    blobs = [field.name for field in schema if _is_binary(field.type)]
    for candidates in (structs, blobs):
        for name in _IMAGE_NAMES:
            if name in candidates:
                return name
    if len(structs) == 1:
        return str(structs[0])
    if len(blobs) == 1:
        return str(blobs[0])
    raise ValueError(f"no column of images among {', '.join(schema.names) or 'no columns'}")


def _text_column(schema: pa.Schema, names: tuple[str, ...]) -> str | None:
    texts = [field.name for field in schema if _is_text(field.type)]
    return next((name for name in names if name in texts), None)


def _is_image_struct(type_: pa.DataType) -> bool:
    if not pa.types.is_struct(type_) or type_.get_field_index("bytes") < 0:
        return False
    return _is_binary(type_.field("bytes").type)


def _is_binary(type_: pa.DataType) -> bool:
    return bool(
        pa.types.is_binary(type_) or pa.types.is_large_binary(type_) or type_ == pa.binary_view()
    )


def _is_text(type_: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(type_) or pa.types.is_large_string(type_) or type_ == pa.string_view()
    )
