"""Processes that ingest pieces on Ray, and the desk where they ask and hand in.

Pixels never leave the process that reads them: questions are digests, 64 samples at a time, and
what is handed in says which shard lies in the store.
"""

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.ingest_engine import IngestEngine
from jobs.ingest_judge import Answer, Before, Judge, Question
from jobs.ingest_look import IngestJob
from jobs.ingest_piece import PieceDone, PieceTask
from jobs.names import actor_name, place
from jobs.ray_environment import forwarded_environment
from jobs.ray_runtime import Resources
from jobs.shard_writer import Refused, Written
from pipeline.storage import Store

CPUS_PER_ACTOR = 2
AT_THE_DESK = 64  # those who wait for the judge must not keep others from handing in


@dataclass(frozen=True, slots=True)
class HandedIn:
    """A shard of a piece, or drops by themselves, by the process that made the attempt."""

    piece_id: str
    attempt: int
    written: Written | Refused


@dataclass(frozen=True, slots=True)
class Collected:
    """What has come in since the last time, in the order in which it came."""

    looked: int
    shards: tuple[HandedIn, ...]


class Desk:
    """Where processes ask what is new and hand in shards; the driver collects them."""

    def __init__(
        self, store: Store, before: Before, environment: Mapping[str, str] | None = None
    ) -> None:
        os.environ.update(environment or {})
        self._judge = Judge(store, before)
        self._turn = threading.Lock()
        self._looked = 0
        self._shards: list[HandedIn] = []

    def judge(self, questions: Sequence[Question]) -> list[Answer]:
        """Which samples are new."""
        with self._turn:
            self._looked += len(questions)
        return self._judge.judge(questions)

    def hand_in(self, shard: HandedIn) -> None:
        """Have a shard committed."""
        with self._turn:
            self._shards.append(shard)

    def collect(self) -> Collected:
        """Take what was handed in."""
        with self._turn:
            collected = Collected(self._looked, tuple(self._shards))
            self._looked, self._shards = 0, []
        return collected


class IngestActor:
    """An engine whose judge sits at the desk; `jobs.actor_pool` says what to do.

    Both are told the environment of the driver: the Ray that it uses may have begun without it.
    """

    def __init__(
        self, job: IngestJob, desk: Any, environment: Mapping[str, str] | None = None
    ) -> None:
        import ray

        os.environ.update(environment or {})
        self._said = f"ingest {job.source} on {place()}"
        self._desk = desk
        self._get = ray.get
        self._engine = IngestEngine(job, lambda asked: self._get(desk.judge.remote(asked)))

    def __repr__(self) -> str:
        """What Ray shows of an actor."""
        return self._said

    def ready(self) -> bool:
        """Answers once it is there."""
        return True

    def label(self, task: PieceTask) -> PieceDone:
        """Read a piece; everything has been handed in when it returns."""
        done = None
        for step in self._engine.work([task]):
            if (written := step.written or step.refused) is not None:
                shard = HandedIn(task.piece.piece_id, task.attempt, written)
                self._get(self._desk.hand_in.remote(shard))
            done = step.done or done
        assert done is not None
        return done


@dataclass(frozen=True, slots=True)
class IngestActors:
    """How many processes, and with how much of a machine each."""

    count: int
    cpus: int

    def start(self, job: IngestJob, desk: Any, *, engine: type = IngestActor) -> Callable[[], Any]:
        """What starts one that never restarts by itself: `jobs.actor_pool` owns every retry."""
        import ray

        actor = ray.remote(engine)
        options = {
            "num_cpus": self.cpus,
            "max_restarts": 0,
            "max_task_retries": 0,
            "runtime_env": {"env_vars": {"OMP_NUM_THREADS": "1"}},
        }
        doing, told = f"ingest {job.source}", forwarded_environment()
        return lambda: actor.options(name=actor_name(doing), **options).remote(job, desk, told)


def plan_actors(asked: int | None, resources: Resources, *, pieces: int) -> IngestActors:
    """One process for every two CPUs unless told otherwise, and no more than pieces."""
    count = max(1, min(asked or resources.cpus // CPUS_PER_ACTOR, pieces))
    return IngestActors(count, min(CPUS_PER_ACTOR, resources.cpus_each(count)))


def open_desk(store: Store, before: Before, *, source: str) -> Any:
    """The desk as an actor of its own; whoever opens it kills it."""
    import ray

    desk = ray.remote(Desk).options(
        name=actor_name(f"ingest {source}: the desk"),
        num_cpus=0,
        max_restarts=0,
        max_concurrency=AT_THE_DESK,
    )
    return desk.remote(store, before, forwarded_environment())
