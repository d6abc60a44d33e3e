"""Whole ingest runs: everything is counted, nothing is lost or twice, however often they die."""

import dataclasses
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jobs.catalog_gc import collect_garbage
from jobs.catalog_rebuild import rebuild_catalog
from jobs.catalog_withdraw import withdraw
from jobs.config import CatalogGcConfig, CatalogRebuildConfig, IngestConfig
from jobs.console import SilentReporter
from jobs.errors import ConfigError
from jobs.ingest import ingest
from jobs.owner import current_owner
from jobs.sample_config import CatalogWithdrawConfig
from jobs.workspace import open_workspace
from pipeline.catalog import Catalog
from pipeline.errors import CatalogConflictError, LeaseLostError, StorageError
from pipeline.identity import sha256_hex
from pipeline.records import Drop, ImageRecord, ShardRef
from pipeline.shards import ImageShardBuilder, load_bytes, read_drops, read_image_rows
from pipeline.storage import Store

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
SHARD = 8


def png(value: int, side: int = 40) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(value).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def data_set(root: Path, count: int = 32) -> Path:
    """Images, every fifth of them followed by something that is none, and three at the end."""
    root.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (root / f"{number:04d}.png").write_bytes(png(number))
        if number % 5 == 0:
            (root / f"{number:04d}.txt").write_text(f"no image {number}")
    for number in range(3):
        (root / f"zz{number}.jpg").write_bytes(b"")
    return root


@pytest.fixture(autouse=True)
def one_version_of_the_code(monkeypatch):
    """Shards name it; a commit while the tests run must not make them differ."""
    monkeypatch.setattr("jobs.ingest_run.code_version", lambda: "test")


@pytest.fixture
def photos(tmp_path) -> Path:
    return data_set(tmp_path / "photos")


@pytest.fixture
def config(tmp_path, photos) -> IngestConfig:
    return IngestConfig(
        uri=str(photos), source="photos", store=str(tmp_path / "store"), shard_images=SHARD
    )


def shards_of(config: IngestConfig) -> list[ShardRef]:
    with open_workspace(config) as workspace:
        return workspace.catalog.image_shards(config.source)


def rows_of(config: IngestConfig) -> list[ImageRecord]:
    store = Store(config.store)
    return [row for shard in shards_of(config) for row in read_image_rows(store, shard.key)]


def drops_of(config: IngestConfig) -> list[Drop]:
    store = Store(config.store)
    keys = store.list(f"sources/{config.source}/dropped")
    return [drop for key in keys for drop in read_drops(store, key)]


def objects(config: IngestConfig) -> dict[str, str]:
    """Digest of every object below sources/ that holds data; the ledger names every run."""
    store = Store(config.store)
    keys = [key for key in store.list("sources") if key.endswith(".parquet")]
    return {key: sha256_hex(store.get(key)) for key in keys}


def source_row(config: IngestConfig):
    with open_workspace(config) as workspace:
        return workspace.catalog.source(config.source)


class Listening(SilentReporter):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def test_the_summary_accounts_for_every_file(config):
    summary = ingest(config)
    assert summary["source"] == "photos"
    assert summary["samples_in"] == 42 == summary["kept"] + sum(summary["dropped"].values())
    assert summary["dropped"] == {"not_an_image": 7, "empty": 3}
    assert (summary["kept"], summary["already_present"]) == (32, 0)
    assert summary["shards"] == summary["shards_written"] == 4
    assert summary["bytes"] == sum(shard.bytes for shard in shards_of(config))
    assert json.loads(json.dumps(summary)) == summary


def test_rows_are_the_files_as_they_were(config, photos):
    ingest(config)
    rows = rows_of(config)
    assert [row.path for row in rows] == [f"{number:04d}.png" for number in range(32)]
    for row in rows:
        data = (photos / row.path).read_bytes()
        assert row.data == data and row.sha256 == sha256_hex(data) and row.length == len(data)
        assert (row.header.width, row.header.height, row.header.format) == (40, 40, "PNG")
        assert row.uri == str(photos / row.path)
    assert len({row.sample_id for row in rows}) == 32
    assert [shard.rows for shard in shards_of(config)] == [8, 8, 8, 8]


