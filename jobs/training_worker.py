"""One training worker: network, input, loop and checkpoints, without Ray.

Ray Train runs `run_training` in each of its workers; tests and machines without Ray call it as it
is. Everything a worker does follows from the job, its rank and the newest checkpoint, so that a
worker that was killed goes on with the same images in the same order.
"""

import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from jobs.errors import ConfigError
from jobs.metrics_training import RayMetrics
from jobs.prefetch import prefetched
from jobs.run_files import RunFiles
from jobs.training_batches import Position, TrainingBatch, TrainingBatches
from jobs.training_job import Prepared, TrainingJob, Worker, prepare
from jobs.training_journal import Journal
from jobs.training_log import Logs, MetricLines, TensorBoardLog, TrainingLog, forget_after
from jobs.training_state import TrainingState
from jobs.training_trackers import MlflowLog, WandbLog, artefact_folder
from jobs.training_validation import predictor
from model.depth_model import save_depth_model
from model.errors import NonFiniteLossError
from model.flops import StepWork, peak_flops, training_flops
from model.training import fit
from model.training_step import TrainingStep
from model.transfer import on_device
from pipeline.errors import LeaseLostError, PipelineError
from pipeline.storage import model_prefix, run_prefix

PREFETCHED_BATCHES = 3

log = logging.getLogger(__name__)


def run_training(job: TrainingJob, worker: Worker | None = None) -> None:
    """Train until ``job.steps``, from the newest checkpoint where there is one, and save the model.

    Raises:
        NonFiniteLossError: A loss is not a number; nothing was stepped with it.
        ScaleDriftError: Predictions drifted where the loss cannot see it; likewise.
        LeaseLostError: The run is another's by now.
        ShardCorruptError: Too much of the input is damaged.
        ConfigError: A tracker does not take the run.
        ValueError: The checkpoint belongs to another job, or there is too little to read.
    """
    worker = worker or Worker()
    files = RunFiles(
        job.store, job.run_id, attempt=job.attempt, keep_checkpoints=job.keep_checkpoints
    )
    if worker.rank == 0:
        files.forget("progress.json")  # an earlier attempt may have been further
        files.claim()
    prepared = prepare(job, worker)
    state = TrainingState.of(job, worker, prepared.trainable)
    start_step, everyone = _restored(state, files)
    with _opened_log(job, worker, files, going_on=start_step > 0) as training_log:
        predict = predictor(prepared.network, device=worker.device, precision=job.precision)
        journal = Journal(job, worker, files, state, predict, training_log, everyone)
        mine = everyone[worker.rank] if everyone else {}
        with _batches(job, worker, mine) as batches:
            fit(
                prepared.step,
                batches,
                optimiser=state.optimisation.optimiser,
                schedule=state.optimisation.schedule,
                steps=job.steps,
                start_step=start_step,
                accumulate=job.accumulate,
                clip_norm=job.recipe.clip_norm,
                network=prepared.trainable,
                average=state.average,
                monitor=state.monitor,
                work=_work(job, worker, prepared),
                on_step=journal.on_step,
                on_checkpoint=journal.on_checkpoint,
                checkpoint_steps=job.checkpoint_steps,
            )
    if worker.rank == 0:
        files.check_mine()
        with state.as_saved():
            _save(job, prepared.network)
        files.write_json("result.json", journal.result())


def _restored(state: TrainingState, files: RunFiles) -> tuple[int, list[dict[str, Any]]]:
    """Steps done at the newest checkpoint, and where the input of each rank goes on."""
    rank = state.worker.rank
    saved = files.newest_checkpoint(partial(_warn, files) if rank == 0 else log.warning)
    step = 0 if saved is None else state.load(saved["training"])
    _check_alike(step, state.worker)
    if rank == 0:
        forget_after(files, step)
    return step, [] if saved is None else saved["positions"]


def _warn(files: RunFiles, text: str) -> None:
    """To the log of the worker, which nobody reads, and to the driver; for rank 0 alone."""
    log.warning(text)
    files.warn(text)


