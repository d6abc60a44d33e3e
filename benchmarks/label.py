"""How fast labels are made: the bare forward pass, the loop people run today, and the engine.

    .venv/bin/python benchmarks/label.py [--quick] [--images FOLDER] [--scales s b l]
        [--precisions fp32 bf16] [--device cuda]

All three label the same images, turn by turn (A B C A B C), and the medians are printed. Needs no
Ray and no weights: the network has the named Depth Anything size and random weights, for speed does
not depend on what they say. Without ``--images`` it labels rendered scenes.

*Bare forward*: the network alone, at the engine's batch size, on images decoded and resized before
the clock starts, from memory that the device can fetch; nothing is brought back, and nothing waits
for a GPU before the last batch: no loop over these batches is faster. *Today*: one image at a time,
as the authors' ``run.py``: OpenCV reads the file, resizes in float and normalises, the network runs
in fp32 whatever the row says, the map is brought back to the image's size and written as PNG of 16
bits.
*Engine*: `LabelEngine`, two shards at a time from two threads, whole shards read and written.

*Steady* leaves out filling and draining: with two shards under way, the images of all shards but
the two that end first, over the time from the second end to the last. *End to end* is all images
over the time from the first start to the last end; loading the network is in neither.
*Idle* is the share of that time in which the device computed nothing.

*Share of peak*: floating point operations of the bare forward (`operations`) per second, over those
of a matrix product in the same precision, 8192 wide on a GPU and 2048 on a CPU, measured here.
"""

import argparse
import itertools
import os
import platform
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from operations import matrix_product_peak, operations
from transformers import DepthAnythingForDepthEstimation

from jobs.label_engine import LabelEngine, LabelJob, LabelTask
from jobs.label_recipe import LabelRecipe
from jobs.models import ModelLocation
from model.depth_model import DepthModel, load_depth_model, save_depth_model
from model.preprocessing import IMAGE_MEAN, IMAGE_STD, network_size
from model.student import build_network
from pipeline.filters import ImageLimits, examine
from pipeline.identity import sample_id, sha256_hex
from pipeline.images import decode_rgb
from pipeline.records import ImageHeader, ImageRecord, LabelManifest, ShardRef
from pipeline.shards import write_image_shard
from pipeline.storage import Store
from pipeline.synthetic import synthetic_member

SCENE_SIZES = ((640, 480), (480, 640), (640, 427), (768, 512))  # width, height
SCENES = 24  # rendered once and repeated
IMAGE_ENDINGS = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}
SHARDS_AT_ONCE = 2
WAYS = ("bare", "today", "engine")


@dataclass(frozen=True, slots=True)
class Photographs:
    """The images of all three ways: as files and as shards of a store."""

    files: tuple[Path, ...]
    shards: tuple[tuple[ShardRef, tuple[Path, ...]], ...]

    @property
    def count(self) -> int:
        return sum(len(files) for _, files in self.shards)


@dataclass(slots=True)
class Row:
    """One line of the table: what each way took, a number per repetition."""

    scale: str
    side: int
    precision: str
    batch_size: int = 0
    seconds: dict[str, list[float]] = field(default_factory=lambda: {way: [] for way in WAYS})
    steady: list[float] = field(default_factory=list)  # images per second
    idle: list[float] = field(default_factory=list)
    manifests: list[LabelManifest] = field(default_factory=list)
    operations: float = 0.0
    peaks: list[float] = field(default_factory=list)  # operations per second


def main() -> None:
    arguments = parse()
    with tempfile.TemporaryDirectory() as folder:
        store = Store(f"{folder}/store")
        photographs = gather(arguments, Path(folder), store)
        rows = [
            measure(arguments, Path(folder), store, photographs, scale, precision)
            for scale, precision in itertools.product(arguments.scales, arguments.precisions)
        ]
    assert "ray" not in sys.modules, "a machine without Ray must be able to run this"
    print_rows(arguments, rows, photographs.count)
    print_stages(rows)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, help="folder of photographs")
    parser.add_argument("--count", default=48, type=int, help="images; repeated if there are fewer")
    parser.add_argument("--shards", default=6, type=int, help="shards that they are cut into")
    parser.add_argument("--scales", nargs="+", default=["s"], choices=("tiny", "s", "b", "l"))
    parser.add_argument("--precisions", nargs="+", default=["fp32"], choices=("fp32", "bf16"))
    parser.add_argument("--size", default=518, type=int)
    parser.add_argument("--batch-size", type=int, help="default: the engine finds it")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", default=os.cpu_count() or 2, type=int)
    parser.add_argument("--repeats", default=3, type=int)
    parser.add_argument("--quick", action="store_true", help="see that it runs: small, once")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.count, arguments.shards, arguments.repeats = 18, 6, 1
        arguments.size, arguments.batch_size = 252, arguments.batch_size or 2
    if arguments.shards <= SHARDS_AT_ONCE:
        parser.error(f"--shards must be more than {SHARDS_AT_ONCE}")
    if arguments.device == "auto":
        arguments.device = "cuda" if torch.cuda.is_available() else "cpu"
    return arguments


