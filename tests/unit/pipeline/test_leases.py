"""Nothing lost, nothing twice: leases and fenced commits, on both databases."""

from dataclasses import replace

import pytest
from sqlalchemy import event, select, text

from pipeline.catalog import Amount, Catalog
from pipeline.catalog_tables import database_now, work
from pipeline.errors import CatalogMissingError, LeaseLostError, ShardCorruptError
from tests.catalog_factories import (
    expire_leases,
    fill_source,
    manifest,
    open_label_set,
)

OWNERS = ("here:1", "there:7", "far:9")


@pytest.fixture
def catalog(catalog_url):
    with Catalog.open(catalog_url) as opened:
        yield opened


@pytest.fixture
def shards(catalog):
    """Five planned shards of the label set `v1`."""
    planned = fill_source(catalog, "street", 5)
    open_label_set(catalog, "v1")
    catalog.plan_work("v1", ["street"])
    return planned


def lease(catalog, limit=1, *, owner=OWNERS[0], ttl_s=60.0, **changes):
    return catalog.lease("v1", owner=owner, limit=limit, ttl_s=ttl_s, **changes)


def test_work_is_leased_once_and_in_order(catalog, shards):
    first = lease(catalog, 2)
    second = lease(catalog, 9, owner=OWNERS[1])
    assert [held.shard for held in first + second] == shards
    assert lease(catalog, 9) == []
    assert {held.owner for held in first} == {OWNERS[0]}
    assert {(held.epoch, held.attempts) for held in first + second} == {(1, 0)}
    assert catalog.live_owners("v1") == sorted(OWNERS[:2])


def test_work_of_other_sources_and_sets_is_left_alone(catalog, shards):
    kitchen = fill_source(catalog, "kitchen", 2)
    open_label_set(catalog, "other")
    catalog.plan_work("other", ["street", "kitchen"])
    catalog.plan_work("v1", ["kitchen"])
    assert [held.shard for held in lease(catalog, 9, sources=["kitchen"])] == kitchen
    assert lease(catalog, 9, sources=[]) == []
    catalog.release_owner("v1", OWNERS[0])
    assert catalog.progress("other").pending == 7
    assert len(catalog.lease("other", owner=OWNERS[0], limit=9, ttl_s=60.0)) == 7


def test_a_commit_makes_the_labels_exist(catalog, shards):
    (held,) = lease(catalog)
    catalog.commit_label_shard(held, manifest(held, blank=1))
    (row,) = catalog.label_shards("v1")
    assert (row.shard, row.labelled, row.quarantined) == (shards[0], 9, {"blank": 1})
    assert catalog.progress("v1").done == 1


def test_the_same_commit_again_is_no_second_label(catalog, shards):
    """The answer to the first may have been lost on its way."""
    (held,) = lease(catalog)
    catalog.commit_label_shard(held, manifest(held, blank=1))
    catalog.commit_label_shard(held, manifest(held, blank=1))
    assert len(catalog.label_shards("v1")) == 1
    assert catalog.progress("v1").quarantined == {"blank": 1}


@pytest.mark.parametrize(
    "take_away",
    [
        lambda catalog, held: expire_leases(catalog),
        lambda catalog, held: catalog.release_owner("v1", held.owner),
        lambda catalog, held: catalog.release(held),
        lambda catalog, held: catalog.charge(held, "lost", max_attempts=3),
    ],
    ids=["expired", "declared dead", "released", "charged"],
)
@pytest.mark.parametrize("owner", OWNERS[:2])
def test_a_zombie_commits_nothing(catalog, shards, take_away, owner):
    """Also when the next owner bears the same name: the epoch tells them apart."""
    (zombie,) = lease(catalog)
    take_away(catalog, zombie)
    new = next(held for held in lease(catalog, 9, owner=owner) if held.shard == zombie.shard)
    assert new.epoch == zombie.epoch + 1
    for late in (
        lambda: catalog.commit_label_shard(zombie, manifest(zombie)),
        lambda: catalog.charge(zombie, "late", max_attempts=1),
    ):
        with pytest.raises(LeaseLostError, match=f"{zombie.shard.shard_id}.*epoch 1"):
            late()
    assert not catalog.release(zombie)
    catalog.commit_label_shard(new, manifest(new))
    with pytest.raises(LeaseLostError):
        catalog.commit_label_shard(zombie, manifest(zombie))
    (row,) = catalog.label_shards("v1")
    assert row.key == manifest(new).key


