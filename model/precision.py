"""bf16 where it costs nothing: everywhere but in the last layer.

bf16 has 8 significant bits. A map that leaves the network in it has at most 128 levels per octave,
which show as contours and make nonsense of 16-bit labels. Under autocast the last convolution would
round its output so; computed in float32 from the same bf16 activations it costs one multiply-add
per channel and pixel, and the rounding of its inputs averages out.
"""

import torch
from torch import Tensor, nn


class Float32Conv2d(nn.Conv2d):
    """A convolution that autocast leaves alone; output float32."""

    def forward(self, input: Tensor) -> Tensor:
        """As ``nn.Conv2d``, in float32 whatever the input is."""
        with torch.autocast(input.device.type, enabled=False):
            return super().forward(input.float())


def keep_output_float32_(network: nn.Module) -> None:
    """Exchange every convolution with a single output channel for one in float32, in place.

    In all families read here, those are the layers that make the map. Parameters stay the same
    objects under the same names: state dicts and optimisers do not notice.
    """
    for parent in network.modules():
        for name, child in parent.named_children():
            if type(child) is nn.Conv2d and child.out_channels == 1:
                setattr(parent, name, _in_float32(child))


def _in_float32(layer: nn.Conv2d) -> Float32Conv2d:
    exchanged = Float32Conv2d(
        layer.in_channels,
        layer.out_channels,
        kernel_size=layer.kernel_size,  # type: ignore[arg-type]  # torch annotates tuple[int, ...]
        stride=layer.stride,  # type: ignore[arg-type]
        padding=layer.padding,  # type: ignore[arg-type]
        dilation=layer.dilation,  # type: ignore[arg-type]
        groups=layer.groups,
        bias=layer.bias is not None,
        padding_mode=layer.padding_mode,
        device="meta",
    )
    exchanged.weight = layer.weight
    exchanged.bias = layer.bias
    exchanged.train(layer.training)
    return exchanged
