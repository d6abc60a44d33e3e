"""Whatever dies while evaluating: each image is scored once, and the numbers are the same."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import jobs.evaluate
from jobs.config import IngestConfig
from jobs.console import SilentReporter
from jobs.evaluate import evaluate
from jobs.evaluate_config import EvaluateConfig
from jobs.ingest import ingest
from jobs.workspace import Workspace, open_workspace
from pipeline.scores import scores_there
from tests.factories import tiny_teacher

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

ROOT = Path(__file__).resolve().parents[2]
IMAGES, SHARD_IMAGES = 20, 5
VERSION = "1.0+gabc"

# A driver that scores slowly, so that there is a middle of it.
DRIVER = """
import sys, time
import jobs.evaluate, jobs.evaluate_workers
from jobs.evaluate_config import EvaluateConfig
from jobs.evaluate_engine import EvaluationEngine
class Slow(EvaluationEngine):
    def score(self, task, **options):
        done = super().score(task, **options)
        time.sleep(2)
        return done
jobs.evaluate.code_version = lambda: "1.0+gabc"
jobs.evaluate_workers.EvaluationEngine = Slow
store, model = sys.argv[1:]
jobs.evaluate.evaluate(EvaluateConfig(
    models=(model,), benchmark=("relative@1=bench",), batch_size=4, actors=0, store=store
))
"""


@dataclass(frozen=True)
class World:
    """A benchmark of four shards, a model, and what it scores when nothing happens."""

    model: str
    workspace: Workspace
    undisturbed: dict[str, Any]

    def run(self, reporter: Any = None, **changes: Any) -> dict[str, Any]:
        return run(self.workspace.store.uri, self.model, reporter=reporter, **changes)

    def forget(self) -> None:
        for key in scores_there(self.workspace.store, "bench"):
            self.workspace.store.delete(key)

    def shards(self) -> list[str]:
        return [shard.shard_id for shard in self.workspace.catalog.image_shards("bench")]


def run(store: str, *models: str, reporter: Any = None, **changes: Any) -> dict[str, Any]:
    options = {"benchmark": ("relative@1=bench",), "batch_size": 4, "store": store} | changes
    return evaluate(EvaluateConfig(models=models, **options), reporter=reporter)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, ray_session: None) -> Iterator[World]:
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    folder = tmp_path_factory.mktemp("evaluate")
    uri = f"synthetic://clutter?n={IMAGES}&seed=3&width=64&height=48"
    where = {"store": str(folder / "store")}
    ingest(
        IngestConfig(
            uri=uri, source="bench", role="benchmark", shard_images=SHARD_IMAGES, actors=0, **where
        )
    )
    model = str(tiny_teacher(folder / "model"))
    with (
        pytest.MonkeyPatch.context() as patched,
        open_workspace(EvaluateConfig(models=(), benchmark=(), **where)) as workspace,
    ):
        patched.setattr(jobs.evaluate, "code_version", lambda: VERSION)
        undisturbed = run(where["store"], model, actors=1)["results"][0]
        world = World(model, workspace, undisturbed)
        world.forget()
        yield world


@pytest.fixture(autouse=True)
def _nothing_scored(world: World) -> Iterator[None]:
    yield
    world.forget()


class Hearing(SilentReporter):
    """Remembers what it was warned of."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def deadly_actor(folder: Path, shard_id: str, *, times: int) -> type:
    """An actor whose process is killed when it comes to a shard, so many times."""
    from jobs.evaluate_actors import EvaluationActor

    class DeadlyActor(EvaluationActor):
        def label(self, task: Any) -> Any:
            for number in range(times if task.shard.shard_id == shard_id else 0):
                marker = folder / str(number)
                if not marker.exists():
                    marker.touch()
                    os.kill(os.getpid(), signal.SIGKILL)
                    time.sleep(60)
            return super().label(task)

    return DeadlyActor


def check_as_undisturbed(world: World, summary: dict[str, Any]) -> None:
    (result,) = summary["results"]
    for name in ("images", "valid_pixels", "metrics", "intervals", "skipped"):
        assert result[name] == world.undisturbed[name], name
    assert result["images"] == IMAGES and "failed" not in summary


def test_actors_and_this_process_say_the_same(world: World, tmp_path: Path) -> None:
    here = world.run(actors=0, fresh=True)["results"][0]
    for space, names in world.undisturbed["metrics"].items():
        for name, value in names.items():  # another number of threads adds up in another order
            assert here["metrics"][space][name] == pytest.approx(value, rel=1e-4)
    world.forget()
    summary = world.run(actors=1, out=str(tmp_path / "out"), pictures=2)
    check_as_undisturbed(world, summary)
    assert summary["results"][0]["forward_images_per_s"] > 0
    assert all(Path(written).stat().st_size for written in summary["written"])


def test_an_actor_that_is_killed_costs_nothing(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deadly = deadly_actor(tmp_path, world.shards()[1], times=1)
    monkeypatch.setattr("jobs.evaluate_actors.EvaluationActor", deadly)
    hearing = Hearing()
    check_as_undisturbed(world, world.run(actors=1, reporter=hearing))
    assert (tmp_path / "0").exists()
    assert any("will be tried again, alone" in warning for warning in hearing.warnings)


def test_a_shard_that_kills_three_actors_is_given_up_by_name(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = world.shards()[2]
    deadly = deadly_actor(tmp_path, victim, times=3)
    with monkeypatch.context() as patched:
        patched.setattr("jobs.evaluate_actors.EvaluationActor", deadly)
        summary = world.run(actors=1)
    assert [failed["shard"] for failed in summary["failed"]] == [victim]
    assert (summary["shards_failed"], summary["results"]) == (1, [])
    assert len(scores_there(world.workspace.store, "bench")) == IMAGES // SHARD_IMAGES - 1
    check_as_undisturbed(world, world.run(actors=1))  # what was scored is not scored again


def test_a_driver_that_is_killed_goes_on(world: World) -> None:
    store = world.workspace.store
    whole = world.run(actors=0)
    world.forget()
    command = [sys.executable, "-c", DRIVER, store.uri, world.model]
    driver = subprocess.Popen(command, cwd=ROOT)
    deadline = time.monotonic() + 90
    while not scores_there(store, "bench") and time.monotonic() < deadline:
        time.sleep(0.05)
    driver.kill()
    driver.wait()
    kept = {key: store.get(key) for key in scores_there(store, "bench")}
    assert 0 < len(kept) < IMAGES // SHARD_IMAGES
    again = world.run(actors=0)
    for space, names in whole["results"][0]["metrics"].items():
        assert again["results"][0]["metrics"][space] == pytest.approx(names, rel=1e-4)
    assert again["results"][0]["images"] == IMAGES
    assert kept.items() <= {key: store.get(key) for key in scores_there(store, "bench")}.items()
