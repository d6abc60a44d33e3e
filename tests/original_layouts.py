"""Names and shapes in the files that the authors of DINOv2 and Depth Anything published."""

import math

from model.architectures import EncoderSize, HeadSize

Shapes = dict[str, tuple[int, ...]]


def plain_shapes(c: int) -> Shapes:
    return {
        "mlp.fc1.weight": (4 * c, c),
        "mlp.fc1.bias": (4 * c,),
        "mlp.fc2.weight": (c, 4 * c),
        "mlp.fc2.bias": (c,),
    }


def gated_shapes(c: int) -> Shapes:
    """Two thirds of four times the width, rounded up to eights; 4096 for the giant's 1536."""
    inner = 8 * math.ceil(int(8 * c / 3) / 8)
    return {
        "mlp.w12.weight": (2 * inner, c),
        "mlp.w12.bias": (2 * inner,),
        "mlp.w3.weight": (c, inner),
        "mlp.w3.bias": (c,),
    }


def encoder_shapes(size: EncoderSize, patches: int) -> Shapes:
    """Names and shapes of ``dinov2_vit*14_pretrain.pth`` (facts of the published layout)."""
    c = size.hidden
    shapes: Shapes = {
        "cls_token": (1, 1, c),
        "pos_embed": (1, 1 + patches * patches, c),
        "mask_token": (1, c),
        "patch_embed.proj.weight": (c, 3, 14, 14),
        "patch_embed.proj.bias": (c,),
        "norm.weight": (c,),
        "norm.bias": (c,),
    }
    for i in range(size.layers):
        block: Shapes = {
            "norm1.weight": (c,),
            "norm1.bias": (c,),
            "attn.qkv.weight": (3 * c, c),
            "attn.qkv.bias": (3 * c,),
            "attn.proj.weight": (c, c),
            "attn.proj.bias": (c,),
            "ls1.gamma": (c,),
            "norm2.weight": (c,),
            "norm2.bias": (c,),
            **(gated_shapes(c) if size.swiglu else plain_shapes(c)),
            "ls2.gamma": (c,),
        }
        shapes |= {f"blocks.{i}.{name}": shape for name, shape in block.items()}
    return shapes


def depth_shapes(size: EncoderSize, head: HeadSize, patches: int = 37) -> Shapes:
    """Names and shapes of ``depth_anything_vit*14.pth`` and ``depth_anything_v2_vit*.pth``."""
    shapes: Shapes = {f"pretrained.{k}": v for k, v in encoder_shapes(size, patches).items()}
    out, f = head.out_channels, head.features
    decoder: Shapes = {}
    for i in range(4):
        decoder |= {
            f"projects.{i}.weight": (out[i], size.hidden, 1, 1),
            f"projects.{i}.bias": (out[i],),
        }
        decoder[f"scratch.layer{i + 1}_rn.weight"] = (f, out[i], 3, 3)
        for unit in ("resConfUnit1", "resConfUnit2"):
            for conv in ("conv1", "conv2"):
                decoder[f"scratch.refinenet{i + 1}.{unit}.{conv}.weight"] = (f, f, 3, 3)
                decoder[f"scratch.refinenet{i + 1}.{unit}.{conv}.bias"] = (f,)
        decoder[f"scratch.refinenet{i + 1}.out_conv.weight"] = (f, f, 1, 1)
        decoder[f"scratch.refinenet{i + 1}.out_conv.bias"] = (f,)
    for i, kernel in ((0, 4), (1, 2), (3, 3)):
        decoder[f"resize_layers.{i}.weight"] = (out[i], out[i], kernel, kernel)
        decoder[f"resize_layers.{i}.bias"] = (out[i],)
    decoder |= {
        "scratch.output_conv1.weight": (f // 2, f, 3, 3),
        "scratch.output_conv1.bias": (f // 2,),
        "scratch.output_conv2.0.weight": (32, f // 2, 3, 3),
        "scratch.output_conv2.0.bias": (32,),
        "scratch.output_conv2.2.weight": (1, 32, 1, 1),
        "scratch.output_conv2.2.bias": (1,),
    }
    return shapes | {f"depth_head.{k}": v for k, v in decoder.items()}
