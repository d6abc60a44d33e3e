"""Batches onto a GPU ahead of the step that needs them."""

from collections.abc import Generator, Iterable
from dataclasses import replace
from typing import Any, TypeVar, cast

import torch

from model.batches import Batch

Input = TypeVar("Input")


def on_device(inputs: Iterable[Input], device: torch.device | str) -> Generator[Input]:
    """The same inputs, with ``labelled`` and ``pseudo`` on the device.

    For a thread that reads ahead, which is where a copy costs the training loop nothing: it is made
    from page-locked memory, on a stream of its own beside the computation, and an input is handed
    on when it is there. Inputs are dataclasses; what else they hold stays as it is. On a CPU
    nothing is done. Each input that waits to be used takes its size in device memory.
    """
    device = torch.device(device)
    if device.type != "cuda":
        yield from inputs
        return
    copying = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    for each in inputs:
        parts = {name: getattr(each, name) for name in ("labelled", "pseudo")}
        with torch.cuda.stream(copying):
            moved = {
                name: part.pin_memory().to(device)
                for name, part in parts.items()
                if part is not None
            }
        copying.synchronize()
        for batch in moved.values():
            _leave_to_computation(batch, device)
        yield cast(Input, replace(cast(Any, each), **moved))


def _leave_to_computation(batch: Batch, device: torch.device) -> None:
    """Memory that the copying stream allocated is not its to reuse before the computation is done.

    The computation runs in the default stream.
    """
    for tensor in (batch.images_B3HW, batch.target_BHW, batch.valid_BHW):
        tensor.record_stream(torch.cuda.default_stream(device))
