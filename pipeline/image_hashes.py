"""Perceptual hashes of the images of a shard, kept beside it: looked at once, compared often.

One Parquet object per image shard and algorithm, with the same rows. Its key follows from the two
alone, and the id of a shard from its content: that it is there means that it is done, and two who
make the same one lose nothing but time.
"""

import io
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.errors import ShardCorruptError
from pipeline.identity import check_name
from pipeline.perceptual_hash import ALGORITHM
from pipeline.records import ShardRef
from pipeline.row_groups import opened_shard
from pipeline.storage import Store

FORMAT = "1"
FLAT = "flat"  # why an image has no hash that can be decoded
HASH_SCHEMA = pa.schema(
    [
        pa.field("sample_id", pa.string(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("hash", pa.uint64()),
        pa.field("reason", pa.string()),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
    ]
)


@dataclass(frozen=True, slots=True)
class HashRow:
    """What one image looks like.

    Attributes:
        hash: See `pipeline.perceptual_hash`; None where there is none.
        reason: Short stable code where there is none: ``flat``, or why it cannot be decoded.
        width: Upright, pixels.
        height: Upright, pixels.
    """

    sample_id: str
    sha256: str
    hash: int | None
    reason: str | None
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class ShardLooks:
    """The rows of a shard as arrays.

    Attributes:
        sample_ids: uint8 n x 16.
        sha256: uint8 n x 32, of the original bytes.
        hashes: uint64 n; 0 where there is none.
        hashed: bool n; whether there is one.
        reasons: How many have none, by reason.
    """

    sample_ids: NDArray[np.uint8]
    sha256: NDArray[np.uint8]
    hashes: NDArray[np.uint64]
    hashed: NDArray[np.bool_]
    reasons: Mapping[str, int]


def hashes_key(source: str, shard_id: str) -> str:
    """Where the hashes of an image shard lie."""
    return f"{hashes_prefix(source)}/{check_name(shard_id)}.parquet"


def hashes_prefix(source: str) -> str:
    """The folder of a source's hashes."""
    return f"sources/{check_name(source)}/hashes/{ALGORITHM}"


def hashed_shards(store: Store, source: str) -> set[str]:
    """Ids of the shards of a source whose hashes are there; objects are listed, and not read."""
    names = (key.rsplit("/", 1)[-1] for key in store.list(hashes_prefix(source)))
    return {name.removesuffix(".parquet") for name in names if name.endswith(".parquet")}


def write_hashes(
    store: Store, shard: ShardRef, rows: Iterable[HashRow], *, code_version: str
) -> str:
    """Put the hashes of a shard, in its order; returns the key.

    Raises:
        ValueError: There are not as many as the shard has rows.
    """
    packed = [{name: getattr(row, name) for name in HASH_SCHEMA.names} for row in rows]
    if len(packed) != shard.rows:
        raise ValueError(f"{len(packed)} hashes for the {shard.rows} images of {shard.key}")
    footer = {
        "format": FORMAT,
        "kind": "hashes",
        "source": shard.source,
        "shard_id": shard.shard_id,
        "image_shard_sha256": shard.sha256,
        "algorithm": ALGORITHM,
        "code_version": code_version,
        "rows": str(len(packed)),
    }
    metadata = {f"factory.{name}": value for name, value in footer.items()}
    sink = io.BytesIO()
    pq.write_table(
        pa.Table.from_pylist(packed, schema=HASH_SCHEMA.with_metadata(metadata)),
        sink,
        compression="zstd",
        use_dictionary=["reason"],
    )
    key = hashes_key(shard.source, shard.shard_id)
    with suppress(FileExistsError):  # made meanwhile, from the same images
        store.put(key, sink.getvalue(), exclusive=True)
    return key


def carry_hashes(store: Store, before: str, shard: ShardRef, *, code_version: str) -> bool:
    """Put the hashes of a shard that is what another was, without some rows: nothing is decoded.

    Args:
        store: Where they are.
        before: Id of the other shard, of the same source.
        shard: What is left of it.
        code_version: Written beside them.

    Returns:
        False where the other shard's hashes are gone, damaged, or of other images.
    """
    try:
        rows = _columns(store, hashes_key(shard.source, before), HASH_SCHEMA.names).to_pylist()
        wanted = _columns(store, shard.key, ["sample_id", "sha256"]).to_pylist()
    except (FileNotFoundError, ShardCorruptError):
        return False
    known = {(row["sample_id"], row["sha256"]): HashRow(**row) for row in rows}
    left = [known.get((row["sample_id"], row["sha256"])) for row in wanted]
    carried = [row for row in left if row is not None]
    if len(carried) != shard.rows:
        return False
    write_hashes(store, shard, carried, code_version=code_version)
    return True


def read_looks(store: Store, shard: ShardRef, *, hashes: bool) -> ShardLooks:
    """Ids, digests and, if asked for, hashes of a shard; without hashes the shard itself is read.

    Raises:
        FileNotFoundError: There is no such object.
        ShardCorruptError: It cannot be read, or has other rows than the catalog says.
    """
    key = hashes_key(shard.source, shard.shard_id) if hashes else shard.key
    columns = ["sample_id", "sha256", *(["hash", "reason"] if hashes else [])]
    table = _columns(store, key, columns)
    if table.num_rows != shard.rows:
        raise ShardCorruptError(
            f"{key} in {store.uri} has {table.num_rows} rows, the catalog knows of {shard.rows}"
            + ("; remove it, and it is made again" if hashes else "")
        )
    sample_ids = _unhexed(table["sample_id"], 16, key)
    sha256 = _unhexed(table["sha256"], 32, key)
    if not hashes:
        none = np.zeros(len(sha256), np.uint64)
        return ShardLooks(sample_ids, sha256, none, np.zeros(len(none), bool), {})
    counted = pc.value_counts(table["reason"].drop_null()).to_pylist()
    return ShardLooks(
        sample_ids,
        sha256,
        pc.fill_null(table["hash"], 0).to_numpy().astype(np.uint64),
        pc.is_valid(table["hash"]).to_numpy(),
        {each["values"]: each["counts"] for each in counted},
    )


def read_paths(store: Store, shard: ShardRef) -> list[str]:
    """The path of each image of a shard inside its source; no blob is read.

    Raises:
        FileNotFoundError: There is no such object.
        ShardCorruptError: It cannot be read.
    """
    paths: list[str] = _columns(store, shard.key, ["path"])["path"].to_pylist()
    return paths


def _columns(store: Store, key: str, columns: Sequence[str]) -> pa.Table:
    with opened_shard(store, key) as parquet:
        missing = set(columns) - set(parquet.schema_arrow.names)
        if missing:
            raise KeyError(f"no column {', '.join(sorted(missing))}")
        return parquet.read(columns=list(columns))


def _unhexed(texts: Any, size: int, key: str) -> NDArray[np.uint8]:
    """Hex digits as rows of so many bytes."""
    try:
        data = bytes.fromhex("".join(texts.to_pylist()))
        return np.frombuffer(data, np.uint8).reshape(len(texts), size)
    except (ValueError, TypeError) as error:
        raise ShardCorruptError(f"{key} has digests that are none: {error}") from error
