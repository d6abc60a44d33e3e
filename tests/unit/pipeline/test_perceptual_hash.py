"""Hashes of pictures: near for copies of one, far for different ones, none for flat ones."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps
from scipy.fft import dctn

from pipeline.images import ImageDecodeError, decode_grey, decode_rgb
from pipeline.perceptual_hash import (
    SIDE,
    answer_hash,
    distances,
    hash_in_answer,
    hash_of_grey,
    perceptual_hash,
)
from pipeline.sandbox import DECODER_CRASHED
from tests.pictures import encoded, picture

NEAR = 4


def bits_between(first: bytes, second: bytes) -> int:
    hashes = perceptual_hash(first), perceptual_hash(second)
    assert hashes[0] is not None and hashes[1] is not None
    return (hashes[0] ^ hashes[1]).bit_count()


CHANGES: dict[str, Callable[[Image.Image], bytes]] = {
    "quality 75": lambda image: encoded(image, quality=75),
    "quality 30": lambda image: encoded(image, quality=30),
    "progressive": lambda image: encoded(image, quality=85, progressive=True),
    "half": lambda image: encoded(image.resize((160, 120), Image.Resampling.LANCZOS), quality=85),
    "odd size": lambda image: encoded(image.resize((211, 158), Image.Resampling.BICUBIC)),
    "webp": lambda image: encoded(image, "WEBP", quality=80),
    "grey": lambda image: encoded(image.convert("L"), quality=90),
    "grey PNG": lambda image: encoded(image.convert("L"), "PNG"),
    "palette": lambda image: encoded(image.quantize(256), "PNG"),
    "alpha": lambda image: encoded(image.convert("RGBA"), "PNG"),
    "CMYK": lambda image: encoded(image.convert("CMYK"), "TIFF"),
    "brighter": lambda image: encoded(ImageEnhance.Brightness(image).enhance(1.1)),
    "darker": lambda image: encoded(ImageEnhance.Brightness(image).enhance(0.8)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_copies_are_near(change: str) -> None:
    for seed in range(5):
        original = picture(seed)
        assert bits_between(encoded(original, "PNG"), CHANGES[change](original)) <= NEAR


def test_different_pictures_are_far() -> None:
    hashes = np.array([perceptual_hash(encoded(picture(seed))) for seed in range(40)], np.uint64)
    between = distances(hashes[:, None], hashes[None])[np.triu_indices(len(hashes), 1)]
    assert between.min() > 3 * NEAR
    assert 30 < between.mean() < 34


def test_a_mirrored_picture_is_another() -> None:
    original = picture(0)
    assert bits_between(encoded(original), encoded(ImageOps.mirror(original))) > 3 * NEAR


def test_what_is_shown_counts_not_how_it_is_stored() -> None:
    """The same picture stored on its side with an EXIF orientation that turns it up."""
    original = picture(3)
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = original.transpose(Image.Transpose.ROTATE_90)
    turned = encoded(stored, "PNG", exif=exif)
    assert bits_between(encoded(original, "PNG"), turned) == 0


@pytest.mark.parametrize(
    "flat",
    [
        Image.new("RGB", (640, 480)),
        Image.new("RGB", (640, 480), (255, 255, 255)),
        Image.new("L", (97, 61), 128),
        Image.linear_gradient("L"),
        Image.linear_gradient("L").rotate(90),
    ],
)
def test_flat_pictures_have_no_hash(flat: Image.Image) -> None:
    for data in (encoded(flat, "PNG"), encoded(flat, quality=50)):
        assert perceptual_hash(data) is None


def test_noise_of_a_sensor_in_the_dark_is_no_structure() -> None:
    noise = np.random.default_rng(0).integers(0, 3, (480, 640, 3), np.uint8)
    assert perceptual_hash(encoded(Image.fromarray(noise), "PNG")) is None


def test_bits_are_the_signs_of_the_lowest_frequencies() -> None:
    grey_HW = np.random.default_rng(1).uniform(0, 255, (SIDE, SIDE)).astype(np.float32)
    spectrum = dctn(grey_HW, type=2, norm="ortho")
    order = sorted(np.ndindex(SIDE, SIDE), key=lambda index: (sum(index), index))[1:65]
    wanted = int("".join("1" if spectrum[index] > 0 else "0" for index in order), 2)
    assert hash_of_grey(grey_HW) == wanted


def cell_means(data: bytes) -> np.ndarray:
    """By definition: each pixel as 32 x 32 of its kind, so that cells have whole pixels."""
    grey_HW = np.asarray(Image.fromarray(decode_rgb(data)).convert("L"), np.float32)
    for _ in range(2):
        grey_HW = (
            np.repeat(grey_HW, SIDE, axis=0).reshape(SIDE, -1, grey_HW.shape[1]).mean(axis=1).T
        )
    return grey_HW


@pytest.mark.parametrize("size", [(32, 32), (31, 57), (1, 1), (200, 33), (255, 129)])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_small_grey_is_the_mean_of_each_cell(size: tuple[int, int], mode: str) -> None:
    data = encoded(picture(5, width=size[0], height=size[1]).convert(mode), "PNG")
    np.testing.assert_allclose(decode_grey(data, side=SIDE), cell_means(data), atol=0.6)


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
@pytest.mark.parametrize("size", [(1600, 1203), (517, 301), (70, 66)])
def test_an_image_made_small_first_shows_the_same(size: tuple[int, int], format: str) -> None:
    data = encoded(picture(6, width=size[0], height=size[1]), format)
    difference_HW = np.abs(decode_grey(data, side=SIDE) - cell_means(data))
    assert difference_HW.mean() < 1.5  # of 45, which is how much they vary


def test_sixteen_bits_are_scaled() -> None:
    grey_HW = np.asarray(picture(7).convert("L"))
    wide = Image.fromarray(grey_HW.astype(np.uint16) * 257)
    assert bits_between(encoded(wide, "PNG"), encoded(Image.fromarray(grey_HW), "PNG")) == 0


def test_a_broken_image_has_its_reason() -> None:
    data = encoded(picture(0), quality=90)
    with pytest.raises(ImageDecodeError) as raised:
        perceptual_hash(data[: len(data) // 2])
    assert raised.value.reason == "truncated"


def test_a_child_process_answers_in_bytes() -> None:
    seen = encoded(picture(0))
    assert hash_in_answer(answer_hash(seen)) == perceptual_hash(seen)
    assert hash_in_answer(answer_hash(encoded(Image.new("L", (64, 64))))) is None
    assert hash_in_answer(answer_hash(b"no image")) == "not_an_image"
    assert hash_in_answer(b"nonsense") == hash_in_answer(b"#123") == DECODER_CRASHED


def test_distances_count_bits() -> None:
    hashes = np.array([0, 1, 0xFFFF_FFFF_FFFF_FFFF, 1 << 63], np.uint64)
    between = distances(hashes[:, None], hashes[None])
    wanted = [[bin(int(a) ^ int(b)).count("1") for b in hashes] for a in hashes]
    np.testing.assert_array_equal(between, wanted)


def test_real_near_duplicates(shared_data: Path) -> None:
    folder = shared_data / "tricky" / "near_duplicates"

    def between(first: str, second: str) -> int:
        return bits_between((folder / first).read_bytes(), (folder / second).read_bytes())

    assert between("kitten.jpg", "kitten-progressive.jpg") == 0
    assert between("005880453_01_l.jpg", "005880453_01_r.jpg") == 0  # the same bytes
    # Consecutive frames of a fast scene: alike for a person, not a copy of each other.
    assert NEAR < between("000000.jpg", "000001.jpg") <= 2 * NEAR
    assert between("kitten.jpg", "11.jpg") > 3 * NEAR


def test_real_photographs_are_far_from_each_other(shared_data: Path) -> None:
    files = sorted(file for file in (shared_data / "photos").rglob("*.jpg"))[::2]
    found = [perceptual_hash(file.read_bytes()) for file in files]
    hashes = np.array([each for each in found if each is not None], np.uint64)
    assert len(hashes) >= 0.9 * len(files) > 20
    between = distances(hashes[:, None], hashes[None])[np.triu_indices(len(hashes), 1)]
    assert between.min() > 3 * NEAR
