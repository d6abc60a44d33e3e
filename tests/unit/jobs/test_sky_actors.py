"""The engine that finds sky, inline: the masks of a shard in its order, whatever its images are."""

import io
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from jobs.models import ModelLocation
from jobs.ray_runtime import Node, Resources
from jobs.sky_actors import BATCH, SkyEngine, SkyJob, SkySegmenter, SkyTask, plan_sky_actors
from model.errors import CheckpointError
from model.segmentation import segmenter_digest
from pipeline.shards import ROW_GROUP_ROWS, read_image_rows
from pipeline.sky_masks import read_sky_rows, sky_footer
from pipeline.storage import Store
from tests.factories import image_shard
from tests.sky_segmenter import picture_with_sky, save_blue_sky_segmenter

SIZES = ((64, 64), (128, 64), (96, 160))
SHARES = (0.0, 0.25, 0.5, 1.0)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> SkySegmenter:
    folder = str(save_blue_sky_segmenter(tmp_path_factory.mktemp("segmenter")))
    return SkySegmenter("blue", ModelLocation("plain", folder), segmenter_digest(folder))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


def png(pixels_HWC: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels_HWC).save(buffer, "PNG")
    return buffer.getvalue()


def size_and_share(index: int) -> tuple[int, int, float]:
    return (*SIZES[index % 3], SHARES[index % 4])


def pictures(count: int) -> dict[int, bytes]:
    made = {}
    for index in range(count):
        height, width, share = size_and_share(index)
        pixels = picture_with_sky(height, width, share=share)
        pixels[:, -1, 1] += index  # no two are the same
        made[index] = png(pixels)
    return made


def task_of(store: Store, count: int, **replaced: bytes) -> SkyTask:
    data = pictures(count) | {int(name[1:]): value for name, value in replaced.items()}
    shard = image_shard(store, range(count), replace=data)
    return SkyTask(shard.source, shard.shard_id, shard.key, shard.sha256, shard.rows)


def engine(store: Store, segmenter: SkySegmenter) -> SkyEngine:
    return SkyEngine(SkyJob(store, segmenter, "test", threads=2), device="cpu")


def test_each_image_gets_its_own_sky(store: Store, segmenter: SkySegmenter) -> None:
    count = ROW_GROUP_ROWS + 2 * BATCH + 1
    task = task_of(store, count)
    working = engine(store, segmenter)
    shard = working.label(task)
    assert "CPU" in working.ready()
    assert (shard.key, shard.rows, shard.masked) == (task.key(segmenter), count, count)
    rows = list(read_sky_rows(store, shard.key))
    images = list(read_image_rows(store, task.image_key, image=False))
    assert [row.sample_id for row in rows] == [image.sample_id for image in images]
    assert [row.sha256 for row in rows] == [image.sha256 for image in images]
    for index, row in enumerate(rows):
        height, width, share = size_and_share(index)
        assert row.mask_HW is not None and row.mask_HW.shape == (height, width)
        edge = round(share * height)
        margin = height // 16  # one pixel of the network's scores
        assert row.mask_HW[: max(0, edge - margin)].all()
        assert not row.mask_HW[edge + margin :].any()


def test_what_cannot_be_looked_at_has_a_reason(store: Store, segmenter: SkySegmenter) -> None:
    whole = pictures(8)
    task = task_of(
        store, 8, _2=b"no image", _5=whole[5][:-60], _6=png(np.zeros((2, 60, 3), np.uint8))
    )
    shard = engine(store, segmenter).label(task)
    assert (shard.rows, shard.masked) == (8, 5)
    reasons = {i: row.reason for i, row in enumerate(read_sky_rows(store, shard.key)) if row.reason}
    assert reasons == {2: "not_an_image", 5: "truncated", 6: "too_large_for_network"}


def test_what_is_broken_in_the_shard_costs_no_other_row_its_mask(
    store: Store, segmenter: SkySegmenter
) -> None:
    task = task_of(store, 2 * ROW_GROUP_ROWS + 5)
    image = pictures(3)[2]
    path = store.local_path(task.image_key)
    assert path is not None
    data = path.read_bytes().replace(image, image[::-1])
    start = pq.ParquetFile(path).metadata.row_group(1).column(0).data_page_offset
    path.write_bytes(data[:start] + bytes(64) + data[start + 64 :])
    shard = engine(store, segmenter).label(task)
    reasons = [row.reason for row in read_sky_rows(store, shard.key)]
    first: list[str | None] = [None] * ROW_GROUP_ROWS
    first[2] = "wrong_bytes"
    assert reasons == [*first, *["corrupt_shard"] * ROW_GROUP_ROWS, *[None] * 5]


def test_a_shard_that_is_there_is_not_written_again(store: Store, segmenter: SkySegmenter) -> None:
    task = task_of(store, 3)
    working = engine(store, segmenter)
    assert working.label(task) == working.label(task)
    assert len(list(store.list("sky"))) == 1
    footer = sky_footer(store, task.key(segmenter))
    assert footer["image_shard_sha256"] == task.image_sha256
    assert footer["segmenter_sha256"] == segmenter.sha256


def test_other_weights_than_the_drivers_are_refused(store: Store, segmenter: SkySegmenter) -> None:
    other = SkySegmenter(segmenter.reference, segmenter.location, "0" * 64)
    with pytest.raises(CheckpointError, match="driver found 0000"):
        engine(store, other)


@pytest.mark.parametrize(
    ("nodes", "shards", "count", "gpus", "cpus"),
    [
        ([Node(16, 4)], 100, 4, 1.0, 4),
        ([Node(16, 4)], 2, 2, 1.0, 8),
        ([Node(8), Node(8)], 100, 2, 0.0, 8),
        ([Node(2)], 1, 1, 0.0, 2),
        ([Node(4), Node(16, 2)], 9, 2, 1.0, 8),
    ],
)
def test_actors_follow_from_the_machines(
    nodes: list[Node], shards: int, count: int, gpus: float, cpus: int
) -> None:
    plan = plan_sky_actors(Resources(tuple(nodes)), shards=shards)
    assert (plan.count, plan.gpus, plan.cpus) == (count, gpus, cpus)
    assert plan.device == ("cuda" if gpus else "cpu")
