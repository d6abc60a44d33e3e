"""How many images fit on a device at once, found by two forward passes.

A batch of one and a batch of two say what an image costs and what is there anyway; the rest is
division. The budget is a share of *all* memory of the device, not of what happens to be free: a
killed run that is started again on the same GPU makes the same batches, and so the same bytes. On a
CPU what a pass takes is known to some 20 % only (192 to 278 MB an image in six tries with ViT-S):
where 8 images take nearly all of the budget, only a batch size that is given is always the same.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from model.devices import free_memory, is_out_of_memory

LARGEST_ON_CUDA = 64  # a large network is as fast with 32
LARGEST_ON_CPU = 8  # more gains nothing there
WHERE_UNKNOWN = 4  # on a CPU whose system does not say what a pass took
USABLE = 0.6  # of the budget: other sizes take up to 1.5 times as much, and allocators waste some

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_CGROUP_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a forward pass of ``n`` images takes: ``fixed_bytes + n * image_bytes``."""

    fixed_bytes: int
    image_bytes: int


def find_batch_size(
    forward: Callable[[int], None], device: torch.device, *, memory_share: float = 1.0
) -> int:
    """Images per forward pass: a power of two, at most 64 on a GPU and 8 on a CPU, at least 1.

    Args:
        forward: Runs that many images of ordinary size and waits for the result; called with 1,
            then with 2.
        device: Where that happens.
        memory_share: Share of the device's memory that may be taken, 0..1.
    """
    on_cuda = device.type == "cuda"
    try:
        footprint = _measure_on_cuda(forward, device) if on_cuda else _measure_here(forward)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        footprint = Footprint(0, 1 << 62)  # not even two fit
    free_memory(device)
    if footprint is None:
        return WHERE_UNKNOWN
    return largest_that_fits(
        footprint,
        budget_bytes=round(device_memory(device) * memory_share * USABLE),
        largest=LARGEST_ON_CUDA if on_cuda else LARGEST_ON_CPU,
    )


def largest_that_fits(footprint: Footprint, *, budget_bytes: int, largest: int) -> int:
    """The largest power of two up to ``largest`` whose pass stays within the budget; at least 1."""
    batch_size = largest
    while batch_size > 1:
        if footprint.fixed_bytes + batch_size * footprint.image_bytes <= budget_bytes:
            return batch_size
        batch_size //= 2
    return 1


def device_memory(device: torch.device) -> int:
    """All memory of a GPU, or of this machine or the container around this process, bytes."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([physical, *_container_limits()])


def _container_limits() -> list[int]:
    """Limits of this process's control group; none where there is no group or no limit."""
    texts = [path.read_text().strip() for path in _CGROUP_LIMITS if path.exists()]
    return [int(text) for text in texts if text.isdecimal() and int(text) > 0]


def _measure_on_cuda(forward: Callable[[int], None], device: torch.device) -> Footprint:
    def peak(images: int) -> int:
        torch.cuda.reset_peak_memory_stats(device)
        forward(images)
        torch.cuda.synchronize(device)
        return int(torch.cuda.max_memory_allocated(device))

    forward(1)  # libraries take their workspaces the first time
    return _footprint(peak(1), peak(2))


def _measure_here(forward: Callable[[int], None]) -> Footprint | None:
    """By the peak of resident memory, which Linux forgets when asked; None elsewhere.

    A process that is at work besides counts its own memory too: measure before anything else runs.
    """

    def peak(images: int) -> int | None:
        try:
            _CLEAR.write_text("5")
        except OSError:
            return None
        forward(images)
        return _resident_peak()

    one = peak(1)
    two = peak(2) if one is not None else None
    return None if one is None or two is None else _footprint(one, two)


def _footprint(one: int, two: int) -> Footprint:
    """An image cannot cost nothing: where the first pass took more than the second, half of it."""
    image_bytes = two - one if two > one else max(1, one // 2)
    return Footprint(max(0, two - 2 * image_bytes), image_bytes)


def _resident_peak() -> int | None:
    """The largest resident memory since it was last forgotten, bytes."""
    for line in _STATUS.read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return None
