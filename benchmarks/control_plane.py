"""What the control plane costs: a label set of 62,000 shards planned, resumed, leased, committed.

    .venv/bin/python benchmarks/control_plane.py [--quick] [--catalog postgresql+psycopg://…]

Catalog, driver, pool and Ray actors are the real ones; only the engine is a fake, which sleeps
``--shard-s`` seconds per shard and returns a manifest. No pixels, so what is left is the part that
one process does for all GPUs. The catalog must be empty; without ``--catalog`` it is SQLite in a
temporary folder.

Read the scaling table so: *ideal* is two shards at a time on each actor, one every ``--shard-s``
seconds. A shard of 1,000 images takes a fast GPU some seconds, so 32 actors that sleep 0.25 s ask
of the driver what hundreds of GPUs would; the last line is of actors that do nothing at all.
*Driver CPU* is that of the driver's process, all threads, per 1,000 shards; the actors, which share
the machine here, are not in it.

The table of drivers has neither actors nor Ray: processes that lease, commit and renew as fast as
the catalog answers. *Headroom* is that, of one driver, over the busiest second of 64 simulated GPUs
(`jobs.simulation`).
"""

import argparse
import copyreg
import resource
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from control_plane_shards import (
    IMAGES_PER_SHARD,
    LABEL_SET,
    LEASE_S,
    SOURCE,
    Borne,
    bear,
    digest,
    image_shard,
    manifest,
)

from jobs.actor_pool import ActorPool
from jobs.console import Reporter
from jobs.label import SHARDS_PER_ACTOR
from jobs.label_driver import LabelDriver
from jobs.label_engine import LabelTask
from jobs.ray_runtime import ray_cluster
from jobs.simulation import SimulatedCluster, simulate
from pipeline.catalog import Catalog
from pipeline.records import LabelManifest, ShardRef

MEGABYTE = 1e6
GPUS = 64
GPU_RATES = (200.0, 800.0)  # images/s of one, assumed


@dataclass(frozen=True, slots=True)
class Point:
    """One line of the scaling table."""

    actors: int
    shards: int
    wall_s: float
    cpu_s: float
    shard_s: float

    @property
    def shards_per_s(self) -> float:
        return self.shards / self.wall_s


class SleepingEngine:
    """Stands in for `jobs.label_engine.LabelEngine` inside an actor."""

    def __init__(self, shard_s: float) -> None:
        self._shard_s = shard_s

    def ready(self) -> str:
        return "cpu"

    def label(self, task: Any) -> LabelManifest:
        time.sleep(self._shard_s)
        return manifest(task.shard, task.attempt)


@dataclass(frozen=True, slots=True)
class LightTask:
    """A `LabelTask` as it arrives here: the real one's module would load torch in each actor."""

    shard: ShardRef
    attempt: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shards", default=62_000, type=int, help="image shards in the source")
    parser.add_argument("--catalog", help="an empty database (default: SQLite, temporary)")
    parser.add_argument("--actors", nargs="*", default=[1, 2, 4, 8, 16, 32], type=int)
    parser.add_argument("--shard-s", default=0.25, type=float, help="seconds an actor sleeps")
    parser.add_argument("--seconds", default=5.0, type=float, help="how long a point should last")
    parser.add_argument("--drivers", nargs="*", default=[1, 2, 4], type=int, help="without actors")
    parser.add_argument("--quick", action="store_true", help="4,000 shards, 1 to 4 actors, 2 s")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.shards, arguments.actors, arguments.seconds = 4000, [1, 2, 4], 2.0
    copyreg.pickle(LabelTask, lambda task: (LightTask, (task.shard, task.attempt)))
    with tempfile.TemporaryDirectory() as folder:
        url = arguments.catalog or f"sqlite:///{Path(folder) / 'catalog.sqlite'}"
        with Catalog.open(url) as catalog:
            before = peak_memory()
            steps = planning(catalog, arguments.shards)
            points = scaling(catalog, arguments)
            borne = [bear(url, drivers=n, seconds=arguments.seconds) for n in arguments.drivers]
            steps |= resuming(catalog, arguments.shards)
            grown = (peak_memory() - before) / MEGABYTE
    print_steps(url.partition(":")[0], arguments.shards, steps, grown)
    print_points(points, arguments.shard_s)
    print_borne(borne)


