"""The losses of Depth Anything V1 and V2 (arXiv:2401.10891, arXiv:2406.09414), as pure functions.

Shapes: B samples, H rows, W columns, P pixels, N tokens, C channels. Everything is computed in
float32, whatever comes in: a median over half-precision values is one over a few hundred codes. A
value is worked out per sample and then averaged over the samples that count, so a batch of two
gives the mean of its two singles. Invalid pixels may hold anything, NaN and infinity too: they
reach neither the loss nor the gradient.

Two maps are compared by the residual of their normalised values: its mean size is the
affine-invariant loss, its steps between neighbours are the gradient matching loss of V2. Both see
the shape of a map alone, never its scale and shift.

The authors' repository has a ``ScaleAndShiftInvariantLoss``; it is ZoeDepth's least-squares L1, not
the loss of the paper, which is the one below.
"""

from collections.abc import Sequence
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
        value_B: The affine-invariant loss, float32; 0, without gradient, where the sample does not
            count.
        counted_B: bool.
        gradient_B: The gradient matching loss, likewise and before its weight; None where it was
            not asked for.
    """

    value_B: Tensor
    counted_B: Tensor
    gradient_B: Tensor | None = None

    def mean(self) -> Tensor:
        """Mean over the samples that count; 0, still differentiable, where none does."""
        return self.value_B.sum() / self.counted_B.sum().clamp(min=1)

    def gradient_mean(self) -> Tensor | None:
        """The same of the gradient matching loss; None where it was not asked for."""
        if self.gradient_B is None:
            return None
        return self.gradient_B.sum() / self.counted_B.sum().clamp(min=1)


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

    The mean of the two middle values where their number is even; 0 where there is none; NaN is
    passed over. The gradient goes to the first pixel that has each middle value.
    """
    valid_BP = values_BHW.float().masked_fill(~mask_BHW, torch.nan).flatten(1)
    still_BP = valid_BP.detach()
    # torch gives the lower of two middle values; turned round, the upper. Twice a selection is
    # still a fraction of sorting a quarter of a million pixels.
    low_B = _first_with(valid_BP, still_BP.nanmedian(dim=1).values)
    high_B = _first_with(valid_BP, -(-still_BP).nanmedian(dim=1).values)
    return torch.where(mask_BHW.flatten(1).any(dim=1), (low_B + high_B) / 2, 0.0)


def affine_normalise(disparity_BHW: Tensor, mask_BHW: Tensor) -> Tensor:
    """d̂ = (d − t) / s with t the median and s the mean of |d − t|: arXiv:2401.10891, eq. (2)–(3).

    Median and spread are taken over valid pixels. Float32, 0 where invalid. Differentiable through
    t and s as well. s is at least ``FLAT``, so that a constant map becomes 0; the gradient there is
    up to 1 / ``FLAT`` over the number of pixels, finite in float32 and bfloat16.
    """
    return _normalised(disparity_BHW, mask_BHW)[0]


def _normalised(disparity_BHW: Tensor, mask_BHW: Tensor) -> tuple[Tensor, Tensor]:
    """`affine_normalise`, and s, which may be below ``FLAT``: shape B."""
    disparity_BHW = torch.where(mask_BHW, disparity_BHW.float(), 0.0)
    median_B11 = masked_median(disparity_BHW, mask_BHW)[:, None, None]
    centred_BHW = torch.where(mask_BHW, disparity_BHW - median_B11, 0.0)
    spread_B = _masked_mean(centred_BHW.abs(), mask_BHW)
    return centred_BHW / spread_B.clamp(min=FLAT)[:, None, None], spread_B


