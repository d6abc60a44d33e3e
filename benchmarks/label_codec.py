"""What a label costs as bytes, and what it loses: by its codec, its size rule, its precision.

    .venv/bin/python benchmarks/label_codec.py --teacher REF [--images FOLDER]
        [--pairs URI --truth ENCODING] [--size 518] [--store STORE]

Maps are those of a real teacher, because noise packs like nothing else: REF is a folder, a Hugging
Face id or a ``FILE.pth#variant``, or with ``--store`` a name in its catalog. Bytes and times are
means over the maps of ``--images``, else of the pairs; each map is encoded and decoded by every
codec in turn, in one thread, and the median of the repetitions counts. All codecs get the same
16-bit codes (12-bit: their own), and every round trip is checked.

The second table scores the teacher with the map as float32 and as it is stored, and with maps made
by ``--resize buckets`` and ``--precision bf16``, over pairs of image and ground truth (protocol
relative@1). ``--pairs`` is what `factory ingest --layout pairs` takes,
with its ``--truth``, or ``synthetic://…``; the default is rendered scenes.
"""

import argparse
import io
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from jobs.config import Common, IngestConfig
from jobs.ingest import ingest
from jobs.models import resolve_model
from jobs.workspace import open_workspace
from model.depth_model import DepthModel, load_depth_model
from model.evaluation import ImageScore, evaluate_image, summarise
from model.geometry import disparity_geometry
from model.protocols import protocol
from pipeline.depth_codec import QuantisedMap, dequantise, encode, error_bound, quantise
from pipeline.images import ImageDecodeError, decode_rgb
from pipeline.records import ImageRecord
from pipeline.shards import load_bytes, read_image_rows

Codes = NDArray[np.uint16]
ENDINGS = {".jpg", ".jpeg", ".png", ".webp"}
SCENES = "synthetic://mixed?n=24&seed=100&width=640&height=480"


@dataclass(slots=True)
class Codec:
    """A way to write codes, and what it took, per map."""

    name: str
    bits: int
    encode: Callable[[Codes], bytes]
    decode: Callable[[bytes], Codes]
    bytes: list[int] = field(default_factory=list)
    encode_s: list[float] = field(default_factory=list)
    decode_s: list[float] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--teacher", required=True)
    parser.add_argument("--store", help="store whose catalog knows the teacher by name")
    parser.add_argument("--images", type=Path, help="folder of photographs")
    parser.add_argument("--pairs", default=SCENES, help="images with ground truth")
    parser.add_argument("--truth", help="encoding of the pairs' ground truth")
    parser.add_argument("--size", type=int)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--most", default=100, type=int, help="images, and pairs, looked at")
    parser.add_argument("--repeats", default=3, type=int)
    arguments = parser.parse_args()
    model = load_teacher(arguments)
    variants = {
        "buckets": load_teacher(arguments, resize="buckets"),
        "bf16": load_teacher(arguments, precision="bf16"),
    }
    with tempfile.TemporaryDirectory() as folder:
        pairs = list(read_pairs(arguments, folder))
    images = photographs(arguments.images) if arguments.images else map(pixels, pairs)
    maps = [disparity(model, image) for image in itertools.islice(images, arguments.most)]
    print_sizes(measure(maps, arguments.repeats), maps)
    print_scores(model, variants, pairs)


def load_teacher(arguments: argparse.Namespace, **settings: Any) -> DepthModel:
    reference = arguments.teacher
    if arguments.store:
        with open_workspace(Common(store=arguments.store)) as workspace:
            reference = resolve_model(reference, workspace.catalog, workspace.store).reference
    return load_depth_model(reference, device=arguments.device, side=arguments.size, **settings)


def read_pairs(arguments: argparse.Namespace, folder: str) -> Iterator[ImageRecord]:
    """Ingested into a store of its own, so that whatever ingest reads can be scored."""
    config = IngestConfig(
        uri=arguments.pairs,
        source="pairs",
        role="benchmark",
        layout="pairs" if arguments.truth else "auto",
        truth=arguments.truth,
        store=folder,
    )
    ingest(config)
    left = arguments.most
    with open_workspace(config) as workspace:
        for shard in workspace.catalog.image_shards("pairs"):
            for record in read_image_rows(workspace.store, shard.key):
                if left > 0:
                    yield record
                left -= 1


def photographs(folder: Path) -> Iterator[NDArray[np.uint8]]:
    for file in sorted(folder.rglob("*")):
        if file.suffix.lower() in ENDINGS:
            try:
                yield decode_rgb(file.read_bytes())
            except ImageDecodeError as error:
                print(f"left out: {file}: {error}")


def pixels(record: ImageRecord) -> NDArray[np.uint8]:
    return decode_rgb(load_bytes(record))


def disparity(model: DepthModel, image_HWC: NDArray[np.uint8]) -> NDArray[np.float32]:
    values: NDArray[np.float32] = model.disparity(model.prepare(image_HWC)[None])[0].cpu().numpy()
    return values


def codecs() -> list[Codec]:
    return [
        Codec("JPEG XL, 16 bits (jxl-u16)", 16, lambda c: jxl(c, 16), read_jxl),
        Codec("JPEG XL, 12 bits (jxl-u12)", 12, lambda c: jxl(c, 12), read_jxl),
        Codec("PNG level 1, Pillow", 16, lambda c: pillow(c, 1), read_pillow),
        Codec("PNG level 6, Pillow", 16, lambda c: pillow(c, 6), read_pillow),
        Codec("PNG level 1, OpenCV", 16, lambda c: opencv(c, 1), read_opencv),
        Codec("PNG level 6, OpenCV", 16, lambda c: opencv(c, 6), read_opencv),
        Codec("PNG level 1, imagecodecs", 16, lambda c: libpng(c, 1), read_libpng),
        Codec("PNG level 6, imagecodecs", 16, lambda c: libpng(c, 6), read_libpng),
    ]


