"""Which of some images, held in memory, have a twin among any number of others that stream by.

For few against many: `duplicates` compares all with all, on disk. What is held takes about 300
bytes for an image; of what streams by nothing is kept.

Hashes within *r* bits agree in two of *r* + 2 blocks of bits (`near_duplicates`, with the source).
So what is held is sorted once for each choice of two blocks, and only what agrees there with
something that streams by is compared with it.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.image_hashes import ShardLooks
from pipeline.near_duplicates import table_masks
from pipeline.perceptual_hash import distances

# `image` is the first one that is held with such bytes (`exact`) or such a hash; `row` is that of
# the twin among those that streamed by; `distance` counts bits, 0 where `exact`.
TWIN = np.dtype([("image", "<i8"), ("row", "<i8"), ("distance", "u1"), ("exact", "?")])
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
        self._distance = distance
        self._tables = [] if distance is None else _tables(held, hashed[first], distance)

    def twins(self, looks: ShardLooks) -> NDArray[np.void]:
        """Their twins among the images of a shard, as an array of `TWIN`.

        Of images with the same bytes, and of images with the same hash, the first has one at most:
        the nearest, of those the first.
        """
        exact = self._exact(looks)
        near = [self._near(looks, *table) for table in self._tables if looks.hashed.any()]
        found = np.concatenate([exact, *near])
        found = found[
            np.lexsort((found["row"], found["distance"], found["image"], ~found["exact"]))
        ]
        is_first = np.ones(len(found), bool)
        is_first[1:] = (found["image"][1:] != found["image"][:-1]) | (
            found["exact"][1:] != found["exact"][:-1]
        )
        return found[is_first]

    def _exact(self, looks: ShardLooks) -> NDArray[np.void]:
        if not len(self._digests):
            return np.empty(0, TWIN)
        wanted = _digests(looks.sha256)
        places = np.searchsorted(self._digests, wanted).clip(max=len(self._digests) - 1)
        rows = np.flatnonzero(self._digests[places] == wanted)
        return _as_twins(self._first[places[rows]], rows, distance=0, exact=True)

    def _near(
        self,
        looks: ShardLooks,
        mask: np.uint64,
        keys: NDArray[np.uint64],
        hashes: NDArray[np.uint64],
        images: NDArray[np.int64],
    ) -> NDArray[np.void]:
        hashed = np.flatnonzero(looks.hashed)
        streamed, first = np.unique(looks.hashes[hashed], return_index=True)
        starts = np.searchsorted(keys, streamed & mask, "left")
        counts = np.searchsorted(keys, streamed & mask, "right") - starts
        mine = np.repeat(np.arange(len(streamed)), counts)
        held = np.arange(len(mine)) + np.repeat(starts - np.cumsum(counts) + counts, counts)
        between = distances(streamed[mine], hashes[held])
        near = between <= (self._distance or 0)
        return _as_twins(
            images[held[near]], hashed[first[mine[near]]], distance=between[near], exact=False
        )


_Table = tuple[np.uint64, NDArray[np.uint64], NDArray[np.uint64], NDArray[np.int64]]


def _tables(hashes: NDArray[np.uint64], images: NDArray[np.int64], distance: int) -> list[_Table]:
    """For each mask: the sorted keys under it, and their hashes and images in that order."""
    tables = []
    for mask in table_masks(distance) or [_ALL_BITS]:
        order = np.argsort(hashes & mask)
        tables.append((mask, (hashes & mask)[order], hashes[order], images[order]))
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
