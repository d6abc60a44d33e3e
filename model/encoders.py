"""DINOv2 encoders: what depth networks are initialised with.

A reference is a Hugging Face id or directory of DINOv2, an original file with its size
(``FILE.pth#dinov2-s``, also b, l and g), or ``scratch:tiny``, ``scratch:s``, ``scratch:b`` or
``scratch:l`` for random weights. `scratch:tiny` trains in minutes on a CPU, at 112 to 140 pixels.
"""

from dataclasses import dataclass
from typing import Any

import torch
from transformers import Dinov2Backbone

from model.architectures import ENCODER_SIZES, NATIVE_SIDE, EncoderSize, dinov2_config
from model.checkpoint_files import ModelFolder, OriginalFile, find_checkpoint
from model.errors import NOT_FROM_A_DEPTH_MODEL, CheckpointError
from model.families import is_depth_model
from model.loading import load_whole
from model.original_weights import (
    ENCODER_VARIANTS,
    WITH_REGISTERS,
    encoder_variant,
    import_dinov2,
    is_depth_variant,
    read_original,
)

SCRATCH = "scratch:"


@dataclass(frozen=True, slots=True)
class EncoderSpec:
    """What an encoder is.

    Attributes:
        hidden: Width of its tokens.
        patch: Side of a patch, pixels.
        image_side: Side of the square images its position table was made for, pixels. Other
            sizes interpolate the table.
        pretrained: False for random weights: there is nothing to align features with.
    """

    reference: str
    hidden: int
    layers: int
    patch: int
    image_side: int
    pretrained: bool


@dataclass(frozen=True, slots=True)
class Encoder:
    """A DINOv2 network, in float32 on the CPU, and what it is."""

    network: Dinov2Backbone
    spec: EncoderSpec


def load_encoder(reference: str, *, image_size: int | None = None, seed: int = 0) -> Encoder:
    """Load an encoder, or make one.

    Args:
        reference: See the module.
        image_size: Side of square training images, pixels: what the position table of a scratch
            encoder is made for (default 518). Pretrained ones keep their own table.
        seed: Of the random weights; the same seed gives the same weights, and no other random
            numbers are disturbed.

    Raises:
        CheckpointError: No such encoder, or one that is not taken.
    """
    if reference.startswith(SCRATCH):
        network = _scratch(_scratch_size(reference), image_size or NATIVE_SIDE, seed)
        return Encoder(network, _spec(reference, network, pretrained=False))
    files = find_checkpoint(reference, variants=ENCODER_VARIANTS)
    if isinstance(files, OriginalFile):
        if is_depth_variant(files.variant):
            raise CheckpointError(f"{reference}: {NOT_FROM_A_DEPTH_MODEL}")
        size = encoder_variant(files.variant)
        network = import_dinov2(read_original(files.path), size, name=reference)
    else:
        network = _load_folder(files)
    return Encoder(network, _spec(reference, network, pretrained=True))


def check_encoder(reference: str) -> None:
    """Refuse a reference that `load_encoder` would refuse; a driver calls it before workers start.

    Raises:
        CheckpointError: As there.
    """
    if reference.startswith(SCRATCH):
        _scratch_size(reference)
    else:
        load_encoder(reference)


def _scratch_size(reference: str) -> EncoderSize:
    name = reference.removeprefix(SCRATCH)
    if name not in ENCODER_SIZES:
        known = ", ".join(SCRATCH + size for size in ENCODER_SIZES)
        raise CheckpointError(f"no encoder {reference!r}: {known}")
    return ENCODER_SIZES[name]


def _scratch(size: EncoderSize, image_side: int, seed: int) -> Dinov2Backbone:
    config = dinov2_config(size, image_side=image_side)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Dinov2Backbone(config)


def _load_folder(files: ModelFolder) -> Dinov2Backbone:
    if files.model_type == "dinov2_with_registers":
        raise CheckpointError(f"{files.name}: {WITH_REGISTERS}")
    if is_depth_model(files.model_type):
        raise CheckpointError(f"{files.name}: {NOT_FROM_A_DEPTH_MODEL}")
    if files.model_type != "dinov2":
        raise CheckpointError(
            f"{files.name}: model type {files.model_type!r} is not an encoder that is known here: "
            "dinov2"
        )
    network: Dinov2Backbone = load_whole(
        Dinov2Backbone,
        files,
        extra=r"^classifier\.",
        apply_layernorm=True,
        reshape_hidden_states=False,
    )
    network.config.out_indices = [network.config.num_hidden_layers]
    return network.eval()


def _spec(reference: str, network: Dinov2Backbone, *, pretrained: bool) -> EncoderSpec:
    config: Any = network.config
    return EncoderSpec(
        reference=reference,
        hidden=config.hidden_size,
        layers=config.num_hidden_layers,
        patch=config.patch_size,
        image_side=config.image_size,
        pretrained=pretrained,
    )