def trimmed_mean(values_BHW: Tensor, mask_BHW: Tensor, *, share: float) -> Tensor:
    """Mean over the valid values of each sample but its largest ones: shape B.

    Of n valid values the ``floor(share * n)`` largest are left out (arXiv:2406.09414, §5.2; per
    pixel: its author, V2#108). Values equal to the largest
    that is kept are kept too, so equal pixels fare alike. NaN is kept: it must show. 0 where no
    value is valid.
    """
    sorted_BP = values_BHW.detach().masked_fill(~mask_BHW, torch.inf).flatten(1).sort(dim=1).values
    count_B1 = mask_BHW.flatten(1).sum(dim=1, keepdim=True)
    kept_B1 = count_B1 - (count_B1 * share).long()
    limit_B1 = sorted_BP.gather(1, (kept_B1 - 1).clamp(min=0))
    return _masked_mean(values_BHW, mask_BHW & ~(values_BHW.detach() > limit_B1[..., None]))


def gradient_matching(residual_BHW: Tensor, mask_BHW: Tensor, *, scales: int) -> Tensor:
    """Mean size of a map's steps between neighbours, added up over scales: shape B.

    Σ_k 1/M_k Σ_i |∇_x R_i| + |∇_y R_i|, the regularisation term of MiDaS (arXiv:1907.01341, §5)
    with R the residual of two normalised maps. Scale k has every 2^k-th pixel of every 2^k-th row;
    M_k counts the valid ones among them, and a step counts where both its ends are valid. A scale
    without a valid pixel adds nothing.
    """
    total_B = residual_BHW.new_zeros(len(residual_BHW))
    for scale in range(scales):
        step = 2**scale
        values, mask = residual_BHW[:, ::step, ::step], mask_BHW[:, ::step, ::step]
        down = torch.where(mask[:, 1:] & mask[:, :-1], values[:, 1:] - values[:, :-1], 0.0)
        right = torch.where(mask[..., 1:] & mask[..., :-1], values[..., 1:] - values[..., :-1], 0.0)
        steps_B = down.abs().flatten(1).sum(dim=1) + right.abs().flatten(1).sum(dim=1)
        total_B = total_B + steps_B / mask.flatten(1).sum(dim=1).clamp(min=1)
    return total_B


def affine_invariant_loss(
    prediction_BHW: Tensor,
    target_BHW: Tensor,
    mask_BHW: Tensor,
    *,
    minimum_valid: int = MINIMUM_VALID,
    minimum_spread: float = 0.0,
    trimmed_share: float = 0.0,
    gradient_scales: int = 0,
) -> SampleLoss:
    """Mean over valid pixels of |d̂* − d̂|, per sample: arXiv:2401.10891, eq. (1)–(3).

    Unchanged by any positive scale and any shift of either map. The paper has no mask; ours counts
    valid pixels in place of HW. A sample with fewer than ``minimum_valid`` does not count, nor one
    whose target has a mean absolute deviation s below ``minimum_spread``, in the target's unit:
    divided by s, rounding would be held for relief. A flat target that counts has a loss of 1
    wherever the prediction is not flat too.

    ``trimmed_share`` of the pixels, those that differ most, are left out of the mean, though not of
    median and spread. ``gradient_scales`` above 0 gives the gradient matching loss over that many
    scales as well; nothing is trimmed there, for the steps it is after are the largest.
    """
    normal_BHW, spread_B = _normalised(target_BHW, mask_BHW)
    residual_BHW = normal_BHW - affine_normalise(prediction_BHW, mask_BHW)
    error_BHW = residual_BHW.abs()
    # Written so that a NaN counts: it must show.
    enough_B = mask_BHW.flatten(1).sum(dim=1) >= minimum_valid
    counted_B = enough_B & ~(spread_B < minimum_spread)
    value_B = (
        trimmed_mean(error_BHW, mask_BHW, share=trimmed_share)
        if trimmed_share
        else _masked_mean(error_BHW, mask_BHW)
    )
    gradient_B = None
    if gradient_scales:
        gradient_B = gradient_matching(residual_BHW, mask_BHW, scales=gradient_scales)
        gradient_B = torch.where(counted_B, gradient_B, 0.0)
    return SampleLoss(torch.where(counted_B, value_B, 0.0), counted_B, gradient_B)


