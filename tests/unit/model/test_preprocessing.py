import threading
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.preprocessing import IMAGE_MEAN, IMAGE_STD, Preprocessing, network_size

# (width, height) of the image -> (width, height) by the authors' code (lower bound, 518, 14)
# -> (width, height) by the DPTImageProcessor of transformers. The last column is not what we do:
# it documents why the processor is not used.
SIZES = [
    ((518, 518), (518, 518), (518, 518)),
    ((640, 480), (686, 518), (686, 518)),
    ((1920, 1080), (924, 518), (924, 518)),
    ((1080, 1920), (518, 924), (518, 924)),
    ((1242, 375), (1722, 518), (1722, 518)),
    ((500, 375), (686, 518), (518, 392)),
    ((375, 500), (518, 686), (392, 518)),
    ((300, 900), (518, 1554), (168, 518)),
    ((256, 256), (518, 518), (518, 518)),
    ((1, 1), (518, 518), (518, 518)),
    ((16, 8), (1036, 518), (518, 252)),
    ((6000, 4000), (784, 518), (784, 518)),
]


@pytest.mark.parametrize(("image", "expected", "_processor"), SIZES)
def test_size_is_the_authors(image, expected, _processor):
    width, height = image
    assert network_size(height, width) == expected[::-1]
    assert Preprocessing().size_for(height, width) == expected[::-1]


@pytest.mark.parametrize(("image", "_expected", "processor"), SIZES)
def test_processor_of_transformers_picks_the_sizes_of_the_last_column(image, _expected, processor):
    from transformers.models.dpt.image_processing_pil_dpt import get_resize_output_image_size

    pixels = np.zeros((3, image[1], image[0]), np.uint8)
    size = get_resize_output_image_size(pixels, (518, 518), keep_aspect_ratio=True, multiple=14)
    assert (size.width, size.height) == processor


@given(
    st.integers(1, 5000), st.integers(1, 5000), st.sampled_from([70, 112, 140, 392, 500, 518, 1036])
)
def test_lower_bound_holds_its_promises(height, width, side):
    rows, columns = network_size(height, width, side=side)
    assert rows % 14 == columns % 14 == 0
    assert min(rows, columns) == -(-side // 14) * 14 or min(rows, columns) == round(side / 14) * 14
    assert min(rows, columns) >= side
    scale = side / min(height, width)
    assert abs(rows - scale * height) <= 14 and abs(columns - scale * width) <= 14
    assert network_size(width, height, side=side) == (columns, rows)


def test_empty_images_are_refused():
    with pytest.raises(ValueError, match="0 x 5"):
        network_size(0, 5)


@pytest.mark.parametrize(
    ("rule", "wide", "image", "expected"),
    [
        # MiDaS at 384: the side that changes least decides (640x480 is landscape, 3:4)
        ("minimal", None, (480, 640), (384, 512)),
        ("minimal", None, (300, 400), (288, 384)),
        ("minimal", 512, (480, 640), (384, 512)),
        ("stretch", None, (480, 640), (384, 384)),
        ("stretch", 512, (1000, 100), (384, 512)),
        ("own_size", None, (375, 383), (352, 352)),
        ("own_size", None, (20, 50), (32, 32)),
        ("own_size", None, (768, 1536), (384, 768)),
    ],
)
def test_other_rules(rule, wide, image, expected):
    assert Preprocessing(384, 32, rule, wide=wide).size_for(*image) == expected


def _photograph_like(height, width):
    """Smooth shapes, hard edges and noise, spanning 0 to 255."""
    rng = np.random.default_rng(7)
    rows, columns = np.mgrid[:height, :width]
    waves = 127 + 90 * np.sin(rows / 9)[..., None] * np.cos(columns / 13)[..., None]
    image = waves + rng.normal(0, 12, (height, width, 3))
    image[height // 3 : height // 2, width // 4 :] = (250, 5, 128)
    return np.clip(image, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("size", [(60, 80), (90, 300), (700, 523), (518, 518)])
def test_cubic_resize_is_torch_bicubic_within_a_grey_level(size):
    image = _photograph_like(*size)
    preprocessing = Preprocessing(side=140)
    resized = preprocessing.resize(image)
    assert resized.dtype == np.uint8
    assert resized.shape[:2] == preprocessing.size_for(*size)
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].double()
    cubic = torch.nn.functional.interpolate(
        pixels, size=resized.shape[:2], mode="bicubic", align_corners=False, antialias=False
    )
    expected = cubic[0].permute(1, 2, 0).clamp(0, 255).numpy()
    assert np.abs(resized - expected).max() <= 1.0


def test_an_image_of_the_right_size_is_not_touched():
    image = _photograph_like(140, 140)
    np.testing.assert_array_equal(Preprocessing(side=140).resize(image), image)
    flipped = Preprocessing(side=140).resize(image[:, ::-1])
    assert flipped.flags.c_contiguous
    np.testing.assert_array_equal(flipped, image[:, ::-1])


@pytest.mark.parametrize(
    "image",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)],
)
def test_only_rgb_of_eight_bits_is_resized(image):
    with pytest.raises(ValueError, match="expected uint8 height x width x 3"):
        Preprocessing().resize(image)


def test_a_strip_does_not_fill_the_memory():
    with pytest.raises(ValueError, match="20000 x 1 would be resized to 10360000 x 518"):
        Preprocessing().resize(np.zeros((1, 20_000, 3), np.uint8))


def test_threads_get_what_one_thread_gets():
    preprocessing = Preprocessing(side=140)
    images = [_photograph_like(100 + k, 150) for k in range(16)]
    alone = [preprocessing.resize(image) for image in images]
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(preprocessing.resize, images))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)
    assert cv2.getNumThreads() == 1
    assert threading.active_count() < 50


def test_normalise_is_the_textbook_formula():
    images = torch.from_numpy(
        np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3), dtype=np.uint8)
    )
    pixels = Preprocessing().normalise(images)
    assert pixels.shape == (2, 3, 5, 7)
    assert pixels.dtype == torch.float32
    for channel in range(3):
        expected = (images[..., channel].numpy() / 255 - IMAGE_MEAN[channel]) / IMAGE_STD[channel]
        np.testing.assert_allclose(pixels[:, channel].numpy(), expected, atol=2e-6)


def test_normalise_changes_neither_its_input_nor_what_training_needs():
    images = torch.randint(0, 256, (1, 4, 4, 3), dtype=torch.uint8)
    kept = images.clone()
    with torch.inference_mode():
        first = Preprocessing().normalise(images)
    assert torch.equal(images, kept)
    weight = torch.ones(3, 1, 1, requires_grad=True)  # the statistics were kept from inference
    (Preprocessing().normalise(images) * weight).sum().backward()
    torch.testing.assert_close(weight.grad.flatten(), first.sum((0, 2, 3)))
    assert first.is_contiguous(memory_format=torch.channels_last)
