"""What is known of single images: their row, who ingested them, their labels, their withdrawal."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from sqlalchemy import select

from pipeline.catalog_database import Database
from pipeline.catalog_rows import IngestRow
from pipeline.catalog_tables import image_shards, ingest_runs, label_sets, label_shards
from pipeline.errors import ShardCorruptError
from pipeline.lookahead import map_ahead
from pipeline.raw_files import read_range
from pipeline.records import ImageRecord
from pipeline.row_groups import opened_shard, read_columns
from pipeline.sample_search import FoundSample, Wanted
from pipeline.shards import read_image_rows
from pipeline.storage import Store
from pipeline.withdrawn import WithdrawnSample, read_withdrawn

READERS = 8


@dataclass(frozen=True, slots=True)
class TracedLabel:
    """The label of one image in one label set.

    Attributes:
        key: The label shard.
        status: ``labelled`` or ``quarantined``, the latter for a ``reason``.
    """

    label_set: str
    teacher: str
    teacher_sha256: str
    recipe_hash: str
    key: str
    row: int
    status: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class TracedWithdrawal:
    """A sample that is not there any more."""

    shard_id: str
    withdrawn_at: float
    sample: WithdrawnSample


def read_record(store: Store, found: FoundSample, *, image: bool = False) -> ImageRecord:
    """The row of a sample, with its bytes if asked for.

    Raises:
        IndexError: The shard has fewer rows.
        ShardCorruptError: The row is of another sample.
    """
    group, place = _group_of(store, found.shard.key, found.row)
    rows = read_image_rows(store, found.shard.key, row_groups=[group], image=image, truth=False)
    record = next(islice(rows, place, None))
    if found.sample_id and record.sample_id != found.sample_id:
        raise ShardCorruptError(f"{found.shard.key}: row {found.row} is {record.sample_id}")
    return record


def _group_of(store: Store, key: str, row: int) -> tuple[int, int]:
    """The row group that holds a row, and the row's place in it."""
    with opened_shard(store, key) as parquet:
        sizes = [parquet.metadata.row_group(n).num_rows for n in range(parquet.num_row_groups)]
    place = row
    for group, size in enumerate(sizes):
        if 0 <= place < size:
            return group, place
        place -= size
    raise IndexError(f"{key} has {sum(sizes)} rows, counted from 0: there is no row {row}")


def ingest_of(database: Database, shard_id: str) -> IngestRow:
    """The run that ingested a shard, or the one that it took the place of."""
    mine = image_shards.c.run_id == ingest_runs.c.run_id
    run = select(ingest_runs).join_from(image_shards, ingest_runs, mine)
    with database.read() as connection:
        row = connection.execute(run.where(image_shards.c.shard_id == shard_id)).one()
    return IngestRow(**row._asdict())


def labels_of(store: Store, database: Database, found: FoundSample) -> Iterator[TracedLabel]:
    """Its label in each label set that has committed labels of its shard, by name."""
    columns = ("name", "teacher", "teacher_sha256", "recipe_hash")
    mine = label_shards.c.label_set == label_sets.c.name
    labels = select(*(label_sets.c[name] for name in columns), label_shards.c.key)
    labels = labels.join_from(label_sets, label_shards, mine).order_by(label_sets.c.name)
    with database.read() as connection:
        which = label_shards.c.shard_id == found.shard.shard_id
        rows: list[Any] = list(connection.execute(labels.where(which)))
    for name, teacher, teacher_sha256, recipe_hash, key in rows:
        said = _label_row(store, key, found)
        yield TracedLabel(
            label_set=name,
            teacher=teacher,
            teacher_sha256=teacher_sha256,
            recipe_hash=recipe_hash,
            key=key,
            row=found.row,
            status=said["status"],
            reason=said["reason"],
        )


def _label_row(store: Store, key: str, found: FoundSample) -> dict[str, Any]:
    group, place = _group_of(store, key, found.row)
    with opened_shard(store, key) as parquet:
        (said,) = read_columns(parquet, group, ["sample_id", "status", "reason"], rows=[place])
    if said["sample_id"] != found.sample_id:
        raise ShardCorruptError(f"{key}: row {found.row} is of sample {said['sample_id']}")
    return said


def find_withdrawn(store: Store, keys: Iterable[str], wanted: Wanted) -> Iterator[TracedWithdrawal]:
    """Withdrawn samples that are looked for, in the objects under these keys."""
    read = map_ahead(
        lambda key: read_withdrawn(store, key), keys, threads=READERS, ahead=4 * READERS
    )
    for footer, samples in read:
        for sample in samples:
            if sample.sample_id in wanted.ids or sample.sha256 in wanted.images:
                at = float(footer.get("withdrawn_at") or 0)
                yield TracedWithdrawal(footer.get("shard_id", ""), at, sample)


def original_problem(record: ImageRecord) -> str | None:
    """What is wrong with the bytes that were ingested, read again where they lie; None if nothing.

    Of an image that lies compressed in an archive nobody can say: its bytes have no place there.
    """
    if record.offset is None:
        return None
    try:
        data = read_range(record.uri, record.offset, record.length)
    except FileNotFoundError:
        return "the file is gone"
    except OSError as error:
        return f"it cannot be read: {error}"
    is_same = hashlib.sha256(data).hexdigest() == record.sha256
    return None if is_same else f"other bytes than were ingested, sha256 {record.sha256}"
