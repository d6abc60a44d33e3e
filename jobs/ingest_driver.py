"""The loop between catalog and pieces: list, leave out what is known, hand out, commit.

The driver alone talks to the catalog, under the lease on the source: shards are committed as they
come, a piece when it was read to its end. Both are fenced, so that a driver that was taken for dead
can do no harm. A piece that failed three times is given up by name, and the others go on.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, cast

from jobs.actor_pool import ActorPool, Outcome
from jobs.console import Bar
from jobs.errors import JobError
from jobs.ingest_actors import Collected
from jobs.ingest_engine import IngestEngine
from jobs.ingest_piece import PieceDone, PieceTask, Tally
from jobs.metrics_drivers import DriverMetrics
from jobs.shard_writer import Refused, Written
from jobs.workspace import Workspace
from pipeline.catalog import IngestLease
from pipeline.errors import SourceError, StoreFullError
from pipeline.pieces import KnownItems, Listed, Piece
from pipeline.records import Ignored

LEASE_S = 300.0
RENEW_S = 60.0
POLL_S = 0.5
MAX_ATTEMPTS = 3
MAX_FAILED_IN_A_ROW = 10  # then it is not the pieces: the store, or the data set, is away


@dataclass(slots=True)
class IngestDriver:
    """Ingests what is listed into one source.

    Args:
        options: Digest of what decides which samples are taken.
        known: Items that need not be read again.
        warn: Told of attempts that failed.
    """

    workspace: Workspace
    lease: IngestLease
    options: str
    known: KnownItems
    bar: Bar
    warn: Callable[[str], None]
    tally: Tally = field(default_factory=Tally)
    looked: int = 0
    found_again: int = 0  # images of the source, in files that were read because they are new
    shards_written: int = 0
    pieces_done: int = 0
    failed: list[dict[str, str]] = field(default_factory=list)
    _committed: dict[str, list[Written | Refused]] = field(
        default_factory=lambda: defaultdict(list)
    )
    _attempts: dict[str, int] = field(default_factory=dict)
    _failed_in_a_row: int = 0
    _metrics: DriverMetrics = field(init=False)
    _renewed_s: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self._metrics = DriverMetrics.of("ingest", self.lease.source)

    def unknown(self, listed: Iterable[Listed | Ignored]) -> Iterator[Listed]:
        """What must be read; what is known is counted as it was."""
        for item in listed:
            self.keep_lease()
            if isinstance(item, Ignored):
                self.tally.ignored[item.what] += 1
                continue
            outcome = self.known.find(item, options=self.options)
            if outcome is None:
                yield item
            else:
                self.tally.add_known(outcome)

    def keep_lease(self) -> None:
        """Renew the lease when it is time.

        Raises:
            LeaseLostError: Another run took over the source.
        """
        if time.monotonic() - self._renewed_s > RENEW_S:
            self.workspace.catalog.renew_ingest(self.lease, LEASE_S)
            self._renewed_s = time.monotonic()

    def run_inline(self, engine: IngestEngine, pieces: Iterable[Piece]) -> None:
        """Work on pieces in this process; what goes wrong ends the run."""
        steps = engine.work(PieceTask(piece) for piece in pieces)
        with closing(cast(Any, steps)):
            for step in steps:
                self._advance(step.looked)
                if (written := step.written or step.refused) is not None:
                    self._commit(written)
                if step.done is not None:
                    self._commit_piece(step.done)
                self.keep_lease()

    def run_on(
        self,
        pool: ActorPool[PieceTask],
        collect: Callable[[], Collected],
        pieces: Iterator[Piece],
    ) -> None:
        """Work on pieces in the processes of a pool, until all are done or given up.

        Raises:
            StoreFullError: The store takes no more.
            SourceError: What was named as the source cannot be read at all.
            JobError: Processes cannot start, or one piece after the other fails.
        """
        with closing(self._metrics):
            while not (self._hand_out(pool, pieces) and pool.is_idle):
                outcomes = pool.wait(POLL_S)
                self._take(collect())  # before the outcomes: a piece is done after its last shard
                for outcome in outcomes:
                    self._settle(pool, outcome)
                self.keep_lease()
                self._metrics.turn(pool)

    def _hand_out(self, pool: ActorPool[PieceTask], pieces: Iterator[Piece]) -> bool:
        """Give out as many pieces as can start; True when there are no more."""
        for _ in range(pool.room()):
            piece = next(pieces, None)
            if piece is None:
                return True
            pool.submit(PieceTask(piece))
            self._attempts[piece.piece_id] = 0
        return False

    def _take(self, collected: Collected) -> None:
        self._advance(collected.looked)
        for each in collected.shards:
            # Of an attempt that was given up nothing counts: the next one does not know of it.
            if self._attempts.get(each.piece_id) == each.attempt:
                self._commit(each.written)
                self._committed[each.piece_id].append(each.written)

    def _advance(self, looked: int) -> None:
        self.looked += looked
        self.bar.advance(looked)

    def _settle(self, pool: ActorPool[PieceTask], outcome: Outcome[PieceTask]) -> None:
        if outcome.error is not None:
            self._put_down(pool, outcome, outcome.error)
            return
        self._forget(outcome.task)
        self._failed_in_a_row = 0
        self._commit_piece(outcome.result)

    def _put_down(
        self, pool: ActorPool[PieceTask], outcome: Outcome[PieceTask], error: str
    ) -> None:
        """Try again, alone, or give up."""
        kind, task = outcome.kind or Exception, outcome.task
        for ends in (StoreFullError, SourceError):
            if issubclass(kind, ends):
                raise ends(error.partition(": ")[2] or error)
        attempt = task.attempt + 1
        again = attempt < MAX_ATTEMPTS
        what = "will be tried again, alone" if again else "given up"
        self.warn(f"{name_of(task.piece)}: {error} (attempt {attempt} of {MAX_ATTEMPTS}; {what})")
        if again:
            committed = tuple(self._committed[task.piece.piece_id])
            self._attempts[task.piece.piece_id] = attempt
            pool.submit(PieceTask(task.piece, committed, attempt), alone=True)
        else:
            self._give_up(task, error)

    def _give_up(self, task: PieceTask, error: str) -> None:
        self._forget(task)
        self.failed.append({"piece": name_of(task.piece), "error": error})
        self._failed_in_a_row += 1
        if self._failed_in_a_row >= MAX_FAILED_IN_A_ROW:
            raise JobError(f"{self._failed_in_a_row} pieces in a row failed, the last: {error}")

    def _forget(self, task: PieceTask) -> None:
        self._attempts.pop(task.piece.piece_id, None)
        self._committed.pop(task.piece.piece_id, None)

    def _commit(self, written: Written | Refused) -> None:
        catalog = self.workspace.catalog
        if isinstance(written, Refused):
            catalog.commit_drops(self.lease, written.batch, dropped=written.dropped)
            self._count(0, written.dropped)
            return
        is_new = catalog.commit_image_shard(self.lease, written.shard, dropped=written.dropped)
        self.shards_written += is_new
        if is_new:
            self._count(written.shard.rows, written.dropped)

    def _count(self, images: int, dropped: Mapping[str, int]) -> None:
        self._metrics.record.count("factory_ingested_images_total", images)
        for reason, count in dropped.items():
            self._metrics.record.count("factory_dropped_images_total", count, reason=reason)

    def _commit_piece(self, done: PieceDone) -> None:
        catalog = self.workspace.catalog
        if done.refused is not None:
            self._commit(done.refused)
        if done.items:
            catalog.commit_piece(self.lease, done.piece_id, options=self.options, items=done.items)
        self.tally.add(done.tally)
        self.found_again += done.tally.already_present
        self.pieces_done += 1
        self.bar.describe(f"{self.pieces_done} pieces done")


def name_of(piece: Piece) -> str:
    """A piece as a person finds it: its items, from the first to the last."""
    first, last = piece.items[0].path, piece.items[-1].path
    named = (first or "the source") if len(piece.items) == 1 else f"{first} … {last}"
    return f"piece {piece.piece_id}, {named}"
