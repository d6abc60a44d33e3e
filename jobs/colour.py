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
TOO_NEAR, TOO_FAR = (178, 24, 43), (33, 102, 172)  # ends of ColorBrewer's RdBu
PERCENTILES = (1.0, 99.0)


def colourise(
    disparity_HW: NDArray[np.floating], *, limits: tuple[float, float] | None = None
) -> NDArray[np.uint8]:
    """A picture of a disparity map, uint8 RGB H x W x 3; values that are not finite are grey.

    Colours run between the limits, or from the 1st to the 99th percentile of the map; beyond they
    stay as they are: a few stray pixels would otherwise darken all others. A map of one value is of
    middle colour.
    """
    known = np.isfinite(disparity_HW)
    shares = np.full(disparity_HW.shape, 0.5)
    if known.any():
        low, high = limits or limits_of(disparity_HW)
        if high > low:
            filled = np.where(known, disparity_HW, low).astype(np.float64)
            shares = np.clip((filled - low) / (high - low), 0, 1)
    image = _paint(shares)
    image[~known] = UNKNOWN
    return image


def limits_of(disparity_HW: NDArray[np.floating]) -> tuple[float, float]:
    """The disparities that colours run between; the map has a finite value."""
    known = disparity_HW[np.isfinite(disparity_HW)].astype(np.float64)
    low, high = np.percentile(known, PERCENTILES)
    return float(low), float(high)


def colourise_error(error_HW: NDArray[np.floating], *, limit: float) -> NDArray[np.uint8]:
    """A picture of signed errors, uint8 RGB H x W x 3: red above 0, blue below, white at 0.

    Full colour is at the limit, above 0, and beyond; values that are not finite are grey.
    """
    known = np.isfinite(error_HW)
    shares = np.clip(np.where(known, error_HW, 0) / limit, -1, 1)[..., None]
    ends = np.where(shares > 0, TOO_NEAR, TOO_FAR).astype(np.float64)
    image = np.rint(255 + np.abs(shares) * (ends - 255)).astype(np.uint8)
    image[~known] = UNKNOWN
    return image


def scale_colours() -> tuple[str, ...]:
    """The colours from far to near as CSS writes them, evenly spaced."""
    return tuple("#{:02x}{:02x}{:02x}".format(*point) for point in _POINTS.astype(int))


def _paint(shares_HW: NDArray[np.float64]) -> NDArray[np.uint8]:
    positions = np.linspace(0, 1, len(_POINTS))
    channels = [np.interp(shares_HW, positions, _POINTS[:, channel]) for channel in range(3)]
    return np.rint(np.stack(channels, axis=-1)).astype(np.uint8)
