"""Label shards: one Parquet object per image shard and attempt, rows 1:1 and in the same order.

The object is built whole in memory and put at once: an exception while writing through an open
file would commit half an object on S3. A reader needs no catalog: the footer says which teacher,
recipe and image shard the labels come from.
"""

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import ShardCorruptError
from pipeline.identity import sha256_hex
from pipeline.records import LabelRecord
from pipeline.row_groups import opened_shard, read_columns
from pipeline.shards import ROW_GROUP_ROWS
from pipeline.storage import Store

LABEL_FORMAT = "1"
LABEL_SCHEMA = pa.schema(
    [
        pa.field("sample_id", pa.string(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("reason", pa.string()),
        pa.field("codec", pa.string()),
        pa.field("minimum", pa.float64()),
        pa.field("maximum", pa.float64()),
        pa.field("height", pa.int32()),
        pa.field("width", pa.int32()),
        pa.field("geometry", pa.string()),
        pa.field("saturated", pa.float64()),
        pa.field("flat", pa.float64()),
        pa.field("flip_correlation", pa.float64()),
        pa.field("disparity", pa.binary()),
    ]
)
COLUMNS = LABEL_SCHEMA.names
PLAIN_COLUMNS = [name for name in COLUMNS if name != "disparity"]
QUALITY_COLUMNS = ("saturated", "flat", "flip_correlation")  # older shards lack them


@dataclass(frozen=True, slots=True)
class WrittenShard:
    """A label shard as it lies in the store."""

    key: str
    sha256: str
    bytes: int


def write_label_shard(
    store: Store, rows: Sequence[LabelRecord], *, key: str, footer: Mapping[str, str]
) -> WrittenShard:
    """Put one label shard under ``key`` and read its footer and size back.

    Args:
        store: Where to.
        rows: As many as the image shard has, in its order.
        key: Unique to this attempt; an object that is already there is never overwritten.
        footer: What the shard says of itself (label set, teacher, recipe, image shard …).

    Raises:
        FileExistsError: Somebody wrote under that key before.
        ShardCorruptError: What was read back is not what was written.
    """
    data = _to_parquet(rows, footer)
    store.put(key, data, exclusive=True)
    if store.size(key) != len(data):
        raise ShardCorruptError(f"{key}: {store.size(key)} bytes in the store, wrote {len(data)}")
    if label_footer(store, key) != {"format": LABEL_FORMAT, **footer}:
        raise ShardCorruptError(f"{key}: the footer read back is not the one written")
    return WrittenShard(key, sha256_hex(data), len(data))


def read_label_rows(
    store: Store, key: str, *, row_groups: Sequence[int] | None = None, maps: bool = True
) -> Iterator[LabelRecord]:
    """Stream a label shard row group by row group; ``maps=False`` leaves the blobs unread.

    Raises:
        FileNotFoundError: There is no such object.
        ShardCorruptError: It cannot be read as a label shard.
    """
    with opened_shard(store, key) as parquet:
        columns = _columns(parquet, COLUMNS if maps else PLAIN_COLUMNS)
        groups = range(parquet.num_row_groups) if row_groups is None else row_groups
        for group in groups:
            for row in read_columns(parquet, group, columns):
                yield LabelRecord(**row)


def read_label_group(
    store: Store, key: str, group: int, *, wanted: Callable[[LabelRecord], bool]
) -> list[LabelRecord]:
    """The rows of one row group, with the maps of those alone that are ``wanted`` without them.

    Where none is, no map is read from the store.

    Raises:
        FileNotFoundError: There is no such object.
        ShardCorruptError: It cannot be read as a label shard.
    """
    with opened_shard(store, key) as parquet:
        columns = _columns(parquet, PLAIN_COLUMNS)
        rows = [LabelRecord(**row) for row in read_columns(parquet, group, columns)]
        chosen = [place for place, row in enumerate(rows) if wanted(row)]
        maps = read_columns(parquet, group, ["disparity"], rows=chosen)
        for place, found in zip(chosen, maps, strict=True):
            rows[place] = replace(rows[place], disparity=found["disparity"])
    return rows


def _columns(parquet: pq.ParquetFile, wanted: Sequence[str]) -> list[str]:
    """Those to read; older shards lack the quality columns."""
    there = parquet.schema_arrow.names
    return [name for name in wanted if name in there or name not in QUALITY_COLUMNS]


def label_footer(store: Store, key: str) -> dict[str, str]:
    """What the shard says of itself; only the footer is read."""
    with store.open(key) as file, pq.ParquetFile(file) as parquet:
        metadata = parquet.metadata.metadata or {}
    prefix = b"factory."
    return {
        name.removeprefix(prefix).decode(): value.decode()
        for name, value in metadata.items()
        if name.startswith(prefix)
    }


def describe_labels(
    *,
    label_set: str,
    shard_id: str,
    image_shard_sha256: str,
    teacher: str,
    teacher_sha256: str,
    recipe: Mapping[str, object],
    recipe_hash: str,
    code_version: str,
) -> dict[str, str]:
    """The footer of a label shard, complete enough to rebuild its catalog row from."""
    return {
        "label_set": label_set,
        "shard_id": shard_id,
        "image_shard_sha256": image_shard_sha256,
        "teacher": teacher,
        "teacher_sha256": teacher_sha256,
        "recipe": json.dumps(recipe, sort_keys=True),
        "recipe_hash": recipe_hash,
        "code_version": code_version,
    }


def _to_parquet(rows: Sequence[LabelRecord], footer: Mapping[str, str]) -> bytes:
    """Row group by row group, so that the maps are in memory twice and not three times."""
    metadata = {f"factory.{name}": value for name, value in footer.items()}
    schema = LABEL_SCHEMA.with_metadata({"factory.format": LABEL_FORMAT, **metadata})
    buffer = io.BytesIO()
    with pq.ParquetWriter(
        buffer,
        schema,
        compression={name: "none" if name == "disparity" else "zstd" for name in COLUMNS},
        use_dictionary=["status", "reason", "codec", "geometry"],
        write_statistics=PLAIN_COLUMNS,
        write_page_checksum=True,  # of a map with flipped bits, JPEG XL makes another map
    ) as writer:
        for start in range(0, len(rows), ROW_GROUP_ROWS):
            group = rows[start : start + ROW_GROUP_ROWS]
            columns = {name: [getattr(row, name) for row in group] for name in COLUMNS}
            writer.write_table(pa.table(columns, schema=schema), row_group_size=ROW_GROUP_ROWS)
    return buffer.getvalue()
