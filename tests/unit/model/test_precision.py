import copy

import torch
from torch import nn

from model.precision import Float32Conv2d, keep_output_float32_, round_weights_


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Sequential(nn.Conv2d(8, 1, 1)))


def test_only_layers_with_one_output_are_exchanged():
    net = network()
    keep_output_float32_(net)
    assert type(net[0]) is nn.Conv2d
    assert type(net[2][0]) is Float32Conv2d


def test_names_values_and_parameter_objects_stay():
    net = network()
    parameters, state = dict(net.named_parameters()), copy.deepcopy(net.state_dict())
    image = torch.randn(1, 3, 5, 5)
    expected = net(image)
    keep_output_float32_(net)
    keep_output_float32_(net)  # twice is once
    assert all(parameters[name] is parameter for name, parameter in net.named_parameters())
    assert net.state_dict().keys() == state.keys()
    assert torch.equal(net(image), expected)
    assert torch.equal(copy.deepcopy(net)(image), expected)


def test_the_output_has_more_levels_than_bf16():
    net = network()
    image = torch.randn(1, 3, 64, 64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = net(image)
        keep_output_float32_(net)
        kept = net(image)
    assert rounded.dtype == torch.bfloat16
    assert kept.dtype == torch.float32
    assert kept.unique().numel() > 2 * rounded.unique().numel()


def test_gradients_reach_both_layers_under_autocast():
    net = network()
    keep_output_float32_(net)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        net(torch.randn(1, 3, 8, 8)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


def deep_network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.ConvTranspose2d(8, 8, 2, stride=2),
        nn.Linear(14, 16),
        nn.LayerNorm(16),
        nn.Conv2d(8, 1, 1),
    )


def test_weights_rounded_once_give_what_autocast_gives_to_the_last_bit():
    net = deep_network()
    keep_output_float32_(net)
    image = torch.randn(2, 3, 9, 9)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        expected = net(image)
        round_weights_(net)
        assert torch.equal(net(image), expected)


def test_normalisation_and_the_output_keep_their_precision():
    net = deep_network()
    keep_output_float32_(net)
    round_weights_(net)
    assert [layer.weight.dtype for layer in net] == [
        torch.bfloat16,
        torch.bfloat16,
        torch.bfloat16,
        torch.float32,
        torch.float32,
    ]


def test_a_map_that_no_convolution_makes_is_made_in_float32_too():
    """A mean over bins; what it is made of may be rounded, it may not."""

    class Bins(nn.Module):
        def forward(self, logits_BKHW):
            return logits_BKHW.softmax(1).permute(0, 2, 3, 1) @ torch.linspace(0, 1, 8)

    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), Bins())
    state, image = net.state_dict().keys(), torch.randn(1, 3, 64, 64)
    expected = net(image)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = net(image)
        keep_output_float32_(net, last="1")
        kept = net(image)
    assert rounded.dtype == torch.bfloat16
    assert kept.dtype == torch.float32
    assert kept.unique().numel() > 10 * rounded.unique().numel()
    keep_output_float32_(net, last="1")  # twice is once
    assert net.state_dict().keys() == state
    assert torch.equal(net(image), expected)
