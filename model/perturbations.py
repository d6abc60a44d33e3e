"""The strong perturbations a student sees: colour distortion, then CutMix (arXiv:2401.10891, §3.2).

Only images are perturbed. Pseudo-labels were made on clean images and stay as they are, so colours
may change but nothing may move; CutMix moves pixels between images and says which.

Every draw comes from a CPU generator handed in, so the same seed gives the same perturbation on any
device, and a resumed run the same as one that never stopped. Draws are per sample; only the order
of the four colour changes is shared by a batch, which keeps them batched operations. Only the drawn
numbers move to the device, behind what it has to do: nothing waits for it. A change whose chance is
0 costs and draws nothing. Images are float, RGB, in 0..1: not normalised.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from kornia.color import rgb_to_grayscale
from kornia.enhance import (
    adjust_brightness_accumulative,
    adjust_contrast_with_mean_subtraction,
    adjust_hue,
    adjust_saturation_with_gray_subtraction,
)
from kornia.filters import gaussian_blur2d
from torch import Generator, Tensor

from model.devices import placed
from model.recipes import Recipe

# Standard deviations a blur kernel reaches to each side; beyond lies 0.006 % of a Gaussian.
_BLUR_REACH = 4


class CutMix(NamedTuple):
    """Images with a box of their partner pasted in.

    Attributes:
        images_B3HW: u_ab = u_a ⊙ M + u_b ⊙ (1 − M), eq. (5): a is the partner, b the image itself.
        mask_BHW: M, bool: True inside the box, where the pixels are the partner's. All False for
            an image that got no box.
        partner_B: int64, index in the batch of the image each box was taken from.
    """

    images_B3HW: Tensor
    mask_BHW: Tensor
    partner_B: Tensor


def generator_for(*, seed: int, step: int, rank: int) -> Generator:
    """A CPU generator whose draws are a function of the three numbers alone, none negative."""
    state = np.random.SeedSequence((seed, step, rank)).generate_state(1, np.uint64)
    return Generator().manual_seed(int(state[0]))


def perturb_colours(images_B3HW: Tensor, *, recipe: Recipe, generator: Generator) -> Tensor:
    """Jitter, grayscale and Gaussian blur, each with its own chance per image; stays in 0..1.

    Blended as in Pillow: brightness with black, contrast with the mean grey, saturation with the
    grey image; hue is turned. The argument is not changed.
    """
    images = images_B3HW
    if recipe.jitter_probability:
        jittered = _jitter(images, recipe=recipe, generator=generator)
        images = _for_some(recipe.jitter_probability, images, jittered, generator)
    if recipe.grayscale_probability:
        gray = rgb_to_grayscale(images).expand_as(images)
        images = _for_some(recipe.grayscale_probability, images, gray, generator)
    if recipe.blur_probability:
        blurred = _blur(images, recipe=recipe, generator=generator)
        images = _for_some(recipe.blur_probability, images, blurred, generator)
    return images.clamp(0, 1)


def cutmix(images_B3HW: Tensor, *, recipe: Recipe, generator: Generator) -> CutMix:
    """Paste into some images a box of another image of the batch, from the same place.

    The partner is the image a random number of places on, so never the image itself; a batch of one
    has no partner and stays as it is.
    """
    batch, height, width = images_B3HW.shape[0], *images_B3HW.shape[2:]
    device = images_B3HW.device
    if batch < 2 or not recipe.cutmix_probability:
        mask = torch.zeros(batch, height, width, dtype=torch.bool, device=device)
        return CutMix(images_B3HW, mask, torch.arange(batch, device=device))
    offset = int(torch.randint(1, batch, (), generator=generator))
    partner = (torch.arange(batch, device=device) + offset) % batch
    mask = cutmix_boxes(batch, (height, width), recipe=recipe, generator=generator, device=device)
    mixed = torch.where(mask[:, None], images_B3HW[partner], images_B3HW)
    return CutMix(mixed, mask, partner)


def cutmix_boxes(
    batch: int,
    size: tuple[int, int],
    *,
    recipe: Recipe,
    generator: Generator,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Boxes of CutMix as masks, B×H×W bool; all False for an image that gets none.

    Area uniform over its range, aspect (height over width) uniform over its range, corner uniform
    over the crop; a box that leaves the crop is drawn again with the same area (UniMatch,
    transform.py, named by the author in V1#240), so large boxes are as frequent as small ones.
    """
    edges_B4 = torch.zeros(batch, 4, dtype=torch.int64)
    for index in range(batch):
        if _uniform(0, 1, generator) < recipe.cutmix_probability:
            edges_B4[index] = torch.tensor(_box(size, recipe=recipe, generator=generator))
    # Four numbers per image go to the device, not its mask.
    top, bottom, left, right = placed(edges_B4, torch.device(device))[..., None, None].unbind(1)
    rows = torch.arange(size[0], device=device)[:, None]
    columns = torch.arange(size[1], device=device)
    return (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)


