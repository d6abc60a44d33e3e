"""Tables that hold images: which column has them, and what a row says besides.

The image column is the Hugging Face struct ``{bytes, path}``, or plain bytes. Columns of a licence,
an author, a title and an address, where there are any, become licence and attribution.
"""

import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from pipeline.archives import Entry
from pipeline.attribution import attribution_line

BATCH_ROWS = 16
_IMAGE_NAMES = ("image", "img", "jpg", "jpeg", "png", "webp", "image_bytes", "bytes", "content")
_TEXT_NAMES = {
    "path": ("path", "file_name", "filename", "file_path", "image_path", "__key__", "key"),
    "licence": ("licence", "license"),
    "attribution": ("attribution",),
    "author": ("author", "creator", "artist"),
    "title": ("title",),
    "url": ("url", "image_url", "original_url"),
}


class NoImagesError(ValueError):
    """No column holds images: a table of something else, perhaps of what is beside them."""


@dataclass(frozen=True, slots=True)
class ImageColumns:
    """The columns that matter.

    Attributes:
        image: Of the images.
        texts: Name of the column by what it says: ``path``, ``licence`` ….
    """

    image: str
    texts: Mapping[str, str]

    @property
    def names(self) -> list[str]:
        """All of them."""
        return [self.image, *self.texts.values()]


def image_columns(schema: pa.Schema) -> ImageColumns:
    """The columns that matter in a table.

    Raises:
        NoImagesError: No column holds images.
    """
    found = {what: _text_column(schema, names) for what, names in _TEXT_NAMES.items()}
    return ImageColumns(_image_column(schema), {what: name for what, name in found.items() if name})


def row_entries(batches: Iterable[pa.RecordBatch], columns: ImageColumns) -> Iterator[Entry]:
    """One entry per row, named by its path, or by its row number where it has none."""
    for number, row in enumerate(_rows(batches)):
        known = {what: row[name] for what, name in columns.texts.items()}
        yield _entry(row[columns.image], known, number)


def _rows(batches: Iterable[pa.RecordBatch]) -> Iterator[dict[str, Any]]:
    """Rows as Python objects, a few at a time: of images, that is a copy."""
    for batch in batches:
        for start in range(0, batch.num_rows, BATCH_ROWS):
            yield from batch.slice(start, BATCH_ROWS).to_pylist()


def _entry(value: Any, known: Mapping[str, str | None], number: int) -> Entry:
    data, inner = (value or {}).get("bytes") if isinstance(value, dict) else value, None
    if isinstance(value, dict):
        inner = value.get("path")
    name = inner or known.get("path") or f"{number:09d}"
    refusal = ("empty", "the row has no image bytes") if data is None else None
    line = attribution_line(
        author=known.get("author"), title=known.get("title"), url=known.get("url")
    )
    return Entry(
        name,
        len(data or b""),
        lambda: io.BytesIO(data or b""),
        refusal=refusal,
        licence=known.get("licence"),
        attribution=known.get("attribution") or line,
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
    raise NoImagesError(f"no column of images among {', '.join(schema.names) or 'no columns'}")


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
