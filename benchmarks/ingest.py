"""Ingest beside the least that must be done, and beside other tools, on the same files.

    .venv/bin/python benchmarks/ingest.py [--photos FOLDER] [--gigabytes 1.5] [--turns 5]
        [--img2dataset PYTHON] [--folder SCRATCH]

The floor reads each file, takes its sha256, reads its image header with the factory's own parser
and writes its bytes to one file per thread, flushed to disk at the end, as the factory flushes its
shards; with as many threads as there are cores, no catalog, no Parquet, no order, no check of what
arrived. One loop is the same in one thread, as a script does it. Where the source is a tar, the
floor reads the same bytes from the folder. By reference nothing is written but rows; its floor is
the same without writing.

The factory ingests one image before it is timed: to make a new catalog and load what that takes is
the same second for one image and for millions, and is said beside the table.

Contenders take turns, so that a change of the machine's mood meets all of them; each turn is a
fresh process, timed from after its imports to its end, on warm files and into an empty folder. The
median of the turns counts. CPU seconds are those of the process and its children.

img2dataset is none of our dependencies: PYTHON is the interpreter of an environment that has it
(1.47 installs beside current libraries). It reads the same files as ``file://`` URLs, does not
re-encode, and takes sha256 as we do; its time includes its start, and each of its processes
imports everything again. Hugging Face ``imagefolder`` is loaded and written as Parquet with its
bytes embedded, without a hash; it reads each file with PIL to see what it is.
"""

import argparse
import hashlib
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ingest_data import make

SIZES: dict[str, int | None] = {"photographs": None, "256 px": 256}
IMG2DATASET = """
import json, sys
from img2dataset import download
if __name__ == "__main__":
    download(**json.loads(sys.argv[1]))
"""


