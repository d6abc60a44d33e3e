"""How fast the network is trained: steps of teacher and student on tensors that are there already.

    .venv/bin/python benchmarks/training_step.py [--quick] [--device cuda] [--scales s b l]
        [--kinds teacher student] [--precision bf16] [--compile off on] [--recompute off on]

Needs no Ray, no data and no weights: images are noise, the network has the named Depth Anything
size and random weights, for speed does not depend on what they say. A step is all that training
does (`model.training.fit`): perturbations, forward, losses, backward, clipping, AdamW, and the
metrics fetched. A student's frozen encoder has random weights too, and is run and counted.

*TFLOP/s* are the operations that the mathematics needs (`model.flops`): a backward pass is two
forward passes, and what is computed again to save memory (``--recompute``) does not count. *Share
of peak* is that over a matrix product in the same precision, measured here, 8192 wide on a GPU and
1024 on a CPU. *Memory* is the most that torch's allocator had in use on the GPU.

Steps are timed from the end of the third to the end of the last, so compiling is not in them; where
a pass does not fit, half as many images are tried.
"""

import argparse
import itertools
import platform
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from model.batches import Batch
from model.devices import free_memory, is_out_of_memory, pick_device, pick_precision
from model.flops import StepWork, matmul_flops, training_flops
from model.optimisation import build_optimiser
from model.recipes import Recipe, override, preset
from model.student import FrozenEncoder, TrainableDepth, build_network, compile_
from model.training import fit
from model.training_step import TrainingStep

WARM_UP_STEPS = 3
IMAGES = {"tiny": 24, "s": 96, "b": 48, "l": 24}  # of a pass; of a student a third is labelled


@dataclass(frozen=True, slots=True)
class Case:
    """One line of the table."""

    scale: str
    kind: str
    compiled: bool
    recompute: bool


@dataclass(frozen=True, slots=True)
class Input:
    """What every step learns from; what is missing, the recipe has no place for."""

    labelled: Batch | None
    pseudo: Batch | None


@dataclass(frozen=True, slots=True)
class Result:
    """What a case took.

    Attributes:
        memory_gib: None on a CPU.
    """

    images: int
    step_s: float
    flops: float
    memory_gib: float | None


def main() -> None:
    arguments = parse()
    device = pick_device(arguments.device)
    precision = pick_precision(arguments.precision, device)
    side = 8192 if device.type == "cuda" else 1024
    peak = matmul_flops(device, precision, side=side)
    print_head(arguments, device, precision, peak)
    for case in cases(arguments):
        print_row(case, measured(case, arguments, device, precision), peak)
    assert "ray" not in sys.modules, "a machine without Ray must be able to run this"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scales", nargs="+", default=["s", "b", "l"], choices=sorted(IMAGES))
    parser.add_argument(
        "--kinds", nargs="+", default=["teacher", "student"], choices=("teacher", "student")
    )
    parser.add_argument("--preset", default="v1", choices=("v1", "v2"))
    parser.add_argument("--compile", nargs="+", default=["off", "on"], choices=("off", "on"))
    parser.add_argument("--recompute", nargs="+", default=["off", "on"], choices=("off", "on"))
    parser.add_argument("--size", type=int, default=518)
    parser.add_argument("--images", type=int, help="of one pass (default: by scale)")
    parser.add_argument("--steps", type=int, default=20, help="timed")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto", choices=("auto", "fp32", "bf16"))
    parser.add_argument("--quick", action="store_true", help="see that it runs: small, once")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.scales, arguments.compile, arguments.size = ["tiny"], ["off"], 112
        arguments.images, arguments.steps = arguments.images or 3, 2
    return arguments


def cases(arguments: argparse.Namespace) -> Iterator[Case]:
    for scale, kind, compiled, recompute in itertools.product(
        arguments.scales, arguments.kinds, arguments.compile, arguments.recompute
    ):
        yield Case(scale, kind, compiled == "on", recompute == "on")


