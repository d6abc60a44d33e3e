"""Evaluation protocols as data: what is compared, where, and after which alignment.

A number without its protocol means little: the same network scores .066 or .214 on DIODE depending
on masks and caps. So protocols have names and versions, a result carries its protocol's fields, and
a protocol never changes: what is done differently gets a new version.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

SPACES = ("disparity", "depth")
METRIC_NAMES = ("abs_rel", "delta1", "delta2", "delta3", "rmse", "log10", "silog")

Alignment = Literal["affine_disparity", "affine_depth", "median_scale", "none"]
Upsampling = Literal["bilinear", "bilinear_corners", "bicubic"]


class Crop(NamedTuple):
    """The part of an image that is scored, as shares of its height and width, 0 to 1."""

    top: float
    bottom: float
    left: float
    right: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Protocol:
    """How predictions are scored.

    Attributes:
        truth: ``map``: depth or disparity per pixel. ``pairs``: which of two points is nearer.
        split: Which images of the data set, in words; None for all that a source has.
        images: How many the whole split has; None where that depends on the source.
        only: Regular expression that the path of a sample must match somewhere; None for all.
        alignment: ``affine_disparity``: least-squares scale and shift in disparity, per image, over
            the valid pixels. ``affine_depth``: the same in depth. ``median_scale``: the ratio of
            the medians, in depth. ``none``: metres are held against metres as they are.
        crop: Pixels outside are not valid; None scores the whole image.
        minimum_depth: Truth nearer than this is not valid, and predictions are clipped there,
            metres; None for no limit.
        maximum_depth: The same for far truth, metres. Without it predictions are clipped at the
            farthest valid truth of the image.
        interpolation: How a prediction is brought to the size of the truth, in disparity.
        size: Shorter side at the network's input, pixels; None for the model's own.
        minimum_valid_pixels: An image with fewer is skipped, and counted.
        spaces: Where metrics are taken: ``disparity``, ``depth``; ``order`` for pairs.
    """

    name: str
    version: int
    description: str
    truth: Literal["map", "pairs"] = "map"
    split: str | None = None
    images: int | None = None
    only: str | None = None
    alignment: Alignment = "affine_disparity"
    crop: Crop | None = None
    minimum_depth: float | None = None
    maximum_depth: float | None = None
    interpolation: Upsampling = "bilinear"
    size: int | None = None
    minimum_valid_pixels: int = 10
    spaces: tuple[str, ...] = SPACES
    metrics: tuple[str, ...] = METRIC_NAMES

    @property
    def ref(self) -> str:
        """``name@version``."""
        return f"{self.name}@{self.version}"

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as every result carries them."""
        return asdict(self)


PROTOCOLS = (
    Protocol(
        name="relative",
        version=1,
        description=(
            "Zero-shot relative depth on any set: scale and shift by least squares in disparity on "
            "all valid pixels, no crop, no cap, per image, then the mean over images."
        ),
    ),
    Protocol(
        name="metric",
        version=1,
        description=(
            "Metric depth on any set with truth in metres: nothing is aligned, no crop, truth from "
            "1 mm to 80 m, per image, then the mean over images. The limits are those of Depth "
            "Anything V2's metric_depth outdoors, where the model can say 80 m."
        ),
        alignment="none",
        minimum_depth=0.001,
        maximum_depth=80.0,
        spaces=("depth",),
    ),
)


def protocol(ref: str) -> Protocol:
    """The protocol called ``name@version``, or the newest version of ``name``.

    Raises:
        ValueError: With the protocols that exist.
    """
    found = [known for known in PROTOCOLS if ref in (known.name, known.ref)]
    if not found:
        existing = ", ".join(sorted(known.ref for known in PROTOCOLS))
        raise ValueError(f"unknown protocol {ref!r}; there are: {existing}")
    return max(found, key=lambda known: known.version)
