"""A stream of prepared training rows for one rank, without end.

Its order is a pure function of (seed, epoch, rank, world size): see `pipeline.training_order`. Row
groups are read ahead in threads (`training_pools`), other threads decode and prepare single rows a
bounded number ahead, and rows come out in order. Whatever gives no training row is counted in that
order too (`damage`), so that the counts are the same however often a run was interrupted.

In memory are at most the packed rows of `pool_blocks` + `SPARE_BLOCKS` row groups, and besides a
few decoded rows per thread.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, TypeVar

import numpy as np

from pipeline.damage import Damage, Skip, Tally
from pipeline.errors import SourceError
from pipeline.label_filter import EVERY_LABEL, LabelFilter
from pipeline.shards import ROW_GROUP_ROWS
from pipeline.storage import Store
from pipeline.training_order import Block, Cursor, Order, TrainingShard, blocks_of
from pipeline.training_pools import rows_of_pools
from pipeline.training_rows import StoredRow, TrainingRow, decode_row, load_row, read_block

__all__ = [
    "Block",
    "Cursor",
    "Drawn",
    "TrainingRow",
    "TrainingShard",
    "TrainingStream",
    "blocks_of",
]

Prepared = TypeVar("Prepared")

SPARE_BLOCKS = 4  # of the next pool, while the last row groups of this one are drawn from
AHEAD_PER_THREAD = 4
FETCHERS = 16  # of images that are only referred to


@dataclass(frozen=True, slots=True)
class Drawn(Generic[Prepared]):
    """A prepared row, and the cursor from which to go on after it."""

    value: Prepared
    cursor: Cursor


@dataclass(frozen=True, slots=True)
class _Ready(Generic[Prepared]):
    """A prepared row, where None would be ambiguous."""

    value: Prepared


_Attempt = _Ready[Prepared] | Damage
_Outcome = _Ready[Prepared] | Skip | Damage


@dataclass(slots=True)
class TrainingStream(Generic[Prepared]):
    """An endless stream of prepared rows for one rank.

    Args:
        store: Where the shards are.
        blocks: All row groups of the sources or label sets, the same list on every rank.
        prepare: Pure function of a row and a random generator that is its own; runs in threads.
        seed: Of order and of each row's generator.
        pool_blocks: Row groups whose rows are shuffled together; bounds the memory.
        threads: Rows decoded and prepared at once.
        label_filter: Which labels are good enough. A row that is skipped keeps its place, so that
            the order of the others does not depend on the filter.
        max_damaged: Largest share of damaged rows, 0 to 1.
        tally: What became of the rows up to where it is taken up; goes on counting in place, row
            by row as they are drawn.

    Raises:
        ValueError: Less than one block for each rank.
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
    max_damaged: float = 0.01
    tally: Tally = field(default_factory=Tally)
    _order: Order = field(init=False)

    def __post_init__(self) -> None:
        """Fix the order."""
        self._order = Order(self.blocks, self.seed, self.rank, self.world_size, self.pool_blocks)

    def rows_from(self, start: Cursor) -> Generator[Drawn[Prepared]]:
        """Prepared rows from a cursor on, epoch after epoch, without those that cannot be used.

        Raises:
            SourceError: A shard is not in the store, or a whole epoch has no usable row.
            ShardCorruptError: More is damaged than may be.
            StorageError: The store does not answer.
        """
        epoch, useful = start.epoch, start.row > 0
        for outcome, cursor in self._outcomes(start):
            if cursor.epoch > epoch:
                self._check_epoch(useful)
                epoch, useful = cursor.epoch, False
            if isinstance(outcome, _Ready):
                useful = True
                self.tally.add(None)
            else:
                self.tally.add(outcome)
            self.tally.check(self.max_damaged)
            if isinstance(outcome, _Ready):
                yield Drawn(outcome.value, cursor)

    def _check_epoch(self, useful: bool) -> None:
        self.tally.check(self.max_damaged, epoch_ends=True)
        if not useful:
            reasons = dict(self.tally.skipped + self.tally.damaged)
            raise SourceError(f"no usable training row in a whole epoch: {reasons}")

    def _outcomes(self, start: Cursor) -> Generator[tuple[_Outcome[Prepared], Cursor]]:
        """What became of each row, in order; rows are prepared some way ahead."""
        placed = rows_of_pools(
            self._order.pools_from(start),
            partial(read_block, self.store, label_filter=self.label_filter),
            max_rows=(self.pool_blocks + SPARE_BLOCKS) * ROW_GROUP_ROWS,
        )
        with closing(placed), self._workers() as begin:
            ahead = deque[tuple[Future[_Attempt[Prepared]] | Skip | Damage, Cursor]]()
            try:
                for each in placed:
                    row, cursor = each.row, each.cursor
                    ahead.append(
                        (begin(row, cursor) if isinstance(row, StoredRow) else row, cursor)
                    )
                    if len(ahead) > AHEAD_PER_THREAD * self.threads + FETCHERS:
                        first, position = ahead.popleft()
                        yield first.result() if isinstance(first, Future) else first, position
            finally:
                for waiting, _ in ahead:
                    if isinstance(waiting, Future):
                        waiting.cancel()

    @contextmanager
    def _workers(
        self,
    ) -> Iterator[Callable[[StoredRow, Cursor], Future[_Attempt[Prepared]]]]:
        """Begins to fetch, decode and prepare a row in threads."""
        with (
            ThreadPoolExecutor(FETCHERS, thread_name_prefix="training-fetch") as fetchers,
            ThreadPoolExecutor(self.threads, thread_name_prefix="training-decode") as decoders,
        ):

            def begin(row: StoredRow, cursor: Cursor) -> Future[_Attempt[Prepared]]:
                # A decoder that waited for a file itself would decode nothing meanwhile.
                fetched = None if row.has_bytes else fetchers.submit(load_row, row)
                return decoders.submit(self._prepared, row, fetched, cursor)

            yield begin

    def _prepared(
        self, row: StoredRow, fetched: Future[bytes | Damage] | None, cursor: Cursor
    ) -> _Attempt[Prepared]:
        data = load_row(row) if fetched is None else fetched.result()
        decoded = data if isinstance(data, Damage) else decode_row(row, data)
        if isinstance(decoded, Damage):
            return decoded
        return _Ready(self.prepare(decoded, self._order.generator(cursor)))
