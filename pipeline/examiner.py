"""`pipeline.filters.examine` for many images, with native code in child processes alone.

The headers of JPEG, PNG, BMP, TIFF and PPM are read by Python, here. WebP and AVIF are opened by
libwebp and libavif, and ``decode`` runs a decoder on every image: those bytes go to a `Sandbox`,
whose processes are started when the first of them comes.
"""

import struct
from dataclasses import asdict

from pipeline.filters import ImageLimits, Refusal, Verify, examine
from pipeline.image_formats import sniff
from pipeline.records import ImageHeader
from pipeline.sandbox import DECODER_CRASHED, DecoderDiedError, Sandbox, SandboxLimits

OPENED_BY_NATIVE_CODE = frozenset(["WEBP", "AVIF"])
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "PPM", "AVIF")
_REASONS = (
    "empty",
    "too_many_bytes",
    "not_an_image",
    "unsupported_format",
    "corrupt_header",
    "too_many_pixels",
    "animated",
    "unsupported_pixels",
    "too_small",
    "extreme_aspect",
    "truncated",
    "decode_failed",
)
_HEADER = struct.Struct("<BIIBB")  # 0, width, height, format, orientation
_REFUSAL = struct.Struct("<BB")  # 1, reason; then the detail
_MAX_DETAIL_BYTES = 2000


class Examiner:
    """Looks at images from threads; to be closed, or used in ``with``.

    Args:
        limits: What is taken.
        verify: See `pipeline.filters.examine`.
        children: At most so many processes decode at once.
        sandbox_limits: Of each of them.
    """

    def __init__(
        self,
        limits: ImageLimits,
        *,
        verify: Verify = "header",
        children: int = 1,
        sandbox_limits: SandboxLimits | None = None,
    ) -> None:
        self._limits = limits
        self._verify: Verify = verify
        self._sandbox = Sandbox(
            f"{__name__}:examine_packed",
            options={"limits": asdict(limits), "verify": verify},
            children=children,
            limits=sandbox_limits,
        )

    def __enter__(self) -> "Examiner":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __call__(self, data: bytes) -> ImageHeader | Refusal:
        """What `examine` says, or ``decoder_crashed`` or ``decode_timeout``."""
        decodes = self._verify == "decode" or sniff(data) in OPENED_BY_NATIVE_CODE
        if not decodes or not 0 < len(data) <= self._limits.max_bytes:
            return examine(data, limits=self._limits, verify=self._verify)
        try:
            return unpacked(self._sandbox(data))
        except DecoderDiedError as error:
            return Refusal(error.reason, error.detail)

    def close(self) -> None:
        """End the processes."""
        self._sandbox.close()


def examine_packed(data: bytes, *, limits: dict[str, float], verify: Verify) -> bytes:
    """What a child answers: `examine`, as few bytes that are nothing but bytes."""
    return packed(examine(data, limits=ImageLimits(**limits), verify=verify))  # type: ignore[arg-type]


def packed(verdict: ImageHeader | Refusal) -> bytes:
    """A verdict as bytes."""
    if isinstance(verdict, Refusal):
        detail = verdict.detail.encode("utf-8", "backslashreplace")[:_MAX_DETAIL_BYTES]
        return _REFUSAL.pack(1, _REASONS.index(verdict.reason)) + detail
    format_ = _FORMATS.index(verdict.format)
    return _HEADER.pack(0, verdict.width, verdict.height, format_, verdict.exif_orientation)


def unpacked(answer: bytes) -> ImageHeader | Refusal:
    """The verdict in an answer; anything else than one is ``decoder_crashed``."""
    try:
        if answer[0] == 1:
            _, reason = _REFUSAL.unpack_from(answer)
            return Refusal(_REASONS[reason], answer[_REFUSAL.size :].decode("utf-8", "replace"))
        kind, width, height, format_, orientation = _HEADER.unpack(answer)
        if kind == 0 and width and height and 1 <= orientation <= 8:
            return ImageHeader(width, height, _FORMATS[format_], orientation)
    except (struct.error, IndexError):
        pass
    return Refusal(DECODER_CRASHED, "the decoder answered nonsense")
