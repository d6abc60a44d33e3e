import pytest
import torch

from model.devices import pick_device, pick_precision


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
