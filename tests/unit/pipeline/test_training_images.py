"""What a model has learnt from, by itself and through the models behind it."""

import pytest

from pipeline.catalog import Catalog
from pipeline.catalog_tables import label_sets, label_shards, quarantine, work
from pipeline.storage import Store
from pipeline.training_images import training_images
from tests.catalog_factories import (
    begin_ingest,
    fill_source,
    label_all,
    open_label_set,
    register_model,
    sha256,
)


@pytest.fixture
def catalog(catalog_url):
    with Catalog.open(catalog_url) as opened:
        yield opened


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "store"))


def train(catalog, name, *, labelled=(), pseudo=(), config=None, **changes):
    snapshot = catalog.pin_snapshot(labelled=labelled, pseudo=pseudo).snapshot_id
    run = catalog.begin_run(
        "student", name=name, config=config or {}, snapshot_id=snapshot, code_version="1"
    )
    catalog.finish_run(run, state="done", metrics={})
    register_model(catalog, name, run_id=run, **changes)


@pytest.fixture
def line(catalog):
    """truth → teacher → labels of street → student → more of alley → heir → metric; aside apart."""
    for name in ("truth", "other", "own"):
        fill_source(catalog, name, 2, role="labelled")
    for name in ("street", "alley"):
        fill_source(catalog, name, 2)
    train(catalog, "teacher", labelled=["truth"], config={"encoder": "scratch:tiny"})
    open_label_set(catalog, "labels")
    label_all(catalog, "labels", ["street"])
    train(catalog, "student", labelled=["other"], pseudo=["labels"])
    open_label_set(catalog, "more", teacher="student")
    label_all(catalog, "more", ["alley"])
    train(catalog, "heir", pseudo=["more"])
    train(catalog, "metric", labelled=["own"], config={"init": "heir"})
    train(catalog, "aside", labelled=["truth"])


def through(found):
    """Sources, and by which model each was learnt from; every shard of them."""
    told = {}
    for each in found.shards:
        told.setdefault((each.shard.source, each.model), set()).add(each.shard.shard_id)
    assert all(len(ids) == 2 for ids in told.values())
    return set(told)


def test_it_goes_through_labels_teachers_and_what_a_model_began_as(store, catalog, line):
    found = training_images(store, catalog, "metric")
    assert through(found) == {
        ("own", None), ("alley", "heir"), ("street", "student"), ("other", "student"),
        ("truth", "teacher"),
    }  # fmt: skip
    assert found.unknown == ()
    assert [each.shard.source for each in found.shards][:4] == ["own", "own", "alley", "alley"]
    assert through(training_images(store, catalog, "aside")) == {("truth", None)}
    assert through(training_images(store, catalog, "teacher")) == {("truth", None)}


def test_a_model_is_known_by_its_weights_whatever_it_is_called(store, catalog, line):
    assert through(training_images(store, catalog, sha256("teacher"))) == {("truth", None)}
    copy = {"key": None, "uri": "/elsewhere/teacher", "kind": "imported"}
    register_model(catalog, "copy", sha256=sha256("teacher"), **copy)
    for name in ("copy", "/elsewhere/teacher", "/elsewhere/teacher/"):
        found = training_images(store, catalog, name)
        assert (through(found), found.unknown) == ({("truth", None)}, ())


def test_a_run_may_name_a_model_by_its_place_in_the_store(store, catalog, line):
    place = str(store.local_path("models/teacher"))
    train(catalog, "placed", labelled=["own"], config={"init": place})
    assert through(training_images(store, catalog, "placed")) == {
        ("own", None), ("truth", "teacher"),
    }  # fmt: skip


def test_a_shard_counts_once_for_the_nearest_model(store, catalog, line):
    train(catalog, "both", labelled=["truth", "own"], config={"init": "metric"})
    found = training_images(store, catalog, "both")
    assert {("truth", None), ("own", None), ("alley", "heir")} < through(found)
    ids = [each.shard.shard_id for each in found.shards]
    assert len(ids) == len(set(ids)) == 10


def test_what_comes_from_elsewhere_is_said(store, catalog, line):
    config = {"encoder": "facebook/dinov2-small", "sky_segmenter": "some/segmenter"}
    open_label_set(catalog, "bought", teacher="big/teacher")
    label_all(catalog, "bought", ["street"])
    register_model(catalog, "imported", key=None, uri="/x", kind="imported")
    train(catalog, "mixed", pseudo=["bought"], config=config | {"init": "imported"})
    found = training_images(store, catalog, "mixed")
    assert through(found) == {("street", None)}
    assert set(found.unknown) == {
        "encoder facebook/dinov2-small", "sky segmenter some/segmenter", "model imported",
        "teacher big/teacher",
    }  # fmt: skip
    for name in ("imported", "nobody/knows", "f" * 64):
        found = training_images(store, catalog, name)
        assert (found.shards, found.unknown) == ((), (f"model {name}",))


def test_labels_of_a_set_that_the_catalog_has_lost_are_of_an_unknown_teacher(store, catalog, line):
    with catalog.write() as connection:  # as a rebuild leaves it where a file is damaged
        for table in (work, quarantine, label_shards):
            connection.execute(table.delete().where(table.c.label_set == "more"))
        connection.execute(label_sets.delete().where(label_sets.c.name == "more"))
    found = training_images(store, catalog, "heir")
    assert through(found) == {("alley", None)}
    assert found.unknown == ("teacher of label set more",)


def test_withdrawn_shards_are_still_learnt_from(store, catalog, line):
    lease = begin_ingest(catalog, "truth")
    shard = catalog.image_shards("truth")[0]
    catalog.withdraw_shard(
        lease, shard.shard_id, replacement=None, key="k", samples=10, reason="asked", ttl_s=60.0
    )
    found = training_images(store, catalog, "teacher").shards
    assert [each.counts for each in found if each.shard.shard_id == shard.shard_id] == [False]
    assert sum(each.counts for each in found) == len(found) - 1 == 1


def test_what_a_model_was_validated_on_is_no_training(store, catalog, line):
    train(catalog, "picked", labelled=["own"], config={"validation": ["truth"], "init": "student"})
    train(catalog, "after", labelled=["own"], config={"validation": [], "init": "picked"})
    for name in ("picked", "after"):
        found = training_images(store, catalog, name)
        assert found.validated == (("picked", "truth"),)
    assert training_images(store, catalog, "student").validated == ()
    train(catalog, "alone", labelled=["own"], config={"validation": ["truth"]})
    assert through(training_images(store, catalog, "alone")) == {("own", None)}


def test_a_run_that_pinned_nothing_tells_nothing(store, catalog, line):
    run = catalog.begin_run("teacher", name="blank", config={}, code_version="1")
    register_model(catalog, "blank", run_id=run)
    assert training_images(store, catalog, "blank").unknown == ("model blank",)
