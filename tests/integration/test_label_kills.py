"""Whatever dies while labelling, and whenever: each image is labelled once, and alike."""

import io
import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import ray

from jobs.config import LabelConfig
from jobs.console import LineReporter
from jobs.label import label
from jobs.workspace import Workspace, open_workspace
from pipeline.errors import CatalogMissingError, StoreFullError
from tests.deadly_label import (
    STEPS,
    WORKER_STEPS,
    Plot,
    carry_by_value,
    deadly,
    one_death_each,
    said_by,
    start_driver,
    summary_of,
)
from tests.factories import tiny_teacher
from tests.label_checks import Labels, check_exactly_once, ingest_pictures, labels_of
from tests.postgres_fixtures import PostgresServer

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

IMAGES, SHARD_IMAGES = 24, 3


@dataclass(frozen=True)
class World:
    """A store with eight image shards, a teacher, and how their labels must be."""

    options: dict[str, Any]
    workspace: Workspace
    shards: list[str]
    undisturbed: Labels

    def config(self, label_set: str, **changes: Any) -> LabelConfig:
        return LabelConfig(**self.options | {"label_set": label_set} | changes)

    def orphans(self, label_set: str) -> list[str]:
        return check_exactly_once(self.workspace, label_set, like=self.undisturbed)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, ray_session: None) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("kills")
    where = {"store": str(folder / "store")}
    ingest_pictures(folder, IMAGES, shard_images=SHARD_IMAGES, **where)
    options = {
        "sources": ("pictures",),
        "teacher": str(tiny_teacher(folder / "teacher")),
        "batch_size": 2,
        "actors": 1,
        "cpus_per_actor": 1.0,
        **where,
    }
    carry_by_value()
    label(LabelConfig(label_set="undisturbed", **options))
    with open_workspace(LabelConfig(label_set="undisturbed", **options)) as workspace:
        shards = [shard.shard_id for shard in workspace.catalog.image_shards("pictures")]
        yield World(options, workspace, shards, labels_of(workspace, "undisturbed"))


Start = Callable[..., BaseProcess]


@pytest.fixture
def start(world: World, tmp_path: Path) -> Iterator[Start]:
    """Starts drivers in processes of their own, on this session's Ray; kills what is left."""
    started: list[BaseProcess] = []
    address = ray.get_runtime_context().gcs_address

    def one(label_set: str, *plots: dict[str, Any], **changes: Any) -> BaseProcess:
        config = world.options | {"label_set": label_set, "ray": address} | changes
        started.append(start_driver(config, plots, folder=tmp_path))
        return started[-1]

    yield one
    for process in started:
        process.kill()
        process.join()


def finished(driver: BaseProcess, folder: Path) -> dict[str, Any]:
    """The summary of a driver that ends well."""
    driver.join(timeout=120)
    assert driver.exitcode == 0, said_by(driver, folder)
    return summary_of(driver, folder)


def wait_until(condition: Callable[[], object], *, timeout_s: float = 90) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def shards_done(world: World, label_set: str) -> int:
    return _done(world.workspace, label_set)


def _done(workspace: Workspace, label_set: str) -> int:
    try:
        return workspace.catalog.progress(label_set).done
    except CatalogMissingError:
        return 0


def test_actors_that_die_at_every_step(world: World, tmp_path: Path) -> None:
    with deadly(one_death_each("actor", tmp_path, world.shards)):
        summary = label(world.config("actors"))
    deaths = (tmp_path / "kills.log").read_text().splitlines()
    assert len(deaths) == len(STEPS), "each step had its kill"
    assert summary["shards_failed"] == 0
    orphans = world.orphans("actors")
    assert any(world.shards[4] in key for key in orphans), "the one written and not reported"
    assert not any(world.shards[0] in key for key in orphans), "nothing was written before writing"


def test_drivers_that_die_at_every_step(world: World, start: Start, tmp_path: Path) -> None:
    for number, step in enumerate(STEPS):
        before = shards_done(world, "drivers")
        driver = start("drivers", {"victim": "driver", "step": step})
        driver.join(timeout=120)
        assert driver.exitcode == -signal.SIGKILL, (step, said_by(driver, tmp_path))
        done = shards_done(world, "drivers")
        labels = world.workspace.catalog.label_shards("drivers")
        assert len(labels) == len({row.shard.shard_id for row in labels}) == done
        assert done == before if step in WORKER_STEPS[:2] else done >= before, (number, step)
    summary = label(world.config("drivers"))
    assert (summary["shards_done"], summary["shards_failed"]) == (len(world.shards), 0)
    world.orphans("drivers")


