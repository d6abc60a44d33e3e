"""Who committed what and when, as the catalog has it."""

import pytest
from sqlalchemy import Table, update

from pipeline.catalog import Catalog
from pipeline.catalog_commits import Commit, image_commits, label_commits
from pipeline.catalog_tables import image_shards, ingest_runs, label_shards
from tests.catalog_factories import (
    OWNER,
    begin_ingest,
    fill_source,
    image_shard,
    label_all,
    open_label_set,
)


@pytest.fixture
def catalog(catalog_url):
    with Catalog.open(catalog_url) as found:
        yield found


def set_time(catalog: Catalog, table: Table, at: float, **which: str) -> None:
    column = "started_at" if table is ingest_runs else "committed_at"
    with catalog.write() as connection:
        connection.execute(update(table).filter_by(**which).values({column: at}))


def test_labels_were_in_the_making_for_as_long_as_their_actor_took(catalog) -> None:
    first, second = fill_source(catalog, "photos", 2)
    open_label_set(catalog, "labels")
    label_all(catalog, "labels", ["photos"])
    set_time(catalog, label_shards, 200.0, shard_id=first.shard_id)
    set_time(catalog, label_shards, 100.0, shard_id=second.shard_id)
    assert label_commits(catalog, "labels") == [
        Commit(99.0, 100.0, 10, OWNER, 0.5),
        Commit(199.0, 200.0, 10, OWNER, 0.5),
    ]
    assert label_commits(catalog, "others") == []


def test_images_were_in_the_making_since_the_commit_before_in_their_run(catalog) -> None:
    shards = fill_source(catalog, "photos", 2)
    again = begin_ingest(catalog, "photos", owner="there:2")
    later = image_shard("photos", 7)
    catalog.commit_image_shard(again, later, dropped={})
    catalog.finish_ingest(again, {})
    first_run = catalog.ingests("photos")[0].run_id
    for table, at, which in (
        (ingest_runs, 1000.0, {"run_id": first_run}),
        (ingest_runs, 9000.0, {"run_id": again.run_id}),
        (image_shards, 1010.0, {"shard_id": shards[0].shard_id}),
        (image_shards, 1030.0, {"shard_id": shards[1].shard_id}),
        (image_shards, 9005.0, {"shard_id": later.shard_id}),
    ):
        set_time(catalog, table, at, **which)
    assert image_commits(catalog, "photos") == [
        Commit(1000.0, 1010.0, 10, OWNER),
        Commit(1010.0, 1030.0, 10, OWNER),
        Commit(9000.0, 9005.0, 10, "there:2"),
    ]


def test_what_a_withdrawal_has_made_was_not_ingested(catalog) -> None:
    fill_source(catalog, "photos", 1)
    lease = begin_ingest(catalog, "photos", config={"withdraw": ["x"]})
    catalog.commit_image_shard(lease, image_shard("photos", 5), dropped={})
    catalog.finish_ingest(lease, {})
    assert len(image_commits(catalog, "photos")) == 1
