"""Training rows in an order that is a pure function of (seed, epoch, rank, world size).

Images and labels lie in row groups of the same size, so a row group is the unit of reading: an
epoch is a permutation of all row groups, dealt to the ranks; a rank reads a *pool* of them at a
time and permutes the rows inside. Every row appears once per epoch, nothing needs the rows in
memory at once, and going on from a cursor skips whole pools unread.

Threads decode and prepare (both release the GIL) a bounded number of rows ahead, in order.
"""

from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.depth_codec import decode_disparity
from pipeline.errors import ShardCorruptError, SourceError
from pipeline.images import ImageDecodeError, decode_rgb
from pipeline.label_filter import EVERY_LABEL, LabelFilter
from pipeline.labels import read_label_rows
from pipeline.records import Geometry, ImageRecord, LabelRecord, Truth
from pipeline.shards import ROW_GROUP_ROWS, load_bytes, read_image_rows
from pipeline.storage import Store

Prepared = TypeVar("Prepared")


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
class Drawn(Generic[Prepared]):
    """A prepared row, and the cursor from which to go on after it."""

    value: Prepared
    cursor: Cursor


def blocks_of(shards: Sequence[TrainingShard]) -> list[Block]:
    """The row groups of some shards, in order; nothing is read."""
    return [
        Block(shard, group, min(ROW_GROUP_ROWS, shard.rows - start))
        for shard in shards
        for group, start in enumerate(range(0, shard.rows, ROW_GROUP_ROWS))
    ]


@dataclass(slots=True)
class TrainingStream(Generic[Prepared]):
    """An endless stream of prepared rows for one rank.

    Args:
        store: Where the shards are.
        blocks: All row groups of the sources or label sets, the same list on every rank.
        prepare: Pure function of a row and a random generator that is its own; runs in threads.
        seed: Of order and of each row's generator.
        pool_blocks: Row groups whose rows are shuffled together; bounds the memory.
        label_filter: Which labels are good enough. A row that is skipped keeps its place, so that
            the order of the others does not depend on the filter.
        skipped: Count per reason of rows that gave no training row (quarantined, undecodable,
            filtered out).

    Raises:
        ValueError: No block at all for this rank.
    """

    store: Store
    blocks: Sequence[Block]
    prepare: Callable[[TrainingRow, np.random.Generator], Prepared]
    seed: int
    rank: int = 0
    world_size: int = 1
    pool_blocks: int = 16
    threads: int = 2
    label_filter: LabelFilter = EVERY_LABEL
    skipped: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        """Refuse to start with nothing to read: an endless stream of nothing would hang."""
        if len(self.blocks) < self.world_size:
            raise ValueError(
                f"{len(self.blocks)} row groups cannot feed {self.world_size} workers: "
                "use fewer workers or smaller shards"
            )

    def rows_from(self, start: Cursor) -> Generator[Drawn[Prepared]]:
        """Prepared rows from a cursor on, epoch after epoch, without those that cannot be used.

        Raises:
            SourceError: A whole epoch without a single usable row.
        """
        useful_epoch = start.epoch
        for drawn, cursor in self._drawn(start):
            if drawn is not None:
                useful_epoch = cursor.epoch
                yield Drawn(drawn, cursor)
            elif cursor.epoch > useful_epoch + 1:
                raise SourceError(f"no usable training row in a whole epoch: {dict(self.skipped)}")

    def _drawn(self, start: Cursor) -> Iterator[tuple[Prepared | None, Cursor]]:
        ahead: deque[tuple[Future[Prepared | None], Cursor]] = deque()
        with ThreadPoolExecutor(self.threads, thread_name_prefix="training-input") as executor:
            try:
                for row, cursor in self._raw_rows(start):
                    generator = np.random.default_rng(
                        [self.seed, cursor.epoch, cursor.row, self.rank]
                    )
                    ahead.append((executor.submit(self._prepared, row, generator), cursor))
                    if len(ahead) > 8 * self.threads:
                        future, position = ahead.popleft()
                        yield future.result(), position
            finally:
                for future, _ in ahead:
                    future.cancel()

    def _raw_rows(
        self, start: Cursor
    ) -> Iterator[tuple[tuple[ImageRecord, LabelRecord | None], Cursor]]:
        epoch, done = start.epoch, start.row
        while True:
            position = 0
            for pool in self._pools(epoch):
                size = sum(block.rows for block in pool)
                if position + size <= done:  # read before: skip it without touching the store
                    position += size
                    continue
                rows = [row for block in pool for row in self._read(block)]
                order = self._generator(epoch, position).permutation(size)
                for place in range(max(0, done - position), size):
                    yield rows[order[place]], Cursor(epoch, position + place + 1)
                position += size
            epoch, done = epoch + 1, 0

    def _pools(self, epoch: int) -> Iterator[list[Block]]:
        """This rank's share of an epoch, in pools."""
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.blocks))
        mine = order[self.rank :: self.world_size]
        for start in range(0, len(mine), self.pool_blocks):
            yield [self.blocks[index] for index in mine[start : start + self.pool_blocks]]

    def _generator(self, epoch: int, position: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, epoch, self.rank, position])

    def _read(self, block: Block) -> Iterator[tuple[ImageRecord, LabelRecord | None]]:
        groups = [block.row_group]
        images = list(read_image_rows(self.store, block.shard.image_key, row_groups=groups))
        if block.shard.label_key is None:
            yield from ((image, None) for image in images)
            return
        labels = list(read_label_rows(self.store, block.shard.label_key, row_groups=groups))
        for image, label in zip(images, labels, strict=True):
            if image.sample_id != label.sample_id or image.sha256 != label.sha256:
                raise ShardCorruptError(
                    f"{block.shard.label_key}: row of sample {label.sample_id} lies where "
                    f"{block.shard.image_key} has sample {image.sample_id}"
                )
            yield image, label

    def _prepared(
        self, row: tuple[ImageRecord, LabelRecord | None], generator: np.random.Generator
    ) -> Prepared | None:
        image, label = row
        reason = self._reason_against(image, label)
        if reason is not None:
            self.skipped[reason] += 1
            return None
        truth = image.truth if label is None else _pseudo_truth(label)
        assert truth is not None
        data = load_bytes(image)
        try:
            pixels = decode_rgb(data)
        except ImageDecodeError as error:
            self.skipped[error.reason] += 1
            return None
        return self.prepare(TrainingRow(image.sample_id, pixels, truth), generator)

    def _reason_against(self, image: ImageRecord, label: LabelRecord | None) -> str | None:
        if label is None:
            return "no_truth" if image.truth is None else None
        if label.status != "labelled":
            return str(label.reason)
        return self.label_filter.reason_against(label)


def _pseudo_truth(label: LabelRecord) -> Truth:
    return Truth(decode_disparity(label), Geometry(str(label.geometry)))
