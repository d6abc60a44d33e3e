"""The training loop: losses to gradients to weights, and what is checked in between.

Plain torch: no launcher, no files. The device is waited for once in a step, where its metrics are
fetched; everything else is queued.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, fields
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from model.averaging import WeightAverage
from model.batches import Batch
from model.flops import StepWork
from model.monitors import IdleMonitor, ScaleMonitor, check_finite
from model.training_step import StepLosses

# Metrics that a clock had a part in: two runs of the same steps differ in these alone.
TIMINGS = ("step_s", "data_wait_share", "images_per_s", "tflops", "mfu")


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
    """A forward pass up to its losses; ``TrainingStep`` is one."""

    def __call__(self, labelled: Batch | None, pseudo: Batch | None, *, step: int) -> StepLosses:
        """The losses of pass number ``step``, counted from 0: what is random follows from it."""


def fit(
    step_function: StepFunction,
    batches: Iterable[Input],
    *,
    optimiser: Optimizer,
    schedule: LRScheduler,
    steps: int,
    start_step: int = 0,
    accumulate: int = 1,
    clip_norm: float | None = None,
    network: nn.Module | None = None,
    average: WeightAverage | None = None,
    monitor: ScaleMonitor | None = None,
    work: StepWork | None = None,
    on_step: Callable[[int, dict[str, float]], None] | None = None,
    on_checkpoint: Callable[[int, Input], None] | None = None,
    checkpoint_steps: int | None = None,
) -> dict[str, float]:
    """Train up to ``steps`` optimiser steps and return the last step's metrics.

    A step is ``accumulate`` forward and backward passes, each on a batch of its own and numbered
    ``step * accumulate`` onwards; its gradient is that of the mean of their losses. A step is
    checked after its gradients are averaged over the workers and before the optimiser uses them: a
    loss that is not finite on one worker leaves all of them with gradients that are not, so all
    stop at the same step and none waits for the others.

    Metrics are means over the passes and the workers (``prediction_maximum``: the largest), and the
    learning rates. Timed are ``step_s``, seconds from drawing the first batch until the optimiser
    has its orders, callbacks left out; ``data_wait_share``, the share of it that was spent blocked
    on ``batches``; ``images_per_s`` of all workers; and with ``work`` given, ``tflops``, 10^12
    operations per second and worker, and ``mfu``, their share of the peak where that is known.

    The first of ``batches`` is for step ``start_step``, and no more are drawn than there are
    passes. ``clip_norm`` is the largest gradient norm, None for no limit. ``network`` is what is
    trained; where it is in ``DistributedDataParallel`` it is needed, to exchange gradients in a
    step's last pass alone and to average the metrics. ``average`` is updated after each step, and
    ``monitor`` shown its metrics before the optimiser steps.

    ``on_step`` is called after each step with the number of steps done and the step's metrics;
    ``on_checkpoint`` after every ``checkpoint_steps`` steps and after the last, with the number of
    steps done and the input of the last pass, which knows its cursor.

    Raises:
        NonFiniteLossError: Naming the step and its losses; network and optimiser are as before it.
        NothingLearntError: So many steps had nothing to learn from (`IdleMonitor`).
        ScaleDriftError: Raised by ``monitor``, as before the step too.
        ValueError: Where ``batches`` end too early, or ``accumulate`` is below 1.
    """
    if accumulate < 1:
        raise ValueError(f"a step needs at least one pass, not {accumulate}")
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    source = iter(batches)
    metrics: dict[str, float] = {}
    idle = IdleMonitor(steps)
    for step in range(start_step, steps):
        clock = _Clock()
        optimiser.zero_grad(set_to_none=True)
        passes = _Passes(images=0, scalars=[])
        for number in range(step * accumulate, (step + 1) * accumulate):
            try:
                with clock.waiting():
                    step_input = next(source)
            except StopIteration:
                raise ValueError(f"batches ended after step {step} of {steps}") from None
            with _gradients_kept(network, number + 1 < (step + 1) * accumulate):
                losses = step_function(step_input.labelled, step_input.pseudo, step=number)
                _backward(losses.total / accumulate)
            passes.add(step_input, losses)
        limit = math.inf if clip_norm is None else clip_norm
        gradient_norm = nn.utils.clip_grad_norm_(parameters, limit)
        metrics = passes.fetched(gradient_norm, network)
        done = step + 1
        check_finite(metrics, step=done)
        idle.check(metrics, step=done)
        if monitor is not None:
            monitor.check(metrics, step=done)
        metrics |= _rates(optimiser)
        optimiser.step()
        schedule.step()
        if average is not None:
            average.update()
        metrics |= clock.metrics(passes.images * _workers(network), work)
        if on_step is not None:
            on_step(done, metrics)
        due = checkpoint_steps is not None and done % checkpoint_steps == 0
        if on_checkpoint is not None and (due or done == steps):
            on_checkpoint(done, step_input)
    return metrics


def _gradients_kept(network: nn.Module | None, keep: bool) -> AbstractContextManager[None]:
    """Within, gradients of a distributed network stay this worker's; forward pass included."""
    if keep and isinstance(network, DistributedDataParallel):
        return network.no_sync()
    return nullcontext()


