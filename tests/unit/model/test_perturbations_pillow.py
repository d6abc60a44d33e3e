"""Colours as torchvision changes them on Pillow images, which is what UniMatch trained with.

Pillow's images are of 8 bits and rounded after each change: bounds are in steps of 1/255.
"""

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageFilter

from model.perturbations import generator_for, perturb_colours
from model.recipes import V1, override

CODE = 1 / 255
CHANGES = {"hue": (-0.25, 0.25)} | dict.fromkeys(
    ("brightness", "contrast", "saturation"), (0.5, 1.5)
)
NOTHING = override(V1, jitter_probability=0.0, grayscale_probability=0.0, blur_probability=0.0)


pytestmark = pytest.mark.usefixtures("one_thread")


def draw():
    return generator_for(seed=0, step=0, rank=0)


def pictures(batch=24):
    """Eight-bit pictures with smooth parts, edges, grey, black, white and a flat colour."""
    small = torch.rand(batch, 3, 6, 8, generator=torch.Generator().manual_seed(7))
    images = torch.nn.functional.interpolate(small, size=(30, 40), mode="bilinear")
    images[:, :, :8, :8] = images[:, :1, :8, :8]
    images[:, :, 8:12, :6], images[:, :, 12:16, :6] = 0.0, 1.0
    images[:, :, 20:, 20:] = small[:, :, 2:3, 3:4]
    return (images * 255).round() / 255


def as_pillow(image):
    return Image.fromarray((image.permute(1, 2, 0) * 255).round().byte().numpy())


def of_pillow(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255


def changed_alone(name):
    """Each picture, what one colour change makes of it, and the number drawn for it.

    The numbers are drawn in the order hue, brightness, contrast, saturation.
    """
    off = {f"jitter_{other}": 0.0 for other in CHANGES if other != name}
    images = pictures()
    recipe = override(NOTHING, jitter_probability=1.0, **off)
    changed = perturb_colours(images, recipe=recipe, generator=draw())
    generator = draw()
    for each, (low, high) in CHANGES.items():
        numbers = low + (high - low) * torch.rand(len(images), generator=generator)
        if each == name:
            return list(zip(images, changed, numbers.tolist(), strict=True))
    raise AssertionError(name)


@pytest.mark.parametrize(
    ("name", "enhancer"),
    [
        ("brightness", ImageEnhance.Brightness),
        ("contrast", ImageEnhance.Contrast),
        ("saturation", ImageEnhance.Color),
    ],
)
def test_brightness_contrast_and_saturation(name, enhancer):
    for image, changed, factor in changed_alone(name):
        expected = of_pillow(enhancer(as_pillow(image)).enhance(factor))
        # Pillow blends with greys that are whole codes, and cuts the result down to one.
        assert (changed - expected).abs().max() < 1.3 * CODE


def test_hue():
    for image, changed, turn in changed_alone("hue"):
        hue, *others = as_pillow(image).convert("HSV").split()
        turned = (np.array(hue).astype(int) + round(turn * 255)) % 256
        turned_hue = Image.fromarray(turned.astype(np.uint8))
        expected = of_pillow(Image.merge("HSV", (turned_hue, *others)).convert("RGB"))
        # A step of Pillow's hue, one of 256, is up to 6 codes of a colour; it rounds the hue and
        # the turn to a step, saturation and value to a code.
        assert (changed - expected).abs().max() < 12 * CODE
        assert (changed - expected).abs().mean() < CODE


def test_grey():
    images = pictures()
    recipe = override(NOTHING, grayscale_probability=1.0)
    changed = perturb_colours(images, recipe=recipe, generator=draw())
    for image, grey in zip(images, changed, strict=True):
        expected = of_pillow(as_pillow(image).convert("L").convert("RGB"))
        assert (grey - expected).abs().max() < 1.1 * CODE


def test_blur():
    images = pictures()
    recipe = override(NOTHING, blur_probability=1.0)
    changed = perturb_colours(images, recipe=recipe, generator=draw())
    sigmas = 0.1 + 1.9 * torch.rand(len(images), generator=draw())
    inside = (..., slice(8, -8), slice(8, -8))  # Pillow repeats the border, we mirror
    for image, blurred, sigma in zip(images, changed, sigmas.tolist(), strict=True):
        expected = of_pillow(as_pillow(image).filter(ImageFilter.GaussianBlur(sigma)))
        gap = (blurred - expected)[inside].abs()
        # Pillow passes a box three times, nearly a Gaussian.
        assert gap.max() < 12 * CODE
        assert gap.mean() < 0.6 * CODE
