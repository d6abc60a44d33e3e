"""One life of the label driver in virtual time: the loop of `jobs.label_driver`, step by step.

A test runs the real driver on a real catalog over the same simulated machines, and holds every
question to the catalog against this one's.
"""

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

from jobs.actor_pool import Outcome
from jobs.errors import JobError
from jobs.label_faults import Blame, FaultWatch, blame
from jobs.patience import FIRST_PAUSE_S, LONGEST_PAUSE_S
from jobs.simulation_catalog import Lease, SimulatedCatalog
from jobs.simulation_chance import Troubles
from jobs.simulation_cluster import SimulatedCluster
from jobs.simulation_ledger import Clock, Ledger
from jobs.simulation_pool import SimulatedPool
from pipeline.errors import StorageError

# As in `jobs.label_driver` and `jobs.label_standing`, which load torch and the database.
MAX_ATTEMPTS = 3
POLL_S = 1.0
ASK_INTERVAL_S = 30.0
HEARTBEAT_S = 10.0  # of `jobs.driver_record`, by a thread beside the loop
Answer = TypeVar("Answer")


class DriverStopped(Exception):
    """The driver ended before its work did; the text is the reason."""


class DriverDied(Exception):
    """The driver's process was killed."""


@dataclass(slots=True)
class SimulatedDriver:
    """Labels what is pending, until nothing is or something ends it.

    Attributes:
        number: Unlike that of any other driver of the run.
        dies_s: When its process is killed.
    """

    cluster: SimulatedCluster
    clock: Clock
    ledger: Ledger
    catalog: SimulatedCatalog
    pool: SimulatedPool[Lease]
    outages: Troubles
    number: int
    dies_s: float = math.inf
    _faults: FaultWatch = field(init=False)
    _renewed_s: float = -math.inf
    _counted_s: float = -math.inf
    _stop: Exception | None = None

    def __post_init__(self) -> None:
        self._faults = FaultWatch(lambda: self.pool.size, self.clock.monotonic)

    def run(self) -> None:
        """Work until nothing is pending.

        Raises:
            DriverDied: Nothing was given back.
            DriverStopped: What was under way was given back, if the catalog answered.
        """
        try:
            self._take_over_from_the_dead()
            self._turn_until_done()
        except (JobError, StorageError) as error:
            self._give_back()
            raise DriverStopped(_reason(error)) from error
        except DriverStopped:
            self._give_back()
            raise
        self._give_back()

    def _turn_until_done(self) -> None:
        while True:
            self._count()
            self._hand_out()
            if self.pool.is_idle and self._is_finished():
                return
            for outcome in self._wait():
                self.clock.now_s += self.cluster.control.driver_shard_s
                self._settle(outcome)
            if self._stop is not None:
                raise self._stop
            self._patiently(self._renew)

    def _wait(self) -> list[Outcome[Lease]]:
        """Outcomes, those that succeeded first."""
        before_s = self.clock.now_s
        outcomes = self.pool.wait(min(self._patience_s(), self.dies_s - before_s))
        self.ledger.waited_s += self.clock.now_s - before_s
        if self.clock.now_s >= self.dies_s:
            raise DriverDied
        return sorted(outcomes, key=lambda each: each.error is not None)

    def _patience_s(self) -> float:
        """One poll; many at once where nothing would be done at each."""
        if self.pool.is_idle or (self.pool.room() and not self._faults.is_waiting):
            return POLL_S
        due_s = min(self._renewed_s + self._beat_s, self._counted_s + ASK_INTERVAL_S)
        if self._faults.is_waiting:
            due_s = min(due_s, self._faults.resume_s)
        return POLL_S * max(1, math.ceil((due_s - self.clock.now_s) / POLL_S))

    @property
    def _beat_s(self) -> float:
        return self.cluster.control.lease_s / 3

    def _count(self) -> None:
        """Where the set stands, for those who watch."""
        if self.clock.now_s - self._counted_s >= ASK_INTERVAL_S:
            for what in ("progress_by_source", "progress"):
                self._ask(what, lambda: None, is_count=True)
            self._counted_s = self.clock.now_s

    def _hand_out(self) -> None:
        room = self.pool.room()
        if room == 0 or self._faults.is_waiting:
            return
        for lease in self._patiently(lambda: self._lease(room)):
            self.pool.submit(lease, alone=lease.attempts > 0)
        if self.catalog.pending:
            self.ledger.nothing_left_s = None
        elif self.ledger.nothing_left_s is None:
            self.ledger.nothing_left_s = self.clock.now_s

    def _lease(self, limit: int) -> list[Lease]:
        self._renew()
        ttl_s, lease = self.cluster.control.lease_s, self.catalog.lease
        return self._question(
            "lease", lambda: lease(self.number, limit=limit, now_s=self.clock.now_s, ttl_s=ttl_s)
        )

    def _is_finished(self) -> bool:
        self._ask("progress", lambda: None, is_count=True)
        if self.catalog.leased:
            self._take_over_from_the_dead()
        return not self.catalog.pending and not self.catalog.leased

    def _take_over_from_the_dead(self) -> None:
        for owner in sorted(self._ask("live_owners", self.catalog.live_owners)):
            if owner == self.number or self.cluster.failures.driver_stays_on_machine:
                self._release_owner(owner)

    def _release_owner(self, owner: int) -> None:
        self._ask("release_owner", lambda: self.catalog.release_owner(owner))

    def _give_back(self) -> None:
        """Asked once, as who stops does not want to wait."""
        if self.outages.until(self.clock.now_s) is None:
            self._release_owner(self.number)

    def _settle(self, outcome: Outcome[Lease]) -> None:
        lease = outcome.task
        if outcome.error is None:
            self._commit(lease)
            return
        blamed = blame(outcome)
        if blamed is Blame.MACHINE:
            self._ask("release", lambda: self.catalog.release(lease))
            return
        if blamed is Blame.STORE and self._faults.is_stores_fault(str(lease.shard)):
            self._ask("release", lambda: self.catalog.release(lease))
            self._stop = self._stop or self._faults.store_failed(outcome.error)
            return
        charge = self.catalog.charge
        if self._ask("charge", lambda: charge(lease, max_attempts=MAX_ATTEMPTS)) is not None:
            failed = self._faults.failed(outcome, outcome.error, str(lease.shard))
            self._stop = self._stop or failed

    def _commit(self, lease: Lease) -> None:
        spent_s = self.pool.spent_s[lease]
        is_mine = self._ask("commit", lambda: self.catalog.commit(lease))
        del self.pool.spent_s[lease]
        if is_mine:
            self.ledger.useful_s += spent_s
            self.ledger.commits += 1
            self._faults.success()
        else:
            self.ledger.waste("lease", spent_s)

    def _renew(self) -> None:
        if self.clock.now_s - self._renewed_s < self._beat_s:
            return
        ttl_s, renew = self.cluster.control.lease_s, self.catalog.renew
        held = self._question(
            "renew", lambda: renew(self.number, now_s=self.clock.now_s, ttl_s=ttl_s)
        )
        self.ledger.renewed.append(held)
        self._renewed_s = self.clock.now_s

    def _ask(self, what: str, question: Callable[[], Answer], *, is_count: bool = False) -> Answer:
        """An answer of the catalog, however often it has to be asked."""
        return self._patiently(lambda: self._question(what, question, is_count=is_count))

    def _question(
        self, what: str, question: Callable[[], Answer], *, is_count: bool = False
    ) -> Answer:
        """An answer of the catalog, which takes its time; ``StorageError`` where it is away."""
        control = self.cluster.control
        self._pass(control.catalog_count_s if is_count else control.catalog_write_s)
        if self.outages.until(self.clock.now_s) is not None:
            raise StorageError("the catalog did not answer")
        self.ledger.asked(what, self.clock.now_s)
        return question()

    def _patiently(self, question: Callable[[], Answer]) -> Answer:
        """As `jobs.patience` asks, and as long."""
        control = self.cluster.control
        began_s, pause_s = self.clock.now_s, FIRST_PAUSE_S
        while True:
            with suppress(StorageError):
                return question()
            left_s = began_s + control.catalog_patience_s - self.clock.now_s
            if left_s <= 0:
                raise DriverStopped("the catalog did not answer")
            self._pass(min(pause_s, left_s))
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _pass(self, seconds: float) -> None:
        self.clock.now_s += seconds
        if self.clock.now_s >= self.dies_s:
            raise DriverDied


def _reason(error: Exception) -> str:
    if isinstance(error, StorageError):
        return "the store did not answer"
    return "actors cannot start" if "cannot start" in str(error) else "too many failed alike"
