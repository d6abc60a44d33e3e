"""Which images of which sources are copies of which: numbers, and where each number lies.

Images are numbered in order of precedence, shard by shard. What is kept of each while the search
goes on lies in scratch files of this machine: about 100 bytes for an image, removed at the end.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.console import Reporter
from pipeline.duplicates import DUPLICATE, SampleBlock, find_duplicates, unknown_block
from pipeline.errors import ShardCorruptError
from pipeline.image_hashes import ShardLooks, read_looks
from pipeline.lookahead import map_ahead
from pipeline.records import ShardRef
from pipeline.storage import Store

READERS = 8
CHUNK = 1 << 16  # pairs that are turned into names together


@dataclass(frozen=True, slots=True)
class Place:
    """Where a numbered image lies."""

    shard: ShardRef
    row: int


@dataclass(frozen=True, slots=True)
class Searched:
    """What was compared, in order of precedence.

    Attributes:
        fixed: So many of the first images stay in any case.
        benchmark_images: So many of the first images belong to benchmarks.
        starts: The number of the first image of each shard, and at the end how many there are.
        ids: uint8 n x 16, on disk: sample ids.
        duplicates: Array of `pipeline.duplicates.DUPLICATE` in order, on disk.
        unhashed: How many have no hash, by reason; empty where none was asked for.
        failed: Why, by the key of each shard that could not be read.
    """

    shards: Sequence[ShardRef]
    fixed: int
    benchmark_images: int
    starts: NDArray[np.int64]
    ids: NDArray[np.uint8]
    duplicates: NDArray[Any]
    unhashed: dict[str, int] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def place(self, index: int) -> Place:
        """Where an image lies."""
        number = int(np.searchsorted(self.starts, index, "right")) - 1
        return Place(self.shards[number], index - int(self.starts[number]))

    def sample_id(self, index: int) -> str:
        """Of an image."""
        return bytes(self.ids[index]).hex()

    def chunks(self) -> Iterator[NDArray[Any]]:
        """The duplicates, some thousand at a time, in order."""
        for start in range(0, len(self.duplicates), CHUNK):
            yield np.array(self.duplicates[start : start + CHUNK])


def search_duplicates(
    store: Store,
    shards: Sequence[ShardRef],
    *,
    fixed: int,
    benchmarks: int,
    distance: int | None,
    folder: Path,
    reporter: Reporter,
    failed: dict[str, str] | None = None,
    tick: Callable[[], None] = lambda: None,
) -> Searched:
    """Compare all images of these shards.

    Args:
        store: Where they are.
        shards: In order of precedence; without hashes those of ``failed``.
        fixed: So many of the first shards have images that stay in any case.
        benchmarks: So many of the first shards are of benchmarks.
        distance: Bits in which the hashes of copies may differ; None to compare bytes only.
        folder: For scratch files; what is found lies there, too.
        reporter: Hears of the progress.
        failed: Why, by key: shards to leave out.
        tick: Called now and then, for leases that must be renewed.
    """
    starts = np.concatenate([[0], np.cumsum([shard.rows for shard in shards], dtype=np.int64)])
    total = int(starts[-1])
    ids = np.memmap(folder / "sample_ids", np.uint8, "w+", shape=(max(1, total), 16))
    unhashed: dict[str, int] = {}
    failed = dict(failed or {})

    def read(shard: ShardRef) -> ShardLooks | str:
        if shard.key in failed:
            return failed[shard.key]
        try:
            return read_looks(store, shard, hashes=distance is not None)
        except (ShardCorruptError, FileNotFoundError) as error:
            return str(error)

    def blocks() -> Iterator[SampleBlock]:
        looks = map_ahead(read, shards, threads=READERS, ahead=4 * READERS)
        with reporter.progress("compare images", total) as bar:
            for shard, start, found in zip(shards, starts[:-1], looks, strict=True):
                bar.advance(shard.rows)
                tick()
                if isinstance(found, str):
                    failed[shard.key] = found
                    yield unknown_block(shard.rows)
                    continue
                ids[start : start + shard.rows] = found.sample_ids
                for reason, count in found.reasons.items():
                    unhashed[reason] = unhashed.get(reason, 0) + count
                yield SampleBlock(found.sha256, found.hashes, found.hashed)

    found = find_duplicates(
        blocks(),
        total=total,
        fixed=int(starts[fixed]),
        distance=distance,
        folder=folder,
        tick=tick,
    )
    duplicates = _on_disk(found, folder / "duplicates", tick)
    return Searched(
        shards=shards,
        fixed=int(starts[fixed]),
        benchmark_images=int(starts[benchmarks]),
        starts=starts,
        ids=ids,
        duplicates=duplicates,
        unhashed=dict(sorted(unhashed.items())),
        failed=failed,
    )


def _on_disk(found: Iterator[NDArray[Any]], file: Path, tick: Callable[[], None]) -> NDArray[Any]:
    with file.open("wb") as writing:
        for some in found:
            writing.write(some.view(np.uint8).data)
            tick()
    if not file.stat().st_size:
        return np.empty(0, DUPLICATE)
    rows: NDArray[Any] = np.memmap(file, DUPLICATE, "r")
    return rows
