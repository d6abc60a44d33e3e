"""Scale and shift that bring a prediction onto the truth of one image.

A relative prediction is known up to scale and shift in disparity, so it is aligned there before it
is scored, as MiDaS does (arXiv:1907.01341, §5) and Depth Anything after it. Pure functions on numpy
arrays of any shape, in float64.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

# A prediction that varies by less than this share of its size is constant, up to rounding.
_CONSTANT = 1e-12


class Affine(NamedTuple):
    """``scale · x + shift``."""

    scale: float
    shift: float

    def __call__(self, values: ArrayLike) -> NDArray[np.float64]:
        """The values after scale and shift, float64, same shape."""
        return self.scale * np.asarray(values, np.float64) + self.shift


def align_affine(prediction: ArrayLike, target: ArrayLike, mask: ArrayLike) -> Affine:
    """Scale a and shift b that minimise Σ (a·prediction + b − target)² over the valid pixels.

    Closed form: a = cov(prediction, target) / var(prediction) and
    b = mean(target) − a·mean(prediction). The scale is negative where the two run against each
    other: that is the least-squares answer, and such a prediction should score badly. For a
    constant prediction, and for a single pixel, every line through the mean is as good; the answer
    is scale 0 and shift mean(target).

    Raises:
        ValueError: Without a valid pixel, or where a valid pixel is not finite.
    """
    values, wanted = _valid(prediction, target, mask)
    centred = values - values.mean()
    variance = np.mean(centred**2)
    if np.sqrt(variance) <= _CONSTANT * np.abs(values).max():
        return Affine(0.0, float(wanted.mean()))
    scale = np.mean(centred * (wanted - wanted.mean())) / variance
    return Affine(float(scale), float(wanted.mean() - scale * values.mean()))


def align_scale_median(prediction: ArrayLike, target: ArrayLike, mask: ArrayLike) -> Affine:
    """The scale median(target) / median(prediction) over the valid pixels, without a shift.

    For predictions known up to one factor (arXiv:1704.07813, §4).

    Raises:
        ValueError: Without a valid pixel, where one is not finite, or where the prediction's median
            is not above 0, so that no positive scale exists.
    """
    values, wanted = _valid(prediction, target, mask)
    middle = float(np.median(values))
    if middle <= 0:
        raise ValueError(f"median scale needs a prediction whose median is above 0, not {middle}")
    return Affine(float(np.median(wanted)) / middle, 0.0)


def _valid(
    prediction: ArrayLike, target: ArrayLike, mask: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    chosen = np.asarray(mask, bool)
    values = np.asarray(prediction, np.float64)[chosen]
    wanted = np.asarray(target, np.float64)[chosen]
    if not values.size:
        raise ValueError("cannot align without a valid pixel")
    if not (np.isfinite(values).all() and np.isfinite(wanted).all()):
        raise ValueError("cannot align: a valid pixel is not finite; mask such pixels out")
    return values, wanted
