"""The network and the step that a job asks for."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from jobs.models import ModelLocation
from jobs.training_job import TrainingJob, Worker, prepare
from jobs.training_state import TrainingState
from model.encoding import call
from model.metric_recipe import V2_METRIC
from model.metric_step import MetricStep
from model.recipes import V1, V2, override
from model.student import TrainableDepth
from model.training_step import TrainingStep
from pipeline.storage import Store
from pipeline.training_input import TrainingShard
from tests.factories import tiny_teacher

SIZE = 28


def job(tmp_path: Path, recipe: Any = V1, **changes: Any) -> TrainingJob:
    given: dict[str, Any] = {
        "run_id": "run",
        "name": "model",
        "store": Store(str(tmp_path)),
        "encoder": ModelLocation("plain", "scratch:tiny"),
        "recipe": override(recipe, size=SIZE),
        "labelled": (TrainingShard("key", 1),),
        "pseudo": (),
        "steps": 1,
        "images_per_pass": 2,
        "seed": 0,
        "precision": "fp32",
        "checkpoint_steps": 1,
        "threads": 1,
    }
    return TrainingJob(**given | changes)


def relative(tmp_path: Path) -> ModelLocation:
    return ModelLocation("plain", str(tiny_teacher(tmp_path / "relative", size=SIZE)))


@pytest.mark.parametrize(("recipe", "blocks"), [(V1, [3, 4, 5, 6]), (V2, [2, 3, 5, 6])])
def test_the_recipe_says_which_blocks_feed_the_head(tmp_path, recipe, blocks):
    prepared = prepare(job(tmp_path, recipe), Worker())
    assert list(prepared.network.config.backbone_config.out_indices) == blocks
    assert isinstance(prepared.step, TrainingStep)


def test_a_metric_recipe_makes_a_metric_network_of_a_relative_one(tmp_path):
    recipe = override(V2_METRIC, max_depth=7)
    prepared = prepare(job(tmp_path, recipe, encoder=relative(tmp_path)), Worker())
    assert isinstance(prepared.step, MetricStep)
    assert prepared.network.config.max_depth == 7
    depth = prepared.network(torch.rand(1, 3, SIZE, SIZE)).predicted_depth
    torch.testing.assert_close(depth, torch.full_like(depth, 3.5))
    anew = override(recipe, taken_over="encoder")
    prepared = prepare(job(tmp_path, anew, encoder=relative(tmp_path)), Worker())
    assert prepared.network.head.conv3.weight.abs().max() > 0


def test_the_scale_is_watched_where_the_loss_does_not_see_it(tmp_path):
    for recipe, start, watched in ((V1, {}, True), (V2_METRIC, relative(tmp_path), False)):
        asked = job(tmp_path, recipe, **({"encoder": start} if start else {}))
        state = TrainingState.of(asked, Worker(), prepare(asked, Worker()).trainable)
        assert (state.monitor is not None) == watched


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method`:DeprecationWarning")
@pytest.mark.parametrize("recipe", [V1, V2_METRIC], ids=["relative", "metric"])
def test_compiling_and_recomputing_are_for_those_who_ask(tmp_path, recipe):
    start = {"encoder": relative(tmp_path)} if recipe is V2_METRIC else {}
    trainable = prepare(job(tmp_path, recipe, **start), Worker()).trainable
    assert isinstance(trainable, TrainableDepth)
    assert (trainable.recompute, trainable.run is call) == (False, True)
    asked = job(tmp_path, recipe, compile=True, checkpoint_activations=True, **start)
    trainable = prepare(asked, Worker()).trainable
    assert isinstance(trainable, TrainableDepth)
    assert (trainable.recompute, trainable.run is call) == (True, False)


def test_recomputing_changes_no_gradient_of_a_metric_network(tmp_path):
    start, pixels = relative(tmp_path), torch.rand(2, 3, SIZE, SIZE)
    gradients = []
    for recompute in (False, True):
        asked = job(tmp_path, V2_METRIC, encoder=start, checkpoint_activations=recompute)
        prepared = prepare(asked, Worker())
        torch.nn.init.ones_(prepared.network.head.conv3.weight)
        depth = prepared.trainable(pixels).map_BHW
        functional.mse_loss(depth, torch.zeros_like(depth)).backward()
        gradients.append([p.grad for p in prepared.network.parameters() if p.requires_grad])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_the_network_is_wrapped_for_the_worker(tmp_path):
    wrapped: list[torch.nn.Module] = []

    def wrap(network):
        wrapped.append(network)
        return network

    prepared = prepare(job(tmp_path), Worker(wrap=wrap))
    assert wrapped == [prepared.trainable]
