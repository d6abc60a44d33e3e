"""Geometry of a graph: every thing has a place of its own, and every link goes to the right."""

import re
from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.graph_layers import without_circles
from jobs.report_graph import (
    BOX_HEIGHT,
    BOX_WIDTH,
    GAP_Y,
    Box,
    Graph,
    Thing,
    clipped,
    laid_out,
)

NUMBERS = re.compile(r"-?\d+(?:\.\d+)?")


def things(count: int, kind: str = "source") -> list[Thing]:
    return [Thing(f"{kind} {number}", kind, f"n{number}") for number in range(count)]


def overlap(one: Box, other: Box) -> bool:
    apart = abs(one.x - other.x) >= BOX_WIDTH or abs(one.y - other.y) >= BOX_HEIGHT
    return not apart


def ends(path: str) -> tuple[tuple[float, float], tuple[float, float]]:
    """Where a path begins and ends."""
    numbers = [float(each) for each in NUMBERS.findall(path)]
    return (numbers[0], numbers[1]), (numbers[-2], numbers[-1])


def joined(graph: Graph) -> set[tuple[str, str]]:
    """Keys of the boxes at the two ends of each link, found by their places alone."""
    out = {(box.x + BOX_WIDTH, round(box.y + BOX_HEIGHT / 2, 1)): box.key for box in graph.boxes}
    into = {(box.x, round(box.y + BOX_HEIGHT / 2, 1)): box.key for box in graph.boxes}
    return {(out[first], into[last]) for first, last in map(ends, graph.paths)}


graphs = st.integers(1, 14).flatmap(
    lambda count: st.tuples(
        st.just(count),
        st.lists(st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)), max_size=40),
    )
)


@settings(max_examples=60, deadline=None)
@given(graphs)
def test_any_graph_keeps_apart_and_goes_right(graph: tuple[int, list[tuple[int, int]]]) -> None:
    count, pairs = graph
    every = [Thing(f"{number}", f"kind {number % 5}", f"n{number}") for number in range(count)]
    drawn = laid_out(every, [(f"{a}", f"{b}") for a, b in pairs], most=99)
    assert {box.key for box in drawn.boxes} == {thing.key for thing in every}
    assert not any(overlap(one, other) for one, other in combinations(drawn.boxes, 2))
    for box in drawn.boxes:
        assert 0 <= box.x <= drawn.width - BOX_WIDTH
        assert 0 <= box.y <= drawn.height - BOX_HEIGHT
    after = without_circles(
        {thing.key: thing for thing in every}, [(f"{a}", f"{b}") for a, b in pairs]
    )
    kept = {(left, right) for left in after for right in after[left]}
    assert joined(drawn) == kept
    for path in drawn.paths:
        (x0, _), (x1, _) = ends(path)
        assert x1 > x0


@settings(max_examples=60, deadline=None)
@given(graphs)
def test_no_link_crosses_a_box_on_its_way(graph: tuple[int, list[tuple[int, int]]]) -> None:
    """Where a link passes a layer it is level, and no box of that layer is at that height."""
    count, pairs = graph
    drawn = laid_out(things(count), [(f"source {a}", f"source {b}") for a, b in pairs], most=99)
    for path in drawn.paths:
        level = re.findall(r"([\d.]+),([\d.]+)H([\d.]+)", path)
        for left, y, right in level:
            crossed = [
                box
                for box in drawn.boxes
                if float(left) <= box.x + 1 and box.x + BOX_WIDTH - 1 <= float(right)
                and box.y < float(y) < box.y + BOX_HEIGHT
            ]  # fmt: skip
            assert crossed == []


def test_too_many_of_a_kind_become_one_box_with_all_their_links() -> None:
    models = [Thing("m", "model", "m"), Thing("n", "model", "n")]
    links = [(f"source {n}", "m" if n % 2 else "n") for n in range(25)]
    drawn = laid_out([*things(25), *models], links, most=9)
    sources = [box for box in drawn.boxes if box.kind == "source"]
    assert len(sources) == 9
    (more,) = (box for box in sources if box.name == "and 17 more")
    assert "n24" in more.title
    assert {right for left, right in joined(drawn) if left == more.key} == {"m", "n"}


def test_the_subject_and_what_is_marked_are_never_among_the_more() -> None:
    many = things(30)
    many[28] = Thing("s28", "source", "subject", is_subject=True)
    many[29] = Thing("s29", "source", "gone", marks=("withdrawn", "terms unknown"))
    drawn = laid_out(many, [], most=4)
    shown = {box.name: box for box in drawn.boxes}
    assert set(shown) == {"subject", "gone", "n0", "and 27 more"}
    assert shown["gone"].mark == "withdrawn +"
    assert shown["gone"].title == "source gone\nwithdrawn, terms unknown"


def test_neighbours_stand_level() -> None:
    drawn = laid_out(things(3), [("source 0", "source 1"), ("source 1", "source 2")])
    assert len({box.y for box in drawn.boxes}) == 1
    fork = laid_out(things(3), [("source 0", "source 2"), ("source 1", "source 2")])
    upper, lower, joint = sorted(fork.boxes, key=lambda box: (box.x, box.y))
    assert lower.y - upper.y == BOX_HEIGHT + GAP_Y
    assert joint.y == (upper.y + lower.y) / 2


def test_nothing_is_an_empty_drawing() -> None:
    assert laid_out([], []).boxes == ()


def test_names_are_clipped_by_their_width() -> None:
    assert clipped("abcdef", 6) == "abcdef"
    assert clipped("abcdefg", 6) == "abcde…"
    assert clipped("写真写真写真", 6) == "写真…"
    assert clipped("WWWWWW", 6) == "WW…"
    assert clipped("a\n  b", 6) == "a b"
