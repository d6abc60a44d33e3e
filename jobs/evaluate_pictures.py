"""What a page shows of some images: the image, its truth, and the prediction after alignment."""

from collections.abc import Container, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from jobs.evaluate_engine import EvaluationEngine
from jobs.evaluate_models import ModelSpec
from jobs.evaluate_scoring import Scoring
from jobs.evaluation_ranking import best_and_worst
from jobs.evaluation_result import BenchmarkResult, MarkedPair, ScoredImage, ScoredPicture
from model.comparison import valid_disparity
from model.evaluation import aligned_disparity, answered_pairs
from model.geometry import to_disparity
from pipeline.errors import PipelineError
from pipeline.images import decode_rgb
from pipeline.records import ImageRecord
from pipeline.shards import load_bytes, read_image_rows, read_sample_keys, row_group_rows
from pipeline.storage import Store

LONGEST_SIDE = 512  # pixels of a picture


@dataclass(frozen=True, kw_only=True, slots=True)
class PictureTask:
    """Images of one shard to be shown, as one model sees them."""

    model: ModelSpec
    scoring: Scoring
    shard_key: str
    images: tuple[ScoredImage, ...]


@dataclass(frozen=True, slots=True)
class Pictures:
    """What became of a task; ``missing`` says why some are not there."""

    made: list[ScoredPicture]
    missing: list[str]


def picture_tasks(
    result: BenchmarkResult,
    *,
    model: ModelSpec,
    scoring: Scoring,
    shard_keys: dict[str, str],
    count: int,
) -> list[PictureTask]:
    """The best and the worst ``count`` images of a result, by shard."""
    best, worst = best_and_worst(result, count=count)
    by_shard: dict[str, list[ScoredImage]] = {}
    for image in (*best, *worst):
        by_shard.setdefault(image.shard_id, []).append(image)
    return [
        PictureTask(
            model=model, scoring=scoring, shard_key=shard_keys[shard_id], images=tuple(images)
        )
        for shard_id, images in by_shard.items()
    ]


def make_pictures(engine: EvaluationEngine, store: Store, task: PictureTask) -> Pictures:
    """Pictures of the images of a task.

    Of one that fails, whatever the reason, only that is told: tables do not hang on it.
    """
    wanted = {image.sample_id: image for image in task.images}
    done = Pictures([], [])
    try:
        for record in _records(store, task.shard_key, wanted):
            try:
                done.made.append(_picture(engine, task, wanted[record.sample_id], record))
            except Exception as error:
                done.missing.append(f"{record.path}: {type(error).__name__}: {error}")
    except (PipelineError, FileNotFoundError) as error:
        done.missing.append(f"{type(error).__name__}: {error}")
    return done


def _records(store: Store, key: str, wanted: Container[str]) -> Iterator[ImageRecord]:
    """The wanted rows of a shard; row groups without any are not read."""
    places = [name in wanted for name, _, _ in read_sample_keys(store, key)]
    start = 0
    for group, rows in enumerate(row_group_rows(store, key)):
        if any(places[start : start + rows]):
            records = read_image_rows(store, key, row_groups=[group])
            yield from (record for record in records if record.sample_id in wanted)
        start += rows


def _picture(
    engine: EvaluationEngine, task: PictureTask, scored: ScoredImage, record: ImageRecord
) -> ScoredPicture:
    prediction_HW, geometry = engine.predict(task.model, record)
    image_HWC = decode_rgb(load_bytes(record))
    size = _shown_size(image_HWC.shape[0], image_HWC.shape[1])
    truth_HW, aligned_HW = _maps(prediction_HW, geometry, task.scoring, record)
    if aligned_HW is None:
        raise ValueError("it cannot be scored any more")
    return ScoredPicture(
        scored=scored,
        image_HWC=cv2.resize(image_HWC, size[::-1], interpolation=cv2.INTER_AREA),
        truth_HW=None if truth_HW is None else shrunk_truth(truth_HW, size),
        aligned_HW=cv2.resize(aligned_HW, size[::-1], interpolation=cv2.INTER_AREA),
        pairs=_marked_pairs(prediction_HW, geometry, task.scoring, record, size),
    )


def _marked_pairs(
    prediction_HW: NDArray[np.float32],
    geometry: str,
    scoring: Scoring,
    record: ImageRecord,
    size: tuple[int, int],
) -> tuple[MarkedPair, ...]:
    """The pairs of an image as they were scored, at their places in its picture."""
    if scoring.protocol.truth != "pairs":
        return ()
    height, width = record.header.height, record.header.width
    found = answered_pairs(
        prediction_HW,
        record.points,
        geometry=geometry,
        sample_id=record.sample_id,
        protocol=scoring.protocol,
        upsampling=scoring.upsampling,
        size=(height, width),
    )
    if isinstance(found, str):
        return ()

    def place(row: int, column: int) -> tuple[int, int]:
        return row * size[0] // height, column * size[1] // width

    marked = []
    for pair, given in zip(*found, strict=True):
        points = place(pair.row1, pair.column1), place(pair.row2, pair.column2)
        near, far = points if pair.closer != 2 else points[::-1]
        marked.append(MarkedPair(near, far, is_right=bool(given == pair.closer)))
    return tuple(marked)


def _maps(
    prediction_HW: NDArray[np.float32], geometry: str, scoring: Scoring, record: ImageRecord
) -> tuple[NDArray[np.float32] | None, NDArray[np.float32] | None]:
    """True and predicted disparity in one unit and size."""
    rules, truth = scoring.protocol, record.truth
    if rules.truth == "pairs" or truth is None:
        return None, to_disparity(np.asarray(prediction_HW, np.float32), geometry)
    aligned_HW = aligned_disparity(
        prediction_HW,
        truth.values_HW,
        geometry=geometry,
        truth_geometry=truth.geometry,
        protocol=rules,
        upsampling=scoring.upsampling,
    )
    truth_HW = valid_disparity(truth.values_HW, geometry=truth.geometry, protocol=rules)
    return truth_HW.astype(np.float32), aligned_HW


def _shown_size(height: int, width: int) -> tuple[int, int]:
    scale = min(1.0, LONGEST_SIDE / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def shrunk_truth(values_HW: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Truth at a size to be shown: one of the valid values of each cell, NaN where it has none.

    Nothing is mixed with what is not valid, and of sparse truth, as that of a lidar, no cell is
    lost because its middle happens to be empty. Where the truth is smaller, it is repeated.
    """
    height, width = values_HW.shape
    if size[0] > height or size[1] > width:
        repeated: NDArray[np.float32] = cv2.resize(
            np.ascontiguousarray(values_HW), size[::-1], interpolation=cv2.INTER_NEAREST
        )
        return repeated
    rows, columns = np.nonzero(np.isfinite(values_HW))
    shrunk = np.full(size, np.nan, np.float32)
    shrunk[rows * size[0] // height, columns * size[1] // width] = values_HW[rows, columns]
    return shrunk
