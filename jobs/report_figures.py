"""Rows of shards as figures of a report: read, decoded and made small in threads, in order.

Almost all of the time goes into codecs and readers, which let other threads run. What is in memory
is bounded: each thread holds one row group and one image, whatever the number of figures.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from jobs.colour import limits_of
from jobs.report_images import disparity_map, photograph, truth_map
from jobs.report_page import Figure, Picture, Reason, Spread
from jobs.report_reading import Reading
from jobs.report_samples import (
    LabelledImage,
    Placed,
    RowGroup,
    grouped,
    pixels_of,
    read_images,
    read_labelled,
)
from jobs.report_worst import Chosen
from pipeline.depth_codec import decode_disparity
from pipeline.errors import ShardCorruptError
from pipeline.filesystems import is_local
from pipeline.identity import sha256_hex
from pipeline.images import ImageDecodeError, decode_rgb
from pipeline.raw_files import found_file, read_uri
from pipeline.records import Drop, ImageRecord, LabelRecord
from pipeline.shards import load_bytes

MOST_THREADS = 8
BARS = 40  # of the distribution of one map
VALUES_PER_MAP = 4096  # of each map shown, for the distribution of values
LARGEST_REFUSED = 64_000_000  # bytes of a file that is looked at again
THUMBNAIL = 320  # pixels, of images that were left out
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Seen:
    """A figure, the sample it shows, and some values of its map."""

    sample_id: str
    figure: Figure
    values: NDArray[np.float32]


def in_threads(look: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """The results in the order of the items."""
    with ThreadPoolExecutor(min(MOST_THREADS, os.cpu_count() or 1)) as pool:
        yield from pool.map(look, items)


def labelled_figures(reading: Reading, groups: Sequence[RowGroup], *, side: int) -> list[Seen]:
    """Images beside their depth; what cannot be read is left out."""

    def look(group: RowGroup) -> list[Seen]:
        found = (
            _labelled(pair, group.whys.get(row, ()), side)
            for row, pair in read_labelled(reading, group)
        )
        return [seen for seen in found if seen is not None]

    return [seen for some in in_threads(look, groups) for seen in some]


def image_figures(reading: Reading, groups: Sequence[RowGroup], *, side: int) -> list[Seen]:
    """Images, beside their ground truth where they have one; what cannot be read is left out."""

    def look(group: RowGroup) -> list[Seen]:
        records = zip(group.rows, read_images(reading, group), strict=False)
        found = (_image(record, group.whys.get(row, ()), side) for row, record in records)
        return [seen for seen in found if seen is not None]

    return [seen for some in in_threads(look, groups) for seen in some]


def chosen_figures(
    look: Callable[[Sequence[RowGroup]], Sequence[Seen]],
    placed: Sequence[tuple[Placed, ImageRecord | LabelRecord]],
    chosen: Sequence[Chosen],
) -> tuple[Figure, ...]:
    """Figures of chosen rows, in the order of the choice and with what is said of them."""
    places = [replace(placed[each.index][0], whys=each.whys) for each in chosen]
    ranks = {placed[each.index][1].sample_id: rank for rank, each in enumerate(chosen)}
    seen = sorted(look(grouped(places)), key=lambda each: ranks[each.sample_id])
    return tuple(each.figure for each in seen)


def quarantined(code: str, count: int, share: float, examples: Sequence[LabelledImage]) -> Reason:
    """A reason with a picture of each example that is one, and what is wrong with the others."""
    figures, named = [], []
    for each in examples:
        picture = _thumbnail_or_fault(each.image)
        path, header = each.image.path, each.image.header
        if isinstance(picture, Picture):
            facts = f"{header.width} × {header.height} {header.format}"
            figures.append(Figure((picture,), path, facts))
        else:
            named.append((path, picture))
    return Reason(code, count, share, tuple(named), tuple(figures))


def refused(code: str, count: int, share: float, examples: Sequence[Drop]) -> Reason:
    """A reason with a picture of each file that still lies on this machine and is an image."""
    figures, named = [], []
    for drop in examples:
        picture = _picture_of_drop(drop)
        if picture is None:
            named.append((drop.path, drop.detail))
        else:
            figures.append(Figure((picture,), drop.path, drop.detail))
    return Reason(code, count, share, tuple(named), tuple(figures))


def spread_of(disparity_HW: NDArray[np.float32]) -> Spread | None:
    """The distribution between the ends of the colours; None for a map of one value."""
    low, high = limits_of(disparity_HW)
    if not high > low:
        return None
    values = np.clip(_some(disparity_HW), low, high)
    counts = np.histogram(values, BARS, (low, high))[0]
    middle = float(np.median(values))
    return Spread(
        tuple(np.rint(100 * counts / counts.max()).astype(int).tolist()),
        f"{low:.4g}",
        f"{high:.4g}",
        f"Disparity: 1st percentile {low:.4g}, median {middle:.4g}, 99th {high:.4g}",
    )


def _labelled(pair: LabelledImage, whys: tuple[str, ...], side: int) -> Seen | None:
    image_HWC = pixels_of(pair.image, least_side=side)
    if image_HWC is None:
        return None
    disparity_HW = decode_disparity(pair.label)
    path, label = pair.image.path, pair.label
    figure = Figure(
        pictures=(
            photograph(image_HWC, alt=f"Image {path}", side=side),
            disparity_map(disparity_HW, alt=f"Depth of {path}: bright is near", side=side),
        ),
        title=path,
        facts=f"map {label.width} × {label.height}, {label.minimum:.4g} to {label.maximum:.4g}",
        whys=whys,
        spread=spread_of(disparity_HW),
    )
    return Seen(pair.image.sample_id, figure, _some(disparity_HW))


def _image(record: ImageRecord, whys: tuple[str, ...], side: int) -> Seen | None:
    image_HWC = pixels_of(record, least_side=side)
    if image_HWC is None:
        return None
    path, header = record.path, record.header
    pictures = [photograph(image_HWC, alt=f"Image {path}", side=side)]
    if record.truth is not None:
        alt = f"Ground truth of {path}: bright is near"
        pictures.append(truth_map(record.truth, alt=alt, side=side))
    facts = f"{header.width} × {header.height} {header.format}"
    figure = Figure(tuple(pictures), path, facts, whys=whys)
    return Seen(record.sample_id, figure, np.empty(0, np.float32))


def _thumbnail_or_fault(record: ImageRecord) -> Picture | str:
    """A small picture, or why there is none."""
    try:
        image_HWC = decode_rgb(load_bytes(record), least_side=THUMBNAIL)
    except ImageDecodeError as error:
        return error.detail or error.reason
    except FileNotFoundError:
        return "the file is gone"
    except ShardCorruptError:
        return "the bytes are not those that were ingested"
    return photograph(image_HWC, alt=f"Image {record.path}", side=THUMBNAIL)


def _picture_of_drop(drop: Drop) -> Picture | None:
    """None for what is elsewhere, in an archive, changed, large or no image."""
    if not is_local(drop.uri) or drop.bytes is None or drop.bytes > LARGEST_REFUSED:
        return None
    try:
        if found_file(drop.uri, drop.path).bytes != drop.bytes:
            return None
        data = read_uri(drop.uri)
        if drop.sha256 not in (None, sha256_hex(data)):
            return None
        image_HWC = decode_rgb(data, least_side=THUMBNAIL)
    except (OSError, ValueError):  # of which ImageDecodeError is one
        return None
    return photograph(image_HWC, alt=f"Refused {drop.path}", side=THUMBNAIL)


def _some(disparity_HW: NDArray[np.float32]) -> NDArray[np.float32]:
    flat = disparity_HW.ravel()
    return flat[:: max(1, flat.size // VALUES_PER_MAP)].copy()  # a view would keep the whole map
