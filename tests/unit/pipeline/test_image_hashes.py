"""Hashes beside image shards."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import ShardCorruptError
from pipeline.image_hashes import (
    FLAT,
    HashRow,
    carry_hashes,
    hashed_shards,
    hashes_key,
    read_looks,
    read_paths,
    write_hashes,
)
from pipeline.records import ShardRef
from pipeline.shards import read_image_rows, shard_footer
from pipeline.storage import Store
from pipeline.store_layout import describe
from tests.factories import image_shard

HASHES = (7, None, 2**64 - 1, 0)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


def rows_of(store: Store, shard: ShardRef) -> list[HashRow]:
    records = read_image_rows(store, shard.key)
    return [
        HashRow(record.sample_id, record.sha256, value, FLAT if value is None else None, 64, 48)
        for record, value in zip(records, HASHES, strict=False)
    ]


@pytest.fixture
def shard(store: Store) -> ShardRef:
    shard = image_shard(store, range(4))
    write_hashes(store, shard, rows_of(store, shard), code_version="test")
    return shard


def test_rows_come_back_as_arrays(store: Store, shard: ShardRef) -> None:
    looks = read_looks(store, shard, hashes=True)
    np.testing.assert_array_equal(looks.hashed, [True, False, True, True])
    np.testing.assert_array_equal(looks.hashes[looks.hashed], [7, 2**64 - 1, 0])
    assert looks.reasons == {FLAT: 1}
    records = list(read_image_rows(store, shard.key))
    assert [bytes(each).hex() for each in looks.sample_ids] == [row.sample_id for row in records]
    assert [bytes(each).hex() for each in looks.sha256] == [row.sha256 for row in records]


def test_without_hashes_the_shard_itself_is_read(store: Store, shard: ShardRef) -> None:
    looks = read_looks(store, shard, hashes=True)
    store.delete(hashes_key(shard.source, shard.shard_id))
    plain = read_looks(store, shard, hashes=False)
    np.testing.assert_array_equal(plain.sha256, looks.sha256)
    np.testing.assert_array_equal(plain.sample_ids, looks.sample_ids)
    assert not plain.hashed.any()
    with pytest.raises(FileNotFoundError):
        read_looks(store, shard, hashes=True)


def test_an_object_says_what_it_is(store: Store, shard: ShardRef) -> None:
    assert hashed_shards(store, shard.source) == {shard.shard_id}
    assert hashed_shards(store, "another") == set()
    key = hashes_key(shard.source, shard.shard_id)
    item = describe(key)
    assert (item.kind, item.of, item.shard) == ("hashes", shard.source, shard.shard_id)
    assert shard_footer(store, key)["image_shard_sha256"] == shard.sha256


def test_what_is_there_stays(store: Store, shard: ShardRef) -> None:
    others = [replace(row, hash=1, reason=None) for row in rows_of(store, shard)]
    key = write_hashes(store, shard, others, code_version="test")
    assert key == hashes_key(shard.source, shard.shard_id)
    assert read_looks(store, shard, hashes=True).hashes[0] == 7


def test_another_number_of_rows_is_refused(store: Store, shard: ShardRef) -> None:
    with pytest.raises(ValueError, match="3 hashes for the 4 images"):
        write_hashes(store, shard, rows_of(store, shard)[:3], code_version="test")
    with pytest.raises(ShardCorruptError, match="4 rows"):
        read_looks(store, replace(shard, rows=5), hashes=True)


def test_damage_is_named(store: Store, shard: ShardRef) -> None:
    key = hashes_key(shard.source, shard.shard_id)
    store.put(key, store.get(key)[:-20])
    with pytest.raises(ShardCorruptError, match=key):
        read_looks(store, shard, hashes=True)


def test_what_is_left_of_a_shard_keeps_its_hashes(store: Store, shard: ShardRef) -> None:
    left = image_shard(store, range(2, 4))
    assert carry_hashes(store, shard.shard_id, left, code_version="test")
    np.testing.assert_array_equal(read_looks(store, left, hashes=True).hashes, [2**64 - 1, 0])
    other = image_shard(store, range(3, 6))
    assert not carry_hashes(store, shard.shard_id, other, code_version="test")
    assert not carry_hashes(store, "s0", other, code_version="test")
    assert hashed_shards(store, shard.source) == {shard.shard_id, left.shard_id}


def test_paths_are_in_order(store: Store, shard: ShardRef) -> None:
    assert read_paths(store, shard) == [f"{index:05d}.png" for index in range(4)]