def cutmix_loss(
    prediction_BHW: Tensor,
    target_a_BHW: Tensor,
    target_b_BHW: Tensor,
    mix_BHW: Tensor,
    valid_a_BHW: Tensor,
    valid_b_BHW: Tensor,
    *,
    minimum_valid: int = MINIMUM_VALID,
    minimum_spread: float = 0.0,
    trimmed_share: float = 0.0,
    gradient_scales: int = 0,
) -> SampleLoss:
    """The affine-invariant loss in M and 1 − M apart, by area: arXiv:2401.10891, eq. (6)–(8).

    Where ``mix_BHW`` (M) is True the pixels come from image a and are held against ``target_a``,
    elsewhere from b. Two images pasted together share no scale and shift, so both the prediction
    and the target are normalised in each region by themselves; each region is trimmed by itself,
    and no step across its border counts. The area of a region is its number of valid pixels, which
    is the paper's for the dense maps of a teacher; a region with fewer than ``minimum_valid``, or
    flatter than ``minimum_spread``, is left out and the other one takes all the weight. Without a
    box (M empty) this is ``affine_invariant_loss`` against b, whose other arguments are meant here
    too.
    """
    total_B = prediction_BHW.new_zeros(len(prediction_BHW), dtype=torch.float32)
    gradient_B = torch.zeros_like(total_B)
    weight_B = torch.zeros_like(total_B)
    for target_BHW, region_BHW in (
        (target_a_BHW, mix_BHW & valid_a_BHW),
        (target_b_BHW, ~mix_BHW & valid_b_BHW),
    ):
        loss = affine_invariant_loss(
            prediction_BHW,
            target_BHW,
            region_BHW,
            minimum_valid=minimum_valid,
            minimum_spread=minimum_spread,
            trimmed_share=trimmed_share,
            gradient_scales=gradient_scales,
        )
        area_B = region_BHW.flatten(1).sum(dim=1) * loss.counted_B
        total_B = total_B + area_B * loss.value_B
        if loss.gradient_B is not None:
            gradient_B = gradient_B + area_B * loss.gradient_B
        weight_B = weight_B + area_B
    divisor_B = weight_B.clamp(min=1)
    return SampleLoss(
        total_B / divisor_B, weight_B > 0, gradient_B / divisor_B if gradient_scales else None
    )


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


def average(*losses: Tensor | None, weights: Sequence[float] | None = None) -> Tensor:
    """Plain average of the losses that are there: arXiv:2401.10891, end of §3.3.

    With ``weights``, one for each argument, their weighted average: one whose weight is 0 is as
    good as not there.

    Raises:
        ValueError: Where none is, or none has a weight.
    """
    every = [1.0] * len(losses) if weights is None else weights
    present = [(a, w) for a, w in zip(losses, every, strict=True) if a is not None and w]
    if not present:
        raise ValueError("no loss to average: a step needs labelled or pseudo-labelled images")
    total = torch.stack([loss * weight for loss, weight in present]).mean()
    # Exact where all weights are 1: the plain average must not change by a rounding.
    return total * (len(present) / sum(weight for _, weight in present))


def _first_with(values_BP: Tensor, value_B: Tensor) -> Tensor:
    """That value of each sample, tied to the first pixel that has it.

    torch's own choice among equal pixels differs from run to run on a GPU, and a run that was
    resumed must be the run that never stopped.
    """
    index_B1 = (values_BP.detach() == value_B[:, None]).byte().argmax(dim=1, keepdim=True)
    return values_BP.gather(1, index_B1).squeeze(1)


def _masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the valid entries of each sample; 0 where there is none."""
    total_B = torch.where(mask, values, 0.0).flatten(1).sum(dim=1)
    return total_B / mask.flatten(1).sum(dim=1).clamp(min=1)
