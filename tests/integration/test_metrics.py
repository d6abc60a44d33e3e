"""Verbs on a Ray with a dashboard: what its port for Prometheus says, and how it names them."""

import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from jobs.config import LabelConfig
from jobs.metrics import METRICS, PREFIX
from jobs.workspace import Workspace, open_workspace
from tests.factories import tiny_teacher
from tests.label_checks import make_pictures

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]

ROOT = Path(__file__).parents[2]
IMAGES, SHARD_IMAGES, STEPS = 18, 4, 25
RAYS_OWN = {"Component", "NodeAddress", "SessionName", "Version", "WorkerId"}
EVERYWHERE = "of the table"
QUICKLY = {"RAY_metrics_report_interval_ms": "500"}  # 10 s otherwise

# Ray, and in its first driver one value of everything that the table lists.
HEAD = """
import json, select, sys
import ray
from jobs.metrics import METRICS
from jobs.metrics_recording import Recorder
from tests.warm_workers import warm_workers

with warm_workers():
    context = ray.init(
        address="local", num_cpus=2, include_dashboard=True, log_to_driver=False,
        logging_level="ERROR", object_store_memory=128 * 2**20,
    )
record = Recorder()

def put(*kinds):
    does = {"counter": record.count, "gauge": record.set, "histogram": record.observe}
    for metric in METRICS:
        if metric.kind in kinds:
            does[metric.kind](metric.name, 2.0, **dict.fromkeys(metric.tags, sys.argv[1]))

put("counter", "histogram")
print(json.dumps({key: context.address_info[key] for key in
    ("gcs_address", "webui_url", "metrics_export_port")}), flush=True)
while not select.select([sys.stdin], [], [], 0.5)[0]:
    put("gauge")
sys.stdin.readline()
record.close()
sys.stdin.read()
"""

VERBS = """
import json, sys, time, urllib.request
from jobs.config import IngestConfig, LabelConfig
from jobs.ingest import ingest
from jobs.label import label
from jobs.label_driver import LabelDriver
from jobs.train_teacher import train_teacher
from jobs.training_config import TrainTeacherConfig

told = json.loads(sys.argv[1])
there = {"store": told["store"]}
where = {**there, "ray": told["ray"]}
ingest(IngestConfig(
    uri=told["pictures"], source="pictures", shard_images=told["shard_images"], actors=1, **where))
ingest(IngestConfig(
    uri="synthetic://clutter?n=40&seed=0&width=64&height=48", source="rendered", role="labelled",
    actors=0, **there))

finished = LabelDriver._is_finished

def seen(name, tag):  # Ray begins to export some seconds after a process has joined it
    with urllib.request.urlopen(f"http://127.0.0.1:{told['port']}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    there = any(line.startswith(name) and tag in line for line in lines)
    time.sleep(2 * there)  # until the others have looked too
    return there

LabelDriver._is_finished = lambda driver: (
    finished(driver) and seen("ray_factory_images_left", 'label_set="set"'))
label(LabelConfig(
    sources=("pictures",), teacher=told["teacher"], label_set="set", actors=1, cpus_per_actor=1.0,
    batch_size=2, **where))
runs = {"labelled": ("rendered",), "encoder": "scratch:tiny", "size": 42, "batch_size": 6,
    "device": "cpu", **where}
train_teacher(TrainTeacherConfig(name="steady", steps=told["steps"], learning_rate=1e-4, **runs))
"""


