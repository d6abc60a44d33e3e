"""Engines that score on Ray, or the one in this process; and who is to be preferred when."""

from typing import Any

from jobs.config import LabelConfig
from jobs.evaluate_config import EvaluateConfig
from jobs.evaluate_engine import EvaluationEngine, EvaluationJob, EvaluationTask, PartDone
from jobs.evaluate_pictures import Pictures, PictureTask, make_pictures
from jobs.label_actors import ActorPlan, check_fits, plan_actors, start_actor
from jobs.names import place
from jobs.ray_runtime import Resources

Work = EvaluationTask | PictureTask


class EvaluationActor:
    """An engine that `jobs.actor_pool` can talk to."""

    def __init__(self, job: EvaluationJob, *, device: str) -> None:
        self._store = job.store
        self._engine = EvaluationEngine(job, device=device)
        self._place = place(device)

    def __repr__(self) -> str:
        """What Ray shows of an actor."""
        return f"evaluate on {self._place}"

    def ready(self) -> str:
        """Answers once it is there: where; models are loaded when a task names one."""
        return self._place

    def label(self, task: Work) -> PartDone | Pictures:
        """Do what the pool hands out."""
        if isinstance(task, PictureTask):
            return make_pictures(self._engine, self._store, task)
        return self._engine.score(task)


def wants_ray(config: EvaluateConfig, resources: Resources) -> bool:
    """Where a cluster or a number of actors was named, or there are GPUs to share the work.

    Otherwise one process does as much as one actor would, and does not have to be started.
    """
    if config.actors == 0:
        return False
    return config.actors is not None or config.ray is not None or resources.gpus > 1


def evaluation_actors(config: EvaluateConfig, resources: Resources) -> ActorPlan:
    """One actor per GPU, or one per machine where there is none, unless told otherwise.

    Raises:
        ConfigError: This machine could never start them.
    """
    options = LabelConfig(
        sources=(),
        teacher="",
        actors=config.actors,
        gpus_per_actor=config.gpus_per_actor,
        cpus_per_actor=config.cpus_per_actor,
    )
    if config.ray is None:
        check_fits(options, resources)
    return plan_actors(options, resources)


def local_device(config: EvaluateConfig) -> str:
    """Where the engine in this process computes."""
    return "cpu" if config.gpus_per_actor == 0 else "auto"


def start_evaluation_actor(job: EvaluationJob, plan: ActorPlan) -> Any:
    """An actor that never restarts by itself: `jobs.actor_pool` owns every retry."""
    return start_actor(EvaluationActor, job, plan, doing="evaluate")
