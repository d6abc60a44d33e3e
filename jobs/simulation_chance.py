"""Chance in a simulated run: drawn from a stream of its own for each purpose.

So a change of one rate leaves the other draws as they are, and runs that differ in one thing can be
compared.
"""

import bisect
import math
from collections.abc import Iterator

import numpy as np

from jobs.simulation_cluster import Outages, SimulatedCluster

HOUR_S = 3600.0


class Chance:
    """Draws for one purpose, in an order that does not depend on others."""

    def __init__(self, seed: int, purpose: int, number: int = 0) -> None:
        self._random = np.random.default_rng([seed, purpose, number])

    def gap_s(self, per_hour: float) -> float:
        """Until the next time, seconds; endless where it never happens.

        One draw whatever the rate: a higher one brings the same events earlier.
        """
        gap = float(self._random.standard_exponential())
        return gap * HOUR_S / per_hour if per_hour > 0 else math.inf

    def wait_s(self, mean_s: float) -> float:
        """An exponential wait."""
        return float(self._random.standard_exponential()) * mean_s

    def share(self) -> float:
        """Uniform, 0..1."""
        return float(self._random.random())


class Troubles:
    """Stretches of time in which something is not as it should be; asked in any order."""

    def __init__(self, outages: Outages, chance: Chance) -> None:
        self._certain = list(outages.at_s)
        self._outages = outages
        self._chance = chance
        self._begins: list[float] = []
        self._ends: list[float] = []
        self._known_s = 0.0
        self._is_possible = bool(self._certain) or outages.per_hour > 0

    def until(self, now_s: float) -> float | None:
        """When the trouble ends that is now; None where there is none."""
        if not self._is_possible:
            return None
        for begin, end in self._certain:
            if begin <= now_s < end:
                return end
        self._draw_up_to(now_s)
        place = bisect.bisect_right(self._begins, now_s) - 1
        if place >= 0 and now_s < self._ends[place]:
            return self._ends[place]
        return None

    def spans(self) -> Iterator[tuple[float, float]]:
        """Those drawn, one after another, without end; the certain ones are not among them."""
        place = 0
        while self._outages.per_hour > 0:
            while place >= len(self._begins):
                self._draw()
            yield self._begins[place], self._ends[place]
            place += 1

    def _draw_up_to(self, now_s: float) -> None:
        while self._outages.per_hour > 0 and self._known_s <= now_s:
            self._draw()

    def _draw(self) -> None:
        begin = self._known_s + self._chance.gap_s(self._outages.per_hour)
        self._known_s = begin + self._chance.wait_s(self._outages.mean_s)
        self._begins.append(begin)
        self._ends.append(self._known_s)


def shard_seconds(cluster: SimulatedCluster) -> list[float]:
    """How long a GPU computes for each shard: log-normal about the mean."""
    random = np.random.default_rng([cluster.seed, 0])
    sigma = math.sqrt(math.log1p(cluster.shard_spread**2))
    factors = np.exp(sigma * random.standard_normal(cluster.shards) - sigma**2 / 2)
    return [float(seconds) for seconds in cluster.shard_s * factors]


def poison(cluster: SimulatedCluster) -> frozenset[int]:
    """The shards that kill whoever labels them."""
    random = np.random.default_rng([cluster.seed, 1])
    chosen = random.permutation(cluster.shards)[: cluster.failures.poison_shards]
    return frozenset(int(shard) for shard in chosen)


def slowness(cluster: SimulatedCluster) -> list[float]:
    """How many times as long each GPU takes, for good."""
    slower = round(cluster.stragglers.share * cluster.gpus)
    random = np.random.default_rng([cluster.seed, 2])
    chosen = set(random.permutation(cluster.gpus)[:slower].tolist())
    return [cluster.stragglers.factor if gpu in chosen else 1.0 for gpu in range(cluster.gpus)]
