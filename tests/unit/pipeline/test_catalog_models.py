"""Models, runs and evaluations, on both databases."""

import pytest

from pipeline.catalog import Catalog
from pipeline.errors import CatalogConflictError, CatalogMissingError
from tests.catalog_factories import fill_source, register_model, sha256


@pytest.fixture
def catalog(catalog_url):
    with Catalog.open(catalog_url) as opened:
        yield opened


def begin_run(catalog, name="student", kind="train-student", **changes):
    return catalog.begin_run(kind, name=name, **{"config": {}, "code_version": "1"} | changes)


def test_a_model_keeps_its_name_for_good(catalog):
    first = register_model(catalog, "teacher", licence="Apache-2.0")
    assert register_model(catalog, "teacher") == first
    assert catalog.models() == [first] == [catalog.model("teacher")]
    for key, value in {"sha256": sha256("other"), "geometry": "depth_metric"}.items():
        with pytest.raises(CatalogConflictError, match=f"'teacher'.*{key}: .*{value}"):
            register_model(catalog, "teacher", **{key: value})
    assert catalog.model("teacher") == first


def test_a_model_lies_in_the_store_or_elsewhere(catalog):
    hub = register_model(catalog, "hub", key=None, uri="https://me:hunter2@hub/x")
    assert (hub.key, hub.uri) == (None, "https://me:***@hub/x")
    for place in ({"key": None}, {"key": "models/x", "uri": "/x"}):
        with pytest.raises(ValueError, match="key inside the store or a URI"):
            register_model(catalog, "nowhere", **place)


def test_models_are_found_by_their_weights(catalog):
    assert catalog.find_model(sha256("teacher")) is None
    register_model(catalog, "teacher")
    register_model(catalog, "copy", sha256=sha256("teacher"))
    assert catalog.find_model(sha256("teacher")).name == "teacher"
    with pytest.raises(
        CatalogMissingError, match=r"did you mean 'teacher'\? \(known: copy, teacher\)"
    ):
        catalog.model("techer")


def test_a_model_made_here_names_a_run_that_exists(catalog):
    run_id = begin_run(catalog)
    assert register_model(catalog, "student", run_id=run_id).run_id == run_id
    with pytest.raises(CatalogMissingError, match="no run has the id 'nobody'"):
        register_model(catalog, "other", run_id="nobody")


def test_a_run_from_its_beginning_to_its_end(catalog):
    fill_source(catalog, "street", 1)
    snapshot = catalog.pin_snapshot(labelled=["street"], pseudo=[])
    config = {"steps": 3, "catalog": "postgresql://me:hunter2@db/x"}
    run_id = begin_run(catalog, config=config, snapshot_id=snapshot.snapshot_id)
    run = catalog.run(run_id)
    assert run.config == {"steps": 3, "catalog": "postgresql://me:***@db/x"}
    assert (run.state, run.snapshot_id, run.finished_at) == ("running", snapshot.snapshot_id, None)
    catalog.finish_run(run_id, state="stopped", metrics={"loss": float("inf"), "steps": 2})
    run = catalog.run(run_id)
    assert (run.state, run.metrics) == ("stopped", {"loss": None, "steps": 2})
    assert run.finished_at >= run.started_at
    catalog.resume_run(run_id)
    assert (catalog.run(run_id).state, catalog.run(run_id).finished_at) == ("running", None)
    catalog.finish_run(run_id, state="done", metrics={"loss": 0.5})
    assert [row.state for row in catalog.runs()] == ["done"]


def test_the_newest_run_of_a_name_is_the_one_that_began_last(catalog):
    assert catalog.newest_run("student") is None
    runs = [begin_run(catalog), begin_run(catalog), begin_run(catalog, kind="train-teacher")]
    begin_run(catalog, "other")
    assert len(set(runs)) == 3
    assert [run.run_id for run in catalog.runs(name="student")] == runs
    assert catalog.newest_run("student").run_id == runs[2]
    assert catalog.newest_run("student", kind="train-student").run_id == runs[1]


def test_runs_and_snapshots_that_do_not_exist_are_named(catalog):
    for call in (
        lambda: catalog.run("nobody"),
        lambda: catalog.resume_run("nobody"),
        lambda: catalog.finish_run("nobody", state="done", metrics={}),
        lambda: begin_run(catalog, snapshot_id="nobody"),
    ):
        with pytest.raises(CatalogMissingError, match="'nobody'"):
            call()
    assert catalog.runs() == []


def test_a_state_that_means_nothing_is_refused(catalog):
    run_id = begin_run(catalog)
    with pytest.raises(CatalogConflictError, match="ck_runs_state"):
        catalog.finish_run(run_id, state="perhaps", metrics={})
    assert catalog.run(run_id).state == "running"


def record(catalog, model, **changes):
    values = {
        "model_sha256": sha256(model),
        "protocol": "kitti-eigen-garg",
        "version": 1,
        "source": "kitti",
        "source_digest": sha256("kitti"),
        "images": 697,
        "valid_pixels": 3_000_000_000,  # more than 32 bits hold
        "metrics": {"abs_rel": 0.08, "delta1": float("nan")},
        "config": {"size": 518},
        "code_version": "1",
    }
    catalog.record_evaluation(model=model, **values | changes)


def test_evaluations_are_kept_in_order(catalog):
    record(catalog, "teacher")
    record(catalog, "student", metrics={"abs_rel": 0.07})
    record(catalog, "teacher", metrics={"abs_rel": 0.06})
    assert [row.metrics["abs_rel"] for row in catalog.evaluations()] == [0.08, 0.07, 0.06]
    first, second = catalog.evaluations(model="teacher")
    assert (first.version, first.valid_pixels, first.metrics["delta1"]) == (
        "1",
        3_000_000_000,
        None,
    )
    assert second.created_at >= first.created_at
