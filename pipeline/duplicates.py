"""Which samples are copies of an earlier one, and of which: exactly, or by what they look like.

Samples are numbered in an order of precedence: of those that are alike the first stays. Whether one
is a copy is decided in that order, and only by those that stay: of a slow pan, in which each frame
is like the next but the last is unlike the first, some frames stay, and every other one is like one
of them. Groups joined through chains would leave the first frame alone.

The first ``fixed`` samples stay whatever they look like (those of benchmarks, say); that they are
copies of each other is still found.

Memory is bounded by `memory_bytes` and by what a computation touches of a file that has 9 bytes for
each sample; the disk holds about 80 bytes for each sample, and 18 for each pair.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.near_duplicates import HASHED, MEMORY_BYTES, PAIR, as_pairs, near_pairs
from pipeline.partitioned import MAX_PARTITIONS, Partitioned, partitions_for

DIGEST = np.dtype([("high", "<u8"), ("low", "<u8"), ("index", "<u8")])
# The earlier sample that stays; `distance` counts bits of their hashes, 0 where `exact`.
DUPLICATE = np.dtype([("index", "<u8"), ("twin", "<u8"), ("distance", "u1"), ("exact", "?")])
_STATE = np.dtype([("twin_and_1", "<u8"), ("distance", "u1")])  # all zero: not a copy
_WORKING = 4  # arrays of the size of the records, while they are sorted
_CHUNK = 1 << 16

_Pair = tuple[int, int, int, bool]  # fields of `PAIR`


@dataclass(frozen=True, slots=True)
class SampleBlock:
    """Some samples that follow each other.

    Attributes:
        sha256: uint8 n x 32, of the original bytes.
        hashes: uint64 n; whatever where there is none.
        hashed: bool n; whether there is one.
        is_known: False where nobody could read them: they are numbered, and like nothing.
    """

    sha256: NDArray[np.uint8]
    hashes: NDArray[np.uint64]
    hashed: NDArray[np.bool_]
    is_known: bool = True


def unknown_block(rows: int) -> SampleBlock:
    """Samples of which nothing is known but how many there are."""
    none = np.zeros(rows, np.uint64)
    return SampleBlock(np.zeros((rows, 32), np.uint8), none, none.astype(bool), is_known=False)


def find_duplicates(
    blocks: Iterable[SampleBlock],
    *,
    total: int,
    fixed: int,
    distance: int | None,
    folder: Path,
    memory_bytes: int = MEMORY_BYTES,
    tick: Callable[[], None] = lambda: None,
) -> Iterator[NDArray[Any]]:
    """Samples that are copies of an earlier one, as arrays of `DUPLICATE` in their order.

    Args:
        blocks: All samples in order of precedence; what they have in common must be numbered from
            0 on without a gap.
        total: How many there are.
        fixed: So many at the beginning stay in any case.
        distance: Bits in which hashes of copies may differ; None to ask for the same bytes only.
        folder: For scratch files, which are removed at the end.
        memory_bytes: For what is worked on at once.
        tick: Called now and then, for leases that must be renewed.
    """
    count = partitions_for(
        total, record_bytes=_WORKING * DIGEST.itemsize, memory_bytes=memory_bytes
    )
    with (
        Partitioned(folder, DIGEST, count) as digests,
        Partitioned(folder, HASHED, 1 if distance is None else count) as hashes,
        Partitioned(folder, PAIR, min(4 * count, MAX_PARTITIONS)) as pairs,
    ):
        _spill(blocks, digests, hashes)
        width = -(-total // len(pairs)) or 1
        for some in _all_pairs(digests, hashes, total, distance, folder, memory_bytes):
            tick()
            pairs.add(some, (some["second"] // np.uint64(width)).astype(np.intp))
        yield from _decided(pairs, total=total, fixed=fixed, folder=folder)


def _spill(blocks: Iterable[SampleBlock], digests: Partitioned, hashes: Partitioned) -> None:
    start = 0
    for block in blocks:
        indexes = np.arange(start, start + len(block.sha256), dtype=np.uint64)
        start += len(indexes)
        if not block.is_known:
            continue
        records = np.empty(len(indexes), DIGEST)
        halves = np.ascontiguousarray(block.sha256[:, :16]).view("<u8")
        records["high"], records["low"], records["index"] = halves[:, 0], halves[:, 1], indexes
        digests.add(records, (records["high"] % np.uint64(len(digests))).astype(np.intp))
        hashed = np.empty(np.count_nonzero(block.hashed), HASHED)
        hashed["hash"], hashed["index"] = block.hashes[block.hashed], indexes[block.hashed]
        hashes.add(hashed, np.arange(len(hashed)) % len(hashes))


def _all_pairs(
    digests: Partitioned,
    hashes: Partitioned,
    total: int,
    distance: int | None,
    folder: Path,
    memory_bytes: int,
) -> Iterator[NDArray[Any]]:
    for part in digests:
        yield _exact_pairs(part)
    if distance is not None:
        yield from near_pairs(
            hashes, distance=distance, total=total, folder=folder, memory_bytes=memory_bytes
        )


def _exact_pairs(part: NDArray[Any]) -> NDArray[Any]:
    """Each sample that has the digest of an earlier one, with the first that has it."""
    part = part[np.lexsort((part["index"], part["low"], part["high"]))]
    is_first = np.ones(len(part), bool)
    is_first[1:] = (part["high"][1:] != part["high"][:-1]) | (part["low"][1:] != part["low"][:-1])
    of_each = part["index"][is_first][np.cumsum(is_first)[~is_first] - 1]
    return as_pairs(of_each, part["index"][~is_first], distance=0, exact=True)


def _decided(pairs: Partitioned, *, total: int, fixed: int, folder: Path) -> Iterator[NDArray[Any]]:
    """Range by range, and inside in order: what stays among earlier samples is known by then."""
    with Partitioned(folder, _STATE, 1) as file:
        state = file.as_zeros(total)
        for part in pairs:
            part = part[np.lexsort((part["first"], part["second"]))]
            chunks = (part[at : at + _CHUNK].tolist() for at in range(0, len(part), _CHUNK))
            each = groupby(chain.from_iterable(chunks), key=itemgetter(1))
            found = [row for index, some in each if (row := _decide(index, some, state, fixed))]
            if found:
                yield np.array(found, DUPLICATE)


def _decide(
    index: int, pairs: Iterable[_Pair], state: NDArray[Any], fixed: int
) -> tuple[int, int, int, bool] | None:
    """The twin of one sample: what is fixed before the rest, the same bytes before looks."""
    found = [_twin(pair, state, fixed) for pair in pairs]
    twins = [each for each in found if each is not None]
    if not twins:
        return None
    twin, distance, exact = min(twins, key=lambda each: (each[0] >= fixed, not each[2], each[0]))
    state[index] = (twin + 1, distance)
    return index, twin, distance, exact


def _twin(pair: _Pair, state: NDArray[Any], fixed: int) -> tuple[int, int, bool] | None:
    """What stays and is like the second of a pair, by this pair: index, distance, exact."""
    first, _, distance, exact = pair
    twin_and_1, its_distance = state[first].item()
    if first < fixed or not twin_and_1:
        return first, distance, exact
    if distance == 0:  # the same as one that goes, so like what that one is like
        return twin_and_1 - 1, its_distance, False
    return None
