"""Sees to it that every image shard has its hashes: on this machine, or by processes on Ray.

Nothing needs a lease or a commit: an object that is there is done. Whoever is killed and begins
again makes what is left. A shard that cannot be looked at is named, and left out of what follows.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from jobs.actor_pool import ActorPool, Outcome
from jobs.console import Bar, Reporter
from jobs.duplicates_hashing import (
    SHARDS_AT_ONCE,
    HashEngine,
    HashJob,
    plan_hash_actors,
    start_hash_actor,
    threads_here,
)
from jobs.label_faults import may_be_actor
from jobs.ray_runtime import ray_cluster
from jobs.version import code_version
from pipeline.errors import ShardCorruptError, StoreFullError
from pipeline.image_hashes import carry_hashes, hashed_shards
from pipeline.lookahead import map_ahead
from pipeline.records import ShardRef
from pipeline.storage import Store

MAX_ATTEMPTS = 3
POLL_S = 1.0
COPIERS = 8
SHARD_TIMEOUT_S = 3600.0


@dataclass(frozen=True, slots=True)
class Hashing:
    """What came of it.

    Attributes:
        made: Shards that were looked at now.
        failed: Why, by the key of each shard that has no hashes.
    """

    made: int = 0
    failed: dict[str, str] = field(default_factory=dict)


def make_hashes(
    store: Store,
    shards: Sequence[ShardRef],
    *,
    ray: str | None,
    actors: int | None,
    reporter: Reporter,
    replaced: Mapping[str, str] | None = None,
    tick: Callable[[], None] = lambda: None,
) -> Hashing:
    """Look at those of these shards that nobody has looked at.

    Args:
        store: Where they are.
        shards: Of any sources.
        ray: Address of a cluster; without one, and without ``actors``, no Ray is used.
        actors: Processes on Ray.
        reporter: Hears of the progress.
        replaced: Of a shard that is what is left of another, the id of that one.
        tick: Called now and then, for leases that must be renewed.

    Raises:
        StoreFullError: The store takes no more.
        JobError: Processes cannot start.
    """
    sources = dict.fromkeys(shard.source for shard in shards)
    done = {shard_id for source in sources for shard_id in hashed_shards(store, source)}
    missing = [shard for shard in shards if shard.shard_id not in done]
    missing = _not_carried(store, missing, {k: v for k, v in (replaced or {}).items() if v in done})
    if not missing:
        return Hashing()
    total = sum(shard.rows for shard in missing)
    with reporter.progress("look at images", total) as bar:
        if ray is None and actors is None:
            failed = _make_here(store, missing, bar, tick)
        else:
            failed = _make_on_ray(store, missing, ray, actors, bar, reporter, tick)
    for key, error in failed.items():
        reporter.warn(f"{key} cannot be looked at, and is left out: {error}")
    return Hashing(len(missing) - len(failed), failed)


def _not_carried(
    store: Store, shards: Sequence[ShardRef], replaced: Mapping[str, str]
) -> list[ShardRef]:
    """Shards that must be looked at: the hashes of others are copied from what they replaced."""

    def carry(shard: ShardRef) -> bool:
        before = replaced.get(shard.shard_id)
        return before is not None and carry_hashes(
            store, before, shard, code_version=code_version()
        )

    carried = map_ahead(carry, shards, threads=COPIERS, ahead=4 * COPIERS)
    return [shard for shard, is_done in zip(shards, carried, strict=True) if not is_done]


def _make_here(
    store: Store, shards: Sequence[ShardRef], bar: Bar, tick: Callable[[], None]
) -> dict[str, str]:
    failed: dict[str, str] = {}
    with HashEngine(HashJob(store, code_version(), threads_here())) as engine:

        def make(shard: ShardRef) -> str | None:
            try:
                engine.label(shard)
            except (ShardCorruptError, FileNotFoundError) as error:
                return str(error)
            return None

        made = map_ahead(make, shards, threads=SHARDS_AT_ONCE, ahead=SHARDS_AT_ONCE)
        for shard, error in zip(shards, made, strict=True):
            if error is not None:
                failed[shard.key] = error
            bar.advance(shard.rows)
            tick()
    return failed


def _make_on_ray(
    store: Store,
    shards: Sequence[ShardRef],
    ray: str | None,
    actors: int | None,
    bar: Bar,
    reporter: Reporter,
    tick: Callable[[], None],
) -> dict[str, str]:
    with ray_cluster(ray, name="look for duplicates") as resources, ExitStack() as stack:
        plan = plan_hash_actors(actors, resources, shards=len(shards))
        reporter.note(f"looking at {len(shards)} shards in {plan.count} processes")
        pool: ActorPool[ShardRef] = ActorPool(
            lambda: start_hash_actor(store, code_version(), plan),
            size=plan.count,
            concurrency=SHARDS_AT_ONCE,
            task_timeout_s=SHARD_TIMEOUT_S,
            may_be_actor=may_be_actor,
        )
        stack.callback(pool.close)
        for shard in shards:
            pool.submit(shard)
        failed: dict[str, str] = {}
        attempts: Counter[ShardRef] = Counter()
        for outcome in _outcomes(pool, tick):
            task = outcome.task
            if outcome.error is None:
                bar.advance(task.rows)
                continue
            if outcome.kind is not None and issubclass(outcome.kind, StoreFullError):
                raise StoreFullError(outcome.error)
            attempts[task] += 1
            if attempts[task] < MAX_ATTEMPTS:
                pool.submit(task, alone=True)
            else:
                failed[task.key] = outcome.error
    return failed


def _outcomes(pool: ActorPool[ShardRef], tick: Callable[[], None]) -> Iterator[Outcome[ShardRef]]:
    while not pool.is_idle:
        yield from pool.wait(POLL_S)
        tick()
