"""What went on while a model trained, as charts: for the page of the run and that of the model."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.readable import readable_number, readable_setting
from jobs.report_charts import Chart
from jobs.report_page import Fact
from jobs.report_series import step_series

Lines = Sequence[Mapping[str, Any]]  # as `RunFiles.metrics` has them

LOSSES = ("loss", "labelled", "pseudo", "feature")
MATCHING = ("labelled_gradient", "pseudo_gradient")
VALIDATION = {"validation/loss": "loss", "validation/abs_rel": "abs_rel"}
RATES = {"learning_rate_encoder": "encoder", "learning_rate_head": "head"}
PREDICTION = {
    "prediction_mean": "mean",
    "prediction_std": "standard deviation",
    "prediction_maximum": "largest",
}
_PLACES = ("store", "catalog", "ray", "name")


def training_charts(lines: Lines) -> tuple[Chart, ...]:
    """The losses over the steps, and the scores on images that are not trained on, if any."""
    matching = "Gradient matching, a part of the loss before its weight."
    charts = (
        _chart("Loss", lines, LOSSES, caption="Losses over optimiser steps."),
        _chart("Gradient matching", lines, MATCHING, caption=matching),
        _chart("Validation", lines, VALIDATION, caption="At each checkpoint; lower is better."),
    )
    return tuple(chart for chart in charts if chart is not None)


def course_charts(lines: Lines) -> tuple[Chart, ...]:
    """Learning rate, gradients, and what shows that the scale of predictions drifts."""
    charts = (
        _chart("Learning rate", lines, RATES, caption="Of each group of parameters."),
        _chart("Gradient norm", lines, {"gradient_norm": "norm"}, caption="Before it is clipped."),
        _chart("Predictions", lines, PREDICTION, caption="Of all pixels of a batch, no unit."),
    )
    return tuple(chart for chart in charts if chart is not None)


def pace_charts(lines: Lines) -> tuple[Chart, ...]:
    """Images per second and the time spent waiting for them."""
    speed = {"images_per_s": "images/s"}
    waits = "Share of a step in which the workers waited for images, 0 to 1."
    charts = (
        _chart("Images per second", lines, speed, caption="All workers together."),
        _chart("Waiting for data", lines, {"data_wait_share": "share"}, caption=waits),
    )
    return tuple(chart for chart in charts if chart is not None)


def not_finite(lines: Lines) -> dict[str, int]:
    """How many values of each number are none, or infinite."""
    found: dict[str, int] = {}
    for line in lines:
        for name, value in line.items():
            if isinstance(value, float) and not abs(value) < float("inf"):
                found[name] = found.get(name, 0) + 1
    return found


def settings_facts(config: Mapping[str, Any]) -> tuple[Fact, ...]:
    """The options that were given or have a value, without places of this machine."""
    return tuple(
        Fact(key.replace("_", " ").capitalize(), readable_setting(value))
        for key, value in config.items()
        if value not in (None, "", [], (), False) and key not in _PLACES
    )


def _chart(
    title: str, lines: Lines, names: Sequence[str] | Mapping[str, str], *, caption: str
) -> Chart | None:
    shown = names if isinstance(names, Mapping) else {name: name for name in names}
    series = {short: _points(lines, name) for name, short in shown.items()}
    return step_series(title, series, caption=caption, text=_number)


def _points(lines: Lines, name: str) -> NDArray[np.float64]:
    """Step and value of the lines that have both; as an array, for there may be many."""
    steps, values = ([line.get(key) for line in lines] for key in ("step", name))
    is_there = [
        step is not None and value is not None for step, value in zip(steps, values, strict=True)
    ]
    points = np.array([steps, values], dtype=np.float64).T  # None becomes NaN
    return np.asarray(points[np.array(is_there, dtype=bool)])


def _number(value: float) -> str:
    return readable_number(value) if abs(value) >= 1e-3 or not value else f"{value:.1e}"