@dataclass
class Scraped:
    """All that a port said while it was watched.

    Attributes:
        values: By name and the project's tags, one after another.
        tags: Keys by name, with those of Ray.
        kinds: As Prometheus understands them, by name.
        now: At the last look.
    """

    port: int
    values: dict[tuple[str, tuple[str, ...]], list[float]] = field(
        default_factory=lambda: defaultdict(list)
    )
    tags: dict[str, set[str]] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    now: dict[tuple[str, tuple[str, ...]], float] = field(default_factory=dict)

    def look(self) -> None:
        """Scrape once; series of several processes with the same tags are added up."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics") as answer:
            lines = answer.read().decode().splitlines()
        ours = [line for line in lines if PREFIX + "factory_" in line]
        now: dict[tuple[str, tuple[str, ...]], float] = defaultdict(float)
        for family in text_string_to_metric_families("\n".join(ours) + "\n"):
            for sample in family.samples:
                tags = {k: v for k, v in sample.labels.items() if not k.startswith("otel_")}
                name = sample.name.removeprefix(PREFIX)
                self.kinds[name] = family.type
                self.tags[name] = set(tags)
                told = tuple(value for key, value in sorted(tags.items()) if key not in RAYS_OWN)
                now[name, told] += sample.value
        self.now = dict(now)
        for key, value in now.items():
            self.values[key].append(value)

    def of(self, name: str, **tags: str) -> list[float]:
        """What was said of one series, over time."""
        return self.values.get((name, _sorted(tags)), [])


def _sorted(tags: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(value for _, value in sorted(tags.items()))


@contextmanager
def watching(scraped: Scraped) -> Iterator[None]:
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.6):  # a scrape is half a megabyte
            scraped.look()

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@dataclass
class World:
    """What is left when all verbs have run: the port's words, the dashboard's, the store."""

    scraped: Scraped
    jobs: list[dict[str, Any]]
    actors: list[dict[str, Any]]
    where: dict[str, Any]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, warm: None) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("metrics")
    env = os.environ | {"PYTHONPATH": str(ROOT)} | QUICKLY
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    command = [sys.executable, "-c", HEAD, EVERYWHERE]
    with subprocess.Popen(command, cwd=ROOT, env=env, **pipes) as head:
        try:
            yield _run(json.loads(head.stdout.readline()), folder, env, head)
        finally:
            head.stdin.close()
            head.wait(60)


def _run(
    ray: Mapping[str, Any], folder: Path, env: Mapping[str, str], head: subprocess.Popen[str]
) -> World:
    told = {
        "store": str(folder / "store"),
        "ray": ray["gcs_address"],
        "pictures": str(make_pictures(folder / "pictures", IMAGES)),
        "teacher": str(tiny_teacher(folder / "teacher")),
        "shard_images": SHARD_IMAGES,
        "steps": STEPS,
        "port": ray["metrics_export_port"],
    }
    scraped = Scraped(ray["metrics_export_port"])
    with watching(scraped):
        done = subprocess.run(
            [sys.executable, "-c", VERBS, json.dumps(told)],
            cwd=ROOT, env=env, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        assert head.stdin is not None
        head.stdin.write("close\n")
        head.stdin.flush()
        time.sleep(2)
    scraped.look()
    web = f"http://{ray['webui_url']}"
    jobs = json.load(urllib.request.urlopen(f"{web}/api/jobs/"))
    answer = json.load(urllib.request.urlopen(f"{web}/api/v0/actors?detail=true&limit=100"))
    return World(scraped, jobs, answer["data"]["result"]["result"], {"store": told["store"]})


@pytest.fixture
def workspace(world: World) -> Iterator[Workspace]:
    with open_workspace(LabelConfig(sources=(), teacher="", **world.where)) as workspace:
        yield workspace


def test_the_port_says_all_that_the_table_lists_and_nothing_else(world: World) -> None:
    scraped, expected = world.scraped, set()
    for metric in METRICS:
        parts = ["_bucket", "_sum", "_count"] if metric.kind == "histogram" else [""]
        for part in parts:
            name = metric.name + part
            assert scraped.kinds[name] == metric.kind
            le = {"le"} if part == "_bucket" else set()
            assert scraped.tags[name] - RAYS_OWN == set(metric.tags) | le, name
            expected.add(name)
    assert set(scraped.kinds) == expected


def test_gauges_are_there_until_they_are_taken_back(world: World) -> None:
    for metric in METRICS:
        key = (metric.name, (EVERYWHERE,) * len(metric.tags))
        if metric.kind == "gauge":
            assert set(world.scraped.values[key]) == {2.0}
            assert key not in world.scraped.now, "its driver has closed its recorder"
        elif metric.kind == "counter":
            assert world.scraped.now[key] == 2.0
    gauges = {metric.name for metric in METRICS if metric.kind == "gauge"}
    left = {name for name, _ in world.scraped.now} & gauges
    assert left <= {"factory_driver_end_timestamp_seconds"}


def test_counters_of_labelling_are_what_the_catalog_has(world: World, workspace: Workspace) -> None:
    scraped, photos = world.scraped, {"label_set": "set", "source": "pictures"}
    progress = workspace.catalog.progress("set")
    assert progress.labelled == IMAGES - 1
    assert scraped.of("factory_labelled_images_total", **photos)[-1] == progress.labelled
    for reason, images in progress.quarantined.items():
        series = scraped.of("factory_quarantined_images_total", reason=reason, **photos)
        assert series[-1] == images
    shards = workspace.catalog.label_shards("set")
    (actor,) = {tags for name, tags in scraped.now if name == "factory_actor_images_total"} - {
        (EVERYWHERE,) * 2
    }
    assert scraped.now["factory_actor_images_total", actor] == IMAGES
    assert "CPU, process" in actor[0]
    assert scraped.of("factory_commit_seconds_count", label_set="set")[-1] == len(shards)
    forward_s = scraped.of("factory_stage_seconds_total", label_set="set", stage="forward")[-1]
    assert forward_s == pytest.approx(sum(shard.forward_s for shard in shards), rel=1e-6)
    assert forward_s < scraped.of("factory_actor_seconds_total", label_set="set")[-1]


def test_gauges_of_labelling_were_seen_while_it_ran(world: World) -> None:
    """Which of their values a look finds depends on how fast this machine is at the moment."""
    scraped = world.scraped
    left = scraped.of("factory_images_left", label_set="set", source="pictures")
    assert left and left == sorted(left, reverse=True) and set(left) <= set(range(IMAGES + 1))
    pending = scraped.of("factory_shards", label_set="set", source="pictures", state="pending")
    assert pending and set(pending) <= set(range(-(-IMAGES // SHARD_IMAGES) + 1))
    tags = {"verb": "label", "target": "set"}
    states = [scraped.of("factory_actors", state=state, **tags) for state in ("starting", "ready")]
    assert 1 in states[0] + states[1]
    beat = scraped.of("factory_driver_beat_timestamp_seconds", **tags)
    assert 0 < time.time() - beat[-1] < 300


def test_ingest_counts_what_it_committed(world: World) -> None:
    assert world.scraped.of("factory_ingested_images_total", source="pictures")[-1] == IMAGES
    assert not world.scraped.of("factory_ingested_images_total", source="rendered"), "without Ray"


def test_training_says_how_it_goes(world: World, workspace: Workspace) -> None:
    run = workspace.catalog.newest_run("steady")
    assert run is not None
    of = {"run": run.run_id, "model": "steady"}
    said = world.scraped.of
    assert said("factory_training_images_total", kind="labelled", **of)[-1] == 6 * STEPS
    assert 0 < said("factory_training_loss", term="total", **of)[0] < 10
    assert set(said("factory_training_steps", **of)) == {STEPS}
    assert said("factory_training_step", **of)[0] >= 1
    assert all(0 <= share <= 1 for share in said("factory_training_data_wait_ratio", **of))
    assert said("factory_training_learning_rate", part="encoder", **of)[0] > 0
    assert not said("factory_training_not_finite_total", **of)


def test_jobs_have_names(world: World) -> None:
    names = [job["metadata"].get("job_name") for job in world.jobs]
    teacher = next(name for name in names if name and name.startswith("label"))
    assert teacher == "label pictures with teacher"
    assert {"ingest pictures", "train-teacher steady"} <= set(names)


def test_actors_say_what_they_do_and_where(world: World) -> None:
    for engine, doing in (("LabelEngine", "label set"), ("IngestActor", "ingest pictures")):
        (actor,) = [actor for actor in world.actors if actor["class_name"] == engine]
        assert actor["name"].startswith(f"{doing} #")
        assert actor["repr_name"].startswith(f"{doing} on ")
        assert actor["repr_name"].endswith(f" CPU, process {actor['pid']}")
