"""Which images are taken, decided from their bytes alone: `examine` is pure.

Native decoders are best called from `pipeline.examiner`, which says the same from another process.
Reasons are stable codes; people count, filter and grep them.

====================  ===========================================================================
reason                meaning
====================  ===========================================================================
empty                 no bytes at all
too_many_bytes        larger than the limit for one file
not_an_image          no image format begins like this, whatever the name says
unsupported_format    an image, but of a format that is not on the list (GIF, HEIC, JPEG XL …)
corrupt_header        of a listed format, but what comes before the pixels cannot be read
too_many_pixels       more pixels than the limit, seen before decoding one (decompression bombs)
animated              more than one frame
unsupported_pixels    floating point or 32-bit integers: nothing says which value is white
too_small             the shorter side is below the limit
extreme_aspect        the longer side is too many times the shorter one
truncated             the header reads well, the end is missing
decode_failed         ``decode`` only: the pixels cannot be decoded
decoder_crashed       the decoder died, or needed more memory than is allowed: `pipeline.examiner`
decode_timeout        the decoder had no answer within its time: `pipeline.examiner`
====================  ===========================================================================

Other reasons come from where files are found and what the source has: see `pipeline.sources` and
``jobs.ingest_look``.
"""

from dataclasses import dataclass
from typing import Literal

from pipeline.images import MAX_PIXELS, ImageDecodeError, decode_rgb, read_header
from pipeline.records import ImageHeader

MAX_BYTES = 256 << 20
Verify = Literal["header", "decode"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageLimits:
    """What is taken.

    Attributes:
        min_side: Shorter side, pixels.
        max_pixels: Width times height.
        max_aspect: Longer side over shorter side.
        max_bytes: Of the encoded file.
    """

    min_side: int = 32
    max_pixels: int = MAX_PIXELS
    max_aspect: float = 8.0
    max_bytes: int = MAX_BYTES


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an image is not taken.

    Attributes:
        reason: A code of the table above.
        detail: A sentence for a person.
    """

    reason: str
    detail: str


def examine(
    data: bytes, *, limits: ImageLimits, verify: Verify = "header"
) -> ImageHeader | Refusal:
    """Look at an encoded image.

    Args:
        data: The whole file.
        limits: What is taken.
        verify: ``header`` reads the header and looks whether the end is there; ``decode`` also
            decodes every pixel, at about a hundred times the cost.
    """
    if len(data) > limits.max_bytes:
        return Refusal("too_many_bytes", f"{len(data):,} bytes, the limit is {limits.max_bytes:,}")
    try:
        opened = read_header(data, max_pixels=limits.max_pixels)
        width, height = opened.shown_size
        refusal = _outside(width, height, limits=limits)
        if refusal is None and not opened.structure.complete:
            refusal = Refusal("truncated", f"the end of the {opened.format} is missing")
        if refusal is None and verify == "decode":
            decode_rgb(data, max_pixels=limits.max_pixels)
    except ImageDecodeError as error:
        return Refusal(error.reason, error.detail)
    return refusal or ImageHeader(width, height, opened.format, opened.structure.orientation)


def _outside(width: int, height: int, *, limits: ImageLimits) -> Refusal | None:
    short, long = sorted((width, height))
    if short < limits.min_side:
        return Refusal("too_small", f"{width} x {height}, the limit is {limits.min_side} pixels")
    if long > limits.max_aspect * short:
        return Refusal(
            "extreme_aspect", f"{width} x {height} is longer than {limits.max_aspect:g}:1"
        )
    return None
