"""Reading pools ahead: the same rows as without, in bounded memory, and without a pause."""

import gc
import threading
import weakref
from collections.abc import Iterator
from contextlib import closing
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import StorageError
from pipeline.training_order import Block, Cursor, Order, TrainingShard, blocks_of
from pipeline.training_pools import rows_of_pools

Name = tuple[str, int, int]


class Row:
    """A row that can be asked whether it is still in memory."""

    def __init__(self, name: Name) -> None:
        self.name = name


def order(rows: list[int], *, pool_blocks: int) -> Order:
    shards = [TrainingShard(f"shard-{number}", count) for number, count in enumerate(rows)]
    return Order(blocks_of(shards), seed=0, rank=0, world_size=1, pool_blocks=pool_blocks)


def read(block: Block) -> list[Row]:
    return [Row((block.shard.image_key, block.row_group, row)) for row in range(block.rows)]


def one_by_one(order: Order, start: Cursor) -> Iterator[tuple[Name, Cursor]]:
    """What is to come, without anything ahead."""
    for pool in order.pools_from(start):
        rows = [row.name for block in pool.blocks for row in read(block)]
        for number, place in enumerate(pool.order):
            if number >= pool.done:
                yield rows[place], Cursor(pool.epoch, pool.start + number + 1)


@settings(deadline=None, max_examples=50)
@given(
    rows=st.lists(st.integers(1, 200), min_size=1, max_size=5),
    pool_blocks=st.integers(1, 6),
    spare=st.integers(0, 200),
    row=st.integers(0, 300),
)
def test_rows_and_cursors_are_those_of_the_pools(
    rows: list[int], pool_blocks: int, spare: int, row: int
) -> None:
    mine, start = order(rows, pool_blocks=pool_blocks), Cursor(1, row)
    pools = mine.pools_from(start)
    with closing(rows_of_pools(pools, read, max_rows=64 * pool_blocks + spare)) as ahead:
        found = [(each.row.name, each.cursor) for each in islice(ahead, 250)]
    assert found == list(islice(one_by_one(mine, start), 250))


@pytest.mark.parametrize("rows", [[1000, 700, 64, 65, 1], [7], [64] * 20])
def test_rows_in_memory_never_exceed_what_is_allowed(rows: list[int]) -> None:
    alive: weakref.WeakSet[Row] = weakref.WeakSet()
    asked = 0
    lock = threading.Lock()

    def reading(block: Block) -> list[Row]:
        nonlocal asked
        made = read(block)
        with lock:
            asked += len(made)
            alive.update(made)
        return made

    limit = 6 * 64
    pools = order(rows, pool_blocks=4).pools_from(Cursor())
    with closing(rows_of_pools(pools, reading, max_rows=limit)) as ahead:
        most_alive = most_asked = 0
        for drawn, _ in enumerate(islice(ahead, 6000), 1):
            with lock:
                most_asked = max(most_asked, asked - drawn)
                most_alive = max(most_alive, len(alive))
    assert most_asked <= limit
    assert most_alive <= limit + 2  # one is handed out, one is remembered by this loop


def test_nothing_is_remembered_after_closing() -> None:
    ahead = rows_of_pools(order([500], pool_blocks=3).pools_from(Cursor()), read, max_rows=256)
    kept = weakref.ref(next(ahead).row)
    ahead.close()
    gc.collect()
    assert kept() is None
    assert not [t for t in threading.enumerate() if t.name.startswith("training-read")]


def test_only_the_pool_of_the_cursor_and_later_ones_are_read() -> None:
    mine = order([640], pool_blocks=2)
    pools = list(islice(mine.pools_from(Cursor()), 5))  # of 128 rows each
    seen: list[Block] = []

    def reading(block: Block) -> list[Row]:
        seen.append(block)
        return read(block)

    with closing(
        rows_of_pools(mine.pools_from(Cursor(0, 300)), reading, max_rows=128, readers=1)
    ) as ahead:
        assert next(ahead).cursor == Cursor(0, 301)
    assert set(seen) <= {block for pool in pools[2:4] for block in pool.blocks}
    assert seen[:2] == list(pools[2].blocks)


def test_the_next_pool_is_read_while_this_one_is_drawn_from() -> None:
    mine = order([64 * 12], pool_blocks=4)
    second = list(islice(mine.pools_from(Cursor()), 2))[1].blocks
    done = {block: threading.Event() for block in mine.blocks}

    def reading(block: Block) -> list[Row]:
        done[block].set()
        return read(block)

    with closing(rows_of_pools(mine.pools_from(Cursor()), reading, max_rows=6 * 64)) as ahead:
        for number in range(1, 130):
            next(ahead)
            ready = [block for block in second if done[block].wait(0 if number < 129 else 5)]
        assert ready == list(second), "half of the first pool is still to be drawn"


def test_what_reading_raises_comes_when_the_pool_is_due() -> None:
    mine = order([64 * 8], pool_blocks=2)
    broken = list(islice(mine.pools_from(Cursor()), 2))[1].blocks[0]

    def reading(block: Block) -> list[Row]:
        if block == broken:
            raise StorageError("no answer from there")
        return read(block)

    ahead = rows_of_pools(mine.pools_from(Cursor()), reading, max_rows=4 * 64)
    assert len(list(islice(ahead, 128))) == 128
    with pytest.raises(StorageError, match="no answer from there"):
        next(ahead)
