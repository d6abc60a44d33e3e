"""From a student back to every source, and from a source forward to all that was made of it."""

import json

import pytest

from pipeline.catalog import Catalog
from pipeline.errors import CatalogConflictError, CatalogMissingError
from pipeline.lineage import lineage, made_from, nodes
from tests.catalog_factories import (
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


def train(catalog, name, *, labelled=(), pseudo=(), config=None, weights=None):
    """Pin, train and register; returns the snapshot's id and the run's."""
    snapshot = catalog.pin_snapshot(labelled=labelled, pseudo=pseudo).snapshot_id
    kind = "train-student" if pseudo else "train-teacher"
    run_id = catalog.begin_run(
        kind, name=name, config=config or {}, snapshot_id=snapshot, code_version=f"code-{name}"
    )
    catalog.finish_run(run_id, state="done", metrics={})
    register_model(catalog, name, run_id=run_id, sha256=sha256(weights or name))
    return snapshot, run_id


@pytest.fixture
def line(catalog):
    """truth → teacher → labels of street and kitchen → student."""
    fill_source(catalog, "truth", 2, role="labelled")
    fill_source(catalog, "street", 3)
    fill_source(catalog, "kitchen", 1)
    catalog.register_source(
        "street", role="unlabelled", uri="/data/street", layout="images", licence="CC-BY-4.0"
    )
    train(catalog, "teacher", labelled=["truth"])
    open_label_set(catalog, "labels")
    label_all(catalog, "labels", ["street", "kitchen"])
    return train(catalog, "student", labelled=["truth"], pseudo=["labels"])


def found(tree, kind):
    return {node["name"]: node for node in nodes(tree) if node["kind"] == kind}


def test_a_student_leads_back_to_every_source(catalog, line):
    snapshot, run_id = line
    tree = lineage(catalog, "student")
    assert (tree["kind"], tree["name"], tree["sha256"]) == ("model", "student", sha256("student"))
    (run,) = tree["from"]
    assert (run["kind"], run["name"], run["code_version"]) == ("run", run_id, "code-student")
    (pinned,) = run["from"]
    assert (pinned["name"], pinned["shards"], pinned["images"]) == (snapshot, 6, 60)
    assert {(x["kind"], x["name"], x["shards"]) for x in pinned["from"]} == {
        ("source", "truth", 2),
        ("label-set", "labels", 4),
    }
    assert set(found(tree, "model")) == {"student", "teacher"}
    sources = found(tree, "source")
    assert set(sources) == {"truth", "street", "kitchen"}
    street = sources["street"]
    assert (street["licence"], street["uri"], street["shards"]) == ("CC-BY-4.0", "/data/street", 3)
    assert [run["code_version"] for run in street["ingest_runs"]] == ["1"]
    assert found(tree, "label-set")["labels"]["recipe"]["side"] == 518
    json.dumps(tree)


def test_a_source_leads_forward_to_all_that_was_made_of_it(catalog, line):
    catalog.record_evaluation(
        model="student",
        model_sha256=sha256("student"),
        protocol="relative",
        version=1,
        source="bench",
        source_digest="d",
        images=1,
        valid_pixels=1,
        metrics={},
        config={},
        code_version="1",
    )
    _, run_id = line
    for source in ("street", "kitchen"):
        tree = made_from(catalog, source)
        assert set(found(tree, "label-set")) == {"labels"}
        assert set(found(tree, "model")) == {"student"}
        assert set(found(tree, "run")) == {run_id}
        assert set(found(tree, "evaluation")) == {"relative@1"}
    everything = made_from(catalog, "truth")
    assert set(found(everything, "model")) == {"teacher", "student"}
    assert set(found(everything, "label-set")) == {"labels"}
    json.dumps(everything)


def test_a_snapshot_answers_for_what_it_pinned_only(catalog, line):
    """A source labelled after the student was trained is not in the student."""
    fill_source(catalog, "garden", 2)
    label_all(catalog, "labels", ["garden"])
    assert "garden" not in found(lineage(catalog, "student"), "source")
    assert "garden" in found(lineage(catalog, "labels"), "source")
    forward = made_from(catalog, "garden")
    assert set(found(forward, "label-set")) == {"labels"}
    assert found(forward, "model") == {}


def test_a_shard_leads_to_its_source_and_its_labels(catalog, line):
    shard = catalog.image_shards("kitchen")[0]
    tree = lineage(catalog, shard.shard_id)
    assert (tree["kind"], tree["sha256"]) == ("shard", shard.sha256)
    assert set(found(tree, "source")) == {"kitchen"}
    forward = made_from(catalog, shard.shard_id)
    assert set(found(forward, "label-set")) == {"labels"}
    assert set(found(forward, "model")) == {"student"}


def test_a_teacher_from_elsewhere_is_a_leaf(catalog):
    fill_source(catalog, "street", 1)
    open_label_set(catalog, "labels", teacher="hub")
    label_all(catalog, "labels", ["street"])
    teacher = lineage(catalog, "labels")["from"][0]
    expected = {"kind": "model", "name": "hub", "sha256": sha256("hub"), "external": True}
    assert teacher == expected


def test_a_teacher_is_known_by_its_weights_not_by_its_name(catalog, line):
    register_model(catalog, "impostor", sha256=sha256("other"))
    open_label_set(catalog, "more", teacher="impostor", teacher_sha256=sha256("teacher"))
    assert "teacher" in found(lineage(catalog, "more"), "model")
    assert "impostor" not in found(lineage(catalog, "more"), "model")
    assert found(made_from(catalog, "impostor"), "label-set") == {}


def test_a_model_that_began_from_another_leads_back_to_it(catalog, line):
    train(catalog, "metric", labelled=["truth"], config={"init": "student", "encoder": "scratch"})
    assert {"student", "teacher"} < set(found(lineage(catalog, "metric"), "model"))
    assert "metric" in found(made_from(catalog, "street"), "model")


def test_what_a_run_began_from_elsewhere_is_a_leaf_and_random_weights_are_none(catalog, line):
    started = {"init": "hub/relative", "encoder": "scratch:tiny"}
    train(catalog, "metric", labelled=["truth"], config=started)
    (run,) = lineage(catalog, "metric")["from"]
    expected = {"kind": "model", "name": "hub/relative", "external": True}
    assert [node for node in run["from"] if node["kind"] == "model"] == [expected]


def test_a_chain_of_self_training_ends_and_stays_linear(tmp_path):
    generations = 60
    with Catalog.open(f"sqlite:///{tmp_path / 'catalog.sqlite'}") as catalog:
        fill_source(catalog, "truth", 1, role="labelled")
        fill_source(catalog, "street", 1)
        train(catalog, "model-0", labelled=["truth"])
        for number in range(generations):
            open_label_set(catalog, f"labels-{number}", teacher=f"model-{number}")
            label_all(catalog, f"labels-{number}", ["street"])
            train(catalog, f"model-{number + 1}", labelled=["truth"], pseudo=[f"labels-{number}"])
        back = lineage(catalog, f"model-{generations}")
        forward = made_from(catalog, "truth")
    for tree in (back, forward):
        assert len(found(tree, "model")) == generations + 1
        assert len(found(tree, "source")) <= 2
        assert sum(1 for _ in nodes(tree)) < 6 * generations


def test_a_student_with_the_weights_of_its_teacher_is_no_endless_loop(catalog):
    """No step was taken, or none changed anything: teacher and student cannot be told apart."""
    fill_source(catalog, "street", 1)
    open_label_set(catalog, "labels", teacher="hub")
    label_all(catalog, "labels", ["street"])
    train(catalog, "student", pseudo=["labels"], weights="hub")
    for tree in (lineage(catalog, "student"), made_from(catalog, "student")):
        assert set(found(tree, "model")) == {"student"}
        assert set(found(tree, "label-set")) == {"labels"}
    assert '"repeated": true' in json.dumps(lineage(catalog, "student"))


def test_the_tree_of_many_shards_is_small(tmp_path):
    sizes = []
    for count in (3, 60):
        with Catalog.open(f"sqlite:///{tmp_path / f'{count}.sqlite'}") as catalog:
            fill_source(catalog, "street", count)
            open_label_set(catalog, "labels")
            label_all(catalog, "labels", ["street"])
            train(catalog, "student", pseudo=["labels"])
            sizes.append(len(json.dumps(lineage(catalog, "student"))))
    assert sizes[1] < sizes[0] + 50


def test_a_name_used_twice_must_be_said_in_full(catalog, line):
    open_label_set(catalog, "student")
    with pytest.raises(CatalogConflictError, match="label-set:student or model:student"):
        lineage(catalog, "student")
    assert lineage(catalog, "model:student")["kind"] == "model"
    assert made_from(catalog, "label-set:student")["kind"] == "label-set"


def test_what_nobody_knows_is_named(catalog, line):
    with pytest.raises(CatalogMissingError, match=r"'studnt'.*did you mean 'student'\?"):
        lineage(catalog, "studnt")
    with pytest.raises(CatalogMissingError, match=r"'street' \(looked for: model\)"):
        made_from(catalog, "model:street")
