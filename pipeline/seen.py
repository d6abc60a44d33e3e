"""What a source already has, so that a run can be repeated and adds only what is new.

Sorted arrays of 16-byte digests: 32 bytes for each sample. The 11 million images of SA-1B take
350 MB, where a Python dict would take 2 GB.
"""

import hashlib
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.lookahead import map_ahead
from pipeline.records import Drop, ShardRef
from pipeline.shards import read_drops, read_sample_keys
from pipeline.storage import Store

READERS = 8
MERGE_AT = 1 << 18
Item = TypeVar("Item")
Result = TypeVar("Result")

_DIGEST = np.dtype("S16")  # equal width, so that NumPy's stripping of trailing zeros is harmless


class DigestSet:
    """A growing set of 16-byte digests: a sorted array, and what came since in a small set."""

    def __init__(self, digests: Iterable[bytes] = ()) -> None:
        self._sorted = np.unique(_array(list(digests)))  # several of them joined will do, too
        self._recent: set[bytes] = set()

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._recent or find_digest(self._sorted, digest) is not None

    def __len__(self) -> int:
        return len(self._sorted) + len(self._recent)

    def add(self, digest: bytes) -> None:
        """Add one that is not in the set."""
        self._recent.add(digest)
        if len(self._recent) >= MERGE_AT:
            recent = np.sort(_array(list(self._recent)))
            # Two sorted runs are merged by the stable algorithm, where the default sorts anew.
            self._sorted = np.sort(np.concatenate([self._sorted, recent]), kind="stable")
            self._recent = set()


class SeenSamples:
    """Sample ids, each with a digest of what was ingested under it."""

    def __init__(self, ids: Sequence[bytes] = (), contents: Sequence[bytes] = ()) -> None:
        order = np.argsort(found := _array(ids), kind="stable")
        self._ids, self._contents = found[order], _array(contents)[order]

    def __len__(self) -> int:
        return len(self._ids)

    def compare(self, sample_id: str, content: bytes) -> Literal["new", "same", "changed"]:
        """Whether the source has this sample, and with the same content."""
        place = find_digest(self._ids, bytes.fromhex(sample_id))
        if place is None:
            return "new"
        return "same" if self._contents[place] == _array([content])[0] else "changed"


def content_digest(sha256: str, truth_sha256: str | None) -> bytes:
    """16 bytes that change with the image or with its ground truth."""
    return hashlib.blake2b(f"{sha256} {truth_sha256}".encode(), digest_size=16).digest()


def drop_digest(drop: Drop) -> bytes:
    """16 bytes that tell a refusal apart: of what, why, and with which bytes."""
    text = f"{drop.path}\0{drop.reason}\0{drop.sha256}"
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def seen_samples(store: Store, shards: Sequence[ShardRef]) -> SeenSamples:
    """Read which samples these shards hold; no blob is read."""
    ids: list[bytes] = []  # of one shard each, joined: single ones take three times the memory
    contents: list[bytes] = []
    for rows in _each(lambda shard: read_sample_keys(store, shard.key), shards):
        ids.append(b"".join(bytes.fromhex(sample_id) for sample_id, _, _ in rows))
        contents.append(b"".join(content_digest(sha256, truth) for _, sha256, truth in rows))
    return SeenSamples(ids, contents)


def seen_images(store: Store, shards: Sequence[ShardRef]) -> DigestSet:
    """The first half of the sha256 of each image in these shards."""
    rows = _each(lambda shard: read_sample_keys(store, shard.key), shards)
    return DigestSet(
        b"".join(bytes.fromhex(sha256)[:16] for _, sha256, _ in shard) for shard in rows
    )


def seen_drops(store: Store, keys: Sequence[str]) -> DigestSet:
    """What these objects say was refused."""
    found = _each(lambda key: [drop_digest(drop) for drop in read_drops(store, key)], keys)
    return DigestSet(digest for digests in found for digest in digests)


def _each(read: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    return map_ahead(read, items, threads=READERS, ahead=4 * READERS)


def _array(digests: Sequence[bytes]) -> NDArray[np.bytes_]:
    return np.frombuffer(b"".join(digests), _DIGEST)


def find_digest(ordered: NDArray[np.bytes_], digest: bytes) -> int | None:
    """The first place of a digest in a sorted array of type ``S16``; None where it is not."""
    # Not `np.searchsorted`: it gives the interpreter lock away, and with busy threads around gets
    # it back after milliseconds. NumPy hands out elements without their trailing zeros.
    wanted = digest.rstrip(b"\0")
    place = bisect_left(ordered, wanted)
    return place if place < len(ordered) and ordered[place] == wanted else None
