"""Batches through the network, the older shard first, in parts where they do not fit.

The batch size is found on the device where nobody gives it, and halved for good when the device
runs out of memory all the same: the run goes on, and the manifests say with which size. An image
that is larger than most and does not fit alone is given up. One of ordinary size is not: a device
that has no memory for that would give up every image there is, and so its error is raised.
"""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Generic, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jobs.label_batches import BatchRoom, Prepared
from jobs.network_thread import NetworkThread
from model.batch_size import find_batch_size
from model.devices import free_memory, is_out_of_memory
from model.preprocessing import Preprocessing

ORDINARY_IMAGE = (3000, 4000)  # height, width: what a batch is measured with

Row = TypeVar("Row")


class Timed(Protocol):
    """A batch on its way."""

    def seconds(self) -> float:
        """How long the device computed, once it has arrived."""
        ...


Launched = TypeVar("Launched", bound=Timed)
Launched_co = TypeVar("Launched_co", bound=Timed, covariant=True)


class BatchPass(Protocol[Launched_co]):
    """What is done with a batch of images of one size; `model.label_pass.LabelPass` is one."""

    device: torch.device
    preprocessing: Preprocessing

    def stack(self, images: Sequence[NDArray[np.uint8]]) -> Tensor:
        """Images of one size as one; called from any thread."""
        ...

    def launch(
        self, images_BHWC: Tensor, *, sizes: Sequence[tuple[int, int]] | None = None
    ) -> Launched_co:
        """Send a batch on its way; called from one thread.

        ``sizes`` are those of the images before they were prepared.
        """
        ...


class LabelNetwork(Generic[Launched]):
    """Owns the device of one engine.

    Args:
        batch_pass: What is done with a batch.
        batch_size: Images per forward pass; None to find it.
        memory_share: Share of the device's memory that may be taken, 0..1.
    """

    def __init__(
        self, batch_pass: BatchPass[Launched], *, batch_size: int | None, memory_share: float
    ) -> None:
        self._pass = batch_pass
        self._thread = NetworkThread()
        self._height, self._width = batch_pass.preprocessing.size_for(*ORDINARY_IMAGE)
        self.room = BatchRoom(
            batch_size or self._thread.submit(0, lambda: self._find(memory_share)).result(),
            image_pixels=self._height * self._width,
        )

    def submit(
        self,
        turn: int,
        batch: list[Prepared],
        *,
        then: Callable[[Prepared, Launched | None, int], Row],
    ) -> "Future[list[Row]]":
        """Queue a batch of images of one size; stacked here, in the thread of the caller.

        Args:
            turn: The lowest goes first.
            batch: In the shard's order.
            then: Makes of an image (its pixels are gone by then), the launched batch it is in and
                its place there, what the future holds for it; called in the network's thread, so it
                must not wait. Without a launched batch the image alone was too large for the
                device's memory.

        The future raises what the device raises, and lack of memory for one ordinary image.
        """
        images = self._pass.stack([item.image_HWC for item in batch if item.image_HWC is not None])
        stacked = [replace(item, image_HWC=None) for item in batch]  # or the pixels stay twice
        return self._thread.submit(turn, lambda: self._launch(stacked, images, then))

    def _launch(
        self,
        batch: list[Prepared],
        images: Tensor,
        then: Callable[[Prepared, Launched | None, int], Row],
    ) -> list[Row]:
        rows: list[Row] = []
        parts = deque([(batch, images)])
        while parts:
            batch, images = parts.popleft()
            size = (images.shape[1], images.shape[2])
            room = self.room.images(size)
            if len(batch) > room:
                parts.extendleft([(batch[room:], images[room:]), (batch[:room], images[:room])])
                continue
            sizes = [item.source_size for item in batch]
            launched = self._launch_or_free_memory(images, sizes)
            if launched is None and len(batch) > 1:
                self.room.shrink(len(batch), size)
                parts.appendleft((batch, images))
                continue
            rows += [then(item, launched, index) for index, item in enumerate(batch)]
        return rows

    def _launch_or_free_memory(
        self, images: Tensor, sizes: Sequence[tuple[int, int]]
    ) -> Launched | None:
        """None where the device has no memory for it; a single image is tried twice."""
        alone = len(images) == 1
        ordinary = alone and images[..., 0].numel() <= self._height * self._width
        for last in (False, True) if alone else (False,):
            try:
                return self._pass.launch(images, sizes=sizes)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or (ordinary and last):
                    raise
            # Not inside `except`: there the traceback still holds what the pass had allocated.
            free_memory(self._pass.device)
        return None

    def _find(self, memory_share: float) -> int:
        def forward(images: int) -> None:
            blank_HWC = np.zeros((self._height, self._width, 3), np.uint8)
            stacked = self._pass.stack([blank_HWC] * images)
            self._pass.launch(stacked, sizes=[ORDINARY_IMAGE] * images).seconds()

        return find_batch_size(forward, self._pass.device, memory_share=memory_share)
