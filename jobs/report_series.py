"""What went on over steps or over time, as charts that stay readable when there is a lot of it.

Thousands of values become some hundred buckets: a line through their means in a band from their
smallest to their largest, so that a spike of one value stays visible. What is not finite is a mark
of its own. Over time, pauses are cut out and marked, so that days with two hours of work in them
show those two hours.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from jobs.readable import readable_duration
from jobs.report_charts import (
    BOTTOM,
    CHARACTER,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Chart,
    Curve,
    Tick,
    nice_ceiling,
    scale,
    x_ticks,
    y_ticks,
)

Points = Sequence[tuple[float, float]] | NDArray[np.float64]  # rows of x and y
Series = Mapping[str, Points]
Text = Callable[[float], str]
BUCKETS = 240
FLAWS_SHOWN = 50  # marks; their number is in the note in any case
CUT = 14.0  # width of a pause that was cut out
LEAST_SHARE = 0.02  # of the axis, for a stretch however short
MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
TIME_STEPS = (
    *(1.0, 5.0, 15.0, 30.0, MINUTE, 5 * MINUTE, 15 * MINUTE, 30 * MINUTE),
    *(HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, DAY, 2 * DAY, 7 * DAY, 28 * DAY),
)


@dataclass(frozen=True, slots=True)
class Bucket:
    """Neighbouring values as one: their mean place, smallest, mean and largest."""

    x: float
    low: float
    mean: float
    high: float


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of a time axis without a pause, and where it lies in the drawing."""

    first: float
    last: float
    left: float
    right: float

    def place(self, moment: float) -> float:
        """Where a moment lies; the middle where the stretch has no length."""
        if self.last == self.first:
            return (self.left + self.right) / 2
        share = (moment - self.first) / (self.last - self.first)
        return self.left + share * (self.right - self.left)


def step_series(
    title: str, series: Series, *, caption: str, text: Text = lambda value: f"{value:.3g}"
) -> Chart | None:
    """Lines over steps from (step, value) pairs; None where no series has a finite value."""
    steps = _steps(series)
    if not steps.size:
        return None
    low, high = float(steps.min()), float(steps.max())
    axis = (Stretch(low, high, LEFT, WIDTH - RIGHT),)
    chart = _drawn(title, series, axis, caption=caption, text=text, flaw="at step {:,.0f}")
    return chart and replace(chart, x_ticks=x_ticks(low, high, lambda step: f"{step:,.0f}"))


def time_series(
    title: str,
    series: Series,
    *,
    caption: str,
    pause_s: float | None = None,
    text: Text = lambda value: f"{value:.3g}",
) -> Chart | None:
    """Lines over time from (seconds since 1970, value) pairs; None without a finite value.

    Args:
        title: Above the chart.
        series: By name.
        caption: What is drawn.
        pause_s: Longest time without any value that is drawn at its length; a longer one is cut
            out, marked, and interrupts every line. None cuts nothing.
        text: How a value is written.
    """
    moments = _steps(series)
    if not moments.size:
        return None
    axis = stretches(moments, pause_s=pause_s)
    chart = _drawn(title, series, axis, caption=caption, text=text, flaw="at {}")
    if chart is None:
        return None
    gaps = tuple(
        Tick(
            round((one.right + other.left) / 2, 1),
            f"{readable_duration(other.first - one.last)} without any",
        )
        for one, other in itertools.pairwise(axis)
    )
    return replace(chart, x_ticks=tuple(_time_marks(axis)), gaps=gaps)


def buckets(
    points: NDArray[np.float64], first: float, last: float, *, most: int = BUCKETS
) -> list[Bucket]:
    """Finite (x, y) rows in so many intervals of equal width, in order; empty ones are left out."""
    if not len(points):
        return []
    share = (points[:, 0] - first) / ((last - first) or 1.0)
    which = np.clip((share * most).astype(int), 0, most - 1)
    order = np.argsort(which, kind="stable")  # once, not a look at all points per bucket
    xs, ys = points[order].T
    starts = np.flatnonzero(np.diff(which[order], prepend=-1))
    counts = np.diff(starts, append=len(points))
    columns = (
        np.add.reduceat(xs, starts) / counts,
        np.minimum.reduceat(ys, starts),
        np.add.reduceat(ys, starts) / counts,
        np.maximum.reduceat(ys, starts),
    )
    return [Bucket(*map(float, row)) for row in zip(*columns, strict=True)]


def stretches(moments: NDArray[np.float64], *, pause_s: float | None) -> tuple[Stretch, ...]:
    """The parts of a time axis, in proportion to their length, between pauses of fixed width."""
    ordered = np.unique(moments)
    longest = math.inf if pause_s is None else pause_s
    cuts = np.flatnonzero(np.diff(ordered) > longest) + 1
    parts = np.split(ordered, cuts)
    lengths = np.array([part[-1] - part[0] for part in parts])
    lengths = np.maximum(lengths, LEAST_SHARE * (lengths.sum() or 1.0))
    cut = min(CUT, (WIDTH - RIGHT - LEFT) / (2 * len(parts)))
    widths = lengths / lengths.sum() * (WIDTH - RIGHT - LEFT - cut * (len(parts) - 1))
    lefts = LEFT + np.concatenate([[0.0], np.cumsum(widths + cut)[:-1]])
    return tuple(
        Stretch(float(part[0]), float(part[-1]), float(left), float(left + width))
        for part, left, width in zip(parts, lefts, widths, strict=True)
    )


