"""A few images that are looked at again and again while a model trains.

Which ones follows from the shards alone, so a run that goes on looks at the same. They are spread
evenly over the row groups, of which only a few are read, once.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from model.batches import prepare_sample
from pipeline.depth_codec import decode_disparity
from pipeline.errors import ShardCorruptError
from pipeline.images import ImageDecodeError, decode_rgb
from pipeline.labels import read_label_group
from pipeline.records import Geometry, ImageRecord, LabelRecord, Truth
from pipeline.shards import load_bytes, read_image_rows
from pipeline.storage import Store
from pipeline.training_input import Block, TrainingShard, blocks_of

MOST_ROW_GROUPS = 16

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Example:
    """An image and its map, a square of the training size cut from both.

    Attributes:
        image_HWC: uint8 RGB.
        values_HW: float32, NaN where there is no value.
        geometry: What the values are.
    """

    sample_id: str
    image_HWC: NDArray[np.uint8]
    values_HW: NDArray[np.float32]
    geometry: str


def examples(
    store: Store, shards: Sequence[TrainingShard], count: int, *, size: int
) -> list[Example]:
    """Up to ``count`` examples of ``size`` x ``size`` pixels; fewer where there are no more.

    Rows that cannot be used are left out here; it is training itself that counts and names them.

    Raises:
        FileNotFoundError: A shard is not in the store.
        StorageError: The store does not answer.
    """
    blocks = spread(blocks_of(shards), min(MOST_ROW_GROUPS, count))
    each = math.ceil(count / max(1, len(blocks)))
    found = (example for block in blocks for example in _of_block(store, block, each, size=size))
    return list(islice(found, count))


def spread(items: Sequence[Item], count: int) -> list[Item]:
    """That many of them, at even distances from the first on; all where there are no more."""
    if len(items) <= count:
        return list(items)
    return [items[index * len(items) // count] for index in range(count)]


def _of_block(store: Store, block: Block, count: int, *, size: int) -> Iterator[Example]:
    for place, (image, label) in enumerate(spread(_rows(store, block), count)):
        truth = _truth(image, label)
        if truth is None:
            continue
        try:
            pixels = decode_rgb(load_bytes(image))
        except (ImageDecodeError, ShardCorruptError, FileNotFoundError):
            continue
        sample = prepare_sample(
            pixels,
            np.asarray(truth.values_HW, np.float32),
            size=size,
            rng=np.random.default_rng([block.row_group, place]),
            flip_probability=0.0,
            interpolation="nearest" if label is None else "linear",
        )
        yield Example(image.sample_id, sample.image_HWC, sample.target_HW, str(truth.geometry))


def _rows(store: Store, block: Block) -> list[tuple[ImageRecord, LabelRecord | None]]:
    """The rows of a row group; none where it is damaged."""
    groups = [block.row_group]
    try:
        images = list(read_image_rows(store, block.shard.image_key, row_groups=groups))
        if block.shard.label_key is None:
            return [(image, None) for image in images]
        labels = read_label_group(
            store, block.shard.label_key, block.row_group, wanted=_is_labelled
        )
    except ShardCorruptError:
        return []
    return list(zip(images, labels, strict=False))


def _truth(image: ImageRecord, label: LabelRecord | None) -> Truth | None:
    if label is None:
        return image.truth
    if not _is_labelled(label) or label.sample_id != image.sample_id:
        return None
    try:
        return Truth(decode_disparity(label), Geometry(str(label.geometry)))
    except ShardCorruptError:
        return None


def _is_labelled(label: LabelRecord) -> bool:
    return label.status == "labelled"
