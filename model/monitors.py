"""What stops a run before it does damage: numbers that are not finite, scale that drifts, nothing.

All look at a step's metrics before the optimiser uses its gradients, so that network and last
checkpoint are as they were before the step that was refused. Steps are counted from 1, as in the
metrics of a run.
"""

import math
from collections.abc import Mapping
from typing import Any

from model.errors import NonFiniteLossError, NothingLearntError, ScaleDriftError

# Half of what float16 holds: people run students in it, and its sums overflow before its values.
LARGEST = 32752.0
# One step of float16 relative to a value: with less spread a map has no detail left in it.
LEAST_SPREAD = 2.0**-11
PATIENCE_STEPS = 50


def check_finite(metrics: Mapping[str, float], *, step: int) -> None:
    """Refuse a step whose loss or gradient is not a number.

    Raises:
        NonFiniteLossError: Naming the step and its metrics.
    """
    if math.isfinite(metrics["total"]) and math.isfinite(metrics["gradient_norm"]):
        return
    listed = ", ".join(f"{name} {value:.6g}" for name, value in metrics.items())
    raise NonFiniteLossError(f"step {step}: loss or gradient is not finite ({listed})")


class IdleMonitor:
    """Stops a run that learns nothing: its loss is 0 and has no gradient, because no map is valid.

    Truth may have too few values in every crop, or lie beyond the largest depth of a metric model;
    what came out would be the network as it began. A run is stopped after ``patience`` such steps
    in a row, or at its last step where all were such.
    """

    def __init__(self, steps: int, *, patience: int = PATIENCE_STEPS) -> None:
        self._patience = max(1, min(steps, patience))
        self._idle = 0

    def check(self, metrics: Mapping[str, float], *, step: int) -> None:
        """Look at one step more.

        Raises:
            NothingLearntError: So many had nothing to learn from.
        """
        idle = metrics["total"] == metrics["gradient_norm"] == 0
        self._idle = self._idle + 1 if idle else 0
        if self._idle >= self._patience:
            raise NothingLearntError(
                f"step {step}: no image of the last {self._idle} steps had enough valid values to "
                "learn from"
            )


class ScaleMonitor:
    """Stops a run whose predictions drift where the loss cannot see it.

    The affine-invariant loss is the same for a map and for any multiple of it, so nothing holds the
    scale of predictions where it is. Looked at are the metrics ``prediction_mean``,
    ``prediction_std`` and ``prediction_maximum`` of a step. Predictions are

    - *huge* where the maximum is above ``LARGEST``, 32752, half of what float16 holds;
    - *constant* where the deviation is at most 2^-11 of the mean, less than float16 can tell apart:
      the shift ran away from the scale;
    - *zero* where all are 0: the last layer ends in a ReLU, and has no gradient below it.

    One odd batch is no drift: a run is stopped when a rule has held in each of ``patience`` steps
    in a row. Published networks are far from all three: Depth Anything V1 predicts up to about 10
    (ViT-S) or 100 (ViT-L), and a new network begins at 1 with a deviation ten times that of the
    second rule.

    What it knows is since which step each rule has held, which is its state in a checkpoint.
    """

    def __init__(self, *, patience: int = PATIENCE_STEPS) -> None:
        if patience < 1:
            raise ValueError(f"patience must be at least 1 step, not {patience}")
        self.patience = patience
        self._since: dict[str, int] = {}

    def check(self, metrics: Mapping[str, float], *, step: int) -> None:
        """Look at one step more; steps are seen in order.

        Raises:
            ScaleDriftError: A rule has held for ``patience`` steps.
            KeyError: The metrics lack one of the three.
        """
        mean, spread, maximum = (metrics[f"prediction_{n}"] for n in ("mean", "std", "maximum"))
        zero = maximum == spread == 0
        held = {
            "huge": maximum > LARGEST,
            "constant": not zero and spread <= LEAST_SPREAD * abs(mean),
            "zero": zero,
        }
        for name, holds in held.items():
            if not holds:
                self._since.pop(name, None)
                continue
            since = self._since.setdefault(name, step)
            if step - since + 1 >= self.patience:
                raise ScaleDriftError(
                    f"step {step}: predictions have been {name} since step {since} (mean "
                    f"{mean:.6g}, deviation {spread:.6g}, maximum {maximum:.6g}); {_ADVICE[name]}"
                )

    def state_dict(self) -> dict[str, int]:
        """Since which step each rule that holds has held."""
        return dict(self._since)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state."""
        self._since = {str(name): int(step) for name, step in state.items()}


_ADVICE = {
    "huge": "the loss does not see their scale, and float16 would overflow: begin anew with a "
    "lower learning rate of the head or more weight decay",
    "constant": "they say nothing any more: begin anew with a lower learning rate of the head",
    "zero": "the last layer is dead and cannot recover: begin anew with a lower learning rate of "
    "the head, or some steps of warm-up",
}
