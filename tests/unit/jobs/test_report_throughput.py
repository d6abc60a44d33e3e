"""Throughput: the area below the lines is the number of images, and pauses are cut out."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.report_throughput import pause_of, rates, sessions, throughput_section
from pipeline.catalog_commits import Commit

HOUR = 3600.0


def owner(pid: int) -> str:
    return f"host:ns:{pid}:5:nonce"


def steady(start: float, *, shards: int, every: float = 60.0, pid: int = 1) -> list[Commit]:
    """One shard of 600 images after another."""
    return [
        Commit(start + n * every, start + (n + 1) * every, 600, owner(pid), every / 2)
        for n in range(shards)
    ]


intervals = st.lists(
    st.tuples(st.floats(0, 1e5), st.floats(0.1, 1e4), st.integers(1, 1000)), min_size=1, max_size=30
)


@settings(max_examples=60, deadline=None)
@given(intervals)
def test_the_area_is_the_number_of_images(found: list[tuple[float, float, int]]) -> None:
    commits = [Commit(began, began + took, images, "me") for began, took, images in found]
    edges = np.linspace(min(c.began for c in commits), max(c.at for c in commits), 38)
    area = (rates(commits, edges) * np.diff(edges)).sum()
    assert area == pytest.approx(sum(c.images for c in commits))


@settings(max_examples=60, deadline=None)
@given(intervals, st.floats(0, 5e3))
def test_sessions_hold_every_commit_and_lie_a_pause_apart(
    found: list[tuple[float, float, int]], pause_s: float
) -> None:
    commits = [Commit(began, began + took, images, "me") for began, took, images in found]
    parts = sessions(commits, pause_s=pause_s)
    assert sum(len(part.commits) for part in parts) == len(commits)
    for before, after in pairwise(parts):
        assert after.began - before.ended > pause_s
    for part in parts:
        moments = np.linspace(part.began, part.ended, 200)
        idle = [m for m in moments if not any(c.began - pause_s <= m <= c.at for c in part.commits)]
        assert idle == []


def test_days_with_three_sessions_show_the_sessions() -> None:
    commits = [
        *steady(0, shards=30),
        *steady(24 * HOUR, shards=60, every=30, pid=2),
        *steady(72 * HOUR, shards=30, pid=3),
    ]
    section = throughput_section(commits, what="labelled")
    assert section is not None
    (chart,) = section.charts
    assert [gap.text for gap in chart.gaps] == [
        "23 h 30 min without any",
        "47 h 30 min without any",
    ]
    names = [curve.name for curve in chart.curves]
    assert names == [f"process {pid} on host" for pid in (1, 2, 3)]
    drivers, parts = section.tables
    assert (drivers.title, parts.title) == ("Drivers", "Sessions")
    assert [row[-1] for row in parts.rows] == ["10", "20", "10"]
    assert [row[4] for row in parts.rows] == ["18,000", "36,000", "18,000"]
    facts = {fact.label: fact.value for fact in section.facts}
    assert facts["At work"] == "1 h 30 min"
    assert facts["Pace"] == "13.3 images/s"
    assert facts["In the network"] == "50%"


def test_a_short_break_is_no_pause_and_counts_as_work() -> None:
    commits = [*steady(0, shards=100), *steady(100 * 60 + 90, shards=100)]
    assert pause_of(commits) > 90
    section = throughput_section(commits, what="labelled")
    assert section is not None
    assert section.text == "Made in one go."
    assert section.charts[0].gaps == ()


def test_two_drivers_at_once_are_two_lines_of_their_own_rate() -> None:
    commits = [*steady(0, shards=50), *steady(0, shards=50, pid=2)]
    section = throughput_section(commits, what="labelled")
    assert section is not None
    facts = {fact.label: fact.value for fact in section.facts}
    assert facts["Pace"] == "20 images/s"
    assert facts["At the same time"] == "2.0 shards"
    first, second = section.charts[0].curves
    assert first.points == second.points


def test_many_drivers_are_few_lines() -> None:
    commits = [each for pid in range(1, 10) for each in steady(0, shards=10 + pid, pid=pid)]
    section = throughput_section(commits, what="labelled")
    assert section is not None
    names = [curve.name for curve in section.charts[0].curves]
    assert sorted(names) == [
        "6 other drivers", "process 7 on host", "process 8 on host", "process 9 on host",
    ]  # fmt: skip


def test_few_shards_are_no_line_and_nothing_is_no_section() -> None:
    section = throughput_section(steady(0, shards=1), what="ingested")
    assert section is not None
    assert section.charts == ()
    assert section.text == "Made in one go, as one shard."
    assert throughput_section([], what="ingested") is None
    assert throughput_section([Commit(5.0, 5.0, 9, "me")], what="ingested") is None
