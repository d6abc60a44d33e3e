"""Withdrawing whole sources and single shards, on both databases."""

import pytest

from pipeline.catalog import Amount, Catalog
from pipeline.catalog_tables import image_shards, work
from pipeline.catalog_withdrawn import labels_at_stake, which_withdrawn
from pipeline.errors import CatalogConflictError, LeaseLostError, WithdrawnError
from tests.catalog_factories import (
    OWNER,
    begin_ingest,
    expire_leases,
    fill_source,
    image_shard,
    label_all,
    manifest,
    open_label_set,
)

REASON = "the owner asked for it"


@pytest.fixture
def catalog(catalog_url):
    with Catalog.open(catalog_url) as opened:
        yield opened


@pytest.fixture
def street(catalog):
    """Three shards, labelled in `labels`; `kitchen` has one."""
    shards = fill_source(catalog, "street", 3)
    fill_source(catalog, "kitchen", 1)
    open_label_set(catalog, "labels")
    label_all(catalog, "labels", ["street", "kitchen"], blurred=2)
    return shards


def smaller(source="street", number=100, rows=9):
    return image_shard(source, number, rows=rows)


def withdraw(catalog, shard, *, lease=None, replacement=None, **changes):
    lease = lease or begin_ingest(catalog, shard.source)
    options = {"key": "k", "samples": 1, "reason": REASON, "ttl_s": 60.0}
    return catalog.withdraw_shard(
        lease, shard.shard_id, replacement=replacement, **options | changes
    )


def withdraw_all(catalog, source="street"):
    lease = begin_ingest(catalog, source)
    return catalog.withdraw_source(lease, reason=REASON, ttl_s=60.0)


def test_another_shard_takes_the_place_of_one(catalog, street):
    runs = {row.run_id for row in catalog.ingests("street")}
    new = smaller()
    assert withdraw(catalog, street[1], replacement=new) == {"labels": Amount(1, 8)}
    assert catalog.image_shards("street") == [street[0], street[2], new]
    source = catalog.source("street")
    assert (source.shards, source.images, source.withdrawn_at) == (3, 29, None)
    with catalog.read() as connection:
        row = connection.execute(
            image_shards.select().where(image_shards.c.shard_id == new.shard_id)
        ).one()
    assert {row.run_id} == runs  # who ingested the images, not who took others out
    (said,) = catalog.withdrawals("street")
    assert (said.shard_id, said.replaced_by, said.samples, said.reason, said.key) == (
        street[1].shard_id, new.shard_id, 1, REASON, "k",
    )  # fmt: skip
    assert catalog.withdrawals("kitchen") == []
    assert catalog.withdrawn_shards("street") == [street[1].shard_id]
    assert which_withdrawn(catalog, [s.shard_id for s in street]) == {street[1].shard_id}


def test_labels_of_a_withdrawn_shard_count_no_more_and_the_new_one_is_to_be_labelled(
    catalog, street
):
    before = catalog.label_set("labels")
    withdraw(catalog, street[1], replacement=smaller())
    after = catalog.label_set("labels")
    assert (before.shards, after.shards) == (4, 3)
    assert after.labelled == before.labelled - 8
    assert after.quarantined == {"blurred": 6}
    progress = catalog.progress("labels")
    assert (progress.done, progress.images, progress.labelled) == (3, 30, 24)
    assert catalog.plan_work("labels", ["street"]) == 1
    (lease,) = catalog.lease("labels", owner=OWNER, limit=9, ttl_s=60.0)
    assert lease.shard == smaller()


def test_nothing_is_left_of_a_shard_that_was_withdrawn_whole(catalog, street):
    withdraw(catalog, street[0], samples=10)
    assert catalog.image_shards("street") == street[1:]
    assert catalog.withdrawals()[0].replaced_by is None


def test_the_same_again_changes_nothing(catalog, street):
    lease = begin_ingest(catalog, "street")
    withdraw(catalog, street[0], lease=lease, replacement=smaller())
    before = catalog.image_shards("street"), catalog.withdrawals()
    assert withdraw(catalog, street[0], lease=lease, replacement=smaller()) == {}
    assert (catalog.image_shards("street"), catalog.withdrawals()) == before
    with pytest.raises(CatalogConflictError, match=street[0].shard_id):
        withdraw(catalog, street[0], lease=lease, replacement=smaller(number=101))
    with pytest.raises(CatalogConflictError, match="not there"):
        withdraw(catalog, image_shard("street", 77), lease=lease)


