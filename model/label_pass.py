"""One batch through the network: prepared images in, codes and quality signals out.

Everything after the images' bytes happens on the device: normalise, forward, quantise, signals. On
a GPU `LabelPass.launch` only queues work: bytes come from pinned memory, codes go to pinned memory,
and `LaunchedBatch.wait` waits, in whichever thread wants the codes. At most two batches are queued,
so that the device never runs dry and memory stays bounded. All that is particular to CUDA is in
`_CudaQueue`.

`launch` belongs to one thread; `stack` and `wait` may be called from any.
"""

import math
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.depth_model import DepthModel
from model.quality import flat_share, map_correlation, saturated_share
from model.quantisation import quantise_maps

MAX_LAUNCHED = 2


@dataclass(frozen=True, slots=True)
class MapCodes:
    """One map as codes, and what they say of its quality.

    Attributes:
        codes_HW: uint16, 0 … 2**bits - 1.
        minimum: Value of code 0; not finite where the network's output is not.
        maximum: Value of the last code; not finite where the network's output is not.
        saturated: Share of pixels at the first or last code.
        flat: Share of pixels equal to their right and lower neighbour.
        flip_correlation: With the map of the mirrored image; None where it was not asked for, or
            one of the two is constant.
    """

    codes_HW: NDArray[np.uint16]
    minimum: float
    maximum: float
    saturated: float
    flat: float
    flip_correlation: float | None

    @property
    def is_finite(self) -> bool:
        """Whether every value of the map was a number."""
        return math.isfinite(self.minimum) and math.isfinite(self.maximum)


class LaunchedBatch(Protocol):
    """A batch on its way; both methods wait until it has arrived."""

    def wait(self, index: int) -> MapCodes:
        """The map of that image of the batch."""
        ...

    def seconds(self) -> float:
        """How long the device computed."""
        ...


class LabelPass:
    """Runs batches of images of one size on the device of a model.

    Args:
        model: Decides device, precision and preprocessing.
        bits: Of a code, 1 to 16.
        consistency: Whether to look at the mirrored image too.
    """

    def __init__(self, model: DepthModel, *, bits: int, consistency: bool) -> None:
        self.device = model.device
        self.preprocessing = model.preprocessing
        self._model = model
        self._bits = bits
        self._consistency = consistency
        self._queue = _CudaQueue(model.device) if model.device.type == "cuda" else None

    def stack(self, images: Sequence[NDArray[np.uint8]]) -> Tensor:
        """Images of one size as one uint8 B x H x W x 3, in memory that the device can fetch."""
        height, width, channels = images[0].shape
        stacked = torch.empty(
            (len(images), height, width, channels),
            dtype=torch.uint8,
            pin_memory=self._queue is not None,
        )
        np.stack(images, out=stacked.numpy())
        return stacked

    def launch(
        self, images_BHWC: Tensor, *, sizes: Sequence[tuple[int, int]] | None = None
    ) -> LaunchedBatch:
        """Send a batch on its way; on a CPU it has arrived when this returns.

        ``sizes`` are those of the images before they were prepared, as in `DepthModel.forward`.

        Raises:
            RuntimeError: The device ran out of memory (`model.devices.is_out_of_memory`), or failed
                otherwise.
        """
        if self._queue is not None:
            return self._queue.launch(self, images_BHWC, sizes)
        started = time.perf_counter()
        codes, facts = self.compute(images_BHWC, sizes=sizes)
        return _Arrived(codes, facts, time.perf_counter() - started)

    @torch.inference_mode()
    def compute(
        self, images_BHWC: Tensor, *, sizes: Sequence[tuple[int, int]] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Codes and facts on the device: int16 B x H x W (the bits of uint16), float64 B x 5."""
        images = images_BHWC.to(self._model.device, non_blocking=True)
        disparity_BHW = self._model.disparity(images, sizes=sizes)
        maps = quantise_maps(disparity_BHW, bits=self._bits)
        facts_B5 = torch.stack(
            [
                maps.minimum_B,
                maps.maximum_B,
                saturated_share(maps.codes_BHW, bits=self._bits),
                flat_share(maps.codes_BHW),
                self._flip_correlation(images, disparity_BHW, sizes),
            ],
            dim=1,
        )
        return maps.codes_BHW.to(torch.int16), facts_B5  # keeps the lower 16 bits

    def _flip_correlation(
        self, images: Tensor, disparity_BHW: Tensor, sizes: Sequence[tuple[int, int]] | None
    ) -> Tensor:
        if not self._consistency:
            return disparity_BHW.new_full((len(images),), torch.nan, dtype=torch.float64)
        mirrored_BHW = self._model.disparity(images.flip(2), sizes=sizes)
        return map_correlation(disparity_BHW, mirrored_BHW.flip(2))


@dataclass(frozen=True, slots=True)
class _Arrived:
    """A batch computed on a CPU."""

    codes: Tensor
    facts: Tensor
    took_s: float

    def wait(self, index: int) -> MapCodes:
        return _map_codes(self.codes[index], self.facts[index])

    def seconds(self) -> float:
        return self.took_s


class _CudaQueue:
    """Launches batches on the current stream of one GPU, at most `MAX_LAUNCHED` at a time."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._ends: deque[torch.cuda.Event] = deque()

    def launch(
        self,
        label_pass: LabelPass,
        images_BHWC: Tensor,
        sizes: Sequence[tuple[int, int]] | None,
    ) -> "_OnItsWay":
        while len(self._ends) >= MAX_LAUNCHED:  # the other one keeps the device busy meanwhile
            self._ends.popleft().synchronize()
        with torch.cuda.device(self._device):
            start, end = _event(), _event()
            start.record()
            codes, facts = map(_to_pinned, label_pass.compute(images_BHWC, sizes=sizes))
            end.record()
        self._ends.append(end)
        return _OnItsWay(codes, facts, start, end)


@dataclass(frozen=True, slots=True)
class _OnItsWay:
    """A batch queued on a GPU; what it holds is only valid once ``end`` has happened."""

    codes: Tensor
    facts: Tensor
    start: torch.cuda.Event
    end: torch.cuda.Event

    def wait(self, index: int) -> MapCodes:
        self.end.synchronize()
        return _map_codes(self.codes[index], self.facts[index])

    def seconds(self) -> float:
        self.end.synchronize()
        milliseconds: float = self.start.elapsed_time(self.end)
        return milliseconds / 1000


def _event() -> torch.cuda.Event:
    """Whoever waits for it sleeps: by default CUDA spins, a core for each waiting thread."""
    return torch.cuda.Event(enable_timing=True, blocking=True)  # type: ignore[no-untyped-call]


def _to_pinned(on_device: Tensor) -> Tensor:
    host = torch.empty(on_device.shape, dtype=on_device.dtype, pin_memory=True)
    return host.copy_(on_device, non_blocking=True)


def _map_codes(codes_HW: Tensor, facts_5: Tensor) -> MapCodes:
    minimum, maximum, saturated, flat, correlation = facts_5.tolist()
    return MapCodes(
        codes_HW.numpy().view(np.uint16),
        minimum=minimum,
        maximum=maximum,
        saturated=saturated,
        flat=flat,
        flip_correlation=None if math.isnan(correlation) else correlation,
    )
