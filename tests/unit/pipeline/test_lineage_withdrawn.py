"""What withdrawn images are in: models, the labels they made, and the models after those."""

import hashlib

import pytest

from pipeline.catalog import Catalog
from pipeline.lineage import lineage, made_from, nodes
from pipeline.lineage_withdrawn import made_of_withdrawn, tainted
from tests.catalog_factories import (
    begin_ingest,
    fill_source,
    image_shard,
    label_all,
    open_label_set,
    register_model,
    sha256,
)


@pytest.fixture
def catalog(catalog_url):
    with Catalog.open(catalog_url) as opened:
        yield opened


def train(catalog, name, *, labelled=(), pseudo=(), **config):
    snapshot = catalog.pin_snapshot(labelled=labelled, pseudo=pseudo).snapshot_id
    run = catalog.begin_run(
        "student", name=name, config=config, snapshot_id=snapshot, code_version="1"
    )
    catalog.finish_run(run, state="done", metrics={})
    register_model(catalog, name, run_id=run)


@pytest.fixture
def line(catalog):
    """truth → teacher → labels → student → more → heir; metric begins as heir; aside is apart."""
    for name in ("truth", "other"):
        fill_source(catalog, name, 2, role="labelled")
    fill_source(catalog, "street", 2)
    train(catalog, "teacher", labelled=["truth"])
    open_label_set(catalog, "labels")
    label_all(catalog, "labels", ["street"])
    train(catalog, "student", labelled=["other"], pseudo=["labels"])
    open_label_set(catalog, "more", teacher="student")
    label_all(catalog, "more", ["street"])
    train(catalog, "heir", pseudo=["more"])
    train(catalog, "metric", labelled=["other"], init="heir")
    train(catalog, "aside", labelled=["other"])


def withdraw(catalog, source, number=0):
    lease = begin_ingest(catalog, source)
    catalog.withdraw_shard(
        lease, image_shard(source, number).shard_id, replacement=None, key="k", samples=10,
        reason="asked", ttl_s=60.0,
    )  # fmt: skip
    catalog.finish_ingest(lease, {})


def test_nothing_is_marked_before(catalog, line):
    assert not any(tainted(catalog).values())
    assert "from_withdrawn" not in str(lineage(catalog, "metric"))


def test_it_passes_through_labels_and_weights_to_the_last_model(catalog, line):
    withdraw(catalog, "truth")
    found = tainted(catalog)
    assert found["model"] == {"teacher", "student", "heir", "metric"}
    assert found["label-set"] == {"labels", "more"}
    assert lineage(catalog, "metric")["from_withdrawn"] is True
    assert "from_withdrawn" not in str(lineage(catalog, "aside"))
    marked = {
        node["name"] for node in nodes(made_from(catalog, "truth"))
        if node["kind"] == "model" and node.get("from_withdrawn")
    }  # fmt: skip
    assert marked == {"teacher", "student", "heir", "metric"}


def test_pseudo_labels_of_withdrawn_images_count_but_not_for_their_teacher(catalog, line):
    withdraw(catalog, "street")
    assert tainted(catalog)["model"] == {"student", "heir", "metric"}
    assert tainted(catalog)["label-set"] == {"more"}


def names(tree, kind):
    return [node["name"] for node in nodes(tree) if node["kind"] == kind]


def test_what_is_made_of_some_shards_follows_them_alone(catalog, line):
    shard = image_shard("truth", 1).shard_id
    assert sorted(names(made_of_withdrawn(catalog, "truth", [shard]), "model")) == [
        "heir", "metric", "student", "teacher",
    ]  # fmt: skip
    assert names(made_of_withdrawn(catalog, "truth", ["s404"]), "model") == []
    whole = made_of_withdrawn(catalog, "street")
    assert sorted(names(whole, "model")) == ["heir", "metric", "student"]
    assert names(whole, "label-set") == ["more"]


def test_a_source_still_leads_to_the_snapshots_that_hold_its_lost_labels(catalog, line):
    """No label set has labels of the source any more, and models have learnt from them."""
    lease = begin_ingest(catalog, "street")
    catalog.withdraw_source(lease, reason="asked", ttl_s=60.0)
    tree = made_from(catalog, "street")
    assert tree["withdrawn_at"] > 0
    assert set(names(tree, "label-set")) == {"labels", "more"}
    assert {"student", "heir", "metric"} <= set(names(tree, "model"))
    assert lineage(catalog, "student")["sha256"] == sha256("student")


def test_digests_are_those_of_the_shards(catalog, line):
    """The database puts the lines together; sorting them by hand gives the same."""
    source = {
        node["name"]: node for node in nodes(lineage(catalog, "teacher")) if "digest" in node
    }["truth"]
    shards = catalog.image_shards("truth")
    lines = "".join(sorted(f"{shard.shard_id} {shard.sha256}\n" for shard in shards))
    assert source["digest"] == hashlib.sha256(lines.encode()).hexdigest()
    assert source["digest"] == catalog.source_digest("truth")
