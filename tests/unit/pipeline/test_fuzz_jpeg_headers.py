"""A usual JPEG is judged without a decoder, and damaged ones are judged as a decoder would."""

import io
import random

import numpy as np
import pytest
from PIL import ExifTags, Image

from pipeline.images import ImageDecodeError, open_image, read_header
from pipeline.structure import Structure

TELLING = (0, 1, 2, 3, 4, 8, 12, 16, 0xC0, 0xC2, 0xC4, 0xD8, 0xDA, 0xDB, 0xE0, 0xE1, 0xEE, 0xFF)


def variants() -> list[bytes]:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    pixels = np.random.default_rng(1).integers(0, 256, (40, 56, 4), dtype=np.uint8)
    files = []
    for mode, options in (
        ("RGB", {"exif": exif}),
        ("RGB", {"progressive": True, "comment": b"x" * 30, "dpi": (72, 72)}),
        ("L", {"quality": 20, "icc_profile": bytes(300)}),
        ("CMYK", {"restart_marker_rows": 1}),
    ):
        buffer = io.BytesIO()
        image = Image.fromarray(pixels[..., :3]).convert(mode)
        image.save(buffer, "JPEG", **options)
        files.append(buffer.getvalue())
    return files


def verdict(reader, data: bytes) -> Structure | str:
    try:
        return reader(data).structure
    except ImageDecodeError as error:
        return error.reason


@pytest.mark.parametrize("data", variants(), ids=["rgb", "progressive", "grey", "cmyk"])
def test_what_is_usual_is_not_opened(data, monkeypatch):
    expected = open_image(data).structure
    monkeypatch.setattr("pipeline.images.open_image", None)
    assert read_header(data).structure == expected
    assert expected.is_usual


def test_damaged_headers_are_judged_as_a_decoder_would():
    chance = random.Random(5)
    usual = others = 0
    for original in variants() * 800:
        data, end = bytearray(original), original.index(b"\xff\xda") + 14
        for _ in range(chance.choice([1, 1, 2, 4])):
            place = chance.randrange(3, end)
            if chance.random() < 0.5:
                place = max(3, data.find(b"\xff", place) + chance.randrange(12))
            data[min(place, end)] = chance.choice([*TELLING, chance.randrange(256)])
        answer = verdict(read_header, bytes(data))
        assert answer == verdict(open_image, bytes(data))
        is_usual = isinstance(answer, Structure) and answer.is_usual
        usual, others = usual + is_usual, others + (not is_usual)
    assert min(usual, others) > 600
