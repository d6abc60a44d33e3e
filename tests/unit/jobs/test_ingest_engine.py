"""An engine turns pieces into shards: in order, counted by item, and again where it was killed."""

import dataclasses
import io
import tarfile
from collections import Counter

import pytest

from jobs.ingest_engine import IngestEngine, Step
from jobs.ingest_judge import Before, Judge
from jobs.ingest_look import IngestJob
from jobs.ingest_piece import PieceTask, Tally
from pipeline.data_sets import DataSet
from pipeline.errors import StorageError
from pipeline.filters import ImageLimits
from pipeline.pieces import Outcome, Piece, cut_pieces, known_items
from pipeline.raw_files import walk_folder
from pipeline.records import Drop, Ignored
from pipeline.shards import read_drops, read_image_rows
from pipeline.storage import Store, dropped_key
from tests.factories import png

OPTIONS = "o"


@pytest.fixture
def folder(tmp_path):
    """Ten images, one of them torn, and a tar of five with a text between them."""
    root = tmp_path / "raw"
    root.mkdir()
    for number in range(10):
        (root / f"{number}.png").write_bytes(png(number)[: 300 if number == 4 else None])
    with tarfile.open(root / "more.tar", "w") as archive:
        for name in ("a.png", "b.png", "c.txt", "d.png", "e.png", "f.png"):
            data = b"text" if name == "c.txt" else png(100 + ord(name[0]))
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return root


@pytest.fixture
def job(tmp_path, folder):
    return IngestJob(
        store=Store(str(tmp_path / "store")),
        source="s",
        data_set=DataSet(uri=str(folder)),
        options=OPTIONS,
        role="unlabelled",
        verify="header",
        limits=ImageLimits(),
        licence="MIT",
        attribution=None,
        by_reference=False,
        shard_images=3,
        code_version="test",
        threads=2,
    )


def pieces_of(folder, *, max_items: int = 4, max_bytes: int = 1 << 20) -> list[Piece]:
    items = walk_folder(str(folder))
    return list(cut_pieces(items, options=OPTIONS, max_items=max_items, max_bytes=max_bytes))


def run(job: IngestJob, tasks, *, before: Before | None = None) -> list[Step]:
    return list(IngestEngine(job, Judge(job.store, before or Before()).judge).work(tasks))


def paths(job: IngestJob, steps: list[Step]) -> list[list[str]]:
    keys = [step.written.shard.key for step in steps if step.written]
    return [[row.path for row in read_image_rows(job.store, key)] for key in keys]


def total(steps: list[Step]) -> Tally:
    tally = Tally()
    for step in steps:
        if step.done:
            tally.add(step.done.tally)
    return tally


def test_shards_of_a_piece_are_in_its_order_and_end_with_it(job, folder):
    pieces = pieces_of(folder)
    assert [len(piece.items) for piece in pieces] == [4, 4, 3]
    steps = run(job, [PieceTask(piece) for piece in pieces])
    assert paths(job, steps) == [
        ["0.png", "1.png", "2.png"],
        ["3.png"],
        ["5.png", "6.png", "7.png"],
        ["8.png", "9.png", "more.tar/a.png"],
        ["more.tar/b.png", "more.tar/d.png", "more.tar/e.png"],
        ["more.tar/f.png"],
    ]
    assert sum(step.looked for step in steps) == 16
    assert total(steps) == Tally(16, 14, 0, 0, Counter(truncated=1, not_an_image=1))


def test_all_shards_of_a_piece_come_before_its_end(job, folder):
    pieces = pieces_of(folder)
    ended, last = set(), 0
    for step in run(job, [PieceTask(piece) for piece in pieces]):
        place = pieces.index(step.task.piece)
        if step.written:
            assert place not in ended and place >= last
            last = place
        if step.done:
            ended.add(place)
    assert ended == {0, 1, 2}


def test_pieces_alone_or_in_another_order_give_the_same_shards(job, folder, tmp_path):
    pieces = pieces_of(folder)
    together = {s.written.shard for s in run(job, map(PieceTask, pieces)) if s.written}
    other = dataclasses.replace(job, store=Store(str(tmp_path / "other")))
    alone = {
        step.written.shard
        for piece in reversed(pieces)
        for step in run(other, [PieceTask(piece)])
        if step.written
    }
    assert alone == together


def test_what_became_of_each_item_is_written_down(job, folder):
    *_, piece = pieces_of(folder, max_items=11)
    (done,) = [step.done for step in run(job, [PieceTask(piece)]) if step.done]
    assert (done.items, done.piece_id) == (11, piece.piece_id)
    known = known_items(job.store, "s", {piece.piece_id: 1.0})
    outcomes = [known.find(item, options=OPTIONS) for item in piece.items]
    assert outcomes[0] == Outcome(1)
    assert outcomes[4] == Outcome(0, {"truncated": 1})
    assert outcomes[10] == Outcome(5, {"not_an_image": 1})


