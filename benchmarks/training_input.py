"""Whether training waits for its input: steps on real input beside the same on resident tensors.

    .venv/bin/python benchmarks/training_input.py [step] [fake] [rate] [stages] [memory]
        [--images FOLDER] [--scale s] [--size 518] [--batch-size 3] [--threads N]
        [--fake-step-ms 20] [--minutes 1]

Without names all are run, in some minutes. Images are the photographs of a folder, or rendered;
labels are made up and written by the real writer. No Ray, no weights.

*step*: student batches through the real network and loop, from the store and from tensors on the
device, turn by turn; medians of the turns, the first step of each left out. The data set is a few
photographs over and over, so its objects lie in the page cache.
*fake*: the same with steps that only wait, as a host waits for a fast GPU; then with steps that do
nothing but start short operations, for which they need the interpreter lock all the time.
*rate*: images per second without any step, by decoding threads of pseudo-labelled images.
*stages*: milliseconds of one core per pseudo-labelled image, one thing after the other.
*memory*: resident memory of this process while fake steps are taken.
"""

import argparse
import itertools
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch
from training_input_data import Data, written

from jobs.prefetch import prefetched
from jobs.training_batches import TrainingBatch, TrainingBatches
from model.batches import collate, prepare_sample, to_target
from model.optimisation import build_optimiser
from model.recipes import V1, Recipe, override
from model.student import TrainableDepth, build_network
from model.training import fit
from model.training_step import TrainingStep
from pipeline.depth_codec import decode_disparity
from pipeline.images import decode_rgb
from pipeline.label_filter import EVERY_LABEL
from pipeline.storage import Store
from pipeline.training_input import AHEAD_PER_THREAD, FETCHERS, blocks_of
from pipeline.training_rows import load_row, read_block

PARTS = ("step", "fake", "rate", "stages", "memory")
PREFETCHED = 3
MEGABYTE = 1 << 20


def main() -> None:
    arguments = parse()
    torch.set_num_threads(os.cpu_count() or 1)
    with tempfile.TemporaryDirectory() as folder:
        data = written(
            Store(folder), images_in=arguments.images, count=arguments.count, size=arguments.size
        )
        print(
            f"\n{machine(arguments)}; {data.pseudo.rows} images of {data.pixels / 1e6:.2f} "
            f"megapixels and {data.image_bytes / 1e3:.0f} kB, to {arguments.size} x "
            f"{arguments.size}\n"
        )
        for part in arguments.parts or PARTS:
            print(f"### {part}\n")
            RUN[part](arguments, data)
            print(flush=True)
    assert "ray" not in sys.modules, "a machine without Ray must be able to run this"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--images", type=Path, help="folder of photographs")
    parser.add_argument("--count", default=192, type=int, help="images; repeated if fewer")
    parser.add_argument("--scale", default="s", choices=("tiny", "s", "b", "l"))
    parser.add_argument("--size", default=518, type=int)
    parser.add_argument("--batch-size", default=3, type=int, help="of both kinds together")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", default=os.cpu_count() or 2, type=int)
    parser.add_argument("--steps", default=5, type=int, help="of a turn of *step*")
    parser.add_argument("--turns", default=3, type=int)
    parser.add_argument("--fake-step-ms", default=None, type=float, help="default: fits the rate")
    parser.add_argument("--seconds", default=8.0, type=float, help="of a turn of the other parts")
    parser.add_argument("--minutes", default=0.5, type=float, help="of *memory*")
    parser.add_argument("--quick", action="store_true", help="see that it runs: small, once")
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    if arguments.quick:
        arguments.scale, arguments.size, arguments.count = "tiny", 126, 66
        arguments.steps, arguments.turns = 2, 1
        arguments.seconds, arguments.minutes = 0.5, 0.02
    return arguments


def machine(arguments: argparse.Namespace) -> str:
    if arguments.device.startswith("cuda"):
        return f"{torch.cuda.get_device_name(arguments.device)}, {os.cpu_count()} cores"
    return f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def recipe_of(arguments: argparse.Namespace) -> Recipe:
    return override(V1, size=arguments.size, batch_size=arguments.batch_size)


