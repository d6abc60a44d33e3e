"""`factory label` on a real Ray: whole sets, killed drivers, bad images, wrong use."""

import io
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobs.config import IngestConfig, LabelConfig
from jobs.console import LineReporter
from jobs.errors import ConfigError
from jobs.ingest import ingest
from jobs.label import label
from jobs.workspace import open_workspace
from model.errors import CheckpointError
from pipeline.catalog import Catalog
from pipeline.errors import CatalogConflictError, CatalogMissingError
from tests.factories import png, tiny_teacher
from tests.label_checks import labels_of, make_pictures

pytestmark = pytest.mark.integration

FACTORY = Path(sys.executable).parent / "factory"
SHARD_IMAGES = 4


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_teacher(tmp_path_factory.mktemp("models") / "teacher")


def prepared(folder: Path, count: int) -> dict[str, Any]:
    """A store with one ingested source; the settings that name it."""
    where: dict[str, Any] = {"store": str(folder / "store")}
    ingest(
        IngestConfig(
            uri=str(make_pictures(folder / "pictures", count)),
            source="pictures",
            shard_images=SHARD_IMAGES,
            **where,
        )
    )
    return where


@pytest.mark.usefixtures("ray_session")
def test_every_image_is_labelled_or_quarantined_and_a_second_run_has_nothing_to_do(
    tmp_path: Path, teacher: Path
) -> None:
    where = prepared(tmp_path, 18)
    config = LabelConfig(sources=("pictures",), teacher=str(teacher), label_set="set", **where)
    summary = label(config)
    assert summary["shards_done"] == 5
    assert summary["shards_failed"] == 0
    assert summary["labelled"] == 17
    assert sum(summary["quarantined"].values()) == 1
    assert summary["images_per_s"] > 0
    assert summary["forward_images_per_s"] > 0
    with open_workspace(config) as workspace:
        found = labels_of(workspace, "set")
        assert len(found) == 18
        assert workspace.catalog.label_set("set").teacher_sha256

    again = label(config)
    assert (again["shards_done"], again["shards_skipped"]) == (5, 5)
    assert again["images_per_s"] is None

    (tmp_path / "pictures" / "new.png").write_bytes(png(99))
    ingest(IngestConfig(uri=str(tmp_path / "pictures"), source="pictures", **where))
    grown = label(config)
    assert (grown["shards_done"], grown["shards_skipped"], grown["labelled"]) == (6, 5, 18)


@pytest.mark.usefixtures("ray_session")
def test_wrong_use_is_refused_by_name(tmp_path: Path, teacher: Path) -> None:
    where = prepared(tmp_path, 4)
    good = {"sources": ("pictures",), "teacher": str(teacher), "label_set": "set", **where}
    label(LabelConfig(**good))
    with pytest.raises(CatalogConflictError, match="side"):
        label(LabelConfig(**good | {"size": 56}))
    with pytest.raises(CatalogMissingError, match="picture"):
        label(LabelConfig(**good | {"sources": ("picture",)}))
    with pytest.raises(ConfigError) as refused:
        label(LabelConfig(**good | {"bits": 9, "batch_size": 0}))
    assert len(refused.value.problems) == 2
    with pytest.raises(CheckpointError):
        label(LabelConfig(**good | {"teacher": str(tmp_path / "pictures")}))
    with pytest.raises(ConfigError, match="--cpus-per-actor 100000: this machine has"):
        label(LabelConfig(**good | {"cpus_per_actor": 100_000.0}))
    with pytest.raises(CatalogConflictError, match="side: 42 → 56"):
        label(LabelConfig(**good | {"size": 56, "dry_run": True}))


