import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from model.averaging import WeightAverage


def network(seed=0):
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    net[1].bias.requires_grad_(False)
    return net


def walk(net, average, values):
    """Set all weights to each of some values in turn, and average."""
    for value in values:
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.fill_(value)
        average.update()


def averaged(net, average):
    with average.applied():
        return net[0].weight[0, 0].item()


def by_hand(start, values, decay):
    found = start
    for n, value in enumerate(values):
        d = min(decay, (1 + n) / (10 + n))
        found = d * found + (1 - d) * value
    return found


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.999, 1.0])
def test_is_the_formula(decay):
    net = network()
    start = net[0].weight[0, 0].item()
    average = WeightAverage(net, decay=decay)
    values = [1.0, -2.0, 3.0, 5.0, 8.0] * 4
    walk(net, average, values)
    assert averaged(net, average) == pytest.approx(by_hand(start, values, decay), rel=1e-5)


def test_of_constant_weights_is_those_weights_soon():
    net = network()
    average = WeightAverage(net, decay=0.9999)
    walk(net, average, [4.0] * 30)
    assert averaged(net, average) == pytest.approx(4.0, abs=1e-6)  # 0.9999^30 would leave 0.997


def test_weights_come_back_to_the_last_bit_whatever_happens():
    net = network()
    average = WeightAverage(net, decay=0.5)
    walk(net, average, [1 / 3, 1 / 7])
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    pointers = [parameter.data_ptr() for parameter in net.parameters()]
    with pytest.raises(RuntimeError, match="in between"), average.applied():
        assert not torch.equal(net[0].weight, before["0.weight"])
        assert torch.equal(net[1].bias, before["1.bias"])  # frozen: has no average
        raise RuntimeError("in between")
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert [parameter.data_ptr() for parameter in net.parameters()] == pointers


def test_goes_on_exactly():
    values = [1.0, 5.0, -3.0, 0.3, 9.0, 2.0]
    net = network()
    straight = WeightAverage(net, decay=0.7)
    walk(net, straight, values)
    first = network()
    stopped = WeightAverage(first, decay=0.7)
    walk(first, stopped, values[:3])
    second = network(seed=9)
    on = WeightAverage(second, decay=0.7)
    on.load_state_dict(stopped.state_dict())
    walk(second, on, values[3:])
    assert averaged(second, on) == averaged(net, straight)


def test_another_decay_or_network_is_refused_by_name():
    state = WeightAverage(network(), decay=0.7).state_dict()
    with pytest.raises(ValueError, match=r"decay of 0\.7, not 0\.9"):
        WeightAverage(network(), decay=0.9).load_state_dict(state)
    with pytest.raises(ValueError, match=r"other parameters: 0\.bias, 1\.weight"):
        WeightAverage(nn.Sequential(nn.Linear(2, 3, bias=False)), decay=0.7).load_state_dict(state)


@pytest.mark.parametrize("decay", [-0.1, 1.1])
def test_decays_out_of_range_are_refused(decay):
    with pytest.raises(ValueError, match="0 to 1"):
        WeightAverage(network(), decay=decay)


def test_nothing_to_average_is_an_error():
    with pytest.raises(ValueError, match="no trainable parameters"):
        WeightAverage(network().requires_grad_(False), decay=0.9)


def test_names_are_those_of_the_network_within_its_wrapping(tmp_path):
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1
    )
    try:
        net = network()
        wrapped = WeightAverage(DistributedDataParallel(net), decay=0.5).state_dict()
    finally:
        torch.distributed.destroy_process_group()
    assert wrapped["average"].keys() == WeightAverage(net, decay=0.5).state_dict()["average"].keys()
