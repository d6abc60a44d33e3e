"""Keys read backwards say what they were written from."""

import pytest

from pipeline import ledger
from pipeline.pieces import piece_key
from pipeline.scores import ScorePart
from pipeline.sky_masks import sky_key
from pipeline.storage import dropped_key, image_shard_key, label_shard_key, model_prefix, run_prefix
from pipeline.store_layout import describe


def facts(key):
    found = describe(key)
    return (found.kind, found.of, found.shard, found.epoch)


def test_what_the_store_writes_is_known_again():
    assert facts(image_shard_key("a.b", "s1")) == ("image_shards", "a.b", "s1", None)
    assert facts(dropped_key("a", "s0f")) == ("drops", "a", "s0f", None)
    assert facts(dropped_key("a", "d1")) == ("drops", "a", "d1", None)
    assert facts(piece_key("a", "p0f")) == ("pieces", "a", "p0f", None)
    assert facts(label_shard_key("v1", "s1", "0012-ab")) == ("label_shards", "v1", "s1", 12)
    assert facts(label_shard_key("v1", "s1", "whole")) == ("label_shards", "v1", "s1", None)
    assert facts(sky_key("a", "c0" * 32, "s1")) == ("sky_masks", "a", "s1", None)
    assert facts(f"{model_prefix('m')}/config.json") == ("models", "m", "", None)
    assert facts(f"{run_prefix('r')}/checkpoints/1.pt") == ("runs", "r", "", None)
    assert facts("evaluations/1-ab.json")[0] == "evaluations"
    part = ScorePart(
        source="a",
        shard_id="s1",
        image_shard_sha256="0" * 64,
        group=12,
        model_sha256="f0" * 32,
        settings={"side": 518},
    )
    assert facts(part.key) == ("scores", "a", "s1", None)


@pytest.mark.parametrize(
    "key",
    [
        ledger.source_key("a"),
        ledger.image_shards_key("a"),
        ledger.drops_key("a"),
        ledger.pieces_key("a"),
        ledger.label_set_key("a"),
        ledger.label_shards_key("a"),
    ],
)
def test_the_ledger_is_no_garbage(key):
    assert facts(key) == ("ledger", "a", "", None)


def test_models_and_runs_keep_their_ledger_among_their_files():
    assert facts(ledger.model_key("m"))[:2] == ("models", "m")
    assert facts(ledger.run_key("r"))[:2] == facts(ledger.snapshot_key("r"))[:2] == ("runs", "r")


@pytest.mark.parametrize(
    "key",
    [
        "sources/a/notes.txt",
        "sources/a/train-00000.parquet",
        "sources/a/dropped/mine.parquet",
        "sources/a/b/s1.parquet",
        "labels/v1/s1.parquet",
        "sky/a/s1.parquet",
        "evaluations/scores/a/s1/mine.parquet",
        "sky/a/my-masks/s1.parquet",
        "other/x/y.parquet",
    ],
)
def test_anything_else_is_somebody_elses(key):
    assert describe(key).kind == "other"
