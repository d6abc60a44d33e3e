"""Which rows a report looks at: spread evenly over all shards, the same ones every time.

Pictures cost a row group each, which is what a Parquet reader can read at least; statistics read
whole shards, without their blobs. Both have a limit, so that a report on ten million images takes
as long as one on ten thousand.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.catalog import LabelShardRow
from pipeline.errors import ShardCorruptError
from pipeline.images import ImageDecodeError, decode_rgb
from pipeline.labels import read_label_rows
from pipeline.records import Drop, ImageRecord, LabelRecord, ShardRef
from pipeline.shards import ROW_GROUP_ROWS, load_bytes, read_drops, read_image_rows
from pipeline.storage import Store

STATISTICS_SHARDS = 32
EXAMPLE_SHARDS = 48
EXAMPLES = 5  # per reason
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """An image with its label."""

    image: ImageRecord
    label: LabelRecord


def evenly(count: int, most: int) -> list[int]:
    """At most so many of 0 … count - 1, in order, the gaps between them as equal as can be."""
    taken = min(count, most)
    return [(2 * i + 1) * count // (2 * taken) for i in range(taken)]


def spread(items: Sequence[Item], most: int) -> list[Item]:
    """At most so many items, evenly spread."""
    return [items[i] for i in evenly(len(items), most)]


def sample_images(store: Store, shards: Sequence[ShardRef], most: int) -> Iterator[ImageRecord]:
    """Whole rows, with bytes and ground truth."""
    for shard, group, row in _places(shards, most):
        rows = list(read_image_rows(store, shard.key, row_groups=[group]))
        yield rows[row]


def sample_labels(
    store: Store, shards: Sequence[LabelShardRow], most: int
) -> Iterator[LabelledImage]:
    """Labelled rows, none twice; for a quarantined one the next free one of its row group."""
    taken: set[str] = set()
    by_id = {row.shard.shard_id: row for row in shards}
    for shard, group, row in _places([each.shard for each in shards], most):
        labels = list(read_label_rows(store, by_id[shard.shard_id].key, row_groups=[group]))
        order = [*range(row, len(labels)), *range(row)]
        free = (i for i in order if labels[i].disparity and labels[i].sample_id not in taken)
        found = next(free, None)
        if found is not None:
            taken.add(labels[found].sample_id)
            images = list(read_image_rows(store, shard.key, row_groups=[group], truth=False))
            yield _pair(images[found], labels[found], shard)


def pixels_of(record: ImageRecord) -> NDArray[np.uint8] | None:
    """The decoded image; None where it is gone, changed or broken: a report shows what there is."""
    try:
        return decode_rgb(load_bytes(record))
    except (FileNotFoundError, ShardCorruptError, ImageDecodeError):
        return None


def image_facts(store: Store, shards: Sequence[ShardRef]) -> Iterator[ImageRecord]:
    """All rows of some shards without bytes and ground truth."""
    for shard in spread(shards, STATISTICS_SHARDS):
        yield from read_image_rows(store, shard.key, image=False, truth=False)


def label_facts(store: Store, shards: Sequence[LabelShardRow]) -> Iterator[LabelRecord]:
    """All rows of some label shards without the maps."""
    for shard in spread(shards, STATISTICS_SHARDS):
        yield from read_label_rows(store, shard.key, maps=False)


def example_drops(store: Store, source: str) -> dict[str, list[Drop]]:
    """Some of what was refused, by reason."""
    examples: dict[str, list[Drop]] = {}
    for key in spread(list(store.list(f"sources/{source}/dropped")), EXAMPLE_SHARDS):
        for drop in read_drops(store, key):
            if len(examples.setdefault(drop.reason, [])) < EXAMPLES:
                examples[drop.reason].append(drop)
    return examples


def example_quarantined(
    store: Store, shards: Sequence[LabelShardRow]
) -> dict[str, list[LabelledImage]]:
    """Some quarantined rows by reason, with the image rows they belong to (without bytes)."""
    examples: dict[str, list[LabelledImage]] = {}
    for shard in spread([each for each in shards if each.quarantined], EXAMPLE_SHARDS):
        if all(len(examples.get(reason, [])) >= EXAMPLES for reason in shard.quarantined):
            continue
        images = read_image_rows(store, shard.shard.key, image=False, truth=False)
        labels = read_label_rows(store, shard.key, maps=False)
        for image, label in zip(images, labels, strict=True):
            if label.reason and len(examples.setdefault(label.reason, [])) < EXAMPLES:
                examples[label.reason].append(_pair(image, label, shard.shard))
    return examples


def _places(shards: Sequence[ShardRef], most: int) -> Iterator[tuple[ShardRef, int, int]]:
    """Shard, row group and row inside it, evenly over all rows."""
    wanted = evenly(sum(shard.rows for shard in shards), most)
    before = 0
    for shard in shards:
        for index in wanted:
            if before <= index < before + shard.rows:
                yield shard, *divmod(index - before, ROW_GROUP_ROWS)
        before += shard.rows


def _pair(image: ImageRecord, label: LabelRecord, shard: ShardRef) -> LabelledImage:
    if image.sample_id != label.sample_id:
        raise ShardCorruptError(
            f"labels of shard {shard.shard_id}: sample {label.sample_id} stands where the image "
            f"shard has {image.sample_id}"
        )
    return LabelledImage(image, label)
