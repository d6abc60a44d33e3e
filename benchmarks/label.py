"""How fast `factory label` is against the bare forward pass: one table, one machine, one run.

    .venv/bin/python benchmarks/label.py --images FOLDER [--size 518] [--scale s]

The teacher has the named Depth Anything size and random weights: speed does not depend on what the
weights say. The bare loop runs the same batches, already decoded and resized, through the same
network; the engine reads a shard, decodes, resizes, labels, encodes and writes.
"""

import argparse
import platform
import tempfile
import time
from pathlib import Path

import torch

from jobs.config import IngestConfig
from jobs.ingest import ingest
from jobs.label_engine import LabelEngine, LabelJob, LabelTask
from jobs.label_recipe import LabelRecipe
from jobs.models import ModelLocation
from jobs.workspace import open_workspace
from model.depth_model import load_depth_model, save_depth_model
from model.student import build_network
from pipeline.images import decode_rgb
from pipeline.records import ShardRef
from pipeline.shards import read_image_rows
from pipeline.storage import Store


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", required=True, type=Path)
    parser.add_argument("--size", default=518, type=int)
    parser.add_argument("--scale", default="s", choices=("tiny", "s", "b", "l"))
    parser.add_argument("--batch-size", default=4, type=int)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        compare(arguments, Path(folder))


def compare(arguments: argparse.Namespace, folder: Path) -> None:
    """Print one row per way of doing it."""
    config = IngestConfig(
        uri=str(arguments.images), source="photos", verify="decode", store=str(folder / "store")
    )
    ingest(config)
    with open_workspace(config) as workspace:
        (shard,) = workspace.catalog.image_shards("photos")
    network = build_network(f"scratch:{arguments.scale}", size=arguments.size)
    save_depth_model(network, folder / "teacher", side=arguments.size)
    engine = make_engine(arguments, folder)
    bare_s, images = bare_loop(arguments, folder, shard)
    engine_s = timed(lambda: engine.label(LabelTask(shard, "0001-cold")))
    engine_s = min(engine_s, timed(lambda: engine.label(LabelTask(shard, "0002-warm"))))
    print(
        f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, "
        f"{arguments.scale} at {arguments.size}, {arguments.precision}, {images} images\n"
    )
    print("| | images/s | ÷ bare forward |\n|---|--:|--:|")
    print(f"| bare forward | {images / bare_s:.2f} | 1.00 |")
    print(f"| label engine | {images / engine_s:.2f} | {bare_s / engine_s:.2f} |")


def make_engine(arguments: argparse.Namespace, folder: Path) -> LabelEngine:
    model = load_depth_model(str(folder / "teacher"), device="cpu", side=arguments.size)
    recipe = LabelRecipe(
        teacher_sha256=model.sha256,
        family=model.family,
        geometry=model.geometry,
        side=arguments.size,
        multiple=model.preprocessing.multiple,
        resize="exact",
        max_distortion=None,
        precision=arguments.precision,
        codec="jxl-u16",
        consistency=False,
    )
    job = LabelJob(
        store=Store(str(folder / "store")),
        label_set="benchmark",
        teacher="teacher",
        location=ModelLocation("plain", str(folder / "teacher")),
        recipe=recipe,
        code_version="benchmark",
        batch_size=arguments.batch_size,
        threads=2,
    )
    return LabelEngine(job, device=arguments.device)


def bare_loop(arguments: argparse.Namespace, folder: Path, shard: ShardRef) -> tuple[float, int]:
    """Seconds for the network alone, on batches of equal size made beforehand."""
    model = load_depth_model(
        str(folder / "teacher"),
        device=arguments.device,
        precision=arguments.precision,
        side=arguments.size,
    )
    by_size: dict[tuple[int, ...], list[torch.Tensor]] = {}
    for record in read_image_rows(Store(str(folder / "store")), shard.key):
        assert record.data is not None
        image = torch.from_numpy(model.prepare(decode_rgb(record.data)))
        by_size.setdefault(tuple(image.shape), []).append(image)
    batches = [
        torch.stack(images[start : start + arguments.batch_size])
        for images in by_size.values()
        for start in range(0, len(images), arguments.batch_size)
    ]
    model.disparity(batches[0])  # the first pass allocates
    seconds = timed(lambda: [model.disparity(batch).cpu() for batch in batches])
    return seconds, sum(len(batch) for batch in batches)


def timed(work: object) -> float:
    assert callable(work)
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
