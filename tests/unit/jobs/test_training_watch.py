"""What a driver shows of workers that it only knows from their files."""

import io
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from jobs import training_watch
from jobs.console import LineReporter
from jobs.models import ModelLocation
from jobs.run_files import RunFiles
from jobs.training_job import TrainingJob
from jobs.training_watch import watched
from model.recipes import V1
from pipeline.errors import StorageError
from pipeline.storage import Store


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_watch, "WATCH_INTERVAL_S", 0.02)
    monkeypatch.setattr(training_watch, "START_PATIENCE_S", 0.1)


@pytest.fixture
def job(tmp_path: Path) -> TrainingJob:
    return TrainingJob(
        run_id="teacher-1",
        name="teacher",
        store=Store(str(tmp_path)),
        encoder=ModelLocation("plain", "scratch:tiny"),
        recipe=V1,
        labelled=(),
        pseudo=(),
        steps=10,
        images_per_pass=2,
        seed=0,
        precision="fp32",
        checkpoint_steps=5,
        threads=4,
        attempt="mine",
    )


def worker(job: TrainingJob) -> RunFiles:
    files = RunFiles(job.store, job.run_id, attempt=job.attempt)
    files.write_json("owner.json", {"owner": "me", "attempt": "mine"})
    return files


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def nothing() -> str:
    return "nothing is in the way"


def test_it_is_said_once_why_there_is_no_worker(job: TrainingJob) -> None:
    said = io.StringIO()
    with watched(worker(job), job, LineReporter(said), why_waiting=lambda: "no GPU is free"):
        wait_for(lambda: "no GPU is free" in said.getvalue())
        time.sleep(0.1)
    assert said.getvalue().count("no GPU is free") == 1


def test_workers_that_started_wait_for_nothing_and_a_restart_is_told(job: TrainingJob) -> None:
    said = io.StringIO()
    first = worker(job)
    first.claim()
    with watched(first, job, LineReporter(said), why_waiting=nothing):
        time.sleep(0.2)
        assert "died" not in said.getvalue()
        first.write_checkpoint(5, {"step": 5})
        worker(job).claim()
        wait_for(lambda: "workers died: started again" in said.getvalue())
    assert "step 5" in said.getvalue()
    assert "in the way" not in said.getvalue()


def test_the_workers_of_another_attempt_are_not_these(job: TrainingJob) -> None:
    said = io.StringIO()
    files = worker(job)
    files.write_json("writer.json", {"attempt": "earlier", "writer": "w", "step": 3, "host": "h"})
    with watched(files, job, LineReporter(said), why_waiting=nothing):
        wait_for(lambda: "nothing is in the way" in said.getvalue())


def test_a_store_that_is_away_for_a_moment_stops_no_watching(
    job: TrainingJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = io.StringIO()
    files = worker(job)
    files.claim()

    def away(*_: object) -> bytes:
        raise StorageError("the network is gone")

    with watched(files, job, LineReporter(said), why_waiting=nothing):
        time.sleep(0.1)
        with monkeypatch.context() as patch:
            patch.setattr(Store, "get", away)
            time.sleep(0.1)
        worker(job).claim()
        wait_for(lambda: "started again" in said.getvalue())


def test_what_workers_of_this_attempt_warn_of_is_told_once(job: TrainingJob) -> None:
    said = io.StringIO()
    files = worker(job)
    RunFiles(job.store, job.run_id, attempt="earlier").warn("an old story")
    files.claim()
    with watched(files, job, LineReporter(said), why_waiting=nothing):
        files.warn("checkpoint of step 5 is passed over")
        wait_for(lambda: "step 5 is passed over" in said.getvalue())
        files.warn("training goes on without MLflow")
    assert said.getvalue().count("warning: ") == 2
    assert "training goes on without MLflow" in said.getvalue()
    assert "old story" not in said.getvalue()


def test_who_follows_from_elsewhere_is_told_how_far_the_workers_are(job: TrainingJob) -> None:
    told: list[Callable[[], Mapping[str, Any]]] = []

    class Listening(LineReporter):
        def tell(self, facts: Callable[[], Mapping[str, Any]]) -> None:
            told.append(facts)

    files = worker(job)
    with watched(files, job, Listening(io.StringIO()), why_waiting=nothing):
        wait_for(lambda: bool(told))
        assert told[0]() == {"training": {}, "working_s": 0.0}
        files.claim()
        files.write_json("progress.json", {"step": 4, "steps": 10, "loss": 0.5})
        wait_for(lambda: bool(told[0]()["training"].get("step") == 4))
        wait_for(lambda: told[0]()["working_s"] > 0)
    assert told[0]()["training"] == {"step": 4, "steps": 10, "loss": 0.5}
