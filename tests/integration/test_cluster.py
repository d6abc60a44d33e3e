"""`ray job submit -- factory label …` on a cluster of several machines, with a token.

Code and configuration reach the workers, credentials too and nobody else; a stopped job gives back
what it had, and the same command goes on, while machines are taken away one after the other.
"""

import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from jobs.config import LabelConfig
from jobs.label import _open_label_set
from jobs.label_actors import plan_actors
from jobs.label_ahead import find_aim
from jobs.label_engine import LabelEngine, LabelTask
from jobs.ray_runtime import Node, Resources
from jobs.workspace import open_workspace
from pipeline.catalog_rows import LabelProgress
from tests.factories import tiny_teacher
from tests.faulty_s3 import FaultyS3, new_bucket, s3_environment, s3_server
from tests.label_checks import Labels, check_exactly_once, ingest_pictures, labels_of
from tests.local_cluster import PROGRAMS, Cluster, local_cluster

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]

SECRET = "never-to-be-written"
BUCKET = "on-a-cluster"
IMAGES, SHARD_IMAGES = 60, 2
SHOWN = ("api/jobs/", "api/v0/jobs?detail=1", "api/v0/actors?detail=1", "api/v0/workers?detail=1",
         "api/v0/runtime_envs?detail=1", "api/v0/tasks?detail=1")  # fmt: skip


@dataclass(frozen=True)
class World:
    """A cluster whose head knows a store, and what its labels are where nothing happens."""

    cluster: Cluster
    network: FaultyS3
    options: dict[str, Any]
    folder: Path
    undisturbed: Labels

    def submit(self, name: str, *words: str) -> "subprocess.Popen[str]":
        """Submit a job; the process follows it to its end."""
        told = ("--address", self.cluster.dashboard, "--submission-id", name)
        return self.cluster.start("ray", "job", "submit", *told, "--", *words)

    def label_command(self) -> list[str]:
        where = ["--store", self.options["store"], "--catalog", self.options["catalog"]]
        how = ["--teacher", self.options["teacher"], "--batch-size", "2", "--cpus-per-actor", "1"]
        return [str(PROGRAMS / "factory"), "label", "pictures", "--label-set", "set", *how, *where]

    def progress(self) -> LabelProgress:
        with open_workspace(LabelConfig(**self.options)) as workspace:
            return workspace.catalog.progress("set")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, warm: None) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("cluster")
    options = {"teacher": str(tiny_teacher(folder / "teacher")), "sources": ("pictures",)}
    undisturbed = labelled_on_a_disk(folder / "disk", options | {"batch_size": 2, "actors": 1})
    where = {"store": f"s3://{BUCKET}/factory", "catalog": f"sqlite:///{folder}/c.sqlite"}
    with s3_server() as url, FaultyS3(url) as network:
        environment = s3_environment(network.url, secret=SECRET)
        head = environment | {"RAY_JOB_STOP_WAIT_TIME_S": "30"}  # as in infra/Dockerfile
        with local_cluster(head, machines=2) as cluster, new_bucket(BUCKET, environment):
            ingest_pictures(folder, IMAGES, shard_images=SHARD_IMAGES, **where)
            yield World(cluster, network, options | where, folder, undisturbed)


def labelled_on_a_disk(folder: Path, options: dict[str, Any]) -> Labels:
    """By an engine of this process, without Ray."""
    folder.mkdir()
    where = {"store": str(folder / "store")}
    ingest_pictures(folder, IMAGES, shard_images=SHARD_IMAGES, **where)
    config = LabelConfig(**options | where | {"label_set": "disk"})
    machine = Resources((Node(1),))
    with open_workspace(config) as workspace:
        catalog, plan = workspace.catalog, plan_actors(config, machine)
        aim = find_aim(config, workspace, machine)
        engine = LabelEngine(_open_label_set(config, workspace, aim, plan), device="cpu")
        leases = catalog.lease("disk", owner="test", limit=99, ttl_s=300, sources=["pictures"])
        for lease in leases:
            task = LabelTask(lease.shard, attempt="0001-disk", previous=None)
            catalog.commit_label_shard(lease, engine.label(task))
        return labels_of(workspace, "disk")


def wait_for(condition: Callable[[], bool], *, within_s: float = 120.0) -> None:
    until = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.2)


