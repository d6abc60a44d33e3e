"""Training of which worker, machine or driver is killed: the same losses as of one undisturbed."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import fsspec
import pytest

from jobs.owner import current_owner
from jobs.run_files import RunFiles
from jobs.train_teacher import train_teacher
from jobs.training_config import TrainTeacherConfig
from jobs.workspace import Workspace, open_workspace
from tests.deadly_label import Plot
from tests.deadly_training import deadly, ended, losses, start_driver
from tests.faulty_s3 import s3_server
from tests.line import ingest_rendered

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
BUCKET = "trained"
STEPS = 12
SETTINGS: dict[str, Any] = {
    "labelled": ("rendered",),
    "encoder": "scratch:tiny",
    "size": 28,
    "batch_size": 4,
    "steps": STEPS,
    "checkpoint_steps": 2,
    "learning_rate": 1e-4,
}


@dataclass(frozen=True)
class Undisturbed:
    """A store, and what training in it comes to when nobody is killed."""

    options: dict[str, Any]
    losses: list[tuple[int, float]]
    sha256: str


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, ray_session: None) -> Undisturbed:
    where = {"store": str(tmp_path_factory.mktemp("killed") / "store")}
    ingest_rendered("rendered", n=30, seed=0, role="labelled", **where)
    options = SETTINGS | where
    train_teacher(TrainTeacherConfig(name="undisturbed", **options))
    with opened(options) as workspace:
        files = files_of(workspace, "undisturbed")
        assert [step for step, _ in losses(files)] == list(range(1, STEPS + 1))
        return Undisturbed(options, losses(files), workspace.catalog.model("undisturbed").sha256)


def opened(options: dict[str, Any]) -> Any:
    return open_workspace(TrainTeacherConfig(name="x", **options))


def files_of(workspace: Workspace, name: str) -> RunFiles:
    run = workspace.catalog.newest_run(name)
    assert run is not None
    return RunFiles(workspace.store, run.run_id)


def check_alike(options: dict[str, Any], name: str, undisturbed: Undisturbed) -> None:
    """Each step has one row, with the loss to the last digit; and the model is the same."""
    with opened(options) as workspace:
        files = files_of(workspace, name)
        assert losses(files) == undisturbed.losses
        assert workspace.catalog.model(name).sha256 == undisturbed.sha256
        kept = [entry.step for entry in files.checkpoints.entries()]
        assert set(kept) >= {STEPS - 2, STEPS}
        objects = list(workspace.store.list(files.key("checkpoints")))
        assert len(objects) == 2 * len(kept), "nothing is left of what broke off"


def kills(folder: Path) -> list[str]:
    """What `Plot` notes of each death."""
    return (folder / "kills.log").read_text().splitlines()


def test_a_worker_that_is_killed_again_and_again(undisturbed: Undisturbed, tmp_path: Path) -> None:
    plots = [
        Plot("actor", "before_write", str(tmp_path), shard="step 3"),
        Plot("actor", "mid_write", str(tmp_path), shard="checkpoint 6"),
        # a third death ends what Ray allows: but the run got further, and so it goes on
        Plot("actor", "after_write", str(tmp_path), shard="object 10"),
    ]
    with deadly(plots):
        train_teacher(TrainTeacherConfig(name="shot", **undisturbed.options))
    assert len(kills(tmp_path)) == 3
    check_alike(undisturbed.options, "shot", undisturbed)


def test_a_driver_that_is_killed_and_one_that_is_taken_over(
    undisturbed: Undisturbed, tmp_path: Path
) -> None:
    config = undisturbed.options | {"name": "driven"}
    killed = start_driver(
        config,
        [
            {"victim": "driver", "step": "mid_write", "shard": "checkpoint 4"},
            # the worker that is left must not get as far as the driver that comes after it
            {"victim": "", "step": "before_write", "shard": "step 6", "wait_s": 60.0},
        ],
        folder=tmp_path,
    )
    killed.join(timeout=240)
    assert killed.exitcode == -9
    # its worker may write on for a moment, and is not waited for
    taken = start_driver(
        config | {"resume": True},
        [{"victim": "driver", "step": "before_write", "shard": "step 8", "wait_s": 20.0}],
        folder=tmp_path,
        heartbeat_s=0.5,
    )
    with opened(undisturbed.options) as workspace:
        files = files_of(workspace, "driven")
        wait_until_step(files, 8, taken)
        files.write_json("owner.json", {"owner": "another machine", "attempt": "another"})
        taken.join(timeout=240)
        end = ended(taken, tmp_path)
        assert end["kind"] == "LeaseLostError", end
        assert "another machine has taken it over" in end["error"]
        run = workspace.catalog.newest_run("driven")
        assert run is not None
        assert run.state == "running", "how it stands is for its new driver to say"
        files.forget("heartbeat.json")
        files.write_json("owner.json", {"owner": gone(taken.pid), "attempt": "another"})
    train_teacher(TrainTeacherConfig(**config, resume=True))
    check_alike(undisturbed.options, "driven", undisturbed)


def gone(pid: int | None) -> str:
    """An owner of this machine whose process is no more."""
    host, namespace, _, started, nonce = current_owner().rsplit(":", 4)
    return f"{host}:{namespace}:{pid}:{started}:{nonce}"


def wait_until_step(files: RunFiles, step: int, driver: Any) -> None:
    until = time.monotonic() + 240
    while files.newest_step() < step:
        assert time.monotonic() < until
        assert driver.is_alive()
        time.sleep(0.1)


# A process of its own: the cluster's start takes over signals and needs the main thread.
ON_A_CLUSTER = """
import json, sys
import ray
from ray.cluster_utils import Cluster
from jobs.train_teacher import train_teacher
from jobs.training_config import TrainTeacherConfig
from tests.deadly_label import Plot
from tests.deadly_training import deadly
from tests.warm_workers import warm_workers

options, folder = json.loads(sys.argv[1]), sys.argv[2]
with warm_workers():
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    for _ in range(2):
        cluster.add_node(num_cpus=2)
ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
cluster.wait_for_nodes()
plot = Plot("node", "mid_write", folder, shard="checkpoint 6")
with deadly([plot]):
    train_teacher(TrainTeacherConfig(name="orphaned", **options))
ray.shutdown()
cluster.shutdown()
"""


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """A store on S3; credentials are in the environment and nowhere else."""
    with s3_server() as url:
        environment = {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "somebody",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        fsspec.filesystem("s3").clear_instance_cache()  # it does not notice another endpoint
        boto3.client("s3").create_bucket(Bucket=BUCKET)
        yield {"store": f"s3://{BUCKET}/factory", "catalog": f"sqlite:///{tmp_path}/c.sqlite"}
        fsspec.filesystem("s3").clear_instance_cache()


def test_a_machine_that_dies_while_it_uploads_to_s3(
    undisturbed: Undisturbed, bucket: dict[str, Any], tmp_path: Path
) -> None:
    ingest_rendered("rendered", n=30, seed=0, role="labelled", **bucket)
    options = undisturbed.options | bucket
    done = subprocess.run(
        [sys.executable, "-c", ON_A_CLUSTER, json.dumps(options), str(tmp_path)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr[:3000] + done.stderr[-3000:]
    assert len(kills(tmp_path)) == 1
    check_alike(options, "orphaned", undisturbed)
    with opened(options) as workspace:
        assert not [key for key in workspace.store.list() if "/ray/" in key]
