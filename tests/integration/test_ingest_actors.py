"""Ingest by several processes on Ray: the same shards, whoever dies when."""

import dataclasses
import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import fsspec
import numpy as np
import pytest
import ray
from PIL import Image
from ray import cloudpickle

from jobs import ingest_run
from jobs.config import IngestConfig
from jobs.errors import ConfigError, JobError
from jobs.ingest import ingest
from jobs.ingest_actors import IngestActor, IngestActors, open_desk
from jobs.workspace import open_workspace
from pipeline.identity import sha256_hex
from pipeline.shards import read_image_rows
from pipeline.storage import Store
from tests.faulty_s3 import s3_server

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

ROOT = Path(__file__).resolve().parents[2]
SHARD, PIECE_SHARDS = 4, 2
IMAGES = 41  # 24 loose, 8 in one tar, 9 in another
PIECES = 5  # 8 loose files, 8, 8, 4 and a tar, the other tar


def png(value: int) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(value).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def data_set(root: Path) -> Path:
    (root / "loose").mkdir(parents=True)
    for number in range(24):
        (root / "loose" / f"{number:02d}.png").write_bytes(png(number))
        if number % 6 == 0:
            (root / "loose" / f"{number:02d}.txt").write_text(f"no image {number}")
    for name, numbers in (("one", range(100, 108)), ("two", range(200, 209))):
        with tarfile.open(root / f"{name}.tar", "w") as archive:
            for number in numbers:
                info = tarfile.TarInfo(f"{number}.png")
                info.size = len(png(number))
                archive.addfile(info, io.BytesIO(png(number)))
    return root


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    """Eight items, or one archive, are a piece."""
    monkeypatch.setattr(ingest_run, "PIECE_SHARDS", PIECE_SHARDS)
    monkeypatch.setattr(ingest_run, "PIECE_BYTES", 30_000)
    monkeypatch.setattr(ingest_run, "code_version", lambda: "test")


@pytest.fixture(scope="module")
def raw(tmp_path_factory) -> Path:
    return data_set(tmp_path_factory.mktemp("raw") / "data")


@pytest.fixture
def config(raw, tmp_path) -> IngestConfig:
    return IngestConfig(
        uri=str(raw), source="s", store=str(tmp_path / "store"), shard_images=SHARD, actors=2
    )


def objects(config: IngestConfig) -> dict[str, str]:
    """Every object that holds data; drops and pieces, too."""
    store = Store(config.store)
    keys = [key for key in store.list("sources") if key.endswith(".parquet")]
    return {key: sha256_hex(store.get(key)) for key in keys}


def samples(config: IngestConfig) -> list[str]:
    with open_workspace(config) as workspace:
        shards = workspace.catalog.image_shards(config.source)
        return sorted(
            row.path for shard in shards for row in read_image_rows(workspace.store, shard.key)
        )


@pytest.fixture
def undisturbed(config) -> dict[str, str]:
    calm = dataclasses.replace(config, store=f"{config.store}-calm", actors=0)
    summary = ingest(calm)
    assert (summary["kept"], summary["dropped"]) == (IMAGES, {"not_an_image": 4})
    assert summary["pieces"] == PIECES
    return objects(calm)


def check_whole(config: IngestConfig, summary: dict[str, Any], undisturbed: dict[str, str]) -> None:
    assert objects(config) == undisturbed
    assert (summary["samples_in"], summary["kept"]) == (IMAGES + 4, IMAGES)
    assert summary["dropped"] == {"not_an_image": 4}
    assert len(samples(config)) == len(set(samples(config))) == IMAGES
    with open_workspace(config) as workspace:
        assert dict(workspace.catalog.source("s").dropped) == summary["dropped"]
        assert len(workspace.catalog.pieces("s")) == PIECES


def test_two_processes_write_what_one_writes(config, undisturbed, ray_session):
    summary = ingest(config)
    check_whole(config, summary, undisturbed)
    assert (summary["pieces"], summary["pieces_known"], summary["pieces_failed"]) == (PIECES, 0, 0)
    assert (summary["shards_written"], summary["already_present"]) == (summary["shards"], 0)
    again = ingest(config)
    assert (again["pieces"], again["pieces_known"], again["shards_written"]) == (0, PIECES, 0)
    assert (again["kept"], again["already_present"]) == (IMAGES, IMAGES)
    assert again["dropped"] == {"not_an_image": 4}


