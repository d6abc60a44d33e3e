"""Which images of a shard go through the network together.

A batch holds images of one size, taken in the shard's order within a bounded look-ahead. What is
batched with what follows from the shard and the batch size alone, never from which thread was
quicker: the same shard makes the same batches.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from model.depth_model import DepthModel
from pipeline.images import ImageDecodeError, decode_rgb
from pipeline.records import ImageRecord

LOOK_AHEAD_BATCHES = 4
ROOM_ABOVE_REFERENCE = 1.5  # up to 2:1 where the reference is 4:3

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Prepared:
    """An image at the network's size, or why there is none.

    Attributes:
        place: Row in the shard, from 0.
        record: Without its bytes: they are decoded.
        image_HWC: uint8 RGB; None where the image was refused, or lies in a stack.
        refusal: The reason, where it was refused.
        source_size: Height and width of the image before it was prepared; 0 where it was refused.
    """

    place: int
    record: ImageRecord
    image_HWC: NDArray[np.uint8] | None
    refusal: str | None = None
    source_size: tuple[int, int] = (0, 0)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width at the network; 0 where there is no image."""
        if self.image_HWC is None:
            return 0, 0
        return self.image_HWC.shape[0], self.image_HWC.shape[1]


def prepared_image(record: ImageRecord, data: bytes, *, place: int, model: DepthModel) -> Prepared:
    """An encoded image at the size of a network, or why there is none."""
    record = replace(record, data=None)  # or the file would be kept until its row is encoded
    try:
        image_HWC = decode_rgb(data)
    except ImageDecodeError as error:
        return Prepared(place, record, None, error.reason)
    try:
        prepared_HWC = model.prepare(image_HWC)
    except ValueError:  # a strip that the size rule would blow up beyond all memory
        return Prepared(place, record, None, "too_large_for_network")
    height, width = image_HWC.shape[:2]
    return Prepared(place, record, prepared_HWC, source_size=(height, width))


class BatchRoom:
    """How many images go into one forward pass; less room after the device was found too small.

    Args:
        batch_size: For images of ordinary size.
        image_pixels: Of an image of ordinary size at the network.
    """

    def __init__(self, batch_size: int, *, image_pixels: int) -> None:
        self.batch_size = batch_size
        self._image_pixels = image_pixels

    def pixels(self, batches: int) -> float:
        """What so many batches hold at most."""
        return batches * self.batch_size * ROOM_ABOVE_REFERENCE * self._image_pixels

    def images(self, size: tuple[int, int]) -> int:
        """Images of that height and width in one pass: fewer of the very long ones, at least 1."""
        fitting = int(self.pixels(1) / (size[0] * size[1]))
        return max(1, min(self.batch_size, fitting))

    def shrink(self, images: int, size: tuple[int, int]) -> None:
        """Make less room from now on, so that so many images of that size do not come again."""
        while self.batch_size > 1 and self.images(size) >= images:
            self.batch_size //= 2


def done_ahead(
    items: Iterable[Item],
    do: Callable[[Item], Result],
    pool: ThreadPoolExecutor,
    *,
    ahead: int,
    weigh: Callable[[Item], float],
    max_weight: float,
) -> Generator[Result]:
    """Results in the order of the items; at most ``ahead``, or ``max_weight``, are under way.

    A single item may weigh more. Closing this generator cancels what has not begun.
    """
    waiting: deque[tuple[float, Future[Result]]] = deque()
    weight = 0.0
    try:
        for item in items:
            heavy = weigh(item)
            waiting.append((heavy, pool.submit(do, item)))
            weight += heavy
            while len(waiting) > ahead or (weight > max_weight and len(waiting) > 1):
                heavy, future = waiting.popleft()
                weight -= heavy
                yield future.result()
        while waiting:
            yield waiting.popleft()[1].result()
    finally:
        for _, future in waiting:
            future.cancel()


def batches_by_size(items: Iterable[Prepared], room: BatchRoom) -> Generator[list[Prepared]]:
    """Batches of one size; refused images come alone.

    Where more waits than the look-ahead allows, the size with the most images goes first, though
    its batch is not full.
    """
    waiting: dict[tuple[int, int], list[Prepared]] = {}
    for item in items:
        if item.image_HWC is None:
            yield [item]
            continue
        same_size = waiting.setdefault(item.size, [])
        same_size.append(item)
        if len(same_size) >= room.images(item.size):
            yield waiting.pop(item.size)
        while _is_too_much(waiting, room):
            yield waiting.pop(max(waiting, key=lambda size: len(waiting[size])))
    yield from waiting.values()


def _is_too_much(waiting: dict[tuple[int, int], list[Prepared]], room: BatchRoom) -> bool:
    images = sum(map(len, waiting.values()))
    pixels = sum(size[0] * size[1] * len(same_size) for size, same_size in waiting.items())
    return images > LOOK_AHEAD_BATCHES * room.batch_size or pixels > room.pixels(LOOK_AHEAD_BATCHES)
