"""One training step and one loop, for teacher and student alike.

Plain torch: no launcher, no files, no clock. Whatever is random in a step follows from (seed, step,
rank), so a run that stopped and went on sees what a run without a pause would have seen. The
network runs once per step, over labelled and perturbed images together, which is what
``DistributedDataParallel`` expects and keeps batches full.

A teacher's step has labelled images only; a student's has both (arXiv:2401.10891, §3).
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from model.batches import Batch, normalise, to_unit
from model.devices import PRECISIONS
from model.errors import NonFiniteLossError
from model.losses import affine_invariant_loss, average, cutmix_loss, feature_alignment_loss
from model.perturbations import CutMix, cutmix, generator_for, perturb_colours
from model.recipes import Recipe


@dataclass(frozen=True, kw_only=True, slots=True)
class StepLosses:
    """The losses of one step on this worker, scalars on its device.

    Attributes:
        total: Plain average of the losses that are there; the one with a gradient.
        labelled: Affine-invariant loss on labelled images; None without any.
        pseudo: The same on perturbed images, per CutMix region; None without any.
        feature: Feature alignment on the perturbed images; None without a frozen encoder.
        kept_share: Share of tokens the feature loss looked at, 0 to 1.
        prediction_mean: Of all predicted disparities. The loss cannot see their scale, so it may
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


class StepInput(Protocol):
    """What a step learns from; either part may be missing."""

    @property
    def labelled(self) -> Batch | None:
        """Images with ground truth."""

    @property
    def pseudo(self) -> Batch | None:
        """Images with pseudo-labels."""


Input = TypeVar("Input", bound=StepInput)


class StepFunction(Protocol):
    """A step up to its losses; ``TrainingStep`` is one."""

    def __call__(self, labelled: Batch | None, pseudo: Batch | None, *, step: int) -> StepLosses:
        """The losses of step number ``step``, counted from 0."""


class TrainingStep:
    """The forward half of a step: perturb, predict, compare.

    Args:
        network: ``pixels_B3HW`` (normalised) → an object with ``disparity_BHW``, as large as the
            pixels, and ``features_BNC``, the encoder's final patch tokens. May be wrapped for
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
        disparity = output.disparity_BHW.float()
        seen = disparity.detach()
        if disparity.shape != (len(pixels), *pixels.shape[2:]):
            raise ValueError(
                f"network made {tuple(disparity.shape)} of {tuple(pixels.shape)}: "
                "the map must be as large as the image"
            )
        first = 0 if labelled is None else len(labelled)  # of the pseudo-labelled images
        labelled_loss = pseudo_loss = feature_loss = kept_share = None
        if labelled is not None:
            labelled_loss = self._labelled_loss(disparity[:first], labelled)
        if pseudo is not None and mixed is not None:
            pseudo_loss = self._pseudo_loss(disparity[first:], pseudo, mixed)
            if self.frozen_encoder is not None:
                with torch.no_grad(), self._autocast():
                    frozen = self.frozen_encoder(pixels[first:])
                feature = feature_alignment_loss(
                    output.features_BNC[first:], frozen, margin=self.recipe.feature_margin
                )
                feature_loss, kept_share = feature.value_B.mean(), feature.kept_share_B.mean()
        return StepLosses(
            total=average(labelled_loss, pseudo_loss, feature_loss),
            labelled=labelled_loss,
            pseudo=pseudo_loss,
            feature=feature_loss,
            kept_share=kept_share,
            prediction_mean=seen.mean(),
            prediction_std=seen.std(correction=0),
            prediction_maximum=seen.max(),
        )

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

    def _labelled_loss(self, disparity_BHW: Tensor, labelled: Batch) -> Tensor:
        return affine_invariant_loss(
            disparity_BHW,
            labelled.target_BHW,
            labelled.valid_BHW,
            minimum_valid=self.recipe.minimum_valid_pixels,
        ).mean()

    def _pseudo_loss(self, disparity_BHW: Tensor, pseudo: Batch, mixed: CutMix) -> Tensor:
        return cutmix_loss(
            disparity_BHW,
            pseudo.target_BHW[mixed.partner_B],
            pseudo.target_BHW,
            mixed.mask_BHW,
            pseudo.valid_BHW[mixed.partner_B],
            pseudo.valid_BHW,
            minimum_valid=self.recipe.minimum_valid_pixels,
        ).mean()

    def _autocast(self) -> torch.autocast:
        return torch.autocast(
            self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16"
        )


def fit(
    step_function: StepFunction,
    batches: Iterable[Input],
    *,
    optimiser: Optimizer,
    schedule: LRScheduler,
    steps: int,
    start_step: int = 0,
    clip_norm: float | None = None,
    on_step: Callable[[int, dict[str, float]], None] | None = None,
    on_checkpoint: Callable[[int, Input], None] | None = None,
    checkpoint_steps: int | None = None,
) -> dict[str, float]:
    """Train up to ``steps`` optimiser steps and return the last step's metrics.

    A step is checked after its gradients are averaged over the workers and before the optimiser
    uses them: a loss that is not finite on one worker leaves all of them with gradients that are
    not, so all stop at the same step and none waits for the others.

    The first of ``batches`` is for step ``start_step``, and no more are drawn than there are steps.
    ``clip_norm`` is the largest gradient norm, None for no limit. ``on_step`` is called after each
    step with the number of steps done and the step's metrics; ``on_checkpoint`` after every
    ``checkpoint_steps`` steps and after the last, with the number of steps done and the input of
    the last of them, which knows its cursor.

    Raises:
        NonFiniteLossError: Naming the step and its losses; network and optimiser are as before it.
        ValueError: Where ``batches`` end too early.
    """
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    metrics: dict[str, float] = {}
    done = start_step
    for step, step_input in zip(range(start_step, steps), batches, strict=False):
        optimiser.zero_grad(set_to_none=True)
        losses = step_function(step_input.labelled, step_input.pseudo, step=step)
        losses.total.backward()  # type: ignore[no-untyped-call]
        limit = math.inf if clip_norm is None else clip_norm
        gradient_norm = nn.utils.clip_grad_norm_(parameters, limit)
        metrics = _numbers(losses, gradient_norm)
        _check_finite(metrics, step=step)
        metrics |= {
            f"learning_rate_{group.get('name', index)}": group["lr"]
            for index, group in enumerate(optimiser.param_groups)
        }
        optimiser.step()
        schedule.step()
        done = step + 1
        if on_step is not None:
            on_step(done, metrics)
        due = checkpoint_steps is not None and done % checkpoint_steps == 0
        if on_checkpoint is not None and (due or done == steps):
            on_checkpoint(done, step_input)
    if done < steps:
        raise ValueError(f"batches ended after step {done} of {steps}")
    return metrics


def _numbers(losses: StepLosses, gradient_norm: Tensor) -> dict[str, float]:
    """The step's scalars as floats, fetched from the device in one go."""
    scalars = {field.name: getattr(losses, field.name) for field in fields(losses)}
    present = {name: value for name, value in scalars.items() if value is not None}
    present["gradient_norm"] = gradient_norm
    values = torch.stack([value.detach().float() for value in present.values()]).tolist()
    return dict(zip(present, values, strict=True))


def _check_finite(metrics: Mapping[str, float], *, step: int) -> None:
    if math.isfinite(metrics["total"]) and math.isfinite(metrics["gradient_norm"]):
        return
    listed = ", ".join(f"{name} {value:.6g}" for name, value in metrics.items())
    raise NonFiniteLossError(f"step {step}: loss or gradient is not finite ({listed})")