def test_two_drivers_share_the_work(world: World, start: Start, tmp_path: Path) -> None:
    slowly = {"victim": "", "step": "before_write", "times": 100, "wait_s": 1.0}
    drivers = [start("shared", slowly) for _ in range(2)]
    summaries = [finished(driver, tmp_path) for driver in drivers]
    assert world.orphans("shared") == []
    owners = {row.key.rpartition("-")[2] for row in world.workspace.catalog.label_shards("shared")}
    assert len(owners) == 2, "both had their part"
    assert all(summary["shards_done"] == len(world.shards) for summary in summaries)


def freeze(driver: BaseProcess, world: World) -> None:
    """Stop a driver, but not while it holds the lock of the whole SQLite file."""
    assert driver.pid is not None
    while True:
        os.kill(driver.pid, signal.SIGSTOP)
        file = str(world.workspace.store.local_path("catalog.sqlite"))
        try:
            with closing(sqlite3.connect(file, timeout=0.5)) as connection:
                connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            os.kill(driver.pid, signal.SIGCONT)
            time.sleep(0.05)
        else:
            return


def test_a_driver_that_slept_through_its_lease_does_no_harm(
    world: World, start: Start, tmp_path: Path
) -> None:
    slowly = {"victim": "", "step": "before_write", "times": 100, "wait_s": 1.5}
    sleeper = start("slept", slowly, lease_s=5.0)
    wait_until(lambda: shards_done(world, "slept") >= 1)
    freeze(sleeper, world)
    taken = shards_done(world, "slept")
    time.sleep(5.0)
    summary = label(world.config("slept", lease_s=5.0))
    assert summary["shards_done"] == len(world.shards)
    os.kill(sleeper.pid, signal.SIGCONT)
    late = finished(sleeper, tmp_path)
    assert late["shards_done"] == len(world.shards)
    assert late["lost_leases"] >= 1
    assert "no longer holds shard" in said_by(sleeper, tmp_path)
    orphans = world.orphans("slept")
    assert len(orphans) >= late["lost_leases"]
    assert taken < len(world.shards), "it slept in the middle"


def test_a_shard_that_kills_every_actor_is_failed_by_name(world: World, tmp_path: Path) -> None:
    poison = world.shards[3]
    plot = Plot("actor", "before_write", str(tmp_path), shard=poison, times=100)
    with deadly([plot]):
        summary = label(world.config("poisoned"))
    assert len(list(tmp_path.glob("actor-*"))) == 3, "three actors, and no more"
    assert (summary["shards_done"], summary["shards_failed"]) == (len(world.shards) - 1, 1)
    [failed] = summary["failed"]
    assert failed["shard"] == poison
    done = {row.shard.shard_id for row in world.workspace.catalog.label_shards("poisoned")}
    assert done == set(world.shards) - {poison}

    summary = label(world.config("poisoned", retry=("failed",)))
    assert (summary["shards_done"], summary["failed"]) == (len(world.shards), [])
    world.orphans("poisoned")


def test_a_full_store_stops_the_run_and_is_no_shards_fault(world: World, tmp_path: Path) -> None:
    plot = Plot("store", "before_write", str(tmp_path), shard=world.shards[2], times=2)
    with deadly([plot]), pytest.raises(StoreFullError, match="No space left on device"):
        label(world.config("full"))
    progress = world.workspace.catalog.progress("full")
    assert (progress.failed, progress.leased) == (0, 0)
    assert progress.done < len(world.shards)
    summary = label(world.config("full"))
    assert (summary["shards_done"], summary["failed"]) == (len(world.shards), [])
    world.orphans("full")


def test_the_catalog_may_be_away_for_a_while(
    world: World, postgres_of_its_own: PostgresServer, tmp_path: Path
) -> None:
    """The database is stopped in the middle and started again; nobody has to do anything."""
    catalog = postgres_of_its_own.url
    store = str(tmp_path / "store")
    ingest_pictures(tmp_path, IMAGES, shard_images=SHARD_IMAGES, store=store, catalog=catalog)
    config = world.config("away", store=store, catalog=catalog)
    said = io.StringIO()
    slowly = Plot("", "before_write", str(tmp_path), times=100, wait_s=0.5)

    def restart() -> None:
        with open_workspace(config) as workspace:
            wait_until(lambda: _done(workspace, "away") >= 2)
        postgres_of_its_own.stop()
        time.sleep(3.0)
        postgres_of_its_own.start()

    with deadly([slowly]), ThreadPoolExecutor(1) as threads:
        restarted = threads.submit(restart)
        summary = label(config, reporter=LineReporter(said))
        restarted.result()
    assert (summary["shards_done"], summary["failed"]) == (len(world.shards), [])
    assert "the catalog does not answer" in said.getvalue()
    assert "the catalog answers again" in said.getvalue()
    with open_workspace(config) as workspace:
        check_exactly_once(workspace, "away", like=world.undisturbed)
