"""Original Depth Anything and DINOv2 files into transformers networks.

V1 and V2 files have the same keys and the same shapes; they differ in which blocks feed the head.
Nothing inside a file says which it is, so the reference must: ``FILE.pth#v1-s``. The metric models
of V2 share the keys too and are told from the relative ones in the same way, with the depth that
their sigmoid is multiplied by: ``FILE.pth#v2-metric-l@20`` (20 indoors, 80 outdoors).

Names are mapped to those of published Hugging Face files, and ``from_pretrained`` takes them from
there: transformers renames the attention of DINOv2 in memory from 5.23 on, and has its own rules
for that. Every key must be consumed and every parameter set.
"""

import math
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import DepthAnythingForDepthEstimation, Dinov2Backbone

from model.architectures import (
    ENCODER_SIZES,
    GIANT,
    PATCH,
    Blocks,
    EncoderSize,
    HeadSize,
    depth_anything_config,
    dinov2_config,
    head_blocks,
    head_size,
)
from model.errors import CheckpointError
from model.loading import check_loaded, quiet_transformers

DEPTH_VARIANTS = "v1-s, v1-b, v1-l, v2-s, v2-b, v2-l, v2-metric-s@20 (the maximum in metres), …"
ENCODER_VARIANTS = "dinov2-s, dinov2-b, dinov2-l, dinov2-g"

WITH_REGISTERS = (
    "DINOv2 with registers is not taken: Depth Anything V2 found it much worse for depth "
    "(KITTI AbsRel .084 against .075, arXiv:2406.09414, table 13); use the weights without"
)

_ENCODER_NAMES = (
    (r"cls_token", "embeddings.cls_token"),
    (r"mask_token", "embeddings.mask_token"),
    (r"pos_embed", "embeddings.position_embeddings"),
    (r"patch_embed\.proj\.(\w+)", r"embeddings.patch_embeddings.projection.\1"),
    (r"blocks\.(\d+)\.(norm[12])\.(\w+)", r"encoder.layer.\1.\2.\3"),
    (r"blocks\.(\d+)\.attn\.proj\.(\w+)", r"encoder.layer.\1.attention.output.dense.\2"),
    (r"blocks\.(\d+)\.ls([12])\.gamma", r"encoder.layer.\1.layer_scale\2.lambda1"),
    (r"blocks\.(\d+)\.mlp\.(fc[12])\.(\w+)", r"encoder.layer.\1.mlp.\2.\3"),
    (r"blocks\.(\d+)\.mlp\.w12\.(\w+)", r"encoder.layer.\1.mlp.weights_in.\2"),
    (r"blocks\.(\d+)\.mlp\.w3\.(\w+)", r"encoder.layer.\1.mlp.weights_out.\2"),
    (r"norm\.(\w+)", r"layernorm.\1"),
)
_QKV = re.compile(r"blocks\.(\d+)\.attn\.qkv\.(\w+)")
# The original counts its fusion blocks from the finest map, transformers in the order they run.
_HEAD_NAMES = (
    (r"projects\.(\d)\.(\w+)", r"neck.reassemble_stage.layers.\1.projection.\2"),
    (r"resize_layers\.(\d)\.(\w+)", r"neck.reassemble_stage.layers.\1.resize.\2"),
    *((rf"scratch\.layer{n}_rn\.(\w+)", rf"neck.convs.{n - 1}.\1") for n in (1, 2, 3, 4)),
    *(
        (
            rf"scratch\.refinenet{n}\.out_conv\.(\w+)",
            rf"neck.fusion_stage.layers.{4 - n}.projection.\1",
        )
        for n in (1, 2, 3, 4)
    ),
    *(
        (
            rf"scratch\.refinenet{n}\.resConfUnit([12])\.conv([12])\.(\w+)",
            rf"neck.fusion_stage.layers.{4 - n}.residual_layer\1.convolution\2.\3",
        )
        for n in (1, 2, 3, 4)
    ),
    (r"scratch\.output_conv1\.(\w+)", r"head.conv1.\1"),
    (r"scratch\.output_conv2\.0\.(\w+)", r"head.conv2.\1"),
    (r"scratch\.output_conv2\.2\.(\w+)", r"head.conv3.\1"),
)


