"""Labels one image shard at a time: decode, forward, quantise, encode, one object.

A plain class without Ray, so that tests and benchmarks run it inline and a Ray actor is the same
code. Two shards may be under way at once, in two threads that call `LabelEngine.label`. Each has:

    a thread that reads row groups a little ahead           jobs/prefetch.py
    the decoding threads, shared: decode and resize         a bounded number ahead
    its caller: batches of one size, stacked                jobs/label_batches.py
    the network's thread, shared: the older shard first     jobs/label_network.py
    the encoding threads, shared: wait for codes, encode    jobs/label_rows.py
    its caller again: one object, when every row is there

Memory, for each shard under way: 2 batches decoded, 4 sorted by size, 3 stacked or in the network,
4 as codes (two thirds of an image's bytes), together 12 batches of 1.1 MB an image at 518 pixels
and 4:3 (0.8 GB with batches of 64; on a GPU the last seven are pinned, in blocks of powers of two);
the encoded images of three row groups, and of those that wait to be decoded; its labels, some 0.3
MB each, and once more while they are written. Besides, one original per decoding thread.

The same shard with the same batch size on the same device gives the same bytes, whatever else runs.
Two things break that, as sums round: a CPU that computes with another number of threads, and a
device that runs out of memory on the way, for the batches after that are smaller.
"""

import itertools
import time
from collections import Counter, deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial

from jobs.label_batches import Prepared, batches_by_size, done_ahead, prepared_image
from jobs.label_network import LabelNetwork
from jobs.label_recipe import LabelRecipe
from jobs.label_rows import images_to_label, kept_rows, quarantined_row, row_of_codes
from jobs.models import ModelLocation, fetch_model
from jobs.names import place
from jobs.prefetch import prefetched
from jobs.stage_clock import StageClock
from model.depth_model import DepthModel, load_depth_model
from model.errors import CheckpointError
from model.label_pass import LabelPass, LaunchedBatch
from pipeline.depth_codec import BITS
from pipeline.labels import describe_labels, write_label_shard
from pipeline.records import ImageRecord, LabelManifest, LabelRecord, ShardRef
from pipeline.shards import ROW_GROUP_ROWS, load_bytes
from pipeline.storage import Store, label_shard_key

DECODED_BATCHES = 2
SUBMITTED_BATCHES = 2
CODED_BATCHES = 4

_Row = tuple[int, "Future[LabelRecord]"]


@dataclass(frozen=True, slots=True)
class LabelTask:
    """One image shard to label, and the name of this attempt at it.

    Attributes:
        previous: Key of a label shard whose labelled rows are kept as they are, so that only its
            quarantined ones are tried again; None to label every row.
    """

    shard: ShardRef
    attempt: str
    previous: str | None = None


@dataclass(frozen=True, slots=True)
class LabelJob:
    """What every shard of a label set has in common; small and picklable.

    Attributes:
        batch_size: Images per forward pass; None to find it on the device.
        threads: Decoding threads per engine, and as many that encode.
        memory_share: Share of the device's memory that one engine may use, 0..1.
    """

    store: Store
    label_set: str
    teacher: str
    location: ModelLocation
    recipe: LabelRecipe
    code_version: str
    batch_size: int | None
    threads: int
    memory_share: float = 1.0


