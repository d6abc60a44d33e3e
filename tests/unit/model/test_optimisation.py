import io

import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from model.averaging import WeightAverage
from model.monitors import ScaleMonitor
from model.optimisation import (
    build_optimiser,
    load_training_state,
    parameter_groups,
    training_state,
)
from model.recipes import V1, override

PREDICTIONS = ("prediction_mean", "prediction_std", "prediction_maximum")


class Network(nn.Module):
    """Where transformers' depth models keep their encoder: under ``backbone``, somewhere inside."""

    def __init__(self):
        super().__init__()
        self.inner = nn.ModuleDict({"backbone": nn.Linear(3, 4), "neck": nn.Linear(4, 4)})
        self.head = nn.Linear(4, 1)

    def forward(self, x):
        return self.head(self.inner["neck"](self.inner["backbone"](x)).relu())


def network(seed=0):
    torch.manual_seed(seed)
    return Network()


@pytest.fixture(scope="module")
def process_group(tmp_path_factory):
    store = tmp_path_factory.mktemp("gloo") / "store"
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{store}", rank=0, world_size=1
    )
    yield
    torch.distributed.destroy_process_group()


class TestGroups:
    def test_every_trainable_parameter_is_in_one_group_with_its_rate(self):
        net = network()
        encoder, head = parameter_groups(net, V1)
        assert (encoder["name"], head["name"]) == ("encoder", "head")
        assert encoder["lr"] == 5e-6
        assert head["lr"] == pytest.approx(5e-5)
        assert set(encoder["params"]) == set(net.inner["backbone"].parameters())
        assert set(encoder["params"]) | set(head["params"]) == set(net.parameters())
        assert len(encoder["params"]) + len(head["params"]) == len(list(net.parameters()))

    def test_frozen_parameters_are_left_out(self):
        net = network()
        net.head.weight.requires_grad_(False)
        groups = parameter_groups(net, V1)
        assert sum(len(group["params"]) for group in groups) == 5

    def test_a_group_without_parameters_is_an_error(self):
        with pytest.raises(ValueError, match="Linear has no trainable encoder"):
            parameter_groups(nn.Linear(2, 2), V1)
        net = network()
        net.head.requires_grad_(False)
        net.inner["neck"].requires_grad_(False)
        with pytest.raises(ValueError, match="no trainable head"):
            parameter_groups(net, V1)

    def test_a_wrapped_network_has_the_same_groups(self, process_group):
        wrapped = DistributedDataParallel(network())
        assert [len(group["params"]) for group in parameter_groups(wrapped, V1)] == [2, 4]


def rates(recipe, *, steps, taken):
    """Learning rate of both groups in each of the steps taken."""
    optimiser, schedule = build_optimiser(network(), recipe, steps=steps)
    found = []
    for _ in range(taken):
        found.append([group["lr"] for group in optimiser.param_groups])
        optimiser.step()
        schedule.step()
    return found


class TestSchedule:
    def test_rates_fall_linearly_to_zero_and_stay(self):
        expected = [[5e-6 * share, 5e-5 * share] for share in (1, 0.75, 0.5, 0.25, 0, 0)]
        for found, wanted in zip(rates(V1, steps=4, taken=6), expected, strict=True):
            assert found == pytest.approx(wanted, abs=1e-15)

    def test_warm_up_rises_to_the_full_rate_first(self):
        recipe = override(V1, warmup_steps=2, learning_rate=1.0)
        shares = [found[0] for found in rates(recipe, steps=6, taken=7)]
        assert shares == pytest.approx([0.5, 1, 1, 0.75, 0.5, 0.25, 0])

    def test_the_end_can_be_above_zero(self):
        recipe = override(V1, final_learning_rate_ratio=0.5, learning_rate=1.0)
        assert [found[0] for found in rates(recipe, steps=2, taken=4)] == pytest.approx(
            [1, 0.75, 0.5, 0.5]
        )

    def test_adamw_has_the_values_of_the_recipe(self):
        recipe = override(V1, weight_decay=0.3, beta1=0.8, beta2=0.95)
        for group in build_optimiser(network(), recipe, steps=1).optimiser.param_groups:
            assert group["weight_decay"] == 0.3
            assert group["betas"] == (0.8, 0.95)


def trained(net, *, steps=3):
    optimiser, schedule = build_optimiser(net, override(V1, learning_rate=0.01), steps=10)
    for _ in range(steps):
        optimiser.zero_grad()
        net(torch.ones(2, 3)).square().sum().backward()
        optimiser.step()
        schedule.step()
    return optimiser, schedule


def through_a_file(state):
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


