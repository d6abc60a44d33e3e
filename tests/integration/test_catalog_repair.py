"""The repair of a whole store: damage is found, garbage removed, a lost database rebuilt."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from jobs.catalog_gc import collect_garbage
from jobs.catalog_queries import query_catalog
from jobs.catalog_rebuild import rebuild_catalog
from jobs.catalog_verify import verify_catalog
from jobs.cli import run
from jobs.config import (
    CatalogConfig,
    CatalogGcConfig,
    CatalogRebuildConfig,
    CatalogVerifyConfig,
)
from jobs.errors import ConfigError
from jobs.run_files import RunFiles
from jobs.sky import FILE as SKY_FILE
from jobs.workspace import CATALOG_FILE, open_workspace
from pipeline.errors import CatalogConflictError, CatalogMissingError, LeaseLostError
from pipeline.ledger import record_label_set, record_source
from pipeline.shards import read_image_rows
from pipeline.sky_masks import SKY_SCHEMA, SkyRow, describe_sky, sky_key, write_sky_shard
from tests.catalog_factories import begin_ingest, expire_leases, fill_source
from tests.whole_store import (
    fill_whole_store,
    ingest_photos,
    label_pending,
    open_labels,
    write_labels,
)

pytestmark = pytest.mark.integration

QUESTIONS = [
    ("sources", None), ("shards", "photos"), ("shards", "rooms"), ("shards", "labels"),
    ("label-sets", None), ("models", None), ("runs", None), ("evaluations", None),
    ("lineage", "student"), ("lineage", "labels"), ("lineage", "photos"),
]  # fmt: skip


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
    return folder / "store"


def answers(store, questions=QUESTIONS, **changes):
    config = {"store": str(store), **changes}
    return {
        f"{question} {ref}": query_catalog(CatalogConfig(question=question, ref=ref, **config))
        for question, ref in questions
    }


def lose_catalog(store):
    for file in store.glob(f"{CATALOG_FILE}*"):
        file.unlink()


def rebuild(store, **changes):
    return rebuild_catalog(CatalogRebuildConfig(store=str(store), **changes))


def forget_ledger(store):
    """What an older version of the factory would have left."""
    patterns = (
        "source.json",
        "shards.jsonl",
        "drops.jsonl",
        "label_set.json",
        "factory.json",
        "run.json",
    )
    for pattern in (*patterns, "snapshot.jsonl", "evaluations/*.json"):
        for file in store.rglob(pattern):
            file.unlink()


def test_every_answer_is_the_same_after_a_rebuild(store):
    before = answers(store)
    assert json.dumps(before).count("torn") == 0 and "truncated" in json.dumps(before)
    lose_catalog(store)
    summary = rebuild(store)
    assert (summary["problems"], summary["unknown"], summary["skipped"]) == ([], [], [])
    assert answers(store) == before
    assert verify_catalog(CatalogVerifyConfig(store=str(store)))["problems"] == []


def test_it_comes_back_on_postgresql(store, postgres_catalog_url):
    before = answers(store)
    assert rebuild(store, catalog=postgres_catalog_url)["problems"] == []
    assert answers(store, catalog=postgres_catalog_url) == before
    with open_workspace(CatalogConfig(store=str(store), catalog=postgres_catalog_url)) as workspace:
        assert workspace.catalog.plan_work("labels", ["rooms"]) == 1  # numbers go on


def test_nothing_is_left_to_do_after_a_rebuild(folder, store):
    lose_catalog(store)
    rebuild(store)
    again = ingest_photos(store, folder / "raw", range(0))
    assert (again["shards_written"], again["already_present"]) == (0, again["kept"])
    with open_workspace(CatalogConfig(store=str(store))) as workspace:
        before = workspace.catalog.label_shards("labels")
        assert workspace.catalog.plan_work("labels", ["photos"]) == 0
        assert label_pending(workspace) == 0
        assert workspace.catalog.label_shards("labels") == before
        (ahead,) = workspace.catalog.work_ahead("labels", ["photos"])
        assert (ahead.left.shards, ahead.done.shards) == (0, len(before))
    removed = collect_garbage(CatalogGcConfig(store=str(store)))["removed"]
    assert sum(removed.values()) == 0


def test_a_catalog_with_something_in_it_is_not_rebuilt(store, tmp_path):
    with pytest.raises(CatalogConflictError, match=r"3 sources, 1 label sets.*--catalog"):
        rebuild(store)
    url = f"sqlite:///{tmp_path / 'new.sqlite'}"
    assert rebuild(store, catalog=url)["problems"] == []
    assert answers(store, catalog=url) == answers(store)


def test_a_store_that_is_not_there_is_wrong_usage(tmp_path):
    with pytest.raises(ConfigError, match="no store at"):
        rebuild(tmp_path / "mistyped")
    assert not (tmp_path / "mistyped").exists()


def test_what_is_damaged_is_named_and_left_out(store):
    images = sorted((store / "sources" / "photos").glob("*.parquet"))
    labels = {path.parent.name: path for path in (store / "labels" / "labels").rglob("*.parquet")}
    torn, flipped, gone = images[0], labels[images[1].stem], labels[images[2].stem]
    torn.write_bytes(torn.read_bytes()[:-100])
    flip_a_bit(flipped)
    gone.unlink()
    flip_a_bit(store / "models" / "student" / "model.safetensors")
    (store / "labels" / "old" / "s1").mkdir(parents=True)
    (store / "labels" / "old" / "s1" / "0001-x.parquet").write_bytes(b"PAR1")
    lose_catalog(store)
    summary = rebuild(store)
    named = {(problem["key"], problem["what"]) for problem in summary["problems"]}
    keys = {key for key, _ in named}
    relative = {path.relative_to(store).as_posix() for path in (torn, flipped, gone)}
    without_images = labels[torn.stem].relative_to(store).as_posix()
    assert keys == relative | {"models/student", "labels/old", without_images}
    assert (flipped.relative_to(store).as_posix(), "sha256") in named
    assert summary["image_shards"] == len(images) - 1 + 2
    assert summary["label_shards"] == len(labels) - 3
    assert summary["models"] == 0 and summary["runs"] == 1
    with open_workspace(CatalogConfig(store=str(store))) as workspace:
        assert workspace.catalog.progress("labels").pending == 2
        assert label_pending(workspace, owner="again") == 2


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 4
    path.write_bytes(data)


def test_of_several_attempts_the_newest_whole_one_is_taken(store):
    with open_workspace(CatalogConfig(store=str(store))) as workspace:
        assert workspace.catalog.retry_quarantined("labels") > 2
        whole, torn = workspace.catalog.lease("labels", owner="b", limit=2, ttl_s=60)
        newer = write_labels(workspace, whole, quarantined=0)
        damaged = store / write_labels(workspace, torn).key
        damaged.write_bytes(damaged.read_bytes()[:-20])
    lose_catalog(store)
    summary = rebuild(store)
    assert [problem["key"] for problem in summary["problems"]] == [
        damaged.relative_to(store).as_posix()
    ]
    with open_workspace(CatalogConfig(store=str(store))) as workspace:
        rows = {row.shard.shard_id: row for row in workspace.catalog.label_shards("labels")}
        assert rows[whole.shard.shard_id].key == newer.key
        assert rows[whole.shard.shard_id].quarantined == {}
        assert rows[torn.shard.shard_id].key == torn.previous
        assert workspace.catalog.retry_quarantined("labels") > 0
        epochs = {
            lease.shard.shard_id: lease.epoch
            for lease in workspace.catalog.lease("labels", owner="c", limit=9, ttl_s=60)
        }
        assert epochs[torn.shard.shard_id] == torn.epoch + 1


def test_attempts_that_were_replaced_are_not_missed_in_the_ledger(store):
    """The student has pinned them, so that they stay."""
    with open_workspace(CatalogConfig(store=str(store))) as workspace:
        assert workspace.catalog.retry_quarantined("labels") == label_pending(workspace) > 0
        record_label_set(workspace.store, workspace.catalog, "labels")
        made = workspace.catalog.label_shards("labels")
    lose_catalog(store)
    summary = rebuild(store)
    assert (summary["problems"], summary["unknown"]) == ([], [])
    with open_workspace(CatalogConfig(store=str(store))) as workspace:
        assert workspace.catalog.label_shards("labels") == made


def test_a_store_without_a_ledger_says_what_it_does_not_know(store):
    before = answers(store)
    lose_catalog(store)
    forget_ledger(store)
    summary = rebuild(store)
    assert summary["problems"] == []
    unknown = {each["what"]: each["unknown"] for each in summary["unknown"]}
    assert "benchmark" in unknown["source rooms"] and "role" not in unknown["source photos"]
    assert {what.split()[0] for what in unknown} == {"source", "label", "run", "model"}
    after = answers(store, QUESTIONS[:5])

    def plain(shards):
        left_out = ("committed",)
        rows = [{k: v for k, v in row.items() if k not in left_out} for row in shards["shards"]]
        return sorted(rows, key=lambda row: row["shard"])

    for question in ("shards photos", "shards labels", "shards rooms"):
        assert plain(after[question]) == plain(before[question])
    photos = {row["name"]: row for row in after["sources None"]["sources"]}["photos"]
    assert (photos["licence"], photos["role"], photos["uri"]) == ("MIT", "unlabelled", "unknown")
    assert (
        photos["dropped"]
        == {row["name"]: row for row in before["sources None"]["sources"]}["photos"]["dropped"]
    )
    lose_catalog(store)
    again = rebuild(store)
    assert {each["what"].split()[0] for each in again["unknown"]} == {"run", "model"}


def test_a_shard_that_was_never_committed_is_no_second_copy(store, folder):
    """A run killed before its commit left it; a later one put its images into other shards."""
    from pipeline.records import ShardRef
    from pipeline.shards import write_image_shard

    with open_workspace(CatalogConfig(store=str(store))) as workspace:
        first = workspace.catalog.image_shards("photos")[0]
        some = list(read_image_rows(workspace.store, first.key))[:2]
        orphan: ShardRef = write_image_shard(
            workspace.store, some, source="photos", code_version="1"
        )
        before = workspace.catalog.image_shards("photos")
    lose_catalog(store)
    summary = rebuild(store)
    assert [each["key"] for each in summary["skipped"]] == [orphan.key]
    with open_workspace(CatalogConfig(store=str(store))) as workspace:
        assert workspace.catalog.image_shards("photos") == before
    removed = collect_garbage(CatalogGcConfig(store=str(store)))["removed"]
    assert removed["image_shards"] == 1 and sum(removed.values()) == 1


def verify(store, ref=None):
    return verify_catalog(CatalogVerifyConfig(store=str(store), ref=ref))


def test_every_kind_of_damage_is_found(store):
    """Also where a file is as long as before, and where it says it is somebody else's."""
    first, second, third, *_ = sorted((store / "sources" / "photos").glob("*.parquet"))
    labels = {path.parent.name: path for path in (store / "labels" / "labels").rglob("*.parquet")}
    drops = sorted((store / "sources" / "photos" / "dropped").glob("*.parquet"))[0]
    flip_a_bit(first)
    shutil.copy(third, second)
    shutil.copy(labels[second.stem], labels[third.stem])
    drops.write_bytes(b"PAR1")
    weights = store / "models" / "student" / "model.safetensors"
    flip_a_bit(weights)
    (store / "sources" / "rooms").rename(store / "elsewhere")
    found: dict[str, set[str]] = {}
    for problem in verify(store)["problems"]:
        found.setdefault(problem["key"], set()).add(problem["what"])

    def key(path):
        return path.relative_to(store).as_posix()

    assert found.pop(key(first)) >= {"sha256"}
    assert found.pop(key(second)) >= {"sha256", "footer shard_id", "content id"}
    assert found.pop(key(labels[third.stem])) >= {
        "sha256", "footer shard_id", "footer image_shard_sha256", "samples"
    }  # fmt: skip
    assert found.pop(key(labels[second.stem])) == {"samples"}
    assert found.pop(key(drops)) == {"object"}
    assert found.pop("models/student") == {"sha256"}
    assert {name.split("/")[1] for name in found} == {"rooms"}
    assert set().union(*found.values()) == {"object"}


