"""Sources, ingest runs and image shards, on both databases."""

import sqlite3
import threading
import time

import pytest
from sqlalchemy import create_engine, inspect, text

from pipeline.catalog import Catalog
from pipeline.errors import CatalogConflictError, CatalogMissingError, LeaseLostError, StorageError
from pipeline.records import ShardRef
from tests.catalog_factories import begin_ingest, expire_leases, fill_source, image_shard, sha256


@pytest.fixture
def catalog(catalog_url):
    with Catalog.open(catalog_url) as opened:
        yield opened


def register(catalog, name="street", **changes):
    options = {"role": "unlabelled", "uri": f"/data/{name}", "layout": "images"}
    return catalog.register_source(name, **options | changes)


def test_a_source_is_registered_once(catalog):
    first = register(catalog, licence="CC-BY-4.0", attribution="A. Nyone")
    again = register(catalog, uri="s3://elsewhere", layout="tar")
    assert again == first
    assert catalog.sources() == [first]
    assert (first.role, first.uri, first.licence) == ("unlabelled", "/data/street", "CC-BY-4.0")


def test_facts_that_were_missing_are_filled_in(catalog):
    register(catalog)
    assert register(catalog, licence="CC0-1.0").licence == "CC0-1.0"
    assert catalog.source("street").licence == "CC0-1.0"


@pytest.mark.parametrize(
    ("key", "value"), [("role", "benchmark"), ("licence", "MIT"), ("attribution", "B")]
)
def test_a_source_does_not_change_its_nature(catalog, key, value):
    before = register(catalog, licence="CC0-1.0", attribution="A")
    with pytest.raises(CatalogConflictError, match=f"'street'.*{key}.*{value}"):
        register(catalog, **{"licence": "CC0-1.0", "attribution": "A", key: value})
    assert catalog.source("street") == before


@pytest.mark.parametrize("name", ["", "..", "a/b", "-x", "a b", "x" * 129])
def test_names_stay_inside_the_store(catalog, name):
    with pytest.raises(ValueError, match="name"):
        register(catalog, name)


def test_an_unknown_role_is_refused(catalog):
    with pytest.raises(ValueError, match="training"):
        register(catalog, role="training")


def test_an_unknown_source_lists_the_known_ones(catalog):
    for name in ("street", "kitchen"):
        register(catalog, name)
    with pytest.raises(CatalogMissingError, match=r"did you mean 'street'\?.*kitchen, street"):
        catalog.source("stret")
    with pytest.raises(CatalogMissingError, match="'indoor'"):
        catalog.image_shards("indoor")


def test_shards_come_back_in_the_order_of_their_commits(catalog):
    fill_source(catalog, "other", 2)
    shards = fill_source(catalog, "street", 5)
    more = fill_source(catalog, "street", 3, first=5)
    assert catalog.image_shards("street") == shards + more
    assert catalog.image_shard(shards[2].shard_id) == shards[2]
    with pytest.raises(CatalogMissingError, match="s404"):
        catalog.image_shard("s404")


def test_counts_add_up_over_shards_and_runs(catalog):
    register(catalog)
    for number, dropped in enumerate([{"tiny": 2}, {"tiny": 1, "truncated": 4, "bomb": 0}]):
        lease = begin_ingest(catalog, "street")
        catalog.commit_image_shard(lease, image_shard("street", number), dropped=dropped)
        catalog.finish_ingest(lease, {})
    source = catalog.source("street")
    assert (source.shards, source.images, source.bytes) == (2, 20, 20_000)
    assert source.dropped == {"tiny": 3, "truncated": 4}
    assert catalog.sources() == [source]


def test_the_same_shard_again_counts_nothing(catalog):
    register(catalog)
    shard = image_shard("street", 0)
    for expected in (True, False):
        lease = begin_ingest(catalog, "street")
        assert catalog.commit_image_shard(lease, shard, dropped={"tiny": 2}) is expected
        assert catalog.commit_drops(lease, "rest", dropped={"truncated": 1}) is expected
        catalog.finish_ingest(lease, {})
    source = catalog.source("street")
    assert (source.shards, source.images) == (1, 10)
    assert source.dropped == {"tiny": 2, "truncated": 1}