def gather(arguments: argparse.Namespace, folder: Path, store: Store) -> Photographs:
    """Photographs or scenes, repeated in order until there are enough, cut into even shards."""
    found = tuple(photographs(arguments.images) if arguments.images else scenes(folder / "scenes"))
    if not found:
        sys.exit(f"there is no photograph under {arguments.images}")
    files = tuple(itertools.islice(itertools.cycle(found), arguments.count))
    bounds = [len(files) * i // arguments.shards for i in range(arguments.shards + 1)]
    shards = []
    for start, end in itertools.pairwise(bounds):
        records = [record(file, number) for number, file in enumerate(files[start:end], start)]
        shard = write_image_shard(store, records, source="benchmark", code_version="benchmark")
        shards.append((shard, files[start:end]))
    return Photographs(found, tuple(shards))


def photographs(folder: Path) -> Iterator[Path]:
    """What all three ways can read."""
    for file in sorted(folder.rglob("*")):
        if file.suffix.lower() in IMAGE_ENDINGS and cv2.imread(str(file)) is not None:
            header = examine(file.read_bytes(), limits=ImageLimits())
            if isinstance(header, ImageHeader):
                yield file


def scenes(folder: Path) -> Iterator[Path]:
    folder.mkdir()
    for number in range(SCENES):
        width, height = SCENE_SIZES[number % len(SCENE_SIZES)]
        scene = synthetic_member("mixed", number, seed=0, width=width, height=height)
        file = folder / f"{number:03}.jpg"
        file.write_bytes(scene.data)
        yield file


def record(file: Path, number: int) -> ImageRecord:
    data = file.read_bytes()
    header = examine(data, limits=ImageLimits())
    assert isinstance(header, ImageHeader)
    path = f"{number:06}{file.suffix}"
    return ImageRecord(
        sample_id=sample_id("benchmark", path),
        sha256=sha256_hex(data),
        path=path,
        uri=str(file),
        offset=None,
        length=len(data),
        data=data,
        header=header,
    )


def measure(
    arguments: argparse.Namespace,
    folder: Path,
    store: Store,
    images: Photographs,
    scale: str,
    precision: str,
) -> Row:
    """All three ways, turn by turn."""
    row = Row(scale, arguments.size, precision)
    teacher = folder / f"teacher-{scale}"
    if not teacher.exists():
        network = build_network(f"scratch:{scale}", size=arguments.size)
        save_depth_model(network, teacher, side=arguments.size)
    model = load_depth_model(
        str(teacher), device=arguments.device, precision=precision, side=arguments.size
    )
    engine = make_engine(arguments, store, teacher, model)
    warm = engine.label(LabelTask(images.shards[0][0], "0000-warm"))
    row.batch_size = warm.batch_size or arguments.batch_size or 8
    batches = prepared_batches(images, model, row.batch_size)
    today = DepthAnythingForDepthEstimation.from_pretrained(teacher).eval().to(arguments.device)
    ways: dict[str, Callable[[int], float]] = {
        "bare": lambda turn: timed(lambda: bare(model, batches)),
        "today": lambda turn: timed(lambda: one_by_one(today, images, arguments, folder)),
        "engine": lambda turn: run_engine(engine, images, row, turn),
    }
    bare(model, batches[:1])  # the first pass allocates and chooses kernels
    one_by_one(today, images, arguments, folder, most=1)
    for turn in range(arguments.repeats):
        for way, run in ways.items():
            row.seconds[way].append(run(turn))
        row.peaks.append(matrix_product_peak(arguments.device, precision))
    row.operations = sum(len(each) * operations(scale, *each.shape[1:3]) for each in batches)
    return row


def make_engine(
    arguments: argparse.Namespace, store: Store, teacher: Path, model: DepthModel
) -> LabelEngine:
    recipe = LabelRecipe(
        teacher_sha256=model.sha256,
        family=model.family,
        geometry=model.geometry,
        side=arguments.size,
        multiple=model.preprocessing.multiple,
        resize="exact",
        max_distortion=None,
        precision=model.precision,
        codec="jxl-u16",
        consistency=False,
    )
    job = LabelJob(
        store=store,
        label_set=f"benchmark-{teacher.name}-{model.precision}",
        teacher="teacher",
        location=ModelLocation("plain", str(teacher)),
        recipe=recipe,
        code_version="benchmark",
        batch_size=arguments.batch_size,
        threads=arguments.threads,
    )
    return LabelEngine(job, device=arguments.device)


def prepared_batches(images: Photographs, model: DepthModel, batch_size: int) -> list[torch.Tensor]:
    """Decoded, resized, and batched by size within each shard, as the engine batches them."""
    at_hand = {file: model.prepare(decode_rgb(file.read_bytes())) for file in set(images.files)}
    batches = []
    for _, files in images.shards:
        by_size: dict[tuple[int, ...], list[torch.Tensor]] = {}
        for file in files:
            by_size.setdefault(at_hand[file].shape, []).append(torch.from_numpy(at_hand[file]))
        for same_size in by_size.values():
            for start in range(0, len(same_size), batch_size):
                batches.append(torch.stack(same_size[start : start + batch_size]))
    return [batch.pin_memory() for batch in batches] if model.device.type == "cuda" else batches


def bare(model: DepthModel, batches: Sequence[torch.Tensor]) -> None:
    for batch in batches:
        model.disparity(batch)
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)


