"""Accuracy against what it costs: a point per model, and a line through those worth having.

A model is worth having where no other is at least as good in both directions and better in one.
Costs and speeds lie on a logarithmic axis. Speeds of different devices are never in one chart.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from jobs.evaluation_words import (
    Row,
    headline,
    mean_cell,
    metric_title,
    parameters,
    short_name,
    title_of,
)
from jobs.readable import readable_number
from jobs.report_charts import (
    BOTTOM,
    CHARACTER,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Chart,
    Point,
    scale,
    x_ticks,
    y_ticks,
)
from model.metrics import HIGHER_IS_BETTER

LONGEST_LABEL = 28
LINE = 12.0  # from one label to the next below
BESIDE = 8.0  # from a mark to its label
MARGIN = 0.12  # of the range of accuracy, above and below


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A model by cost (or speed) and accuracy; the interval of the latter, if there is one."""

    name: str
    x: float
    y: float
    low: float
    high: float
    text: str


def cost_charts(group: Sequence[Row], models: Mapping[str, Mapping[str, Any]]) -> Iterator[Chart]:
    """A benchmark's models by speed, on each device that measured some, and by size."""
    measure = headline(group)
    if measure is None or len(group) < 2:
        return
    for device in dict.fromkeys(row["device"] for row in group if row["forward_images_per_s"]):
        rows = [row for row in group if row["device"] == device and row["forward_images_per_s"]]
        speeds = [row["forward_images_per_s"] for row in rows]
        texts = [f"{readable_number(speed)} images/s" for speed in speeds]
        yield _chart(rows, measure, speeds, texts, cost=f"images/s on {device}", more=True)
    counts = [models[row["model"]]["parameters"] for row in group]
    texts = [f"{parameters(count)} parameters" for count in counts]
    yield _chart(group, measure, counts, texts, cost="parameters", more=False)


def pareto_front(points: Sequence[tuple[float, float]], *, more_x: bool, more_y: bool) -> list[int]:
    """Places of the points that no other outdoes, from left to right; equal ones all stay."""
    signed = [(x if more_x else -x, y if more_y else -y) for x, y in points]
    kept = [
        place
        for place, (x, y) in enumerate(signed)
        if not any(a >= x and b >= y and (a, b) != (x, y) for a, b in signed)
    ]
    return sorted(kept, key=lambda place: points[place])


def scatter(
    title: str,
    candidates: Sequence[Candidate],
    *,
    more_x: bool,
    more_y: bool,
    note: str,
    caption: str,
) -> Chart:
    """Draw candidates, which have an x above 0, with their front."""
    places = [(each.x, each.y) for each in candidates]
    front = pareto_front(places, more_x=more_x, more_y=more_y)
    x_range = _x_range([x for x, _ in places])
    y_range = _y_range([bound for each in candidates for bound in (each.low, each.high)])
    x_low, x_high = map(math.log, x_range)
    xs = scale(np.log([x for x, _ in places]), x_low, x_high, LEFT, WIDTH - RIGHT)
    tops, ys, bottoms = (
        scale([getattr(each, name) for each in candidates], *y_range, HEIGHT - BOTTOM, TOP)
        for name in ("high", "y", "low")
    )
    labels = _labels([each.name for each in candidates], [*map(float, xs)], [*map(float, ys)])
    points = tuple(
        Point(
            x=_round(xs[i]),
            y=_round(ys[i]),
            top=_round(tops[i]),
            bottom=_round(bottoms[i]),
            label=labels[i].text,
            label_x=_round(labels[i].x),
            label_y=_round(labels[i].y),
            anchor=labels[i].anchor,
            text=each.text,
            outdone=i not in front,
        )
        for i, each in enumerate(candidates)
    )
    return Chart(
        title=title,
        caption=caption,
        note=note,
        x_ticks=x_ticks(*x_range, _thousands, log=True),
        y_ticks=y_ticks(*y_range, lambda value: f"{value:.3g}"),
        points=points,
        front=" ".join(f"{points[i].x},{points[i].y}" for i in front) if len(front) > 1 else "",
    )


class _Box(NamedTuple):
    left: float
    right: float
    y: float


@dataclass(frozen=True, kw_only=True, slots=True)
class _Label:
    text: str
    x: float
    y: float
    anchor: str


def _chart(
    rows: Sequence[Row],
    measure: tuple[str, str],
    costs: Sequence[float],
    texts: Sequence[str],
    *,
    cost: str,
    more: bool,
) -> Chart:
    return scatter(
        title_of(rows[0]),
        [
            _candidate(row, measure, x, text)
            for row, x, text in zip(rows, costs, texts, strict=True)
        ],
        more_x=more,
        more_y=measure[1] in HIGHER_IS_BETTER,
        note=f"{cost}: {'more' if more else 'fewer'} is better",
        caption=(
            f"{metric_title(*measure)} with its 95 % interval; the line joins the models that no "
            "other outdoes in both."
        ),
    )


def _candidate(row: Row, measure: tuple[str, str], x: float, text: str) -> Candidate:
    space, metric = measure
    mean = row["metrics"][space][metric]
    low, high = row["intervals"].get(space, {}).get(metric) or (mean, mean)
    words = f"{row['model']}: {metric_title(*measure)} {mean_cell(row, *measure)}, {text}"
    return Candidate(name=row["model"], x=x, y=mean, low=low, high=high, text=words)


def _x_range(values: Sequence[float]) -> tuple[float, float]:
    """Room for the marks at both ends, and a decade's third where all are the same."""
    low, high = min(values), max(values)
    room = max((high / low) ** 0.08, 1.25)
    return low / room, high * room


def _y_range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    room = (high - low) * MARGIN or abs(high) * MARGIN or 1.0
    return low - room, high + room


def _labels(names: Sequence[str], xs: Sequence[float], ys: Sequence[float]) -> list[_Label]:
    """Names beside their marks, on the side with more room, moved where one is in the way."""
    found: dict[int, _Label] = {}
    taken: list[_Box] = []
    for i in sorted(range(len(names)), key=lambda place: ys[place]):
        text = _fitting(names[i], names)
        width = len(text) * CHARACTER
        is_left = xs[i] + BESIDE + width > WIDTH - RIGHT and xs[i] - BESIDE - width > LEFT
        left = xs[i] - BESIDE - width if is_left else xs[i] + BESIDE
        box = _free(_Box(left, left + width, ys[i] + 3.5), taken)
        taken.append(box)
        found[i] = _Label(
            text=text,
            x=box.right if is_left else box.left,
            y=box.y,
            anchor="end" if is_left else "start",
        )
    return [found[i] for i in range(len(names))]


def _free(box: _Box, taken: Sequence[_Box]) -> _Box:
    """The nearest place above or below that no other name has; its own where there is none."""
    places = (box._replace(y=box.y + step) for step in sorted(range(-160, 161), key=abs))
    inside = (each for each in places if TOP + LINE / 2 <= each.y <= HEIGHT - BOTTOM)
    return next((each for each in inside if not any(_overlap(each, it) for it in taken)), box)


def _overlap(one: _Box, other: _Box) -> bool:
    return one.left < other.right and other.left < one.right and abs(one.y - other.y) < LINE


def _fitting(name: str, names: Sequence[str]) -> str:
    text = short_name(name, names)
    return text if len(text) <= LONGEST_LABEL else f"…{text[1 - LONGEST_LABEL :]}"


def _thousands(value: float) -> str:
    """For example ``0.5``, ``20``, ``100 M``."""
    return f"{value / 1e6:g} M" if value >= 1e6 else f"{value:,.3g}"


def _round(value: float) -> float:
    return round(float(value), 1)
