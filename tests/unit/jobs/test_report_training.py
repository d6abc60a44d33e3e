"""Charts of a training run: what is drawn, and that nothing rare is lost."""

import math

import numpy as np

from jobs.report_charts import BOTTOM, HEIGHT, TOP
from jobs.report_training import (
    course_charts,
    not_finite,
    pace_charts,
    settings_facts,
    training_charts,
)


def test_training_charts_take_what_there_is():
    lines = [{"step": step, "loss": np.exp(-step), "labelled": None} for step in range(5)]
    (chart,) = training_charts(lines)
    assert [curve.name for curve in chart.curves] == ["loss"]
    assert training_charts([]) == ()
    scored = [{"step": n, "loss": 1.0, "validation/loss": 2.0 / n} for n in (1, 2)]
    loss, validation = training_charts(scored)
    assert (loss.title, validation.title) == ("Loss", "Validation")
    assert [curve.name for curve in validation.curves] == ["loss"]


def test_one_spike_among_thousands_of_steps_is_in_the_band():
    lines = [{"step": step, "loss": 1.0} for step in range(1, 20_001)]
    lines[7_777]["loss"] = 100.0
    (chart,) = training_charts(lines)
    (curve,) = chart.curves
    highest = min(float(pair.split(",")[1]) for band in curve.bands for pair in band.split())
    assert highest == TOP  # the axis ends at 100
    means = [float(pair.split(",")[1]) for pair in curve.points.split()]
    assert len(means) < 300
    assert HEIGHT - BOTTOM > max(means) > min(means) > TOP


def test_what_is_not_a_number_is_marked_and_counted():
    lines = [{"step": step, "loss": 1.0} for step in range(10)] + [{"step": 10, "loss": math.nan}]
    (chart,) = training_charts(lines)
    assert [flaw.text for flaw in chart.flaws] == ["loss is nan at step 10"]
    assert not_finite([*lines, {"step": 11, "loss": math.inf}]) == {"loss": 2}


def test_pace_and_course_are_drawn_where_they_were_measured():
    lines = [
        {"step": n, "images_per_s": 9.0, "data_wait_share": 0.1, "learning_rate_encoder": 1e-4}
        for n in range(3)
    ]
    assert [chart.title for chart in pace_charts(lines)] == [
        "Images per second",
        "Waiting for data",
    ]
    assert [chart.title for chart in course_charts(lines)] == ["Learning rate"]
    assert pace_charts([{"step": 1, "loss": 1.0}]) == ()


def test_settings_leave_out_what_was_not_given_and_places():
    config = {"store": "/secret", "steps": 5, "pseudo": ["a", "b"], "resume": False, "wandb": None}
    said = [(fact.label, fact.value) for fact in settings_facts(config)]
    assert said == [("Steps", "5"), ("Pseudo", "a, b")]
