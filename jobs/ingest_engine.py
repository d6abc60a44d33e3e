"""Reads pieces of a data set, and writes what is new in them as shards.

A plain class without Ray, so that the driver and tests run it inline and a Ray actor is the same
code. Threads read and look; what they looked at is judged and packed in the order of the piece, so
that the shards of a run that was killed come out as if nothing had happened. A shard that is full
is put as one object together with what was refused beside it, looked at again, and handed on at
once, to be committed by the driver: a piece may be an archive of a terabyte.

In memory: `AHEAD_BYTES` of what was read, two row groups that wait to be packed.
"""

import gc
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, cast

from jobs.ingest_judge import DETAILS, Answer, Question, Verdict
from jobs.ingest_look import IngestJob, Looked, look
from jobs.ingest_piece import PieceDone, PieceTask, PieceWork
from jobs.shard_writer import Refused, ShardWriter, Written
from pipeline.data_sets import read_item
from pipeline.examiner import Examiner
from pipeline.lookahead import map_ahead
from pipeline.records import Drop, Ignored, ImageRecord, Member
from pipeline.seen import drop_digest
from pipeline.shards import ROW_GROUP_ROWS
from pipeline.sources import Unread, weight

AHEAD_BYTES = 128 << 20
AHEAD = 256
TOGETHER = 16  # handing over a single image costs as much as looking at it
# A shard is cut here too, so that memory and uploads stay bounded where images are large.
SHARD_BYTES = 512 << 20
# What is refused waits for the next shard, which in a hostile archive may never come.
MAX_DROPS = 1 << 16

Judging = Callable[[Sequence[Question]], list[Answer]]


@dataclass(frozen=True, slots=True)
class Step:
    """Something has happened: samples were looked at, a shard or drops written, a piece done."""

    task: PieceTask
    looked: int = 0
    written: Written | None = None
    refused: Refused | None = None
    done: PieceDone | None = None


class IngestEngine:
    """Works on pieces, one after the other; the next one is read while the last one is written."""

    def __init__(self, job: IngestJob, judge: Judging) -> None:
        self._job = job
        self._judge = judge

    def work(self, tasks: Iterable[PieceTask]) -> Iterator[Step]:
        """Read pieces as they are asked for; shards of a piece come in their order.

        Raises:
            SourceError: An archive that was named as the whole source is none.
            StorageError: The data set cannot be read any more, or the store not be written.
        """
        job = self._job
        decoders = min(job.threads, os.cpu_count() or 1)
        examine = Examiner(job.limits, verify=job.verify, children=decoders)
        looked = map_ahead(
            lambda at: _look(at, job, examine),
            self._found(tasks),
            threads=job.threads,
            ahead=AHEAD,
            together=TOGETHER,
            weigh=_weight,
            max_weight=AHEAD_BYTES,
        )
        writer = ShardWriter(job.store, source=job.source, code_version=job.code_version)
        with _old_objects_left_alone(), examine, closing(cast(Any, looked)), writer:
            yield from _Packing(job, self._judge, writer).pack(looked)

    def _found(self, tasks: Iterable[PieceTask]) -> Iterator["_Found"]:
        for task in tasks:
            work = PieceWork(task, self._job)
            for place, item in enumerate(task.piece.items):
                found = (
                    iter([item]) if isinstance(item, Drop) else read_item(item, self._job.data_set)
                )
                for each in found:
                    yield _Found(work, place, each)
            yield _Found(work, 0, None)


