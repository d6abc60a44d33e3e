"""Image shards: a Parquet object of some hundred images with everything known about them.

Any Parquet reader can use one as it is: the bytes are in the struct ``image {bytes, path}`` that
Hugging Face `datasets` decodes by itself. A row group has 64 rows, because a reader holds at least
one in memory (5,000-row groups cost 1.4 GB to read one image). Blobs are neither compressed nor
counted in statistics, and come last. The same records give the same bytes, so that a run that was
killed before its commit writes the same object again.

With references in place of bytes, ``image`` is null and `load_bytes` reads ``uri, offset, length``.
"""

import hashlib
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import ShardCorruptError
from pipeline.followed_file import FollowedFile
from pipeline.identity import check_name, sha256_hex
from pipeline.identity import shard_id as shard_id_of
from pipeline.image_columns import (
    BLOBS,
    IMAGE_SCHEMA,
    LEAVES,
    REPEATED,
    TRUTH_BLOBS,
    image_record,
    image_table,
)
from pipeline.maps import annotation_digest
from pipeline.records import Drop, ImageRecord, ShardRef
from pipeline.row_groups import opened_shard
from pipeline.storage import Store, dropped_key, image_shard_key, read_range

SHARD_FORMAT = "1"
ROW_GROUP_ROWS = 64
AS_PYTHON = 4  # rows at once, or all blobs of a group, up to 2 GB, would be there twice
_PREFIX = b"factory."

DROP_SCHEMA = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("detail", pa.string(), nullable=False),
        pa.field("sha256", pa.string()),
        pa.field("bytes", pa.int64()),
    ]
)


class ImageShardBuilder:
    """Collects records into one shard, in a scratch file; at most 64 records are in memory.

    In a file, because 200 MB of fresh memory for each shard cost several times the writing.
    """

    def __init__(self, store: Store, *, source: str, code_version: str) -> None:
        self._store = store
        self._source = check_name(source)
        self._code_version = code_version
        self._samples: list[tuple[str, ...]] = []
        self._waiting: list[ImageRecord] = []
        self._file = store.scratch_file()
        self._sink = pa.OSFile(str(self._file), "wb")
        self._digest = FollowedFile(self._file)
        self._writer = pq.ParquetWriter(
            self._sink,
            IMAGE_SCHEMA,
            compression={leaf: "none" if leaf in BLOBS else "zstd" for leaf in LEAVES},
            use_dictionary=list(REPEATED),
            write_statistics=[leaf for leaf in LEAVES if leaf not in BLOBS],
        )

    @property
    def rows(self) -> int:
        """Records so far."""
        return len(self._samples)

    def add(self, record: ImageRecord) -> None:
        """Add the next row."""
        known = annotation_digest(record.truth, record.points)
        self._samples.append((record.sample_id, record.sha256, *([known] if known else [])))
        self._waiting.append(record)
        if len(self._waiting) == ROW_GROUP_ROWS:
            self._flush()

    def extend(self, records: Iterable[ImageRecord]) -> None:
        """Add several rows."""
        for record in records:
            self.add(record)

    def put(self) -> ShardRef:
        """Finish the shard and put it as one object; the builder is spent, also if that fails."""
        try:
            return self._put()
        finally:
            self.discard()

    def _put(self) -> ShardRef:
        self._flush()
        shard_id = shard_id_of(self._samples)
        footer = {
            "format": SHARD_FORMAT,
            "kind": "images",
            "source": self._source,
            "shard_id": shard_id,
            "code_version": self._code_version,
            "rows": str(self.rows),
        }
        self._writer.add_key_value_metadata(_prefixed(footer))
        self._writer.close()
        self._sink.close()
        size, sha256 = self._digest.finish()
        key = image_shard_key(self._source, shard_id)
        _put_once(self._store, key, self._file, sha256=sha256)
        return ShardRef(self._source, shard_id, key, self.rows, size, sha256)

    def discard(self) -> None:
        """Remove the scratch file, whether or not the shard was put."""
        try:
            self._writer.close()  # writes a footer, for which a full disk has no room
            self._sink.close()
        finally:
            self._digest.close()
            self._file.unlink(missing_ok=True)

    def _flush(self) -> None:
        if self._waiting:
            self._writer.write_table(image_table(self._waiting), row_group_size=ROW_GROUP_ROWS)
            self._waiting = []
            self._digest.follow()


def write_image_shard(
    store: Store, records: Iterable[ImageRecord], *, source: str, code_version: str
) -> ShardRef:
    """Put one shard of all these records, in their order.

    Raises:
        ValueError: There are none, or 64 of them in a row have more than 2 GB.
    """
    builder = ImageShardBuilder(store, source=source, code_version=code_version)
    try:
        builder.extend(records)
        if builder.rows == 0:
            raise ValueError("a shard needs at least one record")
        return builder.put()
    finally:
        builder.discard()