def _box(size: tuple[int, int], *, recipe: Recipe, generator: Generator) -> list[int]:
    """Top, bottom, left and right edge; bottom and right are the first pixels outside."""
    share = _uniform(recipe.cutmix_area_minimum, recipe.cutmix_area_maximum, generator)
    area = share * math.prod(size)
    flattest, tallest = recipe.cutmix_aspect_minimum, recipe.cutmix_aspect_maximum
    while True:
        # One call for three numbers: a GPU waits for them, and it takes some ten draws to fit.
        shape, down, right = torch.rand(3, generator=generator).tolist()
        aspect = flattest + (tallest - flattest) * shape
        height = max(int(math.sqrt(area * aspect)), 1)
        width = max(int(math.sqrt(area / aspect)), 1)
        top, left = int(down * size[0]), int(right * size[1])
        if top + height <= size[0] and left + width <= size[1]:
            return [top, top + height, left, left + width]


def _jitter(images: Tensor, *, recipe: Recipe, generator: Generator) -> Tensor:
    def factor(change: float) -> Tensor:
        factors_B = _uniforms(max(1 - change, 0), 1 + change, len(images), generator)
        return placed(factors_B, images.device)

    turn = 2 * math.pi * recipe.jitter_hue
    hue = placed(_uniforms(-turn, turn, len(images), generator), images.device)
    changes: list[tuple[Callable[[Tensor, Tensor], Tensor], Tensor]] = [
        (adjust_brightness_accumulative, factor(recipe.jitter_brightness)),
        (adjust_contrast_with_mean_subtraction, factor(recipe.jitter_contrast)),
        (adjust_saturation_with_gray_subtraction, factor(recipe.jitter_saturation)),
        (adjust_hue, hue),
    ]
    for index in torch.randperm(len(changes), generator=generator).tolist():
        change, factors = changes[index]
        images = change(images, factors)
    return images


def _blur(images: Tensor, *, recipe: Recipe, generator: Generator) -> Tensor:
    sigma_B = _uniforms(
        recipe.blur_sigma_minimum, recipe.blur_sigma_maximum, len(images), generator
    )
    # Reflection at the border needs a kernel that reaches less far than the image.
    reach = min(math.ceil(_BLUR_REACH * recipe.blur_sigma_maximum), min(images.shape[2:]) - 1)
    # Left on the CPU: kornia looks at the numbers, then moves them by itself.
    sigma_B2 = sigma_B[:, None].expand(-1, 2)
    return gaussian_blur2d(images, 2 * reach + 1, sigma_B2)  # type: ignore[no-any-return]


def _for_some(probability: float, images: Tensor, changed: Tensor, generator: Generator) -> Tensor:
    """``changed`` for a random part of the batch, ``images`` for the rest."""
    chosen_B = _uniforms(0, 1, len(images), generator) < probability
    chosen_B111 = placed(chosen_B, images.device)[:, None, None, None]
    return torch.where(chosen_B111, changed, images)


def _uniforms(low: float, high: float, batch: int, generator: Generator) -> Tensor:
    return low + (high - low) * torch.rand(batch, generator=generator)


def _uniform(low: float, high: float, generator: Generator) -> float:
    return _uniforms(low, high, 1, generator).item()
