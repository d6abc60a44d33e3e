"""Metrics of a training run, from the worker that writes its log: one more place that follows it.

Numbers of the steps are told every few seconds, and with each checkpoint. Where a step takes longer
than Ray remembers a gauge (20 s) there are gaps between them.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from jobs.metrics_drivers import TELL_INTERVAL_S
from jobs.metrics_recording import Recorder, Sink
from jobs.training_job import TrainingJob

TERMS = {  # of the metrics of a step: those that are losses
    "loss": "total",
    "labelled": "labelled",
    "pseudo": "pseudo",
    "feature": "feature",
    "labelled_gradient": "labelled_gradient",
    "pseudo_gradient": "pseudo_gradient",
}
LEARNING_RATE = "learning_rate_"


@dataclass(slots=True)
class RayMetrics:
    """A `jobs.training_log.TrainingLog` that hands on what Ray exports.

    Args:
        workers: Of the run.
        sink: None for Ray, where there is one.
    """

    job: TrainingJob
    workers: int = 1
    sink: Sink | None = None
    clock: Callable[[], float] = time.monotonic
    _record: Recorder = field(init=False)
    _steps: list[Mapping[str, float]] = field(default_factory=list)
    _scores: dict[str, float] = field(default_factory=dict)
    _step: int = 0
    _told_s: float | None = None

    def __post_init__(self) -> None:
        """Nothing is told yet."""
        job = self.job
        tags = {"run": job.run_id, "model": job.name, "verb": "train", "target": job.name}
        self._record = Recorder(self.sink, **tags)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """A step's numbers, or scores at a checkpoint, which have a ``/`` in their names."""
        scores = {name: value for name, value in metrics.items() if "/" in name}
        self._scores |= {name.partition("/")[2]: value for name, value in scores.items()}
        if "loss" not in metrics:
            self._tell_scores()
            return
        self._steps.append(metrics)
        self._step = step
        if self._told_s is None or self.clock() - self._told_s >= TELL_INTERVAL_S:
            self.flush()

    def image(self, step: int, name: str, picture_HWC: NDArray[np.uint8]) -> None:
        """Pictures are no metrics."""

    def flush(self) -> None:
        """Tell of the steps since the last time: their mean, and how many images they took."""
        if not self._steps:
            return
        record, steps = self._record, self._steps
        for name, value in _means(steps).items():
            if name in TERMS:
                record.set("factory_training_loss", value, term=TERMS[name])
        last = steps[-1]
        for name in (name for name in last if name.startswith(LEARNING_RATE)):
            part = name.removeprefix(LEARNING_RATE)
            record.set("factory_training_learning_rate", last[name], part=part)
        record.set("factory_training_data_wait_ratio", _data_wait(steps))
        record.set("factory_training_step", self._step)
        record.set("factory_training_steps", self.job.steps)
        record.set("factory_driver_beat_timestamp_seconds", time.time())
        record.set("factory_actors", self.workers, state="ready")
        self._tell_scores()
        for kind, images in _images_of_step(self.job, self.workers).items():
            record.count("factory_training_images_total", images * len(steps), kind=kind)
        self._steps = []
        self._told_s = self.clock()

    def _tell_scores(self) -> None:
        """Again and again: a gauge that nobody sets is forgotten."""
        for metric, value in self._scores.items():
            self._record.set("factory_training_validation", value, metric=metric)

    def not_finite(self) -> None:
        """A step was refused; Ray sends this on when it ends the worker."""
        self._record.count("factory_training_not_finite_total")

    def close(self, *, failed: bool = False) -> None:
        """The run is over here."""
        self.flush()
        self._record.close()
        if not failed:
            self._record.set("factory_driver_end_timestamp_seconds", time.time())


def _means(steps: list[Mapping[str, float]]) -> dict[str, float]:
    """Over the steps that have them: a term may begin with a later one."""
    names = dict.fromkeys(name for step in steps for name in step)
    return {name: fmean(step[name] for step in steps if name in step) for name in names}


def _data_wait(steps: list[Mapping[str, float]]) -> float:
    """Of the time of all these steps; they are not equally long."""
    waited_s = sum(step.get("data_wait_share", 0.0) * step.get("step_s", 0.0) for step in steps)
    return waited_s / (sum(step.get("step_s", 0.0) for step in steps) or 1.0)


def _images_of_step(job: TrainingJob, workers: int) -> dict[str, int]:
    """Images that all workers take for one step, by kind."""
    passes = job.accumulate * workers
    if not (job.labelled and job.pseudo):
        return {"labelled" if job.labelled else "pseudo": job.images_per_pass * passes}
    split = job.recipe.split(job.images_per_pass)
    return {"labelled": split.labelled * passes, "pseudo": split.pseudo * passes}
