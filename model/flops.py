"""Floating point operations of a training step, and what a device can do at most.

*Model* operations are those the mathematics needs: matrix products and convolutions, a
multiplication and an addition counted as two. What activation checkpointing computes a second time
is not counted, so the share of the peak (MFU) says how fast a model is trained, not how busy the
device is. A backward pass counts as two forward passes: each product has two operands with a
gradient.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:  # their import takes seconds, and the loop has no other need of it
    from transformers import DepthAnythingConfig, Dinov2Config


@dataclass(frozen=True, slots=True)
class StepWork:
    """What one optimiser step asks of one worker's device.

    Attributes:
        flops: Floating point operations of all its passes.
        peak_flops: What the device can do in a second; None where nobody measured it.
    """

    flops: float
    peak_flops: float | None = None

    def rates(self, step_s: float) -> dict[str, float]:
        """``tflops``, and ``mfu``, the share of the peak, for a step of that many seconds."""
        rates = {"tflops": self.flops / step_s / 1e12}
        if self.peak_flops is not None:
            rates["mfu"] = self.flops / step_s / self.peak_flops
        return rates


def encoder_flops(config: "Dinov2Config", height: int, width: int) -> float:
    """Operations of a DINOv2 encoder's forward pass on one image.

    With P patches of side p, T = P + 1 tokens, width d, depth L and an MLP r times as wide:
    6 p² P d for the patches, then L ((8 + 4 r) T d² + 4 T² d), of which 8 T d² are the four
    projections of the attention, 4 T² d its two products and 4 r T d² the MLP.
    """
    patch, hidden = config.patch_size, config.hidden_size
    patches = (height // patch) * (width // patch)
    tokens = patches + 1
    block = (8 + 4 * config.mlp_ratio) * tokens * hidden**2 + 4 * tokens**2 * hidden
    return float(6 * patch**2 * patches * hidden + config.num_hidden_layers * block)


def head_flops(config: "DepthAnythingConfig", height: int, width: int) -> float:
    """Operations of a DPT head's forward pass on one image.

    With P patches of 14 x 14, encoder width d, neck widths c0…c3, fusion width f, last width e; a
    3 x 3 convolution from a to b channels on n pixels is 18 n a b:
    reassembly  2 P d (c0 + c1 + c2 + c3) + 32 P c0² + 8 P c1² + 4.5 P c3²;
    to the fusion width  18 P f (16 c0 + 4 c1 + c2 + c3 / 4);
    fusion  18 P f² (2 / 4 + 4 + 4 * 4 + 4 * 16) + 2 P f² (1 + 4 + 16 + 64);
    head  18 * 64 P f² / 2 + 18 * 196 P e f / 2 + 2 * 196 P e.
    Where the coarsest map has an odd number of patches to halve, a little more than P / 4 is left;
    that is not counted.
    """
    p = (height // config.patch_size) * (width // config.patch_size)
    d, f, e = config.reassemble_hidden_size, config.fusion_hidden_size, config.head_hidden_size
    c0, c1, c2, c3 = config.neck_hidden_sizes
    reassembly = 2 * p * d * (c0 + c1 + c2 + c3) + p * (32 * c0**2 + 8 * c1**2 + 4.5 * c3**2)
    to_fusion = 18 * p * f * (16 * c0 + 4 * c1 + c2 + c3 / 4)
    fusion = p * f**2 * (18 * (0.5 + 4 + 16 + 64) + 2 * (1 + 4 + 16 + 64))
    head = p * (576 * f**2 + 1764 * e * f + 392 * e)
    return float(reassembly + to_fusion + fusion + head)


def training_flops(
    config: "DepthAnythingConfig", *, side: int, images: int, frozen_images: int = 0
) -> float:
    """Operations of the passes over some square images: forward, backward and frozen encoder.

    The frozen encoder looks at ``frozen_images`` of them, forward alone. For `StepWork` these are
    the images of a whole optimiser step on one worker.
    """
    encoder = encoder_flops(config.backbone_config, side, side)
    return 3 * images * (encoder + head_flops(config, side, side)) + frozen_images * encoder


def peak_flops(device: torch.device | str, precision: str, *, side: int = 8192) -> float | None:
    """Operations per second of a large square matrix product on a GPU, the best of five.

    Takes a second and 3 x 2 ``side``² bytes in bf16. None on a CPU: other processes share it, so
    a figure measured once means nothing later.
    """
    device = torch.device(device)
    return matmul_flops(device, precision, side=side) if device.type == "cuda" else None


def matmul_flops(device: torch.device | str, precision: str, *, side: int) -> float:
    """Operations per second of a square matrix product on any device, the best of five."""
    device = torch.device(device)
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    repeats = 10 if device.type == "cuda" else 1

    def multiply() -> None:
        for _ in range(repeats):
            torch.mm(left, right)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    multiply()
    return repeats * 2.0 * side**3 / min(_seconds(multiply) for _ in range(5))


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
