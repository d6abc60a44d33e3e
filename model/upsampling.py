"""Three ways to bring a map to the size of its image; which one is part of a result.

``bilinear`` between pixel centres is what Depth Anything V1 does (``run.py``) and what is used here
unless something else is asked for. ``bilinear_corners`` puts the corner pixels' centres onto each
other (``align_corners``), as V2 (``dpt.py``), which shifts everything else by up to half a pixel of
the network's map. ``bicubic`` is what transformers does (``post_process_depth_estimation``): it is
smoother, and overshoots beside edges, so that disparity can fall below 0.

Both bilinear ways stay within the range of the values. All are the identity where sizes agree, none
widens its support when it shrinks, and all spread a NaN over its neighbours.
"""

from typing import Any, TypeVar, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.protocols import Upsampling

UPSAMPLINGS: tuple[str, ...] = get_args(Upsampling)

Maps = TypeVar("Maps", NDArray[np.floating], Tensor)

_OPTIONS: dict[str, dict[str, Any]] = {
    "bilinear": {"mode": "bilinear", "align_corners": False},
    "bilinear_corners": {"mode": "bilinear", "align_corners": True},
    "bicubic": {"mode": "bicubic", "align_corners": False},
}


def upsample(maps: Maps, size: tuple[int, int], how: str = "bilinear") -> Maps:
    """Maps at another size; kind, dtype and device are kept.

    Args:
        maps: H x W, or B x H x W; of floating point.
        size: Height and width, pixels.
        how: One of ``UPSAMPLINGS``.

    Raises:
        ValueError: No such way, or neither one map nor a batch of them.
    """
    check_upsampling(how)
    if maps.ndim not in (2, 3):
        raise ValueError(f"expected H x W or B x H x W, got {tuple(maps.shape)}")
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    if isinstance(maps, Tensor):
        return _resized(maps, size, how)
    writeable = np.require(maps, requirements=["C", "W"])  # torch warns of others
    resized: NDArray[np.floating] = _resized(torch.from_numpy(writeable), size, how).numpy()
    return resized


def check_upsampling(how: str) -> None:
    """Refuse what is no way to upsample.

    Raises:
        ValueError: The message lists them.
    """
    if how not in _OPTIONS:
        raise ValueError(f"upsampling must be one of {', '.join(UPSAMPLINGS)}, not {how!r}")


def _resized(maps: Tensor, size: tuple[int, int], how: str) -> Tensor:
    batch_B1HW = maps[None, None] if maps.ndim == 2 else maps[:, None]
    resized = torch.nn.functional.interpolate(batch_B1HW, size=size, **_OPTIONS[how])[:, 0]
    return resized[0] if maps.ndim == 2 else resized
