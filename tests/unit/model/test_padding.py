"""The oracle is the processor of transformers, on Pillow arrays, which needs no torchvision."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.models.zoedepth.image_processing_pil_zoedepth import (
    ZoeDepthImageProcessorPil,
)

from model.padding import (
    cut_margins,
    margin,
    padded_size,
    resize_on_corners,
    upsample_inside,
)
from model.preprocessing import Preprocessing

torch.set_num_threads(1)

ZOE = Preprocessing(384, 32, "minimal", wide=512, filter="linear_corners", padded=True)


def noise(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def processed(image, *, do_pad=True):
    processor = ZoeDepthImageProcessorPil(ensure_multiple_of=32, do_normalize=False, do_pad=do_pad)
    pixels_CHW = processor(image, return_tensors="pt")["pixel_values"][0]
    return 255 * pixels_CHW.permute(1, 2, 0).numpy()


@pytest.mark.parametrize("size", [(480, 640), (375, 1242), (640, 480), (90, 50), (768, 1024)])
@pytest.mark.parametrize("do_pad", [True, False])
def test_images_are_those_of_the_published_processor(size, do_pad):
    image = noise(*size)
    expected = processed(image, do_pad=do_pad)
    ours = Preprocessing(384, 32, "minimal", wide=512, filter="linear_corners", padded=do_pad)
    resized = ours.resize(image)
    assert resized.shape == expected.shape
    # rounded to whole grey levels; torch counts places in float32
    assert np.abs(resized - expected).max() <= 0.55


def test_margins_are_the_published_ones():
    assert (margin(480), margin(640)) == (46, 53)
    assert padded_size(480, 640) == (572, 746)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60))
def test_margins_are_a_mirror_image(height, width):
    """Every padded pixel, at its own size: as numpy pads, and for images too small for torch."""
    image = noise(height, width)
    expected = np.pad(image, [(margin(height),) * 2, (margin(width),) * 2, (0, 0)], mode="reflect")
    assert expected.shape[:2] == padded_size(height, width)
    np.testing.assert_array_equal(
        resize_on_corners(image, padded_size(height, width), padded=True), expected
    )


def ramp(size, rows, columns):
    """A linear function of the place in the padded image, seen by a map of so many pixels."""
    height, width = padded_size(*size)
    y = (torch.arange(rows) + 0.5) * height / rows - margin(size[0])
    x = (torch.arange(columns) + 0.5) * width / columns - margin(size[1])
    return (3 * y[:, None] + x).float()


def test_what_is_left_is_the_image_alone_for_images_of_any_size():
    """In the image's own coordinates, a linear map has the closed form 3 y + x."""
    sizes = [(480, 640), (90, 120), (1500, 2000)]
    maps = torch.stack([ramp(size, 96, 128) for size in sizes])
    for (height, width), inside in zip(sizes, cut_margins(maps, sizes), strict=True):
        y = (torch.arange(96) + 0.5) * height / 96
        x = (torch.arange(128) + 0.5) * width / 128
        torch.testing.assert_close(inside, 3 * y[:, None] + x, rtol=1e-4, atol=1e-3 * height)


def test_a_margin_never_looks_into_the_image():
    maps = torch.full((1, 64, 64), 7.0)
    rows = int(64 * margin(100) / padded_size(100, 100)[0])  # wholly outside
    maps[:, :rows], maps[:, -rows:], maps[:, :, :rows], maps[:, :, -rows:] = (9.0,) * 4
    inside = cut_margins(maps, [(100, 100)])[0]
    assert (inside[2:-2, 2:-2] - 7).abs().max() < 1e-5


def test_cutting_and_mirroring_commute():
    maps = torch.rand(2, 24, 32, generator=torch.Generator().manual_seed(0))
    sizes = [(60, 80), (61, 81)]
    mirrored = cut_margins(maps.flip(2), sizes).flip(2)
    torch.testing.assert_close(mirrored, cut_margins(maps, sizes), atol=1e-5, rtol=0)


def test_every_map_needs_a_size():
    with pytest.raises(ValueError, match="2 maps need the sizes of as many images, got 1"):
        cut_margins(torch.zeros(2, 4, 4), [(10, 10)])


@pytest.mark.parametrize("how", ["bilinear", "bilinear_corners", "bicubic"])
def test_at_the_images_size_the_margins_are_gone_too(how):
    height, width = 60, 80
    values = upsample_inside(ramp((height, width), 96, 128), (height, width), how)
    assert values.shape == (height, width)
    expected = 3 * (torch.arange(height)[:, None] + 0.5) + torch.arange(width) + 0.5
    # aligned corners shift a map by up to half of its pixels; torch's cubic bends straight lines
    bound = {"bilinear": 1e-2, "bilinear_corners": 2.0, "bicubic": 0.2}[how]
    assert (values - expected).abs().max() <= bound


def test_margins_need_their_filter():
    with pytest.raises(ValueError, match="linear_corners only, not with cubic"):
        Preprocessing(padded=True)
