"""Which rows a report looks at: spread evenly over all shards, the same ones every time.

Pictures cost a row group each, which is what a Parquet reader can read at least; so thousands of
pictures come from at most 128 of them. Statistics read whole shards, without their blobs. All of it
has a limit, so that a report on ten million images takes as long as one on ten thousand.
"""

import bisect
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from jobs.report_reading import Reading
from pipeline.catalog import LabelShardRow
from pipeline.errors import ShardCorruptError
from pipeline.images import ImageDecodeError, decode_rgb
from pipeline.labels import read_label_rows
from pipeline.records import Drop, ImageRecord, LabelRecord, ShardRef
from pipeline.shards import ROW_GROUP_ROWS, load_bytes, read_drops, read_image_rows
from pipeline.storage import Store

STATISTICS_SHARDS = 32
EXAMPLE_SHARDS = 48
EXAMPLES = 8  # per reason
MOST_GROUPS = 128
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """An image with its label."""

    image: ImageRecord
    label: LabelRecord


@dataclass(frozen=True, slots=True)
class RowGroup:
    """Rows of one row group of an image shard, counted in the group, in order.

    Attributes:
        labels: Key of the shard with their labels, where there are any.
        whys: What is said of a row that was chosen for a reason.
    """

    shard: ShardRef
    group: int
    rows: tuple[int, ...]
    labels: str = ""
    whys: Mapping[int, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Placed:
    """A row of a shard by its number, chosen for a reason."""

    shard: ShardRef
    row: int
    labels: str = ""
    whys: tuple[str, ...] = ()


def evenly(count: int, most: int) -> list[int]:
    """At most so many of 0 … count - 1, in order, the gaps between them as equal as can be."""
    taken = min(count, most)
    return [(2 * i + 1) * count // (2 * taken) for i in range(taken)]


def spread(items: Sequence[Item], most: int) -> list[Item]:
    """At most so many items, evenly spread."""
    return [items[i] for i in evenly(len(items), most)]


def sampled(shards: Sequence[ShardRef], most: int) -> list[RowGroup]:
    """At most so many rows, evenly over all, or over 128 row groups that are evenly spread."""
    sizes = [shard.rows for shard in shards]
    places = list(_located(sizes, evenly(sum(sizes), most)))
    groups = {(number, row // ROW_GROUP_ROWS) for number, row in places}
    if len(groups) > MOST_GROUPS:
        places = _in_few_groups(sizes, most)
    return grouped(Placed(shards[number], row) for number, row in places)


def grouped(places: Iterable[Placed]) -> list[RowGroup]:
    """The same rows by row group, in the order of its first."""
    found: dict[tuple[str, int], list[Placed]] = {}
    for place in places:
        found.setdefault((place.shard.key, place.row // ROW_GROUP_ROWS), []).append(place)
    return [
        RowGroup(
            some[0].shard,
            group,
            tuple(sorted(place.row % ROW_GROUP_ROWS for place in some)),
            labels=some[0].labels,
            whys={place.row % ROW_GROUP_ROWS: place.whys for place in some if place.whys},
        )
        for (_, group), some in found.items()
    ]


def sampled_labels(shards: Sequence[LabelShardRow], most: int) -> list[RowGroup]:
    """As `sampled`, each row group with the key of its labels."""
    keys = {row.shard.key: row.key for row in shards}
    groups = sampled([row.shard for row in shards], most)
    return [replace(each, labels=keys[each.shard.key]) for each in groups]


def read_images(reading: Reading, wanted: RowGroup, *, truth: bool = True) -> Iterator[ImageRecord]:
    """The wanted rows, whole; fewer where the shard cannot be read to the end."""
    groups = [wanted.group]
    rows = reading.rows(read_image_rows, wanted.shard.key, row_groups=groups, truth=truth)
    chosen = set(wanted.rows)
    return (record for number, record in enumerate(rows) if number in chosen)


def read_labelled(reading: Reading, wanted: RowGroup) -> Iterator[tuple[int, LabelledImage]]:
    """The wanted rows with their number; for a quarantined one the next free one of its group."""
    labels = list(reading.rows(read_label_rows, wanted.labels, row_groups=[wanted.group]))
    chosen: dict[int, LabelRecord] = {}
    for row in wanted.rows:
        order = itertools.chain(range(row, len(labels)), range(min(row, len(labels))))
        free = (i for i in order if labels[i].disparity and i not in chosen)
        chosen |= {i: labels[i] for i in itertools.islice(free, 1)}
    if chosen:
        found = replace(wanted, rows=tuple(sorted(chosen)))
        images = read_images(reading, found, truth=False)
        for row, image in zip(found.rows, images, strict=False):
            yield row, _pair(image, chosen[row], wanted.shard)


def pixels_of(record: ImageRecord, *, least_side: int | None = None) -> NDArray[np.uint8] | None:
    """The decoded image; None where it is gone, changed or broken: a report shows what there is."""
    try:
        return decode_rgb(load_bytes(record), least_side=least_side)
    except (FileNotFoundError, ShardCorruptError, ImageDecodeError):
        return None


def image_facts(reading: Reading, shards: Sequence[ShardRef]) -> Iterator[ImageRecord]:
    """All rows of some shards without bytes and ground truth."""
    return (record for _, record in placed_images(reading, shards))


def placed_images(
    reading: Reading, shards: Sequence[ShardRef]
) -> Iterator[tuple[Placed, ImageRecord]]:
    """All rows of some shards without bytes and ground truth, and where they are."""
    for shard in spread(shards, STATISTICS_SHARDS):
        rows = reading.rows(read_image_rows, shard.key, image=False, truth=False)
        yield from ((Placed(shard, number), record) for number, record in enumerate(rows))


def label_facts(store: Store, shards: Sequence[LabelShardRow]) -> Iterator[LabelRecord]:
    """All rows of some label shards without the maps; raises where one cannot be read."""
    for shard in spread(shards, STATISTICS_SHARDS):
        yield from read_label_rows(store, shard.key, maps=False)


def placed_labels(
    reading: Reading, shards: Sequence[LabelShardRow]
) -> Iterator[tuple[Placed, LabelRecord]]:
    """All rows of some label shards without the maps, and where they are."""
    for shard in spread(shards, STATISTICS_SHARDS):
        rows = reading.rows(read_label_rows, shard.key, maps=False)
        yield from (
            (Placed(shard.shard, number, labels=shard.key), record)
            for number, record in enumerate(rows)
        )


def example_drops(reading: Reading, source: str) -> dict[str, list[Drop]]:
    """Some of what was refused, by reason."""
    examples: dict[str, list[Drop]] = {}
    keys = list(reading.store.list(f"sources/{source}/dropped"))
    for key in spread(keys, EXAMPLE_SHARDS):
        for drop in reading.rows(read_drops, key):
            if len(examples.setdefault(drop.reason, [])) < EXAMPLES:
                examples[drop.reason].append(drop)
    return examples


def example_quarantined(
    reading: Reading, shards: Sequence[LabelShardRow]
) -> dict[str, list[LabelledImage]]:
    """Some quarantined rows by reason, with the whole image rows they belong to."""
    examples: dict[str, list[LabelledImage]] = {}
    for shard in spread([each for each in shards if each.quarantined], EXAMPLE_SHARDS):
        if all(len(examples.get(reason, [])) >= EXAMPLES for reason in shard.quarantined):
            continue
        found: dict[int, LabelRecord] = {}
        for number, label in enumerate(reading.rows(read_label_rows, shard.key, maps=False)):
            so_far = sum(each.reason == label.reason for each in found.values())
            so_far += len(examples.get(label.reason or "", []))
            if label.reason and so_far < EXAMPLES:
                found[number] = label
        for wanted in grouped(Placed(shard.shard, number) for number in found):
            images = read_images(reading, wanted, truth=False)
            for row, image in zip(wanted.rows, images, strict=False):
                label = found[wanted.group * ROW_GROUP_ROWS + row]
                examples.setdefault(label.reason or "", []).append(_pair(image, label, shard.shard))
    return examples


def _in_few_groups(sizes: Sequence[int], most: int) -> list[tuple[int, int]]:
    """Shard and row of so many rows, evenly over row groups that are evenly spread."""
    counts = [-(-size // ROW_GROUP_ROWS) for size in sizes]
    groups = list(_located(counts, evenly(sum(counts), MOST_GROUPS)))
    rows = [min(ROW_GROUP_ROWS, sizes[number] - group * ROW_GROUP_ROWS) for number, group in groups]
    return [
        (groups[which][0], groups[which][1] * ROW_GROUP_ROWS + row)
        for which, row in _located(rows, evenly(sum(rows), most))
    ]


def _located(sizes: Sequence[int], places: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Which part a place falls in, and where in it, for parts of these sizes in a row."""
    ends = list(itertools.accumulate(sizes))
    for place in places:
        part = bisect.bisect_right(ends, place)
        yield part, place - (ends[part] - sizes[part])


def _pair(image: ImageRecord, label: LabelRecord, shard: ShardRef) -> LabelledImage:
    if image.sample_id != label.sample_id:
        raise ShardCorruptError(
            f"labels of shard {shard.shard_id}: sample {label.sample_id} stands where the image "
            f"shard has {image.sample_id}"
        )
    return LabelledImage(image, label)