def test_only_who_holds_the_source_withdraws(catalog, street):
    lease = begin_ingest(catalog, "street", owner="there:7")
    with pytest.raises(CatalogConflictError, match="ingesting"):
        begin_ingest(catalog, "street")
    expire_leases(catalog)
    withdraw(catalog, street[0])
    with pytest.raises(LeaseLostError):
        withdraw(catalog, street[1], lease=lease)
    with pytest.raises(LeaseLostError):
        catalog.withdraw_source(lease, reason=REASON, ttl_s=60.0)
    assert catalog.image_shards("street") == street[1:]


def test_a_commit_of_labels_comes_too_late(catalog):
    (shard,) = fill_source(catalog, "street", 1)
    open_label_set(catalog, "labels")
    catalog.plan_work("labels", ["street"])
    (lease,) = catalog.lease("labels", owner=OWNER, limit=1, ttl_s=60.0)
    assert withdraw(catalog, shard, replacement=smaller()) == {}
    with pytest.raises(LeaseLostError, match="withdrawn from source 'street'"):
        catalog.commit_label_shard(lease, manifest(lease))
    with pytest.raises(LeaseLostError, match="withdrawn"):
        catalog.charge(lease, "slow", max_attempts=1)
    assert not catalog.release(lease)
    assert catalog.label_set("labels").shards == 0
    with catalog.read() as connection:
        assert connection.execute(work.select()).all() == []
    assert catalog.plan_work("labels", ["street"]) == 1


def test_a_withdrawn_shard_is_not_committed_again(catalog, street):
    withdraw(catalog, street[0])
    lease = begin_ingest(catalog, "street")
    with pytest.raises(WithdrawnError, match=street[0].shard_id):
        catalog.commit_image_shard(lease, street[0], dropped={})


def test_a_source_goes_as_a_whole_and_others_stay(catalog, street):
    withdraw(catalog, street[0], replacement=smaller())
    assert withdraw_all(catalog) == {"labels": Amount(2, 16)}
    source = catalog.source("street")
    assert (source.shards, source.images) == (0, 0)
    assert source.withdrawn_at is not None
    assert catalog.image_shards("street") == []
    assert len(catalog.withdrawn_shards("street")) == 4
    last = catalog.withdrawals("street")[-1]
    assert (last.shard_id, last.samples, last.reason) == (None, 29, REASON)
    assert catalog.label_set("labels").shards == 1
    assert catalog.progress("labels").done == 1
    assert catalog.source("kitchen").shards == 1


def test_a_withdrawn_source_is_refused_by_name_with_date_and_reason(catalog, street):
    withdraw_all(catalog)
    said = rf"source 'street' was withdrawn on 20\d\d-\d\d-\d\d \d\d:\d\d UTC: {REASON}"
    with pytest.raises(WithdrawnError, match=said):
        begin_ingest(catalog, "street")
    with pytest.raises(WithdrawnError, match=said):
        catalog.plan_work("labels", ["kitchen", "street"])
    with pytest.raises(WithdrawnError, match=said):
        catalog.work_ahead("labels", ["street"])
    with pytest.raises(WithdrawnError, match=said):
        catalog.pin_snapshot(labelled=["street"], pseudo=[])
    with pytest.raises(WithdrawnError, match=said):
        catalog.check_not_withdrawn(["kitchen", "street"])
    catalog.check_not_withdrawn(["kitchen"])


def test_a_new_snapshot_has_nothing_that_was_withdrawn(catalog, street):
    before = catalog.pin_snapshot(labelled=["street"], pseudo=["labels"])
    withdraw(catalog, street[0], replacement=smaller())
    after = catalog.pin_snapshot(labelled=["street"], pseudo=["labels"])
    assert street[0].shard_id in {member.shard_id for member in before.members}
    assert street[0].shard_id not in {member.shard_id for member in after.members}
    ((source, shard_id, at),) = catalog.withdrawn_members(before.snapshot_id)
    assert (source, shard_id) == ("street", street[0].shard_id)
    assert abs(at - catalog.withdrawals()[0].withdrawn_at) < 1
    assert catalog.withdrawn_members(after.snapshot_id) == []


def test_what_a_withdrawal_would_cost_is_what_it_costs(catalog, street):
    open_label_set(catalog, "more")
    label_all(catalog, "more", ["street"])
    ids = [shard.shard_id for shard in street[:2]]
    foreseen = labels_at_stake(catalog, "street", ids)
    assert foreseen == {"labels": Amount(2, 16), "more": Amount(2, 20)}
    assert labels_at_stake(catalog, "street") == withdraw_all(catalog)
    assert labels_at_stake(catalog, "street") == {}


def test_pinned_labels_of_withdrawn_images_are_not_among_those_that_must_be_there(catalog, street):
    catalog.pin_snapshot(labelled=[], pseudo=["labels"])
    withdraw(catalog, street[0])
    assert catalog.replaced_members("labels") == []
