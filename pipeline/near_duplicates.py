"""All pairs of 64-bit hashes that differ in few bits, without comparing all pairs, on disk.

Two hashes that differ in at most *r* bits agree in at least two of *r* + 2 blocks of bits. So there
is a table for each choice of two blocks, in which hashes with the same bits there lie together, and
only those are compared (Manku, Jain and Das Sarma, "Detecting Near-Duplicates for Web Crawling",
WWW 2007). One block of *r* + 1, the simple form of this, makes keys of 13 bits for *r* = 4, and
with them 7,500 of 62 million hashes share a key; two of six make 21 bits, which 30 share, for three
times as many tables. A pair that several tables find counts in the first of them.

Equal hashes are taken together before that, as pairs with the first of them: a million copies of a
placeholder are a million pairs, not 500 billion.

Memory is `memory_bytes` whatever the number of hashes, as long as not all of them share a key;
time grows with the square of the largest number that do (100,000 cost half a minute).
"""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.partitioned import Partitioned, partitions_for, spread
from pipeline.perceptual_hash import BITS, distances

HASHED = np.dtype([("hash", "<u8"), ("index", "<u8")])
# first < second; `exact` where the bytes are the same, not only the looks.
PAIR = np.dtype([("first", "<u8"), ("second", "<u8"), ("distance", "u1"), ("exact", "?")])
MEMORY_BYTES = 256 << 20
_WORKING = 6  # arrays of the size of the records, while they are sorted and compared


def near_pairs(
    blocks: Iterable[NDArray[Any]],
    *,
    distance: int,
    total: int,
    folder: Path,
    memory_bytes: int = MEMORY_BYTES,
) -> Iterator[NDArray[Any]]:
    """Pairs within a distance, in no order, as arrays of `PAIR`.

    Of hashes that are equal only the first, by index, is paired with others; each of the rest is
    paired with that one alone, at distance 0.

    Args:
        blocks: Arrays of `HASHED`, each index once.
        distance: How many bits may differ.
        total: How many hashes there are, about.
        folder: For scratch files: 32 bytes for each hash.
        memory_bytes: For what is worked on at once.
    """
    count = partitions_for(
        total, record_bytes=_WORKING * HASHED.itemsize, memory_bytes=memory_bytes
    )
    with ExitStack() as files:
        firsts = files.enter_context(Partitioned(folder, HASHED, count))
        with Partitioned(folder, HASHED, count) as by_hash:
            for block in blocks:
                by_hash.add(block, spread(block["hash"], count))
            for part in by_hash:
                first, pairs = _equal(part)
                firsts.add(first, spread(first["hash"], count))
                yield pairs
        masks = table_masks(distance)
        for number, mask in enumerate(masks):
            yield from _table(firsts, mask, masks[:number], distance=distance, folder=folder)


def table_masks(distance: int) -> list[np.uint64]:
    """The bits that must agree in each table; none where nothing may differ."""
    if distance == 0:
        return []
    edges = np.linspace(0, BITS, distance + 3).round().astype(int).tolist()
    blocks = [((1 << end) - 1) ^ ((1 << start) - 1) for start, end in pairwise(edges)]
    return [np.uint64(one | other) for one, other in combinations(blocks, 2)]


def _equal(part: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The first of each hash, and the pairs of the others with it."""
    part = part[np.lexsort((part["index"], part["hash"]))]
    is_first = np.ones(len(part), bool)
    is_first[1:] = part["hash"][1:] != part["hash"][:-1]
    first = part[is_first]
    of_each = first["index"][np.cumsum(is_first)[~is_first] - 1]
    return first, as_pairs(of_each, part["index"][~is_first], distance=0)


def _table(
    firsts: Partitioned,
    mask: np.uint64,
    before: list[np.uint64],
    *,
    distance: int,
    folder: Path,
) -> Iterator[NDArray[Any]]:
    if len(firsts) == 1:
        for part in firsts:
            yield from _compare(part, mask, before, distance=distance)
        return
    with Partitioned(folder, HASHED, len(firsts)) as by_key:
        for part in firsts:
            by_key.add(part, spread(part["hash"] & mask, len(firsts)))
        for part in by_key:
            yield from _compare(part, mask, before, distance=distance)


def _compare(
    part: NDArray[Any], mask: np.uint64, before: list[np.uint64], *, distance: int
) -> Iterator[NDArray[Any]]:
    """Pairs among those that agree under the mask, and under none of those before.

    They are sorted, so that partners lie behind each other: all are compared with the next one,
    then those that have one with the next but one, and so on.
    """
    keys = part["hash"] & mask
    order = np.argsort(keys)
    keys, hashes, indexes = keys[order], part["hash"][order], part["index"][order]
    last = np.flatnonzero(np.append(keys[1:] != keys[:-1], True))
    behind = last[np.searchsorted(last, np.arange(len(keys)))] - np.arange(len(keys))
    places, step = np.flatnonzero(behind), 1
    while len(places):
        between = distances(hashes[places], hashes[places + step])
        near = places[between <= distance]
        if len(near):
            differing = hashes[near] ^ hashes[near + step]
            new = np.ones(len(near), bool)
            for other in before:
                new &= differing & other != 0
            near, differing = near[new], differing[new]
            yield as_pairs(
                indexes[near], indexes[near + step], distance=np.bitwise_count(differing)
            )
        step += 1
        places = places[behind[places] >= step]


def as_pairs(
    one: NDArray[np.uint64],
    other: NDArray[np.uint64],
    *,
    distance: NDArray[np.uint8] | int,
    exact: bool = False,
) -> NDArray[Any]:
    """An array of `PAIR`."""
    pairs = np.empty(len(one), PAIR)
    pairs["first"], pairs["second"] = np.minimum(one, other), np.maximum(one, other)
    pairs["distance"], pairs["exact"] = distance, exact
    return pairs
