"""Pairs of points of which one is closer: DA-2K's ``annotations.json``.

Rows and columns are counted from zero at the top left, in pixels of the image as it is shown. In
the file ``point1`` is the closer one every time, so that a method which always answers "the first"
would be right always: whoever evaluates has to swap half of them.
"""

import json
import posixpath
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.records import PointPair
from pipeline.truth_decoding import IndexEntry, TruthFiles
from pipeline.truth_files import TruthFileError

_FAULTS = (KeyError, IndexError, TypeError, ValueError)


def pairs_index(data: bytes, path: str) -> Iterator[IndexEntry]:
    """Each image that the file names; its ground truth is the file itself."""
    for image in _annotations(data):
        yield IndexEntry(_beside(path, image), (path,))


def read_points(files: TruthFiles) -> tuple[PointPair, ...]:
    """The pairs of one image.

    Raises:
        TruthFileError: The file is broken or says nothing of that image, or a point lies outside.
    """
    noted = _annotations(files.parts[0])
    names = [name for name in noted if _is_at_end(name, files.image_path)]
    try:
        pairs = tuple(_pair(noted) for noted in noted[max(names, key=len)]) if names else ()
    except _FAULTS as error:
        raise TruthFileError("corrupt_truth", f"annotations.json: {error!r}") from error
    if not pairs:
        raise TruthFileError("no_truth", "annotations.json has no pair for it")
    for pair in pairs if files.image_size is not None else ():
        height, width = files.image_size or (0, 0)
        if not (max(pair.row1, pair.row2) < height and max(pair.column1, pair.column2) < width):
            raise TruthFileError("points_outside", f"{pair} in an image of {width} x {height}")
    return pairs


def _pair(noted: Mapping[str, Any]) -> PointPair:
    (row1, column1), (row2, column2) = noted["point1"], noted["point2"]
    numbers = (row1, column1, row2, column2)
    if any(type(number) is not int or number < 0 for number in numbers):
        raise ValueError(f"whole numbers from zero expected, found {noted}")
    closer = {"point1": 1, "point2": 2}[noted["closer_point"]]
    return PointPair(row1, column1, row2, column2, closer)


def _annotations(data: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise TruthFileError("corrupt_truth", f"annotations.json is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise TruthFileError("corrupt_truth", "annotations.json: images by path expected")
    return found


def _beside(path: str, image: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(path), image))


def _is_at_end(name: str, path: str) -> bool:
    return f"/{path}".endswith("/" + posixpath.normpath(name).lstrip("/"))
