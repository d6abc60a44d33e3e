"""The order of training rows: a pure function of (seed, epoch, rank, world size).

Images and labels lie in row groups of the same size, so a row group is the unit of reading: an
epoch is a permutation of all row groups, dealt to the ranks. A rank takes a *pool* of them at a
time and permutes the rows inside. Every row appears once per epoch over all ranks, and where a
cursor stands is found by counting: nothing before its pool is read.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.shards import ROW_GROUP_ROWS

# What a generator is for, so that no two of them draw the same numbers.
_BLOCKS, _ROWS, _PREPARATION = 1, 2, 3


@dataclass(frozen=True, slots=True)
class TrainingShard:
    """An image shard and what belongs to it.

    Attributes:
        label_key: Its label shard, where its labels are pseudo-labels.
        sky_key: Its sky masks (`pipeline.sky_masks`), where somebody looked for sky.
    """

    image_key: str
    rows: int
    label_key: str | None = None
    sky_key: str | None = None


@dataclass(frozen=True, slots=True)
class Block:
    """One row group of a shard, and of its label shard."""

    shard: TrainingShard
    row_group: int
    rows: int


@dataclass(frozen=True, slots=True, order=True)
class Cursor:
    """How far a rank has read: the next row is row ``row`` of its share of epoch ``epoch``."""

    epoch: int = 0
    row: int = 0


@dataclass(frozen=True, slots=True)
class Pool:
    """Row groups whose rows are shuffled together.

    Attributes:
        start: Where its first row comes in the rank's share of the epoch.
        order: Place of each row, as drawn, among the rows of the blocks one after the other.
        done: Rows drawn before, which are not drawn again.
    """

    epoch: int
    start: int
    blocks: tuple[Block, ...]
    order: NDArray[np.int64]
    done: int = 0


def blocks_of(shards: Sequence[TrainingShard]) -> list[Block]:
    """The row groups of some shards, in order; nothing is read."""
    return [
        Block(shard, group, min(ROW_GROUP_ROWS, shard.rows - start))
        for shard in shards
        for group, start in enumerate(range(0, shard.rows, ROW_GROUP_ROWS))
    ]


@dataclass(frozen=True, slots=True)
class Order:
    """The order in which one rank reads.

    Args:
        blocks: All row groups, the same list on every rank.
        pool_blocks: Row groups of a pool; the last one of an epoch may have fewer.

    Raises:
        ValueError: There are fewer row groups than ranks.
    """

    blocks: Sequence[Block]
    seed: int
    rank: int
    world_size: int
    pool_blocks: int

    def __post_init__(self) -> None:
        """Refuse to start with nothing to read: an endless stream of nothing would hang."""
        if len(self.blocks) < self.world_size:
            raise ValueError(
                f"{len(self.blocks)} row groups cannot feed {self.world_size} workers: "
                "use fewer workers or smaller shards"
            )

    def pools_from(self, start: Cursor) -> Iterator[Pool]:
        """Pools from a cursor on, epoch after epoch, without end."""
        epoch, done = start.epoch, start.row
        while True:
            position = 0
            for blocks in self._shared_out(epoch):
                size = sum(block.rows for block in blocks)
                if position + size > done:
                    order = self._generator(_ROWS, epoch, position).permutation(size)
                    yield Pool(epoch, position, blocks, order, max(0, done - position))
                position += size
            epoch, done = epoch + 1, 0

    def generator(self, cursor: Cursor) -> np.random.Generator:
        """Random numbers for preparing the row after which a cursor stands."""
        return self._generator(_PREPARATION, cursor.epoch, cursor.row)

    def _shared_out(self, epoch: int) -> Iterator[tuple[Block, ...]]:
        """This rank's share of an epoch, in pools."""
        whole = np.random.default_rng([_BLOCKS, self.seed, epoch]).permutation(len(self.blocks))
        mine = whole[self.rank :: self.world_size]
        for start in range(0, len(mine), self.pool_blocks):
            yield tuple(self.blocks[index] for index in mine[start : start + self.pool_blocks])

    def _generator(self, purpose: int, epoch: int, row: int) -> np.random.Generator:
        return np.random.default_rng([purpose, self.seed, epoch, self.rank, row])
