"""Withdrawn samples: shards without them, and the objects that remember which they were.

An object beside the images names what was taken out of one shard, and says in its footer which
shard is there instead. It is written before the catalog hears of it, holds no picture, and stays: a
later ingest refuses what it names, and `catalog rebuild` finds in it what was withdrawn.

    sources/<source>/withdrawn/<shard>.parquet    of samples of that shard
    sources/<source>/withdrawn.json               of the whole source
"""

import io
import json
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import ShardCorruptError
from pipeline.identity import check_name
from pipeline.lookahead import map_ahead
from pipeline.records import ShardRef
from pipeline.row_groups import opened_shard
from pipeline.seen import DigestSet
from pipeline.shards import ImageShardBuilder, read_image_rows
from pipeline.storage import Store

FORMAT = "1"
WITHDRAWN = "withdrawn"  # the reason that a person gives: neither id nor bytes ever come back
READERS = 8
_PREFIX = b"factory."
_SCHEMA = pa.schema(
    [pa.field(name, pa.string(), nullable=False) for name in ("sample_id", "sha256", "path")]
    + [pa.field(name, pa.string(), nullable=False) for name in ("reason", "detail")]
)


@dataclass(frozen=True, slots=True)
class WithdrawnSample:
    """A sample that was taken out.

    Attributes:
        reason: A short stable code: ``withdrawn`` by a person, ``near_duplicate``, ``leak`` …
        detail: A sentence for a person.
    """

    sample_id: str
    sha256: str
    path: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Replacement:
    """What a shard becomes; written, not yet committed.

    Attributes:
        shard: Without the samples; None where nothing is left.
        key: The object that names them.
        samples: How many they are.
    """

    replaced: ShardRef
    shard: ShardRef | None
    key: str
    samples: int


class WithdrawnSamples(NamedTuple):
    """What a source must never take again: digests only, 32 bytes for each.

    Attributes:
        ids: Sample ids, by the reason for which they were withdrawn.
        images: First halves of the sha256 of what a person withdrew. The bytes of what was
            withdrawn as a duplicate stay welcome: its twin has the same.
    """

    ids: Mapping[str, DigestSet]
    images: DigestSet

    def refuses(self, sample_id: str, sha256: str) -> bool:
        """Whether it was withdrawn, under its own path or as these very bytes."""
        return self.reason(sample_id, sha256) is not None

    def reason(self, sample_id: str, sha256: str) -> str | None:
        """Why it was withdrawn; None if it was not."""
        if bytes.fromhex(sha256)[:16] in self.images:
            return WITHDRAWN
        sample = bytes.fromhex(sample_id)
        return next((reason for reason, ids in self.ids.items() if sample in ids), None)


def withdrawn_key(source: str, shard_id: str) -> str:
    """Where it is written which samples of a shard were withdrawn."""
    return f"sources/{check_name(source)}/withdrawn/{check_name(shard_id)}.parquet"


def withdrawn_source_key(source: str) -> str:
    """Where it is written that a whole source was withdrawn."""
    return f"sources/{check_name(source)}/withdrawn.json"


def replace_shard(
    store: Store,
    shard: ShardRef,
    samples: Mapping[str, tuple[str, str]],
    *,
    summary: str,
    code_version: str,
) -> Replacement:
    """Put a shard without some samples, row group by row group, and then the names of those.

    Args:
        store: Where it is.
        shard: Which shard; it stays as it is.
        samples: Reason and detail per sample id; what the shard does not hold is left alone.
        summary: Why, in one sentence: the reason of the withdrawal as a whole.
        code_version: Of the code that writes the new shard.

    Raises:
        FileNotFoundError: There is no such object.
        ShardCorruptError: It cannot be read as a shard.
    """
    gone: list[WithdrawnSample] = []
    builder = ImageShardBuilder(store, source=shard.source, code_version=code_version)
    try:
        for row in read_image_rows(store, shard.key):
            if row.sample_id in samples:
                why = samples[row.sample_id]
                gone.append(WithdrawnSample(row.sample_id, row.sha256, row.path, *why))
            else:
                builder.add(row)
        new = builder.put() if builder.rows else None
    finally:
        builder.discard()
    key = _put_samples(store, shard, gone, replaced_by=new, summary=summary)
    return Replacement(shard, new, key, len(gone))


