"""Every family of depth networks, tiny and with random weights, in its published format.

One table for all tests: how to build a network, what its processor's JSON says, and what is known
of the result.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers

from model.loading import quiet_transformers


def dinov2(**changes: Any) -> Any:
    return transformers.Dinov2Config(
        **{
            "hidden_size": 32,
            "num_hidden_layers": 4,
            "num_attention_heads": 2,
            "patch_size": 14,
            "image_size": 70,
            "out_indices": [1, 2, 3, 4],
            "apply_layernorm": True,
            "reshape_hidden_states": False,
            **changes,
        }
    )


def beit(**changes: Any) -> Any:
    return transformers.BeitConfig(
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=64,
        image_size=64,
        patch_size=16,
        use_relative_position_bias=True,
        reshape_hidden_states=False,
        out_features=["stage1", "stage2", "stage3", "stage4"],
        **changes,
    )


DPT_SIZES = {"neck_hidden_sizes": [8, 16, 16, 16], "fusion_hidden_size": 16}


def depth_anything(**changes: Any) -> Any:
    config = transformers.DepthAnythingConfig(
        backbone_config=dinov2(),
        reassemble_hidden_size=32,
        head_hidden_size=8,
        **DPT_SIZES,
        **changes,
    )
    return transformers.DepthAnythingForDepthEstimation(config)


def dpt() -> Any:
    return transformers.DPTForDepthEstimation(
        transformers.DPTConfig(
            hidden_size=32,
            num_hidden_layers=4,
            num_attention_heads=2,
            intermediate_size=64,
            image_size=64,
            patch_size=16,
            backbone_out_indices=[0, 1, 2, 3],
            **DPT_SIZES,
        )
    )


def dpt_beit() -> Any:
    return transformers.DPTForDepthEstimation(
        transformers.DPTConfig(backbone_config=beit(), hidden_size=32, **DPT_SIZES)
    )


def dpt_hybrid() -> Any:
    bit = transformers.BitConfig(
        embedding_size=8,
        hidden_sizes=[32, 32, 32],
        depths=[1, 1, 1],
        layer_type="bottleneck",
        global_padding="same",
        embedding_dynamic_padding=True,
        out_features=["stage1", "stage2", "stage3"],
        num_groups=4,
    )
    return transformers.DPTForDepthEstimation(
        transformers.DPTConfig(
            is_hybrid=True,
            backbone_config=bit,
            backbone_featmap_shape=[1, 32, 4, 4],
            backbone_out_indices=[0, 1, 2, 3],
            hidden_size=32,
            num_hidden_layers=4,
            num_attention_heads=2,
            intermediate_size=64,
            image_size=64,
            patch_size=16,
            neck_ignore_stages=[0, 1],
            reassemble_factors=[1, 1, 1, 0.5],
            readout_type="project",
            neck_hidden_sizes=[32, 32, 16, 16],
            fusion_hidden_size=16,
        )
    )


def dpt_swin() -> Any:
    swin = transformers.Swinv2Config(
        image_size=64,
        patch_size=4,
        embed_dim=8,
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 2, 2],
        window_size=4,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    return transformers.DPTForDepthEstimation(
        transformers.DPTConfig(
            backbone_config=swin,
            add_projection=False,
            reassemble_factors=[1, 1, 1, 1],
            hidden_size=32,
            neck_hidden_sizes=[8, 16, 32, 64],
            fusion_hidden_size=16,
        )
    )


def zoedepth(heads: int = 1) -> Any:
    bins = [
        {"name": n, "n_bins": 8, "min_depth": 1e-3, "max_depth": 10.0} for n in ("nyu", "kitti")
    ]
    return transformers.ZoeDepthForDepthEstimation(
        transformers.ZoeDepthConfig(
            backbone_config=beit(),
            bottleneck_features=16,
            num_relative_features=8,
            num_attractors=[2, 2, 1, 1],
            bin_embedding_dim=8,
            bin_configurations=bins[:heads],
            num_patch_transformer_layers=4,
            patch_transformer_hidden_size=128,
            patch_transformer_intermediate_size=16,
            patch_transformer_num_attention_heads=2,
            **DPT_SIZES,
        )
    )


def depth_pro(use_fov_model: bool = True) -> Any:
    vit = {
        "model_type": "dinov2",
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "patch_size": 8,
        "image_size": 32,
    }
    return transformers.DepthProForDepthEstimation(
        transformers.DepthProConfig(
            patch_size=32,
            fusion_hidden_size=16,
            intermediate_hook_ids=[1, 0],
            intermediate_feature_dims=[16, 16],
            scaled_images_ratios=[0.25, 0.5, 1],
            scaled_images_overlap_ratios=[0.0, 0.5, 0.25],
            scaled_images_feature_dims=[16, 16, 16],
            merge_padding_value=1,
            use_fov_model=use_fov_model,
            image_model_config=dict(vit),
            patch_model_config=dict(vit),
            fov_model_config=dict(vit),
        )
    )


def tipsv2() -> Any:
    vision = {
        "model_type": "tipsv2_vision_model",
        "hidden_size": 32,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "patch_size": 14,
        "image_size": 70,
        "out_indices": [1, 2, 3, 4],
        "apply_layernorm": True,
        "reshape_hidden_states": False,
    }
    config = transformers.AutoConfig.for_model(
        "tipsv2_dpt", backbone_config=vision, num_depth_bins=8, **DPT_SIZES
    )
    return transformers.AutoModelForDepthEstimation.from_config(config)


def glpn() -> Any:
    return transformers.GLPNForDepthEstimation(
        transformers.GLPNConfig(
            hidden_sizes=[8, 16, 16, 16],
            depths=[1, 1, 1, 1],
            num_attention_heads=[1, 1, 2, 2],
            decoder_hidden_size=8,
        )
    )


HALF = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}


@dataclass(frozen=True, slots=True)
class Tiny:
    """A family, or a kind of it.

    Attributes:
        build: A network with random weights.
        processor: Content of preprocessor_config.json.
        size: Height and width of the network's input for an image of 60 x 100.
    """

    build: Callable[[], Any]
    processor: dict[str, Any]
    geometry: str
    size: tuple[int, int]


FAMILIES = {
    "depth_anything": Tiny(
        depth_anything,
        {"size": {"height": 70, "width": 70}, "keep_aspect_ratio": True, "ensure_multiple_of": 14},
        "disparity_affine_invariant",
        (70, 112),
    ),
    "depth_anything metric": Tiny(
        lambda: depth_anything(depth_estimation_type="metric", max_depth=20),
        {"size": {"height": 70, "width": 70}},
        "depth_metric",
        (70, 112),
    ),
    "dpt": Tiny(dpt, {"size": 64, **HALF}, "disparity_affine_invariant", (64, 64)),
    "dpt hybrid": Tiny(dpt_hybrid, {"size": 64, **HALF}, "disparity_affine_invariant", (64, 64)),
    "dpt over beit": Tiny(
        dpt_beit,
        {"size": {"height": 64, "width": 64}, "keep_aspect_ratio": True, **HALF},
        "disparity_affine_invariant",
        (64, 96),
    ),
    "dpt over swinv2": Tiny(
        dpt_swin,
        {"size": {"height": 64, "width": 64}, "keep_aspect_ratio": False, **HALF},
        "disparity_affine_invariant",
        (64, 64),
    ),
    "zoedepth": Tiny(
        zoedepth,
        {"size": {"height": 64, "width": 96}, "keep_aspect_ratio": True, "do_pad": True, **HALF},
        "depth_metric",
        (64, 96),
    ),
    "zoedepth without margins": Tiny(
        zoedepth,
        {"size": {"height": 64, "width": 96}, "keep_aspect_ratio": True, "do_pad": False, **HALF},
        "depth_metric",
        (64, 96),
    ),
    "zoedepth with two heads": Tiny(
        lambda: zoedepth(heads=2),
        {"size": {"height": 64, "width": 96}, **HALF},
        "depth_metric",
        (64, 96),
    ),
    "depth_pro": Tiny(
        depth_pro,
        {"size": {"height": 128, "width": 128}, **HALF},
        "disparity_metric",
        (128, 128),
    ),
    "depth_pro without field of view": Tiny(
        lambda: depth_pro(use_fov_model=False),
        {},
        "disparity_affine_invariant",
        (128, 128),
    ),
    "glpn": Tiny(glpn, {"size_divisor": 32}, "depth_metric", (32, 96)),
    "tipsv2_dpt": Tiny(
        tipsv2,
        {"size": {"height": 70, "width": 70}, "do_normalize": False},
        "depth_metric",
        (70, 70),
    ),
}


def enliven(network: Any, *, seed: int = 0) -> Any:
    """Random weights of such a size that maps vary; the initial ones give flat or empty maps."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                deviation = (1.5 / parameter[0].numel()) ** 0.5
                parameter.normal_(0, deviation, generator=generator)
        for module in network.modules():
            if isinstance(module, torch.nn.Conv2d) and module.bias is not None:
                module.bias += 1 if module.out_channels == 1 else 0.3
    return network


def save(network: Any, folder: Path, processor: dict[str, Any] | None) -> Path:
    """As a published directory."""
    with quiet_transformers():
        network.save_pretrained(folder)
    if processor is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder


def save_family(name: str, folder: Path, *, seed: int = 0) -> Path:
    """One row of the table, as a published directory."""
    tiny = FAMILIES[name]
    return save(enliven(tiny.build(), seed=seed), folder, tiny.processor)
