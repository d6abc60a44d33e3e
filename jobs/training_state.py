"""What changes while a model trains, as one thing that goes into a checkpoint and comes back."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from jobs.training_job import TrainingJob, Worker
from model.averaging import WeightAverage
from model.metric_recipe import MetricRecipe
from model.monitors import ScaleMonitor
from model.optimisation import (
    Optimisation,
    build_optimiser,
    load_training_state,
    training_state,
)


@dataclass(frozen=True, slots=True)
class TrainingState:
    """Weights, optimiser, average and monitor of one worker.

    Attributes:
        average: None where nobody asked for one.
        monitor: None for a metric model: its loss sees the scale of predictions, its last layer
            bounds it, and its first maps are constant.
    """

    job: TrainingJob
    worker: Worker
    network: nn.Module
    optimisation: Optimisation
    average: WeightAverage | None
    monitor: ScaleMonitor | None

    @classmethod
    def of(cls, job: TrainingJob, worker: Worker, network: nn.Module) -> "TrainingState":
        """That of a run that begins."""
        fused = worker.device.startswith("cuda")
        return cls(
            job,
            worker,
            network,
            build_optimiser(network, job.recipe, steps=job.steps, fused=fused),
            None if job.ema is None else WeightAverage(network, decay=job.ema),
            None if isinstance(job.recipe, MetricRecipe) else ScaleMonitor(),
        )

    def load(self, state: dict[str, Any]) -> int:
        """Go on from a checkpoint; returns the steps done.

        Raises:
            ValueError: It is another run's.
        """
        return load_training_state(
            state,
            self.network,
            optimiser=self.optimisation.optimiser,
            schedule=self.optimisation.schedule,
            run=self._identity(),
            average=self.average,
            monitor=self.monitor,
        )

    def at(self, step: int) -> dict[str, Any]:
        """For a checkpoint; the tensors are the live ones."""
        return training_state(
            self.network,
            optimiser=self.optimisation.optimiser,
            schedule=self.optimisation.schedule,
            step=step,
            run=self._identity(),
            average=self.average,
            monitor=self.monitor,
        )

    def as_saved(self) -> AbstractContextManager[None]:
        """Within, the network has the weights that are saved as the model."""
        return nullcontext() if self.average is None else self.average.applied()

    def _identity(self) -> dict[str, int | float | str]:
        """What must be the same for a checkpoint to be this run's."""
        job = self.job
        return {
            **asdict(job.recipe),  # first: its steps, 0 where passes count, are not the run's
            "run_id": job.run_id,
            "seed": job.seed,
            "steps": job.steps,
            "workers": self.worker.world_size,
            "images_per_pass": job.images_per_pass,
            "accumulate": job.accumulate,
            "encoder": job.encoder.value,
            "precision": job.precision,
            **job.label_filter.asked,
        }
