"""Training rows out of the store: whole row groups are read, single rows are decoded.

Between the two a row stays packed, which is a tenth of its size. What is not needed is not kept,
and where no row of a group is needed, its images and maps are not read at all. What is broken
becomes a `Damage` in its place, so that the other rows keep theirs.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.damage import Damage, Skip
from pipeline.depth_codec import decode_disparity
from pipeline.errors import ShardCorruptError
from pipeline.image_columns import IMAGE_SCHEMA, image_record
from pipeline.images import ImageDecodeError, decode_rgb
from pipeline.label_filter import LabelFilter
from pipeline.labels import read_label_group
from pipeline.records import Geometry, LabelRecord, Truth
from pipeline.row_groups import opened_shard, read_columns
from pipeline.shards import load_bytes
from pipeline.sky_masks import at_size, read_sky_rows
from pipeline.storage import Store
from pipeline.training_order import Block

_BLOBS = ("truth_map", "sky_mask", "image")
# Training learns from maps; older shards have no column for pairs of points.
_PLAIN_COLUMNS = [name for name in IMAGE_SCHEMA.names if name not in (*_BLOBS, "point_pairs")]


@dataclass(frozen=True, slots=True)
class TrainingRow:
    """A decoded image with its map.

    Attributes:
        image_HWC: uint8 RGB, upright, at its own size.
        truth: Ground truth or pseudo-label; the map may have another size than the image.
    """

    sample_id: str
    image_HWC: NDArray[np.uint8]
    truth: Truth


@dataclass(frozen=True, slots=True)
class StoredRow:
    """A row as it lies in the store.

    Attributes:
        columns: Of the image shard.
        sky: Mask of the sky at the map's size, eight pixels to a byte, where somebody looked.
    """

    block: Block
    columns: Mapping[str, Any]
    label: LabelRecord | None = None
    sky: NDArray[np.uint8] | None = None

    @property
    def has_bytes(self) -> bool:
        """Whether the image is there, and not only referred to."""
        return self.columns["image"] is not None

    @property
    def map_size(self) -> tuple[int, int]:
        """Height and width of its map, pixels."""
        if self.label is not None:
            return self.label.height or 1, self.label.width or 1
        return self.columns["truth_height"], self.columns["truth_width"]


Stored = StoredRow | Skip | Damage


def read_block(store: Store, block: Block, *, label_filter: LabelFilter) -> list[Stored]:
    """The rows of a row group in their order: packed, or why they are not there.

    Raises:
        ShardCorruptError: One of its objects is not in the store.
        StorageError: The store does not answer.
    """
    shard = block.shard
    key = shard.label_key or shard.image_key  # of the object that is being read
    try:
        labels = None
        if shard.label_key is not None:
            labels = _read_labels(store, block, shard.label_key, label_filter)
        key = shard.image_key
        rows = _read_images(store, block, labels, label_filter)
        if shard.sky_key is not None and any(isinstance(row, StoredRow) for row in rows):
            key = shard.sky_key
            rows = _with_sky(store, block, rows, key)
    except ShardCorruptError as error:
        return [Damage(key, None, "corrupt_shard", str(error))] * block.rows
    except FileNotFoundError as error:
        raise ShardCorruptError(f"a shard of the training data is gone: {error}") from error
    return rows


def load_row(row: StoredRow) -> bytes | Damage:
    """The original bytes of the image, also where the row only refers to them.

    Raises:
        StorageError: The place that it refers to does not answer.
    """
    key = row.block.shard.image_key
    record = image_record({**row.columns, "truth_map": None}, key)
    try:
        return load_bytes(record)
    except ShardCorruptError as error:
        return Damage(key, record.sample_id, "wrong_bytes", str(error))
    except FileNotFoundError as error:
        return Damage(key, record.sample_id, "missing_file", str(error))


def decode_row(row: StoredRow, data: bytes) -> TrainingRow | Damage:
    """The image, from its original bytes, and its map."""
    key, sample_id = row.block.shard.image_key, str(row.columns["sample_id"])
    try:
        image_HWC = decode_rgb(data)
    except ImageDecodeError as error:
        return Damage(key, sample_id, error.reason, error.detail)
    # Besides what the codecs say, flipped bits can name a geometry or a size that there is not.
    try:
        truth = _truth(row) if row.label is None else _pseudo_truth(row.label)
    except (ShardCorruptError, ValueError, TypeError) as error:
        if row.label is None:
            return Damage(key, sample_id, "corrupt_truth", str(error))
        return Damage(str(row.block.shard.label_key), sample_id, "corrupt_label", str(error))
    return TrainingRow(sample_id, image_HWC, _under_sky(truth, row.sky))


def _truth(row: StoredRow) -> Truth:
    truth = image_record(row.columns, row.block.shard.image_key).truth
    if truth is None:
        raise ShardCorruptError("the ground truth that was ingested is gone")
    return truth


def _pseudo_truth(label: LabelRecord) -> Truth:
    if label.minimum is None or label.maximum is None:
        raise ShardCorruptError("a label without its range")
    return Truth(decode_disparity(label), Geometry(str(label.geometry)))


def _read_labels(
    store: Store, block: Block, key: str, label_filter: LabelFilter
) -> list[LabelRecord]:
    def wanted(label: LabelRecord) -> bool:
        return _against(label, key, label_filter) is None

    labels = read_label_group(store, key, block.row_group, wanted=wanted)
    _check_count(len(labels), block, key)
    return labels


def _against(label: LabelRecord, key: str, label_filter: LabelFilter) -> Skip | Damage | None:
    """Why a label is not to be learnt from."""
    if label.status != "labelled":
        return Skip(str(label.reason))
    try:
        reason = label_filter.reason_against(label)
    except ShardCorruptError as error:
        return Damage(key, label.sample_id, "corrupt_label", str(error))
    return None if reason is None else Skip(reason)


def _read_images(
    store: Store, block: Block, labels: list[LabelRecord] | None, label_filter: LabelFilter
) -> list[Stored]:
    """The rows with their images, and with ground truth where there are no labels."""
    label_key = str(block.shard.label_key)
    rows: list[Stored | None] = [None] * block.rows
    if labels is not None:
        rows = [_against(label, label_key, label_filter) for label in labels]
        if None not in rows:
            return [row for row in rows if row is not None]
    with opened_shard(store, block.shard.image_key) as parquet:
        plain = read_columns(parquet, block.row_group, _PLAIN_COLUMNS)
        _check_count(len(plain), block, block.shard.image_key)
        for place, columns in enumerate(plain):
            label = None if labels is None else labels[place]
            rows[place] = rows[place] or _mismatch(columns, label, label_key)
        wanted = [place for place, row in enumerate(rows) if row is None]
        names = _BLOBS if labels is None else ("image",)
        blobs = read_columns(parquet, block.row_group, names, rows=wanted)
    for place, found in zip(wanted, blobs, strict=True):
        label = None if labels is None else labels[place]
        rows[place] = StoredRow(block, {**plain[place], **found}, label)
    return [row for row in rows if row is not None]


def _mismatch(
    columns: Mapping[str, Any], label: LabelRecord | None, label_key: str
) -> Skip | Damage | None:
    """Why an image and what lies at its place in the label shard are no training row."""
    sample_id = columns["sample_id"]
    if label is None:
        return Skip("no_truth") if columns["truth_geometry"] is None else None
    if (sample_id, columns["sha256"]) == (label.sample_id, label.sha256):
        return None
    return Damage(
        label_key, sample_id, "foreign_label", f"the label of sample {label.sample_id} lies there"
    )


def _with_sky(store: Store, block: Block, rows: Sequence[Stored], key: str) -> list[Stored]:
    masks = list(_packed_masks(store, block, rows, key))
    _check_count(len(masks), block, key)
    return masks


def _packed_masks(store: Store, block: Block, rows: Sequence[Stored], key: str) -> Iterator[Stored]:
    """The rows with the sky at the size of their maps; one mask at a time is unpacked."""
    found = read_sky_rows(store, key, row_groups=[block.row_group])
    for row, sky in zip(rows, found, strict=False):
        if not isinstance(row, StoredRow) or sky.mask_HW is None:
            yield row
        elif (sky.sample_id, sky.sha256) != (row.columns["sample_id"], row.columns["sha256"]):
            detail = f"the mask of sample {sky.sample_id} lies there"
            yield Damage(key, row.columns["sample_id"], "foreign_sky", detail)
        else:
            height, width = row.map_size
            mask_HW = at_size(sky.mask_HW, height=height, width=width)
            yield replace(row, sky=np.packbits(mask_HW))


def _under_sky(truth: Truth, packed: NDArray[np.uint8] | None) -> Truth:
    """Ground truth that also knows the sky somebody else saw."""
    if packed is None:
        return truth
    shape = truth.values_HW.shape
    sky_HW = np.unpackbits(packed, count=shape[0] * shape[1]).astype(np.bool_).reshape(shape)
    return replace(truth, sky_HW=sky_HW if truth.sky_HW is None else sky_HW | truth.sky_HW)


def _check_count(rows: int, block: Block, key: str) -> None:
    if rows != block.rows:
        raise ShardCorruptError(
            f"{key}: {rows} rows in row group {block.row_group}, not {block.rows}"
        )
