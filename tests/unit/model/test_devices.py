import pytest
import torch

from model.devices import free_memory, is_out_of_memory, pick_device, pick_precision


def test_named_devices_are_taken_as_they_are():
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device(torch.device("cpu")) == torch.device("cpu")


@pytest.mark.parametrize(("available", "expected"), [(True, "cuda"), (False, "cpu")])
def test_auto_is_a_gpu_where_there_is_one(monkeypatch, available, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    assert pick_device("auto").type == expected


@pytest.mark.parametrize("device", ["nonsense", "cuda:99"])
def test_devices_that_are_not_here_are_refused(device):
    with pytest.raises(ValueError, match=device):
        pick_device(device)


@pytest.mark.parametrize(("supported", "expected"), [(True, "bf16"), (False, "fp32")])
def test_auto_precision_asks_the_gpu_for_real_bf16(monkeypatch, supported, expected):
    asked = []
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda **options: asked.append(options) or supported
    )
    assert pick_precision("auto", "cuda") == expected
    assert asked == [{"including_emulation": False}]
    assert pick_precision("auto", "cpu") == "fp32"


def test_words_are_checked():
    assert pick_precision("bf16", "cpu") == "bf16"
    with pytest.raises(ValueError, match="fp16"):
        pick_precision("fp16", "cpu")


def test_a_full_device_is_told_from_other_errors():
    full = [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        MemoryError(),
        RuntimeError("could not create a memory object"),
        RuntimeError("could not create a primitive"),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be reported later"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    ]
    assert all(map(is_out_of_memory, full))
    others = [
        RuntimeError("CUDA error: device-side assert"),
        ValueError("not enough memory"),
        OSError(12, "x"),
    ]
    assert not any(map(is_out_of_memory, others))


def test_what_the_cpu_allocator_really_says_is_known():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**58, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


def test_memory_is_given_back_on_a_gpu_only(monkeypatch):
    done = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: done.append("waited"))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: done.append("emptied"))
    free_memory(torch.device("cpu"))
    assert done == []
    free_memory(torch.device("cuda"))
    assert done == ["waited", "emptied"]