class LabelEngine:
    """Loads the teacher once, then labels shards.

    Raises:
        CheckpointError: The weights found here are not those the recipe names.
    """

    def __init__(self, job: LabelJob, *, device: str = "auto") -> None:
        self._job = job
        self._store = job.store
        self._model = _load_teacher(job, self._store, device)
        self._decoders = ThreadPoolExecutor(job.threads, thread_name_prefix="label-decode")
        self._encoders = ThreadPoolExecutor(job.threads, thread_name_prefix="label-encode")
        self._network = LabelNetwork(
            LabelPass(self._model, bits=BITS[job.recipe.codec], consistency=job.recipe.consistency),
            batch_size=job.batch_size,
            memory_share=job.memory_share,
        )
        self._turns = itertools.count()

    def __repr__(self) -> str:
        """What Ray shows of an actor."""
        return f"label {self._job.label_set} on {self.ready()}"

    def ready(self) -> str:
        """Answers once the teacher is loaded: where it is."""
        return place(str(self._model.device))

    def label(self, task: LabelTask) -> LabelManifest:
        """Label every row of one shard and write one object; commits nothing.

        After an error the engine is ready for the next shard.

        Raises:
            ShardCorruptError: The shard, or the label shard named in ``previous``, is not what it
                should be.
        """
        started, clock, turn = time.monotonic(), StageClock(), next(self._turns)
        with clock.measure("read"):
            rows = kept_rows(self._store, task.shard, previous=task.previous)
        with closing(self._batches(task.shard, frozenset(rows), clock)) as batches:
            rows.update(self._labelled(batches, turn, clock))
        records = [rows[place] for place in range(len(rows))]
        return self._write(task, records, clock=clock, started=started)

    def _batches(
        self, shard: ShardRef, kept: frozenset[int], clock: StageClock
    ) -> Generator[list[Prepared]]:
        """Decoded and resized images in batches; closing it ends what is under way."""
        images = clock.measured(images_to_label(self._store, shard, kept=kept), "read")
        with closing(prefetched(images, depth=ROW_GROUP_ROWS)) as ahead:
            prepared = done_ahead(
                ahead,
                partial(self._prepare, clock),
                self._decoders,
                ahead=DECODED_BATCHES * self._network.room.batch_size,
                weigh=self._pixels,
                max_weight=self._network.room.pixels(DECODED_BATCHES),
            )
            with closing(prepared):
                yield from batches_by_size(prepared, self._network.room)

    def _pixels(self, image: tuple[int, ImageRecord]) -> int:
        """At the network, by what the header says."""
        header = image[1].header
        height, width = self._model.preprocessing.size_for(header.height, header.width)
        return height * width

    def _prepare(self, clock: StageClock, image: tuple[int, ImageRecord]) -> Prepared:
        place, record = image
        with clock.measure("read"):
            data = load_bytes(record)
        with clock.measure("decode"):
            return prepared_image(record, data, place=place, model=self._model)

    def _labelled(
        self, batches: Iterable[list[Prepared]], turn: int, clock: StageClock
    ) -> dict[int, LabelRecord]:
        """The rows of these batches; when one of them fails nothing stays queued."""
        rows: dict[int, LabelRecord] = {}
        submitted: deque[Future[list[_Row]]] = deque()
        coded: deque[_Row] = deque()
        try:
            for batch in batches:
                if batch[0].image_HWC is None:
                    rows.update((each.place, _refused(each)) for each in batch)
                    continue
                encode = partial(self._encode_later, clock)
                submitted.append(self._network.submit(turn, batch, then=encode))
                while len(submitted) > SUBMITTED_BATCHES:
                    coded.extend(submitted.popleft().result())
                while len(coded) > CODED_BATCHES * self._network.room.batch_size:
                    _take(coded, rows)
            while submitted:
                coded.extend(submitted.popleft().result())
            while coded:
                _take(coded, rows)
        finally:
            for launch in submitted:
                if not launch.cancel():  # on its way, or back with rows that nobody took
                    launch.add_done_callback(_cancel_rows)
            for _, row in coded:
                row.cancel()
        return rows

    def _encode_later(
        self, clock: StageClock, item: Prepared, launched: LaunchedBatch | None, index: int
    ) -> _Row:
        """A row to come; the network's thread calls this and must not wait."""
        if launched is None:
            row: Future[LabelRecord] = Future()
            row.set_result(_refused(item, "out_of_memory"))
            return item.place, row
        return item.place, self._encoders.submit(self._encode, clock, item, launched, index)

    def _encode(
        self, clock: StageClock, item: Prepared, launched: LaunchedBatch, index: int
    ) -> LabelRecord:
        codes = launched.wait(index)
        if index == 0:
            clock.add("forward", launched.seconds())
        with clock.measure("encode"):
            return row_of_codes(item.record, codes, recipe=self._job.recipe)

    def _write(
        self, task: LabelTask, records: list[LabelRecord], *, clock: StageClock, started: float
    ) -> LabelManifest:
        job, shard = self._job, task.shard
        footer = describe_labels(
            label_set=job.label_set,
            shard_id=shard.shard_id,
            image_shard_sha256=shard.sha256,
            teacher=job.teacher,
            teacher_sha256=job.recipe.teacher_sha256,
            recipe=job.recipe.as_dict(),
            recipe_hash=job.recipe.digest(),
            code_version=job.code_version,
        )
        key = label_shard_key(job.label_set, shard.shard_id, task.attempt)
        with clock.measure("write"):
            written = write_label_shard(self._store, records, key=key, footer=footer)
        quarantined = Counter(row.reason for row in records if row.reason is not None)
        return LabelManifest(
            label_set=job.label_set,
            shard_id=shard.shard_id,
            key=key,
            sha256=written.sha256,
            bytes=written.bytes,
            rows=len(records),
            labelled=sum(row.status == "labelled" for row in records),
            quarantined=dict(quarantined),
            forward_s=clock.seconds()["forward"],
            wall_s=time.monotonic() - started,
            stages=clock.seconds(),
            batch_size=self._network.room.batch_size,
        )


def _load_teacher(job: LabelJob, store: Store, device: str) -> DepthModel:
    recipe = job.recipe
    model = load_depth_model(
        fetch_model(job.location, store),
        device=device,
        precision=recipe.precision,
        side=recipe.side,
        resize=recipe.resize,
    )
    if model.sha256 != recipe.teacher_sha256:
        raise CheckpointError(
            f"teacher {job.teacher}: weights here have sha256 {model.sha256}, "
            f"the label set was opened with {recipe.teacher_sha256}"
        )
    return model


def _refused(item: Prepared, reason: str | None = None) -> LabelRecord:
    return quarantined_row(item.record, reason or item.refusal)


def _cancel_rows(launch: "Future[list[_Row]]") -> None:
    if launch.exception() is None:
        for _, row in launch.result():
            row.cancel()


def _take(coded: deque[_Row], rows: dict[int, LabelRecord]) -> None:
    place, row = coded.popleft()
    rows[place] = row.result()
