"""Sky masks: what is written comes back, and what is there stays."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.errors import ShardCorruptError
from pipeline.shards import ROW_GROUP_ROWS
from pipeline.sky_masks import (
    MAX_MASK_PIXELS,
    SkyRow,
    at_size,
    describe_sky,
    find_sky_shard,
    mask_size,
    read_sky_rows,
    sky_footer,
    sky_key,
    write_sky_shard,
)
from pipeline.storage import Store

KEY = sky_key("pairs", "ab" * 32, "s01")
FOOTER = describe_sky(
    source="pairs",
    shard_id="s01",
    image_shard_sha256="c" * 64,
    segmenter="owner/segmenter",
    segmenter_sha256="ab" * 32,
    code_version="test",
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


def _rows(count: int, *, seed: int = 0) -> list[SkyRow]:
    """Masks of odd sizes; every seventh image has none."""
    random = np.random.default_rng(seed)
    return [
        SkyRow(f"{i:032x}", f"{i:064x}", None, "decode_failed")
        if i % 7 == 6
        else SkyRow(f"{i:032x}", f"{i:064x}", random.random((3 + i % 5, 9 + i % 4)) < 0.3)
        for i in range(count)
    ]


def test_masks_come_back_bit_by_bit_and_in_order(store: Store) -> None:
    rows = _rows(150)
    write_sky_shard(store, iter(rows), key=KEY, footer=FOOTER)
    for read, written in zip(read_sky_rows(store, KEY), rows, strict=True):
        assert (read.sample_id, read.sha256) == (written.sample_id, written.sha256)
        assert read.reason == written.reason
        if written.mask_HW is None:
            assert read.mask_HW is None
        else:
            assert read.mask_HW is not None and read.mask_HW.dtype == np.bool_
            np.testing.assert_array_equal(read.mask_HW, written.mask_HW)


def test_row_groups_are_those_of_an_image_shard(store: Store) -> None:
    write_sky_shard(store, _rows(150), key=KEY, footer=FOOTER)
    with store.open(KEY) as file:
        metadata = pq.ParquetFile(file).metadata
        sizes = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
    assert sizes == [ROW_GROUP_ROWS, ROW_GROUP_ROWS, 150 - 2 * ROW_GROUP_ROWS]
    some = list(read_sky_rows(store, KEY, row_groups=[2, 0]))
    places = [*range(2 * ROW_GROUP_ROWS, 150), *range(ROW_GROUP_ROWS)]
    assert [row.sample_id for row in some] == [f"{i:032x}" for i in places]


def test_a_shard_says_what_it_is_and_how_much_sky_it_has(store: Store) -> None:
    rows = [
        SkyRow("a", "1", np.array([[True, True], [False, False]])),
        SkyRow("b", "2", np.array([[False, False, False, True]])),
        SkyRow("c", "3", None, "truncated"),
    ]
    shard = write_sky_shard(store, rows, key=KEY, footer=FOOTER)
    assert (shard.rows, shard.masked) == (3, 2)
    assert shard.share == pytest.approx((0.5 + 0.25) / 2)
    assert sky_footer(store, KEY).items() >= FOOTER.items()
    assert find_sky_shard(store, KEY) == shard


def test_the_first_one_stays(store: Store) -> None:
    first = write_sky_shard(store, _rows(5), key=KEY, footer=FOOTER)
    second = write_sky_shard(store, _rows(5, seed=1), key=KEY, footer=FOOTER)
    assert second == first
    assert list(store.list("sky")) == [KEY]


def test_the_same_rows_give_the_same_bytes(store: Store, tmp_path: Path) -> None:
    other = Store(str(tmp_path / "other"))
    first = write_sky_shard(store, _rows(70), key=KEY, footer=FOOTER)
    assert write_sky_shard(other, _rows(70), key=KEY, footer=FOOTER).sha256 == first.sha256


def test_a_broken_or_foreign_object_is_named(store: Store) -> None:
    with pytest.raises(FileNotFoundError):
        list(read_sky_rows(store, KEY))
    store.put(KEY, b"half an object")
    with pytest.raises(ShardCorruptError, match="s01"):
        list(read_sky_rows(store, KEY))
    with pytest.raises(ShardCorruptError, match="s01"):
        find_sky_shard(store, KEY)


def test_a_flipped_bit_in_a_mask_is_noticed(store: Store) -> None:
    write_sky_shard(store, _rows(3), key=KEY, footer=FOOTER)
    whole = store.get(KEY)
    with store.open(KEY) as file:
        names = pq.ParquetFile(file).schema_arrow.names
        column = pq.ParquetFile(file).metadata.row_group(0).column(names.index("mask"))
    last = column.data_page_offset + column.total_compressed_size - 1
    for place in range(last - 8, last + 1):
        store.put(KEY, whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(ShardCorruptError, match="s01"):
            list(read_sky_rows(store, KEY))


def test_keys_keep_sources_and_segmenters_apart() -> None:
    assert KEY == "sky/pairs/abababababababab/s01.parquet"
    assert sky_key("pairs", "ac" * 32, "s01") != KEY
    with pytest.raises(ValueError, match="no name"):
        sky_key("../pairs", "ab" * 32, "s01")


@pytest.mark.parametrize(("height", "width"), [(10_000, 10_000), (40, 2_500_000), (1, 10**8)])
def test_masks_of_huge_images_are_bounded(height: int, width: int) -> None:
    small = mask_size(height, width)
    assert min(small) >= 1
    assert small[0] * small[1] <= max(MAX_MASK_PIXELS, max(small))
    assert small[0] / height == pytest.approx(small[1] / width, abs=1 / height)


def test_masks_of_ordinary_images_have_their_size() -> None:
    assert mask_size(480, 640) == (480, 640)
    assert mask_size(2048, 2048) == (2048, 2048)


def test_a_mask_is_enlarged_by_repetition_and_comes_back() -> None:
    mask_HW = np.random.default_rng(0).random((5, 7)) < 0.5
    large = at_size(mask_HW, height=15, width=21)
    np.testing.assert_array_equal(large, np.kron(mask_HW, np.ones((3, 3), bool)))
    np.testing.assert_array_equal(at_size(large, height=5, width=7), mask_HW)
    np.testing.assert_array_equal(
        at_size(mask_HW[:, ::-1], height=4, width=6), at_size(mask_HW, height=4, width=6)[:, ::-1]
    )