def test_the_catalog_and_the_store_know_what_was_refused(config):
    ingest(config)
    drops = drops_of(config)
    assert sorted(drop.path for drop in drops if drop.reason == "empty") == [
        "zz0.jpg",
        "zz1.jpg",
        "zz2.jpg",
    ]
    assert all(drop.sha256 and drop.detail for drop in drops)
    assert dict(source_row(config).dropped) == {"not_an_image": 7, "empty": 3}


def test_a_second_run_changes_nothing(config):
    first = ingest(config)
    before = objects(config)
    second = ingest(config)
    assert second["already_present"] == second["kept"] == 32 and second["shards_written"] == 0
    steady = ("samples_in", "kept", "dropped", "shards", "bytes")
    assert {key: second[key] for key in steady} == {key: first[key] for key in steady}
    assert objects(config) == before
    assert dict(source_row(config).dropped) == first["dropped"]


def test_a_folder_that_grew_adds_only_what_is_new(config, photos):
    first = ingest(config)
    before = objects(config)
    (photos / "0003b.png").write_bytes(png(1000))
    (photos / "new.txt").write_text("more text")
    summary = ingest(config)
    assert (summary["kept"], summary["already_present"]) == (33, 32)
    assert summary["dropped"]["not_an_image"] == first["dropped"]["not_an_image"] + 1
    assert summary["shards_written"] == 1
    assert before.items() <= objects(config).items()
    assert [row.path for row in rows_of(config)][32:] == ["0003b.png"]
    assert dict(source_row(config).dropped) == summary["dropped"]


def test_a_file_that_changed_is_refused_by_name(config, photos):
    ingest(config)
    (photos / "0007.png").write_bytes(png(777))
    reporter = Listening()
    summary = ingest(config, reporter=reporter)
    assert (summary["kept"], summary["dropped"]["changed"]) == (31, 1)
    assert summary["samples_in"] == summary["kept"] + sum(summary["dropped"].values())
    (drop,) = [drop for drop in drops_of(config) if drop.reason == "changed"]
    assert drop.path == "0007.png" and "another source name" in drop.detail
    assert any("not what they were" in text for text in reporter.warnings)
    assert rows_of(config)[7].data == png(7)
    assert ingest(config)["dropped"]["changed"] == 1
    assert dict(source_row(config).dropped)["changed"] == 1


def test_a_file_that_was_repaired_is_taken(config, photos):
    ingest(config)
    (photos / "zz1.jpg").write_bytes(png(2000))
    summary = ingest(config)
    assert (summary["kept"], summary["dropped"]["empty"]) == (33, 2)


def test_several_places_can_feed_one_source(config, tmp_path):
    ingest(config)
    other = data_set(tmp_path / "more" / "inner", count=3)
    summary = ingest(dataclasses.replace(config, uri=str(other.parent)))
    assert (summary["kept"], summary["already_present"], summary["shards"]) == (3, 0, 5)
    assert len(rows_of(config)) == 35


def test_every_packing_gives_the_same_images(config, photos, tmp_path):
    ingest(config)
    packed = tmp_path / "photos.tar.gz"
    with tarfile.open(packed, "w:gz") as archive:
        archive.add(photos, arcname=".")
    again = dataclasses.replace(config, uri=str(packed), source="packed")
    summary = ingest(again)
    assert summary["dropped"] == {"not_an_image": 7, "empty": 3}
    digests = [sorted(row.sha256 for row in rows_of(each)) for each in (config, again)]
    assert digests[0] == digests[1]


@pytest.mark.parametrize("verify", ["header", "decode"])
def test_tricky_files(shared_data, tmp_path, verify):
    config = IngestConfig(
        uri=str(shared_data / "tricky"), source="tricky", store=str(tmp_path), verify=verify
    )
    summary = ingest(config)
    assert (summary["samples_in"], summary["kept"]) == (67, 43)
    assert summary["dropped"] == {
        "animated": 1,
        "corrupt_header": 5,
        "empty": 1,
        "not_an_image": 2,
        "too_many_pixels": 2,
        "too_small": 3,
        "truncated": 5,
        "unsupported_format": 5,
    }


