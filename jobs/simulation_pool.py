"""The pool of actors in virtual time: `jobs.actor_pool` with simulated machines in place of Ray.

It follows the same rules: two tasks under way on each actor, suspects alone, a task only to an
actor that has answered, an actor that is lost takes its tasks with it, and one that dies three
times in a row while it starts ends the run; a machine that has been told to go gets no more. An
actor that dies is not missed at once; what it is given meanwhile is lost with it.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar

from jobs.actor_pool import MAX_START_FAILURES, SURELY_LIVES_S, Outcome
from jobs.errors import JobError
from jobs.label_actors import SHARDS_PER_ACTOR
from jobs.simulation_chance import Chance, Troubles, slowness
from jobs.simulation_cluster import SimulatedCluster
from jobs.simulation_gpu import NEVER, Gpu, Job
from jobs.simulation_ledger import Clock, Ledger
from jobs.simulation_nodes import Events, Nodes
from pipeline.errors import StorageError

POISON, STORE = 23, 24  # purposes of chance
CALL_S = 0.002  # a call to an actor and back

Task = TypeVar("Task")


@dataclass(eq=False, slots=True)
class _Slot(Generic[Task]):
    """One place in the pool, as the driver believes it to be.

    Attributes:
        life: Changes when the actor ends, so that what was to happen to it does not.
        is_missing: The driver knows that there is no actor.
        runs_suspect: It takes nothing beside that.
        free: Tasks that it could take.
    """

    number: int
    node: int
    gpu: Gpu[Task]
    running: list[Job[Task]] = field(default_factory=list)
    life: int = 0
    is_missing: bool = True
    is_ready: bool = False
    is_leaving: bool = False
    answered_s: float = 0.0
    runs_suspect: bool = False
    start_failures: int = 0
    free: int = 0


class SimulatedPool(Generic[Task]):
    """What a driver sees of `jobs.actor_pool.ActorPool`, on a `SimulatedCluster`.

    Args:
        seconds: That a GPU computes for a task at its usual pace.
        is_poison: Whether a task kills its process.
        result: What an actor answers.
    """

    def __init__(
        self,
        cluster: SimulatedCluster,
        clock: Clock,
        ledger: Ledger,
        *,
        seconds: Callable[[Task], float],
        is_poison: Callable[[Task], bool],
        result: Callable[[Task], Any],
    ) -> None:
        self._cluster, self._clock, self._ledger = cluster, clock, ledger
        self._seconds, self._is_poison, self._result = seconds, is_poison, result
        self._events = Events()
        self._poison = Chance(cluster.seed, POISON)
        store = Troubles(cluster.store_outages, Chance(cluster.seed, STORE))
        self._slots: list[_Slot[Task]] = [
            _Slot(
                number,
                number // cluster.gpus_per_node,
                Gpu(cluster, number, slowness=pace, store=store, ledger=ledger),
            )
            for number, pace in enumerate(slowness(cluster))
        ]
        self._open: set[_Slot[Task]] = set()
        self._waiting: deque[tuple[Task, bool]] = deque()
        self._outcomes: list[Outcome[Task]] = []
        self._is_driven = self._woke = False
        self._free = self._running = 0
        self.spent_s: dict[Task, float] = {}
        self.lost_actors = 0
        self._nodes = Nodes(cluster, self._events, ledger, self)

    @property
    def is_idle(self) -> bool:
        """Nothing waits and nothing runs."""
        return not self._waiting and not self._running

    @property
    def size(self) -> int:
        """Actors wanted."""
        return len(self._slots)

    @property
    def ready_actors(self) -> int:
        """Actors that have answered."""
        return sum(slot.is_ready for slot in self._slots)

    @property
    def starting_actors(self) -> int:
        """Actors asked for that have not answered yet."""
        return self.size - self.ready_actors

    def room(self) -> int:
        """How many more tasks could start at once."""
        return max(0, self._free - len(self._waiting))

    def submit(self, task: Task, *, alone: bool = False) -> None:
        """Queue a task; a suspect (``alone``) gets an actor that runs nothing else."""
        self._waiting.append((task, alone))

    def open(self) -> None:
        """A driver asks for actors."""
        self._happen_until_now()
        self._is_driven = True
        for slot in self._slots:
            slot.start_failures = 0
            self._start(slot, self._clock.now_s)

    def close(self, cause: str) -> None:
        """The driver ends and its actors with it; what they had under way was for nothing."""
        self._happen_until_now()
        self._is_driven = False
        for slot in self._slots:
            self._end(slot, self._clock.now_s, cause)
            self._forget(slot)
        for seconds in self.spent_s.values():
            self._ledger.waste(cause, seconds)
        self.spent_s.clear()
        self._waiting.clear()
        self._outcomes.clear()

    def end_of_run(self) -> None:
        """All nodes are given back."""
        self._nodes.pay_until(self._clock.now_s)

    def wait(self, timeout_s: float) -> list[Outcome[Task]]:
        """Start what can start, then wait until something ends or the time is over.

        Raises:
            JobError: An actor could not start, three times in a row.
        """
        self._dispatch()
        deadline_s = self._clock.now_s + timeout_s
        self._happen_until_now()
        while not self._outcomes and not self._woke:
            if self._events.next_s > deadline_s:
                self._clock.now_s = deadline_s
                break
            self._clock.now_s = self._events.next_s
            self._happen_until_now()
        outcomes, self._outcomes, self._woke = self._outcomes, [], False
        if max(slot.start_failures for slot in self._slots) >= MAX_START_FAILURES:
            raise JobError("actors cannot start")
        return outcomes

    def node_came(self, node: int, when_s: float) -> None:
        """Ray places the actors that wait for room."""
        for slot in self._on(node):
            slot.is_leaving = False
            self._start(slot, when_s)

    def node_leaves(self, node: int, when_s: float) -> None:
        """Hand nothing more to it."""
        for slot in self._on(node):
            slot.is_leaving = True
            self._recount(slot)

    def node_went(self, node: int, when_s: float) -> None:
        """All its actors are gone at once."""
        for slot in self._on(node):
            self._die(slot, when_s, "node", seen_s=self._cluster.spot.loss_seen_s)

    def _on(self, node: int) -> list[_Slot[Task]]:
        each = self._cluster.gpus_per_node
        return self._slots[node * each : (node + 1) * each]

    def _happen_until_now(self) -> None:
        while self._events.next_s <= self._clock.now_s:
            self._events.run_next()

    def _start(self, slot: _Slot[Task], when_s: float) -> None:
        if self._is_driven and slot.is_missing and self._nodes.is_up(slot.node):
            slot.is_missing = False
            self._later(slot, when_s + slot.gpu.start_s(), self._ready)

    def _ready(self, slot: _Slot[Task], when_s: float) -> None:
        slot.gpu.man(when_s)
        for each in self._slots:
            each.start_failures = 0
        self._answer(slot, when_s)
        self._later(slot, when_s + slot.gpu.life_s(), self._die_of_itself)

    def _answer(self, slot: _Slot[Task], when_s: float) -> None:
        slot.is_ready = self._woke = True
        slot.answered_s = self._clock.now_s
        self._recount(slot)

    def _die_of_itself(self, slot: _Slot[Task], when_s: float) -> None:
        self._die(slot, when_s, "process", seen_s=self._cluster.failures.process_loss_seen_s)

    def _die_of_poison(self, slot: _Slot[Task], when_s: float) -> None:
        self._die(slot, when_s, "poison", seen_s=self._cluster.failures.process_loss_seen_s)

    def _die_of_deadline(self, slot: _Slot[Task], when_s: float) -> None:
        self._die(slot, when_s, "deadline", seen_s=0.0)

    def _die(self, slot: _Slot[Task], when_s: float, cause: str, *, seen_s: float) -> None:
        """The driver hears of it later; an actor that has not been started cannot die."""
        if slot.is_missing:
            return
        had_started = slot.gpu.manned_s is not None or slot.is_ready
        self._ledger.actors_lost[cause] += slot.gpu.manned_s is not None
        self._end(slot, when_s, cause)
        then = self._lost if had_started else self._failed_to_start
        self._later(slot, when_s + seen_s, then)

    def _end(self, slot: _Slot[Task], when_s: float, cause: str) -> None:
        slot.gpu.end(when_s, slot.running, cause=cause)
        slot.life += 1

    def _failed_to_start(self, slot: _Slot[Task], when_s: float) -> None:
        slot.start_failures += not slot.is_leaving
        self._lost(slot, when_s)

    def _lost(self, slot: _Slot[Task], when_s: float) -> None:
        """The driver hears that an actor is gone."""
        self._outcomes += [
            Outcome(job.task, error="its actor died", actor_lost=True, machine_left=slot.is_leaving)
            for job in slot.running
        ]
        self.lost_actors += not slot.is_leaving
        self._woke = True
        self._forget(slot)
        self._start(slot, when_s)

    def _forget(self, slot: _Slot[Task]) -> None:
        self._running -= len(slot.running)
        slot.running.clear()
        slot.is_missing = True
        slot.is_ready = slot.runs_suspect = False
        self._recount(slot)

    def _recount(self, slot: _Slot[Task]) -> None:
        usable = slot.is_ready and not slot.is_leaving and not slot.runs_suspect
        free = SHARDS_PER_ACTOR - len(slot.running) if usable else 0
        self._free += free - slot.free
        slot.free = free
        (self._open.add if free else self._open.discard)(slot)

    def _dispatch(self) -> None:
        if not self._waiting:
            return
        for slot in sorted(self._open, key=lambda slot: (len(slot.running), slot.number)):
            while self._waiting and self._can_take(slot, alone=self._waiting[0][1]):
                if self._waiting[0][1] and self._clock.now_s - slot.answered_s >= SURELY_LIVES_S:
                    slot.is_ready = False  # asked first whether it lives
                    self._recount(slot)
                    if slot.gpu.manned_s is not None:
                        self._later(slot, self._clock.now_s + CALL_S, self._answer)
                    break
                self._begin(slot, *self._waiting.popleft())

    def _can_take(self, slot: _Slot[Task], *, alone: bool) -> bool:
        if alone or slot.runs_suspect:
            return not slot.running
        return len(slot.running) < SHARDS_PER_ACTOR

    def _begin(self, slot: _Slot[Task], task: Task, alone: bool) -> None:
        job = Job(task, alone, self._clock.now_s)
        slot.running.append(job)
        slot.runs_suspect = alone
        self._running += 1
        self._recount(slot)
        if slot.gpu.manned_s is None:  # dead, and nobody has heard of it
            return
        slot.gpu.plan(job, self._seconds(task))
        # The clock of the younger one begins when the older one is answered.
        older_s = max((each.answer_s for each in slot.running if each is not job), default=0.0)
        overdue_s = max(job.asked_s, older_s) + self._cluster.shard_timeout_s
        if self._is_poison(task) and job.from_s < NEVER:
            dies_s = job.from_s + self._poison.share() * job.spent_s
            self._later(slot, dies_s, self._die_of_poison)
        elif job.answer_s > overdue_s:
            self._later(slot, overdue_s, self._die_of_deadline)
        else:
            self._later(slot, job.answer_s, partial(self._done, job))

    def _done(self, job: Job[Task], slot: _Slot[Task], when_s: float) -> None:
        slot.running.remove(job)
        slot.runs_suspect = False  # it had nothing beside it
        self._running -= 1
        slot.gpu.finish(job)
        self._answer(slot, when_s)
        if job.store_fails:
            self._ledger.waste("store", job.spent_s)
            failed = Outcome(job.task, error="the store does not answer", kind=StorageError)
            self._outcomes.append(failed)
            return
        self.spent_s[job.task] = job.spent_s
        self._outcomes.append(Outcome(job.task, result=self._result(job.task)))

    def _later(
        self, slot: _Slot[Task], when_s: float, then: Callable[[_Slot[Task], float], None]
    ) -> None:
        """Let something happen to this actor, unless it has ended before."""
        life = slot.life

        def act(now_s: float) -> None:
            if slot.life == life:
                then(slot, now_s)

        self._events.at(when_s, act)
