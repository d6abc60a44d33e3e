"""Whose fault it is that a shard was not labelled: its own, its actor's, or the store's.

A shard is charged only with what may be its own fault; a store that is full or away would otherwise
fail every shard there is. And where all shards fail alike, it is not the shards: better to stop
with a handful charged than to fail thousands.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from jobs.actor_pool import Outcome
from jobs.errors import JobError
from pipeline.errors import PipelineError, StorageError, StoreFullError

LOSSES_PER_FAILURE = 3  # a machine that goes takes the shards of all its actors with it at once
WORKED_BEFORE = 10  # times as many must fail alike once something has been labelled
STORE_ROUNDS = 5  # of a store that never served anybody: what is wrong will not go away
PATIENT_STORE_ROUNDS = 14  # of one that did: ten minutes, as a catalog is given
LONGEST_PAUSE_S = 60.0


class Blame(Enum):
    """What a failure is put down to."""

    SHARD = "shard"
    ACTOR = "actor"
    MACHINE = "machine"
    STORE = "store"
    FULL_STORE = "full store"


def blame(outcome: Outcome[Any]) -> Blame:
    """What the failure of a task is put down to at first sight.

    A file that is not there is its shard's fault: somebody removed that object. One that may not
    be read or written is the store's, until others get through.
    """
    kind = outcome.kind
    if outcome.actor_lost:
        return Blame.MACHINE if outcome.machine_left else Blame.ACTOR
    if kind is not None and issubclass(kind, StoreFullError):
        return Blame.FULL_STORE
    if kind is not None and issubclass(kind, StorageError | PermissionError):
        return Blame.STORE
    return Blame.SHARD


def may_be_actor(outcome: Outcome[Any]) -> bool:
    """Whether a failed task may have failed by its actor, as with a GPU that is broken.

    What is wrong with a shard's data or with the store has classes of its own.
    """
    kind = outcome.kind
    return kind is None or not issubclass(kind, PipelineError | FileNotFoundError | PermissionError)


@dataclass(slots=True)
class FaultWatch:
    """Counts failures since the last success and says when to stop.

    Args:
        actors: How many actors there are now.
        pause_s: After the first failure of the store; doubled with each further round.
    """

    actors: Callable[[], int]
    clock: Callable[[], float]
    pause_s: float = 2.0
    resume_s: float = 0.0
    _successes: int = 0
    _alike: tuple[Blame, type[BaseException] | None] | None = None
    _failed: set[str] = field(default_factory=set)
    _store_failures: int = 0
    _store_rounds: int = 0
    _troubled: dict[str, int] = field(default_factory=dict)

    @property
    def is_waiting(self) -> bool:
        """Whether the store is given some time to recover."""
        return self.clock() < self.resume_s

    def success(self) -> None:
        """Something was labelled: whatever failed before failed by itself."""
        self._successes += 1
        self._failed.clear()
        self._store_failures = self._store_rounds = 0
        self.resume_s = 0.0

    def is_stores_fault(self, shard_id: str) -> bool:
        """False where the store has served others since it failed for this shard before."""
        before = self._troubled.get(shard_id)
        self._troubled.setdefault(shard_id, self._successes)
        return before is None or before == self._successes

    def store_failed(self, error: str) -> Exception | None:
        """Wait before asking the store for more; an error to stop with after too many."""
        self._store_failures += 1
        if self.clock() >= self.resume_s:  # else it was under way when another one failed
            pause_s = min(self.pause_s * 2**self._store_rounds, LONGEST_PAUSE_S)
            self.resume_s = self.clock() + pause_s
            self._store_rounds += 1
        rounds = PATIENT_STORE_ROUNDS if self._successes else STORE_ROUNDS
        if self._store_rounds < rounds or self._store_failures < self._limit():
            return None
        return StorageError(
            f"the store failed {self._store_failures} times in a row and nothing got through "
            f"meanwhile: {error}"
        )

    def failed(self, outcome: Outcome[Any], error: str, shard_id: str) -> Exception | None:
        """Note a failure that was charged; an error to stop with where too many are alike."""
        kind = (Blame.ACTOR if outcome.actor_lost else Blame.SHARD, outcome.kind)
        if kind != self._alike:
            self._alike = kind
            self._failed.clear()
        self._failed.add(shard_id)
        limit = self._limit() * (WORKED_BEFORE if self._successes else 1)
        if len(self._failed) < limit * (LOSSES_PER_FAILURE if outcome.actor_lost else 1):
            return None
        return JobError(self._explanation(outcome, error))

    def _limit(self) -> int:
        return max(5, 2 * self.actors())

    def _explanation(self, outcome: Outcome[Any], error: str) -> str:
        count = len(self._failed)
        which = f"{count} shards in a row" if self._successes else f"the first {count} shards"
        how = "cost their actors the life" if outcome.actor_lost else "failed in the same way"
        return (
            f"{which} {how}, so it is hardly the shards: {error}. Stopped before more of "
            "them fail; repair that and run the same command again, which begins with other shards"
        )
