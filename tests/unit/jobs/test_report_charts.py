import itertools
import math

import numpy as np
import pytest

from jobs.report_charts import (
    BOTTOM,
    CURVE_POINTS,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    curves,
    histogram,
    nice_ceiling,
    ticks,
)


def counted(chart) -> list[int]:
    return [int(bar.text.rpartition(": ")[2].replace(",", "")) for bar in chart.bars]


@pytest.mark.parametrize("log", [False, True])
def test_every_value_is_counted_once(log):
    values = np.random.default_rng(0).lognormal(size=5000)
    chart = histogram("t", values, caption="c", log=log)
    assert sum(counted(chart)) == 5000


def test_what_is_not_a_number_is_left_out():
    chart = histogram("t", [1, 2, np.nan, np.inf, -np.inf], caption="c", bins=2)
    assert sum(counted(chart)) == 2
    assert sum(counted(histogram("t", [-1, 0, 5, 50], caption="c", log=True))) == 2


@pytest.mark.parametrize("value", [0.0, -3.0, 7.0, 1e-30])
def test_equal_values_are_one_bar(value):
    chart = histogram("t", [value] * 9, caption="c", unit="m")
    assert counted(chart) == [9]
    [bar], [tick] = chart.bars, chart.x_ticks
    assert bar.width < (WIDTH - LEFT - RIGHT) / 20, "a bar among many, not all of the axis"
    assert bar.x < tick.at < bar.x + bar.width
    assert chart.note == f"all {tick.text} m"
    assert float(tick.text) == value


def test_nothing_to_count_is_no_chart():
    assert histogram("t", [], caption="c") is None
    assert histogram("t", [np.nan], caption="c") is None
    assert histogram("t", [-1], caption="c", log=True) is None


def test_heights_are_proportional_to_counts_and_stay_inside():
    chart = histogram("t", [0] * 30 + [1] * 10, caption="c", bins=2)
    tall, short = (bar.height for bar in chart.bars)
    assert tall == pytest.approx(3 * short, abs=0.2)
    for bar in chart.bars:
        assert bar.x >= LEFT and bar.x + bar.width <= WIDTH - RIGHT + 1
        assert bar.y >= TOP and bar.y + bar.height == pytest.approx(HEIGHT - BOTTOM, abs=0.2)


def test_the_median_is_in_the_note():
    assert histogram("t", [1, 2, 40], caption="c", unit="px").note == "median 2 px"


@pytest.mark.parametrize("count", [1, 2, 3, 7, 23, 61, 1000, 123456])
def test_counts_on_the_axis_are_whole(count):
    chart = histogram("t", [5] * count, caption="c")
    marks = [float(tick.text.replace(",", "")) for tick in chart.y_ticks]
    assert marks == sorted(set(marks)) and all(mark == int(mark) for mark in marks)
    assert marks[-1] >= count / 2


@pytest.mark.parametrize(("low", "high"), [(1, 3), (30, 4000), (0.001, 0.5), (640, 641), (1, 1e9)])
@pytest.mark.parametrize("log", [False, True])
def test_marks_on_the_axis_do_not_overlap(low, high, log):
    chart = histogram("t", [low, high], caption="c", log=log)
    places = [tick.at for tick in chart.x_ticks]
    assert len(places) >= 2
    assert all(b - a >= 44 for a, b in itertools.pairwise(places))
    assert places[0] >= LEFT and places[-1] <= WIDTH - RIGHT


def test_long_marks_keep_more_room():
    def text(ratio):
        return f"1 : {1 / ratio:.3g}"

    marks = [1 / 2, 9 / 16, 2 / 3, 3 / 4, 1]
    chart = histogram("t", [0.5, 2.0], caption="c", log=True, marks=marks, text=text)
    first, second = chart.x_ticks[:2]
    assert second.at - first.at >= 6 * len(first.text), "the first text begins at its place"


def test_given_marks_are_used_where_they_fall_on_the_axis():
    chart = histogram("t", [0.6, 2.1], caption="c", log=True, marks=(0.1, 1.0, 2.0, 9.0))
    assert [tick.text for tick in chart.x_ticks] == ["1", "2"]
    share = math.log(1 / 0.6) / math.log(2.1 / 0.6)
    assert chart.x_ticks[0].at == pytest.approx(LEFT + share * (WIDTH - LEFT - RIGHT), abs=0.1)


@pytest.mark.parametrize(
    ("value", "ceiling"), [(0, 1), (-5, 1), (1, 1), (1.01, 2), (3, 5), (70, 100), (0.03, 0.05)]
)
def test_nice_ceilings(value, ceiling):
    assert nice_ceiling(value) == pytest.approx(ceiling)


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3, 3), (0.2, 0.9), (13, 9000), (5, 5)])
def test_ticks_are_round_numbers_inside(low, high):
    marks = ticks(low, high)
    assert 1 <= len(marks) <= 7
    assert all(low - 1e-9 <= mark <= high + 1e-9 for mark in marks)


def test_curves_are_drawn_on_common_axes():
    chart = curves("t", {"a": [(0, 0), (10, 4)], "b": [(0, 2), (10, 2)]}, caption="c")
    assert [curve.name for curve in chart.curves] == ["a", "b"]
    first, last = (tuple(map(float, p.split(","))) for p in chart.curves[0].points.split())
    assert first == (LEFT, HEIGHT - BOTTOM)
    assert last[0] == WIDTH - RIGHT
    level = {point.split(",")[1] for point in chart.curves[1].points.split()}
    assert len(level) == 1


def test_long_curves_are_averaged_and_say_so():
    line = [(step, step % 2) for step in range(3000)]
    chart = curves("t", {"a": line}, caption="c")
    heights = {float(point.split(",")[1]) for point in chart.curves[0].points.split()}
    assert len(chart.curves[0].points.split()) == CURVE_POINTS
    assert len(heights) == 1  # the mean of 0 and 1, everywhere
    assert "10" in chart.note


def test_points_that_are_not_finite_are_left_out():
    chart = curves("t", {"a": [(0, 1), (1, math.nan), (2, 3)], "b": [(0, 1)]}, caption="c")
    [curve] = chart.curves
    assert len(curve.points.split()) == 2
    assert curves("t", {"a": [(0, 1)]}, caption="c") is None
