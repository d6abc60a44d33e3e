"""The losses of Depth Anything (arXiv:2401.10891, §3), as pure functions.

Shapes: B samples, H rows, W columns, P pixels, N tokens, C channels. Everything is computed in
float32, whatever comes in: a median over half-precision values is one over a few hundred codes. A
value is worked out per sample and then averaged over the samples that count, so a batch of two
gives the mean of its two singles. Invalid pixels may hold anything, NaN and infinity too: they
reach neither the loss nor the gradient.

The authors' repository has a ``ScaleAndShiftInvariantLoss``; it is ZoeDepth's least-squares L1, not
the loss of the paper, which is the one below.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

# Spread below which a map is flat: it is divided by this instead, and stays 0 instead of NaN.
FLAT = 1e-6
# With fewer valid pixels than this a sample does not count.
MINIMUM_VALID = 10


class SampleLoss(NamedTuple):
    """A loss per sample, and which samples count.

    Attributes:
        value_B: float32; 0, without gradient, where the sample does not count.
        counted_B: bool.
    """

    value_B: Tensor
    counted_B: Tensor

    def mean(self) -> Tensor:
        """Mean over the samples that count; 0, still differentiable, where none does."""
        return self.value_B.sum() / self.counted_B.sum().clamp(min=1)


class FeatureLoss(NamedTuple):
    """The feature loss per sample, and the share of tokens it looked at.

    Attributes:
        value_B: float32, 0 to 2; 0 where no token was kept.
        kept_share_B: float32, 0 to 1.
    """

    value_B: Tensor
    kept_share_B: Tensor


def masked_median(values_BHW: Tensor, mask_BHW: Tensor) -> Tensor:
    """Exact median of the valid values of each sample, as ``numpy.median``: shape B, float32.

    The mean of the two middle values where their number is even; 0 where there is none. The
    gradient goes to the middle values.
    """
    mask_BP = mask_BHW.flatten(1)
    values_BP = values_BHW.flatten(1).float()
    sorted_BP = values_BP.masked_fill(~mask_BP, torch.inf).sort(dim=1).values
    count_B1 = mask_BP.sum(dim=1, keepdim=True)
    low_B = sorted_BP.gather(1, (count_B1 - 1).clamp(min=0) // 2).squeeze(1)
    high_B = sorted_BP.gather(1, (count_B1 // 2).clamp(max=mask_BP.shape[1] - 1)).squeeze(1)
    return torch.where(count_B1.squeeze(1) > 0, (low_B + high_B) / 2, 0.0)


def affine_normalise(disparity_BHW: Tensor, mask_BHW: Tensor) -> Tensor:
    """d̂ = (d − t) / s with t the median and s the mean of |d − t|: arXiv:2401.10891, eq. (2)–(3).

    Median and spread are taken over valid pixels. Float32, 0 where invalid. Differentiable through
    t and s as well. s is at least ``FLAT``, so that a constant map becomes 0.
    """
    disparity_BHW = torch.where(mask_BHW, disparity_BHW.float(), 0.0)
    median_B11 = masked_median(disparity_BHW, mask_BHW)[:, None, None]
    centred_BHW = torch.where(mask_BHW, disparity_BHW - median_B11, 0.0)
    spread_B = _masked_mean(centred_BHW.abs(), mask_BHW)
    return centred_BHW / spread_B.clamp(min=FLAT)[:, None, None]


def affine_invariant_loss(
    prediction_BHW: Tensor,
    target_BHW: Tensor,
    mask_BHW: Tensor,
    *,
    minimum_valid: int = MINIMUM_VALID,
) -> SampleLoss:
    """Mean over valid pixels of |d̂* − d̂|, per sample: arXiv:2401.10891, eq. (1)–(3).

    Unchanged by any positive scale and any shift of either map. The paper has no mask; ours counts
    valid pixels in place of HW. A sample with fewer than ``minimum_valid`` does not count. A flat
    target has no gradient to give: its loss is 1 wherever the prediction is not flat too.
    """
    error_BHW = _pixel_error(prediction_BHW, target_BHW, mask_BHW)
    counted_B = mask_BHW.flatten(1).sum(dim=1) >= minimum_valid
    return SampleLoss(torch.where(counted_B, _masked_mean(error_BHW, mask_BHW), 0.0), counted_B)


def cutmix_loss(
    prediction_BHW: Tensor,
    target_a_BHW: Tensor,
    target_b_BHW: Tensor,
    mix_BHW: Tensor,
    valid_a_BHW: Tensor,
    valid_b_BHW: Tensor,
    *,
    minimum_valid: int = MINIMUM_VALID,
) -> SampleLoss:
    """The affine-invariant loss in M and 1 − M apart, by area: arXiv:2401.10891, eq. (6)–(8).

    Where ``mix_BHW`` (M) is True the pixels come from image a and are held against ``target_a``,
    elsewhere from b. Two images pasted together share no scale and shift, so both the prediction
    and the target are normalised in each region by themselves. The area of a region is its number
    of valid pixels, which is the paper's for the dense maps of a teacher; a region with fewer than
    ``minimum_valid`` is left out and the other one takes all the weight. Without a box (M empty)
    this is ``affine_invariant_loss`` against b.
    """
    total_B = prediction_BHW.new_zeros(len(prediction_BHW), dtype=torch.float32)
    weight_B = torch.zeros_like(total_B)
    for target_BHW, region_BHW in (
        (target_a_BHW, mix_BHW & valid_a_BHW),
        (target_b_BHW, ~mix_BHW & valid_b_BHW),
    ):
        loss = affine_invariant_loss(
            prediction_BHW, target_BHW, region_BHW, minimum_valid=minimum_valid
        )
        area_B = region_BHW.flatten(1).sum(dim=1) * loss.counted_B
        total_B = total_B + area_B * loss.value_B
        weight_B = weight_B + area_B
    return SampleLoss(total_B / weight_B.clamp(min=1), weight_B > 0)


def feature_alignment_loss(
    features_BNC: Tensor, frozen_BNC: Tensor, *, margin: float = 0.85
) -> FeatureLoss:
    """1 − mean cos(f, f′) over the tokens whose cosine is not above the margin: eq. (9), §3.3.

    Tokens are dropped one by one: a mean cosine above the margin says nothing about the tokens
    below it. The paper does not say whether the mean is over kept tokens or over all. Ours is over
    the kept ones of a sample ("not considered" is read as: not in the mean either), so the pull on
    a token that strays does not fade because its neighbours are well; a sample that keeps none has
    loss 0 and counts. Gradients reach ``features_BNC`` alone. Lower is better; the tokens of the
    two must match, which asks for encoders of the same width.
    """
    cosine_BN = functional.cosine_similarity(
        features_BNC.float(), frozen_BNC.detach().float(), dim=2
    )
    # Written so that a NaN is kept: it must reach the check for finite losses, not vanish here.
    kept_BN = ~(cosine_BN.detach() > margin)
    return FeatureLoss(_masked_mean(1 - cosine_BN, kept_BN), kept_BN.float().mean(dim=1))


def average(*losses: Tensor | None) -> Tensor:
    """Plain average of the losses that are there: arXiv:2401.10891, end of §3.3.

    Raises:
        ValueError: Where none is.
    """
    present = [loss for loss in losses if loss is not None]
    if not present:
        raise ValueError("no loss to average: a step needs labelled or pseudo-labelled images")
    return torch.stack(present).mean()


def _pixel_error(prediction_BHW: Tensor, target_BHW: Tensor, mask_BHW: Tensor) -> Tensor:
    prediction_BHW = affine_normalise(prediction_BHW, mask_BHW)
    return (affine_normalise(target_BHW, mask_BHW) - prediction_BHW).abs()


def _masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the valid entries of each sample; 0 where there is none."""
    total_B = torch.where(mask, values, 0.0).flatten(1).sum(dim=1)
    return total_B / mask.flatten(1).sum(dim=1).clamp(min=1)
