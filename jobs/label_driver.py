"""The loop between catalog and actors: lease, hand out, commit; nothing lost, nothing twice.

Every commit is fenced by the lease's owner and epoch, so that a driver that was taken for dead can
do no harm: what it writes becomes an orphan. Leases are renewed while the loop turns.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from jobs.actor_pool import ActorPool, Outcome
from jobs.console import Bar, Reporter
from jobs.label_engine import LabelTask
from jobs.owner import current_owner, is_dead
from pipeline.catalog import Catalog
from pipeline.errors import LeaseLostError
from pipeline.leases import WorkLease
from pipeline.records import LabelManifest

MAX_ATTEMPTS = 3
POLL_S = 1.0


@dataclass(slots=True)
class LabelTally:
    """What one driver has committed.

    Attributes:
        forward_s: Seconds inside the network, summed over actors.
        first_task: When the first shard was handed out, monotonic seconds.
        last_commit: When the last shard was committed, monotonic seconds.
    """

    shards: int = 0
    images: int = 0
    forward_s: float = 0.0
    first_task: float | None = None
    last_commit: float | None = None

    @property
    def wall_s(self) -> float:
        """From the first shard handed out to the last one committed; starting up is not in it."""
        if self.first_task is None or self.last_commit is None:
            return 0.0
        return self.last_commit - self.first_task


@dataclass(slots=True)
class LabelDriver:
    """Labels what is pending in a label set.

    Args:
        sources: Only work on these.
        lease_s: How long a lease lives without a heartbeat.
    """

    catalog: Catalog
    label_set: str
    sources: Sequence[str]
    pool: ActorPool[LabelTask]
    lease_s: float
    reporter: Reporter
    tally: LabelTally = field(default_factory=LabelTally)
    _leases: dict[LabelTask, WorkLease] = field(default_factory=dict)
    _renewed: float = 0.0

    def run(self, bar: Bar) -> LabelTally:
        """Work until nothing is pending, here or at another driver of the same set."""
        self._take_over_from_the_dead()
        try:
            while True:
                self._hand_out()
                if self.pool.is_idle and self._is_finished():
                    return self.tally
                for outcome in self.pool.wait(POLL_S):
                    self._settle(outcome, bar)
                self._heartbeat()
        finally:
            self._release_all()

    def _hand_out(self) -> None:
        room = self.pool.room()
        if room == 0:
            return
        leases = self.catalog.lease(
            self.label_set,
            owner=current_owner(),
            limit=room,
            ttl_s=self.lease_s,
            sources=self.sources,
        )
        for lease in leases:
            # By task, not by shard: a driver that slept with its machine may lease a shard again
            # while its own earlier attempt still runs.
            task = LabelTask(lease.shard, attempt=_attempt_name(lease))
            self._leases[task] = lease
            self.pool.submit(task, alone=lease.attempts > 0)
        if leases and self.tally.first_task is None:
            self.tally.first_task = time.monotonic()

    def _is_finished(self) -> bool:
        """Nothing left; what another live driver holds is waited for, a dead one's is taken."""
        progress = self.catalog.progress(self.label_set, sources=self.sources)
        if progress.leased and not progress.pending:
            self._take_over_from_the_dead()
        return not progress.pending and not progress.leased

    def _settle(self, outcome: Outcome[LabelTask], bar: Bar) -> None:
        lease = self._leases.pop(outcome.task)
        try:
            if outcome.error is None:
                self._commit(lease, outcome.result, bar)
            else:
                self._charge(lease, outcome.error)
        except LeaseLostError as error:
            self.reporter.warn(f"shard {lease.shard.shard_id}: {error}")

    def _commit(self, lease: WorkLease, manifest: LabelManifest, bar: Bar) -> None:
        self.catalog.commit_label_shard(lease, manifest)
        self.tally.shards += 1
        self.tally.images += manifest.rows
        self.tally.forward_s += manifest.forward_s
        self.tally.last_commit = time.monotonic()
        bar.advance(manifest.rows)

    def _charge(self, lease: WorkLease, error: str) -> None:
        state = self.catalog.charge(lease, error=error, max_attempts=MAX_ATTEMPTS)
        what_next = "given up" if state == "failed" else "will be tried again, alone"
        self.reporter.warn(f"shard {lease.shard.shard_id}: {error} ({what_next})")

    def _heartbeat(self) -> None:
        if time.monotonic() - self._renewed < self.lease_s / 3:
            return
        self.catalog.renew(self.label_set, owner=current_owner(), ttl_s=self.lease_s)
        self._renewed = time.monotonic()

    def _take_over_from_the_dead(self) -> None:
        for owner in self.catalog.live_owners(self.label_set):
            if is_dead(owner):
                self.catalog.release_owner(self.label_set, owner)

    def _release_all(self) -> None:
        """Give back what was leased and not finished, so that the next run need not wait for it.

        By owner, not by what is remembered here: an interrupt may fall between the database's
        answer and this object's note of it.
        """
        self.catalog.release_owner(self.label_set, current_owner())
        self._leases.clear()


def _attempt_name(lease: WorkLease) -> str:
    """Unique to owner and epoch, so that no two attempts ever write the same object."""
    return f"{lease.epoch:04d}-{lease.owner.rpartition(':')[2]}"