def _put_samples(
    store: Store,
    shard: ShardRef,
    gone: Sequence[WithdrawnSample],
    *,
    replaced_by: ShardRef | None,
    summary: str,
) -> str:
    footer = {
        "format": FORMAT,
        "kind": "withdrawn",
        "source": shard.source,
        "shard_id": shard.shard_id,
        "replaced_by": replaced_by.shard_id if replaced_by else "",
        "reason": summary,
        "rows": str(len(gone)),
        "withdrawn_at": repr(time.time()),
    }
    metadata = {_PREFIX + name.encode(): value.encode() for name, value in footer.items()}
    rows = [asdict(sample) for sample in gone]
    table = pa.Table.from_pylist(rows, schema=_SCHEMA.with_metadata(metadata))
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    key = withdrawn_key(shard.source, shard.shard_id)
    store.put(key, sink.getvalue())
    return key


def read_withdrawn(store: Store, key: str) -> tuple[dict[str, str], list[WithdrawnSample]]:
    """The footer of such an object (``shard_id, replaced_by, reason, …``), and its samples.

    Raises:
        ShardCorruptError: It is gone, or cannot be read.
    """
    try:
        with opened_shard(store, key) as parquet:
            said: Mapping[bytes, bytes] = parquet.metadata.metadata or {}
            footer = {
                name.removeprefix(_PREFIX).decode(): value.decode()
                for name, value in said.items()
                if name.startswith(_PREFIX)
            }
            rows = parquet.read(columns=_SCHEMA.names).to_pylist()
            samples = [WithdrawnSample(**row) for row in rows]
    except FileNotFoundError as error:
        msg = f"{key} in {store.uri} names samples that were withdrawn, and is gone: restore it"
        raise ShardCorruptError(msg) from error
    return footer, samples


def withdrawn_samples(store: Store, keys: Iterable[str]) -> WithdrawnSamples:
    """What the objects under these keys (`catalog_withdrawn.withdrawn_objects`) say.

    Raises:
        ShardCorruptError: One of them is gone, or cannot be read.
    """
    ids: defaultdict[str, list[bytes]] = defaultdict(list)
    images: list[bytes] = []
    read = map_ahead(
        lambda key: read_withdrawn(store, key)[1], keys, threads=READERS, ahead=4 * READERS
    )
    for samples in read:
        for sample in samples:
            ids[sample.reason].append(bytes.fromhex(sample.sample_id))
        by_person = (sample for sample in samples if sample.reason == WITHDRAWN)
        images += [bytes.fromhex(sample.sha256)[:16] for sample in by_person]
    known = {reason: DigestSet(some) for reason, some in ids.items()}
    return WithdrawnSamples(known, DigestSet(images))


def put_withdrawn_source(store: Store, source: str, *, reason: str, samples: int) -> None:
    """Write down that a whole source is withdrawn, before the catalog hears of it."""
    content = {"reason": reason, "samples": samples, "withdrawn_at": time.time()}
    text = json.dumps({"format": int(FORMAT), "withdrawal": content}, indent=1, sort_keys=True)
    store.put(withdrawn_source_key(source), text.encode())


def withdrawal_row(source: str, key: str, footer: Mapping[str, str]) -> dict[str, Any]:
    """The catalog's row of a withdrawal, from the footer of its object.

    Raises:
        ShardCorruptError: The footer is not complete.
    """
    try:
        return {
            "source": source,
            "shard_id": footer["shard_id"],
            "replaced_by": footer["replaced_by"] or None,
            "key": key,
            "samples": int(footer["rows"]),
            "reason": footer["reason"],
            "withdrawn_at": float(footer["withdrawn_at"]),
        }
    except (KeyError, ValueError) as error:
        raise ShardCorruptError(f"{key}: its footer is not complete: {error}") from error
