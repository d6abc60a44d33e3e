"""How long it takes to find near-duplicates, and in how much memory: hashes made up, no image.

    .venv/bin/python benchmarks/near_duplicates.py [--hashes 500000 1000000 2000000] [--distance 4]
        [--memory-mb 64] [--skew 0.5] [--folder DIR]

Hashes are drawn like those of photographs: each bit is set with a probability of its own, so that
the keys of the tables are not spread alike (``--skew 0`` is 64 fair coins). One in fifty is a copy
of an earlier one with up to `--distance` bits changed; the search must find every one of them.

*Peak* is the largest resident memory of a process that does nothing else, minus that of one that
searches no hash; in it are 9 bytes for each hash of a file that is mapped, which the system takes
back where it is short of memory. *Scratch* is the most that lay on disk. *Chance* is copies that
nobody planted. *Missed* leaves out planted copies of what is itself a copy: that one goes, and with
it the reason to take out the other. The last row says what 62 million would take, by the exponent
with which time has grown.
"""

import argparse
import math
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.duplicates import SampleBlock, find_duplicates

BLOCK = 100_000
COPIES = 50  # one in so many
TARGET = 62_000_000


def hash_block(
    start: int, count: int, *, skew: float, distance: int
) -> tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.int64]]:
    """The hashes from ``start`` on, which of them are copies, and of which; by itself."""
    rng = np.random.default_rng([7, start])
    chances = 0.5 + skew * (np.random.default_rng(1).random(64) - 0.5)
    bits = rng.random((count, 64)) < chances
    hashes = np.packbits(bits, axis=1).view(">u8")[:, 0].astype(np.uint64)
    copies = np.arange(COPIES - 1, count, COPIES)
    changes = rng.integers(0, 64, (len(copies), max(1, distance))).astype(np.uint64)
    originals = copies - rng.integers(1, COPIES - 1, len(copies))
    of_each = hashes[originals]
    for column in changes.T[:distance]:
        flips = rng.random(len(copies)) < 0.5
        of_each = np.where(flips, of_each ^ (np.uint64(1) << column), of_each)
    hashes[copies] = of_each
    return hashes, start + copies, start + originals


def blocks(
    count: int, planted: list[NDArray[np.int64]], *, skew: float, distance: int
) -> Iterator[SampleBlock]:
    """All hashes, each with bytes of its own; copies and originals are added to ``planted``."""
    for start in range(0, count, BLOCK):
        size = min(BLOCK, count - start)
        hashes, *pair = hash_block(start, size, skew=skew, distance=distance)
        planted.append(np.stack(pair))
        digests = np.random.default_rng([9, start]).integers(0, 256, (size, 32), np.uint8)
        yield SampleBlock(digests, hashes, np.ones(size, bool))


def search(arguments: argparse.Namespace, count: int) -> None:
    """Search once in this process, and print what it took."""
    pairs: list[NDArray[np.int64]] = [np.empty((2, 0), np.int64)]
    options = {"skew": arguments.skew, "distance": arguments.distance}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        scratch = _Watch(Path(folder))
        started_s = time.perf_counter()
        found = find_duplicates(
            blocks(count, pairs, **options),
            total=count,
            fixed=0,
            distance=arguments.distance,
            folder=Path(folder),
            memory_bytes=arguments.memory_mb << 20,
        )
        copies = np.concatenate([some["index"] for some in found] or [np.empty(0, np.uint64)])
        seconds = time.perf_counter() - started_s
        scratch.stop()
    planted, originals = np.concatenate(pairs, axis=1)
    missed = np.count_nonzero(~np.isin(planted, copies) & ~np.isin(originals, copies))
    chance = len(np.setdiff1d(copies, planted))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(seconds, peak, scratch.most_bytes, chance, missed)


class _Watch:
    """The most bytes that lay in a folder."""

    def __init__(self, folder: Path) -> None:
        self.most_bytes = 0
        self._folder = folder
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._done.wait(0.2):
            try:
                sizes = [entry.stat().st_blocks * 512 for entry in os.scandir(self._folder)]
            except FileNotFoundError:  # removed while it was looked at
                continue
            self.most_bytes = max(self.most_bytes, sum(sizes))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--hashes", type=int, nargs="+", default=[500_000, 1_000_000, 2_000_000])
    parser.add_argument("--distance", type=int, default=4)
    parser.add_argument("--memory-mb", type=int, default=64)
    parser.add_argument("--skew", type=float, default=0.5)
    parser.add_argument("--folder", help="for scratch files")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one is not None:
        search(arguments, arguments.one)
        return
    print(f"distance {arguments.distance}, {arguments.memory_mb} MB, skew {arguments.skew}")
    print(f"{'hashes':>12} {'seconds':>9} {'peak MB':>8} {'scratch MB':>11} {'chance':>7} missed")
    idle = _measure(0)[1]
    rows = []
    for count in arguments.hashes:
        seconds, peak, scratch, chance, missed = _measure(count)
        rows.append((count, seconds))
        print(
            f"{count:12,} {seconds:9.1f} {(peak - idle) / 1024:8.0f} {scratch / 1e6:11.0f} "
            f"{chance:7.0f} {missed:.0f}",
            flush=True,
        )
    if len(rows) > 1:
        (first, first_s), (last, last_s) = rows[0], rows[-1]
        exponent = math.log(last_s / first_s) / math.log(last / first)
        hours = last_s * (TARGET / last) ** exponent / 3600
        print(f"{TARGET:12,} {hours:7.1f} h  by the exponent {exponent:.2f}")


def _measure(count: int) -> tuple[float, ...]:
    """In a process of its own, whose memory is nobody else's."""
    command = [sys.executable, __file__, *sys.argv[1:], "--one", str(count)]
    run = subprocess.run(command, check=True, capture_output=True, text=True)
    return tuple(map(float, run.stdout.split()))


if __name__ == "__main__":
    main()
