"""How long `factory status` takes where the catalog knows 62 million images, and what it costs.

    .venv/bin/python benchmarks/status.py [--quick] [--catalog postgresql+psycopg://…]

Three label sets over eight sources, 62,000 shards in each, all of them under way: two thirds are
labelled, many of them within the last minutes, some are leased, charged, or given up; a thousand
drivers of the past beside four at work. Only rows, in an empty catalog; without ``--catalog`` it is
SQLite in a temporary folder. Status is asked as the command does, opening the catalog each time but
without starting Python; its own seconds of computing are there too, for a machine that is not
quiet. Leasing, committing and charging are timed before status is asked and while
another process asks without a pause.
"""

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from catalog_scale import GENERATIONS, UNLABELLED, Line, digest
from sqlalchemy import insert, text, update

from jobs.status import status
from jobs.status_config import StatusConfig
from pipeline.catalog import Catalog, WorkLease
from pipeline.catalog_tables import database_now, drivers, label_shards, work
from pipeline.records import LabelManifest

SETS = tuple(f"{name}-labels" for name in ("teacher", *GENERATIONS[:2]))
GOAL_S = 0.5
PAST_DRIVERS = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--catalog", help="an empty database (default: SQLite, temporary)")
    parser.add_argument("--repeat", default=5, type=int, help="times that each question is asked")
    parser.add_argument("--shards", default=100, type=int, help="that are leased and committed")
    parser.add_argument("--quick", action="store_true", help="a hundredth of the shards")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = arguments.catalog or f"sqlite:///{Path(folder) / 'catalog.sqlite'}"
        with Catalog.open(url) as catalog:
            if catalog.sources():
                raise SystemExit("the catalog is not empty: name a database of its own")
            fill(catalog, 0.01 if arguments.quick else 1.0)
            if not url.startswith("sqlite"):  # as autovacuum does by itself, but now
                with catalog.write() as connection:
                    connection.execute(text("ANALYZE"))
            alone = work_on(catalog, arguments.shards)
        print_times("status", asked(url, arguments.repeat))
        print_times("status of one set", asked(url, arguments.repeat, SETS[0]))
        watched = beside(url, arguments.shards)
    for step, seconds in alone.items():
        print(f"{step:<8} {seconds * 1000:7.2f} ms, watched {watched[step] * 1000:7.2f} ms")


def fill(catalog: Catalog, scale: float) -> None:
    line = Line(catalog, scale)
    for name, millions in UNLABELLED.items():
        line.source(name, "unlabelled", max(2, round(millions * 1000 * scale)))
    for name in SETS:
        line.label(name, name.removesuffix("-labels"))
    with catalog.write() as connection:
        third = work.c.number % 3 == 0
        connection.execute(
            label_shards.delete().where(
                label_shards.c.shard_id.in_(work.select().with_only_columns(work.c.shard_id).where(third))
            )
        )  # fmt: skip
        connection.execute(update(work).where(third).values(state="pending"))
        charged = {"error": "torn", "errored_at": database_now()}
        connection.execute(update(work).where(work.c.number % 300 == 0).values(**charged))
        failed = {"state": "failed", "attempts": 3}
        connection.execute(update(work).where(work.c.number % 3000 == 0).values(**failed))
        lately = label_shards.c.sha256 < "02"  # one in 128 of them, within five minutes
        connection.execute(
            update(label_shards).where(lately).values(committed_at=database_now() - 100.0)
        )
        connection.execute(insert(drivers), [driver(number) for number in range(PAST_DRIVERS)])
    for name in SETS:
        facts = driver(0)["facts"]
        catalog.begin_driver("label", name, owner="far:n:1:1:x", heartbeat_s=10.0, facts=facts)


def driver(number: int) -> dict[str, Any]:
    at = time.time() - 60.0 * number
    facts = {
        "command": "factory label", "actors": {"ready": 8, "starting": 0, "lost": 1},
        "actor_s": 1000.0, "working_s": 120.0, "gpus_per_actor": 1.0, "device": "H200",
    }  # fmt: skip
    return {
        "owner": "far:n:1:1:x", "verb": "label", "target": SETS[number % 3], "state": "done",
        "heartbeat_s": 10.0, "started_at": at - 60, "seen_at": at, "ended_at": at, "facts": facts,
    }  # fmt: skip


def asked(url: str, repeat: int, *names: str) -> list[tuple[float, float]]:
    """Wall seconds, and those that this process computed."""
    found = []
    for _ in range(repeat):
        began_s = time.process_time()
        wall_s = timed(lambda: status(StatusConfig(catalog=url, names=names)))
        found.append((wall_s, time.process_time() - began_s))
    return found


def work_on(catalog: Catalog, shards: int) -> dict[str, float]:
    """Median seconds to lease a shard, to commit one, and to charge one."""
    seconds: dict[str, list[float]] = {"lease": [], "commit": [], "charge": []}
    for number in range(shards):
        leased: list[WorkLease] = []
        seconds["lease"].append(timed(lambda leased=leased: leased.extend(
            catalog.lease(SETS[0], owner="bench:1", limit=1, ttl_s=60.0)
        )))  # fmt: skip
        (lease,) = leased
        if number % 10:
            done = manifest(lease)
            seconds["commit"].append(
                timed(lambda lease=lease, done=done: catalog.commit_label_shard(lease, done))
            )
        else:
            seconds["charge"].append(
                timed(lambda lease=lease: catalog.charge(lease, "torn", max_attempts=3))
            )
    return {step: median(every) for step, every in seconds.items()}


def beside(url: str, shards: int) -> dict[str, float]:
    """The same while another process asks for the status again and again."""
    watcher = multiprocessing.get_context("spawn").Process(target=watch, args=(url,))
    watcher.start()
    try:
        time.sleep(2.0)
        with Catalog.open(url) as catalog:
            return work_on(catalog, shards)
    finally:
        watcher.kill()
        watcher.join()


def watch(url: str) -> None:
    while True:
        status(StatusConfig(catalog=url))


def manifest(lease: WorkLease) -> LabelManifest:
    key = f"labels/{lease.label_set}/{lease.shard.shard_id}/{lease.epoch}.parquet"
    return LabelManifest(
        label_set=lease.label_set, shard_id=lease.shard.shard_id, key=key, sha256=digest(key),
        bytes=10**8, rows=lease.shard.rows, labelled=lease.shard.rows, quarantined={},
        forward_s=5.0, wall_s=6.0,
    )  # fmt: skip


def timed(do: Callable[[], object]) -> float:
    began_s = time.perf_counter()
    do()
    return time.perf_counter() - began_s


def print_times(what: str, times: list[tuple[float, float]]) -> None:
    wall_s, own_s = (median(every) for every in zip(*times, strict=True))
    slow = "  above the goal" if wall_s > GOAL_S else ""
    print(f"{what:<18} {wall_s:.3f} s, {own_s:.3f} s of computing (of {len(times)}){slow}")


if __name__ == "__main__":
    main()
