"""What a protocol does to one image before anything is measured: mask, resize, align, clip.

All in float64. Both maps come out as disparity at the truth's size; where a protocol aligns in
depth, the way there and back is exact up to rounding.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.alignment import Affine, align_affine, align_scale_median
from model.geometry import disparity_geometry, to_disparity
from model.protocol_fields import Protocol
from model.upsampling import upsample

METRIC_GEOMETRIES = ("depth_metric", "disparity_metric")
AFFINE_INVARIANT = "disparity_affine_invariant"
AS_IT_IS = Affine(1.0, 0.0)

Map = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Two maps that can be held against each other.

    Attributes:
        aligned_HW: Predicted disparity after alignment and clipping; NaN where the prediction is.
        truth_HW: True disparity, NaN where the protocol does not look; 0 to 1 over its values where
            scale and shift are unknown.
        mask_HW: Where the truth has a value; the prediction has one there too.
        affine: Found in disparity, or in depth where the protocol aligns there.
    """

    aligned_HW: Map
    truth_HW: Map
    mask_HW: NDArray[np.bool_]
    affine: Affine


def compare(
    prediction_HW: NDArray[np.floating],
    truth_HW: NDArray[np.floating],
    *,
    geometry: str,
    truth_geometry: str,
    protocol: Protocol,
    upsampling: str | None = None,
) -> Comparison | str:
    """Prediction and truth of one image as a protocol compares them, or why it does not.

    Raises:
        ValueError: As `model.evaluation.evaluate_image`.
    """
    check_prediction(geometry, protocol)
    if protocol.truth != "map":
        raise ValueError(f"{protocol.ref} scores pairs of points, not maps")
    truth = valid_disparity(truth_HW, geometry=truth_geometry, protocol=protocol)
    mask = np.isfinite(truth)
    if mask.sum() < protocol.minimum_valid_pixels:
        return "too_few_valid_pixels"
    if truth_geometry == AFFINE_INVARIANT and np.ptp(truth[mask]) == 0:
        return "flat_truth"
    how = protocol.interpolation if upsampling is None else upsampling
    prediction = _resized(prediction_HW, geometry, protocol, truth.shape, how)
    if not np.isfinite(prediction[mask]).all():
        return "prediction_not_finite"
    affine, aligned = _aligned(prediction, truth, mask, protocol)
    if truth_geometry != AFFINE_INVARIANT:
        aligned = _clipped(aligned, truth[mask], protocol)
    return Comparison(aligned_HW=aligned, truth_HW=truth, mask_HW=mask, affine=affine)


def check_prediction(geometry: str, protocol: Protocol) -> None:
    """Refuse a prediction that a protocol cannot score, whatever the image.

    Raises:
        ValueError: No such geometry; one that is not in metres where nothing is aligned; disparity
            up to a shift where the alignment is in depth, for it has none.
    """
    disparity_geometry(geometry)
    if protocol.truth == "pairs":
        return
    if protocol.alignment == "none" and geometry not in METRIC_GEOMETRIES:
        raise ValueError(f"{protocol.ref} aligns nothing, but the prediction is {geometry}")
    if _is_in_depth(protocol) and geometry == AFFINE_INVARIANT:
        raise ValueError(f"{protocol.ref} aligns in depth, but the prediction is {geometry}")


