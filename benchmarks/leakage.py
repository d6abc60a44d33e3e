"""How long it takes to hold a benchmark against all that a model was trained on: images made up.

    .venv/bin/python benchmarks/leakage.py [--shards 1000] [--rows 1000] [--benchmark 1000]
        [--bytes 2000] [--folder DIR]

A model has learnt from a source of so many shards, whose images are random bytes; their hashes are
random too, and written as if somebody had looked at the images. One in ten benchmark images is also
in the training, and another tenth is there with three bits of its hash changed; that just these are
found is checked. *Peak* is the largest resident memory by the end of each check, minus that before
the first one.

Real images are larger, but their bytes are not read. What a remote store takes to answer is not in
these numbers: two or three requests for each shard, eight shards at once.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jobs.config import CatalogConfig
from jobs.console import Reporter
from jobs.leakage import find_leaks
from jobs.workspace import Workspace, open_workspace
from pipeline.identity import sample_id, sha256_hex
from pipeline.image_hashes import HashRow, write_hashes
from pipeline.records import ImageHeader, ImageRecord
from pipeline.shards import write_image_shard

SHARE = 10  # one benchmark image in so many leaks in either way
BITS_CHANGED = 0b111


@dataclass(frozen=True, slots=True)
class Images:
    """Images of which only that much is real: bytes that follow from a seed, and a hash."""

    seeds: NDArray[np.int64]
    hashes: NDArray[np.uint64]

    @classmethod
    def drawn(cls, start: int, count: int) -> "Images":
        hashes = np.random.default_rng([7, start]).integers(0, 2**64, count, np.uint64)
        return cls(np.arange(start, start + count), hashes)

    def records(self, source: str, size: int) -> Iterator[ImageRecord]:
        for seed in self.seeds.tolist():
            data, path = np.random.default_rng(seed).bytes(size), f"{seed:09d}.png"
            yield ImageRecord(
                sample_id=sample_id(source, path),
                sha256=sha256_hex(data),
                path=path,
                uri=f"/{path}",
                offset=0,
                length=size,
                data=data,
                header=ImageHeader(640, 480, "PNG"),
            )


def fill(workspace: Workspace, source: str, role: str, shards: Sequence[Images], size: int) -> None:
    """A source of shards, with their hashes."""
    catalog, store = workspace.catalog, workspace.store
    catalog.register_source(source, role=role, uri="/x", layout="images")
    lease = catalog.begin_ingest(
        source, owner="me", ttl_s=3600.0, uri="/x", config={}, code_version="1"
    )
    for images in shards:
        rows = list(images.records(source, size))
        shard = write_image_shard(store, rows, source=source, code_version="1")
        catalog.commit_image_shard(lease, shard, dropped={})
        pairs = zip(rows, images.hashes.tolist(), strict=True)
        looks = [HashRow(row.sample_id, row.sha256, bits, None, 640, 480) for row, bits in pairs]
        write_hashes(store, shard, looks, code_version="1")
    catalog.finish_ingest(lease, {})


def benchmark_of(training: Images, count: int) -> Images:
    """Images of their own, but for one tenth with bytes and another with looks of the training."""
    mine = Images.drawn(1 << 40, count)
    leaks = count // SHARE
    mine.seeds[:leaks] = training.seeds[:leaks]
    mine.hashes[: 2 * leaks] = training.hashes[: 2 * leaks]
    mine.hashes[leaks : 2 * leaks] ^= np.uint64(BITS_CHANGED)
    return mine


def train(workspace: Workspace) -> None:
    """Enter a model that has learnt from all of the training."""
    catalog = workspace.catalog
    snapshot = catalog.pin_snapshot(labelled=["training"], pseudo=[]).snapshot_id
    run = catalog.begin_run(
        "teacher", name="model", config={}, snapshot_id=snapshot, code_version="1"
    )
    catalog.register_model(
        "model",
        key="models/model",
        sha256="0" * 64,
        family="made-up",
        geometry="disparity_affine_invariant",
        kind="trained",
        run_id=run,
    )


def measure(workspace: Workspace, check: str, *, leaks: int, before_kb: int) -> None:
    """Look for leaks, and print a line of the table."""
    started_s = time.perf_counter()
    found = find_leaks(
        workspace, model="model", source="benchmark", check=check, reporter=Reporter.silent()
    ).among()
    seconds = time.perf_counter() - started_s
    peak_mb = (peak_kb() - before_kb) / 1024
    right = (len(found.exact), len(found.near)) == (leaks, leaks if check == "near" else 0)
    rate = found.trained_on / seconds
    print(f"{check:6} {found.trained_on:12,} {seconds:8.2f} {rate:11,.0f} {peak_mb:8.0f} {right}")


def peak_kb() -> int:
    """The most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--shards", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--benchmark", type=int, default=1000)
    parser.add_argument("--bytes", type=int, default=2000)
    parser.add_argument("--folder", help="for the store")
    arguments = parser.parse_args()
    rows, size = arguments.rows, arguments.bytes
    with (
        tempfile.TemporaryDirectory(dir=arguments.folder) as folder,
        open_workspace(CatalogConfig(store=folder)) as workspace,
    ):
        training = [Images.drawn(n * rows, rows) for n in range(arguments.shards)]
        mine = benchmark_of(training[-1], min(arguments.benchmark, SHARE // 2 * rows))
        fill(workspace, "training", "labelled", training, size)
        fill(workspace, "benchmark", "benchmark", [mine], size)
        train(workspace)
        before_kb, leaks = peak_kb(), len(mine.seeds) // SHARE
        print(f"{'check':6} {'images':>12} {'seconds':>8} {'images/s':>11} {'peak MB':>8} right")
        for check in ("exact", "near"):
            measure(workspace, check, leaks=leaks, before_kb=before_kb)


if __name__ == "__main__":
    main()