def test_what_cannot_be_labelled_is_refused_before_any_ray_starts(
    tmp_path: Path, teacher: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = prepared(tmp_path, 4)
    config = LabelConfig(sources=("pictures",), teacher=str(teacher), label_set="set", **where)
    monkeypatch.setattr("jobs.label.ray_cluster", None)  # calling it would be a TypeError
    with open_workspace(config) as workspace:
        workspace.catalog.register_source("empty", role="unlabelled", uri="/e", layout="images")
        (shard,) = workspace.catalog.image_shards("pictures")
        file = workspace.store.local_path(shard.key)
    with pytest.raises(ConfigError, match="source empty has no images"):
        label(replace(config, sources=("pictures", "empty")))
    assert file is not None
    file.unlink()
    with pytest.raises(ConfigError, match=f"pictures: its images are not there, as .*{shard.key}"):
        label(config)


def test_another_recipe_is_refused_with_the_name_of_who_is_labelling(
    tmp_path: Path, teacher: Path
) -> None:
    where = prepared(tmp_path, 8)
    config = LabelConfig(sources=("pictures",), teacher=str(teacher), label_set="set", **where)
    with open_workspace(config) as workspace:
        ahead = label(replace(config, dry_run=True))
        workspace.catalog.open_label_set(
            "set",
            teacher=ahead["teacher"],
            teacher_sha256=ahead["teacher_sha256"],
            recipe={**ahead["recipe"], "side": 518},
            recipe_hash="0" * 64,
            code_version="test",
        )
        workspace.catalog.plan_work("set", ["pictures"])
        workspace.catalog.lease("set", owner="far:0:7:1:n", limit=1, ttl_s=60.0)
    with pytest.raises(CatalogConflictError, match=r"process 7 on far .*side: 518 → 42"):
        label(config)


@pytest.mark.usefixtures("ray_session")
def test_a_broken_shard_fails_by_name_and_is_tried_again_once_it_is_repaired(
    tmp_path: Path, teacher: Path
) -> None:
    where = prepared(tmp_path, 12)
    config = LabelConfig(sources=("pictures",), teacher=str(teacher), label_set="set", **where)
    with open_workspace(config) as workspace:
        broken = workspace.catalog.image_shards("pictures")[1]
        file = workspace.store.local_path(broken.key)
    assert file is not None
    intact = file.read_bytes()
    middle = intact.index(b"IDAT") + 20
    damaged = intact[:middle] + bytes([intact[middle] ^ 1]) + intact[middle + 1 :]

    retry = replace(config, retry=("failed",))
    for content, tried in ((intact[: len(intact) // 2], config), (damaged, retry)):
        file.write_bytes(content)
        summary = label(tried)
        assert (summary["shards_done"], summary["shards_failed"]) == (2, 1)
        [failed] = summary["failed"]
        assert failed["shard"] == broken.shard_id
        assert "ShardCorruptError" in failed["error"]

    file.write_bytes(intact)
    heard = io.StringIO()
    summary = label(config, reporter=LineReporter(heard))
    assert (summary["shards_done"], summary["shards_failed"]) == (2, 1), "failed stays failed"
    assert broken.shard_id in heard.getvalue() and "--retry failed" in heard.getvalue()
    assert label(replace(retry, dry_run=True))["retry"] == {"failed": {"shards": 1, "images": 4}}
    summary = label(retry)
    assert (summary["shards_done"], summary["shards_failed"], summary["failed"]) == (3, 0, [])


@pytest.mark.usefixtures("ray_session")
def test_a_limit_ends_a_run_after_whole_shards_and_the_next_goes_on(
    tmp_path: Path, teacher: Path
) -> None:
    where = prepared(tmp_path, 18)
    config = LabelConfig(sources=("pictures",), teacher=str(teacher), label_set="set", **where)
    first = label(replace(config, limit=5))
    assert (first["shards_done"], first["images_left"], first["shards_failed"]) == (2, 10, 0)
    assert first["actors"] == 1 and first["batch_size"] >= 1
    assert 0 < first["device_busy"] <= 1
    assert first["stages"]["forward"] > 0
    rest = label(config)
    assert (rest["shards_done"], rest["shards_skipped"], rest["images_left"]) == (5, 2, 0)


@pytest.mark.usefixtures("ray_session")
def test_quarantined_images_are_tried_again_where_that_is_asked_for(
    tmp_path: Path, teacher: Path
) -> None:
    where = prepared(tmp_path, 12)
    config = LabelConfig(sources=("pictures",), teacher=str(teacher), label_set="set", **where)
    label(config)
    with open_workspace(config) as workspace:
        before = labels_of(workspace, "set")
        keys = {row.shard.shard_id: row.key for row in workspace.catalog.label_shards("set")}
        retry = replace(config, retry=("quarantined",))
        ahead = label(replace(retry, dry_run=True))
        assert ahead["retry"] == {"quarantined": {"shards": 1, "images": 1}}
        again = label(retry)
        assert (again["shards_done"], again["shards_skipped"]) == (3, 2)
        assert labels_of(workspace, "set") == before
        rows = workspace.catalog.label_shards("set")
        assert sum(row.key != keys[row.shard.shard_id] for row in rows) == 1


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(
    tmp_path: Path, teacher: Path
) -> None:
    where = prepared(tmp_path, 18)
    config = LabelConfig(sources=("pictures",), teacher=str(teacher), dry_run=True, **where)

    def everything() -> dict[str, list[str]]:
        with open_workspace(config) as workspace:
            return {
                "label sets": [row.name for row in workspace.catalog.label_sets()],
                "models": [row.name for row in workspace.catalog.models()],
                "objects": sorted(str(path) for path in Path(where["store"]).rglob("*.parquet")),
            }

    before = everything()
    ahead = label(config)
    assert everything() == before
    assert ahead["is_new"] and ahead["recipe"]["side"] == 42
    assert (ahead["shards_to_do"], ahead["images_to_do"], ahead["actors"]) == (5, 18, 1)
    assert [row["source"] for row in ahead["sources"]] == ["pictures"]


@pytest.fixture
def process_group() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Drivers started by a test; whatever is left of them is killed after it."""
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("ray_session")
def test_a_killed_driver_loses_nothing_and_labels_nothing_twice(
    tmp_path: Path, teacher: Path, process_group: list[subprocess.Popen[bytes]]
) -> None:
    where = prepared(tmp_path, 240)
    command = [
        str(FACTORY),
        "label",
        "pictures",
        "--teacher",
        str(teacher),
        "--label-set",
        "killed",
    ]
    again: dict[str, Any] = {"sources": ("pictures",), "teacher": str(teacher), **where}
    with open_workspace(LabelConfig(**again)) as workspace:
        driver = subprocess.Popen([*command, "--store", where["store"]], stderr=subprocess.DEVNULL)
        process_group.append(driver)
        done = wait_until_some_shards_are_done(workspace.catalog, driver)
        driver.send_signal(signal.SIGKILL)
        driver.wait()
        assert 0 < done < 60, "the driver must be killed in the middle"

        summary = label(LabelConfig(label_set="killed", **again))
        assert summary["shards_skipped"] >= done
        progress = workspace.catalog.progress("killed")
        assert (progress.done, progress.pending, progress.leased, progress.failed) == (60, 0, 0, 0)
        assert progress.labelled + sum(progress.quarantined.values()) == 240

        label(LabelConfig(label_set="undisturbed", **again))
        killed = labels_of(workspace, "killed")
        undisturbed = labels_of(workspace, "undisturbed")
    assert len(killed) == 240
    assert killed == undisturbed


@pytest.mark.timeout(600)
@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT])
def test_a_driver_that_is_told_to_end_gives_back_what_it_leased(
    tmp_path: Path,
    teacher: Path,
    process_group: list[subprocess.Popen[bytes]],
    told: signal.Signals,
) -> None:
    where = prepared(tmp_path, 240)
    command = [str(FACTORY), "label", "pictures", "--teacher", str(teacher), "--json"]
    command += ["--label-set", "killed", "--store", where["store"]]
    with open_workspace(LabelConfig(sources=(), teacher="", **where)) as workspace:
        driver = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # where the tests run in a shell's background, it would inherit that this is ignored
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        process_group.append(driver)
        wait_until_some_shards_are_done(workspace.catalog, driver)
        driver.send_signal(told)
        time.sleep(0.05)
        driver.send_signal(told)  # who presses twice does no harm
        output, errors = driver.communicate(timeout=60)
        assert driver.returncode == 130
        said = json.loads(output)
        progress = workspace.catalog.progress("killed")
        assert progress.leased == 0
        assert (said["error"], said["label_set"]) == ("interrupted", "killed")
        assert said["shards_done"] == said["shards_done_by_this_run"] == progress.done
        assert said["shards_given_back"] >= 1
        assert (said["shards_left"], said["images_left"]) == (
            progress.pending,
            progress.images_left,
        )
        assert f"goes on with {progress.pending} shards" in errors.decode()


def wait_until_some_shards_are_done(catalog: Catalog, driver: subprocess.Popen[bytes]) -> int:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and driver.poll() is None:
        try:
            done = catalog.progress("killed").done
        except CatalogMissingError:
            done = 0
        if done >= 3:
            return done
        time.sleep(0.02)
    raise AssertionError(f"the driver ended early or hung (exit status {driver.poll()})")
