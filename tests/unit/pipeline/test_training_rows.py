"""Rows out of the store: what is needed is read, what is broken is named, the rest is as it was."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.damage import Damage, Skip
from pipeline.errors import ShardCorruptError, StorageError
from pipeline.filesystems import checked_file
from pipeline.label_filter import EVERY_LABEL, LabelFilter
from pipeline.labels import read_label_group, read_label_rows, write_label_shard
from pipeline.records import ImageRecord, ShardRef, Truth
from pipeline.shards import read_image_rows, write_image_shard
from pipeline.sky_masks import SkyRow, describe_sky, write_sky_shard
from pipeline.storage import Store
from pipeline.training_order import TrainingShard, blocks_of
from pipeline.training_rows import StoredRow, TrainingRow, decode_row, load_row, read_block
from tests.factories import HEIGHT, WIDTH, image_record, image_shard, label_shard, png

ROWS = 70


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(str(tmp_path_factory.mktemp("store")))


@pytest.fixture(scope="module")
def pictures(store: Store) -> ShardRef:
    return image_shard(store, range(ROWS))


@pytest.fixture(scope="module")
def measured(store: Store) -> ShardRef:
    return image_shard(store, range(1000, 1000 + ROWS), truth=True)


@pytest.fixture(scope="module")
def labels(store: Store, pictures: ShardRef) -> str:
    return label_shard(store, pictures, quarantined=lambda index: index % 10 == 3)


def rows_of(
    store: Store, shard: TrainingShard, label_filter: LabelFilter = EVERY_LABEL
) -> list[TrainingRow | Damage | Skip]:
    return [
        _decoded(row) if isinstance(row, StoredRow) else row
        for block in blocks_of([shard])
        for row in read_block(store, block, label_filter=label_filter)
    ]


def _decoded(row: StoredRow) -> TrainingRow | Damage:
    data = load_row(row)
    return data if isinstance(data, Damage) else decode_row(row, data)


def spoilt(store: Store, key: str, *columns: str, group: int = 0) -> str:
    """A copy of a shard in which the pages of some columns are overwritten."""
    data = bytearray(store.get(key))
    with store.open(key) as file, pq.ParquetFile(file) as parquet:
        chunks = parquet.metadata.row_group(group)
        for number in range(chunks.num_columns):
            chunk = chunks.column(number)
            if chunk.path_in_schema in columns:
                start = chunk.dictionary_page_offset or chunk.data_page_offset
                data[start : start + chunk.total_compressed_size] = (
                    b"\xff" * chunk.total_compressed_size
                )
    copy = f"spoilt/{'-'.join(columns)}-{group}/{key}"
    store.put(copy, bytes(data))
    return copy


def changed_shard(store: Store, change: Callable[[int, ImageRecord], ImageRecord]) -> ShardRef:
    records = [change(index, image_record(index, truth=True)) for index in range(5)]
    return write_image_shard(store, records, source="changed", code_version="test")


def test_ground_truth_is_what_was_ingested(store: Store, measured: ShardRef) -> None:
    found = rows_of(store, TrainingShard(measured.key, ROWS))
    for row, record in zip(found, read_image_rows(store, measured.key), strict=True):
        assert isinstance(row, TrainingRow)
        assert row.sample_id == record.sample_id
        assert record.truth is not None
        np.testing.assert_array_equal(row.truth.values_HW, record.truth.values_HW)
        assert row.image_HWC.shape == (HEIGHT, WIDTH, 3)


def test_shards_of_before_there_were_points_are_learnt_from(
    store: Store, measured: ShardRef
) -> None:
    with store.open(measured.key) as file, pq.ParquetFile(file) as parquet:
        older = io.BytesIO()
        with pq.ParquetWriter(older, parquet.schema_arrow.remove(_points(parquet))) as writer:
            for group in range(parquet.num_row_groups):
                writer.write_table(parquet.read_row_group(group).drop_columns("point_pairs"))
    store.put("older.parquet", older.getvalue())
    before, now = (
        rows_of(store, TrainingShard(key, ROWS)) for key in ("older.parquet", measured.key)
    )
    for row, same in zip(before, now, strict=True):
        assert isinstance(row, TrainingRow) and isinstance(same, TrainingRow)
        assert row.sample_id == same.sample_id
        np.testing.assert_array_equal(row.truth.values_HW, same.truth.values_HW)


def _points(parquet: pq.ParquetFile) -> int:
    return int(parquet.schema_arrow.get_field_index("point_pairs"))


def test_labels_come_with_their_images_and_others_keep_their_place(
    store: Store, pictures: ShardRef, labels: str
) -> None:
    found = rows_of(store, TrainingShard(pictures.key, ROWS, labels))
    assert len(found) == ROWS
    for index, row in enumerate(found):
        if index % 10 == 3:
            assert row == Skip("decode_failed")
        else:
            assert isinstance(row, TrainingRow)
            assert row.truth.values_HW[-1, -1] == pytest.approx(index, abs=1e-3)


def test_rows_without_ground_truth_are_left_out(store: Store, pictures: ShardRef) -> None:
    assert rows_of(store, TrainingShard(pictures.key, ROWS)) == [Skip("no_truth")] * ROWS


def test_maps_that_nobody_wants_are_not_read(store: Store, pictures: ShardRef, labels: str) -> None:
    unreadable = spoilt(store, labels, "disparity")
    rows = read_label_group(store, unreadable, 0, wanted=lambda label: False)
    expected = list(read_label_rows(store, labels, row_groups=[0], maps=False))
    assert rows == expected
    some = read_label_group(store, labels, 0, wanted=lambda label: label == expected[5])
    assert [place for place, row in enumerate(some) if row.disparity is not None] == [5]
    assert replace(some[5], disparity=None) == expected[5]


def test_of_a_row_group_without_a_wanted_row_nothing_but_the_signals_is_read(
    store: Store, pictures: ShardRef
) -> None:
    quarantined = label_shard(store, pictures, label_set="nothing", quarantined=lambda index: True)
    shard = TrainingShard(
        "sources/pictures/gone.parquet", ROWS, spoilt(store, quarantined, "disparity")
    )
    assert rows_of(store, shard) == [Skip("decode_failed")] * ROWS


def test_labels_that_say_nothing_of_their_quality_are_named(
    store: Store, pictures: ShardRef, labels: str
) -> None:
    found = rows_of(store, TrainingShard(pictures.key, ROWS, labels), LabelFilter(max_flat=0.5))
    damage = [row for row in found if isinstance(row, Damage)]
    assert len(damage) == ROWS - 7
    assert {row.reason for row in damage} == {"corrupt_label"}


def test_broken_images_are_named_and_the_others_are_there(store: Store) -> None:
    whole = png(3)
    shard = image_shard(
        store,
        range(3000, 3006),
        truth=True,
        replace={3001: whole[: len(whole) // 2], 3004: b"no picture at all"},
    )
    found = rows_of(store, TrainingShard(shard.key, 6))
    records = list(read_image_rows(store, shard.key))
    assert [isinstance(row, TrainingRow) for row in found] == [True, False, True, True, False, True]
    for place in (1, 4):
        row = found[place]
        assert isinstance(row, Damage)
        assert (row.key, row.sample_id) == (shard.key, records[place].sample_id)
        assert row.detail
    reasons = {row.reason for row in found if isinstance(row, Damage)}
    assert reasons == {"truncated", "not_an_image"}


def test_an_image_with_other_bytes_than_were_ingested_is_named(store: Store) -> None:
    shard = changed_shard(
        store, lambda index, record: replace(record, data=png(99)) if index == 2 else record
    )
    found = rows_of(store, TrainingShard(shard.key, 5))
    assert [getattr(row, "reason", None) for row in found] == [
        None,
        None,
        "wrong_bytes",
        None,
        None,
    ]


def test_a_file_that_is_gone_is_named(store: Store, tmp_path: Path) -> None:
    def referred(index: int, record: ImageRecord) -> ImageRecord:
        file = tmp_path / f"{index}.png"
        if index != 3:
            file.write_bytes(record.data or b"")
        return replace(record, data=None, uri=str(file))

    shard = changed_shard(store, referred)
    found = rows_of(store, TrainingShard(shard.key, 5))
    assert [getattr(row, "reason", None) for row in found] == [None] * 3 + ["missing_file", None]


@pytest.mark.parametrize(
    "change",
    [
        {"truth_sha256": "0" * 64},
        {"truth_width": 63},
        {"truth_map": b"no map"},
        {"truth_geometry": "height"},
        {"truth_codec": "other"},
        {"truth_height": None},
    ],
)
def test_ground_truth_that_is_not_what_was_ingested_is_named(
    store: Store, measured: ShardRef, change: dict[str, object]
) -> None:
    (block, *_) = blocks_of([TrainingShard(measured.key, ROWS)])
    row = read_block(store, block, label_filter=EVERY_LABEL)[0]
    assert isinstance(row, StoredRow)
    found = _decoded(replace(row, columns={**row.columns, **change}))
    assert isinstance(found, Damage)
    assert found.reason == "corrupt_truth"


def test_a_label_that_cannot_be_decoded_is_named(
    store: Store, pictures: ShardRef, labels: str
) -> None:
    rows = list(read_label_rows(store, labels))
    rows[1] = replace(rows[1], disparity=(rows[1].disparity or b"")[:20])
    rows[2] = replace(rows[2], maximum=None)
    rows[4] = replace(rows[4], codec="other")
    rows[5] = replace(rows[5], geometry="other")
    key = write_label_shard(store, rows, key="labels/broken/x/1.parquet", footer={}).key
    found = rows_of(store, TrainingShard(pictures.key, ROWS, key))
    damaged = [place for place, row in enumerate(found) if isinstance(row, Damage)]
    assert damaged == [1, 2, 4, 5]
    for place in damaged:
        row = found[place]
        assert isinstance(row, Damage)
        assert (row.key, row.reason) == (key, "corrupt_label")


def test_the_label_of_another_image_is_named(store: Store, pictures: ShardRef, labels: str) -> None:
    rows = list(read_label_rows(store, labels))
    rows[1], rows[2] = rows[2], rows[1]
    key = write_label_shard(store, rows, key="labels/swapped/x/1.parquet", footer={}).key
    found = rows_of(store, TrainingShard(pictures.key, ROWS, key))
    named = [row.reason for row in found if isinstance(row, Damage)]
    assert named == ["foreign_label"] * 2


@pytest.mark.parametrize("column", ["sample_id", "image.bytes", "truth_map"])
def test_a_row_group_that_cannot_be_read_is_damaged_as_a_whole_and_no_other(
    store: Store, measured: ShardRef, column: str
) -> None:
    key = spoilt(store, measured.key, column)
    found = rows_of(store, TrainingShard(key, ROWS))
    assert [isinstance(row, Damage) for row in found] == [True] * 64 + [False] * 6
    row = found[0]
    assert isinstance(row, Damage)
    assert (row.key, row.sample_id, row.reason) == (key, None, "corrupt_shard")
    assert key in row.detail


@pytest.mark.parametrize("content", [b"", b"PAR1", b"no Parquet at all, but long enough to look"])
def test_what_is_no_shard_is_damaged_as_a_whole(
    store: Store, pictures: ShardRef, content: bytes
) -> None:
    store.put("spoilt/none.parquet", content)
    shards = (
        TrainingShard("spoilt/none.parquet", 5),
        TrainingShard(pictures.key, 5, "spoilt/none.parquet"),
    )
    for shard in shards:
        found = rows_of(store, shard)
        assert {row.reason for row in found if isinstance(row, Damage)} == {"corrupt_shard"}
        assert len(found) == 5


def test_a_shard_of_another_length_is_damaged(
    store: Store, pictures: ShardRef, labels: str
) -> None:
    for shard in (TrainingShard(pictures.key, 10), TrainingShard(pictures.key, 10, labels)):
        assert {getattr(row, "reason", None) for row in rows_of(store, shard)} == {"corrupt_shard"}


def test_a_missing_shard_is_no_damage_but_the_end(store: Store, pictures: ShardRef) -> None:
    with pytest.raises(ShardCorruptError, match="sources/a/gone"):
        rows_of(store, TrainingShard("sources/a/gone.parquet", 5))
    with pytest.raises(ShardCorruptError, match="labels/a/gone"):
        rows_of(store, TrainingShard(pictures.key, ROWS, "labels/a/gone.parquet"))


class _Failing(io.RawIOBase):
    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return offset

    def tell(self) -> int:
        return 4096

    def readinto(self, buffer: object) -> int:
        raise OSError("the network is gone")


class _FailingStore(Store):
    """Answers that there is such an object, and then never again."""

    def open(self, key: str) -> BinaryIO:
        return checked_file(_Failing(), key, buffer_bytes=4096)


def test_a_store_that_fails_is_no_damage_but_the_end(store: Store, measured: ShardRef) -> None:
    with pytest.raises(StorageError, match="the network is gone"):
        rows_of(_FailingStore(store.uri), TrainingShard(measured.key, ROWS))


def masks(store: Store, shard: ShardRef, key: str, **changes: Any) -> str:
    """Sky in the upper half of an image twice as large as its map; none of the third row."""
    sky_HW = np.zeros((2 * HEIGHT, 2 * WIDTH), bool)
    sky_HW[:HEIGHT] = True
    rows = [
        SkyRow(record.sample_id, record.sha256, sky_HW)
        for record in read_image_rows(store, shard.key)
    ]
    rows[2] = replace(rows[2], mask_HW=None, reason="decode_failed")
    rows[4] = replace(rows[4], **changes)
    footer = describe_sky(
        source="pictures",
        shard_id=shard.shard_id,
        image_shard_sha256=shard.sha256,
        segmenter="s",
        segmenter_sha256="0" * 64,
        code_version="test",
    )
    return write_sky_shard(store, rows, key=key, footer=footer).key


def test_sky_that_was_seen_is_brought_to_the_size_of_the_map(store: Store) -> None:
    own = np.zeros((HEIGHT, WIDTH), bool)
    own[-1, 0] = True

    def with_sky(index: int, record: ImageRecord) -> ImageRecord:
        assert record.truth is not None
        truth = Truth(record.truth.values_HW, record.truth.geometry, own if index == 1 else None)
        return replace(record, truth=truth)

    shard = changed_shard(store, with_sky)
    key = masks(store, shard, "sky/one.parquet")
    found = rows_of(store, TrainingShard(shard.key, 5, sky_key=key))
    seen = np.zeros((HEIGHT, WIDTH), bool)
    seen[: HEIGHT // 2] = True
    expected = [seen, seen | own, None, seen, seen]
    for row, sky_HW in zip(found, expected, strict=True):
        assert isinstance(row, TrainingRow)
        np.testing.assert_equal(row.truth.sky_HW, sky_HW)


def test_the_sky_of_another_image_is_named(store: Store) -> None:
    shard = changed_shard(store, lambda index, record: record)
    key = masks(store, shard, "sky/two.parquet", sha256="0" * 64)
    found = rows_of(store, TrainingShard(shard.key, 5, sky_key=key))
    assert [getattr(row, "reason", None) for row in found] == [None] * 4 + ["foreign_sky"]
    store.put("sky/broken.parquet", b"no Parquet at all")
    found = rows_of(store, TrainingShard(shard.key, 5, sky_key="sky/broken.parquet"))
    assert {getattr(row, "key", None) for row in found} == {"sky/broken.parquet"}


def test_a_flipped_bit_in_a_map_is_found(store: Store, pictures: ShardRef, labels: str) -> None:
    """JPEG XL has no checksum: of half of all flipped bits it makes a map like any other."""
    rng = np.random.default_rng(0)
    whole = store.get(labels)
    with store.open(labels) as file, pq.ParquetFile(file) as parquet:
        chunk = parquet.metadata.row_group(0).column(len(parquet.schema_arrow.names) - 1)
    for attempt in range(8):
        data = bytearray(whole)
        place = int(rng.integers(200, chunk.total_compressed_size - 200))
        data[chunk.data_page_offset + place] ^= 1 << int(rng.integers(8))
        key = f"spoilt/flipped-{attempt}.parquet"
        store.put(key, bytes(data))
        found = rows_of(store, TrainingShard(pictures.key, ROWS, key))
        assert {row.reason for row in found if isinstance(row, Damage)} == {"corrupt_shard"}
