"""Pairs of points drawn into a picture: which is nearer, and whether a prediction says so too.

The two points of a pair are joined, and the nearer one is the larger. Right pairs have blue discs,
wrong ones orange crosses; both have a white rim inside a black one, so that they are seen on
photographs and on every colour of a map.
"""

from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

from jobs.evaluation_result import MarkedPair

# From the eight colours of Okabe and Ito that nobody confuses, whatever colours they see.
RIGHT, WRONG = (86, 180, 233), (213, 94, 0)
BLACK, WHITE = (0, 0, 0), (255, 255, 255)
NEAR, FAR = 0.028, 0.016  # radius, in shares of the picture's longer side
FINE = 4  # binary digits behind the point, in which places are told: lines are smooth then


def mark_pairs(image_HWC: NDArray[np.uint8], pairs: Iterable[MarkedPair]) -> NDArray[np.uint8]:
    """A copy of an RGB picture with these pairs in it; wrong ones lie on top."""
    marked = np.ascontiguousarray(image_HWC).copy()
    for pair in sorted(pairs, key=lambda each: not each.is_right):
        _draw(marked, pair)
    return marked


def _draw(image_HWC: NDArray[np.uint8], pair: MarkedPair) -> None:
    side = max(image_HWC.shape[:2])
    colour = RIGHT if pair.is_right else WRONG
    mark = _disc if pair.is_right else _cross
    rim = max(1, round(side / 320))
    for width, shade in ((rim + 2, BLACK), (rim, colour)):
        cv2.line(image_HWC, _xy(pair.near), _xy(pair.far), shade, width, cv2.LINE_AA)
    for point, share in ((pair.far, FAR), (pair.near, NEAR)):
        radius = max(3.0, share * side)
        for more, shade in ((2 * rim, BLACK), (rim, WHITE), (0, colour)):
            mark(image_HWC, point, radius, more, shade)


def _disc(
    image_HWC: NDArray[np.uint8],
    point: tuple[int, int],
    radius: float,
    more: int,
    shade: tuple[int, int, int],
) -> None:
    size = round((radius + more) * 2**FINE)
    place = tuple(each << FINE for each in _xy(point))
    cv2.circle(image_HWC, place, size, shade, cv2.FILLED, cv2.LINE_AA, FINE)


def _cross(
    image_HWC: NDArray[np.uint8],
    point: tuple[int, int],
    radius: float,
    more: int,
    shade: tuple[int, int, int],
) -> None:
    (x, y), arm = _xy(point), round(radius)
    width = max(2, round(radius / 2)) + 2 * more
    for slope in (-1, 1):
        ends = (x - arm, y - slope * arm), (x + arm, y + slope * arm)
        cv2.line(image_HWC, *ends, shade, width, cv2.LINE_AA)


def _xy(point: tuple[int, int]) -> tuple[int, int]:
    return point[1], point[0]
