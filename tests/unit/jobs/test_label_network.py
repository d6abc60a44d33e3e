"""Batches that do not fit: halved for good, split in order, and only a lone image is given up."""

import os
import subprocess
import sys
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch

from jobs.label_batches import Prepared
from jobs.label_network import LabelNetwork
from model.label_pass import LaunchedBatch
from model.preprocessing import Preprocessing
from tests.factories import image_record

RECORD = image_record(0)
SIZE = (42, 56)

GPU_IS_FULL = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB")
CPU_IS_FULL = RuntimeError(
    "[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried "
    "to allocate 8 bytes. Error code 12 (Cannot allocate memory)"
)


class Device:
    """A label pass with room for so many pixels at once; remembers what it was asked for."""

    def __init__(self, room: float, error: BaseException = CPU_IS_FULL) -> None:
        self.device = torch.device("cpu")
        self.preprocessing = Preprocessing(side=42)
        self.room, self.error = room, error
        self.tried: list[int] = []
        self.threads: set[str] = set()

    def stack(self, images: list[np.ndarray]) -> torch.Tensor:
        assert threading.current_thread().name != "network"
        return torch.from_numpy(np.stack(images))

    def launch(self, images: torch.Tensor, *, sizes: list[tuple[int, int]]) -> torch.Tensor:
        assert len(sizes) == len(images)
        self.tried.append(len(images))
        self.threads.add(threading.current_thread().name)
        if images[..., 0].numel() > self.room * SIZE[0] * SIZE[1]:
            raise self.error
        return images


def network(device: Device, batch_size: int = 8) -> LabelNetwork:
    return LabelNetwork(device, batch_size=batch_size, memory_share=1.0)  # type: ignore[arg-type]


def batch(count: int, size: tuple[int, int] = SIZE) -> list[Prepared]:
    return [Prepared(place, RECORD, np.full((*size, 3), place, np.uint8)) for place in range(count)]


def run(labels: LabelNetwork, images: list[Prepared]) -> list[int | None]:
    """For each image the value that it was forwarded with; None where it was given up."""

    def then(item: Prepared, launched: LaunchedBatch | None, index: int) -> tuple[int, int | None]:
        value = None if launched is None else int(launched[index].max())  # type: ignore[index]
        return item.place, value

    rows = labels.submit(0, images, then=then).result(10)
    assert [place for place, _ in rows] == list(range(len(images)))
    return [value for _, value in rows]


def test_what_fits_goes_through_whole() -> None:
    device = Device(8)
    assert run(network(device), batch(8)) == list(range(8))
    assert device.tried == [8]
    assert device.threads == {"network"}


@pytest.mark.parametrize("error", [GPU_IS_FULL, CPU_IS_FULL, MemoryError()])
def test_a_batch_that_does_not_fit_is_halved_now_and_later(error: BaseException) -> None:
    device = Device(3, error)
    labels = network(device)
    assert run(labels, batch(8)) == list(range(8))
    assert device.tried == [8, 4, 2, 2, 2, 2]
    assert labels.room.batch_size == 2
    device.tried.clear()
    assert run(labels, batch(5)) == list(range(5))  # made before anybody knew
    assert device.tried == [2, 2, 1]


def test_a_part_that_fails_later_is_halved_from_there() -> None:
    device = Device(4)
    labels = network(device)
    real, calls = device.launch, []

    def tighter_after_one(images: torch.Tensor, *, sizes: list[tuple[int, int]]) -> torch.Tensor:
        calls.append(len(images))
        if len(calls) == 3:  # 8 fails, 4 passes, now somebody else takes memory
            device.room = 2
        return real(images, sizes=sizes)

    device.launch = tighter_after_one  # type: ignore[method-assign]
    assert run(labels, batch(8)) == list(range(8))
    assert calls == [8, 4, 4, 2, 2]


def test_an_image_that_does_not_fit_alone_is_given_up_and_only_that() -> None:
    device = Device(2)
    labels = network(device)
    assert run(labels, batch(1, (42, 560))) == [None]
    assert device.tried == [1, 1]
    assert labels.room.batch_size == 8  # an ordinary batch may still fit
    assert run(labels, batch(2)) == [0, 1]


@pytest.mark.parametrize("error", [GPU_IS_FULL, CPU_IS_FULL])
def test_a_device_without_memory_for_one_ordinary_image_gives_up_none(
    error: BaseException,
) -> None:
    device = Device(0.5, error)
    with pytest.raises(type(error), match="memory"):
        run(network(device), batch(2))
    assert device.tried == [2, 1, 1]
    device.room = 1
    assert run(network(device), batch(1)) == [0]


def test_an_image_that_fits_when_it_is_tried_again_is_labelled() -> None:
    device = Device(1)
    real, calls = device.launch, []

    def full_once(images: torch.Tensor, *, sizes: list[tuple[int, int]]) -> torch.Tensor:
        calls.append(len(images))
        if len(calls) == 1:
            raise CPU_IS_FULL
        return real(images, sizes=sizes)

    device.launch = full_once  # type: ignore[method-assign]
    assert run(network(device), batch(1)) == [0]


