"""Small things to test with: images, shards, label shards and models, made in memory."""

import io
from collections.abc import Callable
from dataclasses import replace as replaced
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.depth_codec import CODECS, encode, quantise
from pipeline.filters import ImageLimits, examine
from pipeline.identity import sample_id, sha256_hex
from pipeline.labels import describe_labels, write_label_shard
from pipeline.records import (
    Geometry,
    ImageHeader,
    ImageRecord,
    LabelRecord,
    ShardRef,
    Truth,
)
from pipeline.shards import read_image_rows, write_image_shard
from pipeline.storage import Store, label_shard_key

WIDTH, HEIGHT = 64, 48


def png(value: int, *, width: int = WIDTH, height: int = HEIGHT) -> bytes:
    """A small image that differs for each value."""
    rng = np.random.default_rng(value)
    pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def image_record(
    index: int, *, source: str = "pictures", data: bytes | None = None, truth: bool = False
) -> ImageRecord:
    """An image of a source, with a depth map that is a ramp of its own if asked for."""
    data = png(index) if data is None else data
    header = examine(data, limits=ImageLimits())
    if not isinstance(header, ImageHeader):
        header = ImageHeader(WIDTH, HEIGHT, "PNG")
    depth_HW = np.linspace(1, 2 + index, HEIGHT * WIDTH, dtype=np.float32).reshape(HEIGHT, WIDTH)
    return ImageRecord(
        sample_id=sample_id(source, f"{index:05d}.png"),
        sha256=sha256_hex(data),
        path=f"{index:05d}.png",
        uri=f"/somewhere/{index:05d}.png",
        offset=0,
        length=len(data),
        data=data,
        header=header,
        truth=Truth(depth_HW, Geometry.DEPTH_METRIC) if truth else None,
    )


def image_shard(
    store: Store,
    indices: range,
    *,
    source: str = "pictures",
    truth: bool = False,
    replace: dict[int, bytes] | None = None,
) -> ShardRef:
    """A shard of images in the store; ``replace`` puts other bytes in the place of some."""
    records = [
        image_record(index, source=source, data=(replace or {}).get(index), truth=truth)
        for index in indices
    ]
    return write_image_shard(store, records, source=source, code_version="test")


def referenced_shard(
    store: Store, folder: Path, indices: range, *, truth: bool = False
) -> ShardRef:
    """A shard that says where its images lie, in files of a folder, and holds none of them."""
    records = []
    for index in indices:
        file = folder / f"{index:05d}.png"
        file.write_bytes(png(index))
        record = image_record(index, truth=truth)
        records.append(replaced(record, data=None, uri=str(file)))
    return write_image_shard(store, records, source="referenced", code_version="test")


def label_shard(
    store: Store,
    shard: ShardRef,
    *,
    label_set: str = "labels",
    quarantined: Callable[[int], bool] = lambda index: False,
) -> str:
    """Labels of a shard: map *i* is i, and i + 1 in one corner; returns its key."""
    rows = []
    for index, image in enumerate(read_image_rows(store, shard.key)):
        if quarantined(index):
            rows.append(LabelRecord(image.sample_id, image.sha256, "quarantined", "decode_failed"))
            continue
        values_HW = np.full((42, 56), float(index), np.float32)
        values_HW[:6, :6] += 1
        map_ = quantise(values_HW)
        rows.append(
            LabelRecord(
                sample_id=image.sample_id,
                sha256=image.sha256,
                status="labelled",
                codec=CODECS[16],
                disparity=encode(map_),
                minimum=map_.minimum,
                maximum=map_.maximum,
                height=42,
                width=56,
                geometry="disparity_affine_invariant",
            )
        )
    footer = describe_labels(
        label_set=label_set,
        shard_id=shard.shard_id,
        image_shard_sha256=shard.sha256,
        teacher="t",
        teacher_sha256="0" * 64,
        recipe={"side": 42},
        recipe_hash="1" * 64,
        code_version="test",
    )
    key = label_shard_key(label_set, shard.shard_id, "0001-test")
    return write_label_shard(store, rows, key=key, footer=footer).key


def tiny_teacher(folder: Path, *, seed: int = 0, size: int = 42) -> Path:
    """A randomly initialised depth model, written in Hugging Face format."""
    from model.depth_model import save_depth_model
    from model.student import build_network

    save_depth_model(build_network("scratch:tiny", size=size, seed=seed), folder, side=size)
    return folder
