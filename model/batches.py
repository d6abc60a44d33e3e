"""From decoded arrays to the tensors of a training step.

Shapes: B samples, H rows, W columns, C channels. Images stay uint8 until they are on the device: a
quarter of the bytes to move. The functions up to ``collate`` are pure numpy and cv2, both of which
release the interpreter lock, so threads can run them; nothing here draws a random number that was
not asked of the generator handed in.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.devices import placed
from model.geometry import to_disparity
from model.preprocessing import IMAGE_MEAN, IMAGE_STD

Interpolation = Literal["nearest", "linear"]

# Pixel centres, as the other rules: cv2's plain INTER_NEAREST shifts a map by up to half a pixel.
_FLAGS = {"nearest": cv2.INTER_NEAREST_EXACT, "linear": cv2.INTER_LINEAR}


@dataclass(frozen=True, slots=True)
class Sample:
    """One training image and its map, of equal size.

    Attributes:
        image_HWC: uint8 RGB.
        target_HW: float32 disparity, NaN where invalid.
    """

    image_HWC: NDArray[np.uint8]
    target_HW: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Batch:
    """Samples as tensors.

    Attributes:
        images_B3HW: uint8 RGB.
        target_BHW: float32 disparity, 0 where invalid.
        valid_BHW: bool.
    """

    images_B3HW: Tensor
    target_BHW: Tensor
    valid_BHW: Tensor

    def __len__(self) -> int:
        return len(self.images_B3HW)

    def pin_memory(self) -> "Batch":
        """A copy in page-locked memory, from which a GPU reads while the host goes on."""
        tensors = (self.images_B3HW, self.target_BHW, self.valid_BHW)
        return Batch(*(tensor.pin_memory() for tensor in tensors))

    def to(self, device: torch.device | str) -> "Batch":
        """The batch on a device; asynchronous from page-locked memory."""
        tensors = (self.images_B3HW, self.target_BHW, self.valid_BHW)
        return Batch(*(tensor.to(device, non_blocking=True) for tensor in tensors))


def to_target(
    values_HW: NDArray[np.floating], geometry: str, sky_HW: NDArray[np.bool_] | None = None
) -> NDArray[np.float32]:
    """What the loss compares with: disparity d = 1/t, then 0..1 per map (arXiv:2401.10891, §3.1).

    Float32; NaN where there is no value. Sky is 0, the farthest, but only where the map has no
    value of its own, as the author says (V1#206). It is inverse depth 0, so what was measured in
    front of it stays above 0; where nobody knows which disparity that is, sky lies level with the
    farthest value measured, as MiDaS has it for films (its #15). A map with one value alone is 0
    there, unless it has sky.
    """
    disparity = to_disparity(np.asarray(values_HW, np.float64), geometry)
    valid = np.isfinite(disparity)
    sky_HW = np.zeros_like(valid) if sky_HW is None else sky_HW & ~valid
    if valid.any():
        low, high = disparity[valid].min(), disparity[valid].max()
        if sky_HW.any() and geometry != "disparity_affine_invariant":
            low = min(low, 0.0)
        disparity = (disparity - low) / (high - low if high > low else 1.0)
    target = np.where(valid, disparity, np.nan).astype(np.float32)
    target[sky_HW] = 0.0
    return target


def prepare_sample(
    image_HWC: NDArray[np.uint8],
    target_HW: NDArray[np.float32],
    *,
    size: int,
    rng: np.random.Generator,
    flip_probability: float,
    interpolation: Interpolation,
) -> Sample:
    """Shorter side to ``size``, a random crop of ``size``×``size``, and perhaps a horizontal flip.

    Image and map show the same view, though the map may have another resolution: both are brought
    to one size first, then cut and flipped alike (arXiv:2401.10891, §6). The image is resized with
    ``cv2.INTER_CUBIC``. The map is sampled ``nearest`` where it has holes, so that no value is made
    of two sides of an edge and no hole grows, or ``linear`` where it is dense: a NaN would spread
    to its neighbours.

    Raises:
        ValueError: For arrays of another shape or dtype.
    """
    if image_HWC.dtype != np.uint8 or image_HWC.ndim != 3 or image_HWC.shape[2] != 3:
        raise ValueError(f"image must be uint8 H×W×3, not {image_HWC.dtype} {image_HWC.shape}")
    if target_HW.ndim != 2 or not target_HW.size:
        raise ValueError(f"target must be H×W, not {target_HW.shape}")
    height, width = _resized(image_HWC.shape[0], image_HWC.shape[1], size)
    top = int(rng.integers(height - size + 1))
    left = int(rng.integers(width - size + 1))
    flip = bool(rng.random() < flip_probability)

    def view(array: NDArray[np.generic], rule: int) -> NDArray[np.generic]:
        resized = cv2.resize(array, (width, height), interpolation=rule)
        cut = resized[top : top + size, left : left + size]
        return np.ascontiguousarray(cut[:, ::-1] if flip else cut)

    return Sample(
        image_HWC=view(image_HWC, cv2.INTER_CUBIC).astype(np.uint8, copy=False),
        target_HW=view(np.asarray(target_HW, np.float32), _FLAGS[interpolation]).astype(
            np.float32, copy=False
        ),
    )


def collate(samples: Sequence[Sample]) -> Batch:
    """Samples of one size as a batch; the map's NaN become 0 and invalid.

    Raises:
        ValueError: Without samples, or for samples of different sizes.
    """
    if not samples:
        raise ValueError("a batch needs at least one sample")
    images = np.stack([sample.image_HWC for sample in samples])
    targets = np.stack([sample.target_HW for sample in samples])
    valid = np.isfinite(targets)
    return Batch(
        images_B3HW=torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(),
        target_BHW=torch.from_numpy(np.where(valid, targets, np.float32(0))),
        valid_BHW=torch.from_numpy(valid),
    )


def to_unit(images_B3HW: Tensor) -> Tensor:
    """Uint8 images as float32 in 0..1, which the perturbations work on."""
    return images_B3HW.to(torch.float32) / 255


def normalise(images_B3HW: Tensor) -> Tensor:
    """Uint8 images, or float ones in 0..1, less ImageNet's mean, over its deviation; float32."""
    if images_B3HW.dtype == torch.uint8:
        images_B3HW = to_unit(images_B3HW)
    statistics = placed(torch.tensor([IMAGE_MEAN, IMAGE_STD]), images_B3HW.device)[..., None, None]
    return (images_B3HW - statistics[0]) / statistics[1]


def _resized(height: int, width: int, size: int) -> tuple[int, int]:
    """Height and width with the shorter side at ``size``, the ratio kept to the nearest pixel."""
    scale = size / min(height, width)
    return max(round(height * scale), size), max(round(width * scale), size)
