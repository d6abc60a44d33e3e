"""Shards and manifests without images, and drivers without actors: what the catalog itself bears.

Each driver is a process of its own that does what a label driver asks of the catalog, as fast as it
is answered: lease a shard, commit the oldest of those it holds, renew now and then.
"""

import hashlib
import json
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from pipeline.catalog import Catalog, WorkLease
from pipeline.records import LabelManifest, ShardRef

SOURCE, LABEL_SET = "benchmark-source", "benchmark-labels"
IMAGES_PER_SHARD = 1000
LEASE_S = 60.0
HELD = 128  # leases of a driver with 64 actors
COMMITS_PER_RENEWAL = 100  # far more often than every 20 s


@dataclass(frozen=True, slots=True)
class Borne:
    """What some drivers got through.

    Attributes:
        latencies_s: Of each kind of transaction, all drivers together.
    """

    drivers: int
    shards: int
    wall_s: float
    latencies_s: dict[str, list[float]] = field(default_factory=dict)

    @property
    def shards_per_s(self) -> float:
        return self.shards / self.wall_s

    @property
    def transactions_per_s(self) -> float:
        return sum(map(len, self.latencies_s.values())) / self.wall_s

    def milliseconds(self, what: str, quantile: float) -> float:
        return 1000 * float(np.quantile(self.latencies_s[what], quantile))


def bear(url: str, *, drivers: int, seconds: float) -> Borne:
    """Let so many drivers, each in a process, work on the label set at the same time."""
    running = [
        subprocess.Popen(
            [sys.executable, __file__, url, str(number), str(seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(drivers)
    ]
    for each in running:
        each.stdout.readline()  # it has its leases
    for each in running:
        each.stdin.write("go\n")
        each.stdin.flush()
    results = [json.loads(each.communicate()[0]) for each in running]
    latencies = {
        what: [time_s for each in results for time_s in each["latencies_s"][what]]
        for what in ("lease", "commit", "renew")
    }
    wall_s = max(each["wall_s"] for each in results)
    return Borne(drivers, len(latencies["commit"]), wall_s, latencies)


def main() -> None:
    """One driver, in a process of its own."""
    url, number, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    owner = f"benchmark:{number}"
    with Catalog.open(url) as catalog:
        held = deque(catalog.lease(LABEL_SET, owner=owner, limit=HELD, ttl_s=LEASE_S))
        print("ready", flush=True)
        sys.stdin.readline()
        began_s = time.monotonic()
        latencies = drive(catalog, owner, held, until_s=began_s + seconds)
        wall_s = time.monotonic() - began_s
        catalog.release_owner(LABEL_SET, owner)
    print(json.dumps({"wall_s": wall_s, "latencies_s": latencies}))


def drive(
    catalog: Catalog, owner: str, held: deque[WorkLease], *, until_s: float
) -> dict[str, list[float]]:
    """Commit and lease until the time is over or nothing is left; seconds per transaction."""
    latencies: dict[str, list[float]] = {"lease": [], "commit": [], "renew": []}

    def timed(what: str, ask: Callable[[], Any]) -> Any:
        began_s = time.monotonic()
        answer = ask()
        latencies[what].append(time.monotonic() - began_s)
        return answer

    lease_one = partial(catalog.lease, LABEL_SET, owner=owner, limit=1, ttl_s=LEASE_S)
    renew = partial(catalog.renew, LABEL_SET, owner=owner, ttl_s=LEASE_S)
    while held and time.monotonic() < until_s:
        lease = held.popleft()
        done = manifest(lease.shard, f"{lease.epoch:04d}-{owner[-1]}")
        timed("commit", partial(catalog.commit_label_shard, lease, done))
        held.extend(timed("lease", lease_one))
        if len(latencies["commit"]) % COMMITS_PER_RENEWAL == 1:
            timed("renew", renew)
    return latencies


def image_shard(number: int) -> ShardRef:
    shard_id = f"s{digest(f'shard {number}')[:20]}"
    key = f"sources/{SOURCE}/{shard_id}.parquet"
    return ShardRef(SOURCE, shard_id, key, IMAGES_PER_SHARD, 10**8, digest(key))


def manifest(shard: ShardRef, attempt: str) -> LabelManifest:
    key = f"labels/{LABEL_SET}/{shard.shard_id}/{attempt}.parquet"
    return LabelManifest(
        label_set=LABEL_SET,
        shard_id=shard.shard_id,
        key=key,
        sha256=digest(key),
        bytes=10**7,
        rows=shard.rows,
        labelled=shard.rows - 1,
        quarantined={"decode_failed": 1},
        forward_s=1.0,
        wall_s=1.0,
        stages=dict.fromkeys(("read", "decode", "forward", "encode", "write"), 1.0),
        batch_size=8,
    )


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


if __name__ == "__main__":
    main()
