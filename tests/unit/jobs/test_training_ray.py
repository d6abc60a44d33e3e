"""What ends a training run, what starts its workers again, and what the driver is told."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ray.train import WorkerGroupError

from jobs import training_ray, training_worker
from jobs.errors import JobError
from jobs.models import ModelLocation
from jobs.ray_runtime import Node, Resources
from jobs.run_files import RunFiles
from jobs.training_job import TrainingJob, Worker
from jobs.training_ray import fit_on_ray, train_as, waiting_for_room
from model.errors import NonFiniteLossError
from model.recipes import V1
from pipeline.errors import LeaseLostError, ShardCorruptError, StorageError, StoreFullError
from pipeline.storage import Store


@pytest.fixture
def job(tmp_path: Path) -> TrainingJob:
    job = TrainingJob(
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
    files_of(job).write_json("owner.json", {"owner": "me", "attempt": "mine"})
    return job


def files_of(job: TrainingJob) -> RunFiles:
    return RunFiles(job.store, job.run_id, attempt=job.attempt)


def raising(error: Exception | None) -> Callable[..., None]:
    def run(*_: Any, **__: Any) -> None:
        if error is not None:
            raise error

    return run


def died(reason: str = "SIGKILL") -> WorkerGroupError:
    return WorkerGroupError(reason, {0: RuntimeError(reason)})


@pytest.mark.parametrize(
    "error",
    [
        NonFiniteLossError("step 3"),
        ShardCorruptError("shard s1"),
        StoreFullError("no room"),
        ValueError("this is another run"),
    ],
)
def test_what_would_come_again_ends_the_run_and_reaches_the_driver(
    job: TrainingJob, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(training_ray, "run_training", raising(error))
    train_as(job, Worker())
    expected = JobError if isinstance(error, ValueError) else type(error)
    monkeypatch.setattr(training_ray, "_fit", raising(None))
    with pytest.raises(expected, match=f"training teacher: {error}"):
        fit_on_ray(job, workers=1, use_gpus=False, note=str)


def test_of_several_workers_the_one_that_fails_frees_the_others_by_dying(
    job: TrainingJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_ray, "run_training", raising(ShardCorruptError("shard s1")))
    with pytest.raises(ShardCorruptError):
        train_as(job, Worker(rank=1, world_size=2))
    monkeypatch.setattr(training_ray, "run_training", raising(AssertionError("began again")))
    for rank in (0, 1):
        train_as(job, Worker(rank=rank, world_size=2))


@pytest.mark.parametrize(
    "error", [StorageError("the network"), RuntimeError("CUDA error"), LeaseLostError("replaced")]
)
def test_what_may_pass_is_left_to_ray(
    job: TrainingJob, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(training_ray, "run_training", raising(error))
    with pytest.raises(type(error)):
        train_as(job, Worker())
    assert files_of(job).read_json("failure.json") is None


def test_a_run_that_was_taken_over_ends(job: TrainingJob, monkeypatch: pytest.MonkeyPatch) -> None:
    files_of(job).write_json("owner.json", {"owner": "them", "attempt": "theirs"})
    monkeypatch.setattr(training_ray, "run_training", raising(LeaseLostError("taken over")))
    train_as(job, Worker())
    monkeypatch.setattr(training_ray, "_fit", raising(None))
    with pytest.raises(LeaseLostError):
        fit_on_ray(job, workers=1, use_gpus=False, note=str)


def test_the_failure_of_an_earlier_attempt_is_history(
    job: TrainingJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    failure = {"attempt": "earlier", "kind": "NonFiniteLossError", "error": "step 3"}
    files_of(job).write_json("failure.json", failure)
    monkeypatch.setattr(training_ray, "_fit", raising(None))
    fit_on_ray(job, workers=1, use_gpus=False, note=str)


def test_a_run_that_gets_further_goes_on_and_one_that_does_not_ends(
    job: TrainingJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached = iter([3, 6, 6])

    def fit(*_: Any, **__: Any) -> None:
        step = next(reached)
        files_of(job).checkpoints.write(step, {"step": step})
        raise died(f"at step {step}")

    notes: list[str] = []
    monkeypatch.setattr(training_ray, "_fit", fit)
    with pytest.raises(JobError, match="at step 6"):
        fit_on_ray(job, workers=1, use_gpus=False, note=notes.append)
    assert len(notes) == 2
    assert "step 3" in notes[0] and "step 6" in notes[1]
    assert next(reached, None) is None


def test_what_is_no_workers_death_ends_at_once(
    job: TrainingJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fit(*_: Any, **__: Any) -> None:
        files_of(job).checkpoints.write(3, {"step": 3})
        raise ConnectionError("the cluster is gone")

    monkeypatch.setattr(training_ray, "_fit", fit)
    with pytest.raises(JobError, match="the cluster is gone"):
        fit_on_ray(job, workers=1, use_gpus=False, note=str)


def test_it_is_said_what_workers_wait_for(job: TrainingJob) -> None:
    small, large = Resources((Node(8), Node(2, gpus=1))), Resources((Node(64, gpus=8),))
    said = waiting_for_room(job, workers=2, use_gpus=True, has=small)
    assert "2 must start together, each with 4 CPUs, 1 GPU; the cluster has" in said
    assert "1 x (8 CPUs, 0 GPUs) + 1 x (2 CPUs, 1 GPUs)" in said
    assert "waiting for machines to join" in said
    assert "others use it" in waiting_for_room(job, workers=2, use_gpus=True, has=large)


@pytest.mark.parametrize("other", [4, 6])
def test_workers_that_found_different_checkpoints_are_started_again(
    job: TrainingJob, monkeypatch: pytest.MonkeyPatch, other: int
) -> None:
    def gather(everyone: list[int], mine: int) -> None:
        everyone[:] = [mine, other]

    def run(*_: object) -> None:
        training_worker._check_alike(4, Worker(rank=0, world_size=2))

    monkeypatch.setattr(torch.distributed, "all_gather_object", gather)
    monkeypatch.setattr(training_ray, "run_training", run)
    if other == 4:
        train_as(job, Worker(rank=0, world_size=2))
        return
    with pytest.raises(RuntimeError, match=r"not the same for all workers: \[4, 6\]"):
        train_as(job, Worker(rank=0, world_size=2))
    assert files_of(job).read_json("failure.json") is None


def test_a_full_store_says_from_where_the_run_can_go_on(
    job: TrainingJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_ray, "run_training", raising(StoreFullError("no room")))
    monkeypatch.setattr(training_ray, "_fit", lambda job, **_: train_as(job, Worker()))
    with pytest.raises(StoreFullError, match=r"no room$"):
        fit_on_ray(job, workers=1, use_gpus=False, note=print)
    files_of(job).write_checkpoint(5, {"weight": torch.zeros(1)})
    with pytest.raises(StoreFullError, match=r"no room; with room and --resume .* from step 5$"):
        fit_on_ray(job, workers=1, use_gpus=False, note=print)
