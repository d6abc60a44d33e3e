"""Who scores: the engine in this process, or actors on Ray; started when there is work."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, Protocol

from jobs.actor_pool import ActorPool
from jobs.driver_facts import pool_facts
from jobs.evaluate_actors import (
    Work,
    evaluation_actors,
    local_device,
    start_evaluation_actor,
    wants_ray,
)
from jobs.evaluate_config import EvaluateConfig
from jobs.evaluate_driver import AT_ONCE, EvaluationDriver
from jobs.evaluate_engine import EvaluationEngine, EvaluationJob, EvaluationTask
from jobs.evaluate_pictures import PictureTask, make_pictures
from jobs.evaluate_plan import local_threads
from jobs.evaluation_result import ScoredPicture
from jobs.label_actors import ActorPlan, waiting_for_room
from jobs.label_faults import may_be_actor
from jobs.names import title
from jobs.ray_runtime import Resources, cluster_resources, free_resources, ray_cluster
from model.devices import pick_device, pick_precision


class Workers(Protocol):
    """Those who score."""

    def score(self, driver: EvaluationDriver, tasks: Sequence[EvaluationTask]) -> None:
        """Have the driver's tasks done."""
        ...

    def pictures(
        self, driver: EvaluationDriver, tasks: Sequence[PictureTask]
    ) -> list[ScoredPicture]:
        """Have pictures made."""
        ...

    def facts(self) -> dict[str, Any]:
        """Who they are, for those who follow from elsewhere."""
        ...


@dataclass(frozen=True, slots=True)
class Place:
    """Where scores are computed, decided before anything is started.

    Attributes:
        actors: None for this process.
        device: ``cpu`` or ``cuda``.
        precision: ``fp32`` or ``bf16``.
        cpus: For the private Ray, where there will be one.
    """

    actors: ActorPlan | None
    device: str
    precision: str
    cpus: int


def choose_place(config: EvaluateConfig, resources: Resources) -> Place:
    """This process for small work on one machine, else actors.

    Raises:
        ConfigError: Actors that this machine could never start.
    """
    if not wants_ray(config, resources):
        device = pick_device(local_device(config))
        precision = pick_precision(config.precision, device)
        return Place(None, device.type, precision, resources.cpus)
    plan = evaluation_actors(config, resources)
    auto = "bf16" if plan.gpus else "fp32"
    precision = auto if config.precision == "auto" else config.precision
    return Place(plan, plan.device, precision, resources.cpus)


def find_workers(
    config: EvaluateConfig, job: EvaluationJob, place: Place, stack: ExitStack
) -> Workers:
    """Those who score at that place; the stack ends what they start."""
    if place.actors is None:
        return _Here(replace(job, threads=local_threads()), place.device)
    plan = place.actors
    job = replace(job, threads=plan.threads, memory_share=plan.memory_share)
    return _OnRay(config, job, plan, place.cpus, stack)


class _Here:
    """An engine of this process."""

    def __init__(self, job: EvaluationJob, device: str) -> None:
        self._job = job
        self._device = device
        self._made: EvaluationEngine | None = None

    def score(self, driver: EvaluationDriver, tasks: Sequence[EvaluationTask]) -> None:
        if tasks:
            driver.run_inline(self._engine(), tasks)

    def pictures(
        self, driver: EvaluationDriver, tasks: Sequence[PictureTask]
    ) -> list[ScoredPicture]:
        done = (make_pictures(self._engine(), self._job.store, task) for task in tasks)
        return [each for some in done for each in driver.pictures_of(some)]

    def facts(self) -> dict[str, Any]:
        return {}

    def _engine(self) -> EvaluationEngine:
        self._made = self._made or EvaluationEngine(self._job, device=self._device)
        return self._made


class _OnRay:
    """A pool of actors; a private Ray is started with it."""

    def __init__(
        self,
        config: EvaluateConfig,
        job: EvaluationJob,
        plan: ActorPlan,
        cpus: int,
        stack: ExitStack,
    ) -> None:
        self._config, self._job, self._plan, self._cpus = config, job, plan, cpus
        self._stack = stack
        self._made: ActorPool[Work] | None = None

    def score(self, driver: EvaluationDriver, tasks: Sequence[EvaluationTask]) -> None:
        if tasks:
            pool = self._pool(at_most=len(tasks))
            driver.run_on(pool, tasks, why_no_actor=self._why_no_actor)

    def pictures(
        self, driver: EvaluationDriver, tasks: Sequence[PictureTask]
    ) -> list[ScoredPicture]:
        return driver.pictures_on(self._pool(at_most=len(tasks)), tasks) if tasks else []

    def facts(self) -> dict[str, Any]:
        return {} if self._made is None else pool_facts(self._made)

    def _pool(self, *, at_most: int) -> ActorPool[Work]:
        """The pool, started for the first of these; a model is loaded in each of its actors."""
        if self._made is None:
            if self._config.ray is None:
                name = title("evaluate", self._config.models)
                self._stack.enter_context(ray_cluster(None, num_cpus=self._cpus, name=name))
            may_grow = self._config.ray is not None and self._config.actors is None
            self._made = ActorPool(
                lambda: start_evaluation_actor(self._job, self._plan),
                size=min(self._plan.count, at_most),
                concurrency=AT_ONCE,
                may_be_actor=may_be_actor,
                wanted=(lambda: min(self._room(), at_most)) if may_grow else None,
            )
            self._stack.callback(self._made.close)
        return self._made

    def _room(self) -> int:
        """Actors for which a cluster has room that may have grown."""
        return evaluation_actors(self._config, cluster_resources()).count

    def _why_no_actor(self) -> str:
        return waiting_for_room(self._plan, has=cluster_resources(), free=free_resources())
