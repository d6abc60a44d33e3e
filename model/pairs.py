"""Pairs of points: which one is nearer, and how often a prediction says so too.

An answer is 1 (the first point is nearer), 2 (the second) or 0 (equally far). Answers come from
disparity, larger is nearer, and are held against noted ones. DA-2K always notes the nearer point
first, so that "always the first" would be right always: pairs are brought to an order that depends
on their image and number alone, where it scores about one half.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

_SWAPPED = {0: 0, 1: 2, 2: 1}


class Pair(NamedTuple):
    """Rows and columns of two points, pixels from zero at the top left, and which is nearer."""

    row1: int
    column1: int
    row2: int
    column2: int
    closer: int


def shuffled(pairs: Iterable[Sequence[int]], *, sample_id: str) -> list[Pair]:
    """Pairs of one image with every second one swapped, on average; always the same ones."""
    return [
        _swapped(Pair(*pair)) if _is_swapped(sample_id, number) else Pair(*pair)
        for number, pair in enumerate(pairs)
    ]


def at_points(
    disparity_HW: NDArray[np.floating], pairs: Sequence[Pair]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The values at the first and at the second point of each pair.

    Raises:
        ValueError: A point outside of the map.
    """
    first = _values(disparity_HW, [(pair.row1, pair.column1) for pair in pairs])
    return first, _values(disparity_HW, [(pair.row2, pair.column2) for pair in pairs])


def answers(first: ArrayLike, second: ArrayLike, *, equality: float = 0.0) -> NDArray[np.int64]:
    """What two disparities say of each pair: 1, 2, or 0 where both are equally far.

    They are equally far while neither disparity is more than ``1 + equality`` times the other, as
    in Bell et al. (Intrinsic Images in the Wild, 2014). NaN is no answer and counts as 0.

    Raises:
        ValueError: An equality above 0 where a disparity is not: ratios mean nothing there.
    """
    one, other = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if equality and (np.any(one <= 0) or np.any(other <= 0)):
        raise ValueError("a share of equality needs disparities above 0")
    factor = 1 + equality
    return np.where(one > factor * other, 1, np.where(other > factor * one, 2, 0))


def pair_accuracy(given: ArrayLike, noted: ArrayLike) -> float:
    """Share of pairs whose answer is the noted one, 0 to 1. Higher is better.

    Raises:
        ValueError: Without a pair, or for lengths that differ.
    """
    return 1 - whdr(given, noted)


def whdr(given: ArrayLike, noted: ArrayLike, *, weights: ArrayLike | None = None) -> float:
    """Weighted human disagreement rate: Σ w [given ≠ noted] / Σ w, 0 to 1. Lower is better.

    Bell et al. (2014), for depth Chen et al. (arXiv:1604.03901). Weights are 1 unless given: how
    sure people were of each pair.

    Raises:
        ValueError: Without a pair, for lengths that differ, or weights that are negative or sum
            to 0.
    """
    said, truth = np.asarray(given), np.asarray(noted)
    if said.shape != truth.shape or said.ndim != 1:
        raise ValueError(f"{said.shape} answers for {truth.shape} pairs")
    if not said.size:
        raise ValueError("an order needs at least one pair")
    w = np.ones(said.size) if weights is None else np.asarray(weights, np.float64)
    if w.shape != said.shape or w.min() < 0 or w.sum() == 0:
        raise ValueError("weights: one per pair, none below 0, not all 0")
    return float(np.sum(w * (said != truth)) / w.sum())


PAIR_METRICS: Mapping[str, Callable[[ArrayLike, ArrayLike], float]] = MappingProxyType(
    {"pair_accuracy": pair_accuracy, "whdr": whdr}
)


def _values(
    disparity_HW: NDArray[np.floating], points: Sequence[tuple[int, int]]
) -> NDArray[np.float64]:
    rows, columns = np.array(points, np.int64).reshape(-1, 2).T
    height, width = disparity_HW.shape
    if np.any((rows < 0) | (rows >= height) | (columns < 0) | (columns >= width)):
        raise ValueError(f"a point lies outside of {height} x {width} pixels")
    return np.asarray(disparity_HW[rows, columns], np.float64)


def _is_swapped(sample_id: str, number: int) -> bool:
    return hashlib.sha256(f"{sample_id} {number}".encode()).digest()[0] % 2 == 1


def _swapped(pair: Pair) -> Pair:
    return Pair(pair.row2, pair.column2, pair.row1, pair.column1, _SWAPPED[pair.closer])