@pytest.mark.parametrize("error", [RuntimeError("CUDA error: an illegal access"), ValueError("x")])
def test_other_errors_are_no_lack_of_memory(error: Exception) -> None:
    device = Device(0, error)
    labels = network(device)
    with pytest.raises(type(error), match=str(error)):
        run(labels, batch(4))
    assert device.tried == [4]
    assert labels.room.batch_size == 8


def test_what_the_failed_pass_held_is_let_go_before_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The cache can only be emptied of what no traceback holds any more."""
    device, held, at_freeing = Device(8), [], []

    class Activations:
        """Something large that only the failing pass refers to."""

    def failing(images: torch.Tensor, *, sizes: list[tuple[int, int]]) -> torch.Tensor:
        if len(images) > 4:
            activations = Activations()
            held.append(weakref.ref(activations))
            raise RuntimeError(str(CPU_IS_FULL))
        return images

    device.launch = failing  # type: ignore[method-assign]
    monkeypatch.setattr(
        "jobs.label_network.free_memory", lambda _: at_freeing.append(held[-1]() is None)
    )
    assert run(network(device), batch(8)) == list(range(8))
    assert at_freeing == [True]


def test_the_pixels_of_a_batch_that_waits_are_in_memory_once() -> None:
    labels, gate, images = network(Device(8)), threading.Event(), batch(4)
    held = [weakref.ref(item.image_HWC) for item in images]
    labels._thread.submit(0, gate.wait)
    waiting = labels.submit(1, images, then=lambda item, launched, index: (item, index))
    del images
    still = [pixels() for pixels in held]
    gate.set()
    assert still == [None] * 4
    assert [index for _, index in waiting.result(10)] == [0, 1, 2, 3]


def test_a_batch_size_that_nobody_gives_is_found_in_the_networks_thread() -> None:
    class Measured(Device):
        """Answers as a launched batch does."""

        def stack(self, images: list[np.ndarray]) -> torch.Tensor:
            return torch.from_numpy(np.stack(images))

        def launch(  # type: ignore[override]
            self, images: torch.Tensor, *, sizes: list[tuple[int, int]]
        ) -> "Measured":
            assert set(sizes) == {(3000, 4000)}
            super().launch(images, sizes=sizes)
            assert images.shape[1:] == (42, 56, 3)  # 4:3
            return self

        def seconds(self) -> float:
            return 0.0

    device = Measured(8)
    labels = LabelNetwork(device, batch_size=None, memory_share=1.0)  # type: ignore[arg-type]
    assert labels.room.batch_size in (4, 8)
    assert device.threads == {"network"}
    assert device.tried[0] == 1


REALLY_FULL = """
import os, resource, sys, tempfile
from pathlib import Path
import numpy as np
import torch
from jobs.label_batches import Prepared
from jobs.label_network import LabelNetwork
from model.depth_model import load_depth_model
from model.label_pass import LabelPass
from tests.factories import image_record, tiny_teacher

torch.set_num_threads(1)
with tempfile.TemporaryDirectory() as folder:
    model = load_depth_model(str(tiny_teacher(Path(folder) / "teacher", size=308)), device="cpu")
network = LabelNetwork(
    LabelPass(model, bits=16, consistency=False), batch_size=16, memory_share=1.0
)
noise = np.random.default_rng(0)
batch = [
    Prepared(place, image_record(0), noise.integers(0, 256, (308, 420, 3), dtype=np.uint8))
    for place in range(16)
]
then = lambda item, launched, index: launched.wait(index)
alone = [network.submit(0, [item], then=then).result()[0] for item in batch[:2]]
taken = 1024 * int(next(
    line for line in Path("/proc/self/status").read_text().splitlines() if "VmSize" in line
).split()[1])
resource.setrlimit(resource.RLIMIT_AS, (taken + 300 * 2**20, resource.RLIM_INFINITY))
together = network.submit(0, batch, then=then).result()
assert len(together) == 16
for one, other in zip(alone, together):
    assert abs(one.minimum - other.minimum) <= 1e-4 * abs(one.maximum)
    assert abs(one.maximum - other.maximum) <= 1e-4 * abs(one.maximum)
print(network.room.batch_size, flush=True)
os._exit(0)  # libraries that end their threads at exit may abort where there is no memory
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits memory as Linux does")
def test_a_process_that_really_has_no_memory_goes_on_with_smaller_batches() -> None:
    done = subprocess.run(
        [sys.executable, "-c", REALLY_FULL],
        capture_output=True,
        text=True,
        timeout=200,
        cwd=Path(__file__).parents[3],
        env={**os.environ, "MALLOC_ARENA_MAX": "1"},  # each arena reserves 64 MB of addresses
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) in (1, 2, 4, 8)
