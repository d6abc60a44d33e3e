"""What the benchmark of training input reads: shards as ingest and label write them."""

import itertools
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from label import SCENE_SIZES, SCENES, photographs, record

from model.preprocessing import network_size
from pipeline.depth_codec import CODECS, encode, quantise
from pipeline.identity import sha256_hex
from pipeline.labels import write_label_shard
from pipeline.records import ImageRecord, LabelRecord, Member, ShardRef
from pipeline.shards import write_image_shard
from pipeline.storage import Store
from pipeline.synthetic import synthetic_member
from pipeline.training_input import TrainingShard


@dataclass(frozen=True, slots=True)
class Data:
    """What is read."""

    store: Store
    labelled: TrainingShard
    pseudo: TrainingShard
    pixels: float  # per image, mean
    image_bytes: float


def written(store: Store, *, images_in: Path | None, count: int, size: int) -> Data:
    """A labelled and a pseudo-labelled shard of the same number of images."""
    scenes = [rendered(number) for number in range(SCENES)]
    folder = Path(store.uri) / "files"
    folder.mkdir(parents=True)
    files = list(photographs(images_in)) if images_in else []
    for number, scene in enumerate(scenes if not images_in else ()):
        files.append(folder / f"{number:03}.jpg")
        files[-1].write_bytes(scene.data)
    if not files:
        sys.exit(f"there is no photograph under {images_in}")
    repeated = itertools.islice(itertools.cycle(files), count)
    images = [record(file, number) for number, file in enumerate(repeated)]
    pseudo = write_image_shard(store, images, source="unlabelled", code_version="benchmark")
    repeated_scenes = itertools.islice(itertools.cycle(scenes), count)
    measured = [with_truth(scene, images[i]) for i, scene in enumerate(repeated_scenes)]
    labelled = write_image_shard(store, measured, source="labelled", code_version="benchmark")
    return Data(
        store,
        TrainingShard(labelled.key, labelled.rows),
        TrainingShard(pseudo.key, pseudo.rows, write_labels(store, pseudo, images, size=size)),
        statistics.mean(image.header.width * image.header.height for image in images),
        statistics.mean(image.length for image in images),
    )


def rendered(number: int) -> Member:
    width, height = SCENE_SIZES[number % len(SCENE_SIZES)]
    return synthetic_member("mixed", number, seed=0, width=width, height=height)


def with_truth(scene: Member, like: ImageRecord) -> ImageRecord:
    data = scene.data
    return replace(like, data=data, sha256=sha256_hex(data), length=len(data), truth=scene.truth)


def write_labels(store: Store, shard: ShardRef, images: Sequence[ImageRecord], *, size: int) -> str:
    """Maps of the size a teacher makes, smooth with edges and a little noise, as theirs are."""
    rng = np.random.default_rng(0)
    rows = []
    for image in images:
        height, width = network_size(image.header.height, image.header.width, side=size)
        y, x = np.mgrid[:height, :width]
        map_HW = y / height + np.where((x // 90 + y // 70) % 3 == 0, 0.7, 0.0)
        map_HW += rng.normal(0, 0.001, map_HW.shape)
        packed = quantise(map_HW.astype(np.float32))
        rows.append(
            LabelRecord(
                sample_id=image.sample_id,
                sha256=image.sha256,
                status="labelled",
                codec=CODECS[16],
                disparity=encode(packed),
                minimum=packed.minimum,
                maximum=packed.maximum,
                height=height,
                width=width,
                geometry="disparity_affine_invariant",
            )
        )
    key = f"labels/benchmark/{shard.shard_id}/1.parquet"
    return write_label_shard(store, rows, key=key, footer={}).key