def _drawn(
    title: str, series: Series, axis: Sequence[Stretch], *, caption: str, text: Text, flaw: str
) -> Chart | None:
    """Curves and marks of flaws on a vertical axis; the horizontal one is the caller's."""
    parts = {name: list(_parts(points, axis)) for name, points in series.items()}
    parts = {name: [p for p in some if p[1]] for name, some in parts.items()}
    parts = {name: some for name, some in parts.items() if some}
    if not parts:
        return None
    every = [each for some in parts.values() for _, found in some for each in found]
    low = min(0.0, *(each.low for each in every))
    high = nice_ceiling(max(each.high for each in every))
    flaws = [*_flaws(series, axis, flaw)]
    return Chart(
        title=title,
        caption=caption,
        note=f"{len(flaws):,} not finite" if flaws else "",
        x_ticks=(),
        y_ticks=y_ticks(low, high, text),
        curves=tuple(_curve(name, some, (low, high)) for name, some in parts.items()),
        flaws=tuple(flaws[:FLAWS_SHOWN]),
    )


def _parts(points: Points, axis: Sequence[Stretch]) -> Iterator[tuple[Stretch, list[Bucket]]]:
    """The buckets of one series by stretch."""
    array = _array(points)
    finite = array[np.isfinite(array).all(axis=1)]
    for stretch in axis:
        xs = finite[:, 0]
        inside = finite[(xs >= stretch.first) & (xs <= stretch.last)]
        share = (stretch.right - stretch.left) / (WIDTH - RIGHT - LEFT)
        most = max(round(share * BUCKETS), 1)
        yield stretch, buckets(inside, stretch.first, stretch.last, most=most)


def _curve(
    name: str, parts: Sequence[tuple[Stretch, Sequence[Bucket]]], ends: tuple[float, float]
) -> Curve:
    lines, bands = [], []
    for stretch, found in parts:
        xs = [stretch.place(each.x) for each in found]
        lines.append(_coordinates(xs, [each.mean for each in found], ends))
        if len(found) > 1 and any(each.low < each.high for each in found):
            there = _coordinates(xs, [each.high for each in found], ends)
            back = _coordinates(xs[::-1], [each.low for each in reversed(found)], ends)
            bands.append(f"{there} {back}")
    return Curve(name, lines[0], more=tuple(lines[1:]), bands=tuple(bands))


def _coordinates(xs: Sequence[float], values: Sequence[float], ends: tuple[float, float]) -> str:
    ys = scale(values, *ends, HEIGHT - BOTTOM, TOP)
    pairs = [f"{x:.1f},{y:.1f}" for x, y in zip(xs, ys, strict=True)]
    return " ".join(pairs if len(pairs) > 1 else 2 * pairs)  # one point is a dot, of round ends


def _flaws(series: Series, axis: Sequence[Stretch], where: str) -> Iterator[Tick]:
    for name, points in series.items():
        array = _array(points)
        for x, y in array[np.isfinite(array[:, 0]) & ~np.isfinite(array[:, 1])]:
            stretch = next(each for each in axis if x <= each.last)
            said = where.format(x if ":" in where else _moment(x, "%Y-%m-%d %H:%M:%S"))
            yield Tick(round(stretch.place(x), 1), f"{name} is {y:g} {said}")


def _steps(series: Series) -> NDArray[np.float64]:
    """All finite places of all series."""
    every = np.concatenate([np.empty((0, 2)), *map(_array, series.values())])
    return np.asarray(every[np.isfinite(every[:, 0]), 0])


def _array(points: Points) -> NDArray[np.float64]:
    return np.asarray(points, dtype=np.float64).reshape(-1, 2)


def _time_marks(axis: Sequence[Stretch]) -> Iterator[Tick]:
    """The beginning of each stretch, and round times inside it; the date where it changes.

    Only those that do not overlap the one before, nor reach over the end.
    """
    day, end = "", 0.0
    for moment, at, step in _round_times(axis):
        today = _moment(moment, "%m-%d")
        said = today if step >= DAY else _moment(moment, "%H:%M:%S" if step < MINUTE else "%H:%M")
        if today != day and step < DAY:
            said = f"{today} {said}"
        half = (len(said) + 1) * CHARACTER / 2
        left, right = (at, at + 2 * half) if not day else (at - half, at + half)
        if left >= end and right <= WIDTH:
            day, end = today, right
            yield Tick(round(at, 1), said)


def _round_times(axis: Sequence[Stretch]) -> Iterator[tuple[float, float, float]]:
    """Moments that could be named, where they lie, and the step between them."""
    for stretch in axis:
        room = max((stretch.right - stretch.left) / (10 * CHARACTER), 1.0)
        least = (stretch.last - stretch.first) / room
        step = next((step for step in TIME_STEPS if step >= least), TIME_STEPS[-1])
        inside = range(math.floor(stretch.first / step) + 1, math.floor(stretch.last / step) + 1)
        for moment in (stretch.first, *(number * step for number in inside)):
            yield moment, stretch.place(moment), step


def _moment(seconds: float, form: str) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime(form)
