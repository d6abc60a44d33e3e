"""A piece of a data set under way: what became of its samples so far, and at its end."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Literal

from jobs.ingest_look import IngestJob, Looked
from jobs.shard_writer import Refused, ShardWriter, Written
from pipeline.pieces import Outcome, Piece, write_piece
from pipeline.records import Drop, ImageRecord
from pipeline.seen import DigestSet, drop_digest, seen_drops, seen_samples
from pipeline.storage import dropped_key


@dataclass(frozen=True, slots=True)
class PieceTask:
    """A piece to be read.

    Attributes:
        committed: What earlier attempts at it handed in, in this run.
        attempt: How many there were.
    """

    piece: Piece
    committed: tuple[Written | Refused, ...] = ()
    attempt: int = 0


@dataclass(slots=True)
class Tally:
    """What became of the samples; ``samples_in == kept + sum(dropped)`` once a piece is done."""

    samples_in: int = 0
    kept: int = 0
    already_present: int = 0
    by_reference: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    ignored: Counter[str] = field(default_factory=Counter)

    def add(self, other: "Tally") -> None:
        """Count what another one has counted, too."""
        self.samples_in += other.samples_in
        self.kept += other.kept
        self.already_present += other.already_present
        self.by_reference += other.by_reference
        self.dropped += other.dropped
        self.ignored += other.ignored

    def move_to_dropped(self, copies: Counter[str]) -> None:
        """Count as dropped what was kept, and then taken out again."""
        self.kept -= copies.total()
        self.already_present = min(self.already_present, self.kept)
        self.dropped += copies

    def add_known(self, outcome: Outcome) -> None:
        """Count an item that was read in an earlier run."""
        self.samples_in += outcome.kept
        self.kept += outcome.kept
        self.already_present += outcome.kept
        for reason, count in outcome.dropped.items():
            self.samples_in += count
            self.dropped[reason] += count
        for what, count in outcome.ignored.items():
            self.ignored[what] += count


@dataclass(frozen=True, slots=True)
class PieceDone:
    """A piece that was read to its end.

    Attributes:
        items: How many of its items are known when they are listed again.
        refused: What was refused after its last shard.
    """

    piece_id: str
    items: int
    tally: Tally
    refused: Refused | None


class PieceWork:
    """A piece under way: what became of its samples so far."""

    def __init__(self, task: PieceTask, job: IngestJob) -> None:
        self.task = task
        self.tally = Tally()
        self.drops: list[Drop] = []
        self._outcomes: defaultdict[int, Outcome] = defaultdict(Outcome)
        shards = [each.shard for each in task.committed if isinstance(each, Written)]
        keys = [dropped_key(job.source, each.batch) for each in task.committed if each.dropped]
        self._written = seen_samples(job.store, shards)
        self._refused: DigestSet = seen_drops(job.store, keys)

    def before(self, looked: Looked) -> Literal["new", "same", "changed"]:
        """How an image stands to what earlier attempts in this run have committed."""
        return self._written.compare(looked.record.sample_id, looked.content)

    def keep(self, place: int, record: ImageRecord, *, is_old: bool) -> None:
        """Count an image that is in the source, or will be."""
        self.tally.samples_in += 1
        self.tally.kept += 1
        self.tally.already_present += is_old
        self.tally.by_reference += record.data is None and not is_old
        self._outcomes[place].kept += 1

    def drop(self, place: int, drop: Drop, *, is_known: bool) -> None:
        """Count what is refused, and have it written down unless it was before."""
        self.tally.samples_in += 1
        self.tally.dropped[drop.reason] += 1
        self._outcomes[place].drop(drop.reason)
        digest = drop_digest(drop)
        if not is_known and digest not in self._refused:
            self._refused.add(digest)
            self.drops.append(drop)

    def put_drops(self, writer: ShardWriter) -> Refused | None:
        """Write down by themselves those that wait for the next shard."""
        refused, self.drops = writer.put_drops(self.drops), []
        return refused

    def ignore(self, place: int, what: str) -> None:
        """Count what is no sample."""
        self.tally.ignored[what] += 1
        self._outcomes[place].ignore(what)

    def finish(self, job: IngestJob, writer: ShardWriter) -> PieceDone:
        """Write down what is left; all shards of the piece are written."""
        tally = self.tally
        assert tally.samples_in == tally.kept + tally.dropped.total(), tally
        piece, nothing = self.task.piece, Outcome()
        refused = self.put_drops(writer)
        outcomes = [self._outcomes.get(place, nothing) for place in range(len(piece.items))]
        items = write_piece(job.store, piece, outcomes, source=job.source)
        return PieceDone(piece.piece_id, items, tally, refused)