def _workers(network: nn.Module | None) -> int:
    if isinstance(network, DistributedDataParallel):
        return torch.distributed.get_world_size(network.process_group)
    return 1


def _backward(loss: Tensor) -> None:
    loss.backward()  # type: ignore[no-untyped-call]


@dataclass(slots=True)
class _Passes:
    """What the passes of a step measured; tensors stay on the device until all are done."""

    images: int
    scalars: list[dict[str, Tensor]]

    def add(self, step_input: StepInput, losses: StepLosses) -> None:
        parts = (step_input.labelled, step_input.pseudo)
        self.images += sum(len(part) for part in parts if part is not None)
        found = {field.name: getattr(losses, field.name) for field in fields(losses)}
        self.scalars.append(
            {name: value.detach().float() for name, value in found.items() if value is not None}
        )

    def fetched(self, gradient_norm: Tensor, network: nn.Module | None) -> dict[str, float]:
        """The scalars over all passes and workers, fetched from the device in one go."""
        means = {"gradient_norm": gradient_norm.detach().float()}
        largest = {}
        for name in self.scalars[0]:
            values = torch.stack([scalars[name] for scalars in self.scalars])
            if name.endswith("_maximum"):
                largest[name] = values.max()
            else:
                means[name] = values.mean()
        parts = [torch.stack(list(part.values())) for part in (means, largest) if part]
        _over_workers_(parts, network)
        numbers = torch.cat(parts).tolist()
        return dict(zip((*means, *largest), numbers, strict=True))


def _over_workers_(parts: list[Tensor], network: nn.Module | None) -> None:
    """Average the first, and take the largest of each number of the second where there is one."""
    workers = _workers(network)
    if workers == 1 or not isinstance(network, DistributedDataParallel):
        return
    parts[0] /= workers  # not every backend has an average
    operations = (torch.distributed.ReduceOp.SUM, torch.distributed.ReduceOp.MAX)
    for part, operation in zip(parts, operations, strict=False):
        torch.distributed.all_reduce(part, op=operation, group=network.process_group)


def _rates(optimiser: Optimizer) -> dict[str, float]:
    return {
        f"learning_rate_{group.get('name', index)}": group["lr"]
        for index, group in enumerate(optimiser.param_groups)
    }


class _Clock:
    """What a step took, from here on.

    The device is waited for once in a step, so over several steps the host's clock is the
    device's; what the optimiser does there falls into the step after.
    """

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._waited_s = 0.0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self._waited_s += time.perf_counter() - started

    def metrics(self, images: int, work: StepWork | None) -> dict[str, float]:
        step_s = max(time.perf_counter() - self._started, 1e-9)
        found = {
            "step_s": step_s,
            "data_wait_share": self._waited_s / step_s,
            "images_per_s": images / step_s,
        }
        return found | ({} if work is None else work.rates(step_s))
