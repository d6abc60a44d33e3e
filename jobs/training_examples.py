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
from pipeline.damage import Damage, Skip
from pipeline.label_filter import EVERY_LABEL
from pipeline.storage import Store
from pipeline.training_input import Block, TrainingRow, TrainingShard, blocks_of
from pipeline.training_rows import StoredRow, decode_row, load_row, read_block

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
        ShardCorruptError: A shard is not in the store.
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
    rows = read_block(store, block, label_filter=EVERY_LABEL)
    for place, row in enumerate(spread(rows, count)):
        decoded = _decoded(row)
        if decoded is None:
            continue
        sample = prepare_sample(
            decoded.image_HWC,
            np.asarray(decoded.truth.values_HW, np.float32),
            size=size,
            rng=np.random.default_rng([block.row_group, place]),
            flip_probability=0.0,
            interpolation="nearest" if block.shard.label_key is None else "linear",
        )
        geometry = str(decoded.truth.geometry)
        yield Example(decoded.sample_id, sample.image_HWC, sample.target_HW, geometry)


def _decoded(row: StoredRow | Skip | Damage) -> TrainingRow | None:
    """None where the row gives nothing to look at."""
    if not isinstance(row, StoredRow):
        return None
    data = load_row(row)
    decoded = data if isinstance(data, Damage) else decode_row(row, data)
    return None if isinstance(decoded, Damage) else decoded
