"""A SegFormer that is right about one thing: what is clearly blue is sky."""

import json
from pathlib import Path

import numpy as np
import torch
from transformers import SegformerConfig, SegformerForSemanticSegmentation

from model.loading import quiet_transformers

SIDE = 64
THRESHOLD = 0.25  # blue above the mean of red and green, of colours in 0..1
LABELS = ("wall", "sky", "tree")
SKY_IF_BLUE = torch.tensor([1.0, -1.0])


def save_blue_sky_segmenter(folder: Path) -> Path:
    """Write it in the format of the hub.

    The first convolution computes how blue a patch is, b, and -b; a layer norm of two numbers is
    their sign; every block adds nothing; the head says sky where the sign is positive.
    """
    config = SegformerConfig(
        num_encoder_blocks=4,
        depths=[1, 1, 1, 1],
        hidden_sizes=[2, 2, 2, 2],
        num_attention_heads=[1, 1, 1, 1],
        sr_ratios=[8, 4, 2, 1],
        decoder_hidden_size=2,
        id2label=dict(enumerate(LABELS)),
        label2id={name: number for number, name in enumerate(LABELS)},
    )
    network = SegformerForSemanticSegmentation(config).eval()
    weights = {name: torch.zeros_like(value) for name, value in network.state_dict().items()}
    for name in weights:
        if "norm" in name and name.endswith((".weight", "running_var")):
            weights[name] += 1
    blueness = torch.zeros(3, 7, 7)
    blueness[:, 3:, 3:] = torch.tensor([-0.5, -0.5, 1.0])[:, None, None] / 16  # 4 x 4 of its own
    patches = "segformer.stages.0.patch_embeddings.proj"
    weights[f"{patches}.weight"] = torch.stack([blueness, -blueness])
    weights[f"{patches}.bias"] = torch.tensor([-THRESHOLD, THRESHOLD])
    weights["decode_head.linear_projections.0.proj.weight"] = torch.eye(2)
    weights["decode_head.linear_fuse.weight"][:, 6:, 0, 0] = torch.eye(2)  # deepest stage first
    weights["decode_head.classifier.weight"][LABELS.index("sky"), :, 0, 0] = SKY_IF_BLUE
    network.load_state_dict(weights)
    with quiet_transformers():
        network.save_pretrained(folder)
    write_processor(folder, image_mean=[0, 0, 0], image_std=[1, 1, 1])
    return folder


def write_processor(folder: Path, **changes: object) -> None:
    """A preprocessor_config.json as SegFormer checkpoints of the hub have it."""
    content = {
        "image_processor_type": "SegformerFeatureExtractor",
        "do_resize": True,
        "do_rescale": True,
        "do_normalize": True,
        "do_reduce_labels": True,
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
        "resample": 2,
        "size": {"height": SIDE, "width": SIDE},
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(content | changes))


def picture_with_sky(height: int, width: int, *, share: float = 0.5) -> np.ndarray:
    """Grey below, and blue above to that share of the height: uint8 H x W x 3."""
    pixels = np.full((height, width, 3), 90, np.uint8)
    pixels[: round(share * height)] = (60, 80, 240)
    return pixels
