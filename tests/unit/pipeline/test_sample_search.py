"""Samples found in shards by their id columns."""

import pytest

from pipeline.identity import sample_id, sha256_hex
from pipeline.sample_search import FoundSample, Wanted, find_samples
from pipeline.storage import Store
from tests.factories import image_shard, png


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path))


@pytest.fixture
def shards(store):
    return [image_shard(store, range(start, start + 70)) for start in (0, 70, 140)]


def search(store, shards, **wanted):
    read = []
    found = list(find_samples(store, shards, Wanted(**wanted), advance=read.append))
    assert sum(read) == len(shards)
    return found


def name(index):
    return sample_id("pictures", f"{index:05d}.png")


def test_rows_are_named_by_shard_and_place(store, shards):
    ids = frozenset(map(name, (0, 69, 139, 1000)))
    found = search(store, shards, ids=ids)
    assert [(each.shard, each.row) for each in found] == [
        (shards[0], 0), (shards[0], 69), (shards[1], 69),
    ]  # fmt: skip
    assert [each.sample_id for each in found] == [name(0), name(69), name(139)]


def test_bytes_are_found_under_every_name(store, shards):
    twin = image_shard(store, range(300, 303), replace={301: png(5)})
    digest = sha256_hex(png(5))
    found = search(store, [*shards, twin], images=frozenset([digest]))
    assert found == [
        FoundSample(shards[0], 5, name(5), digest), FoundSample(twin, 1, name(301), digest),
    ]  # fmt: skip


def test_shards_whose_paths_lie_elsewhere_are_passed_over(store, shards):
    """A wrong id in a shard that is not read is not found; under no path every shard is read."""
    ids = frozenset([name(5)])
    assert search(store, shards, ids=ids, path="00005.png") == search(store, shards, ids=ids)
    assert search(store, shards, ids=ids, path="00100.png") == []
    assert search(store, shards, ids=ids, path="zebra.png") == []


def test_nothing_wanted_is_nothing_found(store, shards):
    assert search(store, shards) == []
