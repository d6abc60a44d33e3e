"""The order of rows by its properties: every row once per epoch, over any number of ranks."""

from collections import Counter
from itertools import takewhile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.shards import ROW_GROUP_ROWS
from pipeline.training_order import Block, Cursor, Order, Pool, TrainingShard, blocks_of

sizes = st.lists(st.integers(1, 3 * ROW_GROUP_ROWS), min_size=1, max_size=9)


def shards_of(rows: list[int]) -> list[TrainingShard]:
    return [TrainingShard(f"shard-{number}", count) for number, count in enumerate(rows)]


def order(blocks: list[Block], **options: int) -> Order:
    return Order(blocks, **{"seed": 0, "rank": 0, "world_size": 1, "pool_blocks": 3, **options})


def epoch_of(order: Order, epoch: int) -> list[Pool]:
    pools = order.pools_from(Cursor(epoch))
    return list(takewhile(lambda pool: pool.epoch == epoch, pools))


def rows_of(pools: list[Pool]) -> list[tuple[str, int, int]]:
    """Shard, row group and row of what is drawn from some pools, in order."""
    drawn = []
    for pool in pools:
        rows = [(b.shard.image_key, b.row_group, row) for b in pool.blocks for row in range(b.rows)]
        drawn += [rows[place] for place in pool.order[pool.done :]]
    return drawn


@settings(deadline=None)
@given(rows=sizes)
def test_blocks_cover_every_row_in_row_groups(rows: list[int]) -> None:
    blocks = blocks_of(shards_of(rows))
    counted: Counter[str] = Counter()
    for block in blocks:
        assert 1 <= block.rows <= ROW_GROUP_ROWS
        assert block.row_group * ROW_GROUP_ROWS == counted[block.shard.image_key]
        counted[block.shard.image_key] += block.rows
    assert [counted[f"shard-{number}"] for number in range(len(rows))] == rows


@settings(deadline=None)
@given(
    rows=sizes,
    world_size=st.integers(1, 7),
    pool_blocks=st.integers(1, 20),
    seed=st.integers(0, 3),
    epoch=st.integers(0, 2),
)
def test_each_row_comes_once_per_epoch_over_all_ranks(
    rows: list[int], world_size: int, pool_blocks: int, seed: int, epoch: int
) -> None:
    blocks = blocks_of(shards_of(rows))
    if len(blocks) < world_size:
        with pytest.raises(ValueError, match="use fewer workers"):
            order(blocks, world_size=world_size)
        return
    seen: Counter[tuple[str, int, int]] = Counter()
    for rank in range(world_size):
        mine = order(blocks, world_size=world_size, rank=rank, pool_blocks=pool_blocks, seed=seed)
        pools = epoch_of(mine, epoch)
        starts = np.cumsum([0, *(len(pool.order) for pool in pools)])
        assert [pool.start for pool in pools] == starts[:-1].tolist()
        seen.update(rows_of(pools))
    assert set(seen.values()) == {1}
    assert seen.total() == sum(rows)


@settings(deadline=None)
@given(rows=sizes, pool_blocks=st.integers(1, 5), data=st.data())
def test_going_on_draws_the_rest_and_begins_with_the_pool_of_the_cursor(
    rows: list[int], pool_blocks: int, data: st.DataObject
) -> None:
    whole = order(blocks_of(shards_of(rows)), pool_blocks=pool_blocks)
    everything = epoch_of(whole, 2)
    row = data.draw(st.integers(0, sum(rows)))
    pools = whole.pools_from(Cursor(2, row))
    rest = list(takewhile(lambda pool: pool.epoch == 2, pools))
    assert rows_of(rest) == rows_of(everything)[row:]
    if rest:
        first = rest[0]
        assert first.start <= row < first.start + len(first.order)


def test_epochs_ranks_and_seeds_shuffle_differently() -> None:
    blocks = blocks_of(shards_of([500, 300]))
    first = rows_of(epoch_of(order(blocks), 0))
    assert first == rows_of(epoch_of(order(blocks), 0))
    assert first != rows_of(epoch_of(order(blocks), 1))
    assert first != rows_of(epoch_of(order(blocks, seed=1), 0))
    assert first != sorted(first)


def test_a_pool_mixes_rows_of_all_its_row_groups() -> None:
    blocks = blocks_of(shards_of([ROW_GROUP_ROWS] * 8))
    (pool,) = epoch_of(order(blocks, pool_blocks=8), 0)
    groups = pool.order[:ROW_GROUP_ROWS] // ROW_GROUP_ROWS
    # Of 64 rows drawn from 8 x 64 each row group gives 8 on average, with a deviation of 2.5.
    assert (np.bincount(groups, minlength=8) > 0).all()


def test_rows_have_random_numbers_of_their_own() -> None:
    mine = order(blocks_of(shards_of([100, 100])))
    other = order(blocks_of(shards_of([100, 100])), rank=1, world_size=2)
    cursors = [Cursor(epoch, row) for epoch in range(3) for row in range(1, 40)]
    drawn = [each.generator(cursor).random() for each in (mine, other) for cursor in cursors]
    assert len(set(drawn)) == len(drawn)
    assert drawn[: len(cursors)] == [mine.generator(cursor).random() for cursor in cursors]