def valid_disparity(
    truth_HW: NDArray[np.floating], *, geometry: str, protocol: Protocol
) -> NDArray[np.float64]:
    """Truth as disparity, NaN wherever the protocol does not look.

    Where scale and shift are unknown it is brought to 0..1 over what is left.

    Raises:
        ValueError: A protocol with limits in metres, or that aligns in depth, for truth that has no
            metres, or no depth.
    """
    if geometry not in METRIC_GEOMETRIES and _has_limits(protocol):
        raise ValueError(f"{protocol.ref} has limits in metres, but the truth is {geometry}")
    if geometry == AFFINE_INVARIANT and _is_in_depth(protocol):
        raise ValueError(f"{protocol.ref} aligns in depth, but the truth is {geometry}")
    truth = to_disparity(np.asarray(truth_HW, np.float64), geometry)
    valid = np.isfinite(truth)
    if geometry != AFFINE_INVARIANT:
        valid &= truth > 0  # infinitely far: relative errors are not defined there
    if protocol.minimum_depth is not None:
        valid &= truth <= 1 / protocol.minimum_depth
    if protocol.maximum_depth is not None:
        valid &= truth >= 1 / protocol.maximum_depth
    if protocol.crop is not None:
        inside = np.zeros_like(valid)
        inside[protocol.crop.slices(*truth.shape)] = True
        valid &= inside
    if geometry == AFFINE_INVARIANT and valid.any():
        lowest, spread = truth[valid].min(), np.ptp(truth[valid])
        truth = (truth - lowest) / (spread or 1.0)
    return np.where(valid, truth, np.nan)


def _resized(
    prediction_HW: NDArray[np.floating],
    geometry: str,
    protocol: Protocol,
    shape: tuple[int, ...],
    how: str,
) -> Map:
    """The prediction as disparity at the truth's size."""
    disparity = to_disparity(np.asarray(prediction_HW, np.float64), geometry)
    if not _is_in_depth(protocol):
        return _upsampled(disparity, shape, how)
    if protocol.alignment == "median_scale":
        return _positive(_within(_upsampled(disparity, shape, how), disparity))
    depth = _inverse(disparity)
    return _inverse(_within(_upsampled(depth, shape, how), depth))


def _upsampled(values: NDArray[np.floating], shape: tuple[int, ...], how: str) -> Map:
    return np.asarray(upsample(values, (shape[0], shape[1]), how), np.float64)


def _within(resized: Map, original: NDArray[np.floating]) -> Map:
    """Without the overshoot of cubic interpolation, which may leave no depth to align."""
    seen = original[np.isfinite(original)]
    return np.clip(resized, seen.min(), seen.max()) if seen.size else resized


def _aligned(
    prediction: Map, truth: Map, mask: NDArray[np.bool_], protocol: Protocol
) -> tuple[Affine, Map]:
    """The alignment, and the disparity after it."""
    if protocol.alignment == "none":
        return AS_IT_IS, prediction
    if not _is_in_depth(protocol):
        affine = align_affine(prediction, truth, mask)
        return affine, affine(prediction)
    depth, true_depth = _inverse(prediction), _inverse(truth)
    align = align_affine if protocol.alignment == "affine_depth" else align_scale_median
    affine = align(depth, true_depth, mask)
    return affine, 1 / np.clip(affine(depth), *_depth_limits(true_depth[mask], protocol))


def _depth_limits(truth: Map, protocol: Protocol) -> tuple[float | None, float]:
    """Nearest and farthest depth of a prediction, in the unit of the truth."""
    nearest, farthest = protocol.minimum_depth, protocol.maximum_depth
    if nearest is None and protocol.alignment == "affine_depth":
        nearest = float(truth.min())  # a shift may bring depth behind the camera
    return nearest, float(truth.max()) if farthest is None else farthest


def _clipped(disparity: Map, truth: Map, protocol: Protocol) -> Map:
    farthest = truth.min() if protocol.maximum_depth is None else 1 / protocol.maximum_depth
    nearest = None if protocol.minimum_depth is None else 1 / protocol.minimum_depth
    return np.clip(disparity, farthest, nearest)


def _inverse(values: NDArray[np.floating]) -> Map:
    return 1 / _positive(values)


def _positive(values: NDArray[np.floating]) -> Map:
    return np.where(values > 0, values, np.nan)


def _is_in_depth(protocol: Protocol) -> bool:
    return protocol.alignment in ("affine_depth", "median_scale")


def _has_limits(protocol: Protocol) -> bool:
    return protocol.minimum_depth is not None or protocol.maximum_depth is not None
