"""Boundary F1: whether a prediction puts one thing before another where the truth does.

The metric of Depth Pro (arXiv:2410.02073, the section on metrics for sharp boundaries): between two
neighbouring pixels i and j there is an occluding boundary at threshold t where d(j) / d(i) > t.
Ratios do not depend on a factor, and are the same in disparity with i and j exchanged, so that the
metric is the same in both.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Ten thresholds from 5 to 25 %, each counting in proportion to itself (the authors' code,
# `eval/boundary_metrics.py`; the paper: linear, with stronger weights towards high ones).
THRESHOLDS = np.linspace(1.05, 1.25, 10)
WEIGHTS = THRESHOLDS / THRESHOLDS.sum()

# What a pair of neighbours shows: log ratios of prediction and of truth.
_Steps = tuple[NDArray[np.float64], NDArray[np.float64]]


def boundary_f1(prediction_HW: ArrayLike, truth_HW: ArrayLike) -> float | None:
    """F1 of boundaries, the weighted mean over the thresholds, 0 to 1. Higher is better.

    At one threshold precision and recall are each a mean over four directions (the nearer pixel
    to the left, above, to the right, below), of common boundaries over predicted or true ones, 0
    where there are none; as in the authors' code, while the paper's formula has one sum over all
    neighbours. Pairs of pixels count where truth and prediction both have a value, which may be
    depth or disparity.

    Args:
        prediction_HW: Any positive number; NaN where there is no value.
        truth_HW: The same.

    Returns:
        None where the truth shows no boundary at all: nothing could be found or missed.

    Raises:
        ValueError: Shapes that differ or are not H x W, or a value that is not above 0.
    """
    steps = [_crossing(part) for part in _neighbours(*_logs(prediction_HW, truth_HW))]
    lowest = np.log(THRESHOLDS[0])
    if not any(np.any(np.abs(truth) > lowest) for _, truth in steps):
        return None
    return float(sum(w * _f1(steps, np.log(t)) for t, w in zip(THRESHOLDS, WEIGHTS, strict=True)))


def _logs(prediction_HW: ArrayLike, truth_HW: ArrayLike) -> _Steps:
    prediction = np.asarray(prediction_HW, np.float64)
    truth = np.asarray(truth_HW, np.float64)
    if prediction.shape != truth.shape or truth.ndim != 2:
        raise ValueError(f"expected two H x W, got {prediction.shape} and {truth.shape}")
    if np.any(prediction <= 0) or np.any(truth <= 0):
        raise ValueError("boundaries are ratios: values must be above 0, or NaN")
    return _log(prediction), _log(truth)


def _log(values_HW: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.log(np.where(np.isfinite(values_HW), values_HW, np.nan))


def _neighbours(prediction: NDArray[np.float64], truth: NDArray[np.float64]) -> list[_Steps]:
    """Steps to the right, and steps down."""
    return [(np.diff(prediction, axis=axis), np.diff(truth, axis=axis)) for axis in (1, 0)]


def _crossing(steps: _Steps) -> _Steps:
    """Those steps that are a boundary of either at the lowest threshold: few, so all is quick."""
    prediction, truth = steps
    lowest = np.log(THRESHOLDS[0])
    both = np.isfinite(prediction) & np.isfinite(truth)
    seen = both & ((np.abs(prediction) > lowest) | (np.abs(truth) > lowest))
    return prediction[seen], truth[seen]


def _f1(steps: list[_Steps], threshold: float) -> float:
    precision, recall = [], []
    for prediction, truth in steps:
        for sign in (1, -1):
            said, is_so = sign * prediction > threshold, sign * truth > threshold
            common = said & is_so
            precision.append(_share(common, said))
            recall.append(_share(common, is_so))
    p, r = float(np.mean(precision)), float(np.mean(recall))
    return 2 * p * r / (p + r) if p + r else 0.0


def _share(part: NDArray[np.bool_], whole: NDArray[np.bool_]) -> float:
    return int(part.sum()) / max(int(whole.sum()), 1)
