"""The catalog verb over a real catalog in a file."""

import json
import shutil

import pytest

from jobs.catalog_queries import list_presets, query_catalog
from jobs.config import CATALOG_QUESTIONS, CatalogConfig
from jobs.errors import ConfigError
from jobs.workspace import open_workspace
from pipeline.errors import CatalogConflictError, CatalogMissingError
from pipeline.presets import presets
from pipeline.records import LabelManifest, ShardRef


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    with open_workspace(CatalogConfig(store=str(folder))) as workspace:
        fill(workspace.catalog)
    return folder


@pytest.fixture
def ask(store):
    def query(question, ref=None, *, store=store):
        return query_catalog(CatalogConfig(store=str(store), question=question, ref=ref))

    return query


def fill(catalog) -> None:
    """photos (two shards) labelled by teacher `t` into set `t`, of which student `s` is made."""
    ingest(catalog, "photos", ["s1", "s2"], dropped={"truncated": 2}, role="unlabelled")
    ingest(catalog, "rooms", ["r1"], dropped={}, role="labelled")
    facts = {"family": "depth_anything", "geometry": "disparity_affine_invariant"}
    catalog.register_model("t", sha256="a" * 64, key="models/t", kind="teacher", **facts)
    catalog.open_label_set(
        "t", teacher="t", teacher_sha256="a" * 64, recipe={"side": 518}, recipe_hash="b" * 64,
        code_version="1",
    )  # fmt: skip
    catalog.plan_work("t", ["photos"])
    [done, failed] = catalog.lease("t", owner="me", limit=2, ttl_s=60)
    manifest = LabelManifest(
        label_set="t", shard_id=done.shard.shard_id, key="labels/t/s1/x.parquet", sha256="c" * 64,
        bytes=10, rows=3, labelled=2, quarantined={"decode_failed": 1},
    )  # fmt: skip
    catalog.commit_label_shard(done, manifest)
    catalog.charge(failed, "killed the actor", max_attempts=1)
    snapshot = catalog.pin_snapshot(labelled=["rooms"], pseudo=["t"])
    run = catalog.begin_run(
        "student", name="s", config={}, code_version="1", snapshot_id=snapshot.snapshot_id
    )
    catalog.finish_run(run, state="done", metrics={"loss": 0.5})
    catalog.register_model(
        "s", sha256="d" * 64, key="models/s", kind="student", run_id=run, **facts
    )
    catalog.record_evaluation(
        model="s", model_sha256="d" * 64, protocol="relative", version=1, source="rooms",
        source_digest="e", images=3, valid_pixels=100, metrics={"abs_rel": 0.1}, config={},
        code_version="1",
    )  # fmt: skip


def ingest(catalog, source, shard_ids, *, dropped, role) -> None:
    catalog.register_source(source, role=role, uri=f"/{source}", layout="images", licence="CC0-1.0")
    lease = catalog.begin_ingest(
        source, owner="me", ttl_s=60, uri=f"/{source}", config={}, code_version="1"
    )
    for shard_id in shard_ids:
        shard = ShardRef(source, shard_id, f"sources/{source}/{shard_id}.parquet", 3, 99, "f" * 64)
        catalog.commit_image_shard(lease, shard, dropped=dropped)
        dropped = {}
    catalog.finish_ingest(lease, {})


@pytest.mark.parametrize("question", CATALOG_QUESTIONS)
def test_every_question_has_an_answer_that_is_json(ask, question):
    answer = ask(question, "photos" if question in ("shards", "lineage") else None)
    assert json.loads(json.dumps(answer)) == answer
    assert answer


def test_sources(ask):
    photos, rooms = ask("sources")["sources"]
    assert (photos["name"], photos["images"], photos["shards"]) == ("photos", 6, 2)
    assert photos["dropped"] == {"truncated": 2}
    assert (rooms["role"], rooms["licence"], rooms["bytes"]) == ("labelled", "CC0-1.0", 99)


def test_what_a_source_permits_follows_from_its_licence(ask):
    photos = ask("sources")["sources"][0]
    assert (photos["rehost"], photos["commercial"], photos["withdrawn"]) == ("yes", "yes", None)


def test_presets_need_no_store():
    listed = list_presets()["presets"]
    assert {row["name"] for row in listed} == set(presets())
    assert [row["role"] for row in listed] == sorted(
        (row["role"] for row in listed), key=["unlabelled", "labelled", "benchmark"].index
    )
    assert all(row["expected"] and row["homepage"] and row["licence"] for row in listed)
    assert query_catalog(CatalogConfig(store="/no/such/store", question="presets"))