def test_one_source_or_label_set_is_verified_alone(store):
    shards = len(list((store / "sources" / "photos").glob("*.parquet")))
    drops = len(list((store / "sources" / "photos").rglob("dropped/*.parquet")))
    whole = verify(store, "photos")
    assert (whole["objects"], whole["problems"]) == (shards + drops, [])
    (store / "models" / "student" / "model.safetensors").unlink()
    assert verify(store, "label-set:labels")["objects"] == shards
    assert verify(store, "labels")["problems"] == []
    assert [problem["key"] for problem in verify(store)["problems"]] == ["models/student"]
    with pytest.raises(CatalogMissingError, match="nothing-of-that-name"):
        verify(store, "nothing-of-that-name")


def test_labels_that_a_run_has_pinned_are_kept_and_verified(store):
    with open_workspace(CatalogConfig(store=str(store))) as workspace:
        old = [row.key for row in workspace.catalog.label_shards("labels")]
        count = workspace.catalog.retry_quarantined("labels")
        assert count == len(old) == label_pending(workspace, owner="again", quarantined=0)
        objects = verify(store, "labels")["objects"]
        assert objects == 2 * count
        assert sum(garbage(store)["removed"].values()) == 0
        flip_a_bit(store / old[0])
        assert [problem["key"] for problem in verify(store)["problems"]] == [old[0]]