def supply(
    arguments: argparse.Namespace, data: Data, *, threads: int, labelled: bool = True
) -> Generator[TrainingBatch]:
    """Batches as a worker gets them, endlessly; to be closed."""
    batches = TrainingBatches(
        store=data.store,
        recipe=recipe_of(arguments),
        images=arguments.batch_size,
        labelled=[data.labelled] if labelled else [],
        pseudo=[data.pseudo],
        seed=0,
        rank=0,
        world_size=1,
        threads=threads,
        device=arguments.device,
    )
    return prefetched(batches.batches_from({}), depth=PREFETCHED)


def resident(arguments: argparse.Namespace, data: Data) -> list[TrainingBatch]:
    """Some batches on the device."""
    found = []
    with closing(supply(arguments, data, threads=arguments.threads)) as batches:
        for batch in itertools.islice(batches, 4):
            assert batch.labelled is not None and batch.pseudo is not None
            labelled, pseudo = (b.to(arguments.device) for b in (batch.labelled, batch.pseudo))
            found.append(TrainingBatch(labelled, pseudo, {}))
    return found


def step(arguments: argparse.Namespace, data: Data) -> None:
    """The real step on both."""
    network = TrainableDepth(build_network(f"scratch:{arguments.scale}", size=arguments.size))
    network.to(arguments.device)
    recipe, total = recipe_of(arguments), (2 * arguments.turns + 1) * (arguments.steps + 1)
    cuda = arguments.device.startswith("cuda")
    optimisation = build_optimiser(network, recipe, steps=total, fused=cuda)
    training = TrainingStep(
        network, recipe=recipe, device=arguments.device, precision="bf16" if cuda else "fp32"
    )

    def seconds(batches: Iterator[TrainingBatch]) -> float:
        ends: list[float] = []
        fit(
            training,
            batches,
            optimiser=optimisation.optimiser,
            schedule=optimisation.schedule,
            steps=arguments.steps + 1,
            on_step=lambda number, metrics: ends.append(time.perf_counter()),
        )
        return (ends[-1] - ends[0]) / arguments.steps

    compare(arguments, data, seconds)


def fake(arguments: argparse.Namespace, data: Data) -> None:
    """Steps that leave the cores alone, or take one, for a quarter longer than the input needs."""
    step_s = float(arguments.fake_step_ms or 0) / 1000
    if not step_s:
        images_per_s = rate_of(arguments, data, threads=arguments.threads, labelled=True)
        step_s = 1.25 * arguments.batch_size / images_per_s
    compare(arguments, data, lambda batches: repeated(arguments, batches, time.sleep, step_s))
    cores = os.cpu_count() or 1
    busy_s = step_s * cores / max(1, cores - 1)
    small = torch.zeros(16)
    operations = int(busy_s / statistics.median(adding(small, 1000) for _ in range(9)) * 1000)
    compare(
        arguments,
        data,
        lambda b: repeated(arguments, b, lambda _: adding(small, operations), busy_s),
    )


def repeated(
    arguments: argparse.Namespace,
    batches: Iterator[TrainingBatch],
    work: Callable[[float], object],
    step_s: float,
) -> float:
    count = max(4, int(arguments.seconds / step_s))
    started = time.perf_counter()
    for _ in range(count):
        next(batches)
        work(step_s)
    return (time.perf_counter() - started) / count


def adding(tensor: torch.Tensor, times: int) -> float:
    """As a thread that launches kernels: short operations, each with the interpreter lock."""
    started = time.perf_counter()
    for _ in range(times):
        tensor.add_(1)
    return time.perf_counter() - started


