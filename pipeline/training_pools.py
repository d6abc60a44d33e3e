"""Pools of rows, read ahead: while one is drawn from, threads read the next.

A pool has to be there whole before its first row is drawn. Read only then, each pool would be a
stall of as long as the store takes for it. Each row that is drawn makes room for another, so that
two pools are under way in the memory of little more than one.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from pipeline.training_order import Block, Cursor, Pool

Row = TypeVar("Row")

READERS = 4


@dataclass(frozen=True, slots=True)
class Placed(Generic[Row]):
    """A row, and the cursor from which to go on after it."""

    row: Row
    cursor: Cursor


def rows_of_pools(
    pools: Iterator[Pool],
    read: Callable[[Block], list[Row]],
    *,
    max_rows: int,
    readers: int = READERS,
) -> Generator[Placed[Row]]:
    """Rows of pools in the order that the pools say.

    Args:
        pools: Without end.
        read: The rows of a row group, as many as it says; runs in threads.
        max_rows: Rows in memory or being read. A pool that is larger is read whole all the same.
        readers: Row groups read at once.

    Raises:
        Exception: What reading raised, when the pool's turn comes.
    """
    with ThreadPoolExecutor(readers, thread_name_prefix="training-read") as executor:
        ahead = _Ahead(pools, read, max_rows, executor)
        try:
            while True:
                yield from ahead.next_pool()
        finally:
            ahead.cancel()


@dataclass(slots=True)
class _Loading(Generic[Row]):
    """A pool whose row groups are being read, one after the other."""

    pool: Pool
    requested: int = 0
    futures: list[Future[list[Row]]] = field(default_factory=list)

    @property
    def missing(self) -> Block | None:
        """The next row group that nobody was asked to read."""
        blocks = self.pool.blocks
        return blocks[self.requested] if self.requested < len(blocks) else None

    def request(self, read: Callable[[Block], list[Row]], executor: Executor) -> None:
        """Have the missing row group read."""
        self.futures.append(executor.submit(read, self.pool.blocks[self.requested]))
        self.requested += 1

    def rows(self) -> list[Row | None]:
        """All rows, when they are there; the futures, which would hold on to them, are let go."""
        rows: list[Row | None] = [row for future in self.futures for row in future.result()]
        self.futures.clear()
        return rows


@dataclass(slots=True)
class _Ahead(Generic[Row]):
    """The pool that is drawn from, and the one after it.

    Attributes:
        held: Rows in memory or being read.
    """

    pools: Iterator[Pool]
    read: Callable[[Block], list[Row]]
    max_rows: int
    executor: Executor
    held: int = 0
    _queue: deque[_Loading[Row]] = field(default_factory=deque)

    def next_pool(self) -> Iterator[Placed[Row]]:
        """The rows of the next pool; each is forgotten when it is drawn."""
        self._request()
        loading = self._queue[0]
        pool, rows = loading.pool, loading.rows()
        for place in pool.order[: pool.done]:
            rows[place] = None
        self.held -= pool.done
        for drawn, place in enumerate(pool.order[pool.done :], pool.done + 1):
            row, rows[place] = rows[place], None
            self.held -= 1
            self._request()
            assert row is not None
            yield Placed(row, Cursor(pool.epoch, pool.start + drawn))
        self._queue.popleft()

    def cancel(self) -> None:
        """Begin nothing more."""
        for loading in self._queue:
            for future in loading.futures:
                future.cancel()

    def _request(self) -> None:
        """Have read what there is room for, of this pool and the next."""
        while True:
            if not self._queue or (self._queue[-1].missing is None and len(self._queue) == 1):
                self._queue.append(_Loading(next(self.pools)))
            loading = self._queue[-1]
            block = loading.missing
            first = len(self._queue) == 1
            if block is None or (not first and self.held + block.rows > self.max_rows):
                return
            self.held += block.rows
            loading.request(self.read, self.executor)
