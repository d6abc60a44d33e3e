"""A whole store from which samples and sources are withdrawn: ingest, gc, rebuild, lineage."""

import shutil

import pytest

from jobs.catalog_gc import collect_garbage
from jobs.catalog_queries import query_catalog
from jobs.catalog_rebuild import rebuild_catalog
from jobs.catalog_verify import verify_catalog
from jobs.catalog_withdraw import withdraw
from jobs.config import (
    CatalogConfig,
    CatalogGcConfig,
    CatalogRebuildConfig,
    CatalogVerifyConfig,
)
from jobs.run_files import RunFiles
from jobs.sample_config import CatalogWithdrawConfig
from jobs.training_config import TrainStudentConfig
from jobs.training_owner import take
from jobs.training_runs import open_run
from jobs.workspace import CATALOG_FILE, open_workspace
from pipeline.catalog import Catalog
from pipeline.errors import WithdrawnError
from pipeline.shards import read_image_rows
from tests.whole_store import fill_whole_store, ingest_photos, label_pending

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    fill_whole_store(folder / "store", folder / "raw")
    return folder


@pytest.fixture
def folder(made, tmp_path):
    shutil.copytree(made, tmp_path / "made")
    return tmp_path / "made"


@pytest.fixture
def store(folder):
    return str(folder / "store")


@pytest.fixture
def workspace(store):
    with open_workspace(CatalogConfig(store=store)) as opened:
        yield opened


def take_out(store, source, *samples):
    return withdraw(
        CatalogWithdrawConfig(store=store, source=source, reason="asked", sample=samples)
    )


def garbage(store):
    return collect_garbage(CatalogGcConfig(store=store))


def problems(store):
    return verify_catalog(CatalogVerifyConfig(store=store))["problems"]


def ask(store, question, ref=None):
    return query_catalog(CatalogConfig(store=store, question=question, ref=ref))


def photos(workspace):
    shards = workspace.catalog.image_shards("photos")
    return {row.path for s in shards for row in read_image_rows(workspace.store, s.key)}


def objects_naming(workspace, shard_id):
    return {key for key in workspace.store.list() if shard_id in key}


def test_gc_removes_all_of_it_but_what_names_it(store, workspace):
    before = {shard.shard_id for shard in workspace.catalog.image_shards("photos")}
    workspace.store.put("sources/photos/dropped/notes.txt", b"mine")
    take_out(store, "photos", "000.png")
    gone = before - {shard.shard_id for shard in workspace.catalog.image_shards("photos")}
    (shard_id,) = gone
    assert any(key.startswith("labels/") for key in objects_naming(workspace, shard_id))
    removed = garbage(store)["removed"]
    assert (removed["image_shards"], removed["label_shards"]) == (1, 1)
    left = {key.split("/")[2] for key in objects_naming(workspace, shard_id)}
    assert left <= {"withdrawn", "dropped"}
    assert "withdrawn" in left
    assert problems(store) == []
    assert sum(garbage(store)["removed"].values()) == 0


def test_it_is_not_ingested_again_under_any_name(store, folder, workspace):
    take_out(store, "photos", "000.png")
    shutil.copy(folder / "raw" / "000.png", folder / "raw" / "copy.png")
    shutil.copy(folder / "raw" / "001.png", folder / "raw" / "twin.png")
    (folder / "raw" / "000.png").touch()
    summary = ingest_photos(folder / "store", folder / "raw", range(13, 14))
    assert summary["dropped"]["withdrawn"] >= 1
    assert summary["samples_in"] == summary["kept"] + sum(summary["dropped"].values())
    assert {"000.png", "copy.png"}.isdisjoint(photos(workspace))
    assert {"twin.png", "013.png"} <= photos(workspace)


def test_a_running_run_keeps_what_it_reads_until_it_is_over(store, workspace):
    take_out(store, "photos", "000.png")
    (run,) = [row for row in workspace.catalog.runs() if row.name == "student"]
    workspace.catalog.resume_run(run.run_id)
    take(RunFiles(workspace.store, run.run_id))
    done = garbage(store)
    assert sum(done["removed"].values()) == 0
    assert {each["reason"] for each in done["kept"]} == {
        "withdrawn, but a training run that is going on reads it"
    }
    workspace.catalog.finish_run(run.run_id, state="stopped", metrics={})
    assert garbage(store)["removed"]["image_shards"] == 1


