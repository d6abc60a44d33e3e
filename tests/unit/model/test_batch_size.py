"""How many images fit: a power of two, by division, and never from what happens to be free."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model import batch_size
from model.batch_size import (
    LARGEST_ON_CPU,
    LARGEST_ON_CUDA,
    USABLE,
    WHERE_UNKNOWN,
    Footprint,
    device_memory,
    find_batch_size,
    largest_that_fits,
)

CPU = torch.device("cpu")
MB = 2**20


@given(
    st.integers(0, 10**11),
    st.integers(1, 10**10),
    st.integers(0, 10**12),
    st.sampled_from([1, 8, 64]),
)
def test_it_is_the_largest_power_of_two_in_the_budget(fixed, each, budget, largest):
    found = largest_that_fits(Footprint(fixed, each), budget_bytes=budget, largest=largest)
    assert found in (1, 2, 4, 8, 16, 32, 64)
    assert found <= largest
    assert found == 1 or fixed + found * each <= budget
    if found < largest:
        assert fixed + 2 * found * each > budget


def test_memory_is_measured_by_two_forwards_of_one_and_two_images():
    asked = []

    def forward(images):
        asked.append(images)
        np.ones(images * 100 * MB // 8).sum()  # touched, or it would not be resident

    footprint = batch_size._measure_here(forward)
    if footprint is None:
        pytest.skip("this system does not forget the peak of resident memory when asked")
    assert asked == [1, 2]
    assert 90 * MB < footprint.image_bytes < 110 * MB
    assert footprint.fixed_bytes > 10 * MB


@pytest.mark.parametrize(
    ("memory_gb", "share", "expected"), [(2.0, 1.0, 8), (2.0, 0.5, 4), (1.0, 0.25, 1), (0.1, 1, 1)]
)
def test_the_budget_is_a_share_of_all_memory(monkeypatch, memory_gb, share, expected):
    monkeypatch.setattr(batch_size, "_measure_here", lambda forward: Footprint(0, 100 * MB))
    monkeypatch.setattr(batch_size, "device_memory", lambda device: int(memory_gb * 1e9))
    assert find_batch_size(lambda images: None, CPU, memory_share=share) == expected


def test_it_is_the_same_whatever_happens_to_be_free(monkeypatch):
    each = int(device_memory(CPU) * USABLE) // 4  # four fit, and hardly a byte more
    monkeypatch.setattr(batch_size, "_measure_here", lambda forward: Footprint(0, each))
    assert find_batch_size(lambda images: None, CPU) == 4
    ballast = np.ones(200 * MB // 8)
    assert find_batch_size(lambda images: None, CPU) == 4
    assert ballast[0] == 1


def test_a_device_that_holds_no_two_images_gets_them_one_by_one():
    def forward(images):
        if images > 1:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    assert find_batch_size(forward, CPU) == 1


def test_other_errors_are_not_swallowed():
    def forward(images):
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        find_batch_size(forward, CPU)


def test_a_system_that_does_not_say_gets_the_documented_size(monkeypatch, tmp_path):
    monkeypatch.setattr(batch_size, "_CLEAR", tmp_path / "no" / "such")
    asked = []
    assert find_batch_size(asked.append, CPU) == WHERE_UNKNOWN
    assert asked == []


def test_a_container_has_less_than_its_machine(monkeypatch, tmp_path):
    whole = device_memory(CPU)
    assert whole > 10**8
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(batch_size, "_CGROUP_LIMITS", (limit, tmp_path / "absent"))
    limit.write_text("max\n")
    unlimited = device_memory(CPU)
    limit.write_text("123456789\n")
    assert device_memory(CPU) == 123456789 < unlimited
    limit.write_text(str(2**62))
    assert device_memory(CPU) == unlimited >= whole


@pytest.mark.parametrize(("one", "two"), [(100, 100), (100, 60)])
def test_a_first_pass_that_took_more_still_gives_a_cost(one, two):
    footprint = batch_size._footprint(one, two)
    assert footprint.image_bytes == 50
    assert footprint.fixed_bytes >= 0


def test_on_a_gpu_the_peaks_are_those_of_its_allocator(monkeypatch):
    """Written for CUDA, run without: the allocator is played by a function of the batch."""
    gpu, asked = torch.device("cuda"), []
    cuda = torch.cuda
    monkeypatch.setattr(cuda, "reset_peak_memory_stats", lambda device: None)
    monkeypatch.setattr(cuda, "synchronize", lambda device: None)
    monkeypatch.setattr(cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(cuda, "max_memory_allocated", lambda device: (1500 + 900 * asked[-1]) * MB)
    memory = {"total": 141 * 2**30}
    monkeypatch.setattr(batch_size, "device_memory", lambda device: memory["total"])
    assert find_batch_size(asked.append, gpu) == LARGEST_ON_CUDA == 64
    assert asked == [1, 1, 2]
    memory["total"] = 24 * 2**30
    assert (1500 + 8 * 900) * MB <= 24 * 2**30 * USABLE < (1500 + 16 * 900) * MB
    assert find_batch_size(asked.append, gpu) == 8 == LARGEST_ON_CPU
