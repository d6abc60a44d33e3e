"""Which models are worth having, and that their chart can be read."""

import itertools

import numpy as np
import pytest

from jobs.evaluation_pareto import Candidate, cost_charts, pareto_front, scatter
from jobs.evaluation_summary import summarise_results
from jobs.evaluation_words import short_name
from jobs.report_charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH
from tests.evaluation_factories import benchmark_result, evaluated


def candidates(points):
    return [
        Candidate(name=f"model-{i}", x=x, y=y, low=y - 0.01, high=y + 0.01, text="")
        for i, (x, y) in enumerate(points)
    ]


def draw(points, **changes):
    ways = {"more_x": True, "more_y": False, "note": "n", "caption": "c"} | changes
    return scatter("t", candidates(points), **ways)


def draw_named(name):
    candidate = Candidate(name=name, x=1.0, y=0.1, low=0.1, high=0.1, text="")
    return scatter("t", [candidate], more_x=True, more_y=True, note="n", caption="c")


@pytest.mark.parametrize("more_x", [False, True])
@pytest.mark.parametrize("more_y", [False, True])
def test_the_front_is_what_brute_force_finds(more_x, more_y):
    points = [tuple(map(float, each)) for each in np.random.default_rng(0).integers(0, 9, (40, 2))]
    better_x, better_y = (max if more else min for more in (more_x, more_y))

    def beats(a, b):
        return a != b and better_x(a[0], b[0]) == a[0] and better_y(a[1], b[1]) == a[1]

    expected = {i for i, b in enumerate(points) if not any(beats(a, b) for a in points)}
    found = pareto_front(points, more_x=more_x, more_y=more_y)
    assert set(found) == expected
    assert [points[i][0] for i in found] == sorted(points[i][0] for i in found)


def test_a_single_model_is_its_own_front():
    assert pareto_front([(1.0, 2.0)], more_x=True, more_y=True) == [0]
    assert draw([(5.0, 0.1)]).front == ""


def test_outdone_models_are_marked_and_the_line_joins_the_others():
    chart = draw([(1.0, 0.05), (10.0, 0.10), (5.0, 0.2)])
    assert [point.outdone for point in chart.points] == [False, False, True]
    kept = [f"{point.x},{point.y}" for point in chart.points[:2]]
    assert chart.front.split() == kept


def test_lower_errors_are_lower_and_faster_is_further_right():
    near, far = draw([(1.0, 0.05), (100.0, 0.10)]).points
    assert near.x < far.x and near.y > far.y
    for point in (near, far):
        assert point.top < point.y < point.bottom
        assert LEFT <= point.x <= WIDTH - RIGHT and point.top >= TOP
        assert point.bottom <= HEIGHT - BOTTOM


def test_speeds_are_equally_far_apart_that_are_by_the_same_factor():
    a, b, c = (point.x for point in draw([(1.0, 0.1), (10.0, 0.1), (100.0, 0.1)]).points)
    assert b - a == pytest.approx(c - b, abs=0.2)


def test_names_do_not_lie_over_each_other():
    chart = draw([(5.0, 0.1), (5.0, 0.1), (5.1, 0.1001), (4.9, 0.0999)])
    boxes = []
    for point in chart.points:
        width = 6 * len(point.label)
        left = point.label_x - (width if point.anchor == "end" else 0)
        boxes.append((left, left + width, point.label_y))
    for (a, b, y), (c, d, z) in itertools.combinations(boxes, 2):
        assert b <= c or d <= a or abs(y - z) >= 11.9


@pytest.mark.parametrize("x", [1.0, 1e-3, 1e9])
def test_names_stay_inside(x):
    for point in draw([(x, 0.1), (x * 50, 0.1)]).points:
        width = 6 * len(point.label)
        start = point.label_x - (width if point.anchor == "end" else 0)
        assert start >= LEFT and start + width <= WIDTH


def test_names_are_short_but_different():
    assert short_name("org/model", ["org/model", "other"]) == "model"
    assert short_name("a/model", ["a/model", "b/model"]) == "a/model"
    assert len(draw_named("x" * 90).points[0].label) == 28


def test_speeds_of_different_devices_are_in_different_charts():
    results = [
        benchmark_result("a", device="cpu", forward_images_per_s=2.0),
        benchmark_result("b", device="H200", forward_images_per_s=200.0),
        benchmark_result("c", device=None, forward_images_per_s=None),
    ]
    rows = summarise_results(results, [])["results"]
    models = {name: {"parameters": evaluated(name).parameters} for name in "abc"}
    charts = [*cost_charts(rows, models)]
    assert [len(chart.points) for chart in charts] == [1, 1, 3]
    assert "cpu" in charts[0].note and "H200" in charts[1].note
    assert [*cost_charts(rows[:1], models)] == [], "one model has nothing to be held against"
