"""The order of training rows: every row once per epoch, whoever reads it, wherever it goes on."""

import collections
import gc
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.damage import Tally
from pipeline.depth_codec import CODECS, encode, quantise
from pipeline.errors import ShardCorruptError, SourceError
from pipeline.label_filter import LabelFilter
from pipeline.labels import write_label_shard
from pipeline.records import LabelRecord, ShardRef
from pipeline.shards import ROW_GROUP_ROWS, read_image_rows
from pipeline.storage import Store
from pipeline.training_input import (
    AHEAD_PER_THREAD,
    FETCHERS,
    SPARE_BLOCKS,
    Cursor,
    Drawn,
    TrainingRow,
    TrainingShard,
    TrainingStream,
    blocks_of,
)
from pipeline.training_rows import StoredRow
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
    store: Store, shards: list[TrainingShard], **options: Any
) -> TrainingStream[tuple[str, float]]:
    options = {"seed": 3, "pool_blocks": 2, **options}
    return TrainingStream(store=store, blocks=blocks_of(shards), prepare=draw, **options)


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


def _first_epoch(rows: Iterator[Drawn[Any]]) -> Iterator[Drawn[Any]]:
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
    order = [record.sample_id for record in read_image_rows(store, shard.key)]
    for name in names:
        assert values[name] == pytest.approx(order.index(name), abs=0.01)
    assert labelled.tally.skipped["decode_failed"] == 10


def test_labels_of_another_shard_are_refused(store: Store) -> None:
    one, other = (image_shard(store, range(start, start + 5)) for start in (7000, 8000))
    mismatched = TrainingShard(one.key, 5, label_shard(store, other))
    with pytest.raises(ShardCorruptError, match=r"foreign_label.*lies there"):
        take(stream(store, [mismatched]), 1)


def test_a_set_without_a_single_usable_row_ends(store: Store) -> None:
    shard = image_shard(store, range(9000, 9010))
    key = label_shard(store, shard, quarantined=lambda index: True)
    with pytest.raises(SourceError, match="decode_failed"):
        take(stream(store, [TrainingShard(shard.key, 10, key)]), 1)


def quality_labels(store: Store, shard: ShardRef) -> str:
    """Row i is saturated to i / 100, agrees with its mirror to 1 - i / 50; each tenth is gone."""
    map_ = quantise(np.linspace(0, 1, 42 * 56, dtype=np.float32).reshape(42, 56))
    rows = []
    for index, image in enumerate(read_image_rows(store, shard.key)):
        if index % 10 == 9:
            rows.append(LabelRecord(image.sample_id, image.sha256, "quarantined", "decode_failed"))
            continue
        rows.append(
            LabelRecord(
                sample_id=image.sample_id,
                sha256=image.sha256,
                status="labelled",
                codec=CODECS[16],
                disparity=encode(map_),
                minimum=map_.minimum,
                maximum=map_.maximum,
                height=42,
                width=56,
                geometry="disparity_affine_invariant",
                saturated=index / 100,
                flat=0.5,
                flip_correlation=1 - index / 50,
            )
        )
    key = f"labels/quality/{shard.shard_id}/0001.parquet"
    return write_label_shard(store, rows, key=key, footer={}).key


@pytest.fixture(scope="module")
def quality_shard(store: Store) -> TrainingShard:
    shard = image_shard(store, range(6000, 6100))
    return TrainingShard(shard.key, shard.rows, quality_labels(store, shard))


def test_a_filter_takes_rows_away_and_leaves_the_others_as_they_were(
    store: Store, quality_shard: TrainingShard
) -> None:
    images = list(read_image_rows(store, quality_shard.image_key))
    number = {image.sample_id: index for index, image in enumerate(images)}
    everything = list(
        islice(stream(store, [quality_shard]).rows_from(Cursor()), 180)  # two epochs of 90 labels
    )
    strict = LabelFilter(max_saturated=0.6, min_flip_correlation=0.0)
    filtered = stream(store, [quality_shard], label_filter=strict)
    expected = [row for row in everything if number[row.value[0]] <= 50]
    assert len(expected) == 2 * 46  # of 0 … 50 the five that end in 9 are quarantined
    found = list(islice(filtered.rows_from(Cursor()), len(expected)))
    assert found == expected  # sample, its random numbers, and the cursor after it
    middle = found[30].cursor
    resumed = stream(store, [quality_shard], label_filter=strict)
    assert list(islice(resumed.rows_from(middle), 40)) == expected[31:71]


def test_what_a_filter_skips_is_counted_once_under_its_first_reason(
    store: Store, quality_shard: TrainingShard
) -> None:
    strict = LabelFilter(max_saturated=0.6, min_flip_correlation=0.0)
    filtered = stream(store, [quality_shard], label_filter=strict)
    epoch = list(_first_epoch(filtered.rows_from(Cursor())))
    assert len(epoch) == 46
    # The first row of the second epoch was drawn too, and what is skipped before it counted.
    second = stream(store, [quality_shard], label_filter=strict)
    take(second, 1, Cursor(epoch=1))
    assert filtered.tally.used == 47
    skipped = filtered.tally.skipped - second.tally.skipped
    # 61 … 98 without 69, 79, 89; 51 … 60 without 59; ten ending in 9
    assert skipped == {"saturated": 35, "inconsistent": 9, "decode_failed": 10}


def test_a_set_of_which_nothing_passes_ends(store: Store, quality_shard: TrainingShard) -> None:
    with pytest.raises(SourceError, match=r"no usable training row.*'flat'"):
        take(stream(store, [quality_shard], label_filter=LabelFilter(max_flat=0.1)), 1)