def test_exact_duplicates_can_be_dropped(shared_data, tmp_path):
    config = IngestConfig(
        uri=str(shared_data / "tricky" / "near_duplicates"),
        source="twins",
        store=str(tmp_path),
        dedup="exact",
        shard_images=2,
    )
    summary = ingest(config)
    assert (summary["kept"], summary["dropped"]) == (6, {"duplicate": 1})
    (drop,) = drops_of(config)
    assert drop.path == "005880453_01_r.jpg"
    again = ingest(config)
    assert (again["kept"], again["dropped"], again["shards_written"]) == (6, {"duplicate": 1}, 0)
    (tmp_path / "copy").mkdir()
    kitten = shared_data / "tricky" / "near_duplicates" / "kitten.jpg"
    (tmp_path / "copy" / "cat.jpg").write_bytes(kitten.read_bytes())
    third = ingest(dataclasses.replace(config, uri=str(tmp_path / "copy")))
    assert (third["kept"], third["dropped"]) == (0, {"duplicate": 1})


def test_an_image_is_taken_after_all_when_the_source_of_its_twin_is_withdrawn(config, tmp_path):
    ingest(config)
    mine = data_set(tmp_path / "mine", 2)
    second = dataclasses.replace(config, uri=str(mine), source="second", dedup="exact")
    assert ingest(second)["dropped"]["duplicate"] == 2
    assert ingest(second)["pieces"] == 0
    withdraw(CatalogWithdrawConfig(store=config.store, source="photos", reason="its licence"))
    summary = ingest(second)
    assert (summary["kept"], summary["already_present"]) == (2, 0)
    assert "duplicate" not in summary["dropped"]
    assert sorted(row.path for row in rows_of(second)) == ["0000.png", "0001.png"]
    assert ingest(second)["pieces"] == 0


def test_a_file_that_could_not_be_read_is_read_when_it_can_be(config, photos, monkeypatch):
    def refuse(uri):
        raise PermissionError(uri)

    with monkeypatch.context() as patched:
        patched.setattr("pipeline.sources.read_uri", refuse)
        assert ingest(config)["dropped"]["unreadable"] == 42
    summary = ingest(config)
    assert (summary["kept"], summary["already_present"]) == (32, 0)
    assert "unreadable" not in summary["dropped"]


def test_a_file_whose_name_is_no_text_is_copied_for_no_reference_would_find_it(config, tmp_path):
    folder = tmp_path / "named"
    folder.mkdir()
    (folder / "fine.png").write_bytes(png(0))
    (folder / os.fsdecode(b"bad\xff.png")).write_bytes(png(1))
    with tarfile.open(os.fsencode(folder) + b"/bad\xff.tar", "w") as archive:
        archive.add(folder / "fine.png", arcname="packed.png")
    by_reference = dataclasses.replace(config, uri=str(folder), by_reference=True)
    summary = ingest(by_reference)
    assert (summary["kept"], summary["by_reference"]) == (3, 1)
    found = sorted(load_bytes(row) for row in rows_of(by_reference))
    assert found == sorted([png(0), png(0), png(1)])


def test_references_copy_no_bytes(config, photos, tmp_path):
    packed = tmp_path / "photos.tar"
    with tarfile.open(packed, "w") as archive:
        archive.add(photos, arcname=".")
    by_reference = dataclasses.replace(config, uri=str(packed), by_reference=True)
    summary = ingest(by_reference)
    assert summary["by_reference"] == summary["kept"] == 32
    assert summary["bytes"] < 32 * 4000 < 32 * len(png(0))
    rows = rows_of(by_reference)
    assert all(row.data is None and row.uri == str(packed) for row in rows)
    assert sorted(load_bytes(row) for row in rows) == sorted(png(number) for number in range(32))
    assert ingest(by_reference)["already_present"] == 32


def test_what_cannot_be_referred_to_is_copied_and_said(config, photos, tmp_path):
    packed = tmp_path / "photos.tar.gz"
    with tarfile.open(packed, "w:gz") as archive:
        archive.add(photos, arcname=".")
    reporter = Listening()
    by_reference = dataclasses.replace(config, uri=str(packed), by_reference=True)
    summary = ingest(by_reference, reporter=reporter)
    assert (summary["by_reference"], summary["kept"]) == (0, 32)
    assert any("32 images were copied" in text for text in reporter.warnings)
    assert all(row.data is not None for row in rows_of(by_reference))


