"""What the driver makes of pieces that fail, of late shards, and of what it knows already."""

from collections import Counter, deque
from typing import Any

import pytest

from jobs.actor_pool import Outcome
from jobs.console import Reporter
from jobs.errors import JobError
from jobs.ingest_actors import Collected, HandedIn
from jobs.ingest_driver import MAX_FAILED_IN_A_ROW, IngestDriver, name_of
from jobs.ingest_piece import PieceDone, PieceTask, Tally
from jobs.shard_writer import Refused, Written
from jobs.workspace import Workspace
from pipeline.catalog import Catalog
from pipeline.errors import SourceError, StorageError, StoreFullError
from pipeline.pieces import KnownItems, Piece, cut_pieces, known_items, write_piece
from pipeline.pieces import Outcome as ItemOutcome
from pipeline.raw_files import FoundFile
from pipeline.records import Drop, Ignored
from pipeline.storage import Store
from tests.catalog_factories import begin_ingest, image_shard


def pieces(count: int) -> list[Piece]:
    files = [FoundFile(f"{n}.png", f"/d/{n}.png", 1, version="1") for n in range(count)]
    return list(cut_pieces(files, options="o", max_items=1, max_bytes=99))


class FakePool:
    """Runs each task at once, as ``play`` says."""

    def __init__(self, play: Any, *, room: int = 2) -> None:
        self.play, self._room = play, room
        self.ready_actors, self.starting_actors, self.lost_actors = 1, 0, 0
        self.queue: deque[tuple[PieceTask, bool]] = deque()

    @property
    def is_idle(self) -> bool:
        return not self.queue

    def room(self) -> int:
        return self._room - len(self.queue)

    def submit(self, task: PieceTask, *, alone: bool = False) -> None:
        assert alone == (task.attempt > 0)
        self.queue.append((task, alone))

    def wait(self, timeout_s: float) -> list[Outcome[PieceTask]]:
        task, _ = self.queue.popleft()
        return [self.play(task)]


class World:
    """A driver with a catalog; shards wait at the desk until they are collected."""

    def __init__(self, store: Store, catalog: Catalog, known: KnownItems | None = None) -> None:
        catalog.register_source("s", role="unlabelled", uri="/d", layout="auto")
        self.catalog, self.warnings = catalog, list[str]()
        self.desk: list[HandedIn] = []
        with Reporter.silent().progress("x", None) as bar:
            self.driver = IngestDriver(
                Workspace(store, catalog),
                begin_ingest(catalog, "s"),
                "o",
                known or KnownItems(),
                bar,
                self.warnings.append,
            )

    def collect(self) -> Collected:
        shards, self.desk = tuple(self.desk), []
        return Collected(len(shards), shards)

    def hand_in(self, task: PieceTask, number: int, *, attempt: int | None = None) -> Written:
        written = Written(image_shard("s", number), {})
        attempt = task.attempt if attempt is None else attempt
        self.desk.append(HandedIn(task.piece.piece_id, attempt, written))
        return written

    def run(self, play: Any, count: int) -> IngestDriver:
        self.driver.run_on(FakePool(play), self.collect, iter(pieces(count)))  # type: ignore[arg-type]
        return self.driver


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path))


@pytest.fixture
def world(store, tmp_path):
    with Catalog.open(f"sqlite:///{tmp_path / 'c.sqlite'}") as catalog:
        yield World(store, catalog)


def done(task: PieceTask, **changes: Any) -> Outcome[PieceTask]:
    facts = {"items": 1, "tally": Tally(1, 1), "refused": None} | changes
    return Outcome(task, result=PieceDone(piece_id=task.piece.piece_id, **facts))


def test_shards_are_committed_before_their_piece(world):
    def play(task: PieceTask) -> Outcome[PieceTask]:
        world.hand_in(task, int(task.piece.items[0].path[0]))
        return done(task, refused=Refused("d1", {"empty": 2}))

    driver = world.run(play, 3)
    assert (driver.pieces_done, driver.shards_written, driver.looked) == (3, 3, 3)
    assert driver.tally == Tally(3, 3)
    assert len(world.catalog.image_shards("s")) == len(world.catalog.pieces("s")) == 3
    assert world.catalog.drop_batches("s") == {"d1": {"empty": 2}}


def test_a_piece_that_fails_is_tried_three_times_and_then_named(world):
    tried: Counter[str] = Counter()

    def play(task: PieceTask) -> Outcome[PieceTask]:
        tried[task.piece.items[0].path] += 1
        if task.piece.items[0].path == "1.png":
            return Outcome(task, error="its actor died", actor_lost=True)
        return done(task)

    driver = world.run(play, 3)
    assert tried == {"0.png": 1, "1.png": 3, "2.png": 1}
    (failed,) = driver.failed
    assert "1.png" in failed["piece"] and failed["error"] == "its actor died"
    assert driver.pieces_done == 2 == len(world.catalog.pieces("s"))
    assert len(world.warnings) == 3 and "given up" in world.warnings[-1]


def test_the_next_attempt_is_told_what_is_committed_and_late_shards_count_for_nothing(world):
    told: list[tuple[Written, ...]] = []
    handed: list[Written] = []

    def play(task: PieceTask) -> Outcome[PieceTask]:
        told.append(task.committed)
        if task.attempt == 0:
            handed.append(world.hand_in(task, 0))
            return Outcome(task, error="its actor died", actor_lost=True)
        world.hand_in(task, 7, attempt=0)  # somebody taken for dead
        handed.append(world.hand_in(task, 1))
        return done(task)

    driver = world.run(play, 1)
    assert told == [(), (handed[0],)]
    assert world.catalog.image_shards("s") == [each.shard for each in handed]
    assert (driver.shards_written, driver.failed) == (2, [])


@pytest.mark.parametrize("kind", [StoreFullError, SourceError])
def test_some_errors_end_the_run_at_once(world, kind):
    def play(task: PieceTask) -> Outcome[PieceTask]:
        return Outcome(task, error=f"{kind.__name__}: no room", kind=kind)

    with pytest.raises(kind, match=r"^no room$"):
        world.run(play, 2)


def test_where_everything_fails_it_is_not_the_pieces(world):
    def play(task: PieceTask) -> Outcome[PieceTask]:
        return Outcome(task, error="StorageError: gone", kind=StorageError)

    with pytest.raises(JobError, match="in a row failed"):
        world.run(play, 50)
    assert len(world.driver.failed) == MAX_FAILED_IN_A_ROW


def test_what_is_known_is_counted_and_not_read(store, tmp_path):
    first, second, third = pieces(3)
    write_piece(store, first, [ItemOutcome(4, {"empty": 1}, {"mask": 2})], source="s")
    known = known_items(store, "s", {first.piece_id: 1.0})
    drop = Drop("x", "u", "no_truth")
    with Catalog.open(f"sqlite:///{tmp_path / 'c.sqlite'}") as catalog:
        driver = World(store, catalog, known).driver
        listed = [*second.items, Ignored("a.json", "annotation"), *first.items, drop, *third.items]
        assert list(driver.unknown(listed)) == [*second.items, drop, *third.items]
    ignored = Counter(annotation=1, mask=2)
    assert driver.tally == Tally(5, 4, 4, 0, Counter(empty=1), ignored)


def test_pieces_are_named_by_what_is_in_them():
    (one,) = pieces(1)
    assert name_of(one) == f"piece {one.piece_id}, 0.png"
    files = [item for piece in pieces(3) for item in piece.items]
    (three,) = cut_pieces(files, options="o", max_items=9, max_bytes=99)
    assert name_of(three) == f"piece {three.piece_id}, 0.png … 2.png"
