"""One batch through the network, for evaluation: prepared images in, maps out, and the time."""

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.depth_model import DepthModel


@dataclass(frozen=True, slots=True)
class BatchMaps:
    """The maps of a batch.

    Attributes:
        maps_BHW: float32, in the model's geometry, at the size that the network puts out.
        took_s: Seconds that the device computed.
        is_warm: Whether the device had computed such a batch before, so that the time counts.
    """

    maps_BHW: NDArray[np.float32]
    took_s: float
    is_warm: bool

    def seconds(self) -> float:
        """How long the device computed."""
        return self.took_s


class MapPass:
    """Runs batches of images of one size; `jobs.label_network` says when.

    It waits for each batch: what a device computes is then known exactly, and threads that decode
    and score keep the others busy meanwhile.
    """

    def __init__(self, model: DepthModel) -> None:
        self.device = model.device
        self.preprocessing = model.preprocessing
        self._model = model
        self._seen: set[tuple[int, ...]] = set()

    def stack(self, images: Sequence[NDArray[np.uint8]]) -> Tensor:
        """Images of one size as one: uint8 B x H x W x 3."""
        return torch.from_numpy(np.stack(images))

    def launch(
        self, images_BHWC: Tensor, *, sizes: Sequence[tuple[int, int]] | None = None
    ) -> BatchMaps:
        """The maps of a batch; ``sizes`` are those of the images before they were prepared.

        Raises:
            RuntimeError: The device ran out of memory, or failed otherwise.
        """
        self._wait()
        started = perf_counter()
        maps_BHW = self._model.forward(images_BHWC, sizes=sizes)
        self._wait()
        took_s = perf_counter() - started
        is_warm = self._is_warm(tuple(images_BHWC.shape))
        return BatchMaps(maps_BHW.cpu().numpy(), took_s, is_warm)

    def _is_warm(self, shape: tuple[int, ...]) -> bool:
        """A GPU looks for kernels and memory for each new size; a CPU for its first batch alone."""
        known = shape[1:] if self.device.type == "cuda" else ()
        is_warm = known in self._seen
        self._seen.add(known)
        return is_warm

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def device_name(device: torch.device) -> str:
    """What is written beside a measured rate: the GPU, or the CPU's threads.

    Those of a CPU are not the network's alone, so that its rate is less than it might be.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{device.type}, {threads} thread{'' if threads == 1 else 's'} also decoding and scoring"