def test_an_expired_lease_that_nobody_took_still_counts(catalog, shards):
    committed, renewed = lease(catalog, 2)
    expire_leases(catalog)
    assert catalog.live_owners("v1") == []
    catalog.commit_label_shard(committed, manifest(committed))
    assert catalog.renew("v1", owner=OWNERS[0], ttl_s=60.0) == 1
    assert renewed.shard not in [held.shard for held in lease(catalog, 9, owner=OWNERS[1])]


def test_renewing_moves_the_end_and_counts_what_is_held(catalog, shards):
    held = lease(catalog, 3, ttl_s=1.0)
    lease(catalog, 1, owner=OWNERS[1], ttl_s=1.0)
    catalog.commit_label_shard(held[0], manifest(held[0]))
    assert catalog.renew("v1", owner=OWNERS[0], ttl_s=3600.0) == 2
    left_s = select(work.c.owner, work.c.lease_until - database_now())
    with catalog.read() as connection:
        rows = connection.execute(left_s.where(work.c.state == "leased")).all()
    assert sorted((owner, left > 1800) for owner, left in rows) == [
        (OWNERS[0], True),
        (OWNERS[0], True),
        (OWNERS[1], False),
    ]


def test_a_lease_of_no_time_is_free_at_once(catalog, shards):
    lease(catalog, 5, ttl_s=0.0)
    again = lease(catalog, 5, owner=OWNERS[1])
    assert [(held.shard, held.epoch) for held in again] == [(shard, 2) for shard in shards]


def test_released_work_is_as_good_as_new(catalog, shards):
    (held,) = lease(catalog)
    assert catalog.release(held)
    assert not catalog.release(held)
    (again,) = lease(catalog)
    assert (again.shard, again.attempts) == (shards[0], 0)


def test_the_dead_give_back_what_they_held(catalog, shards):
    dead = lease(catalog, 2, owner=OWNERS[1])
    catalog.commit_label_shard(dead[0], manifest(dead[0]))
    assert catalog.release_owner("v1", OWNERS[1]) == 1
    assert catalog.release_owner("v1", OWNERS[1]) == 0
    assert catalog.live_owners("v1") == []
    assert len(lease(catalog, 9)) == 4


def test_what_fails_again_and_again_fails_by_name(catalog, shards):
    """Suspects come after the fresh ones, and the last error is kept."""
    suspect = lease(catalog)[0].shard
    catalog.release_owner("v1", OWNERS[0])
    for attempt, state in ((0, "pending"), (1, "pending"), (2, "failed")):
        held = lease(catalog, 9)
        assert [x.shard for x in held] == (shards if attempt == 0 else [*shards[1:], suspect])
        mine = next(x for x in held if x.shard == suspect)
        assert mine.attempts == attempt
        assert catalog.charge(mine, f"killed {attempt}", max_attempts=3) == state
        catalog.release_owner("v1", OWNERS[0])
    assert catalog.failed_work("v1") == [(suspect.shard_id, "killed 2")]
    assert suspect not in [held.shard for held in lease(catalog, 9)]
    catalog.release_owner("v1", OWNERS[0])
    assert catalog.retry_failed("v1", ["kitchen"]) == 0
    assert catalog.retry_failed("v1") == 1
    assert lease(catalog)[0].shard == suspect
    assert catalog.failed_work("v1") == []


