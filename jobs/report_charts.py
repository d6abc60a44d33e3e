"""Histograms and curves as plain numbers: what the page's template draws as inline SVG.

Coordinates are those of the drawing's view box, 520 x 190; the template adds nothing but marks.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

WIDTH, HEIGHT = 520.0, 190.0
LEFT, RIGHT, TOP, BOTTOM = 50.0, 8.0, 8.0, 24.0
CURVE_POINTS = 300
TICK_DISTANCE = 44.0
CHARACTER = 6.0  # width of one in the text of a mark


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on an axis: where, and what it says."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of a histogram and what is said when it is pointed at."""

    x: float
    y: float
    width: float
    height: float
    text: str


@dataclass(frozen=True, slots=True)
class Curve:
    """One named line; its style is that of its place in the chart.

    Attributes:
        more: Parts of it beyond an interruption.
        bands: Outlines of what it is the mean of.
    """

    name: str
    points: str
    more: tuple[str, ...] = ()
    bands: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Point:
    """One mark of a scatter, a whisker where its height is not sure, and its name beside it.

    Attributes:
        label: At (label_x, label_y), which begins or ends there (``anchor``).
        text: What is said when it is pointed at.
        outdone: Whether another is no worse in either direction, and better in one.
    """

    x: float
    y: float
    top: float
    bottom: float
    label: str
    label_x: float
    label_y: float
    anchor: str
    text: str
    outdone: bool = False


@dataclass(frozen=True, slots=True)
class Chart:
    """A histogram (bars), curves or a scatter (points), with axes.

    Attributes:
        caption: What is counted, in words; also what a screen reader says.
        note: The middle of the distribution, or how the curves were drawn.
        front: A line through the points that no other outdoes.
        gaps: Where a piece of the axis was cut out, and how long it was.
        flaws: Where a value is none that can be drawn, and what it is.
    """

    title: str
    caption: str
    note: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    bars: tuple[Bar, ...] = ()
    curves: tuple[Curve, ...] = ()
    points: tuple[Point, ...] = ()
    front: str = ""
    gaps: tuple[Tick, ...] = ()
    flaws: tuple[Tick, ...] = ()


def histogram(
    title: str,
    values: ArrayLike,
    *,
    caption: str,
    unit: str = "",
    bins: int = 24,
    log: bool = False,
    marks: Sequence[float] = (),
    span: tuple[float, float] | None = None,
    text: Callable[[float], str] = lambda value: f"{value:.4g}",
) -> Chart | None:
    """Count values in bins of equal width; None where there is nothing to count.

    Args:
        title: Above the chart.
        values: Any shape; what is not finite (with ``log``: not positive) is left out.
        caption: What is counted.
        unit: Of the values, after the median.
        bins: How many; a bar in the middle where all values are equal.
        log: Equal width on a logarithmic axis.
        marks: Values to name on the axis where they fall on it, in place of round numbers.
        span: Ends of the axis, which all values lie between; None for those of the values.
        text: How a value is written.
    """
    given = np.asarray(values, dtype=np.float64).ravel()
    given = given[np.isfinite(given) & ((given > 0) | (not log))]
    if given.size == 0:
        return None
    edges = _edges(given if span is None else np.asarray(span), bins, log=log)
    counts = np.histogram(given, edges)[0]
    middle, is_one = text(float(np.median(given))), span is None and given.min() == given.max()

    def said(i: int) -> str:
        return middle if is_one else f"{text(edges[i])} – {text(edges[i + 1])}"

    place = np.log(edges) if log else edges
    xs = scale(place, place[0], place[-1], LEFT, WIDTH - RIGHT)
    top = max(nice_ceiling(float(counts.max())), 4.0)  # whole numbers on the axis
    ys = scale(counts, 0, top, HEIGHT - BOTTOM, TOP)
    bars = tuple(
        Bar(
            x=_round(xs[i]),
            y=_round(ys[i]),
            width=_round(max(xs[i + 1] - xs[i] - 1, 1)),
            height=_round(HEIGHT - BOTTOM - ys[i]),
            text=f"{said(i)}: {counts[i]:,}",
        )
        for i in range(len(counts))
        if counts[i]
    )
    return Chart(
        title=title,
        caption=caption,
        note=f"{'all' if is_one else 'median'} {middle}{' ' + unit if unit else ''}",
        x_ticks=(Tick((LEFT + WIDTH - RIGHT) / 2, middle),)
        if is_one
        else x_ticks(edges[0], edges[-1], text, log=log, marks=marks),
        y_ticks=y_ticks(0, top, lambda count: f"{count:,.0f}"),
        bars=bars,
    )