def main() -> None:
    arguments = parsed()
    if arguments.turn:
        print(json.dumps(TURNS[arguments.turn](arguments.source, arguments.out)))
        return
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="ingest-benchmark-"))
    try:
        for name, side in SIZES.items():
            source = folder / name.replace(" ", "")
            total_bytes = int(arguments.gigabytes * 1e9)
            count = make(source, photos=arguments.photos, total_bytes=total_bytes, side=side)
            results = measure(source, folder, arguments)
            print(table(name, results, count=count, source=source), flush=True)
    finally:
        if arguments.folder is None:
            shutil.rmtree(folder)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, help="folder of JPEG photographs (default: drawn)")
    parser.add_argument("--gigabytes", type=float, default=1.5, help="of each of the two sets")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--img2dataset", metavar="PYTHON", help="interpreter that has it")
    parser.add_argument("--folder", type=Path, help="for data and results (default: temporary)")
    parser.add_argument("--only", nargs="+", help="contenders, by their first word or more")
    parser.add_argument("--turn", help=argparse.SUPPRESS)
    parser.add_argument("--source", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def measure(
    source: Path, folder: Path, arguments: argparse.Namespace
) -> dict[str, list[dict[str, float]]]:
    """Wall and CPU seconds of each turn of each contender."""
    results: dict[str, list[dict[str, float]]] = {}
    only = tuple(arguments.only or [""])
    commands = {name: [sys.executable, __file__, "--turn", name] for name in TURNS}
    if not arguments.img2dataset:
        print("img2dataset: left out, --img2dataset names no interpreter that has it")
    for turn in range(arguments.turns + 1):  # the first one warms the files, and does not count
        for name, command in commands.items():
            if name.startswith(only):
                took = run([*command, "--source", str(source)], folder / "out")
                results.setdefault(name, []).extend([took] if turn else [])
        if arguments.img2dataset and "img2dataset".startswith(only):
            took = run_img2dataset(arguments.img2dataset, source, folder / "out")
            results.setdefault("img2dataset, folder", []).extend([took] if turn else [])
    return results


def run(command: list[str], out: Path) -> dict[str, float]:
    """One turn into an empty folder, with all earlier writing done."""
    with empty(out):
        done = subprocess.run([*command, "--out", str(out)], stdout=subprocess.PIPE, check=True)
    took: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return took


def run_img2dataset(python: str, source: Path, out: Path) -> dict[str, float]:
    """Its start and its imports are part of its time: it starts processes that import again."""
    urls = source / "urls.txt"
    if not urls.exists():
        files = sorted((source / "images").rglob("*.jpg"))
        urls.write_text("".join(f"file://{path.absolute()}\n" for path in files))
    options = {
        "url_list": str(urls),
        "input_format": "txt",
        "output_format": "parquet",
        "output_folder": str(out / "shards"),
        "resize_mode": "no",
        "disable_all_reencoding": True,
        "compute_hash": "sha256",
        "extract_exif": False,
        "processes_count": os.cpu_count(),
        "thread_count": 8,
        "enable_wandb": False,
    }
    with empty(out), timed() as took:
        command = [python, "-c", IMG2DATASET, json.dumps(options)]
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        os.sync()
        stats = [json.loads(path.read_text()) for path in out.glob("shards/*_stats.json")]
        kept = sum(shard["successes"] for shard in stats)
        assert kept == int((source / "done").read_text()), f"img2dataset kept {kept}"
    return took


@contextmanager
def empty(folder: Path) -> Iterator[None]:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    os.sync()
    yield
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def timed() -> Iterator[dict[str, float]]:
    took: dict[str, float] = {}
    started_s, before_s = time.perf_counter(), cpu_seconds()
    yield took
    took |= {"wall_s": time.perf_counter() - started_s, "cpu_s": cpu_seconds() - before_s}


def cpu_seconds() -> float:
    """Of this process and of its children that ended."""
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def floor(
    source: Path, out: Path, *, writes: bool = True, threads: int = os.cpu_count() or 1
) -> dict[str, float]:
    """Read, sha256, header, and write if asked."""
    from pipeline.filters import ImageLimits, Refusal, examine

    paths = [str(path) for path in sorted((source / "images").rglob("*.jpg"))]
    limits = ImageLimits()

    def work(number: int) -> None:
        with open(out / str(number), "wb", buffering=0) as sink:
            for path in paths[number::threads]:
                with open(path, "rb", buffering=0) as file:
                    data = file.read()
                hashlib.sha256(data).hexdigest()
                assert not isinstance(examine(data, limits=limits), Refusal), path
                if writes:
                    sink.write(data)
            os.fsync(sink.fileno())

    with timed() as took, ThreadPoolExecutor(threads) as pool:
        for future in [pool.submit(work, number) for number in range(threads)]:
            future.result()
    return took


def factory(source: Path, out: Path, **options: Any) -> dict[str, float]:
    """`factory ingest` of the folder or the tar."""
    from jobs.config import IngestConfig
    from jobs.ingest import ingest

    store = {"store": str(out / "store")}
    one = next((source.parent / "images").rglob("*.jpg"))
    with timed() as start:
        ingest(IngestConfig(uri=str(one), source="first", **store))
    with timed() as took:
        summary = ingest(IngestConfig(uri=str(source), source="benchmark", **store, **options))
    took["start_s"] = start["wall_s"]
    assert summary["kept"] == summary["samples_in"] > 0, summary
    return took


def imagefolder(source: Path, out: Path) -> dict[str, float]:
    """Hugging Face: loaded as a data set, then written as Parquet with the bytes."""
    import datasets
    from datasets.table import embed_table_storage

    datasets.disable_progress_bars()
    with timed() as took:
        loaded = datasets.load_dataset(
            "imagefolder", data_dir=str(source / "images"), cache_dir=str(out), drop_labels=True
        )["train"]
        whole = loaded.with_format("arrow").map(embed_table_storage, batched=True, batch_size=64)
        whole.with_format(None).to_parquet(str(out / "images.parquet"))
        os.sync()
    assert os.path.getsize(out / "images.parquet") > 0
    return took


TURNS: dict[str, Callable[[Path, Path], dict[str, float]]] = {
    "floor, folder": floor,
    "one loop, folder": lambda source, out: floor(source, out, threads=1),
    "factory ingest, folder": lambda source, out: factory(source / "images", out),
    "factory ingest, tar": lambda source, out: factory(source / "images.tar", out),
    "floor without writing": lambda source, out: floor(source, out, writes=False),
    "factory ingest, by reference": lambda source, out: factory(
        source / "images", out, by_reference=True
    ),
    "imagefolder to Parquet": imagefolder,
}


def table(
    name: str, results: dict[str, list[dict[str, float]]], *, count: int, source: Path
) -> str:
    """Markdown; the floor of what is stored by reference is the one without writing."""
    megabytes = (source / "images.tar").stat().st_size / 1e6
    head = f"\n{name}: {count:,} files, {megabytes:,.0f} MB, {os.cpu_count()} cores\n"
    lines = [
        head,
        "| | images/s | MB/s | of its floor | of one loop | CPU s per 1,000 images | s |",
    ]
    lines.append("|---|---|---|---|---|---|---|")
    medians = {key: statistics.median(t["wall_s"] for t in took) for key, took in results.items()}
    for key, took in results.items():
        wall_s, cpu_s = medians[key], statistics.median(t["cpu_s"] for t in took)
        base = medians.get("floor without writing" if "reference" in key else "floor, folder")
        loop = medians.get("one loop, folder")
        shares = " | ".join(f"{each / wall_s:.2f}" if each else "" for each in (base, loop))
        walls = [t["wall_s"] for t in took]
        lines.append(
            f"| {key} | {count / wall_s:,.0f} | {megabytes / wall_s:,.0f} | {shares} "
            f"| {1000 * cpu_s / count:.2f} | {min(walls):.2f} to {max(walls):.2f} |"
        )
    starts = [each["start_s"] for took in results.values() for each in took if "start_s" in each]
    if starts:
        lines.append(f"\nA new store and its first image: {statistics.median(starts):.2f} s.")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
