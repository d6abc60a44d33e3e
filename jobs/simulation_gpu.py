"""One GPU in virtual time: what it computes, for whom, and how long it has nothing to do.

Shards queue before it, the older one first, while reading and writing overlap with the other one
(`jobs.label_engine`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from jobs.simulation_chance import Chance, Troubles
from jobs.simulation_cluster import Outages, SimulatedCluster
from jobs.simulation_ledger import Ledger

STARTS, DEATHS, SPELLS = 20, 21, 22  # purposes of chance
NEVER = float("inf")

Task = TypeVar("Task")


@dataclass(eq=False, slots=True)
class Job(Generic[Task]):
    """A task on an actor, and when the GPU computes it; never where the actor is dead already.

    Attributes:
        alone: It is a suspect.
        asked_s: When it was handed out.
        answer_s: When the driver hears of it.
        store_fails: The store, not the GPU, ends it.
    """

    task: Task
    alone: bool
    asked_s: float
    from_s: float = NEVER
    until_s: float = NEVER
    answer_s: float = NEVER
    store_fails: bool = False

    @property
    def spent_s(self) -> float:
        """That the GPU computes for it."""
        return 0.0 if self.from_s == NEVER else self.until_s - self.from_s


class Gpu(Generic[Task]):
    """A GPU that may have an actor; times are those since the start of the run."""

    def __init__(
        self,
        cluster: SimulatedCluster,
        number: int,
        *,
        slowness: float,
        store: Troubles,
        ledger: Ledger,
    ) -> None:
        self._cluster = cluster
        self._slowness = slowness
        self._store = store
        self._ledger = ledger
        self._deaths = Chance(cluster.seed, DEATHS, number)
        self._starts = Chance(cluster.seed, STARTS, number)
        stragglers = cluster.stragglers
        spells = Outages(per_hour=stragglers.spells_per_hour, mean_s=stragglers.spell_s)
        self._spells = Troubles(spells, Chance(cluster.seed, SPELLS, number))
        self._busy_until_s = 0.0
        self._counted_s = 0.0
        self.manned_s: float | None = None

    def start_s(self) -> float:
        """How long the next actor takes to be ready."""
        spread = self._cluster.actor_start_spread * (2 * self._starts.share() - 1)
        return self._cluster.actor_start_s * (1 + spread)

    def life_s(self) -> float:
        """How long the next actor lives if nobody kills it."""
        return self._deaths.gap_s(self._cluster.failures.process_deaths_per_hour)

    def man(self, when_s: float) -> None:
        """An actor is ready."""
        self.manned_s = self._busy_until_s = self._counted_s = when_s

    def plan(self, job: Job[Task], seconds: float) -> None:
        """Work out when a task is computed and answered, if nobody dies meanwhile."""
        cluster = self._cluster
        there_s = self._when_the_store_answers(job.asked_s)
        if there_s is None:
            job.store_fails = True
            job.answer_s = job.asked_s + cluster.store_retry_s
            return
        job.from_s = max(there_s + cluster.first_batch_s, self._busy_until_s)
        job.until_s = job.from_s + seconds * self._pace(job.from_s)
        self._busy_until_s = job.until_s
        written_s = self._when_the_store_answers(job.until_s)
        job.store_fails = written_s is None
        ends_s = job.until_s + cluster.store_retry_s if written_s is None else written_s
        job.answer_s = ends_s + cluster.last_batch_s

    def finish(self, job: Job[Task]) -> None:
        """A task was answered: its time, and the gap before it, are counted."""
        if job.spent_s:
            self._count_idle(job.from_s)
            self._counted_s = job.until_s
            self._ledger.reads.append((job.asked_s, job.until_s))
        if not job.store_fails:
            self._ledger.writes.append(job.answer_s)

    def end(self, when_s: float, running: Sequence[Job[Task]], *, cause: str) -> None:
        """The actor is gone: what it had computed of these was for nothing."""
        if self.manned_s is None:
            return
        for job in running:  # in the order in which they were handed out, which is the GPU's
            if job.from_s < when_s:
                self._count_idle(job.from_s)
                self._counted_s = min(job.until_s, when_s)
                self._ledger.waste(cause, self._counted_s - job.from_s)
                self._ledger.reads.append((job.asked_s, self._counted_s))
        self._count_idle(when_s)
        self._ledger.manned.append((self.manned_s, when_s))
        self.manned_s = None

    def _count_idle(self, until_s: float) -> None:
        if until_s > self._counted_s:
            self._ledger.idle.append((self._counted_s, until_s))

    def _pace(self, when_s: float) -> float:
        if self._spells.until(when_s) is None:
            return self._slowness
        return self._slowness * self._cluster.stragglers.spell_factor

    def _when_the_store_answers(self, when_s: float) -> float | None:
        """None where it stays away for longer than a shard waits."""
        end_s = self._store.until(when_s)
        if end_s is None:
            return when_s
        return end_s if end_s - when_s <= self._cluster.store_retry_s else None
