"""`factory status` beside real drivers: while they work, when they are killed, and taken over."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

from jobs.config import LabelConfig
from jobs.label import label
from jobs.status import status
from jobs.status_config import StatusConfig
from jobs.workspace import CATALOG_FILE, open_workspace
from pipeline.catalog import Catalog
from pipeline.errors import StorageError
from tests.deadly_label import Plot, carry_by_value, said_by, start_driver
from tests.factories import tiny_teacher
from tests.label_checks import ingest_pictures

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

ROOT = Path(__file__).resolve().parents[2]
IMAGES, SHARD_IMAGES = 12, 3


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory, ray_session: None) -> dict[str, Any]:
    """How to label four shards of a store."""
    folder = tmp_path_factory.mktemp("status")
    where = {"store": str(folder / "store")}
    ingest_pictures(folder, IMAGES, shard_images=SHARD_IMAGES, **where)
    carry_by_value()
    return {
        "sources": ("pictures",),
        "teacher": str(tiny_teacher(folder / "teacher")),
        "batch_size": 2,
        "actors": 1,
        "cpus_per_actor": 1.0,
        **where,
    }


@pytest.fixture
def watcher(options: dict[str, Any]) -> Iterator[Callable[[], dict[str, Any]]]:
    """The newest object that a `factory status --watch --json` of its own process has printed."""
    command = [sys.executable, "-m", "jobs.cli", "status", "--store", options["store"]]
    command += ["--watch", "--interval", "0.5", "--json"]
    newest: list[dict[str, Any]] = []
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:

        def read() -> None:
            assert process.stdout is not None
            for line in process.stdout:
                newest[:] = [json.loads(line)]

        reader = threading.Thread(target=read)
        reader.start()
        yield lambda: newest[0] if newest else {"label_sets": [], "drivers": [], "waiting": []}
        process.terminate()  # as Ctrl-C, which a process of a background job does not get
        reader.join(timeout=30)
    assert process.returncode == 0


def wait_for(look: Callable[[], Any], *, timeout_s: float = 90.0) -> Any:
    deadline = time.monotonic() + timeout_s
    while not (found := look()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
    return found


def test_a_label_run_seen_from_elsewhere_killed_and_taken_over(options, watcher, tmp_path):
    """It is seen at work, then as gone with what is left and how to go on, and then as done."""
    plot = Plot("driver", "after_commit", str(tmp_path), wait_s=60.0)  # one shard, and then nothing
    config = options | {
        "label_set": "by-tiny", "ray": ray.get_runtime_context().gcs_address,
    }  # fmt: skip
    driver = start_driver(config, [plot_of(plot)], folder=tmp_path)
    try:
        record = wait_for(lambda: at_work(watcher(), done=SHARD_IMAGES))
        assert (record["images"], record["left_images"]) == (IMAGES, IMAGES - SHARD_IMAGES)
        assert record["sources"][0]["source"] == "pictures"
        (process,) = label_drivers(watcher())
        assert (process["pid"], process["state"]) == (driver.pid, "running"), said_by(
            driver, tmp_path
        )
    finally:
        driver.kill()
        driver.join()
    (waiting,) = wait_for(lambda: watcher()["waiting"])
    assert (waiting["what"], waiting["left_images"]) == ("label set by-tiny", 9)
    assert waiting["command"].startswith("factory label pictures --teacher ")
    assert f"--store {options['store']}" in waiting["command"]
    assert [each["state"] for each in label_drivers(watcher())] == ["gone"]

    label(LabelConfig(label_set="by-tiny", **options))
    found = status(StatusConfig(store=options["store"], names=("by-tiny",)))
    (record,) = found["label_sets"]
    assert (record["left_images"], record["done_images"]) == (0, IMAGES)
    assert record["actor_hours"] > 0 and found["waiting"] == []
    assert [each["state"] for each in found["drivers"]] == ["failed", "done"]  # it was buried


def plot_of(plot: Plot) -> dict[str, Any]:
    """As `start_driver` takes it, without the process that is not there yet."""
    names = ("victim", "step", "folder", "shard", "times", "wait_s")
    return {name: getattr(plot, name) for name in names}


def label_drivers(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Without that of the ingest, which is over."""
    return [each for each in found["drivers"] if each["verb"] == "label"]


def at_work(found: dict[str, Any], *, done: int) -> dict[str, Any] | None:
    """The label set, once so many images are done and its driver is on record."""
    for record in found["label_sets"]:
        if record["label_set"] == "by-tiny" and record["done_images"] >= done:
            return record if record["drivers"] else None
    return None


WRITER = """
import sys, time
from jobs.config import LabelConfig
from jobs.console import Reporter
from jobs.driver_record import at_work
from pipeline.catalog import Catalog

url, target = sys.argv[1:]
config = LabelConfig(sources=("pictures",), teacher="t")
with Catalog.open(url) as catalog:
    with at_work(catalog, "label", target, config=config, reporter=Reporter.silent(),
                 heartbeat_s=0.005) as reporter:
        until = time.monotonic() + 4
        while time.monotonic() < until:
            catalog.renew("none", owner=target, ttl_s=60.0)
"""


def test_drivers_and_watchers_share_an_sqlite_file(tmp_path):
    """Three processes write as fast as they can, and nobody is told that the file is locked."""
    url = f"sqlite:///{tmp_path / CATALOG_FILE}"
    Catalog.open(url).close()
    drivers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, url, f"set-{number}"],
            cwd=ROOT, stderr=subprocess.PIPE, text=True,
        )
        for number in range(3)
    ]  # fmt: skip
    seen: set[str] = set()
    looks = 0
    while any(driver.poll() is None for driver in drivers):
        try:
            found = status(StatusConfig(catalog=url))
        except StorageError as error:  # pragma: no cover
            pytest.fail(f"a reader was locked out: {error}")
        seen |= {each["target"] for each in found["drivers"] if each["state"] == "running"}
        looks += 1
    for driver in drivers:
        assert driver.communicate()[1] == "" and driver.returncode == 0
    assert seen == {"set-0", "set-1", "set-2"} and looks > 5
    ended = status(StatusConfig(catalog=url))["drivers"]
    assert {each["state"] for each in ended} == {"done"}


def test_all_verbs_of_the_line_are_on_record(options):
    """Ingest and label of this store, by now, each with how to do it again."""
    with open_workspace(LabelConfig(**options)) as workspace:
        rows = workspace.catalog.recent_drivers(within_s=3600)
    verbs = {row.verb: row.facts["command"] for row in rows}
    assert verbs["ingest"].startswith("factory ingest ")
    assert verbs["label"].startswith("factory label pictures ")