def planning(catalog: Catalog, shards: int) -> dict[str, float]:
    """Seconds to register the shards, each in a transaction as `ingest` does, and to plan them."""
    if catalog.sources():
        sys.exit("the catalog is not empty: name a database of its own")
    catalog.register_source(SOURCE, role="unlabelled", uri="/nowhere", layout="images")
    register_s = timed(lambda: register(catalog, shards))
    catalog.open_label_set(
        LABEL_SET,
        teacher="teacher",
        teacher_sha256=digest("teacher"),
        recipe={"side": 518},
        recipe_hash=digest("recipe"),
        code_version="benchmark",
    )
    return {
        f"register {shards:,} shards, one transaction each": register_s,
        "plan": timed(lambda: plan(catalog)),
        "plan again, nothing new": timed(lambda: plan(catalog)),
    }


def register(catalog: Catalog, shards: int) -> None:
    lease = catalog.begin_ingest(
        SOURCE, owner="benchmark:0:0", ttl_s=3600, uri="/nowhere", config={}, code_version="0"
    )
    for number in range(shards):
        catalog.commit_image_shard(lease, image_shard(number), dropped={})
    catalog.finish_ingest(lease, {})


def plan(catalog: Catalog) -> None:
    """What `factory label` asks of the catalog before it starts actors."""
    catalog.plan_work(LABEL_SET, [SOURCE])
    catalog.progress(LABEL_SET, sources=[SOURCE])


def resuming(catalog: Catalog, shards: int) -> dict[str, float]:
    """Commit up to half of the shards without Ray, then take the set up again."""
    left = shards // 2 - catalog.progress(LABEL_SET).done
    started = time.monotonic()
    committed = commit_directly(catalog, max(left, 0))
    elapsed = time.monotonic() - started
    return {
        "resume, half of it done": timed(lambda: plan(catalog)),
        "lease and commit a shard, no Ray (ms)": 1000 * elapsed / max(committed, 1),
    }


def commit_directly(catalog: Catalog, shards: int) -> int:
    done = 0
    while done < shards:
        leases = catalog.lease(
            LABEL_SET, owner="benchmark:0:0", limit=min(2, shards - done), ttl_s=LEASE_S
        )
        for lease in leases:
            catalog.commit_label_shard(lease, manifest(lease.shard, f"{lease.epoch:04d}-direct"))
        done += len(leases)
    return done


def scaling(catalog: Catalog, arguments: argparse.Namespace) -> list[Point]:
    """Commit through driver, pool and sleeping actors, with more and more of them."""
    if not arguments.actors:
        return []
    seconds, shard_s = arguments.seconds, arguments.shard_s
    with ray_cluster(None, num_cpus=2):
        points = [
            run_point(catalog, actors, shard_s, round(ideal(actors, shard_s) * seconds))
            for actors in arguments.actors
        ]
        most = round(max(point.shards_per_s for point in points) * seconds)
        return [*points, run_point(catalog, max(arguments.actors), 0.0, most)]


def run_point(catalog: Catalog, actors: int, shard_s: float, wanted: int) -> Point:
    pool: ActorPool[LabelTask] = ActorPool(
        lambda: start_actor(shard_s), size=actors, concurrency=SHARDS_PER_ACTOR
    )
    driver = LabelDriver(
        catalog=catalog,
        label_set=LABEL_SET,
        sources=[SOURCE],
        pool=pool,
        lease_s=LEASE_S,
        reporter=Reporter.silent(),
        limit=wanted * IMAGES_PER_SHARD,
    )
    try:
        while pool.ready_actors < actors:  # starting processes is not what is measured
            pool.wait(1.0)
        wall, cpu = time.monotonic(), time.process_time()
        driver.run()
        return Point(
            actors,
            driver.tally.shards,
            time.monotonic() - wall,
            time.process_time() - cpu,
            shard_s,
        )
    finally:
        pool.close()