@torch.inference_mode()
def one_by_one(
    network: Any,
    images: Photographs,
    arguments: argparse.Namespace,
    folder: Path,
    most: int | None = None,
) -> None:
    """The loop of the authors' ``run.py``, with 16 bits in place of 8."""
    files = [file for _, files in images.shards for file in files][:most]
    for number, file in enumerate(files):
        rgb = cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB) / 255.0
        height, width = network_size(*rgb.shape[:2], side=arguments.size)
        small = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_CUBIC)
        normalised = (small - IMAGE_MEAN) / IMAGE_STD
        pixels = np.ascontiguousarray(normalised.transpose(2, 0, 1)[None]).astype(np.float32)
        depth = network(pixel_values=torch.from_numpy(pixels).to(arguments.device))
        depth_HW = torch.nn.functional.interpolate(
            depth.predicted_depth[:, None], rgb.shape[:2], mode="bilinear", align_corners=False
        )[0, 0]
        depth_HW = (depth_HW - depth_HW.min()) / (depth_HW.max() - depth_HW.min()) * 65535.0
        written = depth_HW.cpu().numpy().astype(np.uint16)
        cv2.imwrite(str(folder / f"today-{number % 16}.png"), written)


def run_engine(engine: LabelEngine, images: Photographs, row: Row, turn: int) -> float:
    """Label all shards, two at a time; returns seconds end to end."""
    ends: list[float] = []
    lock = threading.Lock()

    def label(shard: ShardRef) -> LabelManifest:
        manifest = engine.label(LabelTask(shard, f"{turn + 1:04d}-turn"))
        with lock:
            ends.append(time.perf_counter())
        return manifest

    started = time.perf_counter()
    with ThreadPoolExecutor(SHARDS_AT_ONCE) as pool:
        futures = [pool.submit(label, shard) for shard, _ in images.shards]
        manifests = [future.result() for future in futures]
    seconds = ends[-1] - started
    later = images.count * (len(ends) - SHARDS_AT_ONCE) / len(ends)
    row.steady.append(later / (ends[-1] - ends[SHARDS_AT_ONCE - 1]))
    row.idle.append(1 - sum(manifest.forward_s for manifest in manifests) / seconds)
    row.manifests += manifests
    return seconds


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def print_rows(arguments: argparse.Namespace, rows: Sequence[Row], images: int) -> None:
    name = (
        torch.cuda.get_device_name(arguments.device)
        if arguments.device.startswith("cuda")
        else f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads"
    )
    print(
        f"\n{name}; {images} images in {arguments.shards} shards, {arguments.threads} reading and "
        f"writing threads, medians of {arguments.repeats}; images per second\n"
    )
    print(
        "| model | size | precision | batch | bare forward | today | engine, steady | ÷ bare "
        "| engine, end to end | ÷ bare | ÷ today | idle | bytes per label | share of peak |"
    )
    print("|---|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
    for row in rows:
        bare_s, today_s, engine_s = (statistics.median(row.seconds[way]) for way in WAYS)
        steady, peak = statistics.median(row.steady), statistics.median(row.peaks)
        labelled = sum(manifest.labelled for manifest in row.manifests)
        cells = [
            f"ViT-{row.scale.upper()}",
            str(row.side),
            row.precision,
            str(row.batch_size),
            f"{images / bare_s:.2f}",
            f"{images / today_s:.2f}",
            f"{steady:.2f}",
            f"{steady * bare_s / images:.2f}",
            f"{images / engine_s:.2f}",
            f"{bare_s / engine_s:.2f}",
            f"{today_s / engine_s:.2f}",
            f"{statistics.median(row.idle):.0%}",
            f"{sum(manifest.bytes for manifest in row.manifests) / labelled:,.0f}",
            f"{row.operations / bare_s / peak:.0%} of {peak / 1e12:.3g} TFLOP/s",
        ]
        print(f"| {' | '.join(cells)} |")


def print_stages(rows: Sequence[Row]) -> None:
    """Where an engine's threads spend their time; stages overlap."""
    names = list(dict.fromkeys(stage for row in rows for m in row.manifests for stage in m.stages))
    if not names:
        return
    print("\nMilliseconds per image and stage, added up over threads\n")
    print(f"| model | precision | {' | '.join(names)} |\n|---|---|{'--:|' * len(names)}")
    for row in rows:
        images = sum(manifest.rows for manifest in row.manifests)
        spent = [sum(m.stages.get(name, 0.0) for m in row.manifests) for name in names]
        cells = " | ".join(f"{1000 * seconds / images:.1f}" for seconds in spent)
        print(f"| ViT-{row.scale.upper()} | {row.precision} | {cells} |")


if __name__ == "__main__":
    main()
