"""The order of training rows: every row once per epoch, whoever reads it, wherever it goes on."""

from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import ShardCorruptError, SourceError
from pipeline.shards import ROW_GROUP_ROWS
from pipeline.storage import Store
from pipeline.training_input import (
    Cursor,
    TrainingRow,
    TrainingShard,
    TrainingStream,
    blocks_of,
)
from tests.factories import image_shard, label_shard, referenced_shard

ROWS = (70, 130, 5)  # a full row group and a piece, two and a piece, a piece


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(str(tmp_path_factory.mktemp("store")))


@pytest.fixture(scope="module")
def shards(store: Store) -> list[TrainingShard]:
    starts = (0, 1000, 2000)
    made = [
        image_shard(store, range(start, start + rows), truth=True)
        for start, rows in zip(starts, ROWS, strict=True)
    ]
    return [TrainingShard(shard.key, shard.rows) for shard in made]


def draw(row: TrainingRow, generator: np.random.Generator) -> tuple[str, float]:
    return row.sample_id, float(generator.random())


def stream(
    store: Store, shards: list[TrainingShard], **options: int
) -> TrainingStream[tuple[str, float]]:
    options = {"seed": 3, "pool_blocks": 2, **options}
    return TrainingStream(store=store, blocks=blocks_of(shards), prepare=draw, **options)  # type: ignore[arg-type]


def take(
    source: TrainingStream[tuple[str, float]], count: int, start: Cursor | None = None
) -> list[tuple[str, float]]:
    return [drawn.value for drawn in islice(source.rows_from(start or Cursor()), count)]


def test_blocks_are_the_row_groups(shards: list[TrainingShard]) -> None:
    sizes = [(block.row_group, block.rows) for block in blocks_of(shards)]
    full = ROW_GROUP_ROWS
    assert sizes == [(0, full), (1, 70 - full), (0, full), (1, full), (2, 130 - 2 * full), (0, 5)]


def test_every_row_once_per_epoch_and_epochs_differ(
    store: Store, shards: list[TrainingShard]
) -> None:
    drawn = take(stream(store, shards), 2 * sum(ROWS))
    first, second = drawn[: sum(ROWS)], drawn[sum(ROWS) :]
    assert set(Counter(name for name, _ in first).values()) == {1}
    assert {name for name, _ in first} == {name for name, _ in second}
    assert len(first) == sum(ROWS)
    assert [name for name, _ in first] != [name for name, _ in second]


def test_ranks_share_an_epoch_without_gap_or_overlap(
    store: Store, shards: list[TrainingShard]
) -> None:
    seen: Counter[str] = Counter()
    for rank in range(3):
        rows = stream(store, shards, rank=rank, world_size=3).rows_from(Cursor())
        seen.update(drawn.value[0] for drawn in _first_epoch(rows))
    assert len(seen) == sum(ROWS)
    assert set(seen.values()) == {1}


def _first_epoch(rows):  # type: ignore[no-untyped-def]
    for drawn in rows:
        if drawn.cursor.epoch > 0:
            return
        yield drawn


@pytest.mark.parametrize("stop", [1, 63, 64, 130, 204, 205, 206, 300])
def test_going_on_from_a_cursor_changes_nothing(
    store: Store, shards: list[TrainingShard], stop: int
) -> None:
    whole = take(stream(store, shards), 420)
    cursor = list(islice(stream(store, shards).rows_from(Cursor()), stop))[-1].cursor
    assert take(stream(store, shards), 420 - stop, cursor) == whole[stop:]


def test_order_and_randomness_follow_from_the_seed_alone(
    store: Store, shards: list[TrainingShard]
) -> None:
    assert take(stream(store, shards), 100) == take(stream(store, shards, threads=7), 100)
    assert take(stream(store, shards), 100) != take(stream(store, shards, seed=4), 100)


def test_labels_come_with_their_images_and_quarantined_rows_are_counted(
    store: Store, shards: list[TrainingShard]
) -> None:
    shard = image_shard(store, range(5000, 5070))
    key = label_shard(store, shard, quarantined=lambda index: index % 7 == 0)
    values: dict[str, float] = {}

    def keep(row: TrainingRow, generator: np.random.Generator) -> str:
        values[row.sample_id] = float(np.median(row.truth.values_HW))
        return row.sample_id

    labelled = TrainingStream(
        store=store,
        blocks=blocks_of([TrainingShard(shard.key, shard.rows, key)]),
        prepare=keep,
        seed=0,
    )
    names = [drawn.value for drawn in _first_epoch(labelled.rows_from(Cursor()))]
    assert len(names) == 60
    from pipeline.shards import read_image_rows

    order = [record.sample_id for record in read_image_rows(store, shard.key)]
    for name in names:
        assert values[name] == pytest.approx(order.index(name), abs=0.01)
    assert labelled.skipped["decode_failed"] >= 10


def test_labels_of_another_shard_are_refused(store: Store) -> None:
    one, other = (image_shard(store, range(start, start + 5)) for start in (7000, 8000))
    mismatched = TrainingShard(one.key, 5, label_shard(store, other))
    with pytest.raises(ShardCorruptError, match="lies where"):
        take(stream(store, [mismatched]), 1)


def test_a_set_without_a_single_usable_row_ends(store: Store) -> None:
    shard = image_shard(store, range(9000, 9010))
    key = label_shard(store, shard, quarantined=lambda index: True)
    with pytest.raises(SourceError, match="decode_failed"):
        take(stream(store, [TrainingShard(shard.key, 10, key)]), 1)


def test_too_little_for_the_workers_is_refused(store: Store, shards: list[TrainingShard]) -> None:
    with pytest.raises(ValueError, match="6 row groups cannot feed 7 workers"):
        stream(store, shards, world_size=7)


def test_images_that_are_only_referred_to_are_read_where_they_lie(
    store: Store, tmp_path: Path
) -> None:
    shard = referenced_shard(store, tmp_path, range(5), truth=True)
    drawn = take(stream(store, [TrainingShard(shard.key, 5)]), 5)
    assert len({name for name, _ in drawn}) == 5
