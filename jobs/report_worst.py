"""Which images a person should look at first: those at the ends of what is known of all.

A criterion is a number per image. Its worst are shown where they are worse than the middle of all:
among images that are alike, none is the worst. One image may be so by several criteria.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.records import ImageRecord, LabelRecord

EACH = 4  # by each criterion
ODD = 2.0  # a range, a size, …: times the usual one, or the usual one so many times


@dataclass(frozen=True, slots=True)
class Criterion:
    """A number per image, None where it is not known, and what is said of an image by it.

    Attributes:
        say: From the value and the median of all.
        largest: Whether the largest are the worst, not the smallest.
        harmless: Values up to this one (down to it, for the smallest) need no look.
    """

    values: Sequence[float | None]
    say: Callable[[float, float], str]
    largest: bool = True
    harmless: float | None = None


@dataclass(frozen=True, slots=True)
class Chosen:
    """An image by its place in the values, and why it was chosen."""

    index: int
    whys: tuple[str, ...]


def worst(criteria: Sequence[Criterion], *, each: int = EACH) -> list[Chosen]:
    """At most so many by each criterion, none twice; by criterion, the worst first."""
    whys: dict[int, list[str]] = {}
    for criterion in criteria:
        for index, why in _worst(criterion, each):
            whys.setdefault(index, []).append(why)
    return [Chosen(index, tuple(said)) for index, said in whys.items()]


def _worst(criterion: Criterion, each: int) -> list[tuple[int, str]]:
    known = [(v, i) for i, v in enumerate(criterion.values) if v is not None and np.isfinite(v)]
    if not known:
        return []
    sign = -1 if criterion.largest else 1
    middle = float(np.median([value for value, _ in known]))
    usual = [middle] if criterion.harmless is None else [middle, criterion.harmless]
    ranked = sorted(known, key=lambda pair: (sign * pair[0], pair[1]))[:each]
    return [
        (index, criterion.say(value, middle))
        for value, index in ranked
        if all(sign * value < sign * each for each in usual)
    ]


def label_criteria(labels: Sequence[LabelRecord]) -> tuple[Criterion, ...]:
    """What a label says of itself, and its range against that of the others."""
    ranges = [
        each.maximum - each.minimum
        if each.maximum is not None and each.minimum is not None
        else None
        for each in labels
    ]
    return (
        Criterion(
            [each.flip_correlation for each in labels],
            lambda value, _: f"mirrored image disagrees: correlation {value:.3f}",
            largest=False,
        ),
        Criterion(
            [each.saturated for each in labels],
            lambda value, _: f"saturated: {_percent(value)} of pixels at an end of the map",
            harmless=0.001,  # a few pixels of every map are its smallest and its largest
        ),
        Criterion(
            [each.flat for each in labels],
            lambda value, _: f"flat: {_percent(value)} of pixels equal their neighbours",
            harmless=0.01,
        ),
        Criterion(
            ranges,
            lambda value, middle: f"nearly constant: range {value:.3g}, median {middle:.3g}",
            largest=False,
            harmless=_usual(ranges) / ODD,
        ),
        Criterion(
            ranges,
            lambda value, middle: f"extreme range: {value:.3g}, median {middle:.3g}",
            harmless=_usual(ranges) * ODD,
        ),
    )


def image_criteria(images: Sequence[ImageRecord]) -> tuple[Criterion, ...]:
    """What the header of a file says, and its size."""
    headers = [each.header for each in images]
    pixels = [float(each.width * each.height) for each in headers]
    aspects = [each.width / each.height for each in headers]
    shapes = [max(aspect, 1 / aspect) for aspect in aspects]
    density = [each.length / each.header.width / each.header.height for each in images]
    return (
        Criterion(
            pixels,
            lambda value, _: f"smallest: {_megapixels(value)}",
            largest=False,
            harmless=_usual(pixels) / ODD,
        ),
        Criterion(
            pixels,
            lambda value, _: f"largest: {_megapixels(value)}",
            harmless=_usual(pixels) * ODD,
        ),
        Criterion(
            shapes,
            lambda value, _: f"oddest shape: {value:.3g} times as long as wide",
            harmless=_usual(shapes) * ODD,
        ),
        Criterion(
            density,
            lambda value, middle: (
                f"most compressed: {value:.2g} bytes per pixel, median {middle:.2g}"
            ),
            largest=False,
            harmless=_usual(density) / ODD,
        ),
    )


def _usual(values: Sequence[float | None]) -> float:
    return float(np.median([each for each in values if each is not None] or [0.0]))


def _percent(share: float) -> str:
    digits = 1 if share >= 0.0095 else 3
    return f"{100 * share:.{digits}f} %"


def _megapixels(pixels: float) -> str:
    return f"{pixels / 1e6:.2g} megapixels" if pixels >= 1e5 else f"{pixels:,.0f} pixels"
