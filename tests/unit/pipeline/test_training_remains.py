"""Where images of a training are, after withdrawals and after the store was cleaned up."""

from contextlib import contextmanager

import pytest

from pipeline.catalog import Catalog
from pipeline.shards import read_image_rows
from pipeline.storage import Store
from pipeline.training_images import LearntShard
from pipeline.training_remains import training_remains
from pipeline.withdrawn import read_withdrawn, replace_shard
from tests.catalog_factories import begin_ingest
from tests.factories import image_shard

TTL_S = 60.0


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "store"))


@pytest.fixture
def catalog(tmp_path):
    with Catalog.open(f"sqlite:///{tmp_path / 'catalog.sqlite'}") as opened:
        yield opened


@pytest.fixture
def shards(store, catalog):
    """Images 0 to 4 and 5 to 9."""
    catalog.register_source("pictures", role="unlabelled", uri="/x", layout="images")
    with held(catalog) as lease:
        found = [image_shard(store, range(start, start + 5)) for start in (0, 5)]
        for shard in found:
            catalog.commit_image_shard(lease, shard, dropped={})
    return found


@contextmanager
def held(catalog):
    lease = begin_ingest(catalog, "pictures")
    yield lease
    catalog.finish_ingest(lease, {})


def withdraw(store, catalog, shard, numbers):
    """Take images out of a shard; returns what takes its place."""
    rows = list(read_image_rows(store, shard.key))
    some = {row.sample_id: ("withdrawn", "") for row in rows if int(row.path[:5]) in numbers}
    made = replace_shard(store, shard, some, summary="asked", code_version="1")
    with held(catalog) as lease:
        catalog.withdraw_shard(
            lease, shard.shard_id, replacement=made.shard, key=made.key, samples=made.samples,
            reason="asked", ttl_s=TTL_S,
        )  # fmt: skip
    return made.shard


def learnt(catalog, shards):
    counting = {each.shard_id for each in catalog.image_shards("pictures")}
    return [LearntShard(each, None, each.shard_id in counting) for each in shards]


def numbers_in(store, parts):
    """Numbers of the images in each part."""
    found = []
    for part in parts:
        named = () if part.shard else read_withdrawn(store, part.key)[1]
        rows = list(read_image_rows(store, part.key)) if part.shard else named
        found.append(sorted(int(row.path[:5]) for row in rows))
    return found


def test_what_is_there_stands_for_itself(store, catalog, shards):
    remains = training_remains(store, catalog, learnt(catalog, [*shards, shards[0]]))
    assert [part.shard for part in remains.parts] == shards
    withdraw(store, catalog, shards[0], {1})  # and nothing is cleaned up yet
    assert training_remains(store, catalog, learnt(catalog, shards)) == remains


def test_what_is_gone_is_found_where_it_went(store, catalog, shards):
    second = withdraw(store, catalog, shards[0], {1, 2})
    withdraw(store, catalog, second, {3})
    for shard in (shards[0], second):
        store.delete(shard.key)
    remains = training_remains(store, catalog, learnt(catalog, shards))
    assert numbers_in(store, remains.parts) == [[1, 2], [3], [0, 4], [5, 6, 7, 8, 9]]
    assert [part.rows for part in remains.parts] == [2, 1, 2, 5]
    assert remains.lost == 0
    # The replacement may have been learnt from, too: it counts once.
    again = training_remains(store, catalog, learnt(catalog, [*shards, second]))
    assert again == remains


def test_nothing_may_be_left_of_a_shard(store, catalog, shards):
    assert withdraw(store, catalog, shards[1], set(range(5, 10))) is None
    store.delete(shards[1].key)
    remains = training_remains(store, catalog, learnt(catalog, shards))
    assert numbers_in(store, remains.parts) == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]


def test_what_went_with_its_source_is_lost(store, catalog, shards):
    second = withdraw(store, catalog, shards[0], {1, 2})
    with held(catalog) as lease:
        catalog.withdraw_source(lease, reason="asked", ttl_s=TTL_S)
    for shard in (*shards, second):
        store.delete(shard.key)
    remains = training_remains(store, catalog, learnt(catalog, [*shards, second]))
    assert numbers_in(store, remains.parts) == [[1, 2]]
    assert remains.lost == 3 + 5
