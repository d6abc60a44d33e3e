"""Margins of mirrored image: ZoeDepth runs inside them, and they are cut off again.

Its authors mirror the image outwards by 3 sqrt(side / 2) pixels, because the map is wrong along the
border of what the network sees (ZoeDepth ``depth_model.py``, ``_infer_with_pad_aug``; transformers
5.23 ``image_processing_zoedepth.py``, ``_pad_images``). How wide a margin is at the network depends
on the image's own size, and is no whole number of pixels there: whoever cuts must know that size.

Such images are resized with corner pixels on corner pixels, as both do.

Sizes are (height, width) in every signature.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.upsampling import upsample


def margin(side: int) -> int:
    """Pixels of mirrored image before and after a side of that many pixels."""
    return int(3 * math.sqrt(side / 2))


def padded_size(height: int, width: int) -> tuple[int, int]:
    """The image with its margins."""
    return height + 2 * margin(height), width + 2 * margin(width)


def resize_on_corners(
    image_HWC: NDArray[np.uint8], size: tuple[int, int], *, padded: bool
) -> NDArray[np.uint8]:
    """Bilinear with ``align_corners``, without antialias, from the image with or without margins.

    The margins are never made: only pixels that the result looks at are read. Rounded to whole
    grey levels.

    Args:
        image_HWC: uint8.
        size: Of the result, pixels.
        padded: Whether the result covers the margins too.
    """
    above, below, share = _taps(image_HWC.shape[0], size[0], padded=padded)
    rows = _between(image_HWC[above], image_HWC[below], share[:, None, None])
    left, right, share = _taps(image_HWC.shape[1], size[1], padded=padded)
    pixels = _between(rows[:, left], rows[:, right], share[None, :, None])
    return np.rint(pixels).astype(np.uint8)


def cut_margins(maps_BHW: Tensor, sizes: Sequence[tuple[int, int]]) -> Tensor:
    """What lies inside the margins, spread over as many pixels as the maps have.

    Bilinear between pixel centres, one interpolation: the maps stay stackable, whatever the images.

    Args:
        maps_BHW: Over images with their margins.
        sizes: Of the images without them, before they were resized; one for each map.

    Raises:
        ValueError: Not one size for each map.
    """
    if len(sizes) != len(maps_BHW):
        raise ValueError(f"{len(maps_BHW)} maps need the sizes of as many images, got {len(sizes)}")
    transforms_B23 = torch.zeros(len(sizes), 2, 3)
    for transform, (height, width) in zip(transforms_B23, sizes, strict=True):
        padded = padded_size(height, width)
        transform[0, 0], transform[1, 1] = width / padded[1], height / padded[0]
    grid_BHW2 = torch.nn.functional.affine_grid(
        transforms_B23.to(maps_BHW.device),
        [len(sizes), 1, *maps_BHW.shape[1:]],
        align_corners=False,
    )
    inside_B1HW = torch.nn.functional.grid_sample(
        maps_BHW[:, None], grid_BHW2, padding_mode="border", align_corners=False
    )
    return inside_B1HW[:, 0]


def upsample_inside(map_HW: Tensor, size: tuple[int, int], how: str) -> Tensor:
    """A map over an image with its margins, at that image's own size, without them."""
    whole = upsample(map_HW, padded_size(*size), how)
    top, left = margin(size[0]), margin(size[1])
    return whole[top : top + size[0], left : left + size[1]]


def _taps(
    side: int, wanted: int, *, padded: bool
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """The two pixels that each wanted one lies between, and its way from the first to the second.

    As in torch, the first of a single pixel is the first corner.
    """
    outside = margin(side) if padded else 0
    places = np.linspace(0, side + 2 * outside - 1, wanted)
    first = np.floor(places).astype(np.intp)
    share = (places - first).astype(np.float32)
    return _mirrored(first - outside, side), _mirrored(first + 1 - outside, side), share


def _mirrored(places: NDArray[np.intp], side: int) -> NDArray[np.intp]:
    """Places outside an image, inside: mirrored at the border pixels, which are not repeated."""
    period = max(1, 2 * (side - 1))
    inside: NDArray[np.intp] = np.abs(places) % period
    return np.minimum(inside, period - inside) % side


def _between(
    first: NDArray[Any], second: NDArray[Any], share: NDArray[np.float32]
) -> NDArray[np.float32]:
    return np.asarray(first * (1 - share) + second * share, np.float32)
