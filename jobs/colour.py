"""Colours for maps, in numpy alone: bright is near, grey is unknown."""

import numpy as np
from numpy.typing import NDArray

# Seventeen points of matplotlib's "inferno" (CC0), evenly spaced; linear between them it is within
# seven levels of the original. Its lightness rises steadily: a step in depth is a step in light.
_POINTS = np.array(
    [
        [0, 0, 4], [11, 7, 36], [33, 12, 74], [60, 9, 101],
        [87, 16, 109], [112, 25, 110], [137, 34, 106], [163, 43, 97],
        [187, 55, 85], [209, 70, 68], [227, 89, 50], [241, 113, 30],
        [249, 141, 10], [252, 171, 15], [249, 202, 50], [242, 232, 101],
        [252, 255, 164],
    ],
    dtype=np.float64,
)  # fmt: skip
UNKNOWN = (128, 128, 128)
PERCENTILES = (1.0, 99.0)


def colourise(disparity_HW: NDArray[np.floating]) -> NDArray[np.uint8]:
    """A picture of a disparity map, uint8 RGB H x W x 3; values that are not finite are grey.

    Colours run from the 1st to the 99th percentile of the map, beyond which they stay as they are:
    a few stray pixels would otherwise darken all others. A map of one value is of middle colour.
    """
    known = np.isfinite(disparity_HW)
    shares = np.full(disparity_HW.shape, 0.5)
    if known.any():
        low, high = np.percentile(disparity_HW[known].astype(np.float64), PERCENTILES)
        if high > low:
            filled = np.where(known, disparity_HW, low).astype(np.float64)
            shares = np.clip((filled - low) / (high - low), 0, 1)
    image = _paint(shares)
    image[~known] = UNKNOWN
    return image


def _paint(shares_HW: NDArray[np.float64]) -> NDArray[np.uint8]:
    positions = np.linspace(0, 1, len(_POINTS))
    channels = [np.interp(shares_HW, positions, _POINTS[:, channel]) for channel in range(3)]
    return np.rint(np.stack(channels, axis=-1)).astype(np.uint8)