def test_drops_lie_beside_the_next_shard_or_after_the_last(job, folder):
    (piece,) = pieces_of(folder, max_items=11)
    steps = run(job, [PieceTask(piece)])
    written = [step.written for step in steps if step.written]
    assert [each.dropped for each in written] == [{}, {"truncated": 1}, {}, {"not_an_image": 1}, {}]
    (done,) = [step.done for step in steps if step.done]
    assert done.refused is None
    (folder / "zz.txt").write_text("no image")
    (late,) = pieces_of(folder, max_items=12)
    shards = [each.shard for each in written]
    drops = [dropped_key("s", each.shard.shard_id) for each in written if each.dropped]
    steps = run(job, [PieceTask(late)], before=Before(shards=shards, drops=drops))
    (done,) = [step.done for step in steps if step.done]
    assert not any(step.written for step in steps)
    assert done.refused is not None and done.refused.dropped == {"not_an_image": 1}
    (drop,) = read_drops(job.store, dropped_key("s", done.refused.batch))
    assert drop.path == "zz.txt"
    assert (done.tally.kept, done.tally.already_present) == (14, 14)


@pytest.mark.parametrize("shards", [0, 1, 2, 4, 5])
def test_a_piece_that_is_tried_again_goes_on_after_its_committed_shards(job, folder, shards):
    (piece,) = pieces_of(folder, max_items=11)
    first = [step.written for step in run(job, [PieceTask(piece)]) if step.written]
    again = run(job, [PieceTask(piece, tuple(first[:shards]), attempt=1)])
    assert [step.written for step in again if step.written] == first[shards:]
    assert total(again) == Tally(16, 14, 0, 0, Counter(truncated=1, not_an_image=1))
    assert all(step.done is None or step.done.refused is None for step in again)


def test_a_file_that_changed_between_two_attempts_is_not_in_the_source_twice(job, folder):
    (piece,) = pieces_of(folder, max_items=11)
    first = [step.written for step in run(job, [PieceTask(piece)]) if step.written]
    (folder / "1.png").write_bytes(png(77))
    again = run(job, [PieceTask(piece, tuple(first[:1]), attempt=1)])
    shards = [first[0], *(step.written for step in again if step.written)]
    paths = Counter(
        row.path for each in shards for row in read_image_rows(job.store, each.shard.key)
    )
    assert len(paths) == 14 and set(paths.values()) == {1}
    assert total(again).dropped == Counter(changed=1, truncated=1, not_an_image=1)


def test_drops_do_not_pile_up_where_no_shard_comes(job, tmp_path, monkeypatch):
    from jobs import ingest_engine

    monkeypatch.setattr(ingest_engine, "MAX_DROPS", 100)
    folder = tmp_path / "nothing"
    folder.mkdir()
    for number in range(300):
        (folder / f"{number:03}.txt").write_text("no image")
    (piece,) = pieces_of(folder, max_items=300)
    steps = run(job, [PieceTask(piece)])
    (done,) = [step.done for step in steps if step.done]
    refused = [step.refused for step in steps if step.refused]
    rest = [done.refused] if done.refused else []
    keys = [dropped_key("s", each.batch) for each in refused + rest]
    assert [each.dropped for each in refused] == [{"not_an_image": 128}] * 2
    assert sorted(drop.path for key in keys for drop in read_drops(job.store, key)) == [
        f"{number:03}.txt" for number in range(300)
    ]
    assert total(steps) == Tally(300, 0, 0, 0, Counter(not_an_image=300))
    again = run(job, [PieceTask(piece, tuple(refused), attempt=1)])
    assert not any(step.refused for step in again)
    assert [step.done.refused for step in again if step.done] == rest


def test_files_that_are_no_samples_are_counted_apart(job, folder, monkeypatch):
    from jobs import ingest_engine

    found = iter([Ignored("a.json", "annotation"), Drop("b", "u", "empty"), Ignored("c", "mask")])
    monkeypatch.setattr(ingest_engine, "read_item", lambda item, data_set: found)
    (piece,) = pieces_of(folder, max_items=11)
    one = dataclasses.replace(piece, items=piece.items[:1], digests=piece.digests[:1])
    tally = total(run(job, [PieceTask(one)]))
    assert (tally.samples_in, tally.kept, tally.dropped) == (1, 0, Counter(empty=1))
    assert tally.ignored == Counter(annotation=1, mask=1)


def test_what_the_listing_refuses_is_a_drop(job):
    drop = Drop("a.png", "u", "no_truth", "nothing belongs to it")
    (piece,) = cut_pieces([drop], options=OPTIONS, max_items=9, max_bytes=9)
    (done,) = [step.done for step in run(job, [PieceTask(piece)]) if step.done]
    assert (done.tally.samples_in, done.tally.dropped) == (1, Counter(no_truth=1))
    assert list(read_drops(job.store, dropped_key("s", done.refused.batch))) == [drop]


def test_a_run_that_is_given_up_leaves_no_scratch_files(job, folder, tmp_path):
    steps = IngestEngine(job, Judge(job.store, Before()).judge).work(
        PieceTask(piece) for piece in pieces_of(folder)
    )
    next(steps)
    steps.close()
    assert not list((tmp_path / "store").glob(".tmp-*"))


def test_what_cannot_be_written_ends_the_run(job, folder, monkeypatch):
    def full(*_, **__) -> None:
        raise StorageError("the disk is full")

    monkeypatch.setattr(Store, "put_file", full)
    with pytest.raises(StorageError, match="the disk is full"):
        run(job, map(PieceTask, pieces_of(folder)))


def test_tallies_add_up_with_what_was_known():
    tally = Tally(3, 2, 1, 0, Counter(empty=1), Counter(mask=1))
    tally.add_known(Outcome(5, {"empty": 1, "torn": 2}, {"mask": 4}))
    assert tally == Tally(11, 7, 6, 0, Counter(empty=2, torn=2), Counter(mask=5))
    assert tally.samples_in == tally.kept + tally.dropped.total()
