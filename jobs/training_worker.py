"""One training worker: network, input, loop and checkpoints, without Ray.

Ray Train runs `run_training` in each of its workers; tests and machines without Ray call it as it
is. Everything a worker does follows from the job, its rank and the newest checkpoint, so that a
worker that was killed goes on with the same images in the same order.
"""

import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from jobs.prefetch import prefetched
from jobs.run_files import RunFiles
from jobs.training_batches import Position, TrainingBatch, TrainingBatches
from jobs.training_job import TrainingJob, Worker, prepare
from jobs.training_log import Logs, MetricLines, TensorBoardLog, TrainingLog, forget_after
from model.depth_model import save_depth_model
from model.optimisation import (
    Optimisation,
    build_optimiser,
    load_training_state,
    training_state,
)
from model.training import fit
from pipeline.damage import merged
from pipeline.storage import model_prefix

PREFETCHED_BATCHES = 3
PROGRESS_INTERVAL_S = 2.0


def run_training(job: TrainingJob, worker: Worker | None = None) -> None:
    """Train until ``job.steps``, from the newest checkpoint where there is one, and save the model.

    Raises:
        NonFiniteLossError: A loss is not a number; nothing was stepped with it.
        ValueError: The checkpoint belongs to another job, or there is too little to read.
    """
    worker = worker or Worker()
    files = RunFiles(
        job.store, job.run_id, attempt=job.attempt, keep_checkpoints=job.keep_checkpoints
    )
    if worker.rank == 0:
        files.claim()
    network, trainable, step = prepare(job, worker)
    optimisation = build_optimiser(
        trainable, job.recipe, steps=job.steps, fused=worker.device.startswith("cuda")
    )
    log = Logs((MetricLines(files), TensorBoardLog(files)))
    progress = _Progress(job, worker, files, trainable, optimisation, log)
    start_step, positions = progress.restore()
    with _closed(log), progress.batches(positions) as batches:
        fit(
            step,
            batches,
            optimiser=optimisation.optimiser,
            schedule=optimisation.schedule,
            steps=job.steps,
            start_step=start_step,
            clip_norm=job.recipe.clip_norm,
            on_step=progress.on_step,
            on_checkpoint=progress.on_checkpoint,
            checkpoint_steps=job.checkpoint_steps,
        )
    if worker.rank == 0:
        progress.finish(network)


@contextmanager
def _closed(log: TrainingLog) -> Iterator[None]:
    """Whatever ends the training, the log has all until then."""
    try:
        yield
    except BaseException:
        log.close(failed=True)
        raise
    log.close()


@dataclass(slots=True)
class _Progress:
    """What one worker writes while it trains; only rank 0 writes."""

    job: TrainingJob
    worker: Worker
    files: RunFiles
    network: nn.Module
    optimisation: Optimisation
    log: TrainingLog
    _positions: list[dict[str, Any]] = field(default_factory=list)
    _last: dict[str, Any] = field(default_factory=dict)
    _shown: float = 0.0

    def restore(self) -> tuple[int, Mapping[str, Position]]:
        """Go on from the newest checkpoint; steps done and where this rank's input goes on."""
        state = self.files.newest_checkpoint()
        if state is None:
            forget_after(self.files, 0)
            return 0, {}
        step = load_training_state(
            state["training"],
            self.network,
            optimiser=self.optimisation.optimiser,
            schedule=self.optimisation.schedule,
            run=self._identity(),
        )
        if self.worker.rank == 0:
            forget_after(self.files, step)
        self._positions = state["positions"]
        mine = self._positions[self.worker.rank]
        return step, {kind: Position.of(position) for kind, position in mine.items()}

    @contextmanager
    def batches(self, positions: Mapping[str, Position]) -> Iterator[Iterator[TrainingBatch]]:
        """This rank's input from some positions on, read ahead in a thread."""
        supply = TrainingBatches(
            store=self.job.store,
            recipe=self.job.recipe,
            images=self.job.images_per_pass,
            labelled=self.job.labelled,
            pseudo=self.job.pseudo,
            seed=self.job.seed,
            rank=self.worker.rank,
            world_size=self.worker.world_size,
            threads=self.job.threads,
            label_filter=self.job.label_filter,
            max_damaged=self.job.max_damaged,
            device=self.worker.device,
        )
        items = prefetched(supply.batches_from(positions), depth=PREFETCHED_BATCHES)
        with closing(items):
            yield items

    def on_step(self, step: int, metrics: dict[str, float]) -> None:
        """Keep the metrics, and tell whoever watches how far the run is."""
        if self.worker.rank != 0:
            return
        metrics = {"loss": metrics["total"], **metrics}
        self.log.log(step, metrics)
        self._last = {"step": step, **metrics}
        if step == self.job.steps or time.monotonic() - self._shown > PROGRESS_INTERVAL_S:
            self.files.write_json("progress.json", {"step": step, "loss": metrics["total"]})
            self._shown = time.monotonic()

    def on_checkpoint(self, step: int, batch: TrainingBatch) -> None:
        """Put everything needed to go on from here."""
        mine = {kind: position.state() for kind, position in batch.positions.items()}
        self._positions = self._gather(mine)
        if self.worker.rank != 0:
            return
        state = training_state(
            self.network,
            optimiser=self.optimisation.optimiser,
            schedule=self.optimisation.schedule,
            step=step,
            run=self._identity(),
        )
        self.log.flush()
        self.files.write_checkpoint(step, {"training": state, "positions": self._positions})
        self.files.write_json("input.json", self._input())

    def finish(self, network: nn.Module) -> None:
        """Save the model in Hugging Face format, then say that the run is complete."""
        self.files.check_mine()
        with tempfile.TemporaryDirectory(prefix="factory-model-") as folder:
            save_depth_model(network, Path(folder), side=self.job.recipe.size)
            self.job.store.put_folder(Path(folder), model_prefix(self.job.name))
        last = self._last or self.files.last_metrics()  # all steps may have been done before
        read = self._input()
        counts = {"skipped": read["skipped"], "damaged": read["damaged"]}
        self.files.write_json("result.json", {**last, **counts})

    def _input(self) -> dict[str, Any]:
        """What became of the rows that all workers read; names some of the damaged."""
        return merged(p["tally"] for mine in self._positions for p in mine.values())

    def _identity(self) -> dict[str, int | float | str]:
        """What must be the same for a checkpoint to be this run's."""
        return {
            "run_id": self.job.run_id,
            "seed": self.job.seed,
            "steps": self.job.steps,
            "workers": self.worker.world_size,
            "encoder": self.job.encoder.value,
            "precision": self.job.precision,
            **asdict(self.job.recipe),
            **self.job.label_filter.asked,
        }

    def _gather(self, mine: dict[str, Any]) -> list[dict[str, Any]]:
        """What each rank has, in rank order."""
        if self.worker.world_size == 1:
            return [mine]
        everyone: list[dict[str, Any]] = [{} for _ in range(self.worker.world_size)]
        torch.distributed.all_gather_object(everyone, mine)
        return everyone
