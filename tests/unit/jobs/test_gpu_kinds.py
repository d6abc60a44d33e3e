"""Kinds of GPU: what drivers call them, and what follows from one for another."""

import math

import pytest

from jobs.gpu_kinds import (
    ASSUMED_SHARE,
    GPU_KINDS,
    Span,
    kind_of,
    network_by_operations,
    network_on,
)

# As `torch.cuda.get_device_name` gives them.
NAMES = {
    "Tesla T4": "t4",
    "Tesla V100-SXM2-16GB": "v100",
    "NVIDIA A10G": "a10g",
    "NVIDIA A10": "a10",
    "NVIDIA L4": "l4",
    "NVIDIA L40S": "l40s",
    "NVIDIA A100-SXM4-40GB": "a100-40",
    "NVIDIA A100 80GB PCIe": "a100-80",
    "NVIDIA H100 PCIe": "h100-pcie",
    "NVIDIA H100 80GB HBM3": "h100",
    "NVIDIA H200": "h200",
    "NVIDIA B200": "b200",
    "NVIDIA GeForce RTX 3090": "rtx-3090",
    "NVIDIA GeForce RTX 4090": "rtx-4090",
    "NVIDIA GeForce RTX 5090": "rtx-5090",
}


@pytest.mark.parametrize(("name", "kind"), NAMES.items())
def test_a_driver_s_name_means_a_kind(name, kind):
    assert kind_of(name) == kind


def test_every_kind_is_recognised_and_others_are_none_of_them():
    assert set(NAMES.values()) == set(GPU_KINDS)
    for other in ("NVIDIA A100X", "NVIDIA T400", "NVIDIA T4G", "AMD Instinct MI300X", "CPU", ""):
        assert kind_of(other) is None


@pytest.mark.parametrize(
    "name",
    [
        "NVIDIA A100-SXM4-80GB MIG 3g.40gb",
        "NVIDIA H100 80GB HBM3 MIG 1g.10gb",
        "NVIDIA H200 NVL",
        "NVIDIA L40S-8Q",
        "NVIDIA GeForce RTX 4090 Laptop GPU",
        "NVIDIA GeForce RTX 4090 D",
        "NVIDIA GeForce RTX 3090 Ti",
    ],
)
def test_a_slice_or_a_namesake_is_no_kind(name):
    assert kind_of(name) is None


@pytest.mark.parametrize("kind", GPU_KINDS)
def test_figures_are_in_the_units_they_claim(kind):
    """Sparse figures, TB/s or GFLOP/s among dense TFLOP/s and GB/s would stand out."""
    facts = GPU_KINDS[kind]
    assert facts.tflops("fp32") == facts.fp32_tflops
    assert 5 < facts.fp32_tflops < 120
    assert facts.tflops("bf16") >= facts.tflops("fp32")
    if facts.bf16_tflops is not None:
        assert 1.9 < facts.bf16_tflops / facts.fp32_tflops < 31
    # Operations per byte: between a card for inference and one with stacked memory.
    assert 15 < facts.tflops("bf16") * 1000 / facts.memory_gb_per_s < 420


def test_another_kind_is_between_the_ratios_of_arithmetic_and_of_memory():
    network_s = Span(0.9, 1.0, 1.1)
    found = network_on("h100", network_s, measured_on="l4", precision="bf16")
    by_arithmetic, by_memory = 121 / 989, 300 / 3350
    assert found.low == pytest.approx(0.9 * by_memory)
    assert found.high == pytest.approx(1.1 * by_arithmetic)
    assert found.middle == pytest.approx(math.sqrt(by_arithmetic * by_memory))
    assert network_on("l4", network_s, measured_on="l4", precision="bf16") == network_s


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_there_and_back_the_guess_is_the_same_and_the_range_no_narrower(precision):
    start = Span(1.0, 1.0, 1.0)
    for kind in GPU_KINDS:
        there = network_on(kind, start, measured_on="a100-80", precision=precision)
        back = network_on("a100-80", there, measured_on=kind, precision=precision)
        assert back.middle == pytest.approx(1)
        assert there.low <= there.middle <= there.high
        assert back.low <= 1 <= back.high


def test_operations_over_the_assumed_share_of_the_peak():
    found = network_by_operations("h100", 989e12, precision="bf16")
    least, most = ASSUMED_SHARE["bf16"]
    assert (found.low, found.high) == pytest.approx((1 / most, 1 / least))
    assert found.low < found.middle < found.high
    emulated = network_by_operations("v100", 15.7e12, precision="bf16")
    assert emulated.low == pytest.approx(1 / most), "no bfloat16 there: float32's peak"