class TestState:
    def test_a_saved_state_goes_on_exactly(self):
        net = network()
        optimiser, schedule = trained(net)
        state = through_a_file(
            training_state(net, optimiser=optimiser, schedule=schedule, step=3, run={"seed": 7})
        )
        other = network(seed=1)
        other_optimiser, other_schedule = build_optimiser(
            other, override(V1, learning_rate=0.01), steps=10
        )
        step = load_training_state(
            state, other, optimiser=other_optimiser, schedule=other_schedule, run={"seed": 7}
        )
        assert step == 3
        assert other_optimiser.param_groups[0]["lr"] == optimiser.param_groups[0]["lr"]
        for one, two in zip(net.state_dict().values(), other.state_dict().values(), strict=True):
            assert torch.equal(one, two)
        for each, its_optimiser in ((net, optimiser), (other, other_optimiser)):
            its_optimiser.zero_grad()
            each(torch.ones(2, 3)).square().sum().backward()
            its_optimiser.step()
        assert torch.equal(net.head.weight, other.head.weight)

    def test_another_run_is_refused_by_name_before_anything_is_loaded(self):
        net = network()
        optimiser, schedule = trained(net)
        state = training_state(
            net, optimiser=optimiser, schedule=schedule, step=3, run={"seed": 7, "recipe": "ab"}
        )
        other = network(seed=1)
        before = other.head.weight.clone()
        fresh = build_optimiser(other, V1, steps=10)
        with pytest.raises(ValueError, match=r"recipe was 'ab', is 'cd'; seed was 7, is None"):
            load_training_state(
                state,
                other,
                optimiser=fresh.optimiser,
                schedule=fresh.schedule,
                run={"recipe": "cd"},
            )
        assert torch.equal(other.head.weight, before)

    def test_another_network_is_refused_by_name_before_anything_is_loaded(self):
        net = network()
        optimiser, schedule = trained(net)
        state = training_state(net, optimiser=optimiser, schedule=schedule, step=3)
        other = network(seed=1)
        other.head = nn.Linear(4, 2)
        before = other.inner["neck"].weight.clone()
        fresh = build_optimiser(other, V1, steps=10)
        with pytest.raises(
            ValueError,
            match=r"another network: head\.bias is \(1,\), not \(2,\); head\.weight is \(1, 4\)",
        ):
            load_training_state(state, other, optimiser=fresh.optimiser, schedule=fresh.schedule)
        del state["network"]["inner.neck.bias"]
        with pytest.raises(ValueError, match=r"inner\.neck\.bias is missing, not \(4,\)"):
            load_training_state(
                state, network(), optimiser=fresh.optimiser, schedule=fresh.schedule
            )
        assert torch.equal(other.inner["neck"].weight, before)
        assert not fresh.optimiser.state

    def test_average_and_monitor_are_part_of_the_state(self):
        net = network()
        optimiser, schedule = trained(net)
        average, monitor = WeightAverage(net, decay=0.5), ScaleMonitor()
        average.update()
        monitor.check(dict.fromkeys(PREDICTIONS, 0.0), step=2)
        state = through_a_file(
            training_state(
                net,
                optimiser=optimiser,
                schedule=schedule,
                step=3,
                average=average,
                monitor=monitor,
            )
        )
        other = network(seed=1)
        fresh = build_optimiser(other, V1, steps=10)
        its_average, its_monitor = WeightAverage(other, decay=0.5), ScaleMonitor()
        load_training_state(
            state,
            other,
            optimiser=fresh.optimiser,
            schedule=fresh.schedule,
            average=its_average,
            monitor=its_monitor,
        )
        assert its_average.updates == 1
        assert its_monitor.state_dict() == monitor.state_dict() == {"zero": 2}
        with average.applied(), its_average.applied():
            assert torch.equal(net.head.weight, other.head.weight)

    @pytest.mark.parametrize("before", [True, False])
    def test_an_average_that_comes_or_goes_is_another_run(self, before):
        net = network()
        optimiser, schedule = trained(net)
        average = WeightAverage(net, decay=0.5)
        state = training_state(
            net,
            optimiser=optimiser,
            schedule=schedule,
            step=3,
            average=average if before else None,
        )
        with pytest.raises(ValueError, match="had an average" if before else "had no average"):
            load_training_state(
                state,
                net,
                optimiser=optimiser,
                schedule=schedule,
                average=None if before else average,
            )

    def test_one_worker_can_go_on_from_many_and_back(self, process_group):
        wrapped = DistributedDataParallel(network())
        optimiser, schedule = trained(wrapped)
        state = training_state(wrapped, optimiser=optimiser, schedule=schedule, step=3)
        assert set(state["network"]) == set(network().state_dict())
        plain = network(seed=1)
        fresh = build_optimiser(plain, V1, steps=10)
        load_training_state(state, plain, optimiser=fresh.optimiser, schedule=fresh.schedule)
        assert torch.equal(plain.head.weight, wrapped.module.head.weight)
        again = DistributedDataParallel(network(seed=2))
        fresh = build_optimiser(again, V1, steps=10)
        load_training_state(state, again, optimiser=fresh.optimiser, schedule=fresh.schedule)
        assert torch.equal(again.module.head.weight, plain.head.weight)