def test_licence_and_attribution_are_kept(config):
    config = dataclasses.replace(config, licence="CC-BY-4.0", attribution="The photographers")
    ingest(config)
    assert {(row.licence, row.attribution) for row in rows_of(config)} == {
        ("CC-BY-4.0", "The photographers")
    }
    assert source_row(config).licence == "CC-BY-4.0"


def test_limits_are_those_of_the_configuration(config, photos):
    (photos / "wide.png").write_bytes(png(1, side=100))
    summary = ingest(dataclasses.replace(config, min_side=50))
    assert (summary["kept"], summary["dropped"]["too_small"]) == (1, 32)
    summary = ingest(dataclasses.replace(config, source="other", max_pixels=5000))
    assert (summary["kept"], summary["dropped"]["too_many_pixels"]) == (32, 1)


@pytest.mark.parametrize("role", ["labelled", "benchmark"])
def test_sources_with_ground_truth(tmp_path, role):
    config = IngestConfig(
        uri="synthetic://rooms?n=5&seed=3&width=64&height=48",
        source="rooms",
        role=role,
        store=str(tmp_path),
        shard_images=2,
    )
    assert ingest(config)["kept"] == 5
    rows = rows_of(config)
    assert all(row.truth is not None for row in rows)
    assert all(row.truth.values_HW.shape == (48, 64) for row in rows)
    again = ingest(config)
    assert (again["already_present"], again["shards"]) == (5, 3)


def test_images_without_ground_truth_are_no_labelled_images(config):
    reporter = Listening()
    summary = ingest(dataclasses.replace(config, role="labelled"), reporter=reporter)
    assert summary["kept"] == 0
    assert summary["dropped"] == {"no_truth": 32, "not_an_image": 7, "empty": 3}
    assert summary["shards"] == 0
    assert any("no image" in text for text in reporter.warnings)


def test_ground_truth_of_an_unlabelled_source_is_left_out(tmp_path):
    config = IngestConfig(
        uri="synthetic://rooms?n=2&width=64&height=48", source="rooms", store=str(tmp_path)
    )
    ingest(config)
    assert [row.truth for row in rows_of(config)] == [None, None]


def test_other_ground_truth_under_the_same_path_is_a_change(tmp_path, monkeypatch):
    config = IngestConfig(
        uri="synthetic://rooms?n=2&width=64&height=48",
        source="rooms",
        role="labelled",
        store=str(tmp_path),
    )
    ingest(config)
    from jobs import ingest_look

    def doubled(item, **_):
        truth = dataclasses.replace(item.truth, values_HW=item.truth.values_HW * 2)
        return dataclasses.replace(item, truth=truth)

    monkeypatch.setattr(ingest_look, "load", doubled)
    assert ingest(config)["dropped"] == {"changed": 2}


def test_all_problems_are_reported_before_anything_is_written(tmp_path):
    wrong = IngestConfig(
        uri=str(tmp_path / "nowhere"),
        source="../up",
        role="judge",
        layout="pairs",
        dedup="loose",
        shard_images=0,
        store=str(tmp_path / "store"),
    )
    with pytest.raises(ConfigError) as caught:
        ingest(wrong)
    text = "\n".join(caught.value.problems)
    for part in ("--source", "--role", "--truth", "--dedup", "--shard-images"):
        assert part in text
    missing = dataclasses.replace(
        wrong, source="a", role="labelled", layout="auto", dedup="none", shard_images=1
    )
    with pytest.raises(ConfigError, match="there is nothing at"):
        ingest(missing)
    assert list(tmp_path.iterdir()) == []


def test_references_with_credentials_are_refused(tmp_path):
    config = IngestConfig(
        uri="https://host/a.tar?token=hunter2",
        source="a",
        by_reference=True,
        store=str(tmp_path),
    )
    with pytest.raises(ConfigError, match="credentials") as caught:
        ingest(config)
    assert "hunter2" not in str(caught.value)


def test_a_role_is_for_ever(config):
    ingest(config)
    with pytest.raises(CatalogConflictError, match="role"):
        ingest(dataclasses.replace(config, role="benchmark"))


