"""`factory label` with its store on S3, over a network that is bad: complete, and alike."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest

from jobs.config import LabelConfig
from jobs.label import label
from jobs.workspace import open_workspace
from tests.deadly_label import said_by, start_driver
from tests.factories import tiny_teacher
from tests.faulty_s3 import FaultyS3, new_bucket, s3_environment, s3_server
from tests.label_checks import Labels, check_exactly_once, ingest_pictures, labels_of

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

FACTORY = Path(sys.executable).parent / "factory"
SECRET = "never-to-be-written"
BUCKET = "labelled"
IMAGES, SHARD_IMAGES = 24, 3


@dataclass(frozen=True)
class World:
    """A store behind a network, and what its labels are on a disk."""

    network: FaultyS3
    environment: dict[str, str]
    options: dict[str, Any]
    folder: Path
    undisturbed: Labels


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, ray_session: None) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("s3")
    options = {"teacher": str(tiny_teacher(folder / "teacher")), "sources": ("pictures",)}
    options |= {"batch_size": 2, "actors": 1}
    undisturbed = labelled_on_a_disk(folder / "disk", options)
    where = {"store": f"s3://{BUCKET}/factory", "catalog": f"sqlite:///{folder}/c.sqlite"}
    with s3_server() as url, FaultyS3(url, seed=7) as network:
        environment = s3_environment(network.url, secret=SECRET)
        with new_bucket(BUCKET, environment):
            ingest_pictures(folder, IMAGES, shard_images=SHARD_IMAGES, **where)
            yield World(network, environment, options | where, folder, undisturbed)


def labelled_on_a_disk(folder: Path, options: dict[str, Any]) -> Labels:
    folder.mkdir()
    where = {"store": str(folder / "store")}
    ingest_pictures(folder, IMAGES, shard_images=SHARD_IMAGES, **where)
    config = LabelConfig(**options | where | {"label_set": "disk"})
    label(config)
    with open_workspace(config) as workspace:
        return labels_of(workspace, "disk")


@pytest.fixture
def ray_folder() -> Iterator[Path]:
    """For Ray's logs, which are looked through, and its sockets, whose paths have 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="r"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def test_labels_come_through_a_bad_network_as_they_are_on_a_disk(
    world: World, ray_folder: Path
) -> None:
    faults = {"slow_down": 0.03, "internal": 0.02, "dropped": 0.03, "lost": 0.04}
    world.network.at_random(truncated=0.05, slow=0.05, **faults)
    done = subprocess.run(
        [
            *(str(FACTORY), "label", "pictures", "--teacher", world.options["teacher"], "--json"),
            *("--label-set", "s3", "--batch-size", "2", "--actors", "1"),
            *("--store", world.options["store"], "--catalog", world.options["catalog"]),
        ],
        env=os.environ | world.environment | {"RAY_TMPDIR": str(ray_folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    happened = world.network.done
    world.network.heal()
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["shards_failed"], summary["labelled"]) == (0, IMAGES - 1)
    assert sum(happened.values()) > 5, happened
    with open_workspace(LabelConfig(**world.options)) as workspace:
        check_exactly_once(workspace, "s3", like=world.undisturbed)
        everything = [workspace.store.get(key) for key in workspace.store.list()]
    files = [*world.folder.rglob("*"), *ray_folder.rglob("*.*")]
    logs = [file.read_bytes() for file in files if file.is_file()]
    assert everything and logs
    for written in [*everything, *logs, done.stdout.encode(), done.stderr.encode()]:
        assert SECRET.encode() not in written


def test_an_actor_that_dies_in_the_middle_of_an_upload(world: World, tmp_path: Path) -> None:
    config = world.options | {"label_set": "cut"}
    plot = {"victim": "actor", "step": "mid_write"}
    driver = start_driver(config, [plot], folder=tmp_path, environment=world.environment)
    driver.join(timeout=120)
    assert driver.exitcode == 0, said_by(driver, tmp_path)
    assert len(list(tmp_path.glob("actor-*"))) == 1
    with open_workspace(LabelConfig(**config)) as workspace:
        orphans = check_exactly_once(workspace, "cut", like=world.undisturbed)
    assert orphans == [], "half an object is none"
    uploads = boto3.client("s3").list_multipart_uploads(Bucket=BUCKET)["Uploads"]
    assert len(uploads) == 1, "what is left of it costs storage until a rule of the bucket ends it"
