"""Scores one row group of a benchmark at a time: decode, forward, hold against the truth.

A plain class without Ray, so that tests run it inline and a Ray actor is the same code. Two groups
may be under way at once, in two threads that call `EvaluationEngine.score`: one decodes or scores
while the other's batches are in the network. For each of them:

    its caller reads the images of the group (at most 64)
    the decoding threads, shared: decode and resize, a bounded number ahead
    its caller: batches of one size                         jobs/label_batches.py
    the network's thread, shared: the older group first     jobs/label_network.py
    its caller reads the truth of the group, map by map
    the scoring threads, shared: align and compare, a bounded number ahead

Truth may be twenty times as large as an image, so it is read when the predictions are there, and
only as far as threads can score it. Memory, for each group under way: its images as they were
encoded, later its truth (at most 2 GB each, which a row group can hold), two batches decoded and
three stacked, 64 maps of the network's size (1.4 MB each at 518 x 700), and up to 100 bytes per
pixel of the truths that are compared at once (`SCORED_PIXELS`).

No batch reaches beyond its group. So a group gives the same numbers whatever was scored before it,
but for the rounding of the network where the device ran out of memory and batches became smaller.
"""

import itertools
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from jobs.evaluate_models import LoadedModel, ModelSpec, OneModel, load_model
from jobs.evaluate_pass import BatchMaps, device_name
from jobs.evaluate_scoring import Prediction, Scoring, score_row
from jobs.label_batches import Prepared, batches_by_size, done_ahead, prepared_image
from model.depth_model import DepthModel
from pipeline.records import ImageRecord, ShardRef
from pipeline.scores import PartScores, ScorePart, ScoreRow, write_scores
from pipeline.shards import load_bytes, read_image_rows
from pipeline.storage import Store

DECODED_BATCHES = 2
SUBMITTED_BATCHES = 2
SCORED_PIXELS = 40e6  # of truth under way: 4 GB, however many threads; a single map may be larger


