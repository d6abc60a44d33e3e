"""Scores are removed with what they are about; nothing rests on them."""

from dataclasses import replace
from pathlib import Path

import pytest

from jobs.catalog_gc import collect_garbage
from jobs.config import CatalogConfig, CatalogGcConfig
from jobs.workspace import Workspace, open_workspace
from pipeline.records import ShardRef
from pipeline.scores import PartScores, ScorePart, write_scores
from tests.catalog_factories import fill_source

REGISTERED, SCORED, FOREIGN = ("ab" * 32, "cd" * 32, "ef" * 32)


def part(shard: ShardRef, model_sha256: str, *, group: int = 0) -> ScorePart:
    return ScorePart(
        source=shard.source,
        shard_id=shard.shard_id,
        image_shard_sha256=shard.sha256,
        group=group,
        model_sha256=model_sha256,
        settings={"side": 42},
    )


@pytest.fixture
def workspace(tmp_path: Path):
    with open_workspace(CatalogConfig(store=str(tmp_path / "store"))) as workspace:
        yield workspace


def register(workspace: Workspace, shard: ShardRef) -> None:
    """A model of the catalog, and one from elsewhere that has a result."""
    workspace.catalog.register_model(
        "student",
        sha256=REGISTERED,
        family="depth_anything",
        geometry="disparity_affine_invariant",
        kind="student",
        key="models/student",
    )
    workspace.catalog.record_evaluation(
        model="owner/name",
        model_sha256=SCORED,
        protocol="relative",
        version=1,
        source=shard.source,
        source_digest="0" * 64,
        images=1,
        valid_pixels=1,
        metrics={},
        config={},
        code_version="test",
    )


def test_scores_of_what_is_gone_are_removed(workspace: Workspace):
    (shard,) = fill_source(workspace.catalog, "bench", 1)
    register(workspace, shard)
    gone = ShardRef("bench", "s00dead", "sources/bench/s00dead.parquet", 1, 1, "0" * 64)
    kept = [part(shard, REGISTERED), part(shard, SCORED, group=1)]
    lost = [part(gone, REGISTERED), part(shard, FOREIGN)]
    unknown = part(ShardRef("other", "s01", "sources/other/s01.parquet", 1, 1, "0" * 64), SCORED)
    for each in (*kept, *lost, unknown):
        write_scores(workspace.store, each, PartScores(rows=()))
    workspace.store.put("evaluations/scores/bench/notes.txt", b"mine")
    config = CatalogGcConfig(store=workspace.store.uri)
    asked = collect_garbage(replace(config, dry_run=True))
    assert asked["would_remove"]["scores"] == len(lost)
    summary = collect_garbage(config)
    assert summary["removed"]["scores"] == len(lost)
    left = set(workspace.store.list("evaluations/scores"))
    assert left == {each.key for each in (*kept, unknown)} | {"evaluations/scores/bench/notes.txt"}
    reasons = " ".join(each["reason"] for each in summary["kept"])
    assert "unknown to this catalog" in reasons and "not written by the factory" in reasons
    assert collect_garbage(config)["removed"]["scores"] == 0
