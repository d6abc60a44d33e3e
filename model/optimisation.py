"""Optimiser, learning rates, and the state from which a run goes on.

Two groups of parameters, encoder and head, as the paper has them; AdamW; a linear schedule.
Wrapping for distributed training, compiling and recomputing leave every name as it is, so a state
does not know of them: a run goes on with or without.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from model.averaging import WeightAverage
from model.monitors import ScaleMonitor
from model.recipes import Recipe


class Optimisation(NamedTuple):
    """An optimiser and the schedule that sets its learning rates."""

    optimiser: AdamW
    schedule: LambdaLR


def parameter_groups(network: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """Encoder and head, each with its own learning rate (arXiv:2401.10891, §4.1).

    The encoder is what lies under a module called ``backbone``, as in every depth model of
    transformers. Frozen parameters are left out.

    Raises:
        ValueError: Where either group is empty.
    """
    groups: dict[str, list[nn.Parameter]] = {"encoder": [], "head": []}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            groups["encoder" if "backbone" in name.split(".") else "head"].append(parameter)
    empty = [name for name, parameters in groups.items() if not parameters]
    if empty:
        raise ValueError(f"{type(network).__name__} has no trainable {' and no '.join(empty)}")
    rates = {
        "encoder": recipe.learning_rate,
        "head": recipe.learning_rate * recipe.head_learning_rate_ratio,
    }
    return [{"name": name, "params": groups[name], "lr": rates[name]} for name in groups]


def build_optimiser(
    network: nn.Module, recipe: Recipe, *, steps: int, fused: bool = False
) -> Optimisation:
    """AdamW over both groups; the learning rates decay over ``steps`` by the recipe's power."""
    optimiser = AdamW(
        parameter_groups(network, recipe),
        betas=(recipe.beta1, recipe.beta2),
        weight_decay=recipe.weight_decay,
        fused=fused,
    )

    def share(step: int) -> float:
        if step < recipe.warmup_steps:
            return (step + 1) / recipe.warmup_steps
        done = (step - recipe.warmup_steps) / max(steps - recipe.warmup_steps, 1)
        last = recipe.final_learning_rate_ratio
        return last + (1 - last) * float((1 - min(done, 1.0)) ** recipe.decay_power)

    return Optimisation(optimiser, LambdaLR(optimiser, share))


def training_state(
    network: nn.Module,
    *,
    optimiser: Optimizer,
    schedule: LRScheduler,
    step: int,
    run: Mapping[str, int | float | str] | None = None,
    average: WeightAverage | None = None,
    monitor: ScaleMonitor | None = None,
) -> dict[str, Any]:
    """What a run needs to go on: tensors, numbers, strings and containers of them.

    ``torch.load(weights_only=True)`` reads it back. The tensors are the live ones: save before the
    next step. ``step`` counts the steps done; ``run`` holds what must be the same when the run goes
    on, for example seed and recipe hash.
    """
    parts = {"average": average, "monitor": monitor}
    return {
        "network": _unwrapped(network).state_dict(),
        "optimiser": optimiser.state_dict(),
        "schedule": schedule.state_dict(),
        "step": step,
        "run": dict(run or {}),
        **{name: part.state_dict() for name, part in parts.items() if part is not None},
    }


def load_training_state(
    state: Mapping[str, Any],
    network: nn.Module,
    *,
    optimiser: Optimizer,
    schedule: LRScheduler,
    run: Mapping[str, int | float | str] | None = None,
    average: WeightAverage | None = None,
    monitor: ScaleMonitor | None = None,
) -> int:
    """Bring a fresh network, optimiser and so on to a saved state; returns the steps done.

    A monitor that is new to the run, or was left out, changes no weight and is no other run.

    Raises:
        ValueError: Where the state is of a run with other values in ``run``, of another network,
            or with an average where there is none now, or the reverse; naming them. Nothing is
            loaded then.
    """
    saved, wanted = state["run"], dict(run or {})
    changed = sorted(
        f"{name} was {saved.get(name)!r}, is {wanted.get(name)!r}"
        for name in saved.keys() | wanted.keys()
        if saved.get(name) != wanted.get(name)
    )
    if changed:
        raise ValueError(f"cannot go on, this is another run: {'; '.join(changed)}")
    if ("average" in state) != (average is not None):
        was, now = ("an", "no") if "average" in state else ("no", "an")
        raise ValueError(f"cannot go on: the run had {was} average of its weights, now {now} one")
    inner = _unwrapped(network)
    _check_tensors(state["network"], inner.state_dict())
    if average is not None:
        average.load_state_dict(state["average"])
    inner.load_state_dict(state["network"])
    optimiser.load_state_dict(state["optimiser"])
    schedule.load_state_dict(state["schedule"])
    if monitor is not None:
        monitor.load_state_dict(state.get("monitor", {}))
    return int(state["step"])


def _check_tensors(saved: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Refuse tensors of another network by name, before any of them is loaded."""
    shapes = {name: tuple(tensor.shape) for name, tensor in saved.items()}
    expected = {name: tuple(tensor.shape) for name, tensor in wanted.items()}
    other = [
        f"{name} is {shapes.get(name, 'missing')}, not {expected.get(name, 'there')}"
        for name in sorted(shapes.keys() | expected.keys())
        if shapes.get(name) != expected.get(name)
    ]
    if other:
        raise ValueError(f"cannot go on, this is another network: {'; '.join(other[:5])}")


def _unwrapped(network: nn.Module) -> nn.Module:
    """The network itself: DDP puts ``module.`` before every name, and one worker has no DDP."""
    if isinstance(network, DistributedDataParallel):
        inner: nn.Module = network.module
        return inner
    return network