class Handing:
    """A desk at which the process dies once, having handed in a shard."""

    def __init__(self, actor: "Deadly", desk: Any) -> None:
        self.actor, self.desk = actor, desk
        self.judge, self.hand_in = desk.judge, self

    def remote(self, shard: Any) -> Any:
        ref = self.desk.hand_in.remote(shard)
        self.actor._get(ref)
        self.actor.die_once("shard", always=False)
        return ref


class Deadly(IngestActor):
    """Dies by SIGKILL at a shard handed in, and at the piece with that file; each once."""

    folder = ""

    def __init__(self, job: Any, desk: Any, environment: Any) -> None:
        super().__init__(job, desk, environment)
        self._desk = Handing(self, desk)

    def label(self, task: Any) -> Any:
        if any(item.path == "loose/06.png" for item in task.piece.items):
            self.die_once("piece", always=Path(self.folder, "always").exists())
        return super().label(task)

    def die_once(self, what: str, *, always: bool) -> None:
        marker = Path(self.folder, what)
        if always or not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture
def deadly(monkeypatch, tmp_path) -> Callable[[], Path]:
    folder = tmp_path / "markers"
    folder.mkdir()
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    actor = type("DeadlyHere", (Deadly,), {"folder": str(folder)})
    start = IngestActors.start
    monkeypatch.setattr(
        IngestActors, "start", lambda plan, job, desk: start(plan, job, desk, engine=actor)
    )
    yield folder
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


def test_processes_that_die_cost_nothing(config, undisturbed, ray_session, deadly):
    summary = ingest(config)
    assert sorted(path.name for path in deadly.iterdir()) == ["piece", "shard"]
    check_whole(config, summary, undisturbed)
    assert (summary["pieces_failed"], summary["already_present"]) == (0, 0)


def test_a_piece_that_kills_three_processes_is_given_up_by_name(
    config, undisturbed, ray_session, deadly
):
    (deadly / "always").touch()
    (deadly / "shard").touch()
    summary = ingest(config)
    assert (summary["pieces"], summary["pieces_failed"]) == (PIECES - 1, 1)
    (failed,) = summary["failed"]
    assert "loose/06.png" in failed["piece"] or "…" in failed["piece"]
    assert "died" in failed["error"]
    assert IMAGES - 8 <= summary["kept"] < IMAGES
    (deadly / "always").unlink()
    again = ingest(config)
    check_whole(config, again, undisturbed)
    assert (again["pieces"], again["pieces_known"], again["pieces_failed"]) == (1, PIECES - 1, 0)


KILLED = """
import os, signal, sys
from jobs import ingest_run
from jobs.config import IngestConfig
from jobs.ingest import ingest
from pipeline.catalog import Catalog

ingest_run.PIECE_SHARDS, ingest_run.PIECE_BYTES = 2, 30_000
ingest_run.code_version = lambda: "test"
name, at, when, uri, store = sys.argv[1:]
method, calls = getattr(Catalog, name), [0]

def deadly(*args, **options):
    calls[0] += 1
    if calls[0] == int(at) and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    result = method(*args, **options)
    if calls[0] == int(at):
        os.kill(os.getpid(), signal.SIGKILL)
    return result

setattr(Catalog, name, deadly)
ingest(IngestConfig(uri=uri, source="s", store=store, shard_images=4, actors=0))
"""


def test_a_run_that_lost_its_desk_says_so_and_goes_on_later(
    config, undisturbed, ray_session, monkeypatch
):
    def opened_and_lost(*args: Any, **options: Any) -> Any:
        desk = open_desk(*args, **options)
        ray.kill(desk)
        return desk

    with monkeypatch.context() as patch:
        patch.setattr(ingest_run, "open_desk", opened_and_lost)
        with pytest.raises(JobError, match="where the others ask and hand in died"):
            ingest(config)
    check_whole(config, ingest(config), undisturbed)


def test_a_driver_that_is_killed_goes_on_after_the_pieces_it_has_noted(config, undisturbed):
    """In the middle of a piece, between its last shard and its own commit, and after that."""
    known = []
    for name, at, when in [
        ("commit_image_shard", "1", "after"),
        ("commit_piece", "1", "before"),
        ("commit_piece", "2", "after"),
        ("commit_image_shard", "3", "before"),
    ]:
        command = [sys.executable, "-c", KILLED, name, at, when, config.uri, config.store]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr
        with open_workspace(config) as workspace:
            known.append(len(workspace.catalog.pieces("s")))
    assert known == [0, 0, 2, 3]
    summary = ingest(dataclasses.replace(config, actors=0))
    check_whole(config, summary, undisturbed)
    assert (summary["pieces"], summary["pieces_known"]) == (PIECES - 3, 3)


