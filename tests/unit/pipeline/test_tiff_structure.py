"""A TIFF stripped of its metadata gives the same pixels; broken directories are refused."""

import io
import struct

import numpy as np
import pytest
from PIL import ExifTags, Image

from pipeline.structure import BrokenStructureError
from pipeline.tiff_structure import grey_bits, scan_tiff, tiff_of_pixels

rng = np.random.default_rng(0)
RGB = rng.integers(0, 256, (37, 45, 3), dtype=np.uint8)
GREY16 = rng.integers(0, 65536, (37, 45), dtype=np.uint16)


def tiff(pixels: np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "TIFF", **options)
    return buffer.getvalue()


def little_tiff(entries: list[tuple[int, int, int, int]]) -> bytes:
    """A directory of these (tag, kind, count, value), little-endian, and nothing else."""
    body = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + body + b"\0\0\0\0"


@pytest.mark.parametrize(
    "compression",
    [None, "packbits", "tiff_lzw", "tiff_deflate", "tiff_adobe_deflate", "lzma", "zstd"],
)
@pytest.mark.parametrize(
    "pixels", [RGB, RGB[..., 0], GREY16, RGB[..., 0] > 99], ids=["rgb", "grey", "grey16", "mask"]
)
def test_pixels_stay_the_same(pixels, compression):
    data = tiff(pixels, compression=compression, description="text", dpi=(300, 300))
    with Image.open(io.BytesIO(tiff_of_pixels(data))) as bare:
        assert np.array_equal(np.asarray(bare), pixels)
        assert 270 not in bare.tag_v2 and 282 not in bare.tag_v2


def test_jpeg_inside_stays_the_same():
    data = tiff(RGB, compression="jpeg", quality=90)
    with (
        Image.open(io.BytesIO(tiff_of_pixels(data))) as bare,
        Image.open(io.BytesIO(data)) as full,
    ):
        assert np.array_equal(np.asarray(bare), np.asarray(full))


@pytest.mark.parametrize("value", range(1, 9))
def test_orientation_is_read_and_left_to_the_caller(value):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = value
    data = tiff(RGB, exif=exif)
    structure = scan_tiff(data)
    assert structure.orientation == value
    assert (structure.width, structure.height) == (45, 37)  # as stored
    with Image.open(io.BytesIO(tiff_of_pixels(data))) as bare:
        assert np.array_equal(np.asarray(bare), RGB)


def test_cuts_are_seen():
    data = tiff(RGB)
    assert scan_tiff(data).complete
    for cut in range(9, len(data) - 1, 97):
        try:
            assert not scan_tiff(data[:cut]).complete
        except BrokenStructureError:
            continue


def test_only_the_first_page_counts():
    buffer = io.BytesIO()
    first, second = Image.fromarray(RGB), Image.fromarray(RGB[:9, :9])
    first.save(buffer, "TIFF", save_all=True, append_images=[second])
    structure = scan_tiff(buffer.getvalue())
    assert (structure.width, structure.height, structure.frames) == (45, 37, 1)
    with Image.open(io.BytesIO(tiff_of_pixels(buffer.getvalue()))) as bare:
        assert bare.n_frames == 1


def test_bits_of_a_sample():
    assert grey_bits(tiff(GREY16)) == 16
    assert grey_bits(tiff(RGB)) == 8
    assert grey_bits(little_tiff([(258, 3, 1, 12)])) == 12


@pytest.mark.parametrize(
    "data",
    [
        b"II*\0",
        b"II*\0\xff\xff\xff\x7f",
        b"MM\0*\0\0\0\x08\xff\xff",
        little_tiff([(256, 3, 2, 10), (257, 3, 1, 10)]),  # two widths
        little_tiff([(273, 4, 1000, 8)]),  # a table that sticks out
        little_tiff([(273, 4, 8, 8), (279, 4, 8, 8)] * 2 + [(324, 4, 8, 8), (325, 4, 8, 8)]),
    ],
)
def test_broken_directories_are_refused(data):
    with pytest.raises(BrokenStructureError):
        scan_tiff(data)


def test_missing_or_unreadable_sizes_are_zero():
    structure = scan_tiff(little_tiff([(257, 3, 1, 5), (256, 11, 1, 5)]))
    assert (structure.width, structure.height) == (0, 5)


def test_the_first_of_repeated_tags_counts():
    structure = scan_tiff(little_tiff([(256, 3, 1, 7), (256, 3, 1, 9), (257, 3, 1, 5)]))
    assert (structure.width, structure.height) == (7, 5)
