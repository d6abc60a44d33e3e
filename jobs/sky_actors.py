"""Finds the sky in one image shard at a time: decode, forward, one object of masks.

A plain class without Ray, so that tests run it inline and a Ray actor is the same code. Two shards
may be under way at once, in two threads that call `SkyEngine.label`: one decodes while the other's
batch is in the network. Memory for each: 32 images at the network's size (3 MB each at 512 pixels),
one original per decoding thread, the masks of the shard packed.
"""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs import names
from jobs.label_actors import ActorPlan, start_actor
from jobs.models import ModelLocation, fetch_model
from jobs.ray_runtime import Resources
from model.errors import CheckpointError
from model.segmentation import load_segmenter
from pipeline.errors import ShardCorruptError
from pipeline.images import ImageDecodeError, decode_rgb
from pipeline.lookahead import map_ahead
from pipeline.records import ImageRecord
from pipeline.shards import load_bytes, read_image_rows, row_group_rows
from pipeline.sky_masks import (
    SkyRow,
    SkyShard,
    describe_sky,
    mask_size,
    sky_key,
    write_sky_shard,
)
from pipeline.storage import Store

BATCH = 8
_WINDOW = 4 * BATCH


@dataclass(frozen=True, slots=True)
class SkySegmenter:
    """A segmentation model, as a run names it and as other machines find it.

    Attributes:
        reference: As it was written.
        sha256: Hex digest over its weights and configuration.
    """

    reference: str
    location: ModelLocation
    sha256: str


@dataclass(frozen=True, slots=True)
class SkyJob:
    """What every shard has in common; small and picklable.

    Attributes:
        threads: Decoding threads for each shard under way.
    """

    store: Store
    segmenter: SkySegmenter
    code_version: str
    threads: int


@dataclass(frozen=True, slots=True)
class SkyTask:
    """One image shard to look at."""

    source: str
    shard_id: str
    image_key: str
    image_sha256: str
    rows: int

    def key(self, segmenter: SkySegmenter) -> str:
        """Where its masks lie, or will."""
        return sky_key(self.source, segmenter.sha256, self.shard_id)


@dataclass(frozen=True, slots=True)
class _Looked:
    """A row of the shard: its image at the network's size, or why there is none.

    Attributes:
        mask_size: Height and width of its mask.
    """

    row: SkyRow
    pixels_CHW: NDArray[np.float32] | None = None
    mask_size: tuple[int, int] = (0, 0)


class SkyEngine:
    """Loads the segmenter once, then looks at shards.

    Raises:
        CheckpointError: The weights found here are not those the masks are to be named after.
    """

    def __init__(self, job: SkyJob, *, device: str = "auto") -> None:
        self._job = job
        self._segmenter = load_segmenter(
            fetch_model(job.segmenter.location, job.store), device=device
        )
        if self._segmenter.sha256 != job.segmenter.sha256:
            raise CheckpointError(
                f"segmenter {job.segmenter.reference}: weights here have sha256 "
                f"{self._segmenter.sha256}, the driver found {job.segmenter.sha256}"
            )
        self._turn = threading.Lock()

    def __repr__(self) -> str:
        """What Ray shows of an actor."""
        return f"find sky on {self.ready()}"

    def ready(self) -> str:
        """Answers once the segmenter is loaded: where it is."""
        return names.place(str(self._segmenter.device))

    def label(self, task: SkyTask) -> SkyShard:
        """Look at every image of one shard and put one object of masks, or find it there.

        An image that is broken, or whose row group is, has no mask but a reason: whether so much
        may be broken is for training to say.

        Raises:
            ShardCorruptError: The image shard's footer cannot be read.
            FileNotFoundError: A file is gone to which a row of the shard refers.
        """
        job = self._job
        footer = describe_sky(
            source=task.source,
            shard_id=task.shard_id,
            image_shard_sha256=task.image_sha256,
            segmenter=job.segmenter.reference,
            segmenter_sha256=job.segmenter.sha256,
            code_version=job.code_version,
        )
        key = task.key(job.segmenter)
        return write_sky_shard(job.store, self._rows(task.image_key), key=key, footer=footer)

    def _rows(self, image_key: str) -> Iterator[SkyRow]:
        looked = map_ahead(
            self._look,
            _records(self._job.store, image_key),
            threads=self._job.threads,
            ahead=_WINDOW,
        )
        while window := list(islice(looked, _WINDOW)):
            yield from self._masked(window)

    def _look(self, record: ImageRecord | None) -> _Looked:
        """Decode and prepare one image; None is a row that nobody can read."""
        if record is None:
            return _Looked(SkyRow("", "", None, "corrupt_shard"))
        try:
            image_HWC = decode_rgb(load_bytes(record))
            pixels_CHW = self._segmenter.prepare(image_HWC)
        except ImageDecodeError as error:
            return _Looked(_without_mask(record, error.reason))
        except ShardCorruptError:
            return _Looked(_without_mask(record, "wrong_bytes"))
        except ValueError:  # a strip that the size rule would blow up beyond all memory
            return _Looked(_without_mask(record, "too_large_for_network"))
        return _Looked(_without_mask(record, None), pixels_CHW, mask_size(*image_HWC.shape[:2]))

    def _masked(self, window: Sequence[_Looked]) -> list[SkyRow]:
        """The rows in their order, images of one size together through the network."""
        rows = [each.row for each in window]
        by_shape: dict[tuple[int, ...], list[int]] = {}
        for place, each in enumerate(window):
            if each.pixels_CHW is not None:
                by_shape.setdefault(each.pixels_CHW.shape, []).append(place)
        for places in by_shape.values():
            for start in range(0, len(places), BATCH):
                some = places[start : start + BATCH]
                for place, mask_HW in zip(some, self._masks(window, some), strict=True):
                    row = rows[place]
                    rows[place] = SkyRow(row.sample_id, row.sha256, mask_HW)
        return rows

    def _masks(self, window: Sequence[_Looked], places: list[int]) -> list[NDArray[np.bool_]]:
        images = [each for place in places if (each := window[place].pixels_CHW) is not None]
        with self._turn:
            return self._segmenter.masks(
                np.stack(images), sizes=[window[place].mask_size for place in places]
            )


def plan_sky_actors(resources: Resources, *, shards: int) -> ActorPlan:
    """One actor per GPU, or one per machine where there is none; no more than shards."""
    gpus = 1.0 if resources.gpus else 0.0
    places = resources.gpus or sum(node.cpus > 0 for node in resources.nodes)
    count = max(1, min(places, shards))
    return ActorPlan(count, gpus, resources.cpus_each(count, gpus=gpus), 1.0)


def start_sky_actor(job: SkyJob, plan: ActorPlan) -> Any:
    """An actor that finds sky."""
    return start_actor(SkyEngine, job, plan, doing="find sky")


def _records(store: Store, image_key: str) -> Iterator[ImageRecord | None]:
    """The rows of a shard, and None for each row of a row group that cannot be read."""
    for group, count in enumerate(row_group_rows(store, image_key)):
        try:
            records = list(read_image_rows(store, image_key, row_groups=[group], truth=False))
        except ShardCorruptError:
            yield from [None] * count
        else:
            yield from records


def _without_mask(record: ImageRecord, reason: str | None) -> SkyRow:
    return SkyRow(record.sample_id, record.sha256, None, reason)