def test_another_shard_under_the_same_id_is_refused(catalog):
    (shard,) = fill_source(catalog, "street", 1)
    lease = begin_ingest(catalog, "street")
    changed = ShardRef("street", shard.shard_id, shard.key, 9, shard.bytes, sha256("other"))
    with pytest.raises(CatalogConflictError, match=r"rows: 10 → 9; sha256"):
        catalog.commit_image_shard(lease, changed, dropped={})
    with pytest.raises(ValueError, match="belongs to source 'kitchen'"):
        catalog.commit_image_shard(lease, image_shard("kitchen", 0), dropped={})


def test_one_ingest_per_source_at_a_time(catalog):
    register(catalog)
    register(catalog, "kitchen")
    begin_ingest(catalog, "street", owner="there:7")
    with pytest.raises(CatalogConflictError, match=r"'there:7' is ingesting.*until 20.* UTC"):
        begin_ingest(catalog, "street", owner="here:1")
    begin_ingest(catalog, "kitchen", owner="here:1")
    live = catalog.live_ingest("street")
    assert (live.owner, live.epoch, live.state) == ("there:7", 1, "running")


def _let_expire(catalog):
    expire_leases(catalog)
    return begin_ingest(catalog, "street", owner="here:1")


def _declare_dead(catalog):
    return begin_ingest(catalog, "street", owner="here:1", dead_owner="there:7")


def _release(catalog):
    assert catalog.release_ingest_of("there:7") == 1
    return begin_ingest(catalog, "street", owner="here:1")


@pytest.mark.parametrize("take_over", [_let_expire, _declare_dead, _release])
def test_who_was_taken_over_can_commit_nothing(catalog, take_over):
    register(catalog)
    zombie = begin_ingest(catalog, "street", owner="there:7")
    lease = take_over(catalog)
    assert lease.epoch == zombie.epoch + 1
    attempts = (
        lambda: catalog.commit_image_shard(zombie, image_shard("street", 0), dropped={"tiny": 1}),
        lambda: catalog.commit_drops(zombie, "rest", dropped={"tiny": 1}),
        lambda: catalog.renew_ingest(zombie, 60.0),
        lambda: catalog.finish_ingest(zombie, {}),
    )
    for attempt in attempts:
        with pytest.raises(LeaseLostError, match="'there:7' no longer holds source 'street'"):
            attempt()
    assert (catalog.source("street").shards, catalog.source("street").dropped) == (0, {})
    catalog.commit_image_shard(lease, image_shard("street", 0), dropped={})
    assert [run.state for run in catalog.ingests("street")] == ["lost", "running"]


def test_only_the_owner_declared_dead_is_taken_over(catalog):
    register(catalog)
    begin_ingest(catalog, "street", owner="there:7")
    with pytest.raises(CatalogConflictError, match="there:7"):
        begin_ingest(catalog, "street", owner="here:1", dead_owner="there:6")
    assert catalog.release_ingest_of("there:6") == 0


def test_an_expired_lease_that_nobody_took_still_commits(catalog):
    register(catalog)
    lease = begin_ingest(catalog, "street")
    expire_leases(catalog)
    assert catalog.live_ingest("street") is None
    catalog.commit_image_shard(lease, image_shard("street", 0), dropped={})
    catalog.renew_ingest(lease, 60.0)
    assert catalog.live_ingest("street").run_id == lease.run_id


@pytest.mark.parametrize("state", ["done", "failed", "stopped"])
def test_a_finished_run_keeps_what_it_did_and_lets_go(catalog, state):
    register(catalog)
    lease = begin_ingest(catalog, "street", uri="s3://a:hunter2@b/c", config={"shard_images": 8})
    catalog.commit_image_shard(lease, image_shard("street", 0), dropped={})
    catalog.finish_ingest(lease, {"kept": 10, "rate": float("nan")}, state=state)
    (run,) = catalog.ingests()
    assert (run.state, run.uri, run.config) == (state, "s3://a:***@b/c", {"shard_images": 8})
    assert run.summary == {"kept": 10, "rate": None}
    assert run.started_at <= run.finished_at < run.lease_until
    assert catalog.live_ingest("street") is None
    with pytest.raises(LeaseLostError):
        catalog.commit_image_shard(lease, image_shard("street", 1), dropped={})
    assert begin_ingest(catalog, "street", owner="there:7").epoch == 2