def curves(
    title: str, series: Mapping[str, Sequence[tuple[float, float]]], *, caption: str
) -> Chart | None:
    """Draw (x, y) pairs as lines on common axes; None where no series has two finite points.

    Long series are averaged down to `CURVE_POINTS` points, which the note says.
    """
    arrays = {name: _finite(points) for name, points in series.items()}
    arrays = {name: points for name, points in arrays.items() if len(points) > 1}
    if not arrays:
        return None
    everything = np.concatenate(list(arrays.values()))
    drawn = {name: _averaged(points) for name, points in arrays.items()}
    ys = np.concatenate(list(drawn.values()))[:, 1]
    low, high = min(0.0, float(ys.min())), nice_ceiling(float(ys.max()))
    x_low, x_high = float(everything[:, 0].min()), float(everything[:, 0].max())
    lines = tuple(
        Curve(name, _points(points, (x_low, x_high), (low, high))) for name, points in drawn.items()
    )
    per_point = math.ceil(max(map(len, arrays.values())) / CURVE_POINTS)
    return Chart(
        title=title,
        caption=caption,
        note=f"each point is the mean of {per_point} lines" if per_point > 1 else "",
        x_ticks=x_ticks(x_low, x_high, lambda value: f"{value:,.0f}"),
        y_ticks=y_ticks(low, high, lambda value: f"{value:.3g}"),
        curves=lines,
    )


def nice_ceiling(value: float) -> float:
    """The next of 1, 2, 5 or 10 times a power of ten; 1 for what is not above 0."""
    if not value > 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value * (1 - 1e-9))


def ticks(low: float, high: float, *, most: int = 6) -> list[float]:
    """Round numbers from low to high, at most so many."""
    if not high > low:
        return [low]
    step = nice_ceiling((high - low) / most)
    first = math.ceil(low / step - 1e-9)
    count = math.floor(high / step + 1e-9) - first + 1
    return [(first + i) * step for i in range(count)]


def _edges(values: NDArray[np.float64], bins: int, *, log: bool) -> NDArray[np.float64]:
    low, high = float(values.min()), float(values.max())
    if low == high:  # one bar, in the middle of as many as there would be
        reach, count = abs(low) / 10 or 1.0, bins // 2 * 2 + 2
        return np.linspace(low - reach, low + reach, count)
    if log:
        edges = np.geomspace(low, high, bins + 1)
        edges[0], edges[-1] = low, high  # rounding must not lose the extremes
        return edges
    return np.linspace(low, high, bins + 1)


def scale(
    values: ArrayLike, low: float, high: float, first: float, last: float
) -> NDArray[np.float64]:
    """Values from low to high as coordinates from first to last."""
    span = (high - low) or 1.0
    return first + (np.asarray(values, dtype=np.float64) - low) / span * (last - first)


def x_ticks(
    low: float,
    high: float,
    text: Callable[[float], str],
    *,
    log: bool = False,
    marks: Sequence[float] = (),
) -> tuple[Tick, ...]:
    """Round numbers or the given marks, none so near to the one before that they overlap."""
    found = [mark for mark in marks or _round_marks(low, high, log=log) if low <= mark <= high]
    if len(found) < 2:
        found = [low, high] if high > low else [low]
    bend = np.log if log else np.asarray
    places = scale(bend(found), float(bend(low)), float(bend(high)), LEFT, WIDTH - RIGHT)
    shown: list[Tick] = []
    for at, mark in zip(places, found, strict=True):
        if not shown or at - shown[-1].at >= _room(shown[-1], text(mark), is_first=len(shown) == 1):
            shown.append(Tick(_round(at), text(mark)))
    return tuple(shown)


def _room(before: Tick, text: str, *, is_first: bool) -> float:
    """Pixels between two marks; the first text begins at its place, the others surround theirs."""
    reach = len(before.text) * (1.0 if is_first else 0.5) + len(text) / 2
    return max(TICK_DISTANCE, (reach + 1) * CHARACTER)


def _round_marks(low: float, high: float, *, log: bool) -> list[float]:
    if not log or high < 5 * low:
        return ticks(low, high)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [step * 10.0**power for power in powers for step in (1, 2, 5)]


def y_ticks(low: float, high: float, text: Callable[[float], str]) -> tuple[Tick, ...]:
    """Round numbers up the left side."""
    marks = ticks(low, high, most=4)
    places = scale(marks, low, high, HEIGHT - BOTTOM, TOP)
    return tuple(Tick(_round(at), text(mark)) for at, mark in zip(places, marks, strict=True))


def _finite(points: Sequence[tuple[float, float]]) -> NDArray[np.float64]:
    array = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    return array[np.isfinite(array).all(axis=1)]


def _averaged(points: NDArray[np.float64]) -> NDArray[np.float64]:
    parts = np.array_split(points, min(len(points), CURVE_POINTS))
    return np.array([part.mean(axis=0) for part in parts])


def _points(
    points: NDArray[np.float64], x_range: tuple[float, float], y_range: tuple[float, float]
) -> str:
    xs = scale(points[:, 0], *x_range, LEFT, WIDTH - RIGHT)
    ys = scale(points[:, 1], *y_range, HEIGHT - BOTTOM, TOP)
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(xs, ys, strict=True))


def _round(value: float) -> float:
    return round(float(value), 1)