def test_quarantined_images_are_tried_again_beside_their_labels(catalog, shards):
    """The old labels count until new ones are committed, and then no more."""
    for held in lease(catalog, 5):
        catalog.commit_label_shard(held, manifest(held, blank=2))
    (first,) = catalog.label_shards("v1")[:1]
    assert catalog.retry_quarantined("v1", ["kitchen"]) == 0
    assert catalog.retry_quarantined("v1", ["street"]) == 5
    again = lease(catalog)[0]
    assert (again.shard, again.previous, again.epoch) == (shards[0], first.key, 2)
    assert catalog.label_shards("v1")[0] == first
    catalog.commit_label_shard(again, manifest(again, torn=1))
    new = catalog.label_shards("v1")[0]
    assert (new.key, new.labelled, new.quarantined) == (manifest(again).key, 9, {"torn": 1})
    assert len(catalog.label_shards("v1")) == 5
    catalog.commit_label_shard(again, manifest(again, torn=1))
    former = replace(again, epoch=1)
    with pytest.raises(LeaseLostError):
        catalog.commit_label_shard(former, manifest(former, blank=2))


def test_a_retry_that_fails_is_heard_and_keeps_the_old_labels(catalog, shards):
    (held,) = lease(catalog)
    catalog.commit_label_shard(held, manifest(held, blank=2))
    assert catalog.retry_quarantined("v1") == 1
    (again,) = lease(catalog)
    assert catalog.charge(again, "out of memory", max_attempts=1) == "failed"
    assert catalog.progress("v1").failed == 1
    assert catalog.failed_work("v1") == [(again.shard.shard_id, "out of memory")]
    assert [row.key for row in catalog.label_shards("v1")] == [manifest(held).key]
    assert catalog.retry_quarantined("v1") == 1
    (third,) = lease(catalog)
    assert (third.attempts, third.previous) == (0, manifest(held).key)


def test_a_replacement_that_fails_half_way_leaves_the_old_labels(catalog, shards):
    (held,) = lease(catalog)
    catalog.commit_label_shard(held, manifest(held, blank=2))
    before = catalog.label_shards("v1")
    catalog.retry_quarantined("v1")
    (again,) = lease(catalog)

    def power_cut(connection, cursor, statement, *rest):
        if "INSERT INTO label_shards" in statement:
            raise OSError("power cut")

    event.listen(catalog._reader, "before_cursor_execute", power_cut)
    with pytest.raises(OSError, match="power cut"):
        catalog.commit_label_shard(again, manifest(again))
    event.remove(catalog._reader, "before_cursor_execute", power_cut)
    assert catalog.label_shards("v1") == before
    catalog.commit_label_shard(again, manifest(again))
    assert catalog.progress("v1").quarantined == {}


def test_what_a_run_would_do_is_said_without_writing(catalog, shards):
    fill_source(catalog, "kitchen", 3)
    assert [each.new for each in catalog.work_ahead("none yet", ["kitchen", "street"])] == [
        Amount(3, 30),
        Amount(5, 50),
    ]
    assert [row.name for row in catalog.label_sets()] == ["v1"]
    done, failed, _, expired = lease(catalog, 4)
    catalog.commit_label_shard(done, manifest(done, blank=1, torn=2))
    catalog.charge(failed, "no", max_attempts=1)
    with catalog.write() as connection:
        mine = work.c.shard_id == expired.shard.shard_id
        connection.execute(work.update().where(mine).values(lease_until=0))
    kitchen, street = catalog.work_ahead("v1", ["kitchen", "street"])
    assert (kitchen.new, kitchen.total) == (Amount(3, 30), Amount(3, 30))
    one = Amount(1, 10)
    assert (street.done, street.failed, street.leased) == (one, one, one)
    assert (street.pending, street.left, street.total) == (
        Amount(2, 20),
        Amount(3, 30),
        Amount(5, 50),
    )
    assert street.quarantined == Amount(1, 3)
    assert catalog.progress_by_source("v1") == [replace(street, quarantined=Amount())]
    with pytest.raises(CatalogMissingError, match="kitchn"):
        catalog.work_ahead("v1", ["kitchn"])
    with pytest.raises(CatalogMissingError, match="none yet"):
        catalog.progress_by_source("none yet")


