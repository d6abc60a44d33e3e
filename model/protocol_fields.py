"""What an evaluation protocol is made of."""

import re
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

SPACES = ("disparity", "depth", "order")
METRIC_NAMES = ("abs_rel", "delta1", "delta2", "delta3", "rmse", "log10", "silog")

Alignment = Literal["affine_disparity", "affine_depth", "median_scale", "none"]
Upsampling = Literal["bilinear", "bilinear_corners", "bicubic"]


class Crop(NamedTuple):
    """The part of an image that is scored: rows from top to before bottom, columns alike.

    Where ``of`` gives a height and width, the numbers are pixels of an image of that size, and the
    same shares of any other. Elsewhere they are shares, 0 to 1, times height or width, cut to whole
    pixels as the published loaders cut them: 0.99189189 of 370 rows is 366, not 367.
    """

    top: float
    bottom: float
    left: float
    right: float
    of: tuple[int, int] | None = None

    def slices(self, height: int, width: int) -> tuple[slice, slice]:
        """Rows and columns inside, for an image of that size."""
        native_height, native_width = self.of or (1, 1)
        return (
            slice(_cut(self.top, height, native_height), _cut(self.bottom, height, native_height)),
            slice(_cut(self.left, width, native_width), _cut(self.right, width, native_width)),
        )


def _cut(edge: float, length: int, native: int) -> int:
    # Multiplied first: pixels of the native size stay whole, where 471 / 480 * 480 might not.
    return int(edge * length / native)


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
        minimum_depth: Truth nearer than this is not valid (truth at the limit is), and predictions
            are clipped there, metres; None for no limit. Depth that was aligned in depth may come
            to lie behind the camera: without a limit it is clipped at the nearest valid truth of
            the image.
        maximum_depth: The same for far truth, metres. Without it predictions are clipped at the
            farthest valid truth of the image.
        interpolation: How a prediction is brought to the size of the truth: in disparity, and in
            depth where ``affine_depth`` aligns it there.
        size: Shorter side at the network's input, pixels; None for the model's own.
        minimum_valid_pixels: An image with fewer is skipped, and counted.
        spaces: Where metrics are taken: ``disparity``, ``depth``; ``order`` for pairs.
        equality: Two points of a pair count as equally far while neither disparity is more than
            this share above the other.
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
    spaces: tuple[str, ...] = ("disparity", "depth")
    metrics: tuple[str, ...] = METRIC_NAMES
    equality: float = 0.0

    @property
    def ref(self) -> str:
        """``name@version``."""
        return f"{self.name}@{self.version}"

    def takes(self, path: str) -> bool:
        """Whether the sample with this path inside its source is one of those to score."""
        return self.only is None or re.search(self.only, path) is not None

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as every result carries them."""
        return asdict(self)
