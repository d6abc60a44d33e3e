"""Pairs of images that are alike, side by side, for a person to judge where the search went wrong.

Leaks of benchmarks, then other images that look alike; of each the least alike, because doubt is
there. The same bytes outside of benchmarks need no looking at, and are only counted.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.duplicates_pairs import Counts, are_leaks, named_pairs
from jobs.duplicates_search import Place, Searched
from jobs.report_images import photograph
from jobs.report_page import Fact, Figure, Page, Picture, Section, Table
from jobs.report_samples import pixels_of
from pipeline.errors import ShardCorruptError
from pipeline.pairs_file import NamedPair
from pipeline.records import ImageRecord
from pipeline.shards import ROW_GROUP_ROWS, read_image_rows
from pipeline.storage import Store

SHOWN = 30  # pairs of each kind


def duplicates_page(store: Store, searched: Searched, counts: Counts, *, colophon: str) -> Page:
    """Build the page; 30 pairs of each kind are read."""
    leaks, others = _doubtful(searched)
    shown = _figures(store, searched, leaks), _figures(store, searched, others)
    sections = [
        Section(
            "leaks",
            "Leaks of benchmarks",
            "Images for training that a benchmark has, too: training on them makes its scores "
            f"better than they are. {_said(len(shown[0]), counts.leaks)}",
            figures=shown[0],
        ),
        Section(
            "alike",
            "Images that look alike",
            "To the right is the earlier one, which stays. Shown are the least alike.",
            figures=shown[1],
        ),
        Section("sources", "Between sources", table=_table(counts)),
    ]
    return Page(
        kind="duplicates",
        name=", ".join(dict.fromkeys(shard.source for shard in searched.shards)),
        summary=f"{int(searched.starts[-1]):,} images compared.",
        tiles=(
            Fact("the same bytes", f"{counts.exact:,}"),
            Fact("look alike", f"{counts.near:,}"),
            Fact("leaks", f"{counts.leaks:,}"),
        ),
        sections=tuple(sections),
        colophon=colophon,
    )


def _said(shown: int, all_of_them: int) -> str:
    return f"Shown are {shown} of {all_of_them:,}, the least alike." if all_of_them else "None."


def _doubtful(searched: Searched) -> tuple[NDArray[Any], NDArray[Any]]:
    """Leaks, and other images that look alike; of each the least alike, in order."""
    kept: list[list[NDArray[Any]]] = [[], []]
    for some in searched.chunks():
        is_leak = are_leaks(some, searched)
        for kind, which in enumerate((is_leak, ~is_leak & ~some["exact"])):
            kept[kind].append(_least_alike(some[which]))
    leaks, others = (
        _least_alike(np.concatenate([searched.duplicates[:0], *each])) for each in kept
    )
    return leaks, others


def _least_alike(some: NDArray[Any]) -> NDArray[Any]:
    order = np.argsort(some["distance"], kind="stable")[::-1][:SHOWN]
    return some[np.sort(order)]


def _figures(store: Store, searched: Searched, some: NDArray[Any]) -> tuple[Figure, ...]:
    pairs = list(named_pairs(store, replace(searched, duplicates=some)))
    found = [
        (pair, figure)
        for pair, row in zip(pairs, some.tolist(), strict=True)
        if (figure := _figure(store, pair, searched.place(row[0]), searched.place(row[1])))
    ]
    found.sort(key=lambda each: -each[0].distance)
    return tuple(figure for _, figure in found)


def _figure(store: Store, pair: NamedPair, mine: Place, its: Place) -> Figure | None:
    """None where one of the two cannot be shown any more."""
    names = f"{pair.source}/{pair.path}", f"{pair.twin_source}/{pair.twin_path}"
    pictures: Sequence[Picture | None] = [
        _picture(store, place, name) for place, name in zip((mine, its), names, strict=True)
    ]
    shown = tuple(picture for picture in pictures if picture is not None)
    if len(shown) < len(pictures):
        return None
    how = "the same bytes" if pair.kind == "exact" else f"{pair.distance} of 64 bits differ"
    return Figure(shown, names[0], f"{names[1]} · {how}")


def _picture(store: Store, place: Place, name: str) -> Picture | None:
    record = _record(store, place)
    pixels_HWC = None if record is None else pixels_of(record)
    return None if pixels_HWC is None else photograph(pixels_HWC, alt=name)


def _record(store: Store, place: Place) -> ImageRecord | None:
    group, row = divmod(place.row, ROW_GROUP_ROWS)
    try:
        rows = list(read_image_rows(store, place.shard.key, row_groups=[group], truth=False))
    except (FileNotFoundError, ShardCorruptError):
        return None
    return rows[row]


def _table(counts: Counts) -> Table:
    return Table(
        columns=("images of", "are like images of", "the same bytes", "look alike"),
        rows=tuple(
            (row.source, row.like, f"{row.exact:,}", f"{row.near:,}") for row in counts.between
        ),
        numeric=(False, False, True, True),
    )
