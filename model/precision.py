"""bf16 where it costs nothing: everywhere but in the last layer.

For inference, weights are rounded to bf16 once instead of in every pass. Autocast would round them
to the same numbers, so nothing changes but the time and half the memory: normalisation, layer
scale, position embeddings and the residual stream stay what autocast makes of them. Convolutions
also get their weights channels-last, which bf16 kernels on CPUs and GPUs like; other kernels sum in
another order, and the maps differ by less than bf16 differs from float32 anyway. In float32 they
stay as they are, as there every bit would be somebody's label.

bf16 has 8 significant bits. A map that leaves the network in it has at most 128 levels per octave,
which show as contours and make nonsense of 16-bit labels. Under autocast the last convolution would
round its output so; computed in float32 from the same bf16 activations it costs one multiply-add
per channel and pixel, and the rounding of its inputs averages out. So it does where the map is a
mean over bins.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

_ROUNDED_BY_AUTOCAST = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d)


class Float32Conv2d(nn.Conv2d):
    """A convolution that autocast leaves alone; output float32."""

    def forward(self, input: Tensor) -> Tensor:
        """As ``nn.Conv2d``, in float32 whatever the input is."""
        with torch.autocast(input.device.type, enabled=False):
            return super().forward(input.float())


class InFloat32(nn.Module):
    """A module without weights that autocast leaves alone; output float32."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, input: Tensor) -> Tensor:
        """As ``inner``, in float32 whatever the input is."""
        with torch.autocast(input.device.type, enabled=False):
            output: Tensor = self.inner(input.float())
        return output


def keep_output_float32_(network: nn.Module, *, last: str | None = None) -> None:
    """Exchange every convolution with a single output channel for one in float32, in place.

    Those are the layers that make the map, in all families but those that name another. Parameters
    stay the same objects under the same names: state dicts and optimisers do not notice.

    Args:
        network: Of any family.
        last: Name of a module without weights that makes the map, where no convolution does.
    """
    if last is not None and not isinstance(network.get_submodule(last), InFloat32):
        network.set_submodule(last, InFloat32(network.get_submodule(last)))
    for parent in network.modules():
        for name, child in parent.named_children():
            if type(child) is nn.Conv2d and child.out_channels == 1:
                setattr(parent, name, _in_float32(child))


def settle_for_bf16_(network: nn.Module) -> None:
    """Round and lay out weights once, in place: for inference under autocast with bf16."""
    round_weights_(network)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs


def round_weights_(network: nn.Module) -> None:
    """Convert the weights that autocast would convert in every pass, in place.

    Those are of linear layers and convolutions, except the ones that stay in float32. Results under
    autocast are the same to the last bit.
    """
    for layer in network.modules():
        if type(layer) in _ROUNDED_BY_AUTOCAST:
            layer.to(torch.bfloat16)


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


@contextmanager
def exact_convolutions() -> Iterator[None]:
    """What is called float32 is float32, and the same from run to run; a GPU's matter alone.

    By default cuDNN rounds the inputs and weights of float32 convolutions to TF32, 10 bits, coarser
    than a 16-bit label, and may choose an algorithm whose sums come in any order. Matrix products
    are exact by default.
    """
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        yield
