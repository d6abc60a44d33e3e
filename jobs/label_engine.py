"""Labels one image shard at a time: decode, forward, quantise, encode, one object.

A plain class without Ray, so that tests and benchmarks run it inline and a Ray actor is the same
code. Threads decode and encode (both release the GIL) while the network runs; two shards may be
under way at once, so the network does not wait at the border between them.

Batches hold images of one size, taken in the shard's order within a bounded look-ahead. What is
batched with what follows from the shard alone: the same shard on the same device gives the same
bytes.
"""

import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jobs.label_recipe import LabelRecipe
from jobs.models import ModelLocation, fetch_model
from model.depth_model import DepthModel, load_depth_model
from model.errors import CheckpointError
from pipeline.depth_codec import BITS, encode, quantise
from pipeline.images import ImageDecodeError, decode_rgb
from pipeline.labels import describe_labels, write_label_shard
from pipeline.records import ImageRecord, LabelManifest, LabelRecord, ShardRef
from pipeline.shards import load_bytes, read_image_rows
from pipeline.storage import Store, label_shard_key

LOOK_AHEAD_BATCHES = 4


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
        threads: Decoding and encoding threads per engine.
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


@dataclass(frozen=True, slots=True)
class _Prepared:
    """An image ready for the network, or why it is not."""

    index: int
    record: ImageRecord
    image_HWC: NDArray[np.uint8] | None
    refusal: str | None = None


class LabelEngine:
    """Loads the teacher once, then labels shards.

    Raises:
        CheckpointError: The weights found here are not those the recipe names.
    """

    def __init__(self, job: LabelJob, *, device: str = "auto") -> None:
        self._job = job
        self._store = job.store
        self._model = _load_teacher(job, self._store, device)
        self._batch_size = job.batch_size or 8
        self._threads = ThreadPoolExecutor(job.threads, thread_name_prefix="label-io")
        self._network_lock = threading.Lock()

    def ready(self) -> str:
        """Answers once the teacher is loaded: the device it is on."""
        return str(self._model.device)

    def label(self, task: LabelTask) -> LabelManifest:
        """Label every row of one shard and write one object; commits nothing."""
        started = time.monotonic()
        forward_s = 0.0
        rows: dict[int, Future[LabelRecord] | LabelRecord] = {}
        for batch in _batches(self._prepared(task.shard), self._batch_size):
            if batch[0].image_HWC is None:
                rows.update((item.index, _quarantined(item)) for item in batch)
                continue
            maps, seconds = self._forward(batch)
            forward_s += seconds
            for item, map_HW in zip(batch, maps, strict=True):
                rows[item.index] = self._threads.submit(self._encode, item, map_HW)
        records = [_result(rows[index]) for index in range(len(rows))]
        return self._write(task, records, forward_s=forward_s, started=started)

    def _prepared(self, shard: ShardRef) -> Iterator[_Prepared]:
        """Decoded and resized images in the shard's order, a bounded number ahead."""
        ahead: deque[Future[_Prepared]] = deque()
        limit = LOOK_AHEAD_BATCHES * self._batch_size
        for index, record in enumerate(read_image_rows(self._store, shard.key)):
            ahead.append(self._threads.submit(self._prepare, index, record))
            if len(ahead) > limit:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()

    def _prepare(self, index: int, record: ImageRecord) -> _Prepared:
        data = load_bytes(record)
        try:
            image_HWC = decode_rgb(data)
        except ImageDecodeError as error:
            return _Prepared(index, record, None, error.reason)
        try:
            return _Prepared(index, record, self._model.prepare(image_HWC))
        except ValueError:  # a strip that the size rule would blow up beyond all memory
            return _Prepared(index, record, None, "too_large_for_network")

    def _forward(self, batch: list[_Prepared]) -> tuple[NDArray[np.float32], float]:
        """Disparity maps B x H x W of images of one size, and the seconds the network took."""
        images = np.stack([item.image_HWC for item in batch if item.image_HWC is not None])
        with self._network_lock:
            started = time.monotonic()
            maps: NDArray[np.float32] = self._model.disparity(images).cpu().numpy()
            return maps, time.monotonic() - started

    def _encode(self, item: _Prepared, map_HW: NDArray[np.float32]) -> LabelRecord:
        if not np.isfinite(map_HW).all():
            return _quarantined(item, "non_finite_output")
        quantised = quantise(map_HW, bits=BITS[self._job.recipe.codec])
        return LabelRecord(
            sample_id=item.record.sample_id,
            sha256=item.record.sha256,
            status="labelled",
            codec=self._job.recipe.codec,
            disparity=encode(quantised),
            minimum=quantised.minimum,
            maximum=quantised.maximum,
            height=map_HW.shape[0],
            width=map_HW.shape[1],
            geometry=self._job.recipe.geometry,
        )

    def _write(
        self, task: LabelTask, records: list[LabelRecord], *, forward_s: float, started: float
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
            forward_s=forward_s,
            wall_s=time.monotonic() - started,
        )


def _load_teacher(job: LabelJob, store: Store, device: str) -> DepthModel:
    recipe = job.recipe
    model = load_depth_model(
        fetch_model(job.location, store),
        device=device,
        precision=recipe.precision,
        side=recipe.side,
    )
    if model.sha256 != recipe.teacher_sha256:
        raise CheckpointError(
            f"teacher {job.teacher}: weights here have sha256 {model.sha256}, "
            f"the label set was opened with {recipe.teacher_sha256}"
        )
    return model


def _batches(items: Iterable[_Prepared], batch_size: int) -> Iterator[list[_Prepared]]:
    """Batches of one size; refused images come alone. Never more than a look-ahead is held."""
    waiting: dict[tuple[int, ...], list[_Prepared]] = {}
    for item in items:
        if item.image_HWC is None:
            yield [item]
            continue
        same_size = waiting.setdefault(item.image_HWC.shape, [])
        same_size.append(item)
        if len(same_size) == batch_size:
            yield waiting.pop(item.image_HWC.shape)
        elif sum(map(len, waiting.values())) > LOOK_AHEAD_BATCHES * batch_size:
            yield waiting.pop(max(waiting, key=lambda size: len(waiting[size])))
    yield from waiting.values()


def _quarantined(item: _Prepared, reason: str | None = None) -> LabelRecord:
    return LabelRecord(
        sample_id=item.record.sample_id,
        sha256=item.record.sha256,
        status="quarantined",
        reason=reason or item.refusal,
    )


def _result(row: Future[LabelRecord] | LabelRecord) -> LabelRecord:
    return row.result() if isinstance(row, Future) else row