def test_a_run_that_has_pinned_it_is_not_resumed(store, workspace):
    config = TrainStudentConfig(
        labelled=("rooms",), pseudo=("labels",), encoder="scratch:tiny", name="next", store=store
    )
    run = open_run(config, "student", config.pseudo, workspace)
    workspace.catalog.finish_run(run.run_id, state="stopped", metrics={})
    take_out(store, "photos", "000.png")
    again = TrainStudentConfig(
        labelled=("rooms",), pseudo=("labels",), encoder="scratch:tiny", name="next", store=store,
        resume=True,
    )  # fmt: skip
    with pytest.raises(WithdrawnError, match=r"1 shards.*of photos.*another --name"):
        open_run(again, "student", again.pseudo, workspace)


def test_lineage_marks_what_was_made_of_it(store):
    before = ask(store, "lineage", "student")["lineage"]
    assert "from_withdrawn" not in str(before)
    take_out(store, "photos", "000.png")
    after = ask(store, "lineage", "student")
    assert after["lineage"]["from_withdrawn"] is True
    forward = ask(store, "lineage", "photos")["made_from_it"]
    assert forward["withdrawn_samples"] == 1
    assert len(forward["ingest_runs"]) == 2  # and not the run that took the sample out
    take_out(store, "photos")
    forward = ask(store, "lineage", "photos")["made_from_it"]
    assert forward["withdrawn_at"] > 0
    assert [node["name"] for node in forward["into"] if node["kind"] == "label-set"] == ["labels"]
    assert "'name': 'student'" in str(forward)


def lose_catalog(folder):
    for file in (folder / "store").glob(f"{CATALOG_FILE}*"):
        file.unlink()


def rebuilt(folder):
    store = str(folder / "store")
    lose_catalog(folder)
    return rebuild_catalog(CatalogRebuildConfig(store=store))


QUESTIONS = [("sources", None), ("shards", "photos"), ("shards", "labels"), ("label-sets", None)]


def answers(store):
    return [ask(store, question, ref) for question, ref in QUESTIONS]


@pytest.mark.parametrize("swept", [False, True])
def test_what_was_withdrawn_stays_so_in_a_rebuilt_catalog(folder, store, swept):
    take_out(store, "photos", "000.png", "009.png")
    take_out(store, "rooms")
    if swept:
        garbage(store)
    with Catalog.open(f"sqlite:///{folder}/store/{CATALOG_FILE}") as catalog:
        before = [(row.shard_id, row.samples, row.reason) for row in catalog.withdrawals()]
    asked = answers(store)
    summary = rebuilt(folder)
    assert summary["problems"] == []
    assert summary["withdrawals"] == 3
    assert answers(store) == asked
    with open_workspace(CatalogConfig(store=store)) as workspace:
        after = [(r.shard_id, r.samples, r.reason) for r in workspace.catalog.withdrawals()]
        assert sorted(map(str, after)) == sorted(map(str, before))
        assert len(workspace.catalog.withdrawn_objects("photos")) == 2
        with pytest.raises(WithdrawnError, match=r"'rooms'.*asked"):
            workspace.catalog.check_not_withdrawn(["rooms"])
        workspace.catalog.plan_work("labels", ["photos"])
        assert label_pending(workspace) == 2
    assert problems(store) == []
    assert ask(store, "lineage", "student")["lineage"]["from_withdrawn"] is True


def test_a_rebuild_completes_what_was_killed_before_it_was_written_down(folder, store, monkeypatch):
    """The ledger says that the shard counts; the objects of the withdrawal say that it does not."""
    monkeypatch.setattr("jobs.withdrawals.record_source", lambda *args: None)
    monkeypatch.setattr("jobs.withdrawals.record_label_set", lambda *args: None)
    take_out(store, "photos", "000.png")
    asked = answers(store)
    assert rebuilt(folder)["problems"] == []
    assert answers(store)[1:] == asked[1:]


def test_a_withdrawal_that_never_happened_is_swept_and_not_rebuilt(folder, store, monkeypatch):
    def killed(*args, **kwargs):
        raise KeyboardInterrupt

    asked = answers(store)
    with monkeypatch.context() as patch:
        patch.setattr(Catalog, "withdraw_shard", killed)
        with pytest.raises(KeyboardInterrupt):
            take_out(store, "photos", "000.png")
    removed = garbage(store)["removed"]
    assert (removed["withdrawn"], removed["image_shards"]) == (1, 1)
    assert rebuilt(folder)["withdrawals"] == 0
    assert answers(store)[1:] == asked[1:]