def start_actor(shard_s: float) -> Any:
    import ray

    actor = ray.remote(SleepingEngine).options(
        num_cpus=0, max_restarts=0, max_task_retries=0, max_concurrency=SHARDS_PER_ACTOR
    )
    return actor.remote(shard_s)


def ideal(actors: int, shard_s: float) -> float:
    """Shards per second if nothing but the sleeping took time."""
    return actors * SHARDS_PER_ACTOR / shard_s


def peak_memory() -> int:
    """The most bytes this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def timed(work: Any) -> float:
    started = time.monotonic()
    work()
    return time.monotonic() - started


def print_steps(dialect: str, shards: int, steps: dict[str, float], grown: float) -> None:
    print(f"\n{dialect}, {shards:,} shards\n\n| | seconds |\n|---|--:|")
    for name, seconds in steps.items():
        print(f"| {name} | {seconds:.2f} |")
    print(f"| memory of the driver's process, growth of the peak (MB) | {grown:.0f} |")


def print_points(points: Iterable[Point], shard_s: float) -> None:
    print(f"\nActors that sleep {shard_s:g} s per shard; the last ones do not\n")
    print(f"| actors | shards | shards/s | ÷ ideal | driver CPU s per 1,000 | {gpus_header()} |")
    print("|--:|--:|--:|--:|--:|--:|--:|")
    for point in points:
        share = f"{point.shards_per_s / ideal(point.actors, shard_s):.2f}" if point.shard_s else "–"
        cpu = 1000 * point.cpu_s / point.shards
        rate = f"{point.shards_per_s:.1f}"
        gpus = gpus_served(point.shards_per_s)
        print(f"| {point.actors} | {point.shards:,} | {rate} | {share} | {cpu:.2f} | {gpus} |")


def gpus_header() -> str:
    return " | ".join(f"GPUs at {rate:g} images/s" for rate in GPU_RATES)


def gpus_served(shards_per_s: float) -> str:
    """How many GPUs of each kind label so many shards."""
    return " | ".join(f"{shards_per_s * IMAGES_PER_SHARD / rate:,.0f}" for rate in GPU_RATES)


def print_borne(borne: list[Borne]) -> None:
    print("\nDrivers without actors, each a process; milliseconds per transaction\n")
    kinds = ("lease", "commit", "renew")
    latencies = " | ".join(f"{what} p50 | p99" for what in kinds)
    print(f"| drivers | shards/s | transactions/s | {latencies} |")
    print("|--:" * (3 + 2 * len(kinds)) + "|")
    for found in borne:
        times = " | ".join(f"{found.milliseconds(w, q):.1f}" for w in kinds for q in (0.5, 0.99))
        rates = f"{found.shards_per_s:.0f} | {found.transactions_per_s:.0f}"
        print(f"| {found.drivers} | {rates} | {times} |")
    if borne:
        print_headroom(borne[0])


def print_headroom(found: Borne) -> None:
    """What one driver got through, over the busiest second of many simulated GPUs."""
    for rate in GPU_RATES:
        cluster = SimulatedCluster(
            shards=62_300, gpus=GPUS, images_per_s=rate, shard_spread=0.2, actor_start_spread=0.3
        )
        load = simulate(cluster).catalog
        print(
            f"\n{GPUS} GPUs at {rate:g} images/s ask {load.per_s:.0f} transactions/s, "
            f"{load.peak_per_s:.0f} in the busiest second: headroom "
            f"{found.transactions_per_s / load.peak_per_s:.1f}"
        )


if __name__ == "__main__":
    main()
