"""The segments are read as Pillow reads them, and a missing end is always seen."""

import io
import struct

import numpy as np
import pytest
from PIL import ExifTags, Image, PngImagePlugin

from pipeline.structure import (
    BrokenStructureError,
    boxes_complete,
    orientation,
    scan_jpeg,
    scan_png,
    scan_webp,
)

SCANNERS = {"JPEG": scan_jpeg, "PNG": scan_png, "WEBP": scan_webp}
XMP = b'<x:xmpmeta><rdf tiff:Orientation="%d"/></x:xmpmeta>'


def picture(width: int = 48, height: int = 36) -> Image.Image:
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def encoded(format_: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture().save(buffer, format_, **options)
    return buffer.getvalue()


def exif(value: int) -> bytes:
    tags = Image.Exif()
    tags[ExifTags.Base.Make] = "a camera"
    tags[ExifTags.Base.Orientation] = value
    return tags.tobytes()


VARIANTS = [
    ("JPEG", {}),
    ("JPEG", {"progressive": True}),
    ("JPEG", {"quality": 95, "subsampling": 0}),
    ("JPEG", {"restart_marker_blocks": 1}),
    ("JPEG", {"comment": b"\xff\xd9 an end that is none"}),
    ("PNG", {}),
    ("PNG", {"compress_level": 0}),
    ("WEBP", {}),
    ("WEBP", {"lossless": True}),
    ("WEBP", {"exif": exif(3)}),
]


@pytest.mark.parametrize(("format_", "options"), VARIANTS)
def test_size_and_end_are_found(format_, options):
    structure = SCANNERS[format_](encoded(format_, **options))
    assert (structure.width, structure.height) == (48, 36)
    assert structure.complete and structure.frames == 1


@pytest.mark.parametrize(("format_", "options"), VARIANTS)
def test_every_cut_is_seen(format_, options):
    """A file cut anywhere is either incomplete or has no readable header, never whole."""
    data = encoded(format_, **options)
    for length in range(16, len(data) - 1, max(1, len(data) // 400)):
        try:
            structure = SCANNERS[format_](data[:length])
        except BrokenStructureError:
            continue
        assert not structure.complete, f"cut to {length} of {len(data)} bytes"


@pytest.mark.parametrize(("format_", "options"), VARIANTS)
def test_what_follows_the_end_does_not_matter(format_, options):
    data = encoded(format_, **options)
    for tail in (b"\0\0\0", b"trailing bytes", b"\xff\xd8\xff"):
        structure = SCANNERS[format_](data + tail)
        assert structure.complete and (structure.width, structure.height) == (48, 36)


def test_the_end_of_an_appended_picture_is_not_the_end_of_the_first():
    """What multi-picture files do: cut inside the first, the second still ends well."""
    first, second = encoded("JPEG"), encoded("JPEG", quality=30)
    mpf = b"\xff\xe2" + struct.pack(">H", 2 + 8) + b"MPF\0\0\0\0\0"
    cut = first[:2] + mpf + first[2 : len(first) // 2]
    assert not scan_jpeg(cut).complete
    assert scan_jpeg(first[:2] + mpf + first[2:] + second).complete


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("value", range(1, 9))
def test_orientation_equals_pillows(format_, value):
    data = encoded(format_, exif=exif(value))
    with Image.open(io.BytesIO(data)) as image:
        expected = image.getexif()[ExifTags.Base.Orientation]
    assert SCANNERS[format_](data).orientation == value == expected


def test_orientation_may_stand_in_xmp_alone():
    png = PngImagePlugin.PngInfo()
    png.add_itxt("XML:com.adobe.xmp", (XMP % 6).decode(), zip=False)
    packed = PngImagePlugin.PngInfo()
    packed.add_itxt("XML:com.adobe.xmp", (XMP % 6).decode(), zip=True)
    for data in (encoded("PNG", pnginfo=png), encoded("PNG", pnginfo=packed)):
        assert scan_png(data).orientation == 6
    assert scan_jpeg(encoded("JPEG", xmp=XMP % 8)).orientation == 8
    assert scan_webp(encoded("WEBP", xmp=XMP % 2)).orientation == 2


def test_exif_goes_before_xmp():
    assert orientation(exif(3), XMP % 6) == 3
    assert orientation(b"", XMP % 6) == 6
    no_tag = Image.Exif()
    no_tag[ExifTags.Base.Make] = "a camera"
    assert orientation(no_tag.tobytes(), XMP % 6) == 6


def test_png_takes_orientation_from_imagemagicks_profile():
    block = exif(5)
    text = f"\nexif\n{len(block):8}\n{block.hex()}\n"
    info = PngImagePlugin.PngInfo()
    info.add_text("Raw profile type exif", text, zip=True)
    assert scan_png(encoded("PNG", pnginfo=info)).orientation == 5


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"Exif\0\0",
        b"II*\0",
        b"II*\0\xff\xff\xff\xff",
        b"MM\0*\0\0\0\x08",
        b"MM\0*\0\0\0\x08\xff\xff\x01\x12",
        b"nonsense that is long enough to be read as a header",
        b"II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x01\0\0\0\x06\0\0\0",  # a text, not a number
        b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x02\0\0\0\x06\0\0\0",  # two numbers
        b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x09\0\0\0",  # nine
        b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\0\0\0\0",  # zero
    ],
)
def test_broken_exif_means_upright(block):
    assert orientation(block) == 1


def test_both_byte_orders():
    assert orientation(b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0") == 6
    assert orientation(b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0") == 6


def test_real_files_are_read_as_pillow_reads_them(shared_data):
    checked = 0
    for path in sorted((shared_data / "tricky" / "exif_orientation").iterdir()):
        data = path.read_bytes()
        with Image.open(io.BytesIO(data)) as image:
            structure = SCANNERS[image.format](data)
            assert (structure.width, structure.height) == image.size, path.name
            assert structure.orientation == image.getexif().get(0x0112, 1), path.name
        assert structure.complete, path.name
        checked += 1
    assert checked == 11


def test_animations_are_counted():
    frames = [picture() for _ in range(3)]
    frames[1].putpixel((0, 0), (1, 2, 3))
    frames[2].putpixel((1, 1), (4, 5, 6))
    for format_, scan in (("PNG", scan_png), ("WEBP", scan_webp)):
        buffer = io.BytesIO()
        frames[0].save(buffer, format_, save_all=True, append_images=frames[1:], lossless=True)
        assert scan(buffer.getvalue()).frames == 3


def test_metadata_of_jpeg_can_be_cut_out_without_changing_a_pixel():
    data = encoded("JPEG", exif=exif(6), xmp=XMP % 6, icc_profile=b"\0" * 3000)
    structure = scan_jpeg(data)
    assert len(structure.metadata) == 3
    kept, position = b"", 0
    for start, end in structure.metadata:
        kept, position = kept + data[position:start], end
    with (
        Image.open(io.BytesIO(kept + data[position:])) as bare,
        Image.open(io.BytesIO(data)) as full,
    ):
        assert np.array_equal(np.asarray(bare), np.asarray(full))
        assert "exif" not in bare.info and "icc_profile" not in bare.info


def test_text_bombs_in_png_are_not_unpacked():
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", " " * 50_000_000, zip=True)
    assert scan_png(encoded("PNG", pnginfo=info)).orientation == 1


@pytest.mark.parametrize(
    ("scan", "data"),
    [
        (scan_jpeg, b"\xff\xd8\xff"),
        (scan_jpeg, b"\xff\xd8\xff\xe0\x00\x01"),
        (scan_jpeg, b"\xff\xd8" + b"\xff" * 1000),
        (scan_jpeg, b"\xff\xd8" + b"\xff\xd8" * 1000),
        (scan_jpeg, b"\xff\xd8\xff\xd9"),
        (scan_jpeg, b"\xff\xd8\xff\xda\x00\x02\xff\xd9"),
        (scan_jpeg, b"\xff\xd8\xff\xc0\x00\x03\x08\xff\xda\x00\x02\xff\xd9"),
        (scan_png, b"\x89PNG\r\n\x1a\n"),
        (scan_png, b"\x89PNG\r\n\x1a\n" + b"\0\0\0\x0dIEND" + b"\0" * 40),
        (scan_webp, b"RIFF\x04\0\0\0WEBP"),
        (scan_webp, b"RIFF\x20\0\0\0WEBPVP8 \x04\0\0\0abcd"),
        (scan_webp, b"RIFF\x20\0\0\0WEBPVP8L\x05\0\0\0abcde"),
    ],
)
def test_broken_headers_are_said_to_be_broken(scan, data):
    with pytest.raises(BrokenStructureError):
        scan(data)


def test_long_nonsense_after_the_header_takes_little_memory():
    """64 MB of what might each be a marker: looked at a megabyte at a time."""
    import tracemalloc

    start = encoded("JPEG")
    hostile = start[: start.index(b"\xff\xda") + 14] + b"\xff\xff" * (32 << 20)
    tracemalloc.start()
    assert not scan_jpeg(hostile).complete
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40 << 20


def test_boxes_of_avif():
    data = encoded("AVIF")
    assert boxes_complete(data)
    assert not any(boxes_complete(data[:cut]) for cut in range(len(data) // 2, len(data) - 8))
    assert boxes_complete(struct.pack(">I4s", 0, b"mdat") + b"to the end")
    assert not boxes_complete(struct.pack(">I4sQ", 1, b"mdat", 1 << 40))
    assert not boxes_complete(struct.pack(">I4s", 4, b"mdat"))