def test_what_may_have_killed_its_driver_does_not_hold_up_the_rest(catalog, shards):
    """A shard that kills drivers is never charged, only left to expire."""
    lease(catalog)
    expire_leases(catalog)
    assert [held.shard for held in lease(catalog, 9)] == [*shards[1:], shards[0]]


def test_error_texts_of_any_kind_can_be_stored(catalog, shards):
    (held,) = lease(catalog)
    error = "\0 bad\udcff s3://a:hunter2@b " + "x" * 10_000
    assert catalog.charge(held, error, max_attempts=1) == "failed"
    ((_, stored),) = catalog.failed_work("v1")
    assert stored.startswith("\\x00 bad\\udcff s3://a:***@b xxx")
    assert len(stored) == 4000


@pytest.mark.parametrize(
    "change",
    [{"labelled": 9}, {"labelled": 11}, {"rows": 9, "labelled": 9}, {"quarantined": {"blank": 1}}],
)
def test_counts_that_do_not_add_up_are_not_committed(catalog, shards, change):
    (held,) = lease(catalog)
    with pytest.raises(ShardCorruptError, match=f"{held.shard.shard_id}.*image shard has 10"):
        catalog.commit_label_shard(held, replace(manifest(held), **change))
    assert catalog.label_shards("v1") == []
    catalog.commit_label_shard(held, manifest(held))


def test_labels_are_committed_under_their_own_lease(catalog, shards):
    one, other = lease(catalog, 2)
    with pytest.raises(ValueError, match=one.shard.shard_id):
        catalog.commit_label_shard(one, manifest(other))


def test_a_commit_that_fails_half_way_leaves_nothing(catalog, shards):
    """The labels, their counts and the state of the work change together."""
    (held,) = lease(catalog)

    def power_cut(connection, cursor, statement, *rest):
        if "INSERT INTO quarantine" in statement:
            raise OSError("power cut")

    event.listen(catalog._reader, "before_cursor_execute", power_cut)
    with pytest.raises(OSError, match="power cut"):
        catalog.commit_label_shard(held, manifest(held, blank=1))
    event.remove(catalog._reader, "before_cursor_execute", power_cut)
    assert catalog.label_shards("v1") == []
    assert catalog.progress("v1").leased == 1
    catalog.commit_label_shard(held, manifest(held, blank=1))


def test_62_000_shards_are_planned_and_leased_through_an_index(tmp_path):
    """No timing: what would make it quadratic is reading all rows to find the next one."""
    with Catalog.open(f"sqlite:///{tmp_path / 'catalog.sqlite'}") as catalog:
        fill_source(catalog, "street", 1)
        open_label_set(catalog, "v1")
        with catalog.write() as connection:
            connection.execute(
                text(
                    "WITH RECURSIVE n(i) AS"
                    " (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 62000)"
                    " INSERT INTO image_shards SELECT i, 's' || i, source, run_id, key || i, rows,"
                    " bytes, sha256 || i, committed_at, NULL FROM n, image_shards WHERE number = 1"
                )
            )
        assert catalog.plan_work("v1", ["street"]) == 62_000
        assert catalog.plan_work("v1", ["street"]) == 0
        assert catalog.progress("v1").pending == 62_000
        statements = []
        event.listen(
            catalog._reader, "after_cursor_execute", lambda *values: statements.append(values[2:4])
        )
        assert len(lease(catalog, 3)) == 3
        queries = [values for values in statements if values[0].startswith("SELECT")]
        assert len(queries) == 2
        with catalog.read() as connection:
            plans = [
                connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}", values).all()
                for query, values in queries
            ]
        steps = " ".join(row[3] for plan in plans for row in plan)
        assert "ix_work_label_set_state_attempts_number" in steps
        assert "TEMP B-TREE" not in steps and "SCAN" not in steps