def jxl(codes_HW: Codes, bits: int) -> bytes:
    return encode(QuantisedMap(codes_HW, 0.0, 1.0, bits))


def read_jxl(data: bytes) -> Codes:
    return imagecodecs.jpegxl_decode(data, numthreads=1).reshape(-1)


def pillow(codes_HW: Codes, level: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(codes_HW).save(buffer, "PNG", compress_level=level)
    return buffer.getvalue()


def read_pillow(data: bytes) -> Codes:
    return np.asarray(Image.open(io.BytesIO(data))).astype(np.uint16).reshape(-1)


def opencv(codes_HW: Codes, level: int) -> bytes:
    return cv2.imencode(".png", codes_HW, [cv2.IMWRITE_PNG_COMPRESSION, level])[1].tobytes()


def read_opencv(data: bytes) -> Codes:
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED).reshape(-1)


def libpng(codes_HW: Codes, level: int) -> bytes:
    return bytes(imagecodecs.png_encode(codes_HW, level=level))


def read_libpng(data: bytes) -> Codes:
    return imagecodecs.png_decode(data).reshape(-1)


def measure(maps: Sequence[NDArray[np.float32]], repeats: int) -> list[Codec]:
    """Every codec on every map, turn by turn."""
    cv2.setNumThreads(1)
    found = codecs()
    for map_HW in maps:
        codes = {bits: quantise(map_HW, bits=bits).codes_HW for bits in (16, 12)}
        for codec in found:
            times: list[tuple[float, float]] = []
            for _ in range(repeats):
                started = time.perf_counter()
                data = codec.encode(codes[codec.bits])
                encoded = time.perf_counter()
                back = codec.decode(data)
                times.append((encoded - started, time.perf_counter() - encoded))
            assert np.array_equal(back, codes[codec.bits].reshape(-1)), codec.name
            codec.bytes.append(len(data))
            codec.encode_s.append(statistics.median(each for each, _ in times))
            codec.decode_s.append(statistics.median(each for _, each in times))
    return found


def print_sizes(found: Sequence[Codec], maps: Sequence[NDArray[np.float32]]) -> None:
    png = next(codec for codec in found if codec.name.startswith("PNG level 1"))
    values = statistics.mean(map_HW.size for map_HW in maps)
    print(f"\n{len(maps)} maps, {values:,.0f} values on average, one thread\n")
    print("| codec | bytes | bits per value | ÷ PNG 1 | encode (ms) | PNG 1 ÷ | decode (ms) |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for codec in found:
        size, took = statistics.mean(codec.bytes), statistics.mean(codec.encode_s)
        cells = [
            codec.name,
            f"{size:,.0f}",
            f"{8 * size / values:.2f}",
            f"{size / statistics.mean(png.bytes):.2f}",
            f"{1000 * took:.1f}",
            f"{statistics.mean(png.encode_s) / took:.1f}",
            f"{1000 * statistics.mean(codec.decode_s):.1f}",
        ]
        print(f"| {' | '.join(cells)} |")


def print_scores(
    model: DepthModel, variants: Mapping[str, DepthModel], pairs: Sequence[ImageRecord]
) -> None:
    """The teacher against ground truth: its map as it comes, as it is stored, made otherwise."""
    scores: dict[str, list[ImageScore]] = {"float32": [], "16 bits": [], "12 bits": []}
    worst = dict.fromkeys(scores, 0.0)
    scores |= {name: [] for name in variants}
    for record in pairs:
        map_HW = disparity(model, pixels(record))
        span = float(np.ptp(map_HW)) or 1.0
        scores["float32"].append(score(model, map_HW, record))
        for bits in (16, 12):
            quantised = quantise(map_HW, bits=bits)
            stored = dequantise(quantised)
            off = float(np.abs(stored - map_HW).max())
            assert off <= error_bound(quantised.minimum, quantised.maximum, bits=bits)
            worst[f"{bits} bits"] = max(worst[f"{bits} bits"], off / span)
            scores[f"{bits} bits"].append(score(model, stored, record))
        for name, variant in variants.items():
            scores[name].append(score(variant, disparity(variant, pixels(record)), record))
    print(f"\n{len(pairs)} pairs, relative@1\n")
    print(
        "| label | largest error ÷ range | space | AbsRel | δ1 | images |\n"
        "|---|--:|---|--:|--:|--:|"
    )
    for name, each in scores.items():
        summary = summarise(each)
        error = f"{worst[name]:.1e}" if name in worst else "–"
        for space, metrics in summary["metrics"].items():
            figures = " | ".join(shown(metrics[metric]) for metric in ("abs_rel", "delta1"))
            print(f"| {name} | {error} | {space} | {figures} | {summary['images']} |")


def score(model: DepthModel, map_HW: NDArray[np.float32], record: ImageRecord) -> ImageScore:
    assert record.truth is not None
    return evaluate_image(
        map_HW,
        record.truth.values_HW,
        geometry=disparity_geometry(model.geometry),
        truth_geometry=record.truth.geometry,
        protocol=protocol("relative@1"),
    )


def shown(value: Any) -> str:
    return "–" if value is None else f"{value:.6f}"


if __name__ == "__main__":
    main()