@contextmanager
def _old_objects_left_alone() -> Iterator[None]:
    """Collections of garbage pass over what was there before: a tenth of the time of small images.

    Those objects are the libraries', half a million of them.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@dataclass(frozen=True, slots=True)
class _Found:
    """Something found in the item at that place of a piece; None is the end of the piece."""

    work: PieceWork
    place: int
    found: Member | Drop | Ignored | Unread | None


@dataclass(frozen=True, slots=True)
class _Seen:
    """The same, looked at."""

    work: PieceWork
    place: int
    item: Looked | Drop | Ignored | None


def _look(at: _Found, job: IngestJob, examine: Examiner) -> _Seen:
    return _Seen(at.work, at.place, None if at.found is None else look(at.found, job, examine))


def _weight(found: _Found) -> int:
    each = found.found
    return 0 if each is None or isinstance(each, Ignored) else weight(each)


class _Packing:
    """Judges and packs what was looked at; one shard is being written meanwhile."""

    def __init__(self, job: IngestJob, judge: Judging, writer: ShardWriter) -> None:
        self._job = job
        self._judge = judge
        self._writer = writer
        self._writing: tuple[PieceWork, Future[Written]] | None = None
        self._ended: list[PieceWork] = []

    def pack(self, looked: Iterable[_Seen]) -> Iterator[Step]:
        """Everything there is, to the end of the last piece."""
        batch: list[_Seen] = []
        for each in looked:
            if each.item is not None:
                batch.append(each)
            if each.item is None or len(batch) == ROW_GROUP_ROWS:
                yield from self._take(each.work, batch)
                batch = []
            if each.item is None:
                yield from self._end(each.work)
        yield from self._settle()

    def _take(self, work: PieceWork, batch: Sequence[_Seen]) -> Iterator[Step]:
        asked = [_question(each.item) for each in batch if not isinstance(each.item, Ignored)]
        answers = iter(self._judge(asked) if asked else [])
        for each in batch:
            if isinstance(each.item, Ignored):
                work.ignore(each.place, each.item.what)
            elif isinstance(each.item, Drop):
                work.drop(each.place, each.item, is_known=next(answers).is_known)
            elif isinstance(each.item, Looked):
                yield from self._take_image(work, each.place, each.item, next(answers))
        yield Step(work.task, looked=len(asked))
        if len(work.drops) >= MAX_DROPS:
            yield Step(work.task, refused=work.put_drops(self._writer))

    def _take_image(
        self, work: PieceWork, place: int, looked: Looked, answer: Answer
    ) -> Iterator[Step]:
        record, verdict = looked.record, answer.verdict
        # The judge knows nothing of earlier attempts; a file may have changed since the last one.
        before = work.before(looked) if verdict != "same" else "new"
        if verdict == "same" or before == "same":
            work.keep(place, record, is_old=verdict == "same")
        elif verdict != "new" or before == "changed":
            refused = "changed" if before == "changed" else verdict
            work.drop(place, _refusal(record, refused), is_known=answer.is_known)
        else:
            work.keep(place, record, is_old=False)
            self._writer.add(record)
            is_full = self._writer.rows >= self._job.shard_images
            if is_full or self._writer.bytes >= SHARD_BYTES:
                yield from self._cut(work)

    def _cut(self, work: PieceWork) -> Iterator[Step]:
        """Begin to write the shard that is full, once the one before it is handed on."""
        yield from self._settle()
        self._writing, work.drops = (work, self._writer.finish(work.drops)), []

    def _end(self, work: PieceWork) -> Iterator[Step]:
        if self._writer.rows:
            yield from self._cut(work)
        self._ended.append(work)
        if self._writing is None or self._writing[1].done():
            yield from self._settle()

    def _settle(self) -> Iterator[Step]:
        """Hand on what was being written, and the pieces that wait for nothing else."""
        if self._writing is not None:
            (work, future), self._writing = self._writing, None
            yield Step(work.task, written=future.result())
        while self._ended:
            work = self._ended.pop(0)
            yield Step(work.task, done=work.finish(self._job, self._writer))


def _question(item: Looked | Drop | Ignored | None) -> Question:
    if isinstance(item, Looked):
        record = item.record
        return Question(record.path, item.content, record.sample_id, record.sha256)
    assert isinstance(item, Drop)
    return Question(item.path, drop_digest(item))


def _refusal(record: ImageRecord, verdict: Verdict) -> Drop:
    detail = DETAILS[verdict]
    return Drop(record.path, record.uri, verdict, detail, record.sha256, record.length)