@dataclass(frozen=True, slots=True)
class DepthVariant:
    """What the keys of a Depth Anything file do not say.

    Attributes:
        max_depth: Metres that the sigmoid is multiplied by; None for a relative model.
    """

    encoder: EncoderSize
    head: HeadSize
    blocks: Blocks
    max_depth: int | None = None


def depth_variant(text: str) -> DepthVariant:
    """The variant of that name.

    Raises:
        CheckpointError: No such variant; the message lists them.
    """
    match = re.fullmatch(r"(v[12])(-metric)?-([sbl])(?:@(\d+))?", text)
    if match is None or (match[1] == "v1" and match[2]):
        raise CheckpointError(f"no variant {text!r} of Depth Anything: {DEPTH_VARIANTS}")
    if bool(match[2]) != bool(match[4]) or match[4] == "0":
        raise CheckpointError(
            f"variant {text!r}: a metric model needs its maximum in metres, as in v2-metric-s@20 "
            "(20 indoors, 80 outdoors), and a relative one has none"
        )
    size = ENCODER_SIZES[match[3]]
    blocks: Blocks = "v1" if match[1] == "v1" else "v2"
    return DepthVariant(size, head_size(size.hidden), blocks, int(match[4]) if match[4] else None)


def is_depth_variant(text: str) -> bool:
    """Whether `depth_variant` knows that name."""
    try:
        depth_variant(text)
    except CheckpointError:
        return False
    return True


def encoder_variant(text: str) -> EncoderSize:
    """The size of the DINOv2 encoder of that name.

    Raises:
        CheckpointError: No such variant; the message lists them.
    """
    match = re.fullmatch(r"dinov2-([sblg])", text)
    if match is None:
        raise CheckpointError(f"no variant {text!r} of DINOv2: {ENCODER_VARIANTS}")
    return GIANT if match[1] == "g" else ENCODER_SIZES[match[1]]


