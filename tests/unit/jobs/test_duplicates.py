"""Copies among sources, from images in shards to what is withdrawn."""

import csv
import json
import shutil
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from jobs import duplicates_hashing
from jobs.catalog_gc import collect_garbage
from jobs.cli import run
from jobs.config import CatalogConfig, CatalogGcConfig
from jobs.console import Reporter
from jobs.duplicates import find_duplicates
from jobs.duplicates_config import CatalogDuplicatesConfig
from jobs.duplicates_hashes import make_hashes
from jobs.errors import ConfigError
from jobs.workspace import Workspace, open_workspace
from pipeline.errors import CatalogMissingError
from pipeline.identity import sample_id
from pipeline.image_hashes import hashed_shards, hashes_key
from pipeline.records import ShardRef
from pipeline.shards import read_image_rows
from pipeline.storage import Store
from tests.pictures import commit_pictures, encoded, picture

WIDTH, HEIGHT = 160, 120


def shown(seed: int) -> Image.Image:
    return picture(seed, width=WIDTH, height=HEIGHT)


def smaller(seed: int) -> bytes:
    return encoded(shown(seed).resize((WIDTH // 2, HEIGHT // 2), Image.Resampling.LANCZOS))


def opened(store: Path) -> AbstractContextManager[Workspace]:
    return open_workspace(CatalogConfig(store=str(store)))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Web images, of which one is there twice and one looks like another; and two leaks."""
    folder = tmp_path_factory.mktemp("made") / "store"
    png = {seed: encoded(shown(seed), "PNG") for seed in range(6)}
    black = [encoded(Image.new("RGB", (WIDTH + extra, HEIGHT)), "PNG") for extra in range(2)]
    web = {
        "a.png": png[0], "b.png": png[1], "a-again.png": png[0], "b-small.jpg": smaller(1),
        "leaked.png": png[3], "leaked-small.jpg": smaller(4), "black.png": black[0],
        "black-wider.png": black[1],
    }  # fmt: skip
    commit_pictures(folder, "web", web, role="unlabelled")
    commit_pictures(folder, "rooms", {"a.png": png[0], "own.png": png[2]}, role="labelled")
    commit_pictures(folder, "bench", {"3.png": png[3], "4.png": png[4]}, role="benchmark")
    return folder


@pytest.fixture
def store(made: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(made, tmp_path / "store"))


def found(store: Path, **options: Any) -> dict[str, Any]:
    return find_duplicates(CatalogDuplicatesConfig(store=str(store), **options))


def paths_of(store: Path, source: str) -> list[str]:
    with opened(store) as workspace:
        shards = workspace.catalog.image_shards(source)
        return [row.path for shard in shards for row in read_image_rows(workspace.store, shard.key)]


def test_the_same_bytes_across_all_sources(store: Path) -> None:
    summary = found(store)
    assert (summary["images"], summary["exact"], summary["near"]) == (12, 3, 0)
    assert summary["groups"] == 2
    assert summary["sources"] == ["bench", "rooms", "web"]
    assert summary["between"] == [
        {"source": "web", "like": "bench", "exact": 1, "near": 0},
        {"source": "web", "like": "rooms", "exact": 2, "near": 0},
    ]
    assert summary["leaks"] == 1
    assert summary["leaked"] == [
        {
            "source": "web", "image": "leaked.png", "benchmark": "bench",
            "benchmark_image": "3.png", "kind": "exact", "distance": 0,
        }
    ]  # fmt: skip
    with opened(store) as workspace:
        assert not hashed_shards(workspace.store, "web")  # nobody looked at an image


def test_what_looks_alike(store: Path) -> None:
    summary = found(store, near=True)
    assert (summary["exact"], summary["near"], summary["groups"]) == (3, 2, 4)
    assert summary["leaks"] == 2
    assert [pair["image"] for pair in summary["leaked"]] == ["leaked.png", "leaked-small.jpg"]
    assert summary["unhashed"] == {"flat": 2}
    assert summary["shards_looked_at"] == 5
    assert found(store, near=True)["shards_looked_at"] == 0  # once


def test_sources_are_taken_in_the_order_in_which_they_are_named(store: Path) -> None:
    summary = found(store, sources=("web", "rooms"))
    assert summary["between"] == [
        {"source": "web", "like": "web", "exact": 1, "near": 0},
        {"source": "rooms", "like": "web", "exact": 1, "near": 0},
    ]
    assert found(store, sources=("web", "rooms", "bench"))["sources"][0] == "bench"


def test_leaks_are_withdrawn_from_training_alone(store: Path) -> None:
    summary = found(store, near=True, withdraw="leaks")
    assert summary["withdrawn"] == 2
    assert [each["source"] for each in summary["withdrawn_from"]] == ["web"]
    left = ["a.png", "b.png", "a-again.png", "b-small.jpg", "black.png", "black-wider.png"]
    assert sorted(paths_of(store, "web")) == sorted(left)
    assert paths_of(store, "bench") == ["3.png", "4.png"]
    again = found(store, near=True, withdraw="leaks")
    assert (again["leaks"], again["withdrawn"]) == (0, 0)
    with opened(store) as workspace:
        rows = workspace.catalog.withdrawals("web")
        assert sum(row.samples for row in rows) == 2


def test_what_is_left_of_a_shard_is_not_looked_at_again(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found(store, near=True, withdraw="duplicates")
    with opened(store) as workspace, monkeypatch.context() as patched:
        patched.setattr(duplicates_hashing.HashEngine, "label", None)
        again = found(store, near=True)
        assert (again["shards_looked_at"], again["unhashed"]) == (0, {"flat": 2})
        copied = {
            shard.shard_id: workspace.store.get(hashes_key("web", shard.shard_id))
            for shard in workspace.catalog.image_shards("web")
        }
        for shard_id in copied:
            workspace.store.delete(hashes_key("web", shard_id))
        for row in workspace.catalog.withdrawals("web"):
            workspace.store.delete(hashes_key("web", row.shard_id))
    assert found(store, near=True)["shards_looked_at"] == len(copied)
    for shard_id, data in copied.items():
        assert Store(str(store)).get(hashes_key("web", shard_id)) == data


def test_duplicates_are_withdrawn_but_the_first(store: Path) -> None:
    summary = found(store, near=True, withdraw="duplicates")
    assert summary["withdrawn"] == 5
    assert sorted(paths_of(store, "web")) == ["b.png", "black-wider.png", "black.png"]
    assert paths_of(store, "rooms") == ["a.png", "own.png"]
    again = found(store, near=True)
    assert (again["exact"], again["near"]) == (0, 0)


def test_copies_within_a_benchmark_are_said_and_stay(store: Path) -> None:
    data = encoded(shown(8), "PNG")
    commit_pictures(store, "other-bench", {"x.png": data, "x-again.png": data}, role="benchmark")
    summary = found(store, sources=("other-bench",), withdraw="duplicates")
    assert (summary["exact"], summary["withdrawn"], summary["leaks"]) == (1, 0, 0)
    assert len(paths_of(store, "other-bench")) == 2


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_all_pairs_can_be_written(store: Path, tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"pairs.{ending}"
    assert found(store, near=True, out=str(file))["pairs_written"] == 5
    rows = (
        list(csv.DictReader(file.read_text().splitlines()))
        if ending == "csv"
        else pq.read_table(file).to_pylist()
    )
    told = {(row["path"], row["twin_source"], row["twin_path"], row["kind"]) for row in rows}
    assert told == {
        ("a.png", "rooms", "a.png", "exact"),
        ("a-again.png", "rooms", "a.png", "exact"),
        ("b-small.jpg", "web", "b.png", "near"),
        ("leaked.png", "bench", "3.png", "exact"),
        ("leaked-small.jpg", "bench", "4.png", "near"),
    }
    assert {row["sample_id"] for row in rows if row["path"] == "b-small.jpg"} == {
        sample_id("web", "b-small.jpg")
    }


def test_a_page_shows_pairs_side_by_side(store: Path, tmp_path: Path) -> None:
    page = tmp_path / "pairs.html"
    assert found(store, near=True, html=str(page))["html"] == str(page)
    html = page.read_text()
    assert html.count("<img src=") == 2 * 3  # two leaks, and one that looks like another
    assert html.index("web/leaked-small.jpg") < html.index("web/b-small.jpg")
    assert "web/a-again.png" not in html


def test_nothing_to_show_is_a_page_too(tmp_path: Path) -> None:
    commit_pictures(tmp_path / "store", "one", {"a.png": encoded(shown(0))}, role="unlabelled")
    page = tmp_path / "pairs.html"
    found(tmp_path / "store", html=str(page))
    assert "<img " not in page.read_text()


def test_a_run_that_was_stopped_goes_on(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards whose hashes lie in the store are not looked at again."""
    write, written = duplicates_hashing.write_hashes, []

    def write_some(store: Any, shard: ShardRef, *rest: Any, **options: Any) -> str:
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(shard.shard_id)
        return write(store, shard, *rest, **options)

    monkeypatch.setattr(duplicates_hashing, "write_hashes", write_some)
    with pytest.raises(KeyboardInterrupt):
        found(store, near=True)
    monkeypatch.undo()
    assert found(store, near=True)["shards_looked_at"] == 5 - len(written)


def test_a_shard_that_cannot_be_read_is_named_and_left_out(store: Path) -> None:
    with opened(store) as workspace:
        shard = workspace.catalog.image_shards("rooms")[0]
        data = workspace.store.get(shard.key)
        workspace.store.put(shard.key, data[: len(data) // 2])
    for near in (False, True):
        summary = found(store, near=near)
        assert [each["shard"] for each in summary["failed"]] == [shard.key]
        assert summary["shards_failed"] == 1
        assert {row["source"] for row in summary["between"]} == {"web"}


def test_images_that_break_the_decoder_are_left_without_a_hash(tmp_path: Path) -> None:
    images = {"cut.png": encoded(shown(0), "PNG")[:2000], "text.jpg": b"no image at all"}
    commit_pictures(tmp_path / "store", "web", images, role="unlabelled")
    with opened(tmp_path / "store") as workspace:
        shards = workspace.catalog.image_shards("web")
        options = {"ray": None, "actors": None, "reporter": Reporter.silent()}
        assert make_hashes(workspace.store, shards, **options).failed == {}
    assert found(tmp_path / "store", near=True)["unhashed"] == {"not_an_image": 1, "truncated": 1}


def test_hashes_of_shards_that_count_no_more_are_garbage(store: Path) -> None:
    found(store, near=True, withdraw="leaks")
    with opened(store) as workspace:
        before = hashed_shards(workspace.store, "web")
        collect_garbage(CatalogGcConfig(store=str(store)))
        left = hashed_shards(workspace.store, "web")
        assert left < before
        assert left == before & {each.shard_id for each in workspace.catalog.image_shards("web")}


def test_wrong_options_are_said_at_once(store: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        found(store, out=str(tmp_path / "pairs.txt"), distance=11, actors=1)
    assert len(raised.value.problems) == 3
    with pytest.raises(CatalogMissingError, match="nosuch"):
        found(store, sources=("nosuch",))


def test_from_the_command_line(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["catalog", "duplicates", "web", "bench", "--near", "--store", str(store)]
    assert run([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["leaks"] == 2
    assert run(words) == 0
    out = capsys.readouterr().out
    assert "leaked-small.jpg" in out
    assert np.all([name in out for name in ("web", "bench")])
