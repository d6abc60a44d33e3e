"""The network that is trained, teacher and student alike: DINOv2 encoder and DPT head.

The final encoder features come out of the same forward pass as the map, for the feature alignment
loss (arXiv:2401.10891, §3.3). B images, N patch tokens in row-major order, C channels.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from transformers import DepthAnythingForDepthEstimation, Dinov2Backbone

from model.architectures import Blocks, depth_anything_config, head_blocks, head_size
from model.depth_model import save_depth_model
from model.encoders import SCRATCH, Encoder, load_encoder
from model.encoding import call, compiled_call, encode
from model.loading import is_unused
from model.precision import keep_output_float32_


class DepthOutput(NamedTuple):
    """What one forward pass gives.

    Attributes:
        map_BHW: float32, as large as the images: disparity, at least 0, up to scale and shift, or
            depth in metres where the network is a metric one.
        features_BNC: Patch tokens after the encoder's last block and layer norm, no class token.
    """

    map_BHW: Tensor
    features_BNC: Tensor


def build_network(
    encoder: str, *, size: int, seed: int = 0, variant: Blocks = "v1"
) -> DepthAnythingForDepthEstimation:
    """Depth Anything with that encoder and a new head, in float32 on the CPU.

    Args:
        encoder: As `load_encoder` takes it.
        size: Side of the square training images, pixels.
        seed: Of every random weight; the same seed gives the same network.
        variant: Blocks that feed the head: ``v1`` the last four, ``v2`` spread evenly.

    Raises:
        CheckpointError: No such encoder.
        ValueError: ``size`` is not a multiple of the encoder's patch.
    """
    loaded = load_encoder(encoder, image_size=size, seed=seed)
    if size % loaded.spec.patch:
        raise ValueError(f"size must be a multiple of {loaded.spec.patch}, not {size}")
    config = depth_anything_config(
        loaded.network.config,
        head_size(loaded.spec.hidden),
        out_indices=head_blocks(loaded.spec.layers, variant),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = DepthAnythingForDepthEstimation(config)
        _initialise_head_(network)
    network.backbone.load_state_dict(loaded.network.state_dict())
    keep_output_float32_(network)
    return network


class TrainableDepth(nn.Module):
    """A Depth Anything network that also hands out its features.

    Parameters that no forward pass reads are frozen: gradients that never come would stop
    distributed training, and an optimiser would let them decay.

    Args:
        network: Trained in place; called directly it is what it was.
        recompute: Compute the encoder's activations again in the backward pass instead of keeping
            them: a third more work in the encoder, and memory for one block instead of all. The
            gradients are the same.
    """

    def __init__(
        self, network: DepthAnythingForDepthEstimation, *, recompute: bool = False
    ) -> None:
        super().__init__()
        last = network.config.backbone_config.num_hidden_layers
        if max(network.config.backbone_config.out_indices) != last:
            raise ValueError(f"the head must read the encoder's last block, {last}")
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(not is_unused(name))
        self.network = network
        self.recompute = recompute
        self.run = call

    def forward(self, pixels_B3HW: Tensor) -> DepthOutput:
        """Normalised images, sides multiples of the patch, to disparity and features."""
        network, run = self.network, self.run
        features = encode(
            network.backbone,
            pixels_B3HW,
            network.config.backbone_config.out_indices,
            run=run,
            recompute=self.recompute,
        )
        patch = network.config.patch_size
        rows, columns = pixels_B3HW.shape[2] // patch, pixels_B3HW.shape[3] // patch
        maps = run(network.neck, features, rows, columns)
        return DepthOutput(run(network.head, maps, rows, columns), features[-1][:, 1:])

    def save(self, folder: Path, *, side: int) -> None:
        """Write the network in Hugging Face format; see `save_depth_model`."""
        save_depth_model(self.network, folder, side=side)


class FrozenEncoder(nn.Module):
    """The encoder that training started from, unchanged: what features are held to."""

    def __init__(self, network: Dinov2Backbone) -> None:
        super().__init__()
        self.network = network.requires_grad_(False)
        self.run = call
        self.train(False)

    @classmethod
    def of(cls, encoder: Encoder) -> "FrozenEncoder | None":
        """That encoder, frozen; None for random weights, which mean nothing."""
        return cls(encoder.network) if encoder.spec.pretrained else None

    @classmethod
    def load(cls, reference: str) -> "FrozenEncoder | None":
        """The encoder of that reference, as `load_encoder` takes it; None for random weights."""
        if reference.startswith(SCRATCH):
            return None
        return cls.of(load_encoder(reference))

    @torch.no_grad()
    def forward(self, pixels_B3HW: Tensor) -> Tensor:
        """Features B x N x C of normalised images, as `TrainableDepth` gives them."""
        last = self.network.config.num_hidden_layers
        (tokens,) = encode(self.network, pixels_B3HW, [last], run=self.run)
        return tokens[:, 1:]

    def train(self, mode: bool = True) -> "FrozenEncoder":
        """Stay in evaluation mode."""
        return super().train(False)


def compile_(module: nn.Module, *, backend: str | Callable[..., Any] = "inductor") -> None:
    """Let every part of a `TrainableDepth` or `FrozenEncoder` run compiled, from its next pass on.

    Nothing is compiled until then; each shape of images costs a compilation, which training, with
    its one shape, pays once. The module may be wrapped for distributed training already.

    Raises:
        ValueError: For any other module.
    """
    inner = module.module if isinstance(module, DistributedDataParallel) else module
    if not isinstance(inner, TrainableDepth | FrozenEncoder):
        raise ValueError(f"{type(inner).__name__} has no parts to compile")
    inner.run = compiled_call(backend)


def _initialise_head_(network: DepthAnythingForDepthEstimation) -> None:
    """Torch's own initialisation, which the original head has, and a map that begins above 0.

    transformers draws every weight with a deviation of 0.02 and zeroes the biases. The last layer
    is followed by a ReLU: begun below 0 everywhere, a map would have no gradient, ever. The loss
    does not see a shift, so a bias of 1 costs nothing.
    """
    for part in (network.neck, network.head):
        for module in part.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                module.reset_parameters()
    nn.init.ones_(network.head.conv3.bias)