def read_original(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, by name; pickles are read as tensors only, nothing else is built.

    Training checkpoints that hold them under ``model`` or ``state_dict``, or prefix the names with
    ``module.``, are unwrapped.

    Raises:
        CheckpointError: Unreadable, or no dictionary of tensors.
    """
    try:
        if path.suffix == ".safetensors":
            content = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{path}: holds more than tensors, or none: not opened") from error
    # Damaged files fail in torch in more ways than can be listed: IndexError, struct.error, …
    except Exception as error:
        raise CheckpointError(
            f"{path}: not a readable weight file: {type(error).__name__}: {error}"
        ) from error
    for wrapper in ("model", "state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not content:
        raise CheckpointError(f"{path}: not a dictionary of tensors")
    if not all(isinstance(value, Tensor) for value in content.values()):
        raise CheckpointError(f"{path}: not a dictionary of tensors")
    return {str(name).removeprefix("module."): value for name, value in content.items()}


def import_depth_anything(
    state: Mapping[str, Tensor], variant: DepthVariant, *, name: str = "the file"
) -> DepthAnythingForDepthEstimation:
    """Depth Anything V1 or V2 from original names, in float32 on the CPU.

    Raises:
        CheckpointError: Not that variant; keys that are missing, left over or of another shape.
    """
    encoder = _part(state, "pretrained.")
    _check_size(encoder, variant.encoder, name)
    config = depth_anything_config(
        dinov2_config(variant.encoder, image_side=_image_side(encoder, name)),
        variant.head,
        out_indices=head_blocks(variant.encoder.layers, variant.blocks),
        max_depth=variant.max_depth,
    )
    head, unknown = _renamed(_part(state, "depth_head."), _HEAD_NAMES)
    backbone, unknown_encoder = _encoder_renamed(encoder)
    others = [key for key in state if not key.startswith(("pretrained.", "depth_head."))]
    others += [f"depth_head.{key}" for key in unknown]
    others += [f"pretrained.{key}" for key in unknown_encoder]
    _refuse_unknown(others, name)
    renamed = {**head, **{f"backbone.{key}": value for key, value in backbone.items()}}
    network: DepthAnythingForDepthEstimation = _filled(
        DepthAnythingForDepthEstimation, config, renamed, name
    )
    return network


def import_dinov2(
    state: Mapping[str, Tensor], size: EncoderSize, *, name: str = "the file"
) -> Dinov2Backbone:
    """A DINOv2 encoder from original names, in float32 on the CPU.

    Raises:
        CheckpointError: Not that size, with registers, or with other keys.
    """
    if "register_tokens" in state:
        raise CheckpointError(f"{name}: {WITH_REGISTERS}")
    _check_size(state, size, name)
    renamed, unknown = _encoder_renamed(state)
    _refuse_unknown(unknown, name)
    config = dinov2_config(size, image_side=_image_side(state, name))
    network: Dinov2Backbone = _filled(Dinov2Backbone, config, renamed, name)
    return network


def _filled(of_type: Any, config: Any, state: Mapping[str, Tensor], name: str) -> Any:
    """A network of one of transformers' classes with exactly those parameters."""
    with quiet_transformers():
        network, info = of_type.from_pretrained(
            None,
            config=config,
            state_dict=state,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    check_loaded(network, info, name)
    return network.eval()


def _part(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)
    }


def _encoder_renamed(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Names of transformers, and the keys that are not understood; qkv falls into three."""
    fused = {key: value for key, value in state.items() if _QKV.fullmatch(key)}
    rest = {key: value for key, value in state.items() if key not in fused}
    renamed, unknown = _renamed(rest, _ENCODER_NAMES)
    for key, value in fused.items():
        layer, kind = _QKV.fullmatch(key).groups()  # type: ignore[union-attr]  # matched above
        if value.shape[0] % 3:
            unknown.append(key)
            continue
        for word, part in zip(("query", "key", "value"), value.chunk(3), strict=True):
            renamed[f"encoder.layer.{layer}.attention.attention.{word}.{kind}"] = part
    return renamed, unknown


def _renamed(
    state: Mapping[str, Tensor], names: tuple[tuple[str, str], ...]
) -> tuple[dict[str, Tensor], list[str]]:
    renamed, unknown = {}, []
    for key, value in state.items():
        for pattern, replacement in names:
            if match := re.fullmatch(pattern, key):
                renamed[match.expand(replacement)] = value
                break
        else:
            unknown.append(key)
    return renamed, unknown


def _check_size(state: Mapping[str, Tensor], size: EncoderSize, name: str) -> None:
    token = state.get("cls_token")
    if token is None:
        raise CheckpointError(f"{name}: has no key cls_token: not the original layout")
    if token.shape[-1] != size.hidden:
        raise CheckpointError(
            f"{name}: is {token.shape[-1]} wide, the variant asked for is {size.hidden} wide"
        )


def _image_side(state: Mapping[str, Tensor], name: str) -> int:
    """Of the square images that the position table was made for, pixels."""
    table = state.get("pos_embed")
    patches = 0 if table is None or table.ndim != 3 else table.shape[1] - 1
    side = math.isqrt(patches)
    if side < 1 or side * side != patches:
        raise CheckpointError(f"{name}: has no square position table under pos_embed")
    return side * PATCH


def _refuse_unknown(keys: list[str], name: str) -> None:
    if keys:
        shown = ", ".join(sorted(keys)[:8])
        raise CheckpointError(f"{name}: {len(keys)} keys are not of this network: {shown}")
