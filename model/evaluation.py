"""Score predictions image by image, then average: the same for every network and every protocol.

An image is brought to disparity, resized to the truth, aligned, clipped, and compared in disparity
and in depth. The clipping matters: an aligned disparity may be zero or negative, and its depth then
infinite or behind the camera. Following MoGe it is raised to 1 / max(depth) over the valid truth of
the image (to 1 / cap where the protocol has a cap, as MiDaS does), for both spaces alike.

What the truth leaves open cannot be scored and is None, never a number that looks like one:

- ``depth_scale_invariant``: RMSE has no unit to be in; everything else is a ratio and stands.
- ``disparity_affine_invariant``: no depth at all, and no ratio in disparity either, for its zero is
  unknown too. What stands is the RMSE in disparity, with the truth brought to 0..1 over the valid
  pixels of the image.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from model.alignment import Affine, align_affine
from model.geometry import to_disparity
from model.metrics import METRICS
from model.protocols import Protocol

METRIC_GEOMETRIES = ("depth_metric", "disparity_metric")
AFFINE_INVARIANT = "disparity_affine_invariant"
AS_IT_IS = Affine(1.0, 0.0)

Scores = Mapping[str, Mapping[str, float | None]]


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageScore:
    """The scores of one image, or why it has none.

    Attributes:
        valid_pixels: Pixels compared; 0 for a skipped image.
        metrics: Space, then metric; None where the truth cannot tell. Empty for a skipped image.
        affine: Scale and shift, in the truth's disparity: found, or 1 and 0 where the protocol
            aligns nothing; None for a skipped image.
        skipped: Short stable code: ``too_few_valid_pixels``, ``flat_truth`` (affine-invariant truth
            with one value) or ``prediction_not_finite``.
    """

    valid_pixels: int = 0
    metrics: Scores = field(default_factory=dict)
    affine: Affine | None = None
    skipped: str | None = None


def evaluate_image(
    prediction_HW: NDArray[np.floating],
    truth_HW: NDArray[np.floating],
    *,
    geometry: str,
    truth_geometry: str,
    protocol: Protocol,
) -> ImageScore:
    """Score one prediction; the truth is NaN where it has no value.

    ``geometry`` says what the prediction is: any disparity, or a depth, which is turned into
    disparity first. It may have another size than the truth. A prediction that is not finite at a
    valid pixel is not scored: a mean without its worst image would flatter it, so read the counts.

    Raises:
        ValueError: For an unknown geometry, a protocol in metres for truth that is not metric, or
            one without alignment for a prediction that is not.
    """
    if protocol.alignment == "none" and geometry not in METRIC_GEOMETRIES:
        raise ValueError(f"{protocol.ref} aligns nothing, but the prediction is {geometry}")
    if truth_geometry not in METRIC_GEOMETRIES and _in_metres(protocol):
        raise ValueError(f"{protocol.ref} has limits in metres, but the truth is {truth_geometry}")
    truth = _valid_truth(truth_HW, truth_geometry, protocol)
    mask = np.isfinite(truth)
    if mask.sum() < protocol.minimum_valid_pixels:
        return ImageScore(skipped="too_few_valid_pixels")
    if truth_geometry == AFFINE_INVARIANT:
        if np.ptp(truth[mask]) == 0:
            return ImageScore(skipped="flat_truth")
        truth = (truth - truth[mask].min()) / np.ptp(truth[mask])
    prediction = _resized(
        to_disparity(np.asarray(prediction_HW, np.float64), geometry), truth.shape
    )
    if not np.isfinite(prediction[mask]).all():
        return ImageScore(skipped="prediction_not_finite")
    aligns = protocol.alignment != "none"
    affine = align_affine(prediction, truth, mask) if aligns else AS_IT_IS
    metrics = _scores(affine(prediction[mask]), truth[mask], truth_geometry, protocol)
    return ImageScore(valid_pixels=int(mask.sum()), metrics=metrics, affine=affine)


def summarise(scores: Iterable[ImageScore]) -> dict[str, Any]:
    """Mean over images of each metric, with counts; an image counts once, however large it is.

    Returns ``images`` and ``valid_pixels`` that were scored, ``skipped`` (count per reason) and
    ``metrics`` (space, then metric: the mean over the images that have it, None where none has).
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
        "metrics": {
            space: {name: _mean(values) for name, values in names.items()}
            for space, names in columns.items()
        },
    }


def _valid_truth(
    truth_HW: NDArray[np.floating], geometry: str, protocol: Protocol
) -> NDArray[np.float64]:
    """Truth as disparity, NaN wherever the protocol does not look."""
    truth = to_disparity(np.asarray(truth_HW, np.float64), geometry)
    valid = np.isfinite(truth)
    if geometry != AFFINE_INVARIANT:
        valid &= truth > 0  # infinitely far: relative errors are not defined there
    if protocol.minimum_depth is not None:
        valid &= truth <= 1 / protocol.minimum_depth
    if protocol.maximum_depth is not None:
        valid &= truth >= 1 / protocol.maximum_depth
    if protocol.crop is not None:
        height, width = truth.shape
        crop = protocol.crop
        rows = slice(int(crop.top * height), int(crop.bottom * height))
        columns = slice(int(crop.left * width), int(crop.right * width))
        inside = np.zeros_like(valid)
        inside[rows, columns] = True
        valid &= inside
    return np.where(valid, truth, np.nan)


def _scores(
    aligned: NDArray[np.float64], truth: NDArray[np.float64], geometry: str, protocol: Protocol
) -> Scores:
    """All metrics in all spaces, from aligned and true disparity at the valid pixels."""
    if geometry != AFFINE_INVARIANT:
        farthest = truth.min() if protocol.maximum_depth is None else 1 / protocol.maximum_depth
        nearest = None if protocol.minimum_depth is None else 1 / protocol.minimum_depth
        aligned = np.clip(aligned, farthest, nearest)
    return {
        space: {name: _score(name, space, aligned, truth, geometry) for name in protocol.metrics}
        for space in protocol.spaces
    }


def _score(
    name: str,
    space: str,
    aligned: NDArray[np.float64],
    truth: NDArray[np.float64],
    geometry: str,
) -> float | None:
    if geometry == AFFINE_INVARIANT and (name != "rmse" or space != "disparity"):
        return None
    if geometry == "depth_scale_invariant" and name == "rmse":
        return None
    if space == "depth":
        aligned, truth = 1 / aligned, 1 / truth
    return METRICS[name](aligned, truth)


def _resized(disparity: NDArray[np.floating], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Bilinear, pixel centres kept in place (``align_corners=False``), to height and width."""
    exact = np.ascontiguousarray(disparity, np.float64)
    if exact.shape != shape:
        exact = cv2.resize(exact, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)
    return exact


def _in_metres(protocol: Protocol) -> bool:
    return protocol.minimum_depth is not None or protocol.maximum_depth is not None


def _mean(values: list[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None
