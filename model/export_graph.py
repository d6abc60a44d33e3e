"""A depth network as one graph: normalised pixels in, its map out; and which sizes it then takes.

A graph is recorded once, with an example, and is right for other sizes only where nothing in it
was settled by the example's. Which sizes those are is a fact about each architecture of
transformers, written down here and checked by every export (`model.export_parity`):

- A family whose rule gives one size for all images (``stretch``: DPT, but over BEiT, Depth Pro,
  TIPSv2) is recorded for that size. Most of these networks would take no other.
- Depth Anything, GLPN, DPT over BEiT and ZoeDepth take any size that is a multiple of theirs. Depth
  Anything's head is written out again below: the one of transformers makes plain integers of the
  size of its output, and a graph that was recorded through it returns the example's size for ever.
- ZoeDepth and Depth Pro take one image at a time, the others any number.
- ZoeDepth with two heads looks at an image first and then chooses the head. A graph has one way
  through: it is refused.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from model.depth_model import LoadedNetwork
from model.errors import CheckpointError
from model.families import Family

INPUT, OUTPUT = "pixel_values", "predicted_depth"

_RECORDED = ("depth_anything", "dpt", "zoedepth", "depth_pro", "glpn", "tipsv2_dpt")
_ONE_IMAGE = ("zoedepth", "depth_pro")
_EXAMPLE_BATCH = 2  # 0 and 1 are sizes that torch.export takes for constants
_EXAMPLE_UNITS = (3, 4)  # of the multiple: height and width differ, so that they are told apart


@dataclass(frozen=True, slots=True)
class DepthGraph:
    """A network that is ready to be recorded.

    Attributes:
        module: Float32 B x 3 x H x W, normalised, to float32 B x H' x W' in the family's geometry.
        any_batch: Whether images may come in any number, or one by one.
        fixed_size: Height and width that are the only ones, pixels; None where any multiple of
            ``multiple`` will do.
        multiple: Of both sides of the input, pixels.
    """

    module: nn.Module
    any_batch: bool
    fixed_size: tuple[int, int] | None
    multiple: int

    def example(self) -> Tensor:
        """Pixels to record with: noise, always the same."""
        units_high, units_wide = _EXAMPLE_UNITS
        size = self.fixed_size or (units_high * self.multiple, units_wide * self.multiple)
        generator = torch.Generator().manual_seed(0)
        return torch.randn(_EXAMPLE_BATCH if self.any_batch else 1, 3, *size, generator=generator)


def graph_of(loaded: LoadedNetwork, *, name: str) -> DepthGraph:
    """The graph of a network, which shares its weights.

    Raises:
        CheckpointError: A family that cannot be recorded, with the reason.
    """
    family, network = loaded.family, loaded.network.eval().requires_grad_(False)
    _check_recordable(family, name)
    whole = family.name != "depth_anything"
    module = WholeNetwork(network, family.read) if whole else DepthAnythingGraph(network)
    return DepthGraph(
        module.eval(),
        any_batch=family.name not in _ONE_IMAGE,
        fixed_size=fixed_size(family),
        multiple=family.preprocessing.multiple,
    )


def fixed_size(family: Family) -> tuple[int, int] | None:
    """Height and width that every image is brought to, pixels; None where it depends on its own."""
    rule = family.preprocessing
    return rule.size_for(1, 1) if rule.rule == "stretch" else None


def _check_recordable(family: Family, name: str) -> None:
    instead = "it can be exported as hf"
    if family.name not in _RECORDED:
        raise CheckpointError(
            f"{name}: whether a graph of the family {family.name} is right is not known; {instead}"
        )
    if family.one_by_one:
        raise CheckpointError(
            f"{name}: chooses between heads by what it sees in an image, and a graph has one way "
            f"through; {instead}"
        )


class WholeNetwork(nn.Module):
    """A network as transformers has it, and what its family reads from its output."""

    def __init__(self, network: nn.Module, read: Callable[[Any], Tensor]) -> None:
        super().__init__()
        self.network = network
        self._read = read

    def forward(self, pixel_values: Tensor) -> Tensor:
        """B x 3 x H x W to B x H' x W', float32."""
        return self._read(self.network(pixel_values=pixel_values))


class DepthAnythingGraph(nn.Module):
    """``DepthAnythingForDepthEstimation`` with sizes that stay those of its input."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.backbone, self.neck, self.head = network.backbone, network.neck, network.head
        self.patch = int(network.config.patch_size)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """B x 3 x H x W to B x H x W, float32; both sides multiples of the patch."""
        high, wide = pixel_values.shape[2] // self.patch, pixel_values.shape[3] // self.patch
        tokens = self.backbone(pixel_values).feature_maps
        head = self.head
        features = head.conv1(self.neck(tokens, high, wide)[head.head_in_index])
        features = nn.functional.interpolate(
            features, (high * self.patch, wide * self.patch), mode="bilinear", align_corners=True
        )
        features = head.conv3(head.activation1(head.conv2(features)))
        depth_BHW: Tensor = (head.activation2(features) * head.max_depth).squeeze(1).float()
        return depth_BHW
