"""Kinds of GPU as their makers describe them, to say of one what was measured on another.

Arithmetic is dense (what a datasheet gives "with sparsity" is halved), in bfloat16 with sums in
float32 on tensor cores, and in float32 outside them. A network is bound by arithmetic or by memory,
or partly by either, so another kind is faster by something between the two ratios: a range, and no
more than that. It holds for kinds that do not throttle and are not shared.

Sources, NVIDIA's datasheets of each product unless said otherwise: T4 and V100 with their
architecture whitepapers (no bfloat16 in hardware); A10G as AWS's G5 has it, with 70 TFLOP/s where
the A10 has 125; L4, L40S, A100 (40 GB: SXM; 80 GB: SXM), H100, H200; B200 as an eighth of an HGX
or DGX B200; RTX 3090, 4090 and 5090 by the GA102, Ada and Blackwell whitepapers.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

# No measurement is behind these two: shares of a datasheet's arithmetic that a network of this sort
# is taken to reach, until somebody measures one batch on the GPU in question.
ASSUMED_SHARE = {"bf16": (0.20, 0.45), "fp32": (0.35, 0.70)}


@dataclass(frozen=True, slots=True)
class GpuKind:
    """What a datasheet says.

    Attributes:
        memory_gb: Of 1e9 bytes, as they are sold.
        bf16_tflops: Dense, on tensor cores; None where the hardware has no bfloat16.
        fp32_tflops: Outside tensor cores.
        memory_gb_per_s: Bandwidth of its memory.
        named: Expression for the name that the driver gives it.
    """

    memory_gb: int
    bf16_tflops: float | None
    fp32_tflops: float
    memory_gb_per_s: float
    named: str

    def tflops(self, precision: str) -> float:
        """Where there is no bfloat16 it is emulated, and no faster than float32."""
        return self.bf16_tflops or self.fp32_tflops if precision == "bf16" else self.fp32_tflops


GPU_KINDS: Mapping[str, GpuKind] = {
    "t4": GpuKind(16, None, 8.1, 320, r"T4"),
    "v100": GpuKind(16, None, 15.7, 900, r"V100"),
    "a10g": GpuKind(24, 70, 31.5, 600, r"A10G"),
    "a10": GpuKind(24, 125, 31.2, 600, r"A10"),
    "a100-40": GpuKind(40, 312, 19.5, 1555, r"A100.*40GB"),
    "a100-80": GpuKind(80, 312, 19.5, 2039, r"A100.*80GB"),
    "l4": GpuKind(24, 121, 30.3, 300, r"L4"),
    "l40s": GpuKind(48, 362, 91.6, 864, r"L40S"),
    "h100-pcie": GpuKind(80, 756, 51, 2000, r"H100 PCIe"),
    "h100": GpuKind(80, 989, 67, 3350, r"H100.*HBM3|H100 SXM"),
    "h200": GpuKind(141, 989, 67, 4800, r"H200"),
    "b200": GpuKind(180, 2250, 75, 8000, r"B200"),
    "rtx-3090": GpuKind(24, 71, 35.6, 936, r"RTX 3090"),
    "rtx-4090": GpuKind(24, 165, 82.6, 1008, r"RTX 4090"),
    "rtx-5090": GpuKind(32, 209, 104.8, 1792, r"RTX 5090"),
}


@dataclass(frozen=True, slots=True)
class Span:
    """A figure that is known from … to, with the best guess between."""

    low: float
    middle: float
    high: float

    def times(self, low: float, high: float) -> "Span":
        """Multiplied by something between two factors, their geometric mean for the guess."""
        return Span(self.low * low, self.middle * math.sqrt(low * high), self.high * high)


def kind_of(device_name: str) -> str | None:
    """Which of the table a driver's name means; None for any other.

    ``NVIDIA A100-SXM4-80GB`` is ``a100-80``, ``NVIDIA L4`` is not ``NVIDIA L40S``.
    """
    for kind, facts in GPU_KINDS.items():
        if re.search(rf"(?<!\w)(?:Tesla )?(?:{facts.named})(?!\w)", device_name):
            return kind
    return None


def network_on(kind: str, network_s: Span, *, measured_on: str, precision: str) -> Span:
    """Seconds of the network per image on another kind than the measured one."""
    here, there = GPU_KINDS[measured_on], GPU_KINDS[kind]
    if kind == measured_on:
        return network_s
    ratios = (
        here.tflops(precision) / there.tflops(precision),
        here.memory_gb_per_s / there.memory_gb_per_s,
    )
    return network_s.times(min(ratios), max(ratios))


def network_by_operations(kind: str, flops: float, *, precision: str) -> Span:
    """Seconds of the network per image where no GPU was measured: `ASSUMED_SHARE` of the peak."""
    least, most = ASSUMED_SHARE[precision]
    at_peak_s = flops / (GPU_KINDS[kind].tflops(precision) * 1e12)
    return Span(at_peak_s, at_peak_s, at_peak_s).times(1 / most, 1 / least)
