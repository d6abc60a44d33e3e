"""Score predictions image by image, then average: the same for every network and every protocol.

An image is brought to disparity, resized to the truth, aligned, clipped, and compared in disparity
and in depth. The clipping matters: an aligned disparity may be zero or negative, and its depth then
infinite or behind the camera. Following MoGe it is raised to 1 / max(depth) over the valid truth of
the image (to 1 / cap where the protocol has a cap, as MiDaS does), for both spaces alike. What the
steps are is written in `model.comparison`.

What the truth leaves open cannot be scored and is None, never a number that looks like one:

- ``depth_scale_invariant``: RMSE and squared relative error have no unit to be in; everything else
  is a ratio and stands.
- ``disparity_affine_invariant``: no depth at all, and no ratio in disparity either, for its zero is
  unknown too. What stands is the RMSE in disparity, with the truth brought to 0..1 over the valid
  pixels of the image.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.alignment import Affine
from model.boundaries import boundary_f1
from model.comparison import (
    AFFINE_INVARIANT,
    METRIC_GEOMETRIES,
    Comparison,
    check_prediction,
    compare,
    valid_disparity,
)
from model.geometry import to_disparity
from model.metrics import METRICS, METRICS_WITH_UNIT, SYMMETRIC
from model.pairs import PAIR_METRICS, Pair, answers, at_points, shuffled
from model.protocols import Protocol
from model.upsampling import upsample

__all__ = [
    "METRIC_GEOMETRIES",
    "ImageScore",
    "aligned_disparity",
    "answered_pairs",
    "check_prediction",
    "evaluate_image",
    "evaluate_pairs",
    "summarise",
    "valid_disparity",
]

Values = NDArray[np.float64]
Scores = Mapping[str, Mapping[str, float | None]]


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageScore:
    """The scores of one image, or why it has none.

    Attributes:
        valid_pixels: Pixels compared, or pairs of points; 0 for a skipped image.
        metrics: Space, then metric; None where the truth cannot tell. Empty for a skipped image.
        affine: Scale and shift, in the truth's disparity, or in its depth where the protocol aligns
            there: found, or 1 and 0 where the protocol aligns nothing; None for a skipped image
            and for pairs. A scale below 0: the prediction ran against the truth.
        skipped: Short stable code: ``too_few_valid_pixels``, ``flat_truth`` (affine-invariant truth
            with one value), ``no_pairs``, ``point_outside`` (of the image) or
            ``prediction_not_finite``.
    """

    valid_pixels: int = 0
    metrics: Scores = field(default_factory=dict)
    affine: Affine | None = None
    skipped: str | None = None

    @property
    def is_flipped(self) -> bool:
        """Whether the best alignment turned the prediction's sign: far for near."""
        return self.affine is not None and self.affine.scale < 0

    @property
    def is_flat(self) -> bool:
        """Whether alignment found no use for the prediction: one value, scored as a constant."""
        return self.affine is not None and self.affine.scale == 0


def evaluate_image(
    prediction_HW: NDArray[np.floating],
    truth_HW: NDArray[np.floating],
    *,
    geometry: str,
    truth_geometry: str,
    protocol: Protocol,
    upsampling: str | None = None,
) -> ImageScore:
    """Score one prediction; the truth is NaN where it has no value.

    ``geometry`` says what the prediction is: any disparity, or a depth, which is turned into
    disparity first. It may have another size than the truth: ``upsampling`` says how it is brought
    there, None for the protocol's way. A prediction that is not finite at a valid pixel is not
    scored: a mean without its worst image would flatter it, so read the counts.

    Raises:
        ValueError: For an unknown geometry, a protocol of pairs, one in metres for truth that is
            not metric, or one whose alignment the prediction's geometry has no use for.
    """
    compared = compare(
        prediction_HW,
        truth_HW,
        geometry=geometry,
        truth_geometry=truth_geometry,
        protocol=protocol,
        upsampling=upsampling,
    )
    if isinstance(compared, str):
        return ImageScore(skipped=compared)
    return ImageScore(
        valid_pixels=int(compared.mask_HW.sum()),
        metrics=_scores(compared, truth_geometry, protocol),
        affine=compared.affine,
    )


def aligned_disparity(
    prediction_HW: NDArray[np.floating],
    truth_HW: NDArray[np.floating],
    *,
    geometry: str,
    truth_geometry: str,
    protocol: Protocol,
    upsampling: str | None = None,
) -> NDArray[np.float32] | None:
    """The disparity that `evaluate_image` scores, at the truth's size, also where no truth is.

    In the unit of `valid_disparity`, to show the two side by side. None where the image is skipped.

    Raises:
        ValueError: As `evaluate_image`.
    """
    compared = compare(
        prediction_HW,
        truth_HW,
        geometry=geometry,
        truth_geometry=truth_geometry,
        protocol=protocol,
        upsampling=upsampling,
    )
    return None if isinstance(compared, str) else compared.aligned_HW.astype(np.float32)


