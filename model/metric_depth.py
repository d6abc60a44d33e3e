"""Metres: what a metric network is held to, and by which loss.

Facts of the original: DepthAnything/Depth-Anything-V2 @2cbc36a, ``metric_depth/train.py`` and
``metric_depth/util/loss.py``. Shapes: B samples, H rows, W columns.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

METRIC_GEOMETRIES = ("depth_metric", "disparity_metric")
NEAREST = 1e-6  # metres; the logarithm of a sigmoid that has underflowed to 0 would be infinite
PERFECT = 1e-12  # below this the square root has no gradient worth the name


def to_metres(values_HW: NDArray[np.floating], geometry: str) -> NDArray[np.float32]:
    """Z-depth in metres, float32, NaN where there is none; infinitely far is none.

    Raises:
        ValueError: For a geometry whose unit nobody knows.
    """
    if geometry not in METRIC_GEOMETRIES:
        raise ValueError(f"metres cannot be had from {geometry}: {' or '.join(METRIC_GEOMETRIES)}")
    values = np.asarray(values_HW, np.float64)
    valid = np.isfinite(values) & (values > 0)
    safe = np.where(valid, values, 1.0)
    metres = safe if geometry == "depth_metric" else 1 / safe
    return np.where(valid, metres, np.nan).astype(np.float32)


def silog_loss(
    prediction_BHW: Tensor, depth_BHW: Tensor, mask_BHW: Tensor, *, mean_weight: float = 0.5
) -> Tensor:
    """√(mean g² − λ·(mean g)²) with g = log d* − log d over all valid pixels of the batch; scalar.

    The scale-invariant logarithmic error of Eigen et al. (arXiv:1406.2283, eq. 4) with a square
    root and λ = ``mean_weight``, as V2's metric code has it. With λ = 1 the scale of the whole
    batch is free, with 0 it is the RMSE in logarithms. Means run over the pixels of all samples
    together, as there, and not per sample first: λ then forgives what is common to the batch,
    never that one image is too near and the next too far. So a batch is not the mean of its parts.

    Float32 whatever comes in, computed as √(variance + (1 − λ)·mean²), which cancels nothing. 0,
    without gradient, where no pixel is valid or all are perfect. Invalid pixels may hold anything;
    valid truth must be above 0.
    """
    predicted = torch.where(mask_BHW, prediction_BHW.float(), 1.0).clamp(min=NEAREST)
    truth = torch.where(mask_BHW, depth_BHW.float(), 1.0)
    count = mask_BHW.sum().clamp(min=1)
    error = torch.where(mask_BHW, truth.log() - predicted.log(), 0.0)
    mean = error.sum() / count
    variance = torch.where(mask_BHW, error - mean, 0.0).square().sum() / count
    squared = variance + (1 - mean_weight) * mean.square()
    counts = squared > PERFECT
    # The inner `where` keeps 1 / 0 out of the backward pass: inf x 0 would be NaN.
    return torch.where(counts, torch.where(counts, squared, 1.0).sqrt(), squared * 0.0)