def read_image_rows(
    store: Store,
    key: str,
    *,
    row_groups: Sequence[int] | None = None,
    image: bool = True,
    truth: bool = True,
) -> Iterator[ImageRecord]:
    """Stream a shard row group by row group.

    Args:
        store: Where it is.
        key: Which object.
        row_groups: Which, in this order; None for all.
        image: Whether to read the bytes; without them, and for rows that are references, ``data``
            is None (`load_bytes` follows a reference).
        truth: Whether to read ground truth.

    Raises:
        FileNotFoundError: There is no such object.
        ShardCorruptError: It cannot be read as a shard.
    """
    left_out = (() if image else ("image",)) + (() if truth else TRUTH_BLOBS)
    columns = [name for name in IMAGE_SCHEMA.names if name not in left_out]
    for row in _rows(store, key, columns=columns, row_groups=row_groups):
        yield image_record(row, key)


def load_bytes(record: ImageRecord) -> bytes:
    """The original bytes of a row, wherever they are, checked against its sha256.

    Raises:
        ShardCorruptError: They are not the bytes that were ingested; names where they lie.
        FileNotFoundError: The file that the row refers to is gone.
    """
    data = record.data
    if data is None:
        data = read_range(record.uri, record.offset or 0, record.length)
    if sha256_hex(data) != record.sha256:
        place = "the shard" if record.data is not None else f"{record.uri} at {record.offset}"
        raise ShardCorruptError(
            f"sample {record.sample_id} ({record.path}): {place} has other bytes"
        )
    return data


def read_sample_keys(store: Store, key: str) -> list[tuple[str, str, str | None]]:
    """Sample id, sha256 and truth digest of each row; no blob is read."""
    columns = ["sample_id", "sha256", "truth_sha256"]
    return [tuple(row[name] for name in columns) for row in _rows(store, key, columns=columns)]


def truth_geometries(store: Store, key: str) -> set[str]:
    """The geometries of a shard's ground truth; no blob is read, rows without any count for none.

    Raises:
        FileNotFoundError: There is no such object.
        ShardCorruptError: It cannot be read as a shard.
    """
    rows = _rows(store, key, columns=["truth_geometry"])
    return {row["truth_geometry"] for row in rows} - {None}


def has_point_pairs(store: Store, key: str) -> bool:
    """Whether any row of a shard has pairs of points; no blob is read.

    Raises:
        FileNotFoundError: There is no such object.
        ShardCorruptError: It cannot be read as a shard.
    """
    return any(row["point_pairs"] for row in _rows(store, key, columns=["point_pairs"]))


def write_drops(
    store: Store, drops: Sequence[Drop], *, source: str, shard_id: str, code_version: str
) -> str:
    """Put what was refused beside a shard; returns the key."""
    footer = {
        "format": SHARD_FORMAT,
        "kind": "drops",
        "source": source,
        "shard_id": shard_id,
        "code_version": code_version,
        "rows": str(len(drops)),
    }
    schema = DROP_SCHEMA.with_metadata(_prefixed(footer))
    table = pa.Table.from_pylist([asdict(drop) for drop in drops], schema=schema)
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    key = dropped_key(source, shard_id)
    store.put(key, sink.getvalue())
    return key


def read_drops(store: Store, key: str) -> Iterator[Drop]:
    """Stream what was refused."""
    columns = [field.name for field in fields(Drop)]
    for row in _rows(store, key, columns=columns):
        yield Drop(**row)


def row_group_rows(store: Store, key: str) -> list[int]:
    """Rows of each row group; only the footer is read."""
    with opened_shard(store, key) as parquet:
        metadata = parquet.metadata
        return [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]


def shard_footer(store: Store, key: str) -> dict[str, str]:
    """What the shard says of itself (format, kind, source, shard_id, code_version, rows)."""
    with opened_shard(store, key) as parquet:
        metadata: Mapping[bytes, bytes] = parquet.metadata.metadata or {}
    return {
        name.removeprefix(_PREFIX).decode(): value.decode()
        for name, value in metadata.items()
        if name.startswith(_PREFIX)
    }


def _prefixed(footer: Mapping[str, str]) -> dict[bytes, bytes]:
    return {_PREFIX + name.encode(): value.encode() for name, value in footer.items()}


def _put_once(store: Store, key: str, file: Path, *, sha256: str) -> None:
    """Put a finished file, unless the store has just that."""
    try:
        store.put_file(file, key, exclusive=True)
    except FileExistsError:
        # A run that was killed left it. Other bytes under the same content id come from another
        # version of the code, and were never committed.
        with store.open(key) as there:
            if hashlib.file_digest(cast(Any, there), "sha256").hexdigest() == sha256:
                return
        store.put_file(file, key)


def _rows(
    store: Store, key: str, *, columns: Sequence[str], row_groups: Sequence[int] | None = None
) -> Iterator[dict[str, Any]]:
    with opened_shard(store, key) as parquet:
        groups = range(parquet.num_row_groups) if row_groups is None else row_groups
        for group in groups:
            parts = parquet.read_row_group(group, columns=list(columns))
            for part in parts.to_batches(max_chunksize=AS_PYTHON):
                yield from part.to_pylist()
