"""What each family of depth networks puts out, and how it wants its images.

The only place that knows one architecture of transformers from another. Sizes and statistics come
from a checkpoint's preprocessor_config.json where it has one. For Depth Anything the *rule* never
does: the processor of transformers picks other sizes than the authors (see `model.preprocessing`).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from model.errors import CheckpointError
from model.preprocessing import IMAGE_MEAN, IMAGE_STD, Preprocessing

Triple = tuple[float, float, float]

_HALF: Triple = (0.5, 0.5, 0.5)  # statistics of MiDaS, ZoeDepth and Depth Pro
_LARGEST_SIDE = 8192
# Backbones that transformers builds DPT with and whose published weights are MiDaS's. DPT over
# DINOv2 is left out: what is published of it predicts metres, and the configuration does not say.
_DPT_BACKBONES = ("beit", "bit", "swinv2")


def _predicted_depth(output: Any) -> Tensor:
    depth_BHW: Tensor = output.predicted_depth.float()
    return depth_BHW


@dataclass(frozen=True, slots=True)
class Family:
    """A family of networks, as one checkpoint configures it.

    Attributes:
        geometry: Of the output.
        any_side: Whether another side than the preprocessing's may be asked for.
        one_by_one: Whether images of a batch influence each other, and so must come alone.
        read: The map B x H x W from what the network returns, float32.
        last: Name of the module that makes the map, where it is no convolution to one channel.
    """

    name: str
    geometry: str
    preprocessing: Preprocessing
    any_side: bool = True
    one_by_one: bool = False
    read: Callable[[Any], Tensor] = _predicted_depth
    last: str | None = None


def check_model_type(model_type: str, name: str) -> None:
    """Refuse what is no depth model before anything is loaded.

    Raises:
        CheckpointError: The message says what is supported.
    """
    if model_type in _REFUSED:
        raise CheckpointError(f"{name}: {_REFUSED[model_type]}")
    if model_type not in _FAMILIES:
        raise CheckpointError(
            f"{name}: model type {model_type!r} is not a depth model that is known here: "
            f"{', '.join(_FAMILIES)}"
        )


def is_depth_model(model_type: str) -> bool:
    """Whether that is a depth model that is known here."""
    return model_type in _FAMILIES


def family_of(config: Any, processor: Mapping[str, Any], *, name: str) -> Family:
    """The family of a network, from its transformers configuration and its processor's JSON.

    Raises:
        CheckpointError: A configuration that is not supported.
    """
    check_model_type(config.model_type, name)
    if config.model_type == "dpt" and _backbone(config) not in (None, *_DPT_BACKBONES):
        raise CheckpointError(
            f"{name}: DPT over {_backbone(config)} is not known to predict disparity: not taken"
        )
    if processor.get("do_rescale") is False:
        raise CheckpointError(f"{name}: preprocessor_config.json does not scale images to 0..1")
    try:
        return _FAMILIES[config.model_type](config, processor)
    except (TypeError, ValueError, KeyError) as error:
        raise CheckpointError(f"{name}: preprocessor_config.json: {error}") from error


def _depth_anything(config: Any, processor: Mapping[str, Any]) -> Family:
    """Relative: ReLU, disparity up to scale and shift. Metric: sigmoid x max_depth, metres."""
    backbone_side = int(config.backbone_config.image_size)
    side, wide = _box(processor, (backbone_side, backbone_side))
    if side != wide:
        raise ValueError(f"size must be square, not {side} x {wide}")
    metric = config.depth_estimation_type == "metric"
    mean, std = _statistics(processor, IMAGE_MEAN, IMAGE_STD)
    return Family(
        "depth_anything",
        "depth_metric" if metric else "disparity_affine_invariant",
        Preprocessing(side, int(config.patch_size), "lower_bound", mean, std),
    )


def _dpt(config: Any, processor: Mapping[str, Any]) -> Family:
    """MiDaS 3 and 3.1: disparity up to scale and shift.

    Without a BEiT backbone the network of transformers takes square images only: it reshapes
    tokens to the square root of their number (``modeling_dpt.py``, DPTReassembleStage).
    """
    backbone = _backbone(config)
    sized = config.backbone_config if backbone in ("beit", "swinv2") else config
    side, wide = _box(processor, _pair(sized.image_size or 384))
    keeps_aspect = backbone == "beit" and bool(processor.get("keep_aspect_ratio"))
    mean, std = _statistics(processor, _HALF, _HALF)
    return Family(
        "dpt",
        "disparity_affine_invariant",
        Preprocessing(side, 32, "minimal" if keeps_aspect else "stretch", mean, std, wide),
        any_side=backbone in (None, "beit"),
    )


def _zoedepth(config: Any, processor: Mapping[str, Any]) -> Family:
    """Metres. Images are mirrored outwards first and the maps cut, unless ``do_pad`` says no.

    With two heads (indoors, outdoors) the network takes one for the whole batch, by the sum of the
    votes (``modeling_zoedepth.py``, ``domain_logits.sum(dim=0)``): images must come alone, or their
    neighbours would decide.
    """
    side, wide = _box(processor, (384, 512))
    keeps_aspect = processor.get("keep_aspect_ratio", True)
    mean, std = _statistics(processor, _HALF, _HALF)
    return Family(
        "zoedepth",
        "depth_metric",
        Preprocessing(
            side,
            32,
            "minimal" if keeps_aspect else "stretch",
            mean,
            std,
            wide,
            "linear_corners",
            padded=bool(processor.get("do_pad", True)),
        ),
        one_by_one=len(config.bin_configurations) > 1,
    )


def _depth_pro(config: Any, processor: Mapping[str, Any]) -> Family:
    """Disparity in 1 / metres where the field of view is predicted too, else up to a factor.

    ``predicted_depth`` is *canonical inverse depth*. ``post_process_depth_estimation`` of
    transformers 5.23 (``image_processing_depth_pro.py`` lines 101-112) multiplies it by width /
    focal length, with focal length = width / (2 tan(fov / 2)), and inverts it at the very end:
    1 / metres = canonical x 2 tan(fov / 2), whatever the width.
    """
    own = round(int(config.patch_size) / min(config.scaled_images_ratios))
    side, wide = _box(processor, (own, own))
    if side != wide:
        raise ValueError(f"size must be square, not {side} x {wide}")
    mean, std = _statistics(processor, _HALF, _HALF)
    return Family(
        "depth_pro",
        "disparity_metric" if config.use_fov_model else "disparity_affine_invariant",
        Preprocessing(side, 1, "stretch", mean, std, filter="linear"),
        any_side=False,
        read=_canonical_to_metric if config.use_fov_model else _predicted_depth,
    )


def _canonical_to_metric(output: Any) -> Tensor:
    field_of_view_B = torch.deg2rad(output.field_of_view.float())
    width_per_focal_B = 2 * torch.tan(field_of_view_B / 2)
    metric_BHW: Tensor = output.predicted_depth.float() * width_per_focal_B[:, None, None]
    return metric_BHW


def _glpn(config: Any, processor: Mapping[str, Any]) -> Family:
    """Metres. The image's own size, unless it is far larger than anything the network has seen.

    No statistics: the processor of transformers scales to 0..1 and no further.
    """
    multiple = int(processor.get("size_divisor", 32))
    if multiple < 1:
        raise ValueError(f"size_divisor must be at least 1, not {multiple}")
    zero, one = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    return Family(
        "glpn",
        "depth_metric",
        Preprocessing(1024, multiple, "own_size", zero, one, filter="linear"),
    )


def _tipsv2(config: Any, processor: Mapping[str, Any]) -> Family:
    """Metres, from bins up to ``max_depth``. A square; scaled to 0..1 and no further."""
    backbone_side = config.backbone_config.image_size
    side, wide = _box(processor, _pair(backbone_side))
    zero, one = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    mean, std = (
        (zero, one) if "do_normalize" not in processor else _statistics(processor, zero, one)
    )
    multiple, _ = _pair(config.backbone_config.patch_size)
    return Family(
        "tipsv2_dpt",
        "depth_metric",
        Preprocessing(side, multiple, "stretch", mean, std, wide, "linear_smooth"),
        last="bin_regressor",
    )


_FAMILIES: dict[str, Callable[[Any, Mapping[str, Any]], Family]] = {
    "depth_anything": _depth_anything,
    "dpt": _dpt,
    "zoedepth": _zoedepth,
    "depth_pro": _depth_pro,
    "glpn": _glpn,
    "tipsv2_dpt": _tipsv2,
}
_REFUSED = {
    "prompt_depth_anything": "Prompt Depth Anything needs a lidar map beside each image",
    "chmv2": "CHMv2 predicts how high trees stand in a picture from above, no depth from a camera",
    "dinov2": "this is an encoder without a depth head; train one, or name a depth model",
}


def _backbone(config: Any) -> str | None:
    """Model type of the backbone; None where the network has none of its own."""
    return None if config.backbone_config is None else config.backbone_config.model_type


def _box(processor: Mapping[str, Any], default: tuple[int, int]) -> tuple[int, int]:
    """Height and width that the processor asks for."""
    size = processor.get("size", default)
    if isinstance(size, Mapping):
        edge = size.get("shortest_edge")
        size = (size["height"], size["width"]) if edge is None else edge
    height, width = _pair(size)
    if not 1 <= height <= _LARGEST_SIDE or not 1 <= width <= _LARGEST_SIDE:
        raise ValueError(f"size must be 1 to {_LARGEST_SIDE} pixels, not {height} x {width}")
    return height, width


def _pair(size: Any) -> tuple[int, int]:
    height, width = (size, size) if isinstance(size, int) else size
    return int(height), int(width)


def _statistics(processor: Mapping[str, Any], mean: Triple, std: Triple) -> tuple[Triple, Triple]:
    """Mean and standard deviation, from the processor where it says them."""
    if processor.get("do_normalize") is False:
        return (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    means, stds = (
        _triple(processor.get(key) or default)
        for key, default in (("image_mean", mean), ("image_std", std))
    )
    if min(stds) <= 0:
        raise ValueError(f"image_std must be positive, not {stds}")
    return means, stds


def _triple(values: Any) -> Triple:
    red, green, blue = map(float, values)
    if not all(map(math.isfinite, (red, green, blue))):
        raise ValueError(f"three finite numbers expected, got {values}")
    return red, green, blue