def test_an_ingest_needs_its_source(catalog):
    with pytest.raises(CatalogMissingError, match="no source is named 'street'"):
        begin_ingest(catalog, "street")


def test_a_commit_that_fails_leaves_nothing(catalog):
    """The shard and its drops come together or not at all."""
    register(catalog)
    lease = begin_ingest(catalog, "street")
    with pytest.raises(ValueError, match="many"):
        catalog.commit_image_shard(lease, image_shard("street", 0), dropped={"tiny": "many"})
    assert catalog.image_shards("street") == []


def test_the_digest_of_a_source_follows_its_content_alone(catalog):
    fill_source(catalog, "street", 3)
    before = catalog.source_digest("street")
    assert before == catalog.source_digest("street")
    fill_source(catalog, "street", 1, first=3)
    assert catalog.source_digest("street") != before


def test_both_clocks_are_seconds_since_1970(catalog):
    """Within a day of ours: a wrong epoch or unit would be off by years."""
    assert abs(register(catalog).created_at - time.time()) < 86_400


@pytest.mark.parametrize(
    "url", ["mysql://me:hunter2@host/x", "me:hunter2@host", "postgresql://me:hunter2@host:port/x"]
)
def test_other_urls_are_refused_without_their_password(url):
    with pytest.raises(ValueError, match="must be sqlite:///FILE or postgresql") as caught:
        Catalog.open(url)
    assert "hunter2@" not in str(caught.value) or "://" not in url
    assert caught.value.__cause__ is None


def test_a_database_that_is_not_there_is_named_without_its_password():
    pytest.importorskip("psycopg")
    url = "postgresql+psycopg://me:hunter2@127.0.0.1:1/x?connect_timeout=2"
    with pytest.raises(
        StorageError, match=r"postgresql\+psycopg://me:\*\*\*@127.0.0.1:1/x"
    ) as caught:
        Catalog.open(url)
    assert "hunter2" not in str(caught.value)


def test_a_file_that_is_no_catalog_is_refused_by_name(tmp_path):
    file = tmp_path / "photo.jpg"
    file.write_bytes(b"\xff\xd8" * 600)
    with pytest.raises(StorageError, match=r"photo.jpg.*not a database"):
        Catalog.open(f"sqlite:///{file}")


def test_sqlite_waits_for_writers_and_checks_references(tmp_path):
    url = f"sqlite:///{tmp_path / 'deep' / 'folder' / 'catalog.sqlite'}"
    with Catalog.open(url) as catalog, catalog.read() as connection:
        pragmas = {
            name: connection.execute(text(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "foreign_keys", "busy_timeout", "synchronous")
        }
    assert pragmas["journal_mode"] == "wal"
    assert pragmas["foreign_keys"] == 1
    assert pragmas["busy_timeout"] >= 10_000
    assert pragmas["synchronous"] == 2  # a commit survives a power cut


def test_a_new_file_that_is_locked_is_waited_for(tmp_path):
    """SQLite itself gives up at once here, whatever its busy timeout."""
    file = tmp_path / "catalog.sqlite"
    other = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    other.execute("CREATE TABLE something (x)")
    other.execute("BEGIN IMMEDIATE")
    threading.Timer(0.2, other.rollback).start()
    with Catalog.open(f"sqlite:///{file}") as catalog:
        assert catalog.sources() == []
    other.close()


def test_reading_and_opening_do_not_wait_for_a_writer(catalog, catalog_url):
    register(catalog)
    with catalog.write() as connection:
        connection.execute(text("UPDATE sources SET layout = 'tar'"))
        with Catalog.open(catalog_url) as other:
            assert other.source("street").layout == "images"
    assert catalog.source("street").layout == "tar"


def test_a_row_that_refers_to_nothing_is_refused(catalog):
    statement = "INSERT INTO image_drops VALUES ('nowhere', 'b', 'tiny', 1, 'nobody')"
    with (
        pytest.raises(CatalogConflictError, match=r"(?i)foreign key"),
        catalog.write() as connection,
    ):
        connection.execute(text(statement))


def test_closing_gives_back_every_connection(catalog_url):
    catalog = Catalog.open(catalog_url)
    register(catalog)
    catalog.close()
    catalog.close()
    engine = create_engine(catalog_url)
    assert "sources" in inspect(engine).get_table_names()
    engine.dispose()
