"""Kinds of GPU as their makers describe them, to say of one what was measured on another.

Arithmetic is dense (what a datasheet gives "with sparsity" is halved), in bfloat16 with sums in
float32 on tensor cores, and in float32 outside them. A network is bound by arithmetic or by memory,
or partly by either, so another kind is faster by something between the two ratios: a range, and no
more than that. It holds for kinds that do not throttle and are not shared.

Beside each row is the NVIDIA document that its figures are from; they were compared with what
others reproduce of it. What could not be confirmed so is marked.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

# No measurement is behind these: shares of a datasheet's arithmetic that a network of this sort is
# taken to reach, until somebody measures a few batches on the GPU in question.
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
    # Datasheet of the T4: 16-bit arithmetic in half precision alone.
    "t4": GpuKind(16, None, 8.1, 320, r"T4"),
    # Datasheet of the V100, for SXM2 (PCIe: 14 TFLOP/s): likewise.
    "v100": GpuKind(16, None, 15.7, 900, r"V100"),
    # Only AWS has it, in its G5. Not confirmed: accounts of its arithmetic differ (70 or 125; 31.5
    # or 35), for its cores are counted as 72 or 80 multiprocessors.
    "a10g": GpuKind(24, 70, 31.5, 600, r"A10G"),
    # Datasheet of the A10. The 125 is not confirmed, but is what 288 tensor cores of GA102 do at
    # 1.695 GHz.
    "a10": GpuKind(24, 125, 31.2, 600, r"A10"),
    # Datasheet of the A100, for SXM (80 GB by PCIe: 1,935 GB/s).
    "a100-40": GpuKind(40, 312, 19.5, 1555, r"A100.*40GB"),
    "a100-80": GpuKind(80, 312, 19.5, 2039, r"A100.*80GB"),
    # Datasheet of the L4: 242 with sparsity.
    "l4": GpuKind(24, 121, 30.3, 300, r"L4"),
    # Datasheet of the L40S: 362 without sparsity, 733 with it.
    "l40s": GpuKind(48, 362, 91.6, 864, r"L40S"),
    # Datasheet of the H100: 1,513 (PCIe) and 1,979 (SXM) with sparsity.
    "h100-pcie": GpuKind(80, 756, 51, 2000, r"H100 PCIe"),
    "h100": GpuKind(80, 989, 67, 3350, r"H100.*HBM3|H100 SXM"),
    # Datasheet of the H200, for SXM: 1,979 with sparsity.
    "h200": GpuKind(141, 989, 67, 4800, r"H200"),
    # Datasheet of the HGX B200: 4.5 PFLOP/s with sparsity, 7.7 TB/s of each GPU.
    "b200": GpuKind(180, 2250, 75, 7700, r"B200"),
    # Whitepapers of GA102, Ada (AD102) and RTX Blackwell: bfloat16 with sums in float32, half of
    # what they give for half precision with sums in half precision. Of the RTX 5090's that is not
    # confirmed: it is a quarter of 838 with sparsity.
    "rtx-3090": GpuKind(24, 71, 35.6, 936, r"RTX 3090"),
    "rtx-4090": GpuKind(24, 165, 82.6, 1008, r"RTX 4090"),
    "rtx-5090": GpuKind(32, 209, 104.8, 1792, r"RTX 5090"),
}
# Behind the name of a kind: something else, or a part of it (a slice, a share by a hypervisor).
ANOTHER = r"MIG|NVL|Laptop|Ti\b|D\b|-\d+[ABCQ]\b"


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

    ``NVIDIA A100-SXM4-80GB`` is ``a100-80``, ``NVIDIA L4`` is not ``NVIDIA L40S``, and a slice of
    a GPU is none of them.
    """
    for kind, facts in GPU_KINDS.items():
        found = re.search(rf"(?<!\w)(?:{facts.named})(?!\w)", device_name)
        if found and not re.search(ANOTHER, device_name[found.end() :]):
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