def _check_alike(step: int, worker: Worker) -> None:
    """All workers go on from one checkpoint; one that was put while they looked would part them."""
    if worker.world_size == 1:
        return
    steps = [0] * worker.world_size
    torch.distributed.all_gather_object(steps, step)
    if len(set(steps)) > 1:
        raise RuntimeError(f"the newest checkpoint is not the same for all workers: {steps}")


@contextmanager
def _opened_log(
    job: TrainingJob, worker: Worker, files: RunFiles, *, going_on: bool
) -> Iterator[TrainingLog]:
    """All that follow the run; rank 0 alone writes. However it ends, they have all until then."""
    with tempfile.TemporaryDirectory(prefix="factory-wandb-") as folder:
        logs: tuple[TrainingLog, ...] = ()
        exported = RayMetrics(job, worker.world_size)
        if worker.rank == 0:
            trackers = _trackers(job, files, Path(folder), going_on=going_on)
            logs = (MetricLines(files), TensorBoardLog(files), exported, *trackers)
        training_log = Logs(logs)
        try:
            yield training_log
        except LeaseLostError:  # somebody else writes now
            exported.close(failed=True)
            raise
        except BaseException as error:
            if isinstance(error, NonFiniteLossError) and worker.rank == 0:
                exported.not_finite()
            with suppress(OSError, PipelineError):  # what went wrong before is what counts
                training_log.close(failed=True)
            raise
        training_log.close()


def _trackers(
    job: TrainingJob, files: RunFiles, folder: Path, *, going_on: bool
) -> Iterator[TrainingLog]:
    """W&B and MLflow where they are asked for.

    Raises:
        ConfigError: One takes no run; a run that is going on goes on without it instead.
    """
    what = {"steps": job.steps, "seed": job.seed, "precision": job.precision}
    run: dict[str, Any] = {
        "run_id": job.run_id,
        "name": job.name,
        "config": {**asdict(job.recipe), **what},
    }
    asked: list[Callable[[], TrainingLog]] = []
    if (project := job.wandb) is not None:
        beside = files.store.local_path(run_prefix(job.run_id))  # W&B makes a folder in it
        asked.append(lambda: WandbLog(project, **run, folder=beside or folder))
    if (uri := job.mlflow) is not None:
        asked.append(lambda: MlflowLog(uri, **run, folder=artefact_folder(uri)))
    for open_tracker in asked:
        try:
            yield open_tracker()
        except ConfigError as error:
            if not going_on:
                raise
            _warn(files, f"training goes on without it: {error}")


@contextmanager
def _batches(
    job: TrainingJob, worker: Worker, positions: Mapping[str, Any]
) -> Iterator[Iterator[TrainingBatch]]:
    """This rank's input from some positions on, read and moved to the device ahead in a thread."""
    supply = TrainingBatches(
        store=job.store,
        recipe=job.recipe,
        images=job.images_per_pass,
        labelled=job.labelled,
        pseudo=job.pseudo,
        seed=job.seed,
        rank=worker.rank,
        world_size=worker.world_size,
        threads=job.threads,
        label_filter=job.label_filter,
        max_damaged=job.max_damaged,
        device=worker.device,
    )
    start = {kind: Position.of(position) for kind, position in positions.items()}
    ahead = on_device(supply.batches_from(start), worker.device)
    with closing(prefetched(ahead, depth=PREFETCHED_BATCHES)) as batches:
        yield batches


def _work(job: TrainingJob, worker: Worker, prepared: Prepared) -> StepWork:
    """What one step asks of this worker's device."""
    frozen = 0
    if isinstance(prepared.step, TrainingStep) and prepared.step.frozen_encoder is not None:
        images = job.images_per_pass  # one image cannot be split, where it need not be
        frozen = job.recipe.split(images).pseudo if job.labelled else images
    flops = training_flops(
        prepared.network.config,
        side=job.recipe.size,
        images=job.images_per_pass * job.accumulate,
        frozen_images=frozen * job.accumulate,
    )
    return StepWork(flops, peak_flops(worker.device, job.precision))


def _save(job: TrainingJob, network: nn.Module) -> None:
    """Put the model in Hugging Face format."""
    with tempfile.TemporaryDirectory(prefix="factory-model-") as folder:
        save_depth_model(network, Path(folder), side=job.recipe.size)
        job.store.put_folder(Path(folder), model_prefix(job.name))
