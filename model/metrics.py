"""Depth metrics of one image, as pure functions on numpy arrays.

Each takes the prediction p and the truth t at the valid pixels, any shape, both above 0, and
returns a float worked out in float64: a mean over the pixels of this image. How images are averaged
is said in ``evaluation``. The formulas hold for depth and for disparity alike; δ, log10, SILog and
RMSE log give the same number in either, as p/t only turns into t/p.

Raises everywhere: ``ValueError`` without a pixel, for shapes that differ, or a value that is not
finite and above 0.

What needs a whole map is in `model.boundaries`, what needs pairs of points in `model.pairs`.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray

Metric = Callable[[ArrayLike, ArrayLike], float]


def abs_rel(prediction: ArrayLike, truth: ArrayLike) -> float:
    """Absolute relative error: mean |p − t| / t. Lower is better."""
    p, t = _positive(prediction, truth)
    return float(np.mean(np.abs(p - t) / t))


def sq_rel(prediction: ArrayLike, truth: ArrayLike) -> float:
    """Squared relative error: mean (p − t)² / t, in the unit of t. Lower is better."""
    p, t = _positive(prediction, truth)
    return float(np.mean((p - t) ** 2 / t))


def rmse(prediction: ArrayLike, truth: ArrayLike) -> float:
    """Root mean square error: sqrt(mean (p − t)²), in the unit of t; any sign. Lower is better."""
    p, t = _finite(prediction, truth)
    return float(np.sqrt(np.mean((p - t) ** 2)))


def rmse_log(prediction: ArrayLike, truth: ArrayLike) -> float:
    """Root mean square error of natural logarithms: sqrt(mean (ln p − ln t)²). Lower is better."""
    return float(np.sqrt(np.mean(_log_error(prediction, truth) ** 2)))


def log10(prediction: ArrayLike, truth: ArrayLike) -> float:
    """Mean |log10 p − log10 t|. Lower is better."""
    return float(np.mean(np.abs(_log_error(prediction, truth))) / np.log(10))


def silog(prediction: ArrayLike, truth: ArrayLike) -> float:
    """Scale-invariant log error: 100 · sqrt(mean e² − mean(e)²), e = ln p − ln t. Lower is better.

    Eigen's formula (arXiv:1406.2283, eq. 4) with λ = 1, rooted and in hundredths, as KITTI,
    ZoeDepth and Marigold print it. Code with λ = 0.5 under the same name gives other numbers (Depth
    Anything V2's metric training does): the two cannot be compared.
    """
    return float(100 * np.std(_log_error(prediction, truth)))


def delta1(prediction: ArrayLike, truth: ArrayLike) -> float:
    """Share of pixels with max(p/t, t/p) < 1.25, 0 to 1. Higher is better."""
    return _within(1.25, prediction, truth)


def delta2(prediction: ArrayLike, truth: ArrayLike) -> float:
    """Share of pixels with max(p/t, t/p) < 1.25², 0 to 1. Higher is better."""
    return _within(1.25**2, prediction, truth)


def delta3(prediction: ArrayLike, truth: ArrayLike) -> float:
    """Share of pixels with max(p/t, t/p) < 1.25³, 0 to 1. Higher is better."""
    return _within(1.25**3, prediction, truth)


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        "abs_rel": abs_rel,
        "sq_rel": sq_rel,
        "rmse": rmse,
        "rmse_log": rmse_log,
        "log10": log10,
        "silog": silog,
        "delta1": delta1,
        "delta2": delta2,
        "delta3": delta3,
    }
)

# Not ratios: truth up to a factor has none of these.
METRICS_WITH_UNIT = frozenset({"rmse", "sq_rel"})

# The same number in depth and in disparity.
SYMMETRIC = frozenset({"delta1", "delta2", "delta3", "log10", "silog", "rmse_log", "boundary_f1"})

HIGHER_IS_BETTER = frozenset({"delta1", "delta2", "delta3", "boundary_f1", "pair_accuracy"})


def _within(threshold: float, prediction: ArrayLike, truth: ArrayLike) -> float:
    p, t = _positive(prediction, truth)
    return float(np.mean(np.maximum(p / t, t / p) < threshold))


def _log_error(prediction: ArrayLike, truth: ArrayLike) -> NDArray[np.float64]:
    p, t = _positive(prediction, truth)
    return np.log(p) - np.log(t)


def _positive(
    prediction: ArrayLike, truth: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    # A negative pair would count as exact in δ: both ratios are below the threshold.
    p, t = _finite(prediction, truth)
    if p.min() <= 0 or t.min() <= 0:
        raise ValueError(f"values must be above 0: prediction from {p.min()}, truth from {t.min()}")
    return p, t


def _finite(
    prediction: ArrayLike, truth: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    p, t = np.asarray(prediction, np.float64), np.asarray(truth, np.float64)
    if p.shape != t.shape:
        raise ValueError(f"prediction is {p.shape}, truth is {t.shape}")
    if not p.size:
        raise ValueError("a metric needs at least one valid pixel")
    if not (np.isfinite(p).all() and np.isfinite(t).all()):
        raise ValueError("values must be finite: mask invalid pixels out")
    return p, t
