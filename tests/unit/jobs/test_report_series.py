import itertools
import math

import numpy as np
import pytest

from jobs.report_charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH
from jobs.report_series import BUCKETS, LEAST_SHARE, buckets, step_series, stretches, time_series

DAY = 86400.0
START = 1_770_000_000.0


def coordinates(text: str) -> np.ndarray:
    return np.array([pair.split(",") for pair in text.split()], dtype=float)


def test_every_value_lies_in_the_band_of_its_bucket():
    rng = np.random.default_rng(0)
    points = np.column_stack([np.sort(rng.uniform(0, 1e6, 5000)), rng.lognormal(size=5000)])
    found = buckets(points, 0, 1e6)
    assert len(found) <= BUCKETS
    width = 1e6 / BUCKETS
    for each in found:
        number = int(each.x // width)
        own = points[(points[:, 0] // width).astype(int) == number, 1]
        assert (each.low, each.high) == (own.min(), own.max())
        assert each.mean == pytest.approx(own.mean())


def test_one_spike_in_a_hundred_thousand_steps_stays_visible():
    values = [(step, 50.0 if step == 70_001 else 1.0) for step in range(100_000)]
    chart = step_series("Loss", {"loss": values}, caption="c")
    (curve,) = chart.curves
    highest = min(coordinates(curve.bands[0])[:, 1])
    line = min(coordinates(curve.points)[:, 1])
    assert highest == pytest.approx(TOP, abs=0.2)  # the axis ends at 50
    assert line > highest + 100


def test_short_series_are_drawn_point_by_point_without_a_band():
    chart = step_series("t", {"a": [(0, 1.0), (10, 3.0), (20, 5.0)]}, caption="c")
    (curve,) = chart.curves
    assert curve.bands == ()
    drawn = coordinates(curve.points)
    middle = (LEFT + WIDTH - RIGHT) / 2
    assert drawn[:, 0] == pytest.approx([LEFT, middle, WIDTH - RIGHT], abs=0.1)
    assert drawn[-1, 1] == pytest.approx(TOP, abs=0.1)
    assert drawn[0, 1] - drawn[1, 1] == pytest.approx(drawn[1, 1] - drawn[2, 1], abs=0.2)


def test_what_is_not_finite_is_a_mark_that_says_so():
    series = {"loss": [(0, 1.0), (1, math.nan), (2, math.inf), (3, 1.0)]}
    chart = step_series("t", series, caption="c")
    assert [flaw.text for flaw in chart.flaws] == [
        "loss is nan at step 1",
        "loss is inf at step 2",
    ]
    assert chart.note == "2 not finite"
    timed = time_series("t", {"loss": [(START, 1.0), (START + 9, math.nan)]}, caption="c")
    assert timed.flaws[0].text == "loss is nan at 2026-02-02 02:40:09"


def test_nothing_to_draw_is_no_chart():
    assert step_series("t", {}, caption="c") is None
    assert step_series("t", {"a": []}, caption="c") is None
    assert step_series("t", {"a": [(0, math.nan)]}, caption="c") is None
    assert time_series("t", {"a": [(math.nan, 1.0)]}, caption="c") is None


def test_pauses_are_cut_and_lines_interrupted():
    session = np.arange(0, 3600, 60.0)
    moments = np.concatenate([START + session, START + 3 * DAY + session])
    points = [(moment, 5.0) for moment in moments]
    chart = time_series("Speed", {"me": points}, caption="c", pause_s=900)
    (curve,) = chart.curves
    assert len(curve.more) == 1
    before, after = coordinates(curve.points), coordinates(curve.more[0])
    # Both sessions are as long, and so as wide; the three days between them are a narrow gap.
    assert np.ptp(before[:, 0]) == pytest.approx(np.ptp(after[:, 0]), abs=0.2)
    assert next(t.text for t in chart.x_ticks if t.at > after[0, 0]).startswith("02-05 ")
    (gap,) = chart.gaps
    assert before[-1, 0] < gap.at < after[0, 0] < before[-1, 0] + 20
    assert gap.text == "71 h 1 min without any"
    whole = time_series("Speed", {"me": points}, caption="c")
    assert whole.gaps == () and whole.curves[0].more == ()


def test_stretches_are_in_order_proportional_and_fill_the_axis():
    rng = np.random.default_rng(1)
    starts = START + np.arange(40) * DAY
    moments = np.concatenate([start + rng.uniform(0, 3600 * (n % 5), 50)
                              for n, start in enumerate(starts)])  # fmt: skip
    axis = stretches(moments, pause_s=2 * 3600)
    assert len(axis) >= 40
    assert axis[0].left == LEFT and axis[-1].right == pytest.approx(WIDTH - RIGHT)
    for one, other in itertools.pairwise(axis):
        assert one.left < one.right < other.left
    lengths = np.array([each.last - each.first for each in axis])
    widths = np.array([each.right - each.left for each in axis])
    long = lengths > LEAST_SHARE * lengths.sum()
    assert np.ptp(widths[long] / lengths[long]) < 1e-9
    for each in axis:
        inside = [each.place(m) for m in moments if each.first <= m <= each.last]
        assert all(each.left - 1e-9 <= x <= each.right + 1e-9 for x in inside)


@pytest.mark.parametrize("span", [0, 3, 40, 700, 5000, 40_000, 3e5, 4e6, 9e7])
def test_marks_on_a_time_axis_do_not_overlap(span):
    points = [(START + span * share, 1.0) for share in np.linspace(0, 1, 30)]
    chart = time_series("t", {"a": points}, caption="c")
    assert 1 <= len(chart.x_ticks) <= 13
    assert chart.x_ticks[0].text.startswith("02-02")
    end = -1.0
    for number, tick in enumerate(chart.x_ticks):
        half = len(tick.text) * 5.5 / 2
        left = tick.at if number == 0 else tick.at - half
        assert left > end
        end = tick.at + (2 * half if number == 0 else half)


def test_curves_stay_inside():
    rng = np.random.default_rng(2)
    points = [(START + x, y) for x, y in zip(range(9000), rng.normal(size=9000), strict=True)]
    chart = time_series("t", {"a": points}, caption="c", pause_s=60)
    for text in (chart.curves[0].points, *chart.curves[0].bands):
        xs, ys = coordinates(text).T
        assert xs.min() >= LEFT - 0.1 and xs.max() <= WIDTH - RIGHT + 0.1
        assert ys.min() >= TOP - 0.1 and ys.max() <= HEIGHT - BOTTOM + 0.1
