"""What is known about the numbers of a map, as plain strings, and the way from depth to disparity.

The strings are those of the data plane (``Geometry`` there), which this room does not import.
"""

from typing import Literal, TypeVar, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Geometry = Literal[
    "depth_metric",  # z-depth in metres
    "depth_scale_invariant",  # z-depth up to one positive factor
    "disparity_metric",  # 1 / metres
    "disparity_affine_invariant",  # 1 / depth up to scale and shift
]
GEOMETRIES: tuple[str, ...] = get_args(Geometry)

# A factor on depth stays a factor on disparity, and there is no geometry for that: the affine one
# holds, with a shift that happens to be 0.
_DISPARITY_OF = {
    "depth_metric": "disparity_metric",
    "depth_scale_invariant": "disparity_affine_invariant",
    "disparity_metric": "disparity_metric",
    "disparity_affine_invariant": "disparity_affine_invariant",
}

Values = TypeVar("Values", NDArray[np.floating], Tensor)


def disparity_geometry(geometry: str) -> str:
    """The geometry that values of ``geometry`` have after `to_disparity`.

    Raises:
        ValueError: No such geometry.
    """
    _check(geometry)
    return _DISPARITY_OF[geometry]


def to_disparity(values: Values, geometry: str) -> Values:
    """Values as disparity (larger is nearer), NaN where invalid; dtype and device are kept.

    Depth becomes 1 / depth, and is invalid where it is NaN, infinite, 0 or negative. Disparity is
    handed back as it is, invalid where it is NaN or infinite: 0 is infinitely far, and a negative
    value is ordinary where a shift is unknown. Differentiable: the gradient is 0 at invalid pixels.

    Raises:
        ValueError: No such geometry.
    """
    _check(geometry)
    is_depth = geometry.startswith("depth")
    if isinstance(values, Tensor):
        valid = torch.isfinite(values) & (values > 0) if is_depth else torch.isfinite(values)
        # The inner `where` keeps 1 / 0 out of the backward pass: inf x 0 would be NaN.
        filled = torch.where(valid, values, torch.ones_like(values))
        return torch.where(valid, 1 / filled if is_depth else filled, torch.nan)
    valid_values = np.isfinite(values) & (values > 0) if is_depth else np.isfinite(values)
    safe = np.where(valid_values, values, values.dtype.type(1))
    disparity: NDArray[np.floating] = 1 / safe if is_depth else safe
    return np.where(valid_values, disparity, values.dtype.type(np.nan))


def _check(geometry: str) -> None:
    if geometry not in _DISPARITY_OF:
        raise ValueError(f"geometry must be one of {', '.join(GEOMETRIES)}, not {geometry!r}")
