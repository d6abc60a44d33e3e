"""The loop between catalog and actors: lease, hand out, commit; nothing lost, nothing twice.

Every commit is fenced by the lease's owner and epoch, so that a driver that was taken for dead can
do no harm: what it writes becomes an orphan. Leases are renewed while the loop turns. A catalog
that does not answer is asked again while actors finish what they have; a store that fails costs no
shard anything (`jobs.label_faults`).
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from uuid import uuid4

from jobs.actor_pool import ActorPool, Outcome
from jobs.console import Reporter, Screen
from jobs.label_engine import LabelTask
from jobs.label_faults import Blame, FaultWatch, blame
from jobs.label_standing import Standing
from jobs.label_tally import LabelTally
from jobs.label_view import LabelView
from jobs.metrics_drivers import LabelMetrics
from jobs.metrics_recording import Sink
from jobs.owner import current_owner, is_dead
from jobs.patience import Patience
from jobs.readable import readable_duration
from pipeline.catalog import Catalog
from pipeline.errors import LeaseLostError, ShardCorruptError, StorageError, StoreFullError
from pipeline.leases import WorkLease
from pipeline.records import LabelManifest

MAX_ATTEMPTS = 3
POLL_S = 1.0
WAIT_FOR_ACTORS_S = 60.0
WHAT_NEXT = {"failed": "given up", "pending": "will be tried again, alone"}


@dataclass(slots=True)
class LabelDriver:
    """Labels what is pending in a label set.

    Args:
        sources: Only work on these.
        lease_s: How long a lease lives without a heartbeat.
        limit: Hand out no more shards once they hold this many images; None for all there is.
        patience_s: How long the catalog may not answer.
        threads: Decoding and encoding threads per actor, for the view alone.
        why_no_actor: Asked for a sentence when none has started for `WAIT_FOR_ACTORS_S`.
        has_images: Whether the store still has the folder of this source.
        metrics_sink: Where metrics go; None for Ray, where there is one.
    """

    catalog: Catalog
    label_set: str
    sources: Sequence[str]
    pool: ActorPool[LabelTask]
    lease_s: float
    reporter: Reporter
    limit: int | None = None
    patience_s: float = 600.0
    threads: int = 1
    why_no_actor: Callable[[], str] | None = None
    has_images: Callable[[str], bool] | None = None
    tally: LabelTally = field(default_factory=LabelTally)
    metrics_sink: Sink | None = None
    _screen: Screen = field(init=False)
    _patience: Patience = field(init=False)
    _faults: FaultWatch = field(init=False)
    _standing: Standing = field(init=False)
    _metrics: LabelMetrics = field(init=False)
    _leases: dict[LabelTask, WorkLease] = field(default_factory=dict)
    _handed_out: int = 0
    _renewed_s: float = 0.0
    _began_s: float = field(default_factory=time.monotonic)
    _stop: Exception | None = None

    def __post_init__(self) -> None:
        self._patience = Patience(
            self.patience_s, warn=self._warn, note=self.reporter.note, while_waiting=self._show
        )
        self._faults = FaultWatch(lambda: self.pool.size, time.monotonic)
        self._standing = Standing(self.catalog, self.label_set, self.sources)
        self._metrics = LabelMetrics(self.label_set, sink=self.metrics_sink)

    def run(self) -> LabelTally:
        """Work until nothing is pending, here or at another driver of the same set.

        Raises:
            StoreFullError: The store takes no more; whatever was under way is given back.
            StorageError: The catalog did not answer for too long, or the store failed too often.
            JobError: Actors cannot start, or all shards fail alike.
        """
        with self.reporter.screen() as self._screen:
            try:
                self._patience.ask(self._take_over_from_the_dead)
                self._turn_until_done()
            finally:
                self._release_all()
                self._metrics.turn(self.pool, self._standing, self.tally.actor_s, now=True)
                self._metrics.close()
        return self.tally

    def _turn_until_done(self) -> None:
        while True:
            self._standing.refresh(self._patience)
            self._hand_out()
            if self.pool.is_idle and self._patience.ask(self._is_finished):
                return
            outcomes = self.pool.wait(POLL_S)
            self.tally.count_actors(self.pool.ready_actors)
            self._metrics.turn(self.pool, self._standing, self.tally.actor_s)
            for outcome in sorted(outcomes, key=lambda each: each.error is not None):
                self._settle(outcome)
            if self._stop is not None:
                raise self._stop
            self._patience.ask(self._renew)
            self._say_why_nothing_starts()
            self._show()

    @property
    def _is_enough(self) -> bool:
        return self.limit is not None and self._handed_out >= self.limit

    def _hand_out(self) -> None:
        room = self.pool.room()
        if room == 0 or self._is_enough or self._faults.is_waiting:
            return
        for lease in self._patience.ask(self._lease, room):
            if self._is_enough:
                self._patience.ask(self.catalog.release, lease)
                continue
            # By task, not by shard: a driver that slept with its machine may lease a shard again
            # while its own earlier attempt still runs.
            task = LabelTask(lease.shard, attempt=_attempt_name(lease), previous=lease.previous)
            self._leases[task] = lease
            self._handed_out += lease.shard.rows
            self.pool.submit(task, alone=lease.attempts > 0)
            self.tally.handed_out()
            self._metrics.began(task)

    def _lease(self, limit: int) -> list[WorkLease]:
        """Up to so many; what is under way is renewed first, or it would be leased here again.

        That is where the catalog was away for longer than a lease lives.
        """
        self._renew()
        return self.catalog.lease(
            self.label_set,
            owner=current_owner(),
            limit=limit,
            ttl_s=self.lease_s,
            sources=self.sources,
        )

    def _is_finished(self) -> bool:
        """Nothing left; what another live driver holds is waited for, a dead one's is taken."""
        progress = self.catalog.progress(self.label_set, sources=self.sources)
        if progress.leased:
            self._take_over_from_the_dead()
        return self._is_enough or (not progress.pending and not progress.leased)

    def _settle(self, outcome: Outcome[LabelTask]) -> None:
        lease = self._leases.pop(outcome.task)
        self._metrics.ended(outcome.task)
        try:
            if outcome.error is None:
                self._commit(lease, outcome)
            else:
                self._handed_out -= lease.shard.rows
                self._put_down(lease, outcome, outcome.error)
        except LeaseLostError as error:
            self.tally.lost_leases += 1
            self._metrics.lost_lease()
            self._warn(
                f"shard {lease.shard.shard_id}: {error}; what was written is left over and counts "
                "for nothing"
            )

    def _commit(self, lease: WorkLease, outcome: Outcome[LabelTask]) -> None:
        manifest: LabelManifest = outcome.result
        began_s = time.monotonic()
        try:
            self._patience.ask(self.catalog.commit_label_shard, lease, manifest)
        except ShardCorruptError as error:  # the counts do not add up
            self._charge(lease, replace(outcome, kind=type(error)), str(error))
            return
        seconds = time.monotonic() - began_s
        self._faults.success()
        self.tally.committed(manifest)
        self._standing.committed(lease, manifest)
        self._metrics.committed(lease, manifest, actor=outcome.actor, seconds=seconds)

    def _put_down(self, lease: WorkLease, outcome: Outcome[LabelTask], error: str) -> None:
        """Charge the shard with what may be its fault, and give it back untried otherwise."""
        shard_id = lease.shard.shard_id
        blamed = blame(outcome)
        if self._is_store_away(lease, outcome):
            blamed = Blame.STORE
        if blamed is Blame.MACHINE:
            self._patience.ask(self.catalog.release, lease)
            self.reporter.note(f"shard {shard_id}: its machine was taken away; will be done again")
        elif blamed is Blame.FULL_STORE:
            self._patience.ask(self.catalog.release, lease)
            self._stop = self._stop or StoreFullError(error.partition(": ")[2] or error)
        elif blamed is Blame.STORE and self._faults.is_stores_fault(shard_id):
            self._patience.ask(self.catalog.release, lease)
            self._stop = self._stop or self._faults.store_failed(error)
            self._warn(f"shard {shard_id}: {error} (not charged; will be tried again)")
        else:
            self._charge(lease, outcome, error)

    def _is_store_away(self, lease: WorkLease, outcome: Outcome[LabelTask]) -> bool:
        """Whether all images of a source are gone: a disk was unmounted, or a folder moved."""
        if self.has_images is None or outcome.kind is not FileNotFoundError:
            return False
        try:
            return not self.has_images(lease.shard.source)
        except (OSError, StorageError):
            return True

    def _charge(self, lease: WorkLease, outcome: Outcome[LabelTask], error: str) -> None:
        state = self._patience.ask(
            self.catalog.charge, lease, error=error, max_attempts=MAX_ATTEMPTS
        )
        self._metrics.charged(lease)
        attempt = f"attempt {lease.attempts + 1} of {MAX_ATTEMPTS}"
        shard_id = lease.shard.shard_id
        self._warn(f"shard {shard_id}: {error} ({attempt}; {WHAT_NEXT[state]})")
        self._stop = self._stop or self._faults.failed(outcome, error, shard_id)
        if state == "failed":
            self._standing.gave_up(lease)

    def _renew(self) -> None:
        """Let all leases live on, where it is time for that."""
        if time.monotonic() - self._renewed_s < self.lease_s / 3:
            return
        self.catalog.renew(self.label_set, owner=current_owner(), ttl_s=self.lease_s)
        self._renewed_s = time.monotonic()

    def _take_over_from_the_dead(self) -> None:
        """Called while nothing is under way here: what this driver holds it does not know of.

        Such a lease is left where the catalog leased a shard and its answer was lost.
        """
        for owner in self.catalog.live_owners(self.label_set):
            if owner == current_owner() or is_dead(owner):
                self.catalog.release_owner(self.label_set, owner)

    def _release_all(self) -> None:
        """Give back what was leased and not finished, so that the next run need not wait for it.

        By owner, not by what is remembered here: an interrupt may fall between the database's
        answer and this object's note of it. Asked once: who stops does not want to wait.
        """
        self._leases.clear()
        try:
            self.tally.given_back = self.catalog.release_owner(self.label_set, current_owner())
        except StorageError as error:
            self._warn(
                f"{error}; what was under way is given back by itself when its lease runs out, in "
                f"{readable_duration(self.lease_s)} at most"
            )

    def _say_why_nothing_starts(self) -> None:
        if self.why_no_actor is None or time.monotonic() - self._began_s < WAIT_FOR_ACTORS_S:
            return
        if self.pool.ready_actors == 0:
            self._warn(self.why_no_actor())
        self.why_no_actor = None

    def _warn(self, text: str) -> None:
        self.tally.warnings += 1
        self.reporter.warn(text)

    def _show(self) -> None:
        self._screen.show(self._view)

    def _view(self) -> LabelView:
        standing = self._standing
        waiting = "the store failed; trying again soon" if self._faults.is_waiting else None
        return LabelView(
            label_set=self.label_set,
            done=standing.done,
            total=standing.total,
            left=standing.left if self.limit is None else self._left_of_limit(),
            failed_shards=standing.failed_shards,
            elapsed_s=time.monotonic() - self._began_s,
            recent=self.tally.recent(),
            threads=self.threads,
            sources=standing.sources(),
            quarantined=standing.quarantined,
            actors_ready=self.pool.ready_actors,
            actors_starting=self.pool.starting_actors,
            actors_lost=self.pool.lost_actors,
            trouble=self._patience.trouble or waiting,
        )

    def _left_of_limit(self) -> int:
        assert self.limit is not None
        return max(0, min(self._standing.left, self.limit - self.tally.images))


def _attempt_name(lease: WorkLease) -> str:
    """Unlike any other, so that no two attempts ever write the same object.

    Owner and epoch would not do: a database that loses what it had acknowledged (a crash with
    ``synchronous_commit = off``, a replica that took over late) leases out the same epoch again.
    """
    return f"{lease.epoch:04d}-{uuid4().hex[:6]}-{lease.owner.rpartition(':')[2]}"
