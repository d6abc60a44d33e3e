"""Every way to store a picture decodes to the same upright RGB."""

import io
import threading
import warnings

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from pipeline.image_formats import sniff
from pipeline.images import ImageDecodeError, decode_rgb, open_image

rng = np.random.default_rng(0)
RGB = rng.integers(0, 256, (36, 48, 3), dtype=np.uint8)


def encoded(image: Image.Image, format_: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


def oriented(value: int) -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = value
    return exif.tobytes()


LOSSLESS = [
    ("PNG", {}),
    ("WEBP", {"lossless": True}),
    ("BMP", {}),
    ("TIFF", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
    ("PPM", {}),
    ("AVIF", {"quality": 100, "subsampling": "4:4:4"}),
    ("JPEG", {"quality": 100, "subsampling": 0}),
]


@pytest.mark.parametrize(("format_", "options"), LOSSLESS)
def test_formats(format_, options):
    pixels_HWC = decode_rgb(encoded(Image.fromarray(RGB), format_, **options))
    assert pixels_HWC.shape == RGB.shape and pixels_HWC.dtype == np.uint8
    off = np.abs(pixels_HWC.astype(int) - RGB)
    bound = {"JPEG": 3, "AVIF": 3}.get(format_, 0)
    assert off.max() <= bound or (bound and np.percentile(off, 99) <= bound)


def test_the_array_is_contiguous_and_writable():
    for value in (1, 6):
        pixels_HWC = decode_rgb(encoded(Image.fromarray(RGB), "PNG", exif=oriented(value)))
        assert pixels_HWC.flags.c_contiguous and pixels_HWC.flags.writeable


@pytest.mark.parametrize("value", range(1, 9))
@pytest.mark.parametrize("format_", ["PNG", "WEBP", "TIFF", "JPEG", "AVIF"])
def test_orientation_equals_pillows(format_, value):
    """Pillow's own transposition of its own decoding is the oracle."""
    options = {"lossless": True} if format_ == "WEBP" else {}
    data = encoded(Image.fromarray(RGB), format_, exif=oriented(value), **options)
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    assert np.array_equal(decode_rgb(data), expected)


@pytest.mark.parametrize("value", range(1, 9))
def test_orientation_undoes_the_turn(value):
    """A picture stored turned, and said to be so, comes out as it was."""
    turn = {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }[value]
    stored = Image.fromarray(np.ascontiguousarray(turn(RGB)))
    data = encoded(stored, "PNG", exif=oriented(value))
    assert np.array_equal(decode_rgb(data), RGB)
    assert open_image(data).shown_size == (48, 36)


def test_real_photographs_of_all_orientations_show_the_same_scene(shared_data):
    """Each has its number in the middle, so they are alike, not equal."""
    folder = shared_data / "tricky" / "exif_orientation"
    reference = decode_rgb((folder / "Landscape_1.jpg").read_bytes())

    def likeness(pixels: np.ndarray) -> float:
        return float(np.corrcoef(pixels.ravel(), reference.ravel())[0, 1])

    for value in range(2, 9):
        pixels = decode_rgb((folder / f"Landscape_{value}.jpg").read_bytes())
        assert pixels.shape == reference.shape
        assert likeness(pixels) > 0.95, value
        for wrong in (pixels[:, ::-1], pixels[::-1], pixels[::-1, ::-1]):
            assert likeness(wrong) < 0.6


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr", "LAB"])
def test_modes_equal_pillows_conversion(mode):
    image = Image.fromarray(RGB).convert("RGB")
    image = image.convert("L").convert("LA") if mode == "LA" else image.convert(mode)
    format_ = "TIFF" if mode in ("CMYK", "YCbCr", "LAB") else "PNG"
    data = encoded(image, format_)
    with Image.open(io.BytesIO(data)) as stored:
        assert stored.mode == mode
        expected = np.asarray(stored.convert("RGB"))
    assert np.array_equal(decode_rgb(data), expected)


def test_alpha_is_dropped_not_blended():
    alpha = np.zeros(RGB.shape[:2], np.uint8)
    data = encoded(Image.fromarray(np.dstack([RGB, alpha])), "PNG")
    assert np.array_equal(decode_rgb(data), RGB)


def test_palette_with_transparency_does_not_warn():
    image = Image.fromarray(RGB).quantize(16)
    data = encoded(image, "PNG", transparency=bytes(range(16)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pixels = decode_rgb(data)
    assert np.array_equal(pixels, np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("format_", ["PNG", "TIFF", "PPM"])
def test_sixteen_bit_grey_is_scaled_not_clipped(format_):
    ramp = np.linspace(0, 65535, 64 * 64).astype(np.uint16).reshape(64, 64)
    pixels = decode_rgb(encoded(Image.fromarray(ramp), format_))
    assert np.array_equal(pixels[..., 0], np.round(ramp / 65535 * 255).astype(np.uint8))
    assert np.array_equal(pixels[..., 0], pixels[..., 2])
    assert pixels.min() == 0 and pixels.max() == 255


def test_pgm_with_another_maximum_is_scaled_by_it():
    data = b"P5 64 64 4095\n" + np.full((64, 64), 4095, ">u2").tobytes()
    assert decode_rgb(data).min() == 255


def test_sixteen_bit_files_of_others(shared_data):
    for name in ("16bit.cropped.tif", "16_bit_binary.pgm"):
        data = (shared_data / "tricky" / "modes" / name).read_bytes()
        with Image.open(io.BytesIO(data)) as image:
            values = np.asarray(image).astype(float)
        assert values.max() > 255, name
        expected = np.round(values * 255 / 65535)
        assert np.array_equal(decode_rgb(data)[..., 1], expected), name


def test_cmyk_is_read_the_right_way_round(shared_data):
    chart = decode_rgb((shared_data / "tricky/modes/pil_sample_cmyk.jpg").read_bytes())
    assert chart[0, 0, 0] > 240 and chart[0, 0, 1:].max() < 40  # red
    assert chart[-1, -1].max() < 20  # black
    name = "Channel_digital_image_CMYK_color_no_profile.jpg"
    photograph = decode_rgb((shared_data / "tricky" / "modes" / name).read_bytes())
    assert 40 < photograph.mean() < 220 and photograph.std() > 20


def test_every_photograph_equals_pillow(shared_data):
    for path in sorted((shared_data / "photos").glob("*/*")):
        if path.stat().st_size < 150_000:
            with Image.open(path) as image:
                expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
            assert np.array_equal(decode_rgb(path.read_bytes()), expected), path.name


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"plain text", "not_an_image"),
        (b"GIF89a" + b"\0" * 50, "unsupported_format"),
        (b"\xff\xd8\xff\xe0", "corrupt_header"),
        (b"BM" + b"\0" * 60, "corrupt_header"),
        (b"P6 0 10 255\n", "corrupt_header"),
        (b"II+\0" + b"\0" * 60, "unsupported_format"),
        (b"Pf\n1 1\n-1\n\0\0\0\0", "unsupported_format"),
    ],
)
def test_reasons(data, reason):
    with pytest.raises(ImageDecodeError) as caught:
        decode_rgb(data)
    assert caught.value.reason == reason
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("mode", ["F", "I"])
def test_pixels_without_a_known_range_are_refused(mode):
    with pytest.raises(ImageDecodeError, match="unsupported_pixels"):
        decode_rgb(encoded(Image.new(mode, (40, 40)), "TIFF"))


def test_truncated_pixels_are_said_to_be_truncated():
    data = encoded(Image.fromarray(RGB), "JPEG")
    with pytest.raises(ImageDecodeError) as caught:
        decode_rgb(data[: len(data) // 2])
    assert caught.value.reason == "truncated"


def test_too_many_pixels_are_refused_before_decoding():
    data = encoded(Image.new("L", (300, 200)), "PNG")
    assert decode_rgb(data, max_pixels=60_000).shape == (200, 300, 3)
    with pytest.raises(ImageDecodeError, match="too_many_pixels"):
        decode_rgb(data, max_pixels=59_999)


def test_errors_travel_between_processes():
    import pickle

    error = pickle.loads(pickle.dumps(ImageDecodeError("truncated", "cut")))
    assert (error.reason, error.detail, str(error)) == ("truncated", "cut", "truncated: cut")


def test_threads_do_not_disturb_each_other_or_pillow():
    """No global of Pillow or of `warnings` is touched: limits differ from thread to thread."""
    data = encoded(Image.new("L", (200, 200)), "PNG")
    before, filters = Image.MAX_IMAGE_PIXELS, list(warnings.filters)
    wrong = []

    def decode(limit: int, allowed: bool) -> None:
        for _ in range(50):
            try:
                decode_rgb(data, max_pixels=limit)
            except ImageDecodeError:
                if allowed:
                    wrong.append(limit)
            else:
                if not allowed:
                    wrong.append(limit)

    threads = [
        threading.Thread(target=decode, args=pair) for pair in [(40_000, True), (39_999, False)] * 3
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert before == Image.MAX_IMAGE_PIXELS and list(warnings.filters) == filters


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"\xff\xd8\xff\xe0", "JPEG"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "WEBP"),
        (b"RIFF\0\0\0\0AVI LIST", None),
        (b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf", "AVIF"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0avifmif1miaf", "AVIF"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x18ftypisom\0\0\0\0isommp42", None),
        (b"P6\n", "PPM"),
        (b"P6x", None),
        (b"", None),
    ],
)
def test_sniffing(data, name):
    assert sniff(data) == name
