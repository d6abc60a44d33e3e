"""Whether an exported model is the model: both run on the same photographs, and the maps compared.

Differences are shares of the range of the original's map (its largest value less its smallest), so
that one limit holds for metres and for disparity without a unit. Two programs for the same float32
network differ by the order of their sums, about 1e-6 to 1e-5 of the range; what is wrong about an
export (a size that was recorded for good, a table of positions interpolated another way) is larger
by orders of magnitude. The limit lies between.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from model.depth_model import DepthModel
from model.errors import ExportError
from model.preprocessing import Preprocessing

MAX_DIFFERENCE = 1e-3  # of the range, at any pixel
MIN_CORRELATION = 0.9999

Image = NDArray[np.uint8]
Runner = Callable[[NDArray[np.float32]], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Parity:
    """How far exported maps are from the original's.

    Attributes:
        images: Photographs that were looked at.
        maps: Maps that were compared: photographs also come turned and, in a batch, mirrored.
        max_difference: Largest of any pixel of any map, as a share of that map's range.
        mean_difference: Mean over pixels, then over maps, as a share of that map's range.
        correlation: Smallest Pearson correlation of any map.
        sizes: Heights and widths of the inputs, each once.
    """

    images: int
    maps: int
    max_difference: float
    mean_difference: float
    correlation: float
    sizes: tuple[tuple[int, int], ...]

    def facts(self) -> dict[str, Any]:
        """For a summary, with the limits that it was held to."""
        limits = {"limit": MAX_DIFFERENCE, "least_correlation": MIN_CORRELATION}
        return {**asdict(self), "sizes": [f"{high}x{wide}" for high, wide in self.sizes], **limits}


@dataclass(frozen=True, slots=True)
class _Compared:
    largest: float
    mean: float
    correlation: float


def check_parity(
    model: DepthModel,
    run: Runner,
    images: Sequence[Image],
    *,
    preprocessing: Preprocessing,
    any_batch: bool,
    advance: Callable[[], None] = lambda: None,
) -> Parity:
    """Run both on photographs and compare.

    Args:
        model: The original; what it puts out is not cut or resized.
        run: The exported one, in its own runtime: B x 3 x H x W, normalised, to B x H' x W'.
        images: uint8 H x W x 3, RGB, of any size.
        preprocessing: How the exported model wants its images.
        any_batch: Whether it takes several at once.
        advance: Called after each photograph.

    Raises:
        ExportError: Maps of another size, values that are not finite, a difference beyond the
            limits, or photographs of which the original makes flat maps, which prove nothing.
    """
    compared: list[_Compared] = []
    sizes: dict[tuple[int, int], None] = {}
    for index, image in enumerate(images):
        for prepared_BHWC in _batches(image, preprocessing, alone=index > 0, any_batch=any_batch):
            pixels = preprocessing.normalise(torch.from_numpy(prepared_BHWC)).contiguous().numpy()
            expected_BHW, found_BHW = model.forward(prepared_BHWC).numpy(), run(pixels)
            size = (int(pixels.shape[2]), int(pixels.shape[3]))
            sizes.setdefault(size)
            _check_shape(expected_BHW, found_BHW, size)
            compared += map(_compare, expected_BHW, found_BHW)
        advance()
    parity = Parity(
        images=len(images),
        maps=len(compared),
        max_difference=max(each.largest for each in compared),
        mean_difference=float(np.mean([each.mean for each in compared])),
        correlation=min(each.correlation for each in compared),
        sizes=tuple(sizes),
    )
    _check_limits(parity)
    return parity


def _batches(
    image: Image, preprocessing: Preprocessing, *, alone: bool, any_batch: bool
) -> Iterator[Image]:
    """A photograph at the network's size; unless ``alone``, also turned, and with mirror images.

    So that a size and a number of images other than those of the recording are always among them,
    also where all photographs have one shape.
    """
    prepared = preprocessing.resize(image)
    yield prepared[None]
    if alone:
        return
    yield preprocessing.resize(np.ascontiguousarray(np.rot90(image)))[None]
    if any_batch:
        yield np.stack([prepared, prepared[:, ::-1], prepared[::-1]])


def _compare(expected_HW: NDArray[np.float32], found_HW: NDArray[np.float32]) -> _Compared:
    expected, found = expected_HW.astype(np.float64), found_HW.astype(np.float64)
    span = float(np.ptp(expected))
    if not np.isfinite(span) or not np.isfinite(found).all():
        raise ExportError("a map holds values that are not finite: nothing can be compared")
    if span <= 1e-6 * float(np.abs(expected).max()):  # also 0 <= 0
        raise ExportError(
            "the original makes a flat map of a photograph: whether an exported model does the "
            "same for the same reason cannot be told"
        )
    difference = np.abs(expected - found) / span
    both = (expected - expected.mean(), found - found.mean())
    length = float(np.linalg.norm(both[0]) * np.linalg.norm(both[1]))
    correlation = float((both[0] * both[1]).sum()) / length if length else 0.0
    return _Compared(float(difference.max()), float(difference.mean()), correlation)


def _check_shape(
    expected: NDArray[np.float32], found: NDArray[np.float32], size: tuple[int, int]
) -> None:
    if expected.shape != found.shape:
        raise ExportError(
            f"for an input of {size[0]} x {size[1]} pixels the original makes maps of "
            f"{expected.shape}, the exported model of {found.shape}"
        )


def _check_limits(parity: Parity) -> None:
    if parity.max_difference <= MAX_DIFFERENCE and parity.correlation >= MIN_CORRELATION:
        return
    raise ExportError(
        f"over {parity.maps} maps it differs from the original by up to "
        f"{parity.max_difference:.2g} of a map's range (at most {MAX_DIFFERENCE:g} is allowed), "
        f"with a correlation of {parity.correlation:.6f} at worst (at least {MIN_CORRELATION:g})"
    )
