"""One training step up to its losses, for teacher and student alike.

Plain torch: no launcher, no files, no clock. Whatever is random in a step follows from (seed, step,
rank), so a run that stopped and went on sees what a run without a pause would have seen. The
network runs once per step, over labelled and perturbed images together, which is what
``DistributedDataParallel`` expects and keeps batches full.

A teacher's step has labelled images only; a student's has both (arXiv:2401.10891, §3), or in V2
pseudo-labelled ones alone (arXiv:2406.09414, §5.1).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from model.batches import Batch, normalise, to_unit
from model.devices import PRECISIONS
from model.losses import (
    FeatureLoss,
    SampleLoss,
    affine_invariant_loss,
    average,
    cutmix_loss,
    feature_alignment_loss,
)
from model.perturbations import CutMix, cutmix, generator_for, perturb_colours
from model.recipes import Recipe


@dataclass(frozen=True, kw_only=True, slots=True)
class StepLosses:
    """The losses of one step on this worker, scalars on its device.

    Attributes:
        total: Average of the labelled, the pseudo-labelled and the feature loss, those that are
            there, the first two with their share of gradient matching; the one with a gradient.
        labelled: Affine-invariant loss on labelled images; None without any.
        pseudo: The same on perturbed images, per CutMix region and trimmed; None without any.
        feature: Feature alignment on the perturbed images; None without a frozen encoder.
        kept_share: Share of tokens the feature loss looked at, 0 to 1.
        labelled_gradient: Gradient matching on labelled images, before its weight; None where the
            recipe has none.
        pseudo_gradient: The same on perturbed images.
        prediction_mean: Of all predicted values. The loss cannot see their scale, so it may
            drift until half precision overflows: these three show it while there is time.
        prediction_std: Their standard deviation.
        prediction_maximum: The largest.
    """

    total: Tensor
    labelled: Tensor | None
    pseudo: Tensor | None
    feature: Tensor | None
    kept_share: Tensor | None
    prediction_mean: Tensor
    prediction_std: Tensor
    prediction_maximum: Tensor
    labelled_gradient: Tensor | None = None
    pseudo_gradient: Tensor | None = None


class TrainingStep:
    """The forward half of a step: perturb, predict, compare.

    Args:
        network: ``pixels_B3HW`` (normalised) → an object with ``map_BHW``, disparity, as large as
            the pixels, and ``features_BNC``, the encoder's final patch tokens. May be wrapped for
            distributed training.
        frozen_encoder: ``pixels_B3HW`` → ``features_BNC``, the encoder the network started from;
            None leaves the feature loss out. It is shown the same perturbed images as the student,
            so that both describe the same content at each token: the paper does not say.
        precision: Of both forward passes, ``fp32`` or ``bf16`` (autocast). Losses are always fp32.
        seed: With step and rank, what the perturbations are a function of.

    Raises:
        ValueError: For another precision.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        recipe: Recipe,
        frozen_encoder: Callable[[Tensor], Tensor] | None = None,
        device: torch.device | str = "cpu",
        precision: str = "fp32",
        seed: int = 0,
        rank: int = 0,
    ) -> None:
        if precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, not {precision!r}")
        self.network = network
        self.recipe = recipe
        self.frozen_encoder = frozen_encoder
        self.device = torch.device(device)
        self.precision = precision
        self.seed = seed
        self.rank = rank

    def __call__(self, labelled: Batch | None, pseudo: Batch | None, *, step: int) -> StepLosses:
        """Losses of step number ``step``; the same arguments give the same losses.

        Raises:
            ValueError: Without any images, or where the network's map is not as large as they are.
        """
        labelled = None if labelled is None else labelled.to(self.device)
        pseudo = None if pseudo is None else pseudo.to(self.device)
        mixed = None if pseudo is None else self._perturbed(pseudo, step=step)
        pixels = self._pixels(labelled, mixed)
        with self._autocast():
            output = self.network(pixels)
        disparity = output.map_BHW.float()
        seen = disparity.detach()
        if disparity.shape != (len(pixels), *pixels.shape[2:]):
            raise ValueError(
                f"network made {tuple(disparity.shape)} of {tuple(pixels.shape)}: "
                "the map must be as large as the image"
            )
        first = 0 if labelled is None else len(labelled)  # of the pseudo-labelled images
        on_labels = on_pseudo = feature = None
        if labelled is not None:
            on_labels = self._labelled_loss(disparity[:first], labelled)
        if pseudo is not None and mixed is not None:
            on_pseudo = self._pseudo_loss(disparity[first:], pseudo, mixed)
            feature = self._feature_loss(output.features_BNC[first:], pixels[first:])
        feature_loss = None if feature is None else feature.value_B.mean()
        return StepLosses(
            total=average(
                self._weighted(on_labels),
                self._weighted(on_pseudo),
                feature_loss,
                weights=(1.0, 1.0, self.recipe.feature_weight),
            ),
            labelled=None if on_labels is None else on_labels.mean(),
            pseudo=None if on_pseudo is None else on_pseudo.mean(),
            feature=feature_loss,
            kept_share=None if feature is None else feature.kept_share_B.mean(),
            prediction_mean=seen.mean(),
            prediction_std=seen.std(correction=0),
            prediction_maximum=seen.max(),
            labelled_gradient=None if on_labels is None else on_labels.gradient_mean(),
            pseudo_gradient=None if on_pseudo is None else on_pseudo.gradient_mean(),
        )

    def _weighted(self, loss: SampleLoss | None) -> Tensor | None:
        """Affine-invariant loss and gradient matching as the recipe weighs them."""
        if loss is None:
            return None
        gradient = loss.gradient_mean()
        if gradient is None:
            return loss.mean()
        return loss.mean() + self.recipe.gradient_matching_weight * gradient

    def _perturbed(self, pseudo: Batch, *, step: int) -> CutMix:
        """Colours first, then CutMix of images whose colours are changed already (§3.2)."""
        generator = generator_for(seed=self.seed, step=step, rank=self.rank)
        images = to_unit(pseudo.images_B3HW)
        images = perturb_colours(images, recipe=self.recipe, generator=generator)
        return cutmix(images, recipe=self.recipe, generator=generator)

    def _pixels(self, labelled: Batch | None, mixed: CutMix | None) -> Tensor:
        parts = [] if labelled is None else [normalise(labelled.images_B3HW)]
        if mixed is not None:
            parts.append(normalise(mixed.images_B3HW))
        if not parts:
            raise ValueError("a step needs labelled or pseudo-labelled images")
        return torch.cat(parts)

    def _labelled_loss(self, disparity_BHW: Tensor, labelled: Batch) -> SampleLoss:
        return affine_invariant_loss(
            disparity_BHW,
            labelled.target_BHW,
            labelled.valid_BHW,
            minimum_valid=self.recipe.minimum_valid_pixels,
            gradient_scales=self._gradient_scales,
        )

    def _pseudo_loss(self, disparity_BHW: Tensor, pseudo: Batch, mixed: CutMix) -> SampleLoss:
        if not self.recipe.cutmix_probability:  # half the work, the same numbers
            return affine_invariant_loss(
                disparity_BHW,
                pseudo.target_BHW,
                pseudo.valid_BHW,
                minimum_valid=self.recipe.minimum_valid_pixels,
                minimum_spread=self.recipe.minimum_spread,
                trimmed_share=self.recipe.trimmed_share,
                gradient_scales=self._gradient_scales,
            )
        return cutmix_loss(
            disparity_BHW,
            pseudo.target_BHW[mixed.partner_B],
            pseudo.target_BHW,
            mixed.mask_BHW,
            pseudo.valid_BHW[mixed.partner_B],
            pseudo.valid_BHW,
            minimum_valid=self.recipe.minimum_valid_pixels,
            minimum_spread=self.recipe.minimum_spread,
            trimmed_share=self.recipe.trimmed_share,
            gradient_scales=self._gradient_scales,
        )

    def _feature_loss(self, features_BNC: Tensor, pixels_B3HW: Tensor) -> FeatureLoss | None:
        if self.frozen_encoder is None or not self.recipe.feature_weight:
            return None
        with torch.no_grad(), self._autocast():
            frozen_BNC = self.frozen_encoder(pixels_B3HW)
        return feature_alignment_loss(features_BNC, frozen_BNC, margin=self.recipe.feature_margin)

    @property
    def _gradient_scales(self) -> int:
        return self.recipe.gradient_matching_scales if self.recipe.gradient_matching_weight else 0

    def _autocast(self) -> torch.autocast:
        return torch.autocast(
            self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16"
        )
