"""The workers of a training run on Ray Train: placed, and started again when they die.

Ray gives processes, devices and restarts. It is told of no checkpoint, so what it writes for itself
is small and of no use later: it lies in a temporary folder of the driver, where its controller runs
too. No store that is shared for Ray is needed, and nothing of Ray is left behind.

An error that would come again is written down by the worker that had it and ends the run. Whatever
else ends a worker (killed, out of memory, its machine gone, the network) starts all again from the
newest checkpoint, as often as the run gets further meanwhile.
"""

import inspect
import signal
import tempfile
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

import model.errors
import pipeline.errors
from jobs.errors import ConfigError, JobError
from jobs.ray_runtime import Resources
from jobs.run_files import RunFiles
from jobs.training_job import TrainingJob, Worker
from jobs.training_worker import run_training
from model.errors import ModelError
from pipeline.errors import LeaseLostError, PipelineError, StorageError, StoreFullError

WORKER_RESTARTS = 2  # without a new checkpoint between them
FAILURE = "failure.json"
FINAL = (ModelError, PipelineError, JobError, ConfigError, ValueError)


def fit_on_ray(
    job: TrainingJob, *, workers: int, use_gpus: bool, note: Callable[[str], None]
) -> None:
    """Run the workers until the run is complete.

    Raises:
        ModelError: Or a PipelineError, as a worker had it: starting again would end the same way.
        JobError: Workers died more often than they may, or failed for another reason.
        KeyboardInterrupt: Somebody pressed Ctrl-C, and Ray has stopped the workers.
    """
    from ray.train import TrainingFailedError

    files = RunFiles(job.store, job.run_id)
    step = files.newest_step()
    while True:
        try:
            _fit(job, workers=workers, use_gpus=use_gpus)
        except Exception as error:  # Ray wraps whatever happened in a worker in errors of its own
            _raise_final(files, job)
            reached = files.newest_step()
            if not isinstance(error, TrainingFailedError) or reached <= step:
                raise JobError(f"training {job.name}: {error}") from error
            note(f"workers died {WORKER_RESTARTS + 1} times; going on from step {reached}")
            step = reached
        else:
            _raise_final(files, job)
            return


def waiting_for_room(job: TrainingJob, *, workers: int, use_gpus: bool, has: Resources) -> str:
    """Why no worker has started yet, as far as that can be seen: for a person to judge."""
    gpus = 1 if use_gpus else 0
    each = f"{job.threads} CPUs" + (", 1 GPU" if gpus else "")
    together = f"{workers} must start together, each" if workers > 1 else "it must start"
    said = f"no worker has started yet: {together} with {each}"
    said = f"{said}; the cluster has {has.in_words()}"
    if has.room(cpus=job.threads, gpus=gpus) < workers:
        return f"{said}, which is too little: waiting for machines to join (Ctrl-C to stop)"
    return f"{said}: others use it, or they are being started (Ctrl-C to stop)"


def _fit(job: TrainingJob, *, workers: int, use_gpus: bool) -> None:
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    on_interrupt = signal.getsignal(signal.SIGINT)
    with tempfile.TemporaryDirectory(
        prefix="factory-ray-train-", ignore_cleanup_errors=True
    ) as folder:
        trainer = TorchTrainer(
            _train_in_worker,
            train_loop_config={"job": job},
            scaling_config=ScalingConfig(
                num_workers=workers,
                use_gpu=use_gpus,
                resources_per_worker={"CPU": job.threads} | ({"GPU": 1} if use_gpus else {}),
            ),
            run_config=RunConfig(
                name=job.run_id,
                storage_path=folder,
                failure_config=FailureConfig(max_failures=WORKER_RESTARTS),
            ),
        )
        try:
            trainer.fit()
        except SystemExit as error:  # this is how Ray's own handler of Ctrl-C ends
            raise KeyboardInterrupt from error
        finally:
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGINT, on_interrupt)


def _train_in_worker(loop_config: dict[str, Any]) -> None:
    """What Ray Train runs in each worker process."""
    import ray.train
    import ray.train.torch

    job: TrainingJob = loop_config["job"]
    context = ray.train.get_context()
    worker = Worker(
        rank=context.get_world_rank(),
        world_size=context.get_world_size(),
        device=str(ray.train.torch.get_device()),
        wrap=ray.train.torch.prepare_model,
    )
    train_as(job, worker)


def train_as(job: TrainingJob, worker: Worker) -> None:
    """Train as one of the workers; an error that would come again is written for the driver.

    Raises:
        Exception: What may pass, and in company all: only a death frees those who wait for it.
    """
    files = RunFiles(job.store, job.run_id, attempt=job.attempt)
    if _failure(files, job) is not None:  # it ended all workers; Ray has started them again
        return
    try:
        run_training(job, worker)
    except FINAL as error:
        if not _is_final(error, files):
            raise
        _write_failure(files, job, error)
        if worker.world_size > 1:
            raise


def _is_final(error: Exception, files: RunFiles) -> bool:
    """Whether it would come again; not so for a network, or for a worker that Ray has replaced."""
    if isinstance(error, LeaseLostError):
        return not files.is_owned()
    return isinstance(error, StoreFullError) or not isinstance(error, StorageError)


def _write_failure(files: RunFiles, job: TrainingJob, error: Exception) -> None:
    said = {"attempt": job.attempt, "kind": type(error).__name__, "error": str(error)}
    files.write_json(FAILURE, said)


def _failure(files: RunFiles, job: TrainingJob) -> dict[str, Any] | None:
    """What ended this attempt for good; that of another attempt is history."""
    failure = files.read_json(FAILURE)
    return failure if failure and failure.get("attempt") == job.attempt else None


def _raise_final(files: RunFiles, job: TrainingJob) -> None:
    failure = _failure(files, job)
    if failure is not None:
        kind = _known_errors().get(failure["kind"], JobError)
        said = f"training {job.name}: {failure['error']}"
        step = files.newest_step()
        if step and issubclass(kind, StoreFullError):
            said = f"{said}; with room and --resume it goes on from step {step}"
        raise kind(said)


def _known_errors() -> dict[str, type[Exception]]:
    """The errors of both rooms, by name: they came out of another process as text."""
    return {
        name: kind
        for module in (model.errors, pipeline.errors)
        for name, kind in _classes(module)
        if issubclass(kind, ModelError | PipelineError)
    }


def _classes(module: ModuleType) -> list[tuple[str, type[Exception]]]:
    return inspect.getmembers(module, inspect.isclass)