def compare(
    arguments: argparse.Namespace, data: Data, seconds: Callable[[Iterator[TrainingBatch]], float]
) -> None:
    """Both inputs, turn by turn; ``seconds`` takes some steps and says how long one took."""
    tensors = resident(arguments, data)
    seconds(itertools.cycle(tensors))  # the first time allocates, and chooses kernels
    took: dict[str, list[float]] = {"resident": [], "real": []}
    with closing(supply(arguments, data, threads=arguments.threads)) as batches:
        for _ in range(arguments.turns):
            took["resident"].append(seconds(itertools.cycle(tensors)))
            for _ in range(PREFETCHED + AHEAD_PER_THREAD * arguments.threads + FETCHERS):
                next(batches)  # what lay ready meanwhile is not what the input can sustain
            took["real"].append(seconds(batches))
    still, real = (statistics.median(took[name]) for name in ("resident", "real"))
    print("| images a step | threads | resident, ms a step | real input, ms a step | ratio |")
    print("|--:|--:|--:|--:|--:|")
    cells = (arguments.batch_size, arguments.threads, f"{1000 * still:.1f}", f"{1000 * real:.1f}")
    print(f"| {' | '.join(map(str, cells))} | {still / real:.3f} |\n")


def rate(arguments: argparse.Namespace, data: Data) -> None:
    """By threads, of pseudo-labelled images alone."""
    print("| threads | images per second | per thread |\n|--:|--:|--:|")
    counts = [2**n for n in range(8) if 2**n < arguments.threads] + [arguments.threads]
    for threads in counts:
        found = rate_of(arguments, data, threads=threads, labelled=False)
        print(f"| {threads} | {found:.1f} | {found / threads:.1f} |", flush=True)


def rate_of(arguments: argparse.Namespace, data: Data, *, threads: int, labelled: bool) -> float:
    with closing(supply(arguments, data, threads=threads, labelled=labelled)) as batches:
        until = time.perf_counter() + arguments.seconds / 4
        while time.perf_counter() < until:  # empties what was read ahead before the first
            next(batches)
        started, images = time.perf_counter(), 0
        while time.perf_counter() < started + arguments.seconds:
            next(batches)
            images += arguments.batch_size
        return images / (time.perf_counter() - started)


def stages(arguments: argparse.Namespace, data: Data) -> None:
    """One thing after the other, on one core."""
    rng, took = np.random.default_rng(0), dict[str, float]()
    block = blocks_of([data.pseudo])[0]

    def timed(name: str, work: Callable[..., Any], *values: Any, **options: Any) -> Any:
        started = time.perf_counter()
        found = work(*values, **options)
        took[name] = took.get(name, 0.0) + time.perf_counter() - started
        return found

    cut = {"size": arguments.size, "rng": rng, "flip_probability": 0.5, "interpolation": "linear"}
    rows = timed("read", read_block, data.store, block, label_filter=EVERY_LABEL)
    samples = []
    for row in rows:
        packed = timed("sha256", load_row, row)
        image_HWC = timed("decode image", decode_rgb, packed)
        map_HW = timed("decode map", decode_disparity, row.label)
        target_HW = timed("target", to_target, map_HW, row.label.geometry)
        samples.append(timed("resize and cut", prepare_sample, image_HWC, target_HW, **cut))
    timed("collate", collate, samples)
    total = sum(took.values())
    print("| stage | ms an image | share |\n|---|--:|--:|")
    for name, seconds in took.items():
        print(f"| {name} | {1000 * seconds / len(rows):.2f} | {seconds / total:.0%} |")
    print(f"| all | {1000 * total / len(rows):.2f} | {len(rows) / total:.1f} images/s |")


def memory(arguments: argparse.Namespace, data: Data) -> None:
    """Resident memory at ten times, and how many images had been drawn by then."""
    print("| minutes | images | epochs | resident, MB |\n|--:|--:|--:|--:|")
    interval_s, images = 6 * arguments.minutes, 0
    with closing(supply(arguments, data, threads=arguments.threads)) as batches:
        started = time.perf_counter()
        for number in range(1, 11):
            while time.perf_counter() < started + number * interval_s:
                batch = next(batches)
                images += arguments.batch_size
            epoch = batch.positions["pseudo"].cursor.epoch
            minutes, size = number * interval_s / 60, resident_bytes() / MEGABYTE
            print(f"| {minutes:.2f} | {images} | {epoch} | {size:.0f} |", flush=True)


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


RUN = {"step": step, "fake": fake, "rate": rate, "stages": stages, "memory": memory}

if __name__ == "__main__":
    main()
