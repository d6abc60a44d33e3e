"""Label shards: 1:1 with their image shard, self-describing, never overwritten."""

from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from pipeline.errors import ShardCorruptError
from pipeline.labels import label_footer, read_label_rows
from pipeline.shards import read_image_rows
from pipeline.storage import Store
from tests.factories import image_shard, label_shard


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


def test_rows_lie_where_their_images_lie(store: Store) -> None:
    shard = image_shard(store, range(150))
    key = label_shard(store, shard, quarantined=lambda index: index == 3)
    images = [(row.sample_id, row.sha256) for row in read_image_rows(store, shard.key)]
    labels = list(read_label_rows(store, key))
    assert [(row.sample_id, row.sha256) for row in labels] == images
    assert (labels[3].status, labels[3].reason) == ("quarantined", "decode_failed")
    assert labels[3].disparity is None
    group = list(read_label_rows(store, key, row_groups=[1]))
    assert [row.sample_id for row in group] == [name for name, _ in images[64:128]]


def test_a_shard_says_what_it_is(store: Store) -> None:
    shard = image_shard(store, range(3))
    footer = label_footer(store, label_shard(store, shard))
    assert footer["image_shard_sha256"] == shard.sha256
    assert footer["recipe"] == '{"side": 42}'
    assert footer["teacher_sha256"] == "0" * 64


def test_an_attempt_is_never_overwritten(store: Store) -> None:
    shard = image_shard(store, range(3))
    label_shard(store, shard)
    with pytest.raises(FileExistsError):
        label_shard(store, shard)


def test_other_tools_read_it_and_blobs_are_stored_plainly(store: Store) -> None:
    shard = image_shard(store, range(70))
    path = store.local_path(label_shard(store, shard))
    counted = duckdb.sql(
        f"select status, count(*), sum(octet_length(disparity)) > 0 from '{path}' group by status"
    )
    assert counted.fetchall() == [("labelled", 70, True)]
    group = pq.read_metadata(path).row_group(0)
    blob = next(
        column
        for column in (group.column(i) for i in range(group.num_columns))
        if column.path_in_schema == "disparity"
    )
    assert (blob.compression, blob.is_stats_set) == ("UNCOMPRESSED", False)


def test_rows_can_be_read_without_their_maps(store: Store) -> None:
    key = label_shard(store, image_shard(store, range(3)))
    assert all(row.disparity is None for row in read_label_rows(store, key, maps=False))


@pytest.mark.parametrize("maps", [True, False])
@pytest.mark.parametrize("left", [0, 100, 2000])
def test_what_is_no_label_shard_is_said_to_be_none(store: Store, left: int, maps: bool) -> None:
    key = label_shard(store, image_shard(store, range(20)))
    file = Path(store.uri) / key
    file.write_bytes(file.read_bytes()[:left])
    with pytest.raises(ShardCorruptError, match=key):
        list(read_label_rows(store, key, maps=maps))
