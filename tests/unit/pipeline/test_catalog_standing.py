"""What `factory status` asks, against catalogs small enough to count by hand."""

import pytest
from sqlalchemy import update

from pipeline.catalog import Catalog
from pipeline.catalog_tables import database_now, image_shards, label_shards
from tests.catalog_factories import (
    OWNER,
    begin_ingest,
    fill_source,
    image_shard,
    label_all,
    manifest,
    open_label_set,
)


@pytest.fixture
def catalog(catalog_url):
    with Catalog.open(catalog_url) as catalog:
        yield catalog


def lease(catalog: Catalog, label_set: str, limit: int = 1):
    return catalog.lease(label_set, owner=OWNER, limit=limit, ttl_s=60.0)


def test_a_set_is_unfinished_while_a_shard_is_neither_labelled_nor_given_up(catalog):
    fill_source(catalog, "street", 2)
    for name in ("by-a", "by-b", "empty"):
        open_label_set(catalog, name)
    label_all(catalog, "by-a", ["street"])
    catalog.plan_work("by-b", ["street"])
    assert catalog.unfinished_label_sets() == ["by-b"]
    one, other = lease(catalog, "by-b", 2)
    catalog.commit_label_shard(one, manifest(one))
    assert catalog.unfinished_label_sets() == ["by-b"]  # leased counts too
    catalog.charge(other, "torn", max_attempts=1)
    assert catalog.unfinished_label_sets() == []


def test_commits_of_the_last_seconds_are_added_up_per_source(catalog):
    old, *_ = fill_source(catalog, "street", 3)
    fill_source(catalog, "wood", 1)
    open_label_set(catalog, "by-a")
    label_all(catalog, "by-a", ["street", "wood"], decode_failed=2)
    with catalog.write() as connection:
        before = update(label_shards).where(label_shards.c.shard_id == old.shard_id)
        connection.execute(before.values(committed_at=database_now() - 1000))
    street, wood = catalog.labelled_lately("by-a", within_s=500)
    assert (street.source, street.commits, street.images) == ("street", 2, 20)
    assert (wood.source, wood.commits, wood.images) == ("wood", 1, 10)
    assert catalog.now() - 60 < street.first_at <= street.last_at <= catalog.now()
    assert sum(each.images for each in catalog.labelled_lately("by-a", within_s=2000)) == 40
    assert catalog.labelled_lately("none", within_s=500) == []


def test_of_an_ingest_run_only_what_it_committed_counts(catalog):
    fill_source(catalog, "street", 2)
    mine = begin_ingest(catalog, "street")
    for number in (7, 8):
        drops = {"truncated": 3, "too_small": 1}
        catalog.commit_image_shard(mine, image_shard("street", number), dropped=drops)
    (run,) = catalog.newest_ingests()
    assert (run.run_id, run.state) == (mine.run_id, "running")
    assert catalog.ingested_by(run) == (20, 8)
    with catalog.write() as connection:
        every = update(image_shards).where(image_shards.c.run_id != mine.run_id)
        connection.execute(every.values(committed_at=1.0))
    lately = catalog.ingested_lately("street", within_s=300)
    assert (lately.commits, lately.images) == (2, 20)
    fill_source(catalog, "wood", 0)
    assert catalog.ingested_lately("wood", within_s=300) is None
    assert [run.source for run in catalog.newest_ingests()] == ["street", "wood"]


def test_errors_come_newest_first_and_leave_with_the_commit(catalog):
    fill_source(catalog, "street", 3)
    for name in ("by-a", "by-b"):
        open_label_set(catalog, name)
        catalog.plan_work(name, ["street"])
    charged, given_up = lease(catalog, "by-a", 2)
    (other,) = lease(catalog, "by-b")
    catalog.charge(charged, "first", max_attempts=3)
    catalog.charge(given_up, "second", max_attempts=1)
    catalog.charge(other, "third", max_attempts=3)
    assert [each.error for each in catalog.newest_errors(limit=9)] == ["third", "second", "first"]
    assert [each.error for each in catalog.newest_errors(limit=1)] == ["third"]
    second, first = catalog.newest_errors(limit=9, label_sets=["by-a"])
    assert (second.state, first.state, first.attempts) == ("failed", "pending", 1)
    assert (first.source, first.shard_id) == ("street", charged.shard.shard_id)
    again = next(
        each for each in lease(catalog, "by-a", 9) if each.shard.shard_id == first.shard_id
    )
    catalog.commit_label_shard(again, manifest(again))
    assert [each.error for each in catalog.newest_errors(limit=9, label_sets=["by-a"])] == [
        "second"
    ]
