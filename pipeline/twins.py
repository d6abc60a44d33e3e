"""Which of some images, held in memory, have a twin among any number of others that stream by.

For few against many: `duplicates` compares all with all, on disk. What is held takes about 300
bytes for an image; of what streams by nothing is kept.

Hashes within *r* bits agree in two of *r* + 2 blocks of bits (`near_duplicates`, with the source).
So what is held is sorted once for each choice of two blocks, and only what agrees there with
something that streams by is compared with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.image_hashes import ShardLooks
from pipeline.near_duplicates import table_masks
from pipeline.perceptual_hash import distances

# `image` is the first one that is held with such bytes (`exact`) or such a hash; `row` is that of
# the twin among those that streamed by; `distance` counts bits, 0 where `exact`.
TWIN = np.dtype([("image", "<i8"), ("row", "<i8"), ("distance", "u1"), ("exact", "?")])
AT_ONCE = 1 << 20  # pairs that are compared together
_ALL_BITS = np.uint64(0xFFFF_FFFF_FFFF_FFFF)


class HeldImages:
    """Images that others are held against.

    Attributes:
        same_bytes: int64 n: of each image the number of the first one with its bytes.
        same_looks: int64 n: of each image the number of the first one with its hash; -1 without.

    Args:
        looks: Of each of their shards.
        distance: Bits in which hashes of twins may differ; None to compare bytes only.
    """

    def __init__(self, looks: Sequence[ShardLooks], *, distance: int | None) -> None:
        digests = _digests(
            np.concatenate([np.empty((0, 32), np.uint8), *(x.sha256 for x in looks)])
        )
        self._digests, self._first, places = np.unique(
            digests, return_index=True, return_inverse=True
        )
        self.same_bytes = self._first[places]
        hashes = np.concatenate([np.empty(0, np.uint64), *(x.hashes for x in looks)])
        hashed = np.flatnonzero(np.concatenate([np.empty(0, bool), *(x.hashed for x in looks)]))
        held, first, places = np.unique(hashes[hashed], return_index=True, return_inverse=True)
        self.same_looks = np.full(len(hashes), -1, np.int64)
        self.same_looks[hashed] = hashed[first][places]
        self._tables = [] if distance is None else _tables(held, hashed[first], distance)

    def twins(self, looks: ShardLooks) -> NDArray[np.void]:
        """Their twins among the images of a shard, as an array of `TWIN`.

        Of images with the same bytes, and of images with the same hash, the first has one at most:
        the nearest, of those the first.
        """
        near = [self._near(looks, table) for table in self._tables]
        return _nearest(np.concatenate([self._exact(looks), *near]))

    def _exact(self, looks: ShardLooks) -> NDArray[np.void]:
        if not len(self._digests):
            return np.empty(0, TWIN)
        wanted = _digests(looks.sha256)
        places = np.searchsorted(self._digests, wanted).clip(max=len(self._digests) - 1)
        rows = np.flatnonzero(self._digests[places] == wanted)
        return _as_twins(self._first[places[rows]], rows, distance=0, exact=True)

    def _near(self, looks: ShardLooks, table: "_Table") -> NDArray[np.void]:
        """By one choice of blocks; some at a time: all frames of a video may agree there."""
        hashed = np.flatnonzero(looks.hashed)
        streamed, first = np.unique(looks.hashes[hashed], return_index=True)
        starts = np.searchsorted(table.keys, streamed & table.mask, "left")
        counts = np.searchsorted(table.keys, streamed & table.mask, "right") - starts
        meeting = np.flatnonzero(counts)
        cuts = np.flatnonzero(np.diff(np.cumsum(counts[meeting]) // AT_ONCE)) + 1
        found = [np.empty(0, TWIN)]
        for some in np.split(meeting, cuts):
            count = counts[some]
            mine = np.repeat(some, count)
            held = np.arange(len(mine)) + np.repeat(starts[some] - np.cumsum(count) + count, count)
            between = distances(streamed[mine], table.hashes[held])
            near = between <= table.distance
            rows = hashed[first[mine[near]]]
            twins = _as_twins(table.images[held[near]], rows, distance=between[near], exact=False)
            found.append(_nearest(twins))
        return np.concatenate(found)


@dataclass(frozen=True, slots=True)
class _Table:
    """Held hashes in the order of their bits under a mask, the keys, and the image of each."""

    mask: np.uint64
    distance: int
    keys: NDArray[np.uint64]
    hashes: NDArray[np.uint64]
    images: NDArray[np.int64]


def _nearest(found: NDArray[np.void]) -> NDArray[np.void]:
    """Of each image the nearest twin, of those the first; by bytes and by looks apart."""
    found = found[np.lexsort((found["row"], found["distance"], found["image"], ~found["exact"]))]
    is_first = np.ones(len(found), bool)
    is_first[1:] = (found["image"][1:] != found["image"][:-1]) | (
        found["exact"][1:] != found["exact"][:-1]
    )
    return found[is_first]


def _tables(hashes: NDArray[np.uint64], images: NDArray[np.int64], distance: int) -> list[_Table]:
    """For each mask: the sorted keys under it, and their hashes and images in that order."""
    tables = []
    for mask in table_masks(distance) or [_ALL_BITS]:
        order = np.argsort(hashes & mask)
        keys = (hashes & mask)[order]
        tables.append(_Table(mask, distance, keys, hashes[order], images[order]))
    return tables


def _digests(sha256: NDArray[np.uint8]) -> NDArray[np.bytes_]:
    """One element for each row; all have one width, so stripped trailing zeros confuse nothing."""
    digests: NDArray[np.bytes_] = np.ascontiguousarray(sha256).view("S32")[:, 0]
    return digests


def _as_twins(
    images: NDArray[np.int64],
    rows: NDArray[np.int64],
    *,
    distance: NDArray[np.uint8] | int,
    exact: bool,
) -> NDArray[np.void]:
    twins = np.empty(len(rows), TWIN)
    twins["image"], twins["row"] = images, rows
    twins["distance"], twins["exact"] = distance, exact
    return twins
