"""Floating point operations: what a network needs, and what a device can do at most.

Share of peak is the one over the other; it says how far a forward pass is from what no code for
this device could beat.
"""

import time
from collections.abc import Callable

import torch

from model.architectures import ENCODER_SIZES, head_size


def operations(scale: str, height: int, width: int) -> float:
    """Floating point operations of Depth Anything for one image.

    Matrix products and convolutions only; a multiplication and an addition count as two. With P
    patches of 14 x 14, T = P + 1 tokens, encoder width d and depth L, neck widths c0…c3, fusion
    width f, last width e (a 3 x 3 convolution from a to b channels on n pixels is 18 n a b):
    encoder  1176 P d + L (24 T d² + 4 T² d);
    reassembly  2 P d (c0 + c1 + c2 + c3) + 32 P c0² + 8 P c1² + 4.5 P c3²;
    to the fusion width  18 P f (16 c0 + 4 c1 + c2 + c3 / 4);
    fusion  18 P f² (2 / 4 + 4 + 4 * 4 + 4 * 16) + 2 P f² (1 + 4 + 16 + 64);
    head  18 * 64 P f² / 2 + 18 * 196 P e f / 2 + 2 * 196 P e.
    That is 1.30e12 for ViT-L at 518 x 518.
    """
    size = ENCODER_SIZES[scale]
    d, p = size.hidden, (height // 14) * (width // 14)
    shape = head_size(d)
    (c0, c1, c2, c3), f, e = shape.out_channels, shape.features, shape.last_features
    encoder = 1176 * p * d + size.layers * (24 * (p + 1) * d**2 + 4 * (p + 1) ** 2 * d)
    reassembly = 2 * p * d * (c0 + c1 + c2 + c3) + p * (32 * c0**2 + 8 * c1**2 + 4.5 * c3**2)
    to_fusion = 18 * p * f * (16 * c0 + 4 * c1 + c2 + c3 / 4)
    fusion = p * f**2 * (18 * (0.5 + 4 + 16 + 64) + 2 * (1 + 4 + 16 + 64))
    head = p * (576 * f**2 + 1764 * e * f + 392 * e)
    return float(encoder + reassembly + to_fusion + fusion + head)


def matrix_product_peak(device: str, precision: str) -> float:
    """Operations per second of a large square matrix product, the best of a few."""
    side = 8192 if device.startswith("cuda") else 2048
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    repeats = 20 if device.startswith("cuda") else 2

    def multiply() -> None:
        for _ in range(repeats):
            torch.mm(left, right)
        if device.startswith("cuda"):
            torch.cuda.synchronize()

    multiply()
    return repeats * 2.0 * side**3 / min(_seconds(multiply) for _ in range(3))


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
