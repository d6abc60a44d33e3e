"""Layers of a graph: after what a thing was made of, no circles, no overlap, and level."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.graph_layers import centres_of, layers, order_, with_passing, without_circles


def test_a_thing_stands_after_the_last_it_was_made_of_and_a_source_just_before_its_use() -> None:
    after = {"a": ["b"], "b": ["c"], "c": ["d"], "late": ["d"], "d": [], "alone": []}
    assert layers(after, after) == {"a": 0, "b": 1, "c": 2, "late": 2, "d": 3, "alone": 0}


def test_a_circle_is_cut_where_it_was_closed() -> None:
    after = without_circles("abc", [("a", "b"), ("b", "c"), ("c", "a"), ("a", "a"), ("x", "b")])
    assert after == {"a": ["b"], "b": ["c"], "c": []}


def test_a_link_over_several_layers_has_a_place_in_each() -> None:
    after = {"a": ["b", "d"], "b": ["c"], "c": ["d"], "d": []}
    placed = with_passing(layers(after, after), after)
    assert [len(row) for row in placed.rows] == [1, 2, 2, 1]


def test_crossed_links_are_uncrossed() -> None:
    after = {"a": ["y"], "b": ["x"], "x": [], "y": []}
    placed = with_passing({"a": 0, "b": 0, "x": 1, "y": 1}, after)
    assert placed.rows == [["a", "b"], ["x", "y"]]
    order_(placed)
    assert placed.rows in ([["a", "b"], ["y", "x"]], [["b", "a"], ["x", "y"]])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(1, 90), min_size=1, max_size=12), st.floats(0, 20))
def test_places_keep_their_order_and_a_gap(heights: list[float], gap: float) -> None:
    names = [f"{number}" for number in range(len(heights))]
    height = {"root": 30.0, **dict(zip(names, heights, strict=True))}
    after = {"root": names, **{name: [] for name in names}}
    placed = with_passing(layers(after, after), after)
    centres = centres_of(placed, height, gap=gap)
    for upper, lower in pairwise(names):
        apart = centres[lower] - centres[upper]
        assert apart >= (height[upper] + height[lower]) / 2 + gap - 1e-6
    assert abs(min(centres[key] - height[key] / 2 for key in centres)) < 1e-9
    mean = sum(centres[name] for name in names) / len(names)
    assert abs(centres["root"] - mean) < 1e-6 * max(1.0, mean)
