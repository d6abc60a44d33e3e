"""The training loop: losses to gradients to weights, and what is checked in between.

Plain torch: no launcher, no files, no clock.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from model.batches import Batch
from model.errors import NonFiniteLossError
from model.training_step import StepLosses


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
