"""How one prediction becomes a row of scores, and a row what results are made of."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.evaluation_result import ScoredImage
from model.alignment import Affine
from model.evaluation import ImageScore, evaluate_image, evaluate_pairs
from model.protocols import Protocol
from pipeline.records import ImageRecord
from pipeline.scores import ScoreRow

Prediction = NDArray[np.float32] | str  # a map, or why there is none


@dataclass(frozen=True, kw_only=True, slots=True)
class Scoring:
    """A protocol and what a run changes about it.

    Attributes:
        upsampling: How maps are brought to the size of the truth.
    """

    protocol: Protocol
    upsampling: str

    def takes(self, path: str) -> bool:
        """Whether an image is one of those that the protocol is about."""
        return self.protocol.takes(path)

    def as_dict(self) -> dict[str, Any]:
        """All of it that decides numbers, as plain values."""
        return {"protocol": self.protocol.as_dict(), "upsampling": self.upsampling}


def score_row(
    record: ImageRecord, prediction: Prediction, *, geometry: str, scoring: Scoring
) -> ScoreRow:
    """The scores of one image; ``record`` has its truth, and its bytes are not looked at."""
    if isinstance(prediction, str):
        score = ImageScore(skipped=prediction)
    else:
        score = score_of(record, prediction, geometry=geometry, scoring=scoring)
    return _row(record, score)


def score_of(
    record: ImageRecord, prediction_HW: NDArray[np.float32], *, geometry: str, scoring: Scoring
) -> ImageScore:
    """The scores of a prediction at the network's size."""
    rules = scoring.protocol
    if rules.truth == "pairs":
        if not record.points:
            return ImageScore(skipped="no_pairs")
        return evaluate_pairs(
            prediction_HW,
            record.points,
            geometry=geometry,
            sample_id=record.sample_id,
            protocol=rules,
            upsampling=scoring.upsampling,
            size=(record.header.height, record.header.width),
        )
    if record.truth is None:
        return ImageScore(skipped="no_map")
    return evaluate_image(
        prediction_HW,
        record.truth.values_HW,
        geometry=geometry,
        truth_geometry=record.truth.geometry,
        protocol=rules,
        upsampling=scoring.upsampling,
    )


def scored_images(rows: Iterable[ScoreRow], *, shard_id: str) -> list[ScoredImage]:
    """Rows of a shard as results hold them."""
    return [_scored_image(row, shard_id) for row in rows]


def _row(record: ImageRecord, score: ImageScore) -> ScoreRow:
    return ScoreRow(
        sample_id=record.sample_id,
        sha256=record.sha256,
        path=record.path,
        skipped=score.skipped,
        valid_pixels=score.valid_pixels,
        scale=None if score.affine is None else score.affine.scale,
        shift=None if score.affine is None else score.affine.shift,
        metrics={
            f"{space}/{name}": value
            for space, names in score.metrics.items()
            for name, value in names.items()
        },
    )


def _scored_image(row: ScoreRow, shard_id: str) -> ScoredImage:
    metrics: dict[str, dict[str, float | None]] = {}
    for name, value in row.metrics.items():
        space, _, metric = name.partition("/")
        metrics.setdefault(space, {})[metric] = value
    is_aligned = row.scale is not None and row.shift is not None
    score = ImageScore(
        valid_pixels=row.valid_pixels,
        metrics=metrics,
        affine=Affine(row.scale or 0.0, row.shift or 0.0) if is_aligned else None,
        skipped=row.skipped,
    )
    return ScoredImage(
        sample_id=row.sample_id, sha256=row.sha256, path=row.path, shard_id=shard_id, score=score
    )
