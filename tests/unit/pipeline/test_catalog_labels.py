"""Label sets, their progress, and snapshots of them, on both databases."""

import pytest
from sqlalchemy import event

from pipeline.catalog import Catalog
from pipeline.errors import CatalogConflictError, CatalogMissingError
from tests.catalog_factories import (
    OWNER,
    expire_leases,
    fill_source,
    label_all,
    manifest,
    open_label_set,
    sha256,
)


@pytest.fixture
def catalog(catalog_url):
    with Catalog.open(catalog_url) as opened:
        yield opened


def test_a_label_set_is_found_again_under_its_recipe(catalog):
    first = open_label_set(catalog, "v1")
    assert open_label_set(catalog, "v1", code_version="2") == first
    assert first.recipe == {"teacher": sha256("teacher"), "side": 518}
    assert catalog.label_sets() == [first]
    with pytest.raises(CatalogMissingError, match=r"no label set is named 'v2' \(known: v1\)"):
        catalog.label_set("v2")


def test_another_recipe_is_refused_with_what_differs(catalog):
    recipe = {"side": 518, "codec": {"bits": 16}}
    open_label_set(catalog, "v1", recipe=recipe, recipe_hash="a")
    changed = {"side": 392, "codec": {"bits": 12}}
    with pytest.raises(CatalogConflictError) as caught:
        open_label_set(catalog, "v1", recipe=changed, recipe_hash="b")
    for part in ("'v1'", "codec.bits: 16 → 12", "side: 518 → 392", "another name"):
        assert part in str(caught.value)
    with pytest.raises(CatalogConflictError, match="recipe hash: a → b"):
        open_label_set(catalog, "v1", recipe=recipe, recipe_hash="b")
    assert catalog.label_set("v1").recipe == recipe


def test_counts_of_a_label_set_add_up(catalog):
    fill_source(catalog, "street", 3)
    fill_source(catalog, "kitchen", 2)
    open_label_set(catalog, "v1")
    open_label_set(catalog, "empty")
    label_all(catalog, "v1", ["street"], blank=2)
    label_all(catalog, "v1", ["kitchen"], blank=1, timeout=3)
    row = catalog.label_set("v1")
    assert (row.shards, row.images, row.bytes, row.labelled) == (5, 50, 2500, 24 + 12)
    assert row.quarantined == {"blank": 8, "timeout": 6}
    assert catalog.label_sets() == [catalog.label_set("empty"), row]


def test_progress_adds_up_over_states_and_sources(catalog):
    fill_source(catalog, "street", 5)
    fill_source(catalog, "kitchen", 2)
    open_label_set(catalog, "v1")
    open_label_set(catalog, "other")
    label_all(catalog, "other", ["street"], blank=1)
    catalog.plan_work("v1", ["street", "kitchen"])
    done, failed, leased, expired = catalog.lease("v1", owner=OWNER, limit=4, ttl_s=60.0)
    catalog.commit_label_shard(done, manifest(done, blank=3))
    assert catalog.charge(failed, "out of memory", max_attempts=1) == "failed"
    catalog.release(expired)
    catalog.lease("v1", owner="there:7", limit=1, ttl_s=60.0)
    expire_leases(catalog, "there:7")

    whole = catalog.progress("v1")
    assert (whole.pending, whole.leased, whole.done, whole.failed) == (4, 1, 1, 1)
    assert (whole.images, whole.images_left, whole.labelled) == (70, 50, 7)
    assert whole.quarantined == {"blank": 3}
    street, kitchen = (catalog.progress("v1", [name]) for name in ("street", "kitchen"))
    assert (street.images, street.images_left, street.done) == (50, 30, 1)
    assert (kitchen.pending, kitchen.images, kitchen.labelled, kitchen.quarantined) == (
        2,
        20,
        0,
        {},
    )
    assert catalog.failed_work("v1") == [(failed.shard.shard_id, "out of memory")]
    assert catalog.failed_work("v1", ["kitchen"]) == []
    assert catalog.live_owners("v1") == [leased.owner]
    with pytest.raises(CatalogMissingError, match="no label set"):
        catalog.progress("v3")


