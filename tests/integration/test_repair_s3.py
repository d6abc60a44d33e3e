"""Garbage, damage and a lost catalog, with the store behind HTTP: as on a disk."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import fsspec
import pytest

from jobs.catalog_gc import collect_garbage
from jobs.catalog_queries import query_catalog
from jobs.catalog_rebuild import rebuild_catalog
from jobs.catalog_verify import verify_catalog
from jobs.config import (
    CatalogConfig,
    CatalogGcConfig,
    CatalogRebuildConfig,
    CatalogVerifyConfig,
)
from jobs.workspace import open_workspace
from pipeline.ledger import record_label_set
from pipeline.shards import read_image_rows, write_image_shard
from pipeline.storage import Store
from tests.catalog_factories import expire_leases
from tests.faulty_s3 import FaultyS3, s3_server
from tests.whole_store import fill_whole_store, label_pending, write_labels

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

BUCKET = "repaired"
QUESTIONS = [
    ("sources", None), ("shards", "photos"), ("shards", "rooms"), ("shards", "labels"),
    ("label-sets", None), ("models", None), ("runs", None), ("evaluations", None),
    ("lineage", "student"),
]  # fmt: skip


@pytest.fixture(scope="module")
def network() -> Iterator[FaultyS3]:
    with (
        s3_server() as url,
        FaultyS3(url, seed=3) as network,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("AWS_ENDPOINT_URL", network.url)
        patch.setenv("AWS_ACCESS_KEY_ID", "somebody")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        fsspec.filesystem("s3").clear_instance_cache()  # it does not notice another endpoint
        boto3.client("s3").create_bucket(Bucket=BUCKET)
        yield network
        fsspec.filesystem("s3").clear_instance_cache()


@pytest.fixture(scope="module")
def where(network: FaultyS3, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A store with the whole line in it, and its catalog; tests leave it as whole as it was."""
    folder = tmp_path_factory.mktemp("repair")
    catalog = f"sqlite:///{folder}/catalog.sqlite"
    fill_whole_store(f"s3://{BUCKET}/factory", folder / "raw", catalog=catalog)
    return {"store": f"s3://{BUCKET}/factory", "catalog": catalog}


def answers(where: dict[str, Any]) -> dict[str, Any]:
    return {
        f"{question} {ref}": query_catalog(CatalogConfig(question=question, ref=ref, **where))
        for question, ref in QUESTIONS
    }


def leave_orphans(where: dict[str, Any]) -> dict[str, str]:
    """What killed processes leave: images and labels without a commit; key by kind."""
    with open_workspace(CatalogConfig(**where)) as workspace:
        store, catalog = workspace.store, workspace.catalog
        first = catalog.image_shards("photos")[0]
        some = list(read_image_rows(store, first.key))[:2]
        images = write_image_shard(store, some, source="photos", code_version="1")
        assert catalog.retry_quarantined("labels") > 0
        (lease,) = catalog.lease("labels", owner="killed", limit=1, ttl_s=60.0)
        labels = write_labels(workspace, lease)
        expire_leases(catalog, "killed")
        assert label_pending(workspace) > 0  # somebody else does it, under a later epoch
        record_label_set(store, catalog, "labels")
    return {"image_shards": images.key, "label_shards": labels.key}


def test_only_what_nobody_counts_on_is_removed(where: dict[str, Any]) -> None:
    orphans = leave_orphans(where)
    store = Store(where["store"])
    store.put("sources/photos/notes.txt", b"somebody's")
    before, said = set(store.list()), answers(where)
    would = collect_garbage(CatalogGcConfig(**where, dry_run=True))
    assert set(store.list()) == before
    done = collect_garbage(CatalogGcConfig(**where))
    assert done["removed"] == would["would_remove"] and done["bytes"] == would["bytes"] > 0
    left = set(store.list())
    assert before - left >= set(orphans.values()) and left <= before
    assert "sources/photos/notes.txt" in left
    store.delete("sources/photos/notes.txt")
    assert answers(where) == said
    verified = verify_catalog(CatalogVerifyConfig(**where))
    assert verified["problems"] == [] and verified["objects"] > 10
    again = collect_garbage(CatalogGcConfig(**where))
    assert sum(again["removed"].values()) == 0


def test_a_lost_catalog_comes_back_from_the_store_over_a_bad_network(
    where: dict[str, Any], network: FaultyS3, tmp_path: Path
) -> None:
    new = where | {"catalog": f"sqlite:///{tmp_path}/new.sqlite"}
    before = set(Store(where["store"]).list())
    network.at_random(slow_down=0.02, dropped=0.02, truncated=0.03)
    summary = rebuild_catalog(CatalogRebuildConfig(**new))
    happened = network.done
    network.heal()
    assert sum(happened.values()) > 0, happened
    assert (summary["problems"], summary["unknown"], summary["skipped"]) == ([], [], [])
    assert answers(new) == answers(where)
    assert set(Store(where["store"]).list()) == before
    verified = verify_catalog(CatalogVerifyConfig(**new))
    assert verified["problems"] == []
    removed = collect_garbage(CatalogGcConfig(**new))["removed"]
    assert sum(removed.values()) == 0


def test_what_is_torn_or_gone_there_is_named(where: dict[str, Any], tmp_path: Path) -> None:
    with open_workspace(CatalogConfig(**where)) as workspace:
        torn, gone = (shard.key for shard in workspace.catalog.image_shards("photos")[:2])
        kept = {key: workspace.store.get(key) for key in (torn, gone)}
        workspace.store.put(torn, kept[torn][:-100])
        workspace.store.delete(gone)
        try:
            problems = verify_catalog(CatalogVerifyConfig(**where, ref="photos"))["problems"]
            new = where | {"catalog": f"sqlite:///{tmp_path}/new.sqlite"}
            summary = rebuild_catalog(CatalogRebuildConfig(**new))
        finally:
            for key, data in kept.items():
                workspace.store.put(key, data)
    assert {problem["key"] for problem in problems} == {torn, gone}
    assert {torn, gone} <= {problem["key"] for problem in summary["problems"]}
