"""The work of a label set in memory: `pipeline.leases` without a database.

The same states and the same order: fresh shards first, then those charged before, at last those
whose lease has run out; every change is fenced by owner and epoch.
"""

import heapq
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple


class Lease(NamedTuple):
    """A shard that an owner may label."""

    shard: int
    owner: int
    epoch: int
    attempts: int


class SimulatedCatalog:
    """Shards ``0 .. shards - 1``, all of them pending at first."""

    def __init__(self, shards: int) -> None:
        self._pending = [(0, shard) for shard in range(shards)]  # sorted, and so a heap
        self._attempts = [0] * shards
        self._epochs = [0] * shards
        self._leased: dict[int, tuple[int, float]] = {}  # shard: owner, until
        self.commits = [0] * shards
        self.failed: set[int] = set()
        self.done = 0

    @property
    def pending(self) -> int:
        """Shards that nobody holds and that are to be done."""
        return len(self._pending)

    @property
    def leased(self) -> int:
        """Shards that somebody holds, or held until the lease ran out."""
        return len(self._leased)

    def lease(self, owner: int, *, limit: int, now_s: float, ttl_s: float) -> list[Lease]:
        """Lease up to ``limit`` shards."""
        taken: list[int] = []
        while self._pending and len(taken) < limit:
            taken.append(heapq.heappop(self._pending)[1])
        if len(taken) < limit:
            ended = [shard for shard, (_, until_s) in self._leased.items() if until_s <= now_s]
            ended.sort(key=lambda shard: (self._attempts[shard], shard))
            taken += ended[: limit - len(taken)]
        for shard in taken:
            self._epochs[shard] += 1
            self._leased[shard] = owner, now_s + ttl_s
        return [Lease(each, owner, self._epochs[each], self._attempts[each]) for each in taken]

    def renew(self, owner: int, *, now_s: float, ttl_s: float) -> int:
        """Let all leases of an owner live on; returns how many it has."""
        mine = self._held_by(owner)
        for shard in mine:
            self._leased[shard] = owner, now_s + ttl_s
        return len(mine)

    def commit(self, lease: Lease) -> bool:
        """A shard is done; False where somebody else holds it."""
        if not self._is_held(lease):
            return False
        del self._leased[lease.shard]
        self.commits[lease.shard] += 1
        self.done += 1
        return True

    def charge(self, lease: Lease, *, max_attempts: int) -> str | None:
        """Charge an attempt: the state it is in now; None where somebody else holds it."""
        if not self._is_held(lease):
            return None
        self._attempts[lease.shard] += 1
        if self._attempts[lease.shard] < max_attempts:
            self._free([lease.shard])
            return "pending"
        del self._leased[lease.shard]
        self.failed.add(lease.shard)
        return "failed"

    def release(self, lease: Lease) -> bool:
        """Give a shard back untried; False where somebody else holds it."""
        if not self._is_held(lease):
            return False
        self._free([lease.shard])
        return True

    def release_owner(self, owner: int) -> int:
        """Give back all that an owner holds."""
        mine = self._held_by(owner)
        self._free(mine)
        return len(mine)

    def live_owners(self) -> set[int]:
        """Who holds leases."""
        return {owner for owner, _ in self._leased.values()}

    def leases_per_shard(self) -> dict[int, int]:
        """How many shards were leased so many times."""
        return dict(sorted(Counter(self._epochs).items()))

    def check(self) -> None:
        """Every shard is in exactly one state, and was committed once if it is done.

        Raises:
            AssertionError: The protocol, or its simulation, is wrong.
        """
        away = self.failed | {shard for _, shard in self._pending} | set(self._leased)
        assert max(self.commits) <= 1, "a shard was committed twice"
        assert not any(self.commits[shard] for shard in away), "a committed shard is to be done"
        states = self.done + self.pending + self.leased + len(self.failed)
        assert states == len(self.commits) == sum(self.commits) + len(away), "a shard is lost"

    def _held_by(self, owner: int) -> list[int]:
        return [shard for shard, (holder, _) in self._leased.items() if holder == owner]

    def _is_held(self, lease: Lease) -> bool:
        holder = self._leased.get(lease.shard)
        is_mine = holder is not None and holder[0] == lease.owner
        return is_mine and self._epochs[lease.shard] == lease.epoch

    def _free(self, shards: Iterable[int]) -> None:
        for shard in shards:
            del self._leased[shard]
            heapq.heappush(self._pending, (self._attempts[shard], shard))
