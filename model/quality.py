"""Signals of bad labels that need no ground truth, from what is on the device anyway.

Shares are counts divided once, so that every device gives the same number.
"""

import torch
from torch import Tensor


def saturated_share(codes_BHW: Tensor, *, bits: int) -> Tensor:
    """Share of pixels at the first or the last code: float64 B, 0..1; 1 for a constant map."""
    at_the_ends = (codes_BHW == 0) | (codes_BHW == 2**bits - 1)
    return _share(at_the_ends)


def flat_share(codes_BHW: Tensor) -> Tensor:
    """Share of pixels whose code is that of both their right and their lower neighbour.

    Counted over the (H - 1) x (W - 1) pixels that have both: float64 B, 0..1; 0 where a map has no
    such pixel.
    """
    here = codes_BHW[:, :-1, :-1]
    equal = (here == codes_BHW[:, :-1, 1:]) & (here == codes_BHW[:, 1:, :-1])
    return _share(equal)


def map_correlation(one_BHW: Tensor, other_BHW: Tensor) -> Tensor:
    """Pearson correlation of two maps, in float64: B, -1..1; NaN where one is constant.

    sum((x - mean x)(y - mean y)) / sqrt(sum((x - mean x)^2) sum((y - mean y)^2)). NaN also where a
    map is not finite. A constant is told by its range: the mean of equal numbers may miss them by a
    rounding.
    """
    one, other = (maps.to(torch.float64).flatten(1) for maps in (one_BHW, other_BHW))
    varies_B = (one.amax(1) > one.amin(1)) & (other.amax(1) > other.amin(1))
    one = _unit(one - one.mean(1, keepdim=True))
    other = _unit(other - other.mean(1, keepdim=True))
    correlation_B = (one * other).sum(1).clamp(-1, 1)
    return torch.where(varies_B, correlation_B, torch.nan)


def _unit(centred: Tensor) -> Tensor:
    """To length 1, by way of the largest value, whose square could overflow or vanish."""
    scaled = centred / centred.abs().amax(1, keepdim=True)
    return scaled / scaled.square().sum(1, keepdim=True).sqrt()


def _share(flags_BHW: Tensor) -> Tensor:
    counted = max(1, flags_BHW[0].numel()) if len(flags_BHW) else 1
    return flags_BHW.sum(dim=(1, 2)).to(torch.float64) / counted
