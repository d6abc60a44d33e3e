"""Which shard holds a sample: found by reading id columns, because the catalog knows shards only.

62 million ids would make the catalog a thousand times larger, and are asked for rarely. Reading
them costs a footer and two columns per shard, about 100 kB and two milliseconds of a CPU for 1,000
images, in threads; where the path is known, most shards are passed over by the smallest and largest
path that their footers name.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import pyarrow.parquet as pq

from pipeline.lookahead import map_ahead
from pipeline.records import ShardRef
from pipeline.row_groups import opened_shard
from pipeline.storage import Store

READERS = 16
AHEAD = 4 * READERS
_COLUMNS = ("sample_id", "sha256")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked for.

    Attributes:
        ids: Sample ids.
        images: sha256 of original bytes, hex.
        path: If every one of ``ids`` is of this path inside its source: shards whose paths all
            come before or after it are not read.
    """

    ids: frozenset[str] = frozenset()
    images: frozenset[str] = frozenset()
    path: str | None = None


@dataclass(frozen=True, slots=True)
class FoundSample:
    """A row of a shard.

    Attributes:
        row: Counted from 0 over the whole shard.
    """

    shard: ShardRef
    row: int
    sample_id: str
    sha256: str


def find_samples(
    store: Store,
    shards: Iterable[ShardRef],
    wanted: Wanted,
    *,
    advance: Callable[[int], None] = lambda _: None,
) -> Iterator[FoundSample]:
    """Stream what is found, in the order of the shards; ``advance`` hears of each that was read.

    Raises:
        FileNotFoundError: A shard is gone.
        ShardCorruptError: A shard cannot be read.
    """
    read = map_ahead(
        lambda shard: _in_shard(store, shard, wanted), shards, threads=READERS, ahead=AHEAD
    )
    for found in read:
        advance(1)
        yield from found


def _in_shard(store: Store, shard: ShardRef, wanted: Wanted) -> list[FoundSample]:
    with opened_shard(store, shard.key) as parquet:
        if wanted.path is not None and not wanted.images and not _may_hold(parquet, wanted.path):
            return []
        table = parquet.read(columns=list(_COLUMNS))
    ids, images = (table.column(name).to_pylist() for name in _COLUMNS)
    return [
        FoundSample(shard, row, sample_id, sha256)
        for row, (sample_id, sha256) in enumerate(zip(ids, images, strict=True))
        if sample_id in wanted.ids or sha256 in wanted.images
    ]


def _may_hold(parquet: pq.ParquetFile, path: str) -> bool:
    """Whether the path lies between the smallest and the largest of some row group."""
    metadata = parquet.metadata
    place = [metadata.schema.column(n).path for n in range(metadata.num_columns)].index("path")
    for group in range(metadata.num_row_groups):
        known = metadata.row_group(group).column(place).statistics
        if known is None or not known.has_min_max or known.min <= path <= known.max:
            return True
    return False
