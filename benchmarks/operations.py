"""Floating point operations: what a network needs, and what a device can do at most.

Share of peak is the one over the other; it says how far a forward pass is from what no code for
this device could beat.
"""

from model.architectures import (
    ENCODER_SIZES,
    depth_anything_config,
    dinov2_config,
    head_blocks,
    head_size,
)
from model.flops import encoder_flops, head_flops, matmul_flops


def operations(scale: str, height: int, width: int) -> float:
    """Floating point operations of Depth Anything for one image: 1.30e12 for ViT-L at 518 x 518."""
    size = ENCODER_SIZES[scale]
    config = depth_anything_config(
        dinov2_config(size, image_side=518),
        head_size(size.hidden),
        out_indices=head_blocks(size.layers, "v1"),
    )
    encoder = encoder_flops(config.backbone_config, height, width)
    return encoder + head_flops(config, height, width)


def matrix_product_peak(device: str, precision: str) -> float:
    """Operations per second of a large square matrix product, the best of a few."""
    return matmul_flops(device, precision, side=8192 if device.startswith("cuda") else 2048)
