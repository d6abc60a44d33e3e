"""A pool of Ray actors that survives its actors: the driver owns every retry.

Ray's own restarts are off. A task that kills its process would otherwise loop for ever or take
innocent neighbours with it (measured on Ray 2.60). So: tasks go only to actors that have answered;
when an actor dies every task it was running is *lost*; a suspect is run again alone; an actor that
overruns a task's deadline is killed; one that fails task after task, as with a broken GPU, gets no
more and is replaced, and so is one whose machine has been told to go, when it has done what it has;
and actors that cannot start three times in a row end the run. The pool may grow while it works, and
never shrinks.

The pool knows nothing of leases or labels: it takes tasks and gives back outcomes.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from jobs.departures import leaving_actors
from jobs.errors import JobError

Task = TypeVar("Task")
MAX_START_FAILURES = 3
MAX_FAILURES_IN_A_ROW = 3
SURELY_LIVES_S = (
    1.0  # after an answer; an actor that does nothing may be dead without anybody hearing
)
RECOUNT_INTERVAL_S = 30.0
LOOK_FOR_DEPARTURES_S = 1.0
REASON_CHARACTERS = 300
END_OF_FILE = "exits with a connection error code 2"  # how Ray notices that a process is gone


@dataclass(frozen=True, slots=True)
class Outcome(Generic[Task]):
    """What became of a task.

    Attributes:
        result: What the actor returned; None unless the task succeeded.
        error: Why there is no result; None if it succeeded.
        kind: The class of what the task raised; None if it raised nothing.
        actor_lost: The process running it is gone, so the task itself is a suspect.
        machine_left: But its machine had been told to go, so the task is none.
        actor: What the actor that ran it said of itself when it was ready; None if it said nothing.
    """

    task: Task
    result: Any = None
    error: str | None = None
    kind: type[BaseException] | None = None
    actor_lost: bool = False
    machine_left: bool = False
    actor: str | None = None


@dataclass(eq=False, slots=True)
class _Slot(Generic[Task]):
    """One place in the pool: an actor, whether it has answered, and what it is running.

    Attributes:
        running: By reference, the oldest first: the task, and whether it is a suspect.
        oldest_since_s: Since when the first of them has been that, monotonic seconds.
        answered_s: When the actor last showed that it lives, monotonic seconds; None before.
        failures: Tasks that failed on this actor since one succeeded, by its own fault perhaps.
        start_failures: Times that an actor died here while it started, since one started anywhere.
        is_leaving: Its machine has been told to go.
        name: What it said of itself.
    """

    actor: Any = None
    ready_ref: Any = None
    running: dict[Any, tuple[Task, bool]] = field(default_factory=dict)
    oldest_since_s: float = 0.0
    answered_s: float | None = None
    failures: int = 0
    start_failures: int = 0
    is_leaving: bool = False
    name: str | None = None

    @property
    def is_ready(self) -> bool:
        return self.actor is not None and self.ready_ref is None

    @property
    def surely_lives(self) -> bool:
        return self.answered_s is not None and time.monotonic() - self.answered_s < SURELY_LIVES_S

    @property
    def gets_no_more(self) -> bool:
        return self.is_leaving or self.failures >= MAX_FAILURES_IN_A_ROW

    @property
    def runs_suspect(self) -> bool:
        return any(alone for _, alone in self.running.values())

    def begin(self, ref: Any, task: Task, *, alone: bool) -> None:
        """Note that a task runs."""
        if not self.running:
            self.oldest_since_s = time.monotonic()
        self.running[ref] = (task, alone)

    def end(self, ref: Any) -> Task:
        """Note that a task does not run any more."""
        if next(iter(self.running)) == ref:
            self.oldest_since_s = time.monotonic()
        return self.running.pop(ref)[0]

    def is_overdue(self, timeout_s: float) -> bool:
        """Whether its oldest task takes longer than that; the others wait for it."""
        return bool(self.running) and time.monotonic() - self.oldest_since_s > timeout_s


class ActorPool(Generic[Task]):
    """Runs tasks on ``size`` actors, up to ``concurrency`` at a time on each.

    Args:
        start_actor: Starts an actor with methods ``ready()``, which may answer with a name, and
            ``label(task)``, created with ``max_restarts=0, max_task_retries=0``.
        size: Actors wanted; fewer run where Ray has no room for more.
        concurrency: Tasks an actor runs at once (its ``max_concurrency``).
        task_timeout_s: A task that takes longer costs its actor its life; while it waits for older
            ones on the same actor its time does not count.
        may_be_actor: Whether a failure may be the actor's fault rather than the task's.
        wanted: Asked now and then how many actors there could be; None for ``size`` for good.
        leaving: Says which of some actors sit on machines that have been told to go.
    """

    def __init__(
        self,
        start_actor: Callable[[], Any],
        *,
        size: int,
        concurrency: int = 2,
        task_timeout_s: float | None = None,
        may_be_actor: Callable[[Outcome[Task]], bool] = lambda _: True,
        wanted: Callable[[], int] | None = None,
        leaving: Callable[[Sequence[Any]], Sequence[Any]] = leaving_actors,
    ) -> None:
        self._start_actor = start_actor
        self._concurrency = concurrency
        self._task_timeout_s = task_timeout_s
        self._slots: list[_Slot[Task]] = [_Slot() for _ in range(size)]
        self._waiting: deque[tuple[Task, bool]] = deque()
        self._start_failures = 0
        self._may_be_actor = may_be_actor
        self._wanted = wanted
        self._recounted_s = time.monotonic()
        self._leaving = leaving
        self._looked_s = 0.0
        self.lost_actors = 0

    @property
    def is_idle(self) -> bool:
        """Nothing waits and nothing runs."""
        return not self._waiting and not any(slot.running for slot in self._slots)

    @property
    def ready_actors(self) -> int:
        """Actors that have answered."""
        return sum(slot.is_ready for slot in self._slots)

    @property
    def starting_actors(self) -> int:
        """Actors asked for that have not answered yet: they load, or wait for room."""
        return len(self._slots) - self.ready_actors

    @property
    def size(self) -> int:
        """Actors wanted."""
        return len(self._slots)

    def room(self) -> int:
        """How many more tasks could start at once."""
        free = sum(
            self._concurrency - len(slot.running)
            for slot in self._slots
            if slot.is_ready and not slot.runs_suspect and not slot.gets_no_more
        )
        return max(0, free - len(self._waiting))

    def submit(self, task: Task, *, alone: bool = False) -> None:
        """Queue a task; a suspect (``alone``) gets an actor that runs nothing else."""
        self._waiting.append((task, alone))

    def wait(self, timeout_s: float) -> list[Outcome[Task]]:
        """Start what can start, then wait until something ends or the time is over.

        Raises:
            JobError: Actors could not start, three times in a row.
        """
        import ray

        self._grow()
        self._notice_departures()
        self._dismiss()
        self._start_missing()
        self._dispatch()
        refs = self._pending_refs()
        if not refs:
            time.sleep(timeout_s)
            return []
        done, others = ray.wait(refs, num_returns=1, timeout=timeout_s)
        if done and others:  # all that ended meanwhile, so that none of it is taken for overdue
            done += ray.wait(others, num_returns=len(others), timeout=0)[0]
        outcomes = [outcome for ref in done for outcome in self._finish(ref)]
        return outcomes + self._expire()

    def close(self) -> None:
        """Kill every actor; what they were running is dropped."""
        import ray

        for slot in self._slots:
            if slot.actor is not None:
                ray.kill(slot.actor)
            slot.actor = slot.ready_ref = None
            slot.running.clear()

    def _grow(self) -> None:
        if self._wanted is None or time.monotonic() - self._recounted_s < RECOUNT_INTERVAL_S:
            return
        self._slots += [_Slot() for _ in range(self._wanted() - len(self._slots))]
        self._recounted_s = time.monotonic()

    def _notice_departures(self) -> None:
        if time.monotonic() - self._looked_s < LOOK_FOR_DEPARTURES_S:
            return
        actors = [slot.actor for slot in self._slots if slot.actor is not None]
        leaving = self._leaving(actors)
        for slot in self._slots:
            slot.is_leaving = slot.is_leaving or slot.actor in leaving
        self._looked_s = time.monotonic()

    def _dismiss(self) -> None:
        for slot in self._slots:
            if slot.gets_no_more and not slot.running:
                self._lose(slot, "")

    def _start_missing(self) -> None:
        for slot in self._slots:
            if slot.actor is None:
                slot.actor = self._start_actor()
                slot.ready_ref = slot.actor.ready.remote()

    def _dispatch(self) -> None:
        for slot in sorted((s for s in self._slots if s.is_ready), key=lambda s: len(s.running)):
            while self._waiting and self._can_take(slot, alone=self._waiting[0][1]):
                if self._waiting[0][1] and not slot.surely_lives:
                    # Nobody hears an idle actor die; the suspect would be charged with it.
                    slot.ready_ref = slot.actor.ready.remote()
                    break
                task, alone = self._waiting.popleft()
                ref = slot.actor.label.remote(task)
                slot.begin(ref, task, alone=alone)

    def _can_take(self, slot: _Slot[Task], *, alone: bool) -> bool:
        if slot.gets_no_more:
            return False
        if alone or slot.runs_suspect:
            return not slot.running
        return len(slot.running) < self._concurrency

    def _pending_refs(self) -> list[Any]:
        starting = [slot.ready_ref for slot in self._slots if slot.ready_ref is not None]
        return starting + [ref for slot in self._slots for ref in slot.running]

    def _finish(self, ref: Any) -> list[Outcome[Task]]:
        import ray
        from ray.exceptions import RayError, RayTaskError

        slot = next((s for s in self._slots if ref == s.ready_ref or ref in s.running), None)
        if slot is None:  # its actor was found dead a moment ago, by another of its tasks
            return []
        try:
            result = ray.get(ref)
        except RayTaskError as error:
            if slot.ready_ref == ref:
                self._count_start_failure(slot, error)
                return self._lose(slot, _last_line(error))
            task = slot.end(ref)
            outcome = Outcome(task, error=_said(error), kind=type(error.cause), actor=slot.name)
            slot.failures += self._may_be_actor(outcome)
            return [outcome]
        except RayError as error:  # died, killed for its memory, its node gone, unschedulable
            if slot.ready_ref == ref:
                self._count_start_failure(slot, error)
            return self._lose(slot, _why_lost(error))
        slot.answered_s = time.monotonic()
        if slot.ready_ref == ref:
            slot.ready_ref = None
            slot.name = result if isinstance(result, str) else None
            self._forgive_failed_starts()
            return []
        task = slot.end(ref)
        slot.failures = 0
        return [Outcome(task, result=result, actor=slot.name)]

    def _count_start_failure(self, slot: _Slot[Task], error: Exception) -> None:
        """What a start raises is the same anywhere; what dies there may be its machine's fault.

        A machine that goes takes all actors that start on it, once, and ends no run by that.
        """
        if slot.answered_s is not None or slot.is_leaving:  # it had started, and died later
            return
        slot.start_failures += 1
        self._start_failures += getattr(error, "actor_init_failed", True)
        if max(self._start_failures, slot.start_failures) >= MAX_START_FAILURES:
            raise JobError(f"actors cannot start: {_last_line(error)}") from error

    def _forgive_failed_starts(self) -> None:
        self._start_failures = 0
        for slot in self._slots:
            slot.start_failures = 0

    def _lose(self, slot: _Slot[Task], why: str) -> list[Outcome[Task]]:
        """Forget an actor; the old handle is killed too, in case it only became unreachable."""
        import ray

        ray.kill(slot.actor)
        self.lost_actors += not slot.is_leaving
        lost = [
            Outcome(task, error=why, actor_lost=True, machine_left=slot.is_leaving, actor=slot.name)
            for task, _ in slot.running.values()
        ]
        slot.running.clear()
        slot.actor = slot.ready_ref = slot.answered_s = slot.name = None
        slot.failures = 0
        slot.is_leaving = False
        return lost

    def _expire(self) -> list[Outcome[Task]]:
        if self._task_timeout_s is None:
            return []
        return [
            outcome
            for slot in self._slots
            if slot.is_overdue(self._task_timeout_s)
            for outcome in self._lose(
                slot, f"its actor gave no answer within {self._task_timeout_s:.0f} s"
            )
        ]


def _said(error: Any) -> str:
    """What a task raised, as its class and its text; not the traceback that Ray puts before it."""
    text = " ".join(str(error.cause).split())
    return f"{type(error.cause).__name__}: {text}" if text else type(error.cause).__name__


def _why_lost(error: Exception) -> str:
    """Why an actor is gone: what Ray says of it, without ids, addresses and guesses."""
    lines = [line for line in str(error).strip().splitlines() if not line.startswith(("\t", " "))]
    text = " ".join(line.strip() for line in lines)
    text = text.partition(" Worker exit detail: ")[2] or text
    text = text.partition(" Some common causes ")[0]
    if END_OF_FILE in text:
        text = "its process ended without a word (killed, perhaps for its memory, or a crash)"
    return f"its actor died: {text[:REASON_CHARACTERS]}"


def _last_line(error: Exception) -> str:
    """Ray puts the worker's traceback first and what went wrong last."""
    return str(error).strip().splitlines()[-1]
