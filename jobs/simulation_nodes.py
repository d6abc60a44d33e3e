"""Nodes of a simulated cluster: they come, they are taken away, and others come in their place."""

import heapq
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from jobs.simulation_chance import Chance, Troubles
from jobs.simulation_cluster import Outages, SimulatedCluster
from jobs.simulation_ledger import Ledger

LOSSES, REPLACEMENTS, MARKET = 10, 11, 12  # purposes of chance
Action = Callable[[float], None]


class Events:
    """What is going to happen, in order; each action is told when it happens."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Action]] = []
        self._count = itertools.count()

    @property
    def next_s(self) -> float:
        """When something happens next."""
        return self._heap[0][0] if self._heap else math.inf

    def at(self, when_s: float, action: Action) -> None:
        """Let something happen; nothing does that is endlessly far away."""
        if when_s < math.inf:
            heapq.heappush(self._heap, (when_s, next(self._count), action))

    def run_next(self) -> None:
        """Let the next thing happen."""
        when_s, _, action = heapq.heappop(self._heap)
        action(when_s)


class Tenants(Protocol):
    """Who lives on the nodes and hears of them."""

    def node_came(self, node: int, when_s: float) -> None:
        """A node can be used."""

    def node_leaves(self, node: int, when_s: float) -> None:
        """A node is going to be taken away soon."""

    def node_went(self, node: int, when_s: float) -> None:
        """A node is gone."""


@dataclass(eq=False, slots=True)
class _Node:
    number: int
    gpus: int
    losses: Chance
    replacements: Chance
    since_s: float | None = None
    life: int = 0


class Nodes:
    """All nodes of a cluster; those of the first moment are there at once."""

    def __init__(
        self, cluster: SimulatedCluster, events: Events, ledger: Ledger, tenants: Tenants
    ) -> None:
        self._spot = cluster.spot
        self._events = events
        self._ledger = ledger
        self._tenants = tenants
        drought = Outages(per_hour=self._spot.droughts_per_hour, mean_s=self._spot.drought_s)
        self._market = Troubles(drought, Chance(cluster.seed, MARKET))
        self._droughts = self._market.spans()
        self._nodes = [_node(cluster, number) for number in range(cluster.nodes)]
        self._fewest = int(self._spot.drought_share * cluster.nodes)
        self._expect_drought()
        for node in self._nodes:
            self._come(node, 0.0)

    def is_up(self, node: int) -> bool:
        """Whether a node can be used."""
        return self._nodes[node].since_s is not None

    def pay_until(self, now_s: float) -> None:
        """Close the account of all nodes at the end of the run."""
        for node in self._nodes:
            self._pay(node, now_s)

    def _come(self, node: _Node, when_s: float) -> None:
        drought_end_s = self._market.until(when_s)
        if drought_end_s is not None and self._up() >= self._fewest:
            self._expect(node, drought_end_s)
            return
        node.since_s = when_s
        node.life += 1
        lost_s = when_s + node.losses.gap_s(self._spot.losses_per_hour)
        if self._spot.notice_s is not None:
            told_s = max(when_s, lost_s - self._spot.notice_s)
            self._events.at(told_s, self._while_it_lives(node, self._leave))
        self._events.at(lost_s, self._while_it_lives(node, self._go))
        self._tenants.node_came(node.number, when_s)

    def _expect(self, node: _Node, since_s: float) -> None:
        """Another node comes in its place, some time after this."""
        wait_s = node.replacements.wait_s(self._spot.replacement_s)
        self._events.at(since_s + wait_s, lambda when_s: self._come(node, when_s))

    def _while_it_lives(self, node: _Node, then: Callable[[_Node, float], None]) -> Action:
        life = node.life

        def act(when_s: float) -> None:
            if node.life == life and node.since_s is not None:
                then(node, when_s)

        return act

    def _leave(self, node: _Node, when_s: float) -> None:
        self._tenants.node_leaves(node.number, when_s)

    def _go(self, node: _Node, when_s: float) -> None:
        self._pay(node, when_s)
        self._tenants.node_went(node.number, when_s)
        self._expect(node, when_s)

    def _pay(self, node: _Node, when_s: float) -> None:
        if node.since_s is not None:
            self._ledger.paid += [(node.since_s, when_s)] * node.gpus
            node.since_s = None

    def _expect_drought(self) -> None:
        begin_s, _ = next(self._droughts, (math.inf, math.inf))
        self._events.at(begin_s, self._drought)

    def _drought(self, when_s: float) -> None:
        """The market takes back what it does not want to give any more."""
        there = [node for node in self._nodes if node.since_s is not None]
        for node in there[self._fewest :]:
            self._go(node, when_s)
        self._expect_drought()

    def _up(self) -> int:
        return sum(node.since_s is not None for node in self._nodes)


def _node(cluster: SimulatedCluster, number: int) -> _Node:
    gpus = min(cluster.gpus_per_node, cluster.gpus - number * cluster.gpus_per_node)
    losses = Chance(cluster.seed, LOSSES, number)
    return _Node(number, gpus, losses, Chance(cluster.seed, REPLACEMENTS, number))
