"""Computes the perceptual hashes of one image shard at a time: one object for each, once.

A plain class without Ray, so that one machine needs none and a Ray actor is the same code. Images
are decoded in child processes (`pipeline.sandbox`): bytes from the internet take down neither the
driver nor an actor. In memory: one row group of a shard for each shard under way.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from jobs.names import actor_name
from jobs.ray_runtime import Resources
from pipeline.errors import ShardCorruptError
from pipeline.image_hashes import FLAT, HashRow, write_hashes
from pipeline.lookahead import map_ahead
from pipeline.perceptual_hash import hash_in_answer
from pipeline.records import ImageRecord, ShardRef
from pipeline.sandbox import DecoderDiedError, Sandbox
from pipeline.shards import load_bytes, read_image_rows
from pipeline.storage import Store

SHARDS_AT_ONCE = 2  # the second one's decoding overlaps the first one's end
AHEAD = 32


@dataclass(frozen=True, slots=True)
class HashJob:
    """What every shard has in common; small and picklable.

    Attributes:
        threads: Images that are decoded at once, each in a process.
    """

    store: Store
    code_version: str
    threads: int


class HashEngine:
    """Looks at shards, from `SHARDS_AT_ONCE` threads; to be closed, or used in ``with``."""

    def __init__(self, job: HashJob) -> None:
        self._job = job
        self._sandbox = Sandbox("pipeline.perceptual_hash:answer_hash", children=job.threads)

    def __enter__(self) -> "HashEngine":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._sandbox.close()

    def ready(self) -> bool:
        """Answers once it is there."""
        return True

    def label(self, shard: ShardRef) -> str:
        """Look at every image of one shard and put one object of hashes; returns its key.

        Raises:
            ShardCorruptError: The shard cannot be read.
            FileNotFoundError: A file is gone to which a row of the shard refers.
        """
        job = self._job
        return write_hashes(job.store, shard, self._rows(shard), code_version=job.code_version)

    def _rows(self, shard: ShardRef) -> Iterator[HashRow]:
        records = read_image_rows(self._job.store, shard.key, truth=False)
        return map_ahead(self._look, records, threads=self._job.threads, ahead=AHEAD)

    def _look(self, record: ImageRecord) -> HashRow:
        found: int | str | None
        try:
            found = hash_in_answer(self._sandbox(load_bytes(record)))
        except DecoderDiedError as death:
            found = death.reason
        except ShardCorruptError:
            found = "wrong_bytes"
        return HashRow(
            sample_id=record.sample_id,
            sha256=record.sha256,
            hash=found if isinstance(found, int) else None,
            reason=FLAT if found is None else found if isinstance(found, str) else None,
            width=record.header.width,
            height=record.header.height,
        )


@dataclass(frozen=True, slots=True)
class HashActors:
    """How many processes look at shards, and with how many CPUs each."""

    count: int
    cpus: int


def plan_hash_actors(asked: int | None, resources: Resources, *, shards: int) -> HashActors:
    """One per machine unless told otherwise, and no more than shards."""
    places = asked or sum(node.cpus > 0 for node in resources.nodes)
    count = max(1, min(places, shards))
    return HashActors(count, resources.cpus_each(count))


def start_hash_actor(store: Store, code_version: str, plan: HashActors) -> Any:
    """An actor that never restarts by itself: `jobs.actor_pool` owns every retry."""
    import ray

    actor = ray.remote(HashEngine).options(
        name=actor_name("look for duplicates"),
        num_cpus=plan.cpus,
        max_restarts=0,
        max_task_retries=0,
        max_concurrency=SHARDS_AT_ONCE,
    )
    return actor.remote(HashJob(store, code_version, threads=plan.cpus))


def threads_here() -> int:
    """Images to decode at once where there is no Ray."""
    return os.cpu_count() or 1
