"""From a relative Depth Anything network to one that predicts metres: sigmoid x largest depth.

Which weights are taken over is a choice. V2's ``metric_depth/train.py`` loads the keys that contain
``pretrained``, the encoder's, and begins the whole DPT head anew. ``decoder`` takes the head over
too, all but its last layer: that one said disparity, where larger is nearer. The new last layer is
0 then, so that every map begins at half the largest depth: what a relative head hands to its last
layer has any scale at all (its maps reach 8 for V1-S and 88 for V1-L), and a sigmoid of random sums
of that is 0 or 1 everywhere, where it has no gradient.
"""

import copy

import torch
from torch import nn
from transformers import DepthAnythingForDepthEstimation

from model.depth_model import load_network
from model.errors import CheckpointError
from model.metric_recipe import TAKEN_OVER
from model.precision import keep_output_float32_

_LAST_LAYER = "head.conv3."


def check_metric_init(reference: str) -> str:
    """The sha256 of what a metric network is to start from; a driver calls it before workers start.

    Raises:
        CheckpointError: Not readable, or no Depth Anything network.
    """
    return _load(reference)[1]


def build_metric_network(
    init: str, *, max_depth: int, size: int, taken_over: str = "decoder", seed: int = 0
) -> DepthAnythingForDepthEstimation:
    """A metric network of the same architecture, in float32 on the CPU.

    Args:
        init: As `load_depth_model` takes it; a Depth Anything network. A metric one keeps its last
            layer too, under ``decoder``: its maps are then scaled to the new ``max_depth``.
        max_depth: What the sigmoid is multiplied by, metres; transformers takes a whole number.
        size: Side of the square training images, pixels.
        taken_over: See the module.
        seed: Of every random weight; the same seed gives the same network.

    Raises:
        CheckpointError: No such network, or of another architecture.
        ValueError: ``size`` is no multiple of the patch, or a value makes no sense.
    """
    if taken_over not in TAKEN_OVER:
        raise ValueError(f"taken_over must be {' or '.join(TAKEN_OVER)}, not {taken_over!r}")
    if max_depth < 1:
        raise ValueError(f"max_depth must be at least 1 metre, not {max_depth}")
    relative, _ = _load(init)
    if size % relative.config.patch_size:
        raise ValueError(f"size must be a multiple of {relative.config.patch_size}, not {size}")
    config = copy.deepcopy(relative.config)
    config.depth_estimation_type, config.max_depth = "metric", max_depth
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = DepthAnythingForDepthEstimation(config)
        _initialise_head_(network)
    was_metric = relative.config.depth_estimation_type == "metric"
    if taken_over == "encoder":
        network.backbone.load_state_dict(relative.backbone.state_dict())
    elif was_metric:
        network.load_state_dict(relative.state_dict())
    else:
        _take_all_but_last_layer_(network, relative)
    keep_output_float32_(network)
    return network


def _load(reference: str) -> tuple[DepthAnythingForDepthEstimation, str]:
    loaded = load_network(reference)
    if not isinstance(loaded.network, DepthAnythingForDepthEstimation):
        raise CheckpointError(
            f"{reference}: is of the family {loaded.family.name}; a metric model starts from a "
            "Depth Anything network"
        )
    return loaded.network, loaded.sha256


def _initialise_head_(network: DepthAnythingForDepthEstimation) -> None:
    """Torch's own initialisation, which the original head has; that of transformers is another."""
    for part in (network.neck, network.head):
        for module in part.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                module.reset_parameters()


def _take_all_but_last_layer_(
    network: DepthAnythingForDepthEstimation, relative: DepthAnythingForDepthEstimation
) -> None:
    taken = {
        name: value
        for name, value in relative.state_dict().items()
        if not name.startswith(_LAST_LAYER)
    }
    left = network.load_state_dict(taken, strict=False)
    assert all(name.startswith(_LAST_LAYER) for name in left.missing_keys), left
    assert not left.unexpected_keys, left
    nn.init.zeros_(network.head.conv3.weight)
    nn.init.zeros_(network.head.conv3.bias)
