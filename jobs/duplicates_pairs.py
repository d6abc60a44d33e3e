"""Pairs of images by name, and how many there are between which sources."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.duplicates_search import READERS, Place, Searched
from pipeline.errors import ShardCorruptError
from pipeline.image_hashes import read_paths
from pipeline.lookahead import map_ahead
from pipeline.pairs_file import NamedPair
from pipeline.records import ShardRef
from pipeline.storage import Store


@dataclass(frozen=True, slots=True)
class Between:
    """Images of one source that are like images of another, or of the same one, that stay."""

    source: str
    like: str
    exact: int
    near: int


@dataclass(frozen=True, slots=True)
class Counts:
    """How many images are like others.

    Attributes:
        groups: Images that stay and that others are like.
        leaks: Images outside benchmarks that are like one of a benchmark.
    """

    exact: int
    near: int
    groups: int
    leaks: int
    between: tuple[Between, ...]


def count_pairs(searched: Searched) -> Counts:
    """Add up all that was found."""
    names = list(dict.fromkeys(shard.source for shard in searched.shards))
    of_shard = np.array([names.index(shard.source) for shard in searched.shards] or [0])
    table: Counter[tuple[int, int, bool]] = Counter()
    has_copies = np.zeros(len(searched.ids), bool)
    leaks = 0
    for some in searched.chunks():
        mine, its = (
            of_shard[np.searchsorted(searched.starts, some[column].astype(np.int64), "right") - 1]
            for column in ("index", "twin")
        )
        table.update(zip(mine.tolist(), its.tolist(), some["exact"].tolist(), strict=True))
        has_copies[some["twin"]] = True
        leaks += int(np.count_nonzero(are_leaks(some, searched)))
    pairs = sorted({(one, other) for one, other, _ in table})
    between = tuple(
        Between(names[one], names[other], table[one, other, True], table[one, other, False])
        for one, other in pairs
    )
    exact, near = sum(row.exact for row in between), sum(row.near for row in between)
    return Counts(exact, near, int(has_copies.sum()), leaks, between)


def named_pairs(
    store: Store, searched: Searched, *, leaks_only: bool = False, first: int = 0
) -> Iterator[NamedPair]:
    """Every image that is like an earlier one, in order, with the names of both.

    The paths of their shards are read, for some thousand pairs at a time.

    Args:
        store: Where the shards are.
        searched: What was found.
        leaks_only: Only images outside of benchmarks that are like one of a benchmark.
        first: Only images from this number on.
    """
    for some in searched.chunks():
        some = some[some["index"] >= first]
        is_leak = are_leaks(some, searched)
        if leaks_only:
            some, is_leak = some[is_leak], is_leak[is_leak]
        places = [(searched.place(row[0]), searched.place(row[1])) for row in some.tolist()]
        paths = _paths(store, (place for pair in places for place in pair))
        for (index, twin, distance, exact), leak, (mine, its) in zip(
            some.tolist(), is_leak.tolist(), places, strict=True
        ):
            yield NamedPair(
                kind="exact" if exact else "near",
                leak=leak,
                distance=distance,
                source=mine.shard.source,
                path=paths[mine],
                sample_id=searched.sample_id(index),
                shard_id=mine.shard.shard_id,
                twin_source=its.shard.source,
                twin_path=paths[its],
                twin_sample_id=searched.sample_id(twin),
                twin_shard_id=its.shard.shard_id,
            )


def are_leaks(some: NDArray[Any], searched: Searched) -> NDArray[np.bool_]:
    """Which of some duplicates are like an image of a benchmark, and are outside of them."""
    benchmark_images = searched.benchmark_images
    leaks: NDArray[np.bool_] = (some["twin"] < benchmark_images) & (
        some["index"] >= benchmark_images
    )
    return leaks


def _paths(store: Store, places: Iterable[Place]) -> dict[Place, str]:
    """The paths of these images alone: their shards may hold a thousand times as many."""
    rows: defaultdict[ShardRef, set[int]] = defaultdict(set)
    for place in places:
        rows[place.shard].add(place.row)

    def read(shard: ShardRef) -> dict[Place, str]:
        try:
            paths = read_paths(store, shard)
        except (ShardCorruptError, FileNotFoundError):  # its hashes are there, it is not
            paths = ["(unreadable)"] * shard.rows
        return {Place(shard, row): paths[row] for row in rows[shard]}

    found = map_ahead(read, list(rows), threads=READERS, ahead=4 * READERS)
    return {place: path for some in found for place, path in some.items()}