def measured(
    case: Case, arguments: argparse.Namespace, device: torch.device, precision: str
) -> Result:
    """A case at the most images that fit, halving from those asked for."""
    images = arguments.images or IMAGES[case.scale]
    recipe = override(preset(arguments.preset, case.kind), size=arguments.size)
    while True:
        try:
            return run(case, recipe, images, arguments.steps, device, precision)
        except RuntimeError as error:
            if not is_out_of_memory(error) or images < 4:
                raise
        images //= 2  # outside the handler, whose error still holds the tensors that were too many
        free_memory(device)


def run(
    case: Case, recipe: Recipe, images: int, steps: int, device: torch.device, precision: str
) -> Result:
    """Train for some steps and time them."""
    torch.compiler.reset()
    free_memory(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    network = build_network(f"scratch:{case.scale}", size=recipe.size)
    trainable = TrainableDepth(network, recompute=case.recompute).to(device)
    frozen = None
    if case.kind == "student":
        other = build_network(f"scratch:{case.scale}", size=recipe.size, seed=1)
        frozen = FrozenEncoder(other.backbone).to(device)
    if case.compiled:
        for module in (trainable, frozen):
            if module is not None:
                compile_(module)
    step_input = noise(case, recipe, images, device)
    pseudo_images = 0 if step_input.pseudo is None else len(step_input.pseudo)
    flops = training_flops(
        network.config, side=recipe.size, images=images, frozen_images=pseudo_images
    )
    optimiser, schedule = build_optimiser(
        trainable, recipe, steps=WARM_UP_STEPS + steps, fused=device.type == "cuda"
    )
    ends: list[float] = []
    fit(
        TrainingStep(
            trainable, recipe=recipe, frozen_encoder=frozen, device=device, precision=precision
        ),
        itertools.repeat(step_input),
        optimiser=optimiser,
        schedule=schedule,
        steps=WARM_UP_STEPS + steps,
        clip_norm=recipe.clip_norm,
        work=StepWork(flops),
        on_step=lambda *_: ends.append(time.perf_counter()),
    )
    taken = (ends[-1] - ends[WARM_UP_STEPS - 1]) / steps
    memory = torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else None
    return Result(images, taken, flops, memory)


def noise(case: Case, recipe: Recipe, images: int, device: torch.device) -> Input:
    def batch(count: int, seed: int) -> Batch:
        generator = torch.Generator().manual_seed(seed)
        shape = (count, 3, recipe.size, recipe.size)
        pixels = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
        target = pixels.float().mean(dim=1) / 255
        return Batch(pixels, target, torch.ones_like(target, dtype=torch.bool)).to(device)

    if case.kind == "teacher":
        return Input(batch(images, 0), None)
    if recipe.pseudo_only:
        return Input(None, batch(images, 0))
    split = recipe.split(images)
    return Input(*(batch(n, seed) if n else None for seed, n in enumerate(split)))


def print_head(
    arguments: argparse.Namespace, device: torch.device, precision: str, peak: float
) -> None:
    name = platform.processor() or platform.machine()
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    print(
        f"{name}, torch {torch.__version__}, {torch.get_num_threads()} threads; {precision}, crop "
        f"{arguments.size}, preset {arguments.preset}; matrix product {peak / 1e12:.3g} TFLOP/s\n"
    )
    print("| scale | step | compiled | recomputed | images | s/step | images/s | TFLOP/s ", end="")
    print("| share of peak | memory, GiB |")
    print("|---|---|---|---|---|---|---|---|---|---|", flush=True)


def print_row(case: Case, result: Result, peak: float) -> None:
    rate = result.flops / result.step_s
    memory = "–" if result.memory_gib is None else f"{result.memory_gib:.1f}"
    print(
        f"| {case.scale} | {case.kind} | {'yes' if case.compiled else 'no'} "
        f"| {'yes' if case.recompute else 'no'} | {result.images} | {result.step_s:.3g} "
        f"| {result.images / result.step_s:.3g} | {rate / 1e12:.3g} | {rate / peak:.0%} "
        f"| {memory} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
