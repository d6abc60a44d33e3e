"""What drivers say of themselves in the catalog, beside progress and warnings.

Asked every few seconds from another thread: each function only reads numbers that are there.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from jobs.label_actors import ActorPlan
from jobs.label_tally import LabelTally


class Pool(Protocol):
    """What is asked of `jobs.actor_pool.ActorPool`."""

    @property
    def ready_actors(self) -> int:
        """Actors that have answered."""
        ...

    @property
    def starting_actors(self) -> int:
        """Actors that have not answered yet."""
        ...

    @property
    def lost_actors(self) -> int:
        """Actors that were lost so far."""
        ...


def pool_facts(pool: Pool) -> dict[str, Any]:
    """``actors``: how many are ready, starting, and were lost so far."""
    return {
        "actors": {
            "ready": pool.ready_actors,
            "starting": pool.starting_actors,
            "lost": pool.lost_actors,
        }
    }


def label_facts(
    tally: LabelTally, pool: Pool, plan: ActorPlan, *, device: str
) -> Mapping[str, Any]:
    """What a labelling run has cost so far, and on what.

    ``actor_s`` seconds that actors were there, summed over them; ``working_s`` since the first
    shard was handed out.
    """
    began = tally.first_task
    return {
        **pool_facts(pool),
        "device": device,
        "gpus_per_actor": plan.gpus,
        "actor_s": round(tally.actor_s, 1),
        "working_s": 0.0 if began is None else round(tally.clock() - began, 1),
        "images": tally.images,
    }


def training_facts(
    run_id: str, *, workers: int, use_gpus: bool, kinds: list[str]
) -> dict[str, Any]:
    """Which run it is, and what it computes on; how far it is comes from its workers."""
    gpus = 1.0 if use_gpus else 0.0
    return {
        "run": run_id,
        "workers": workers,
        "device": device_in_words(gpus=gpus, kinds=kinds),
        "gpus_per_actor": gpus,
    }


def device_in_words(*, gpus: float, kinds: list[str]) -> str:
    """``CPU``, ``GPU``, or the kinds of GPU that a cluster has."""
    if not gpus:
        return "CPU"
    return ", ".join(kinds) or "GPU"
