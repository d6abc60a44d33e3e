"""Maps to 16-bit codes where they are computed, so that only codes leave the device.

The same arithmetic as the data plane's codec, in float64 and in the same order, so that both give
the same bits (a test compares them): each map linearly between its own minimum and maximum; where
it has values of both signs its range is widened by less than one step, so that 0 falls on a code.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class QuantisedMaps:
    """Codes 0 … 2**bits - 1, and the values that the first and the last of them stand for.

    Attributes:
        codes_BHW: int32; all 0 for a map that is constant, or not finite.
        minimum_B: float64; not finite where the map is not.
        maximum_B: float64; not finite where the map is not.
    """

    codes_BHW: Tensor
    minimum_B: Tensor
    maximum_B: Tensor
    bits: int


def quantise_maps(values_BHW: Tensor, *, bits: int = 16) -> QuantisedMaps:
    """Round every value to the nearest of ``2**bits`` codes of its own map.

    A map with NaN or infinite values is not an error here: its range says so, and its neighbours in
    the batch are not touched.

    Args:
        values_BHW: float32, on any device.
        bits: 1 to 16.
    """
    levels = 2**bits - 1
    values = values_BHW.to(torch.float64)
    minimum_B, maximum_B = _ranges_with_zero_on_a_code(
        values.amin(dim=(1, 2)), values.amax(dim=(1, 2)), levels=levels
    )
    step_B = (maximum_B - minimum_B) / levels
    varies_B = torch.isfinite(step_B) & (step_B > 0)
    if values.data_ptr() == values_BHW.data_ptr():  # given as float64: not ours to change
        values = values.clone()
    values.sub_(minimum_B[:, None, None]).div_(step_B[:, None, None])
    codes_BHW = values.round_().clamp_(0, levels)
    codes_BHW = torch.where(varies_B[:, None, None], codes_BHW, 0.0)
    return QuantisedMaps(codes_BHW.to(torch.int32), minimum_B, maximum_B, bits)


def _ranges_with_zero_on_a_code(
    minimum_B: Tensor, maximum_B: Tensor, *, levels: int
) -> tuple[Tensor, Tensor]:
    """Widen ranges that contain 0 so that 0 is ``minimum + k * step`` for a whole k."""
    step_B = (maximum_B - minimum_B) / (levels - 1)
    below_B = torch.ceil(-minimum_B / step_B)
    both_signs_B = (minimum_B < 0) & (maximum_B > 0) & torch.isfinite(step_B)
    return (
        torch.where(both_signs_B, -below_B * step_B, minimum_B),
        torch.where(both_signs_B, (levels - below_B) * step_B, maximum_B),
    )
