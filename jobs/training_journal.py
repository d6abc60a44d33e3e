"""What a worker does between the steps: numbers, pictures, scores and checkpoints.

Rank 0 writes; the other ranks take part in what is gathered from all.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import torch

from jobs.run_files import RunFiles
from jobs.training_batches import TrainingBatch
from jobs.training_examples import Example, examples
from jobs.training_job import TrainingJob, Worker
from jobs.training_log import TrainingLog
from jobs.training_pace import Pace
from jobs.training_previews import as_png, preview
from jobs.training_state import TrainingState
from jobs.training_validation import Predict, deciding, score_all, summary
from model.metric_recipe import MetricRecipe
from pipeline.damage import merged

PROGRESS_INTERVAL_S = 2.0
REMOTE_PROGRESS_INTERVAL_S = 10.0  # the next step waits until the store has answered
SHOWN_EXAMPLES = 4


@dataclass(slots=True)
class Journal:
    """The bookkeeping of one worker.

    Attributes:
        predict: What the network says of images, at the moment of asking.
        positions: Of every rank's input at the newest checkpoint.
    """

    job: TrainingJob
    worker: Worker
    files: RunFiles
    state: TrainingState
    predict: Predict
    log: TrainingLog
    positions: list[dict[str, Any]]
    _pace: Pace = field(init=False)
    _last: dict[str, Any] = field(default_factory=dict)
    _losses: list[float] = field(default_factory=list)
    _scored: list[Example] | None = None
    _shown: list[Example] | None = None
    _score: float | None = None
    _told_s: float = 0.0

    def __post_init__(self) -> None:
        """Nothing is measured yet."""
        images = self.job.images_per_pass * self.job.accumulate * self.worker.world_size
        self._pace = Pace(self.job.steps, images)

    def on_step(self, step: int, metrics: Mapping[str, float]) -> None:
        """Keep the numbers, make a picture when it is time, and say how far the run is."""
        if self.worker.rank != 0:
            return
        metrics = {"loss" if name == "total" else name: value for name, value in metrics.items()}
        self.log.log(step, metrics)
        self._last = {"step": step, **metrics}
        self._losses.append(metrics["loss"])
        self._pace.step(step, metrics)
        if step == self.job.steps or step % self.job.preview_steps == 0:
            self._preview(step)
        is_local = self.files.store.is_local
        interval_s = PROGRESS_INTERVAL_S if is_local else REMOTE_PROGRESS_INTERVAL_S
        if time.monotonic() - self._told_s > interval_s:
            self._tell()

    def on_checkpoint(self, step: int, batch: TrainingBatch) -> None:
        """Score the model, and put everything needed to go on from here."""
        mine = {kind: position.state() for kind, position in batch.positions.items()}
        self.positions = self._gathered(mine)
        means = self._validate()
        if self.worker.rank != 0:
            return
        self._score = deciding(means)
        self.files.check_mine()
        self.log.log(step, means)
        self._last |= means
        self.log.flush()  # before the checkpoint: see `jobs.training_log`
        self.files.write_checkpoint(
            step,
            {"training": self.state.at(step), "positions": self.positions},
            score=fmean(self._losses) if self._score is None else self._score,
        )
        self._losses = []
        self.files.write_json("input.json", self._input())
        self._tell()

    def result(self) -> dict[str, Any]:
        """The numbers of the last step, the best checkpoint, and what became of all rows read."""
        last = self._last or self.files.last_metrics()  # all steps may have been done before
        read = self._input()
        best = self.files.checkpoints.best()
        return {
            **last,
            "best": None if best is None else {"step": best.step, "score": best.score},
            "skipped": read["skipped"],
            "damaged": read["damaged"],
            "damaged_first": read["named"][:3],
        }

    def _input(self) -> dict[str, Any]:
        """What became of the rows that all workers read; names some of the damaged."""
        return merged(p["tally"] for mine in self.positions for p in mine.values())

    def _tell(self) -> None:
        progress = self._pace.progress(self._last)
        self.files.write_json("progress.json", {**progress, "validation": self._score})
        self._told_s = time.monotonic()

    def _preview(self, step: int) -> None:
        shown = self._shown = self._shown if self._shown is not None else self._to_show()
        if not shown:
            return
        geometry = "depth_metric" if self._is_metric else "disparity_affine_invariant"
        with self.state.as_saved():
            picture = preview(self.predict, shown, geometry=geometry)
        self.log.image(step, "previews", picture)
        self.files.store.put(self.files.key(f"previews/{step:09d}.png"), as_png(picture))

    def _to_show(self) -> list[Example]:
        """A few of what is scored, or else of what is trained on, of each kind."""
        kinds = [self.job.validation] if self.job.validation else []
        kinds = kinds or [shards for shards in (self.job.labelled, self.job.pseudo) if shards]
        size, each = self.job.recipe.size, SHOWN_EXAMPLES // len(kinds)
        return [e for shards in kinds for e in examples(self.job.store, shards, each, size=size)]

    def _validate(self) -> dict[str, float]:
        """Means over the images of all ranks; empty without any to score."""
        if not self.job.validation:
            return {}
        if self._scored is None:
            chosen = examples(
                self.job.store,
                self.job.validation,
                self.job.validation_images,
                size=self.job.recipe.size,
            )
            self._scored = chosen[self.worker.rank :: self.worker.world_size]
        with self.state.as_saved():
            mine = score_all(
                self.predict,
                self._scored,
                minimum_valid=self.job.recipe.minimum_valid_pixels,
                metric=self._is_metric,
            )
        return summary([score for scores in self._gathered(mine) for score in scores])

    @property
    def _is_metric(self) -> bool:
        return isinstance(self.job.recipe, MetricRecipe)

    def _gathered(self, mine: Any) -> list[Any]:
        """What each rank has, in rank order."""
        if self.worker.world_size == 1:
            return [mine]
        everyone: list[Any] = [None] * self.worker.world_size
        torch.distributed.all_gather_object(everyone, mine)
        return everyone