def test_too_little_for_the_workers_is_refused(store: Store, shards: list[TrainingShard]) -> None:
    with pytest.raises(ValueError, match="6 row groups cannot feed 7 workers"):
        stream(store, shards, world_size=7)


def test_images_that_are_only_referred_to_are_read_where_they_lie(
    store: Store, tmp_path: Path
) -> None:
    shard = referenced_shard(store, tmp_path, range(5), truth=True)
    drawn = take(stream(store, [TrainingShard(shard.key, 5)]), 5)
    assert len({name for name, _ in drawn}) == 5


def damaged_shard(store: Store, start: int, *, rows: int, damaged: int) -> TrainingShard:
    """Ground truth for all, and the first images are no images."""
    junk = {index: b"no picture" for index in range(start, start + damaged)}
    shard = image_shard(store, range(start, start + rows), truth=True, replace=junk)
    return TrainingShard(shard.key, shard.rows)


def test_damaged_rows_are_left_out_and_named(store: Store) -> None:
    shard = damaged_shard(store, 20_000, rows=80, damaged=3)
    source = stream(store, [shard], max_damaged=0.05)
    names = [name for name, _ in take(source, 2 * 77)]
    broken = {record.sample_id for record in list(read_image_rows(store, shard.image_key))[:3]}
    assert set(Counter(names).values()) == {2}
    assert not broken & set(names)
    assert {(damage.key, damage.sample_id) for damage in source.tally.named} <= {
        (shard.image_key, name) for name in broken
    }
    assert source.tally.damaged["not_an_image"] >= 3


def test_too_much_damage_in_a_small_set_ends_its_first_epoch(store: Store) -> None:
    source = stream(store, [damaged_shard(store, 21_000, rows=60, damaged=3)], max_damaged=0.04)
    with pytest.raises(ShardCorruptError, match=r"3 of 60 .* 5\.00%.*not_an_image"):
        take(source, 58)
    assert source.tally.used == 57


def test_too_much_damage_ends_a_large_set_long_before_its_epoch_does(store: Store) -> None:
    source = stream(store, [damaged_shard(store, 22_000, rows=400, damaged=60)], max_damaged=0.01)
    with pytest.raises(ShardCorruptError, match="of 200 training rows are damaged"):
        take(source, 340)


@pytest.mark.parametrize("stop", [1, 17, 45, 46, 60, 91])
def test_counts_go_on_where_a_run_was_interrupted(
    store: Store, quality_shard: TrainingShard, stop: int
) -> None:
    """Whatever was read ahead of the cursor is not counted, and nothing is counted twice."""
    shards = [quality_shard, damaged_shard(store, 23_000, rows=30, damaged=2)]
    shards[1] = TrainingShard(shards[1].image_key, 30, label_shard_of(store, shards[1]))
    options: dict[str, Any] = {
        "label_filter": LabelFilter(max_saturated=0.6),
        "max_damaged": 0.1,
    }
    whole = stream(store, shards, **options)
    expected = list(islice(whole.rows_from(Cursor()), 150))
    first = stream(store, shards, threads=1, **options)
    drawn = list(islice(first.rows_from(Cursor()), stop))
    resumed = stream(store, shards, tally=Tally.of(first.tally.state()), **options)
    drawn += islice(resumed.rows_from(drawn[-1].cursor), 150 - stop)
    assert drawn == expected
    assert resumed.tally == whole.tally
    assert whole.tally.damaged.total() > 0
    assert whole.tally.used == 150


def label_shard_of(store: Store, shard: TrainingShard) -> str:
    rows = []
    map_ = quantise(np.eye(14, dtype=np.float32))
    for image in read_image_rows(store, shard.image_key):
        rows.append(
            LabelRecord(
                sample_id=image.sample_id,
                sha256=image.sha256,
                status="labelled",
                codec=CODECS[16],
                disparity=encode(map_),
                minimum=map_.minimum,
                maximum=map_.maximum,
                height=14,
                width=14,
                geometry="disparity_affine_invariant",
                saturated=0.0,
            )
        )
    key = f"labels/plain/{shard.image_key.split('/')[-1]}"
    if store.exists(key):
        return key
    return write_label_shard(store, rows, key=key, footer={}).key


def test_a_shard_that_is_gone_ends_the_run_by_its_name(
    store: Store, shards: list[TrainingShard]
) -> None:
    gone = TrainingShard("sources/pictures/gone.parquet", 5)
    with pytest.raises(ShardCorruptError, match=r"gone: .*sources/pictures/gone\.parquet"):
        take(stream(store, [*shards, gone]), sum(ROWS))


def test_nothing_goes_on_after_the_stream_is_closed(
    store: Store, shards: list[TrainingShard]
) -> None:
    rows = stream(store, shards).rows_from(Cursor())
    next(rows)
    assert [thread for thread in threading.enumerate() if thread.name.startswith("training-")]
    rows.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("training-")]


def test_rows_in_memory_are_bounded_over_epochs(store: Store, shards: list[TrainingShard]) -> None:
    """As many as the pool of 2 row groups and the spare ones have, and as are decoded ahead."""
    ahead = AHEAD_PER_THREAD * 1 + FETCHERS + 1
    with closing(stream(store, shards, threads=1).rows_from(Cursor())) as rows:
        for _ in range(8):
            collections.deque(islice(rows, 150), maxlen=0)
            kept = Counter(type(each) for each in gc.get_objects())
            assert 0 < kept[StoredRow] <= (2 + SPARE_BLOCKS) * ROW_GROUP_ROWS + ahead
            assert kept[TrainingRow] <= 2
