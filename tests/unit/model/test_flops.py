import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from model.flops import StepWork, encoder_flops, head_flops, peak_flops, training_flops
from model.student import FrozenEncoder, TrainableDepth, build_network


def counted(encoder, side):
    """Operations that torch counts in a forward and a backward pass on one image."""
    with torch.device("meta"):
        network = build_network(encoder, size=side)
    # Shapes without numbers: nothing is computed. On `meta` itself there is no autocast.
    with FakeTensorMode(allow_non_fake_inputs=True):
        network.to_empty(device="cpu")
        # The counter does not know the fused attention of a CPU.
        network.backbone.set_attn_implementation("eager")
        trainable = TrainableDepth(network)
        pixels = torch.zeros(1, 3, side, side)
        with FlopCounterMode(display=False) as forward:
            output = trainable(pixels)
        with FlopCounterMode(display=False) as backward:
            output.map_BHW.sum().backward()
        with FlopCounterMode(display=False) as frozen:
            FrozenEncoder(network.backbone)(pixels)
    counts = (forward, backward, frozen)
    return network.config, *(count.get_total_flops() for count in counts)


@pytest.mark.parametrize(
    ("encoder", "side", "tolerance"),
    [
        # 5 x 5 patches halve to 3 x 3, not 2.5 x 2.5: the smaller the map, the more it matters.
        ("scratch:tiny", 140, 0.001),
        ("scratch:tiny", 70, 0.05),
        ("scratch:s", 518, 0.01),
    ],
)
def test_formulas_agree_with_what_torch_counts(encoder, side, tolerance):
    config, forward, backward, frozen = counted(encoder, side)
    of_encoder = encoder_flops(config.backbone_config, side, side)
    whole = of_encoder + head_flops(config, side, side)
    assert whole == pytest.approx(forward, rel=tolerance)
    assert of_encoder == pytest.approx(frozen, rel=1e-6)
    # What is left out is the gradient of the pixels, which nobody asks for.
    patches = 6 * 14**2 * (side // 14) ** 2 * config.reassemble_hidden_size
    assert 2 * whole - patches == pytest.approx(backward, rel=tolerance)
    assert training_flops(config, side=side, images=3, frozen_images=2) == pytest.approx(
        3 * (forward + backward + patches) + 2 * frozen, rel=tolerance
    )


def test_the_published_size_at_the_published_crop():
    with torch.device("meta"):
        config = build_network("scratch:l", size=518).config
    whole = encoder_flops(config.backbone_config, 518, 518) + head_flops(config, 518, 518)
    assert whole == pytest.approx(1.30e12, rel=0.005)


def test_rates_of_a_step():
    assert StepWork(3e12).rates(2.0) == {"tflops": 1.5}
    assert StepWork(3e12, peak_flops=6e12).rates(2.0) == {"tflops": 1.5, "mfu": 0.25}


def test_nobody_measures_the_peak_of_a_cpu():
    assert peak_flops("cpu", "fp32") is None