class StoppedError(Exception):
    """The engine was told to stop; the part counts for nothing, and can be scored another time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationJob:
    """What all parts of a run have in common; small and picklable.

    Attributes:
        batch_size: Images per forward pass; None to find it on the device.
        threads: Decoding threads per engine, and as many that score.
        memory_share: Share of the device's memory that one engine may use, 0..1.
    """

    store: Store
    batch_size: int | None = None
    threads: int = 2
    memory_share: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationTask:
    """One row group of a shard under a protocol, by one model.

    Attributes:
        part: What the scores are to be named after.
        rows: Images in it, for the progress bar.
        keep: Whether the scores are put into the store.
        replace: Whether they take the place of those that are there.
    """

    model: ModelSpec
    scoring: Scoring
    shard: ShardRef
    part: ScorePart
    rows: int
    keep: bool = True
    replace: bool = False


@dataclass(slots=True)
class PartDone:
    """What became of a part.

    Attributes:
        forward_images: Images whose pass through the network was timed.
        forward_s: Seconds that it took.
        device: What computed it.
    """

    scores: PartScores
    forward_images: int = 0
    forward_s: float = 0.0
    device: str | None = None


@dataclass(frozen=True, slots=True)
class _Arrived:
    """An image back from the network; the first of a batch has its time, where the device was warm.

    Attributes:
        timed_images: How many images the time is of.
    """

    place: int
    prediction: Prediction
    timed_images: int = 0
    timed_s: float = 0.0


@dataclass(slots=True)
class _Predicted:
    """Predictions of a group by their place in it, and what they took."""

    advance: Callable[[int], None]
    found: dict[int, Prediction] = field(default_factory=dict)
    forward_images: int = 0
    forward_s: float = 0.0

    def add(self, *arrived: _Arrived) -> None:
        for each in arrived:
            self.found[each.place] = each.prediction
            self.forward_images += each.timed_images
            self.forward_s += each.timed_s
        self.advance(len(arrived))


class EvaluationEngine:
    """Loads the model that a task names, and keeps it while tasks name the same one."""

    def __init__(self, job: EvaluationJob, *, device: str = "auto") -> None:
        self._job = job
        self._device = device
        self._models = OneModel(self._load)
        self._decoders = ThreadPoolExecutor(job.threads, thread_name_prefix="evaluate-decode")
        self._scorers = ThreadPoolExecutor(
            min(job.threads, os.cpu_count() or 1), thread_name_prefix="evaluate-score"
        )
        self._turns = itertools.count()
        self._stopped = threading.Event()

    def stop(self) -> None:
        """End what is under way after its next batch or score, and begin nothing more."""
        self._stopped.set()

    def score(
        self, task: EvaluationTask, *, advance: Callable[[int], None] = lambda images: None
    ) -> PartDone:
        """Score a row group, and put the scores; after an error the engine is ready for the next.

        Args:
            task: Which one, and how.
            advance: Told of images as they come back from the network.

        Raises:
            StoppedError: The engine was told to stop.
            CheckpointError: The model cannot be loaded here, or its weights are others.
            ShardCorruptError: The shard is not what it should be.
            FileNotFoundError: It is gone, or a file that it refers to.
        """
        with self._models.using(task.model) as loaded:
            taken = _Taken(task)
            predicted = self._predicted(taken, loaded, _Predicted(advance))
            geometry = loaded.model.geometry
            device = device_name(loaded.model.device)
        rows = tuple(self._scored(task, predicted.found, geometry))
        scores = PartScores(rows=rows, left_out=taken.left_out)
        if task.keep:
            write_scores(self._job.store, task.part, scores, replace=task.replace)
        return PartDone(scores, predicted.forward_images, predicted.forward_s, device)

    def predict(self, model: ModelSpec, record: ImageRecord) -> tuple[NDArray[np.float32], str]:
        """The map of a single image at the network's size, as `score` sees it, and its geometry.

        Raises:
            ValueError: It cannot be decoded or predicted.
        """
        with self._models.using(model) as loaded:
            item = prepared_image(record, load_bytes(record), place=0, model=loaded.model)
            if item.image_HWC is None:
                raise ValueError(f"{record.path}: {item.refusal}")
            (arrived,) = loaded.network.submit(next(self._turns), [item], then=_arrived).result()
            prediction = arrived.prediction
            if isinstance(prediction, str):
                raise ValueError(f"{record.path}: {prediction}")
            return prediction, loaded.model.geometry

    def _load(self, spec: ModelSpec) -> LoadedModel:
        job = self._job
        return load_model(
            spec,
            job.store,
            device=self._device,
            batch_size=job.batch_size,
            memory_share=job.memory_share,
        )

    def _predicted(
        self, taken: "_Taken", loaded: LoadedModel, predicted: "_Predicted"
    ) -> "_Predicted":
        turn = next(self._turns)
        submitted: deque[Future[list[_Arrived]]] = deque()
        room = loaded.network.room
        prepared = done_ahead(
            taken.images(self._job.store),
            partial(_prepare, loaded.model),
            self._decoders,
            ahead=DECODED_BATCHES * room.batch_size,
            weigh=partial(_pixels, loaded.model),
            max_weight=room.pixels(DECODED_BATCHES),
        )
        try:
            with closing(prepared):
                for batch in batches_by_size(prepared, room):
                    self._check_stopped()
                    if batch[0].image_HWC is None:
                        predicted.add(*map(_refused, batch))
                        continue
                    submitted.append(loaded.network.submit(turn, batch, then=_arrived))
                    while len(submitted) > SUBMITTED_BATCHES:
                        _take(submitted, predicted)
                while submitted:
                    self._check_stopped()
                    _take(submitted, predicted)
        finally:
            for launch in submitted:
                launch.cancel()
        return predicted

    def _check_stopped(self) -> None:
        if self._stopped.is_set():
            raise StoppedError("the engine was told to stop")

    def _scored(
        self, task: EvaluationTask, predictions: dict[int, Prediction], geometry: str
    ) -> Iterator[ScoreRow]:
        """Rows in the order of the shard; the truth of few images is in memory at once."""
        records = read_image_rows(
            self._job.store, task.shard.key, row_groups=[task.part.group], image=False
        )
        taken = ((place, each) for place, each in enumerate(records) if place in predictions)
        scored = done_ahead(
            taken,
            lambda at: score_row(
                at[1], predictions.pop(at[0]), geometry=geometry, scoring=task.scoring
            ),
            self._scorers,
            ahead=self._job.threads,
            weigh=lambda at: _truth_pixels(at[1]),
            max_weight=SCORED_PIXELS,
        )
        with closing(scored):
            for row in scored:
                self._check_stopped()
                yield row


class _Taken:
    """The images of a group that the protocol takes; counts the others."""

    def __init__(self, task: EvaluationTask) -> None:
        self._task = task
        self.left_out = 0

    def images(self, store: Store) -> Iterator[tuple[int, ImageRecord]]:
        task = self._task
        groups = [task.part.group]
        records = read_image_rows(store, task.shard.key, row_groups=groups, truth=False)
        for place, record in enumerate(records):
            if task.scoring.takes(record.path):
                yield place, record
            else:
                self.left_out += 1


def _pixels(model: DepthModel, image: tuple[int, ImageRecord]) -> int:
    """At the network, by what the header says."""
    header = image[1].header
    height, width = model.preprocessing.size_for(header.height, header.width)
    return height * width


def _truth_pixels(record: ImageRecord) -> int:
    return 0 if record.truth is None else record.truth.values_HW.size


def _prepare(model: DepthModel, image: tuple[int, ImageRecord]) -> Prepared:
    place, record = image
    return prepared_image(record, load_bytes(record), place=place, model=model)


def _arrived(item: Prepared, batch: BatchMaps | None, index: int) -> _Arrived:
    """Called in the network's thread; without a batch the image alone was too large for it."""
    if batch is None:
        return _Arrived(item.place, "out_of_memory")
    if index or not batch.is_warm:
        return _Arrived(item.place, batch.maps_BHW[index])
    return _Arrived(item.place, batch.maps_BHW[index], len(batch.maps_BHW), batch.took_s)


def _refused(item: Prepared) -> _Arrived:
    return _Arrived(item.place, str(item.refusal))


def _take(submitted: deque[Future[list[_Arrived]]], predicted: _Predicted) -> None:
    predicted.add(*submitted.popleft().result())
