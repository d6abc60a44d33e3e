"""The shapes of Depth Anything and DINOv2 networks, stated once.

Sources of the figures: LiheYoung/Depth-Anything @1d03336 (``dpt.py``, README) and
DepthAnything/Depth-Anything-V2 @a561b84 (``dpt.py``, ``run.py``, ``dinov2.py``).
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from transformers import DepthAnythingConfig, Dinov2Config

Blocks = Literal["v1", "v2"]

PATCH = 14
NATIVE_SIDE = 518  # 37 x 37 patches: the images that DINOv2's position table was made for


@dataclass(frozen=True, slots=True)
class EncoderSize:
    """A plain vision transformer, patches of 14 pixels.

    Attributes:
        swiglu: Whether its feed-forward layers are gated (giant), not plain (all others).
    """

    hidden: int
    layers: int
    heads: int
    swiglu: bool = False


@dataclass(frozen=True, slots=True)
class HeadSize:
    """A DPT head.

    Attributes:
        out_channels: Of the four reassembled maps, finest first.
        features: Of the fused maps.
        last_features: Before the single output channel.
    """

    out_channels: tuple[int, int, int, int]
    features: int
    last_features: int = 32


# `tiny` is for laptops and tests, 1.5 M parameters with its head; nobody publishes such weights.
ENCODER_SIZES = {
    "tiny": EncoderSize(hidden=128, layers=6, heads=4),
    "s": EncoderSize(hidden=384, layers=12, heads=6),
    "b": EncoderSize(hidden=768, layers=12, heads=12),
    "l": EncoderSize(hidden=1024, layers=24, heads=16),
}

# An encoder to start from; nobody begins with 1.1 billion random weights.
GIANT = EncoderSize(hidden=1536, layers=40, heads=24, swiglu=True)

_HEAD_SIZES = {
    384: HeadSize((48, 96, 192, 384), features=64),
    768: HeadSize((96, 192, 384, 768), features=128),
    1024: HeadSize((256, 512, 1024, 1024), features=256),
    1536: HeadSize((1536, 1536, 1536, 1536), features=384),
}

# Blocks that feed the head, counted from 1. V2 of 24 layers is not evenly spaced: 5, not 6.
_SPREAD = {12: (3, 6, 9, 12), 24: (5, 12, 18, 24), 40: (10, 20, 30, 40)}


def head_size(hidden: int) -> HeadSize:
    """The published head for an encoder of that width; for other widths the rule of S and B."""
    if hidden in _HEAD_SIZES:
        return _HEAD_SIZES[hidden]
    quarter = max(1, hidden // 8)
    features = 8 * max(1, hidden // 48)
    return HeadSize((quarter, 2 * quarter, 4 * quarter, 8 * quarter), features, last_features=16)


def head_blocks(layers: int, blocks: Blocks) -> tuple[int, ...]:
    """Which blocks feed the head, counted from 1: the last four (v1) or spread evenly (v2).

    Raises:
        ValueError: Fewer than four blocks, or no such choice.
    """
    if layers < 4:
        raise ValueError(f"the head needs four blocks, the encoder has {layers}")
    if blocks == "v1":
        return tuple(range(layers - 3, layers + 1))
    if blocks == "v2":
        return _SPREAD.get(layers) or tuple((layers * k + 3) // 4 for k in (1, 2, 3, 4))
    raise ValueError(f"blocks must be v1 or v2, not {blocks!r}")


def dinov2_config(size: EncoderSize, *, image_side: int) -> Dinov2Config:
    """A DINOv2 backbone whose position table is made for square images of that side, pixels."""
    return Dinov2Config(
        hidden_size=size.hidden,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        use_swiglu_ffn=size.swiglu,
        patch_size=PATCH,
        image_size=image_side,
        out_indices=[size.layers],
        apply_layernorm=True,
        reshape_hidden_states=False,
    )


def depth_anything_config(
    backbone: Dinov2Config,
    head: HeadSize,
    *,
    out_indices: Sequence[int],
    max_depth: int | None = None,
) -> DepthAnythingConfig:
    """Encoder and head; with ``max_depth`` the metric head, in metres."""
    backbone = copy.deepcopy(backbone)
    backbone.out_indices = list(out_indices)
    return DepthAnythingConfig(
        backbone_config=backbone,
        patch_size=backbone.patch_size,
        reassemble_hidden_size=backbone.hidden_size,
        neck_hidden_sizes=list(head.out_channels),
        fusion_hidden_size=head.features,
        head_hidden_size=head.last_features,
        depth_estimation_type="relative" if max_depth is None else "metric",
        max_depth=max_depth or 1,
    )