def test_of_a_folder_that_grew_only_new_files_are_opened(config, raw, tmp_path):
    grown = tmp_path / "grown"
    shutil.copytree(raw, grown)
    inline = dataclasses.replace(config, uri=str(grown), actors=0)
    first = ingest(inline)
    for path in grown.rglob("*.png"):  # who opened one of these again would find nothing in it
        before = path.stat()
        path.write_bytes(b"\0" * before.st_size)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    (grown / "loose" / "05b.png").write_bytes(png(500))
    summary = ingest(inline)
    assert (summary["kept"], summary["already_present"]) == (IMAGES + 1, IMAGES)
    assert summary["dropped"] == first["dropped"]
    assert (summary["pieces"], summary["pieces_known"], summary["shards_written"]) == (1, PIECES, 1)
    touched = grown / "loose" / "03.png"
    touched.write_bytes(png(3) + b" ")
    assert ingest(inline)["dropped"] == {**first["dropped"], "changed": 1}


def test_an_archive_that_was_written_anew_is_read_again(config, raw, tmp_path):
    folder = tmp_path / "archives"
    folder.mkdir()
    shutil.copy(raw / "one.tar", folder)
    inline = dataclasses.replace(config, uri=str(folder), actors=0)
    assert ingest(inline)["kept"] == 8
    with tarfile.open(folder / "one.tar", "a") as archive:
        info = tarfile.TarInfo("new.png")
        info.size = len(png(900))
        archive.addfile(info, io.BytesIO(png(900)))
    summary = ingest(inline)
    assert (summary["kept"], summary["already_present"], summary["shards_written"]) == (9, 8, 1)


def test_other_options_are_other_pieces(config):
    inline = dataclasses.replace(config, actors=0)
    ingest(inline)
    strict = ingest(dataclasses.replace(inline, min_side=41))
    assert (strict["pieces"], strict["kept"]) == (PIECES, 0)
    assert strict["dropped"] == {"not_an_image": 4, "too_small": IMAGES}


def test_native_code_is_not_let_into_the_driver(config, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = tmp_path / "rows"
    folder.mkdir()
    (folder / "a.png").write_bytes(png(1))
    column = pa.array([{"bytes": png(2), "path": "b.png"}])
    pq.write_table(pa.table({"image": column}), folder / "z.parquet")
    with pytest.raises(ConfigError, match="--actors 0"):
        ingest(dataclasses.replace(config, uri=str(folder), actors=0))


def test_rows_of_parquet_are_read_in_a_process_of_their_own(config, tmp_path, ray_session):
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = tmp_path / "rows"
    folder.mkdir()
    (folder / "a.png").write_bytes(png(1))
    column = pa.array([{"bytes": png(value), "path": f"{value}.png"} for value in range(2, 7)])
    pq.write_table(pa.table({"image": column}), folder / "z.parquet")
    summary = ingest(dataclasses.replace(config, uri=str(folder), actors=None))
    assert (summary["kept"], summary["dropped"]) == (6, {})


BUCKET = "raw"


@pytest.fixture
def bucket(monkeypatch) -> Iterator[str]:
    with s3_server() as url:
        for name, value in {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "somebody",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            monkeypatch.setenv(name, value)
        fsspec.filesystem("s3").clear_instance_cache()
        boto3.client("s3").create_bucket(Bucket=BUCKET)
        yield f"s3://{BUCKET}"
        fsspec.filesystem("s3").clear_instance_cache()


def test_from_a_bucket_into_a_bucket(config, undisturbed, raw, bucket, tmp_path, ray_session):
    s3 = boto3.client("s3")
    for path in raw.rglob("*.*"):
        s3.upload_file(str(path), BUCKET, f"data/{path.relative_to(raw).as_posix()}")
    remote = dataclasses.replace(
        config,
        uri=f"{bucket}/data",
        store=f"{bucket}/factory",
        catalog=f"sqlite:///{tmp_path}/c.sqlite",
    )
    summary = ingest(remote)
    assert (summary["kept"], summary["pieces_failed"]) == (IMAGES, 0)
    shards = {Path(key).stem for key in undisturbed if "/s" in key and "dropped" not in key}
    with open_workspace(remote) as workspace:
        found = {shard.shard_id for shard in workspace.catalog.image_shards("s")}
    assert found == {name for name in shards if name.startswith("s")}
    s3.put_object(Bucket=BUCKET, Key="data/loose/05b.png", Body=png(500))
    again = ingest(remote)
    assert (again["kept"], again["already_present"], again["pieces"]) == (IMAGES + 1, IMAGES, 1)
