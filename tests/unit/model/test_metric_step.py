"""The step of metric fine-tuning, and that a tiny network learns metres from rendered rooms."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from model.batches import Batch, collate, normalise, prepare_sample
from model.depth_model import save_depth_model
from model.metric_depth import silog_loss, to_metres
from model.metric_network import build_metric_network
from model.metric_recipe import V2_METRIC
from model.metric_step import MetricStep
from model.optimisation import build_optimiser
from model.recipes import override
from model.student import TrainableDepth, build_network
from model.training import fit
from pipeline.images import decode_rgb
from pipeline.synthetic import synthetic_member

SIZE, MAX_DEPTH = 42, 20
RECIPE = override(V2_METRIC, size=SIZE, batch_size=8, learning_rate=2e-4, max_depth=MAX_DEPTH)


pytestmark = pytest.mark.usefixtures("one_thread")


class Constant(nn.Module):
    """Says the same depth everywhere."""

    def __init__(self, metres):
        super().__init__()
        self.metres = nn.Parameter(torch.tensor(metres))

    def forward(self, pixels_B3HW):
        shape = (len(pixels_B3HW), *pixels_B3HW.shape[2:])
        return SimpleNamespace(map_BHW=self.metres.expand(shape))


def batch(*metres):
    target = torch.tensor(metres).reshape(1, 1, -1)
    return Batch(torch.zeros(1, 3, 1, target.numel(), dtype=torch.uint8), target, target > 0)


def test_truth_beyond_the_limits_is_left_out():
    step = MetricStep(Constant(4.0), recipe=RECIPE)
    losses = step(batch(2.0, 8.0, 20.0, 20.1, 500.0, 0.0005, 0.0), None, step=0)
    inside = torch.tensor([[[2.0, 8.0, 20.0]]])
    expected = silog_loss(torch.full_like(inside, 4.0), inside, inside > 0)
    assert losses.total.item() == pytest.approx(expected.item(), rel=1e-6)
    assert losses.labelled is losses.total
    assert losses.prediction_mean.item() == 4


def test_a_batch_without_truth_costs_nothing_and_breaks_nothing():
    network = Constant(4.0)
    losses = MetricStep(network, recipe=RECIPE)(batch(0.0, 90.0), None, step=0)
    losses.total.backward()
    assert (losses.total.item(), network.metres.grad.item()) == (0, 0)


def test_half_precision_leaves_the_loss_in_float32():
    step = MetricStep(Constant(4.0), recipe=RECIPE, precision="bf16")
    assert step(batch(2.0), None, step=0).total.dtype == torch.float32
    with pytest.raises(ValueError, match="precision"):
        MetricStep(Constant(4.0), recipe=RECIPE, precision="fp16")


def test_pseudo_labels_and_nothing_are_refused():
    step = MetricStep(Constant(4.0), recipe=RECIPE)
    for labelled, pseudo in ((None, None), (batch(1.0), batch(1.0))):
        with pytest.raises(ValueError, match="labelled"):
            step(labelled, pseudo, step=0)


def rooms(count, *, seed):
    for index in range(count):
        member = synthetic_member("rooms", index, seed=seed, width=56, height=42)
        yield decode_rgb(member.data), to_metres(member.truth.values_HW, "depth_metric")


def cut(samples, *, flips, seed):
    rng = np.random.default_rng(seed)
    return collate(
        [
            prepare_sample(
                *sample, size=SIZE, rng=rng, flip_probability=flips, interpolation="nearest"
            )
            for sample in samples
        ]
    )


def drawn(samples, *, steps):
    rng = np.random.default_rng(0)
    for step in range(steps):
        chosen = rng.choice(len(samples), RECIPE.batch_size, replace=False)
        some = cut([samples[index] for index in chosen], flips=0.5, seed=step)
        yield SimpleNamespace(labelled=some, pseudo=None)


def test_it_learns_metres(tmp_path):
    """From random weights, better than what needs no picture: the median depth everywhere."""
    save_depth_model(build_network("scratch:tiny", size=SIZE), tmp_path, side=SIZE)
    network = TrainableDepth(
        build_metric_network(str(tmp_path), max_depth=MAX_DEPTH, size=SIZE, taken_over="encoder")
    )
    training, held_out = list(rooms(48, seed=0)), cut(rooms(24, seed=1), flips=0, seed=0)
    steps = 60
    optimisation = build_optimiser(network, RECIPE, steps=steps)
    losses = []
    fit(
        MetricStep(network, recipe=RECIPE),
        drawn(training, steps=steps),
        optimiser=optimisation.optimiser,
        schedule=optimisation.schedule,
        steps=steps,
        clip_norm=RECIPE.clip_norm,
        on_step=lambda _, metrics: losses.append(metrics["total"]),
    )
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:3])

    with torch.no_grad():
        predicted = network(normalise(held_out.images_B3HW)).map_BHW
    truth = held_out.target_BHW
    valid = held_out.valid_BHW & (truth <= MAX_DEPTH)
    seen = cut(training, flips=0, seed=0).target_BHW
    median = seen[(seen > 0) & (seen <= MAX_DEPTH)].median()

    def abs_rel(depth):
        return ((depth - truth).abs() / truth)[valid].mean().item()

    assert abs_rel(predicted) < 0.9 * abs_rel(torch.full_like(truth, median.item()))