def test_a_model_shows_the_licences_of_what_it_came_from(ask):
    teacher, student = ask("models")["models"]
    assert teacher["licences_behind"] == ["unknown"], "a model of which nobody said"
    assert student["licences_behind"] == ["CC0-1.0", "unknown"]


def test_shards_of_a_source(ask):
    shards = ask("shards", "photos")["shards"]
    assert [shard["shard"] for shard in shards] == ["s1", "s2"]
    assert shards[0]["key"] == "sources/photos/s1.parquet"


def test_a_long_list_of_shards_is_cut_and_says_so(store):
    def shards(ref, limit):
        return query_catalog(
            CatalogConfig(store=str(store), question="shards", ref=ref, limit=limit)
        )

    first = shards("photos", 1)
    assert [shard["shard"] for shard in first["shards"]] == ["s1"]
    assert first["shards_in_all"] == 2
    assert len(shards("photos", 0)["shards"]) == 2
    labels = shards("label-set:t", 1)
    assert labels == shards("label-set:t", 0)
    assert labels["shards"][0]["quarantined"] == {"decode_failed": 1}


def test_shards_of_a_label_set_are_told_from_the_model_of_that_name(ask):
    for ref in ("t", "label-set:t"):
        answer = ask("shards", ref)
        [shard] = answer["shards"]
        assert (shard["source"], shard["labelled"]) == ("photos", 2)
        assert shard["quarantined"] == {"decode_failed": 1}
        assert answer["failed"] == [{"shard": "s2", "error": "killed the actor"}]


def test_a_name_that_is_a_source_and_a_label_set(ask, store, tmp_path):
    copy = shutil.copytree(store, tmp_path / "store")
    with open_workspace(CatalogConfig(store=str(copy))) as workspace:
        ingest(workspace.catalog, "t", [], dropped={}, role="unlabelled")
    with pytest.raises(CatalogConflictError, match="source:t or label-set:t"):
        ask("shards", "t", store=copy)
    expected = {"source": "t", "shards_in_all": 0, "shards": []}
    assert ask("shards", "source:t", store=copy) == expected


@pytest.mark.parametrize("ref", ["s", "model:t", "label-set:photos", "nothing"])
def test_what_has_no_shards(ask, ref):
    with pytest.raises(CatalogMissingError, match="no source and no label set"):
        ask("shards", ref)


def test_label_sets(ask):
    [row] = ask("label-sets")["label_sets"]
    assert (row["teacher"], row["labelled"], row["quarantined"]) == ("t", 2, {"decode_failed": 1})
    states = {key: row[f"shards_{key}"] for key in ("done", "pending", "leased", "failed")}
    assert states == {"done": 1, "pending": 0, "leased": 0, "failed": 1}


def test_models_runs_and_evaluations(ask):
    assert [(row["name"], row["made"]) for row in ask("models")["models"]] == [
        ("t", "teacher"),
        ("s", "student"),
    ]
    [run] = ask("runs")["runs"]
    assert (run["name"], run["state"], run["metrics"]) == ("s", "done", {"loss": 0.5})
    [result] = ask("evaluations")["evaluations"]
    assert (result["protocol"], result["metrics"]) == ("relative@1", {"abs_rel": 0.1})


def names_below(node, link) -> set[str]:
    below = {f"{node['kind']}:{node['name']}"}
    return below.union(*(names_below(child, link) for child in node.get(link, [])))


def test_lineage_reaches_from_the_student_to_its_sources_and_back(ask):
    behind = names_below(ask("lineage", "s")["lineage"], "from")
    assert {"model:s", "label-set:t", "model:t", "source:photos", "source:rooms"} <= behind
    ahead = names_below(ask("lineage", "photos")["made_from_it"], "into")
    assert {"source:photos", "label-set:t", "model:s"} <= ahead


def test_lineage_of_an_ambiguous_name_says_how_to_tell_them_apart(ask):
    with pytest.raises(CatalogConflictError, match="label-set:t or model:t"):
        ask("lineage", "t")
    assert ask("lineage", "model:t")["lineage"]["kind"] == "model"


@pytest.mark.parametrize("question", ["shards", "lineage"])
def test_a_question_that_needs_a_name(ask, question):
    with pytest.raises(ConfigError, match="needs a name"):
        ask(question)
