"""Images to network input: sizes by the rule of each family, cubic resize, statistics.

The size rule of Depth Anything is the original's (V1 ``transform.py``, *lower bound*), not the one
of the Hugging Face processor, which scales "as little as possible": the two agree where the shorter
side is at least 518 and else mostly differ. A 500x375 photograph (width x height) is labelled at
686x518 by the authors' code and at 518x392 through the processor, from 57 % of the tokens.

Sizes are (height, width) in every signature.
"""

import functools
import math
import threading
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.bucket_sizes import bucket_long_side, max_distortion
from model.padding import padded_size, resize_on_corners

IMAGE_MEAN = (0.485, 0.456, 0.406)  # of ImageNet, RGB, for images in 0..1
IMAGE_STD = (0.229, 0.224, 0.225)

MAX_PIXELS = 64_000_000  # of a network's input

Rule = Literal["lower_bound", "minimal", "stretch", "own_size"]
Filter = Literal["cubic", "linear", "linear_corners", "linear_smooth"]

_FILTERS = {"cubic": cv2.INTER_CUBIC, "linear": cv2.INTER_LINEAR}
_opencv_lock = threading.Lock()
_opencv_ready = threading.Event()


def network_size(
    height: int, width: int, *, side: int = 518, multiple: int = 14
) -> tuple[int, int]:
    """The lower-bound rule of Depth Anything: aspect kept, neither side below ``side``.

    scale = max(side / height, side / width); each side is rounded to the nearest multiple (halves
    to even, as numpy), or up where that falls below ``side``.

    Returns:
        Height and width, pixels.

    Raises:
        ValueError: A size below 1.
    """
    return _lower_bound(height, width, (side, side), multiple)


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How a family of networks wants its images.

    Attributes:
        side: Height of the box that ``rule`` speaks of, pixels.
        multiple: Both sides of the input are multiples of this, pixels.
        rule: ``lower_bound``: aspect kept, the image covers the box (Depth Anything).
            ``minimal``: aspect kept, scaled as little as possible to meet one side of the box
            (MiDaS, ZoeDepth). ``stretch``: exactly the box. ``own_size``: the image's size, rounded
            down, and scaled down where its shorter side exceeds ``side`` (GLPN).
        mean: Per RGB channel, of images in 0..1.
        std: Per RGB channel, of images in 0..1.
        wide: Width of the box, pixels; None for a square one.
        filter: Of the resize; none of them widens its support when it shrinks (no antialias), as
            in the originals. ``linear_corners`` puts corner pixels onto each other (ZoeDepth).
        padded: Whether the network sees the image with margins of its mirror image (ZoeDepth, see
            `model.padding`): ``rule`` then speaks of the image with them, and its maps must be cut.
        bucket_ratio: Ratio between neighbouring long sides (see `model.bucket_sizes`); None for
            the rule's own, all multiples.

    Raises:
        ValueError: Buckets for another rule than ``lower_bound`` of a square box; margins with
            another filter than ``linear_corners``.
    """

    side: int = 518
    multiple: int = 14
    rule: Rule = "lower_bound"
    mean: tuple[float, float, float] = IMAGE_MEAN
    std: tuple[float, float, float] = IMAGE_STD
    wide: int | None = None
    filter: Filter = "cubic"
    bucket_ratio: float | None = None
    padded: bool = False

    def __post_init__(self) -> None:
        if self.padded and self.filter != "linear_corners":
            raise ValueError(f"margins are made with linear_corners only, not with {self.filter}")
        if self.bucket_ratio is None:
            return
        if self.rule != "lower_bound" or self.wide not in (None, self.side):
            raise ValueError(
                f"sizes in buckets are made for the lower-bound rule only, not for {self.rule!r}"
            )

    @property
    def max_distortion(self) -> float | None:
        """Largest relative change of an image's aspect by buckets; None without them."""
        if self.bucket_ratio is None:
            return None
        return max_distortion(math.ceil(self.side / self.multiple), self.bucket_ratio)

    def size_for(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the network's input for an image of that size."""
        if self.padded:
            height, width = padded_size(height, width)
        if self.bucket_ratio is not None:
            return _bucket(height, width, self.side, self.multiple, self.bucket_ratio)
        box = (self.side, self.wide or self.side)
        if self.rule == "lower_bound":
            return _lower_bound(height, width, box, self.multiple)
        if self.rule == "minimal":
            return _minimal(height, width, box, self.multiple)
        if self.rule == "stretch":
            return _nearest(box[0], self.multiple), _nearest(box[1], self.multiple)
        return _own_size(height, width, self.side, self.multiple)

    def resize(self, image_HWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The image at the network's size: uint8 H x W x 3, RGB, contiguous.

        The originals resize in float and keep what cubic interpolation overshoots; here values are
        rounded and cut to 0..255, a quarter of the memory. Against the float path, over 60
        photographs brought to 518: 99.6 % of values differ by half a grey level or less, 0.24 on
        average. The rest is overshoot cut off beside saturated edges: 44 grey levels at most (112
        on noise of pure black and white).

        Safe to call from many threads, each of which computes on its own: the first call sets
        OpenCV to one thread in this process, or its pool would compete with the callers'.

        Raises:
            ValueError: Not an RGB image of 8 bits, or one so long that its input would have more
                than ``MAX_PIXELS``: a strip of 1 x 20,000 pixels would take 16 GB.
        """
        if image_HWC.dtype != np.uint8 or image_HWC.ndim != 3 or image_HWC.shape[2] != 3:
            raise ValueError(
                f"expected uint8 height x width x 3, got {image_HWC.dtype} {image_HWC.shape}"
            )
        height, width = self.size_for(*image_HWC.shape[:2])
        if height * width > MAX_PIXELS:
            raise ValueError(
                f"an image of {image_HWC.shape[1]} x {image_HWC.shape[0]} would be resized to "
                f"{width} x {height}, more than {MAX_PIXELS:,} pixels"
            )
        if self.filter == "linear_corners":
            return resize_on_corners(image_HWC, (height, width), padded=self.padded)
        if image_HWC.shape[:2] == (height, width):
            return np.ascontiguousarray(image_HWC)
        if self.filter == "linear_smooth":
            return _resized_smoothly(image_HWC, (height, width))
        _one_opencv_thread()
        image = np.ascontiguousarray(image_HWC)
        resized: NDArray[np.uint8] = cv2.resize(
            image, (width, height), interpolation=_FILTERS[self.filter]
        )
        return resized

    def normalise(self, images_BHWC: Tensor) -> Tensor:
        """uint8 B x H x W x 3 to float32 B x 3 x H x W on the same device: (x / 255 - mean) / std.

        The memory stays channels-last, which is how convolutions like it; it is written once and
        changed in place.
        """
        mean, std = _statistics(self.mean, self.std, images_BHWC.device)
        pixels = images_BHWC.permute(0, 3, 1, 2).to(torch.float32)
        return pixels.div_(255).sub_(mean).div_(std)


@functools.lru_cache(maxsize=16)
def _statistics(
    mean: tuple[float, float, float], std: tuple[float, float, float], device: torch.device
) -> tuple[Tensor, Tensor]:
    """Both as 3 x 1 x 1 on the device; kept, as each copy to a GPU would wait for all its work."""
    with torch.inference_mode(False):  # training uses them too
        return tuple(  # type: ignore[return-value]  # of two
            torch.tensor(values, dtype=torch.float32, device=device)[:, None, None]
            for values in (mean, std)
        )


def _lower_bound(height: int, width: int, box: tuple[int, int], multiple: int) -> tuple[int, int]:
    _check_size(height, width)
    scale = max(box[0] / height, box[1] / width)
    return (
        _nearest(scale * height, multiple, at_least=box[0]),
        _nearest(scale * width, multiple, at_least=box[1]),
    )


def _bucket(height: int, width: int, side: int, multiple: int, ratio: float) -> tuple[int, int]:
    _check_size(height, width)
    units = math.ceil(side / multiple)
    long = bucket_long_side(max(height, width), min(height, width), units=units, ratio=ratio)
    sides = (long * multiple, units * multiple)
    return sides if height > width else sides[::-1]


def _minimal(height: int, width: int, box: tuple[int, int], multiple: int) -> tuple[int, int]:
    _check_size(height, width)
    by_height, by_width = box[0] / height, box[1] / width
    scale = by_width if abs(1 - by_width) < abs(1 - by_height) else by_height
    return _nearest(scale * height, multiple), _nearest(scale * width, multiple)


def _own_size(height: int, width: int, side: int, multiple: int) -> tuple[int, int]:
    _check_size(height, width)
    scale = min(1.0, side / min(height, width))
    return _rounded_down(scale * height, multiple), _rounded_down(scale * width, multiple)


def _nearest(pixels: float, multiple: int, *, at_least: int = 1) -> int:
    nearest = round(pixels / multiple) * multiple
    return nearest if nearest >= at_least else math.ceil(at_least / multiple) * multiple


def _rounded_down(pixels: float, multiple: int) -> int:
    return max(multiple, int(pixels // multiple) * multiple)


def _check_size(height: int, width: int) -> None:
    if height < 1 or width < 1:
        raise ValueError(f"an image of {height} x {width} pixels has no size for the network")


def _resized_smoothly(image_HWC: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Bilinear, with a support that grows when it shrinks, as Pillow's."""
    image = torch.from_numpy(np.require(image_HWC, requirements=["C", "W"]))  # warns of others
    resized = torch.nn.functional.interpolate(
        image.permute(2, 0, 1)[None], size=size, mode="bilinear", antialias=True
    )
    pixels: NDArray[np.uint8] = resized[0].permute(1, 2, 0).contiguous().numpy()
    return pixels


def _one_opencv_thread() -> None:
    if not _opencv_ready.is_set():
        with _opencv_lock:
            cv2.setNumThreads(1)
            _opencv_ready.set()