def test_two_runs_do_not_ingest_into_one_source(config):
    with open_workspace(config) as workspace:
        catalog = workspace.catalog
        catalog.register_source("photos", role="unlabelled", uri="x", layout="auto")
        catalog.begin_ingest(
            "photos", owner="somebody else", ttl_s=60, uri="x", config={}, code_version="1"
        )
        with pytest.raises(CatalogConflictError, match="somebody else"):
            ingest(config)


def test_a_run_that_was_taken_over_stops_and_leaves_what_it_committed(config, monkeypatch):
    commit, committed = Catalog.commit_image_shard, []

    def commit_and_lose(catalog, lease, shard, **options):
        done = commit(catalog, lease, shard, **options)
        committed.append(shard)
        if len(committed) == 2:
            catalog.begin_ingest(
                "photos",
                owner="the new one",
                ttl_s=60,
                uri="x",
                config={},
                code_version="1",
                dead_owner=current_owner(),
            )
        return done

    monkeypatch.setattr(Catalog, "commit_image_shard", commit_and_lose)
    with pytest.raises(LeaseLostError):
        ingest(config)
    assert [shard.shard_id for shard in shards_of(config)] == [each.shard_id for each in committed]
    assert len(committed) == 2


STEPS = {
    "pack a group": (ImageShardBuilder, "extend"),
    "put a shard": (Store, "put_file"),
    "put drops": (Store, "put"),
    "commit a shard": (Catalog, "commit_image_shard"),
    "commit drops": (Catalog, "commit_drops"),
}


class Dies:
    """Makes a method fail at its n-th call, before or after it has done its work."""

    def __init__(self, method, *, at: int, after: bool, fail) -> None:
        self.method, self.at, self.after, self.fail = method, at, after, fail
        self.calls = 0

    def __call__(self, *args, **options):
        self.calls += 1
        if self.calls == self.at and not self.after:
            self.fail()
        result = self.method(*args, **options)
        if self.calls == self.at:
            self.fail()
        return result

    def __get__(self, instance, owner):
        return lambda *args, **options: self(instance, *args, **options)


def undisturbed(config: IngestConfig) -> tuple[dict[str, str], dict[str, int]]:
    calm = dataclasses.replace(config, store=f"{config.store}-calm")
    summary = ingest(calm)
    return objects(calm), summary["dropped"]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    ("step", "at"),
    [
        ("pack a group", 1),
        ("pack a group", 4),
        ("put a shard", 1),
        ("put a shard", 3),
        ("put drops", 2),
        ("put drops", 5),
        ("commit a shard", 1),
        ("commit a shard", 4),
        ("commit drops", 1),
    ],
)
def test_a_run_that_failed_anywhere_can_be_repeated(config, monkeypatch, step, at, after):
    expected = undisturbed(config)

    def fail() -> None:
        raise StorageError("the disk is full")

    with monkeypatch.context() as patch:
        holder, name = STEPS[step]
        dies = Dies(getattr(holder, name), at=at, after=after, fail=fail)
        patch.setattr(holder, name, dies)
        with pytest.raises(StorageError, match="the disk is full"):
            ingest(config)
        assert dies.calls >= at
    with open_workspace(config) as workspace:
        assert workspace.catalog.ingests("photos")[-1].state == "failed"
    assert not list(Path(config.store).glob(".tmp-*"))
    summary = ingest(config)
    assert (objects(config), summary["dropped"]) == expected
    assert (summary["samples_in"], summary["kept"], summary["shards"]) == (42, 32, 4)
    assert dict(source_row(config).dropped) == expected[1]
    assert len(rows_of(config)) == len({row.sample_id for row in rows_of(config)}) == 32


def test_ctrl_c_gives_the_source_back(config, monkeypatch):
    def interrupt() -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        holder, name = STEPS["commit a shard"]
        patch.setattr(holder, name, Dies(getattr(holder, name), at=2, after=True, fail=interrupt))
        with pytest.raises(KeyboardInterrupt):
            ingest(config)
    with open_workspace(config) as workspace:
        assert workspace.catalog.live_ingest("photos") is None
        assert workspace.catalog.ingests("photos")[-1].state == "stopped"