def test_label_shards_come_in_the_order_of_their_images(catalog):
    street = fill_source(catalog, "street", 3)
    kitchen = fill_source(catalog, "kitchen", 2)
    open_label_set(catalog, "v1")
    catalog.plan_work("v1", ["kitchen", "street"])
    leases = catalog.lease("v1", owner=OWNER, limit=9, ttl_s=60.0)
    for number, lease in enumerate(reversed(leases)):
        catalog.commit_label_shard(lease, manifest(lease, **{"blank": 2} if number == 0 else {}))
    rows = catalog.label_shards("v1")
    assert [row.shard for row in rows] == street + kitchen
    assert [row.quarantined for row in rows] == [{}, {}, {}, {}, {"blank": 2}]
    written = manifest(leases[0])
    assert (rows[0].key, rows[0].sha256, rows[0].bytes) == (written.key, written.sha256, 500)
    assert (rows[4].rows, rows[4].labelled, rows[0].forward_s, rows[0].wall_s) == (10, 8, 0.5, 1.0)
    assert [row.shard for row in catalog.label_shards("v1", ["kitchen"])] == kitchen


def test_the_same_content_pins_the_same_snapshot(catalog):
    fill_source(catalog, "truth", 2, role="labelled")
    fill_source(catalog, "street", 3)
    open_label_set(catalog, "v1")
    label_all(catalog, "v1", ["street"])
    pinned = catalog.pin_snapshot(labelled=["truth"], pseudo=["v1"])
    again = catalog.pin_snapshot(labelled=["truth", "truth"], pseudo=["v1"])
    assert again == pinned == catalog.snapshot(pinned.snapshot_id)
    labelled, pseudo = pinned.members[0], pinned.members[-1]
    shard = catalog.image_shard(labelled.shard_id)
    assert (labelled.role, labelled.source, labelled.label_set) == ("labelled", "truth", None)
    assert (labelled.image_key, labelled.image_sha256) == (shard.key, shard.sha256)
    assert (labelled.label_key, labelled.label_sha256, labelled.rows) == (None, None, 10)
    (label,) = [x for x in catalog.label_shards("v1") if x.shard.shard_id == pseudo.shard_id]
    assert (pseudo.role, pseudo.source, pseudo.label_set) == ("pseudo", "street", "v1")
    assert (pseudo.label_key, pseudo.label_sha256) == (label.key, label.sha256)


def test_a_snapshot_depends_on_content_not_on_order(tmp_path):
    """Two catalogs that got the same shards in another order pin the same id and order."""
    pinned = []
    for numbers in ([0, 1, 2], [2, 0, 1]):
        with Catalog.open(f"sqlite:///{tmp_path / f'{numbers[0]}.sqlite'}") as catalog:
            for number in numbers:
                fill_source(catalog, "street", 1, first=number)
            pinned.append(catalog.pin_snapshot(labelled=["street"], pseudo=[]))
    assert pinned[0].snapshot_id == pinned[1].snapshot_id
    assert pinned[0].members == pinned[1].members


def test_what_came_later_is_not_in_a_pinned_snapshot(catalog):
    fill_source(catalog, "street", 2)
    before = catalog.pin_snapshot(labelled=["street"], pseudo=[])
    fill_source(catalog, "street", 1, first=2)
    after = catalog.pin_snapshot(labelled=["street"], pseudo=[])
    assert after.snapshot_id != before.snapshot_id
    assert (len(catalog.snapshot(before.snapshot_id).members), len(after.members)) == (2, 3)


def test_an_empty_snapshot_is_refused(catalog):
    catalog.register_source("street", role="labelled", uri="/x", layout="images")
    open_label_set(catalog, "v1")
    with pytest.raises(CatalogMissingError, match="'street' has no committed shard"):
        catalog.pin_snapshot(labelled=["street"], pseudo=[])
    with pytest.raises(CatalogMissingError, match="'v1' has no committed shard"):
        catalog.pin_snapshot(labelled=[], pseudo=["v1"])
    with pytest.raises(ValueError, match="at least one"):
        catalog.pin_snapshot(labelled=[], pseudo=[])
    with pytest.raises(CatalogMissingError, match="'nobody'"):
        catalog.snapshot("nobody")


def test_planning_is_one_statement_and_adds_only_what_is_missing(catalog):
    fill_source(catalog, "street", 30)
    open_label_set(catalog, "v1")
    statements = []
    event.listen(
        catalog._reader, "after_cursor_execute", lambda *values: statements.append(values[2])
    )
    assert catalog.plan_work("v1", ["street"]) == 30
    planned = len(statements)
    assert sum("INSERT" in statement for statement in statements) == 1
    fill_source(catalog, "kitchen", 2)
    statements.clear()
    assert catalog.plan_work("v1", ["street", "kitchen"]) == 2
    assert len(statements) == planned
    assert catalog.plan_work("v1", ["street", "kitchen"]) == 0
    with pytest.raises(CatalogMissingError, match="no source is named 'indoor'"):
        catalog.plan_work("v1", ["street", "indoor"])
    with pytest.raises(CatalogMissingError, match="no label set is named 'v2'"):
        catalog.plan_work("v2", ["street"])
    assert catalog.progress("v1").pending == 32
