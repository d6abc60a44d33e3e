"""The columns of an export, and Parquet files of them: for `datasets`, DuckDB, Polars, Iceberg.

``image`` and ``depth`` are structs ``{bytes, path}`` that Hugging Face `datasets` decodes by
itself, because the schema says so in its metadata. As in the shards, 64 rows are a row group, and
blobs come last, neither compressed nor counted in statistics.
"""

import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.export_parts import ExportedFile, put_scratch_file
from pipeline.export_samples import Sample
from pipeline.shards import ROW_GROUP_ROWS
from pipeline.storage import Store

# Types are Croissant's words for them.
_TYPES = {"sc:Text": pa.string(), "sc:Integer": pa.int32(), "sc:Float": pa.float64()}
FACTS = {
    "sample_id": ("sc:Text", "Stable id of the image, from the source and the path inside it."),
    "source": ("sc:Text", "The data set that the image is from."),
    "shard_id": ("sc:Text", "The image shard that it was exported from."),
    "path": ("sc:Text", "Path inside the data set."),
    "uri": ("sc:Text", "Where it was read from; null where that was a path of one machine."),
    "sha256": ("sc:Text", "Of the original bytes of the image, hex."),
    "licence": ("sc:Text", "Licence of the image."),
    "attribution": ("sc:Text", "Who is to be named."),
    "width": ("sc:Integer", "Of the image, pixels, as shown after EXIF orientation."),
    "height": ("sc:Integer", "Of the image, pixels, as shown after EXIF orientation."),
    "format": ("sc:Text", "Of the encoded image, for example JPEG."),
    "exif_orientation": ("sc:Integer", "1 to 8; the map is upright already."),
    "geometry": ("sc:Text", "What the values of the map are, with their unit."),
    "depth_height": ("sc:Integer", "Of the map, pixels."),
    "depth_width": ("sc:Integer", "Of the map, pixels."),
    "depth_scale": ("sc:Float", "A value of the map is depth_offset + depth_scale * code."),
    "depth_offset": ("sc:Float", "See depth_scale; code 0 is no value."),
    "depth_minimum": ("sc:Float", "Smallest value of the map."),
    "depth_maximum": ("sc:Float", "Largest value of the map."),
    "label_set": ("sc:Text", "Name of the label set; null for ground truth."),
    "teacher": ("sc:Text", "The model that made the map."),
    "teacher_sha256": ("sc:Text", "Of its weights and configuration, hex."),
    "recipe_hash": ("sc:Text", "Of everything that changes a pixel of the map."),
    "saturated": ("sc:Float", "Share of pixels at the first or last code of the label, 0 to 1."),
    "flat": ("sc:Float", "Share of pixels equal to their neighbours in the label, 0 to 1."),
    "flip_correlation": ("sc:Float", "Correlation with the label of the mirrored image."),
}
IMAGE = "The original encoded image."
DEPTH = "The map as 16-bit PNG; see depth_scale."
_BLOB = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])
_REPEATED = [
    "source", "shard_id", "licence", "attribution", "format", "geometry", "label_set", "teacher",
    "teacher_sha256", "recipe_hash",
]  # fmt: skip


def export_schema(*, pixels: bool) -> pa.Schema:
    """Columns of the Parquet files; without ``pixels`` there is none for images."""
    blobs = ["image", "depth"] if pixels else ["depth"]
    features = {name: {"_type": "Image"} for name in blobs}
    return pa.schema(
        [pa.field(name, _TYPES[kind]) for name, (kind, _) in FACTS.items()]
        + [pa.field(name, _BLOB) for name in blobs],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )


def write_parquet(
    out: Store, name: str, samples: Iterable[Sample], *, pixels: bool
) -> list[ExportedFile]:
    """Write ``data/NAME.parquet``; 64 samples are in memory."""
    with put_scratch_file(out, f"data/{name}.parquet") as put:
        _write(put.scratch, samples, pixels=pixels)
    return put.files


def facts_parquet(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """A Parquet file of facts alone, with the columns of `index_schema`."""
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows), index_schema()), buffer, compression="zstd")
    return buffer.getvalue()


def index_schema() -> pa.Schema:
    """Columns of an index of loose files."""
    files = [pa.field(name, pa.string()) for name in ("image_file", "depth_file")]
    return pa.schema([*files, *(pa.field(name, _TYPES[kind]) for name, (kind, _) in FACTS.items())])


def _write(file: Path, samples: Iterable[Sample], *, pixels: bool) -> None:
    schema = export_schema(pixels=pixels)
    leaves = [*FACTS, *(f"{name}.path" for name in schema.names if name not in FACTS)]
    blobs = [f"{name}.bytes" for name in schema.names if name not in FACTS]
    with pq.ParquetWriter(
        file,
        schema,
        compression=dict.fromkeys(leaves, "zstd") | dict.fromkeys(blobs, "none"),
        use_dictionary=_REPEATED,
        write_statistics=leaves,
        write_page_checksum=True,
    ) as writer:
        for rows in _batches(samples):
            writer.write_table(_table(rows, schema), row_group_size=ROW_GROUP_ROWS)


def _batches(samples: Iterable[Sample]) -> Iterator[list[Sample]]:
    rest = iter(samples)
    while rows := list(islice(rest, ROW_GROUP_ROWS)):
        yield rows


def _table(rows: list[Sample], schema: pa.Schema) -> pa.Table:
    columns: dict[str, list[object]] = {
        name: [row.facts.get(name) for row in rows] for name in FACTS
    }
    columns["depth"] = [{"bytes": row.depth, "path": f"{row.key}.png"} for row in rows]
    if "image" in schema.names:
        columns["image"] = [{"bytes": row.image, "path": f"{row.key}.{row.suffix}"} for row in rows]
    return pa.table({name: columns[name] for name in schema.names}, schema=schema)