KILLED = """
import os, signal, sys
import jobs.ingest_run
from jobs.config import IngestConfig
from jobs.ingest import ingest
from tests.integration.test_ingest import STEPS, Dies

jobs.ingest_run.code_version = lambda: "test"
step, at, after, uri, store, shard = sys.argv[1:]
holder, name = STEPS[step]
kill = lambda: os.kill(os.getpid(), signal.SIGKILL)
setattr(holder, name, Dies(getattr(holder, name), at=int(at), after=after == "after", fail=kill))
ingest(IngestConfig(uri=uri, source="photos", store=store, shard_images=int(shard)))
"""


def test_sigkill_again_and_again(config):
    """Each run is killed one step later than the one before; the last one finds all but done."""
    expected = undisturbed(config)
    for step, at, after in [
        ("put a shard", "1", "after"),
        ("commit a shard", "2", "after"),
        ("put drops", "1", "before"),
        ("commit a shard", "1", "before"),
    ]:
        command = [sys.executable, "-c", KILLED, step, at, after]
        command += [config.uri, config.store, str(SHARD)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr
    summary = ingest(config)  # takes the lease of the dead at once
    assert 0 < summary["already_present"] < 32
    assert (objects(config), summary["dropped"]) == expected
    assert dict(source_row(config).dropped) == expected[1]


def test_scratch_files_of_the_dead_are_cleared_away(config):
    store = Path(config.store)
    store.mkdir()
    for name, age_s in ((".tmp-old", 200_000), (".tmp-young", 10)):
        (store / name).write_bytes(b"half a shard")
        then = (store / name).stat().st_mtime - age_s
        os.utime(store / name, (then, then))
    ingest(config)
    assert [path.name for path in store.glob(".tmp-*")] == [".tmp-young"]


def lose_catalog(config: IngestConfig) -> None:
    for path in Path(config.store).glob("catalog.sqlite*"):
        path.unlink()


def test_a_rebuilt_catalog_knows_what_was_read(config):
    first = ingest(config)
    before = objects(config)
    lose_catalog(config)
    assert rebuild_catalog(CatalogRebuildConfig(store=config.store))["problems"] == []
    again = ingest(config)
    assert (again["pieces"], again["pieces_known"]) == (0, first["pieces"])
    assert (again["kept"], again["dropped"]) == (first["kept"], first["dropped"])
    assert objects(config) == before
    assert sum(collect_garbage(CatalogGcConfig(store=config.store))["removed"].values()) == 0


def test_a_shard_that_was_lost_with_the_catalog_is_made_again(config):
    first = ingest(config)
    before = objects(config)
    lost = shards_of(config)[1]
    lose_catalog(config)
    (Path(config.store) / lost.key).unlink()
    assert len(rebuild_catalog(CatalogRebuildConfig(store=config.store))["problems"]) > 0
    again = ingest(config)
    assert (again["pieces"], again["pieces_known"]) == (first["pieces"], 0)
    assert (again["kept"], again["already_present"]) == (32, 32 - lost.rows)
    assert objects(config) == before


def test_a_piece_that_was_never_committed_is_garbage(config, monkeypatch):
    with monkeypatch.context() as patch:
        fails = Dies(Catalog.commit_piece, at=1, after=False, fail=full_disk)
        patch.setattr(Catalog, "commit_piece", fails)
        with pytest.raises(StorageError):
            ingest(config)
    removed = collect_garbage(CatalogGcConfig(store=config.store))["removed"]
    assert removed["pieces"] == sum(removed.values()) == 1
    assert ingest(config)["already_present"] == 32


def full_disk() -> None:
    raise StorageError("the disk is full")


def test_images_that_were_withdrawn_do_not_come_back(config, photos):
    ingest(config)
    gone = rows_of(config)[3]
    order = CatalogWithdrawConfig(
        source="photos", store=config.store, sample=(gone.sample_id,), reason="asked for"
    )
    withdraw(order)
    (photos / "again.png").write_bytes((photos / gone.path).read_bytes())
    summary = ingest(config)
    assert (summary["kept"], summary["dropped"]["withdrawn"]) == (31, 2)
    assert (summary["already_present"], summary["pieces_known"]) == (31, 1), "only one is read"
    assert summary["samples_in"] == summary["kept"] + sum(summary["dropped"].values())
    assert gone.sample_id not in {row.sample_id for row in rows_of(config)}
    third = ingest(config)
    assert (third["pieces"], third["dropped"]) == (0, summary["dropped"])
