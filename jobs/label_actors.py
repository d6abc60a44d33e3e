"""How many actors label, on what, and with how much of it; decided from the machines there are."""

from dataclasses import dataclass
from typing import Any

from jobs.config import LabelConfig
from jobs.errors import ConfigError
from jobs.names import actor_name
from jobs.ray_runtime import Resources

SHARDS_PER_ACTOR = 2  # the second one's reading overlaps the first one's writing


@dataclass(frozen=True, slots=True)
class ActorPlan:
    """Actors that are all alike.

    Attributes:
        gpus: Per actor; 0 means that it computes on its CPUs.
        cpus: Per actor.
        memory_share: Share of its device's memory, or of its machine's, that each may use.
    """

    count: int
    gpus: float
    cpus: int
    memory_share: float

    @property
    def device(self) -> str:
        """What torch calls it."""
        return "cuda" if self.gpus else "cpu"

    @property
    def threads(self) -> int:
        """Decoding and encoding threads of each."""
        return max(2, self.cpus)

    def asks_for(self) -> str:
        """What one of them needs of a machine, in words."""
        gpus = f"{self.gpus:g} GPU{'s' if self.gpus > 1 else ''} and " if self.gpus else ""
        return f"{gpus}{self.cpus} CPU{'s' if self.cpus > 1 else ''}"


def start_actor(engine: type, job: object, plan: ActorPlan, *, doing: str) -> Any:
    """A Ray actor that never restarts by itself: `jobs.actor_pool` owns every retry.

    ``doing`` is the beginning of its name, as Ray shows it while it waits for a place.
    """
    import ray

    actor = ray.remote(engine).options(
        name=actor_name(doing),
        num_cpus=plan.cpus,
        num_gpus=plan.gpus,
        max_restarts=0,
        max_task_retries=0,
        max_concurrency=SHARDS_PER_ACTOR,
        runtime_env={"env_vars": {"OMP_NUM_THREADS": str(plan.cpus)}},
    )
    return actor.remote(job, device=plan.device)


def plan_actors(config: LabelConfig, resources: Resources) -> ActorPlan:
    """One actor per GPU, or one per machine where there is none, unless told otherwise."""
    gpus = _gpus(config, resources)
    count = config.actors or _room_for(resources, gpus=gpus)
    cpus = _cpus(config, resources, count=count, gpus=gpus)
    return ActorPlan(count, gpus, cpus, _memory_share(resources, count=count, cpus=cpus, gpus=gpus))


def label_precision(config: LabelConfig, resources: Resources) -> str:
    """``auto`` is bf16 on a GPU and fp32 elsewhere."""
    if config.precision != "auto":
        return config.precision
    return "bf16" if _gpus(config, resources) else "fp32"


def check_fits(config: LabelConfig, resources: Resources) -> None:
    """Refuse actors that this machine could never start; a cluster may still grow.

    Raises:
        ConfigError: Names what is asked for and what there is.
    """
    wanted = {
        "--gpus-per-actor": (config.gpus_per_actor, resources.gpus, "GPU"),
        "--cpus-per-actor": (config.cpus_per_actor, resources.cpus, "CPU"),
    }
    problems = [
        f"{flag} {each:g}: this machine has {there} {what}{'' if there == 1 else 's'}"
        for flag, (each, there, what) in wanted.items()
        if each is not None and each > there
    ]
    if problems:
        raise ConfigError(problems)


def waiting_for_room(plan: ActorPlan, *, has: Resources, free: dict[str, float]) -> str:
    """Why no actor has answered yet, as far as that can be seen: for a person to judge."""
    said = f"no actor has answered yet: each asks for {plan.asks_for()} on one machine"
    said = f"{said}; the cluster has {has.in_words()}"
    if not has.fits(cpus=plan.cpus, gpus=plan.gpus):
        return f"{said}, none of them large enough: waiting for one to join (Ctrl-C to stop)"
    if free.get("GPU", 0.0) < plan.gpus or free.get("CPU", 0.0) < plan.cpus:
        return f"{said}, but others use them: waiting for them to end (Ctrl-C to stop)"
    return f"{said}: it is being started, or still loads the teacher"


def _gpus(config: LabelConfig, resources: Resources) -> float:
    if config.gpus_per_actor is not None:
        return config.gpus_per_actor
    return 1.0 if resources.gpus else 0.0


def _room_for(resources: Resources, *, gpus: float) -> int:
    if gpus:
        return max(1, int(resources.gpus / gpus))
    return max(1, sum(node.cpus > 0 for node in resources.nodes))


def _cpus(config: LabelConfig, resources: Resources, *, count: int, gpus: float) -> int:
    if config.cpus_per_actor is not None:
        return max(1, int(config.cpus_per_actor))
    return resources.cpus_each(count, gpus=gpus)


def _memory_share(resources: Resources, *, count: int, cpus: int, gpus: float) -> float:
    """Of the GPU where actors share one; of the machine where several may run on it."""
    if gpus:
        return min(gpus, 1.0)
    largest = max((node.cpus for node in resources.nodes), default=1)
    return 1 / max(1, min(count, largest // cpus))