def masks_of(workspace, shard, *, rows=None, **changes):
    """Masks of an image shard in the store, where nearly everything is sky."""
    digest = "ab" * 32
    images = list(read_image_rows(workspace.store, shard.key))[:rows]
    masks = [SkyRow(each.sample_id, each.sha256, np.ones((48, 64), bool)) for each in images]
    masks[0].mask_HW[40:, 10:50] = False
    footer = describe_sky(
        source=shard.source, shard_id=shard.shard_id, image_shard_sha256=shard.sha256,
        segmenter="owner/segmenter", segmenter_sha256=digest, code_version="1",
    )  # fmt: skip
    key = sky_key(shard.source, digest, shard.shard_id)
    return write_sky_shard(workspace.store, masks, key=key, footer=footer | changes)


def test_masks_of_sky_are_verified(store):
    with open_workspace(CatalogConfig(store=str(store))) as workspace:
        before = verify(store, "photos")["objects"]
        first, second, third, fourth, *_ = workspace.catalog.image_shards("photos")
        torn, pinned = masks_of(workspace, first), masks_of(workspace, second)
        foreign = masks_of(workspace, third, image_shard_sha256="0" * 64)
        short = masks_of(workspace, fourth, rows=2)
        (run_row,) = workspace.catalog.runs()
        files = RunFiles(workspace.store, run_row.run_id)
        gone = sky_key("photos", "cd" * 32, first.shard_id)
        withdrawn = sky_key("photos", "ab" * 32, "s0123")
        digests = {pinned.key: pinned.sha256, gone: "0" * 64, withdrawn: "0" * 64}
        files.write_json(SKY_FILE, {"masks": digests})
        assert {problem["key"] for problem in verify(store)["problems"]} == {
            gone, foreign.key, short.key
        }  # fmt: skip
        workspace.store.delete(pinned.key)
        masks_of(workspace, second, code_version="2")
    path = store / torn.key
    data = bytearray(path.read_bytes())
    column = pq.read_metadata(path).row_group(0).column(SKY_SCHEMA.names.index("mask"))
    data[column.data_page_offset + column.total_compressed_size - 9] ^= 4
    path.write_bytes(data)
    report = verify(store, "photos")
    found = {problem["key"]: problem for problem in report["problems"]}
    assert report["objects"] == before + 5
    assert set(found) == {torn.key, pinned.key, foreign.key, short.key, gone}
    assert found[torn.key]["what"] == "object" and "readable" in found[torn.key]["expected"]
    assert (found[pinned.key]["what"], found[pinned.key]["expected"]) == ("sha256", pinned.sha256)
    assert found[foreign.key]["what"] == "footer image_shard_sha256"
    assert (found[short.key]["what"], found[gone]["found"]) == ("samples", "missing")
    assert verify(store, "rooms")["problems"] == []
    (store / files.key(SKY_FILE)).write_bytes(b"{")
    keys = {problem["key"] for problem in verify(store, "rooms")["problems"]}
    assert keys == {files.key(SKY_FILE)}


