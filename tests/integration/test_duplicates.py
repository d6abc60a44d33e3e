"""Copies found and dropped for good: by ingest, with hashes made on Ray by processes that die."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from jobs import duplicates_hashing
from jobs.catalog_queries import query_catalog
from jobs.catalog_rebuild import rebuild_catalog
from jobs.catalog_verify import verify_catalog
from jobs.config import CatalogConfig, CatalogRebuildConfig, CatalogVerifyConfig, IngestConfig
from jobs.duplicates import find_duplicates
from jobs.duplicates_config import CatalogDuplicatesConfig
from jobs.duplicates_hashing import HashEngine
from jobs.errors import ConfigError
from jobs.ingest import ingest
from jobs.workspace import open_workspace
from pipeline.image_hashes import hashes_key
from pipeline.records import ShardRef
from pipeline.shards import read_image_rows
from pipeline.storage import Store
from tests.pictures import commit_pictures, encoded, picture

pytestmark = pytest.mark.integration

WIDTH, HEIGHT = 160, 120


def write(folder: Path, images: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in images.items():
        (folder / name).write_bytes(data)
    return folder


def pictures(seeds: range, **options: Any) -> dict[str, bytes]:
    return {
        f"{seed:03d}.jpg": encoded(picture(seed, width=WIDTH, height=HEIGHT), **options)
        for seed in seeds
    }


def ingested(store: Path, uri: Path, source: str, **options: Any) -> dict[str, Any]:
    config = IngestConfig(uri=str(uri), source=source, store=str(store), actors=0, **options)
    summary = ingest(config)
    assert summary["samples_in"] == summary["kept"] + sum(summary["dropped"].values())
    return summary


def kept(store: Path, source: str) -> set[str]:
    with open_workspace(CatalogConfig(store=str(store))) as workspace:
        shards = workspace.catalog.image_shards(source)
        return {row.path for shard in shards for row in read_image_rows(workspace.store, shard.key)}


def test_ingest_drops_what_looks_like_earlier_images_for_good(tmp_path: Path) -> None:
    store = tmp_path / "store"
    commit_pictures(store, "bench", pictures(range(2)), role="benchmark")
    ingested(store, write(tmp_path / "old", pictures(range(2, 4))), "old")
    again = pictures(range(6), quality=50)  # 0 and 1 are the benchmark's, 2 and 3 are old
    twin = {"z-small.jpg": encoded(picture(5, width=WIDTH, height=HEIGHT).resize((80, 60)))}
    web = write(tmp_path / "web", again | twin)
    first = ingested(store, web, "web", dedup="near", shard_images=3)
    assert first["dropped"] == {"leak": 2, "near_duplicate": 3}
    assert first["kept"] == 2
    assert kept(store, "web") == {"004.jpg", "005.jpg"}
    assert len(kept(store, "bench")) == len(kept(store, "old")) == 2

    for _ in range(2):  # once what was dropped is asked for again, once nothing is
        second = ingested(store, web, "web", dedup="near", shard_images=3)
        assert (second["kept"], second["dropped"]) == (2, first["dropped"])
        assert second["shards_written"] == 0
    assert second["pieces"] == 0
    assert kept(store, "web") == {"004.jpg", "005.jpg"}

    write(
        web, pictures(range(6, 7)) | {"y-again.jpg": pictures(range(4, 5), quality=40)["004.jpg"]}
    )
    third = ingested(store, web, "web", dedup="near", shard_images=3)
    assert third["dropped"] == {"leak": 2, "near_duplicate": 4}
    assert kept(store, "web") == {"004.jpg", "005.jpg", "006.jpg"}
    _check_upkeep(store)


def _check_upkeep(store: Path) -> None:
    """The withdrawals and hashes are what verify, the tables and rebuild expect."""
    assert verify_catalog(CatalogVerifyConfig(store=str(store)))["problems"] == []
    before = query_catalog(CatalogConfig(store=str(store), question="shards", ref="web"))
    for file in store.glob("catalog.sqlite*"):
        file.unlink()
    rebuilt = rebuild_catalog(CatalogRebuildConfig(store=str(store)))
    assert not any("/hashes/" in each["key"] for each in rebuilt["skipped"])
    after = query_catalog(CatalogConfig(store=str(store), question="shards", ref="web"))
    assert after["shards"] == before["shards"]


def test_a_benchmark_is_not_thinned_out(tmp_path: Path) -> None:
    folder = write(tmp_path / "bench", pictures(range(1)))
    with pytest.raises(ConfigError, match="benchmarks"):
        ingested(tmp_path / "store", folder, "bench", role="benchmark", dedup="near")


def test_what_came_from_elsewhere_is_not_counted(tmp_path: Path) -> None:
    """Copies of another folder go as well, but were never among these samples."""
    store = tmp_path / "store"
    first = write(
        tmp_path / "first",
        pictures(range(2)) | {"copy.jpg": pictures(range(1), quality=30)["000.jpg"]},
    )
    ingested(store, first, "web")
    second = ingested(
        store,
        write(tmp_path / "second", {"b.jpg": pictures(range(9, 10))["009.jpg"]}),
        "web",
        dedup="near",
    )
    assert (second["samples_in"], second["kept"], second["dropped"]) == (1, 1, {})
    assert len(kept(store, "web")) == 3


def deadly_engine(markers: Path) -> type[HashEngine]:
    """An engine whose process is killed when it has written its first object, once in all."""

    class DeadlyEngine(HashEngine):
        def label(self, shard: ShardRef) -> str:
            key = super().label(shard)
            try:
                (markers / "killed").touch(exist_ok=False)
            except FileExistsError:
                return key
            os.kill(os.getpid(), signal.SIGKILL)
            raise AssertionError("unreachable")

    return DeadlyEngine


def test_hashes_are_made_on_ray_by_processes_that_die(
    ray_session: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    images = pictures(range(6)) | {"copy.jpg": pictures(range(1), quality=40)["000.jpg"]}
    ingested(store, write(tmp_path / "web", images), "web", shard_images=2)
    alone = tmp_path / "alone"
    shutil.copytree(store, alone)
    monkeypatch.setattr(duplicates_hashing, "HashEngine", deadly_engine(tmp_path))
    config = CatalogDuplicatesConfig(store=str(store), near=True, actors=1)
    summary = find_duplicates(config)
    assert (tmp_path / "killed").exists()
    assert (summary["near"], summary["shards_failed"], summary["shards_looked_at"]) == (1, 0, 4)
    monkeypatch.undo()
    assert find_duplicates(CatalogDuplicatesConfig(store=str(alone), near=True))["near"] == 1
    keys = set(Store(str(store)).list("sources/web/hashes"))
    assert {key: Store(str(store)).get(key) for key in keys} == {
        key: Store(str(alone)).get(key) for key in Store(str(alone)).list("sources/web/hashes")
    }


def test_a_killed_search_goes_on_with_what_is_left(tmp_path: Path) -> None:
    store = tmp_path / "store"
    ingested(store, write(tmp_path / "web", pictures(range(30))), "web", shard_images=1)
    words = ["catalog", "duplicates", "--near", "--store", str(store), "--json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "jobs.cli", *words], stderr=subprocess.DEVNULL, cwd=Path.cwd()
    )
    folder = store / hashes_key("web", "s0").rpartition("/")[0]
    deadline_s = time.monotonic() + 60
    while len(list(folder.glob("*.parquet"))) < 3 and time.monotonic() < deadline_s:
        time.sleep(0.005)
    process.kill()
    process.wait()
    there = len(list(folder.glob("*.parquet")))
    assert 3 <= there < 30
    summary = find_duplicates(CatalogDuplicatesConfig(store=str(store), near=True))
    assert summary["shards_looked_at"] == 30 - there
    assert (summary["images"], summary["near"]) == (30, 0)


def test_real_near_duplicates_are_found(shared_data: Path, tmp_path: Path) -> None:
    """Twins under other names, one picture encoded twice; not the next frame of a video."""
    store = tmp_path / "store"
    ingested(store, shared_data / "tricky" / "near_duplicates", "near")
    ingested(store, shared_data / "photos" / "nature", "nature")
    summary = find_duplicates(CatalogDuplicatesConfig(store=str(store), near=True))
    assert (summary["exact"], summary["near"]) >= (1, 1)
    pairs = tmp_path / "pairs.csv"
    find_duplicates(CatalogDuplicatesConfig(store=str(store), near=True, out=str(pairs)))
    text = pairs.read_text()
    assert "kitten-progressive.jpg" in text and "005880453_01_r.jpg" in text
    assert "000001.jpg" not in text