def evaluate_pairs(
    prediction_HW: NDArray[np.floating],
    pairs: Iterable[Sequence[int]],
    *,
    geometry: str,
    sample_id: str,
    protocol: Protocol,
    upsampling: str | None = None,
    size: tuple[int, int] | None = None,
) -> ImageScore:
    """Score which of two points is nearer, for every pair of one image.

    Args:
        prediction_HW: At any size.
        geometry: Of the prediction: any disparity, or a depth, which is turned into disparity.
        pairs: ``row1, column1, row2, column2, closer`` each, in pixels of the image as shown;
            closer is 1 or 2, or 0 for equally far.
        sample_id: Decides the order in which each pair is put (`model.pairs`).
        protocol: One of pairs.
        upsampling: How the prediction is brought to ``size``; None for the protocol's way.
        size: Height and width of the image; None where the prediction has that size.

    Raises:
        ValueError: For an unknown geometry, or a protocol of maps.
    """
    found = answered_pairs(
        prediction_HW,
        pairs,
        geometry=geometry,
        sample_id=sample_id,
        protocol=protocol,
        upsampling=upsampling,
        size=size,
    )
    if isinstance(found, str):
        return ImageScore(skipped=found)
    ordered, given = found
    noted = [pair.closer for pair in ordered]
    metrics = {name: PAIR_METRICS[name](given, noted) for name in protocol.metrics}
    return ImageScore(valid_pixels=len(ordered), metrics={"order": metrics})


def answered_pairs(
    prediction_HW: NDArray[np.floating],
    pairs: Iterable[Sequence[int]],
    *,
    geometry: str,
    sample_id: str,
    protocol: Protocol,
    upsampling: str | None = None,
    size: tuple[int, int] | None = None,
) -> tuple[list[Pair], NDArray[np.int64]] | str:
    """The pairs as `evaluate_pairs` puts them, with what the prediction answers, or why it cannot.

    Raises:
        ValueError: As `evaluate_pairs`.
    """
    if protocol.truth != "pairs":
        raise ValueError(f"{protocol.ref} scores maps, not pairs of points")
    ordered = shuffled(pairs, sample_id=sample_id)
    if not ordered:
        return "no_pairs"
    disparity_HW = to_disparity(np.asarray(prediction_HW, np.float64), geometry)
    how = protocol.interpolation if upsampling is None else upsampling
    resized_HW = upsample(disparity_HW, size or disparity_HW.shape, how)
    try:
        first, second = at_points(resized_HW, ordered)
    except ValueError:
        return "point_outside"
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        return "prediction_not_finite"
    return ordered, answers(first, second, equality=protocol.equality)


def summarise(scores: Iterable[ImageScore]) -> dict[str, Any]:
    """Mean over images of each metric, with counts; an image counts once, however large it is.

    Returns ``images`` and ``valid_pixels`` that were scored, ``skipped`` (count per reason),
    ``flipped`` (images whose alignment turned the prediction's sign), ``flat`` (images whose
    prediction is one value, which counts as the mean of the truth) and ``metrics`` (space, then
    metric: the mean over the images that have it, None where none has).
    """
    scored: list[ImageScore] = []
    skipped: Counter[str] = Counter()
    for score in scores:
        if score.skipped is None:
            scored.append(score)
        else:
            skipped[score.skipped] += 1
    columns: dict[str, dict[str, list[float]]] = {}
    for score in scored:
        for space, metrics in score.metrics.items():
            for name, value in metrics.items():
                column = columns.setdefault(space, {}).setdefault(name, [])
                column.extend([] if value is None else [value])
    return {
        "images": len(scored),
        "valid_pixels": sum(score.valid_pixels for score in scored),
        "skipped": dict(sorted(skipped.items())),
        "flipped": sum(score.is_flipped for score in scored),
        "flat": sum(score.is_flat for score in scored),
        "metrics": {
            space: {name: _mean(values) for name, values in names.items()}
            for space, names in columns.items()
        },
    }


def _scores(compared: Comparison, truth_geometry: str, protocol: Protocol) -> Scores:
    """All metrics in all spaces; those that are the same in each are worked out once."""
    scores: dict[str, dict[str, float | None]] = {}
    symmetric: dict[str, float | None] = {}
    for space in protocol.spaces:
        values = _values(compared, space, truth_geometry)
        scores[space] = {
            name: symmetric[name]
            if name in symmetric
            else _score(name, space, values, compared, truth_geometry)
            for name in protocol.metrics
        }
        symmetric = {name: scores[space][name] for name in SYMMETRIC & scores[space].keys()}
    return scores


def _values(compared: Comparison, space: str, truth_geometry: str) -> tuple[Values, Values]:
    """Prediction and truth at the valid pixels."""
    aligned, truth = (each[compared.mask_HW] for each in (compared.aligned_HW, compared.truth_HW))
    if space == "depth" and truth_geometry != AFFINE_INVARIANT:
        return 1 / aligned, 1 / truth
    return aligned, truth


def _score(
    name: str,
    space: str,
    values: tuple[Values, Values],
    compared: Comparison,
    truth_geometry: str,
) -> float | None:
    if truth_geometry == AFFINE_INVARIANT and (name != "rmse" or space != "disparity"):
        return None
    if truth_geometry == "depth_scale_invariant" and name in METRICS_WITH_UNIT:
        return None
    if name == "boundary_f1":
        return boundary_f1(compared.aligned_HW, compared.truth_HW)
    return METRICS[name](*values)


def _mean(values: list[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None