def test_damage_gives_the_status_of_something_not_done(store, capsys):
    assert run(["catalog", "verify", "--store", str(store), "--json"]) == 0
    next((store / "labels" / "labels").rglob("*.parquet")).unlink()
    assert run(["catalog", "verify", "labels", "--store", str(store), "--json"]) == 1
    answer = json.loads(capsys.readouterr().out.splitlines()[-1])
    (problem,) = answer["problems"]
    assert (problem["what"], problem["expected"], problem["found"]) == (
        "object",
        "there",
        "missing",
    )


def garbage(store, **changes):
    return collect_garbage(CatalogGcConfig(store=str(store), **changes))


def test_leftovers_go_and_what_is_in_use_stays(store):
    with open_workspace(CatalogConfig(store=str(store))) as workspace:
        catalog = workspace.catalog
        before = set(workspace.store.list())
        catalog.plan_work("labels", ["rooms", "bench"])
        leases = catalog.lease("labels", owner="a", limit=9, ttl_s=60)
        live = write_labels(workspace, leases[0])
        expired = write_labels(workspace, leases[1])
        expire_leases(catalog, "a")
        catalog.release(leases[0])
        (newer,) = catalog.lease("labels", owner="b", limit=1, ttl_s=60)
        assert newer.shard == leases[0].shard
        newest = write_labels(workspace, newer)
        for key in (
            "labels/unknown/s1/0001-x.parquet",
            "labels/labels/s-unknown/0001-x.parquet",
            "sources/unknown/s1.parquet",
            "sources/photos/s123.parquet",
            "sources/photos/notes.txt",
            "models/orphan/config.json",
            "runs/orphan/config.json",
        ):
            workspace.store.put(key, b"12345")
        foreseen = garbage(store, dry_run=True)
        assert foreseen["would_remove"]["label_shards"] == 1
        done = garbage(store)
        assert done["removed"] == foreseen["would_remove"]
        assert done["kept"] == foreseen["kept"]
        assert done["bytes"] == live.bytes + 5
        left = set(workspace.store.list()) - before
        assert live.key not in left and "sources/photos/s123.parquet" not in left
        assert {expired.key, newest.key, "sources/photos/notes.txt"} < left
        kept = {(each["folder"], each["reason"].split(":")[0]) for each in done["kept"]}
        assert kept == {
            ("labels/unknown", "unknown to this catalog"),
            ("labels/labels", "unknown to this catalog"),
            ("labels/labels", "being labelled"),
            ("sources/unknown", "unknown to this catalog"),
            ("sources/photos", "not written by the factory"),
            ("models/orphan", "no model of this catalog"),
            ("runs/orphan", "no run of this catalog"),
        }
        catalog.commit_label_shard(leases[1], expired)
        catalog.commit_label_shard(newer, newest)
    assert verify(store)["problems"] == []