def test_a_submitted_job_survives_its_machines_and_tells_nobody_its_secrets(world: World) -> None:
    cluster, network = world.cluster, world.network
    network.slow_s = 1.0
    network.at_random(slow=0.3)
    first = world.submit("first", *world.label_command(), "--ray", "auto")
    wait_for(lambda: done_of(world) >= 2 or first.poll() is not None)
    stop = ("job", "stop", "--address", cluster.dashboard, "first")
    stopping = cluster.start("ray", *stop)
    said, _ = first.communicate(timeout=60)
    assert stopping.communicate(timeout=60) and stopping.returncode == 0, said
    assert "given back. The same command goes on" in said, said
    wait_for(lambda: world.progress().leased == 0, within_s=20)
    left = world.progress()
    assert left.pending > 0, "it was stopped too late to say anything"

    network.at_random(slow=1.0)
    again = world.submit("again", *world.label_command(), "--ray", "auto")
    for old in cluster.machines():  # each in turn, as when a cluster is brought up to date
        before = done_of(world)
        new = cluster.add()
        wait_for(lambda before=before: done_of(world) > before)
        assert again.poll() is None, "it was over before its machines were taken away"
        cluster.drain(old, notice_s=30)
        wait_for(lambda old=old: old not in alive(cluster), within_s=60)
    cluster.kill(new)
    network.heal()
    cluster.add()
    said_again, _ = again.communicate(timeout=200)
    assert again.returncode == 0, said_again
    with open_workspace(LabelConfig(**world.options)) as workspace:
        check_exactly_once(workspace, "set", like=world.undisturbed)
        everything = [workspace.store.get(key) for key in workspace.store.list()]

    assert "images" in said_again
    assert "\r" not in said_again.replace("\r\n", "\n"), "lines, not bars"
    files = [*cluster.folder.rglob("*.*"), *world.folder.glob("c.sqlite*")]
    written = [file.read_bytes() for file in files if file.is_file()]
    shown = [ask(cluster, path) for path in SHOWN]
    assert b'"again"' in shown[0]
    for each in [*everything, *written, *shown, said.encode(), said_again.encode()]:
        assert SECRET.encode() not in each


def done_of(world: World) -> int:
    try:
        return world.progress().done
    except Exception as error:  # the set is not there yet
        assert "set" in str(error), error
        return 0


def alive(cluster: Cluster) -> set[str]:
    nodes = json.loads(ask(cluster, "api/v0/nodes?detail=1"))["data"]["result"]["result"]
    return {node["node_id"] for node in nodes if node["state"] == "ALIVE"}


def ask(cluster: Cluster, path: str) -> bytes:
    """What the dashboard says to somebody who has the token."""
    token = cluster.environment["RAY_AUTH_TOKEN"]
    request = urllib.request.Request(
        f"{cluster.dashboard}/{path}", headers={"Authorization": f"Bearer {token}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return bytes(answer.read())
    except urllib.error.HTTPError as error:  # a machine that was killed a moment ago was asked
        return bytes(error.read())


def test_who_has_no_token_is_told_what_to_do(world: World) -> None:
    wrong = {"RAY_AUTH_TOKEN": "0" * 64}
    none = {"RAY_AUTH_TOKEN": "", "HOME": str(world.folder)}
    command = [*world.label_command()[1:], "--ray", world.cluster.address]
    processes = [
        world.cluster.start(
            "factory", *command, **environment, **s3_environment(world.network.url, secret=SECRET)
        )
        for environment in (wrong, none)
    ]
    submit = ("job", "submit", "--address", world.cluster.dashboard, "--", "true")
    refused = world.cluster.start("ray", *submit, **wrong)
    for process in processes:
        said, _ = process.communicate(timeout=120)
        assert process.returncode == 2, said
        assert "RAY_AUTH_TOKEN to the cluster's token" in " ".join(said.split())
        assert "Traceback" not in said
    said, _ = refused.communicate(timeout=60)
    assert refused.returncode != 0
    assert "oken" in said


def test_only_the_dashboard_stays_on_loopback(world: World) -> None:
    """What infra/README.md says of ports: all others are for the network between machines."""
    server = psutil.Process(world.cluster.server.pid)
    listening = {
        (connection.laddr.ip, connection.laddr.port)
        for process in server.children(recursive=True)
        for connection in process.net_connections(kind="tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    port = int(world.cluster.dashboard.rpartition(":")[2])
    assert {ip for ip, listens in listening if listens == port} == {"127.0.0.1"}
    gcs = int(world.cluster.address.rpartition(":")[2])
    assert {ip for ip, listens in listening if listens == gcs} == {"::"}, "as the table says"