def test_a_source_that_is_being_ingested_is_left_alone(store):
    orphan = store / "sources" / "photos" / "s123.parquet"
    with open_workspace(CatalogConfig(store=str(store))) as workspace:
        orphan.write_bytes(b"12345")
        lease = begin_ingest(workspace.catalog, "photos", owner="somebody")
        (kept,) = garbage(store)["kept"]
        assert "being ingested by somebody" in kept["reason"]
        assert orphan.exists()
        expire_leases(workspace.catalog)
        assert garbage(store, dry_run=True)["would_remove"]["image_shards"] == 1
        workspace.catalog.renew_ingest(lease, 60.0)
        expire_leases(workspace.catalog)
        assert garbage(store)["removed"]["image_shards"] == 1
        with pytest.raises(LeaseLostError):
            workspace.catalog.renew_ingest(lease, 60.0)


def test_a_new_catalog_beside_a_full_store_empties_nothing(store, folder, tmp_path):
    """Not even when it has begun to ingest and to label under the same names."""
    before = {path: path.read_bytes() for path in store.rglob("*.parquet")}
    url = f"sqlite:///{tmp_path / 'new.sqlite'}"
    with open_workspace(CatalogConfig(store=str(store), catalog=url)) as workspace:
        assert sum(garbage(store, catalog=url)["removed"].values()) == 0
        fill_source(workspace.catalog, "photos", 1)
        open_labels(workspace)
        workspace.catalog.plan_work("labels", ["photos"])
        record_source(workspace.store, workspace.catalog, "photos")
        done = garbage(store, catalog=url)
    assert sum(done["removed"].values()) == 0
    assert {path: path.read_bytes() for path in store.rglob("*.parquet")} == before
