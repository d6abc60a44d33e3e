"""Batches: mixed as the recipe says, image and map in one view, the same after an interruption."""

import io
import json
from contextlib import closing
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from jobs import training_batches
from jobs.training_batches import POOL_BLOCKS, Position, TrainingBatch, TrainingBatches, pool_blocks
from model.batches import Batch
from model.recipes import V1, override
from pipeline.damage import merged
from pipeline.errors import ShardCorruptError
from pipeline.identity import sha256_hex
from pipeline.records import Geometry, ShardRef, Truth
from pipeline.shards import read_image_rows, write_image_shard
from pipeline.sky_masks import SkyRow, describe_sky, write_sky_shard
from pipeline.storage import Store
from pipeline.training_input import Cursor, TrainingShard
from tests.factories import HEIGHT, WIDTH, image_record, image_shard, label_shard

SIZE = 28


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(str(tmp_path_factory.mktemp("store")))


@pytest.fixture(scope="module")
def labelled(store: Store) -> TrainingShard:
    return TrainingShard(image_shard(store, range(40), truth=True).key, 40)


@pytest.fixture(scope="module")
def pseudo(store: Store) -> TrainingShard:
    shard = image_shard(store, range(100, 180))
    labels = label_shard(store, shard, quarantined=lambda index: index % 9 == 0)
    return TrainingShard(shard.key, 80, labels)


def supply(store: Store, **options: Any) -> TrainingBatches:
    settings: dict[str, Any] = {
        "recipe": override(V1, size=SIZE),
        "images": 6,
        "labelled": (),
        "pseudo": (),
        "seed": 0,
        "rank": 0,
        "world_size": 1,
        "threads": 2,
        **options,
    }
    return TrainingBatches(store=store, **settings)


def take(
    source: TrainingBatches, count: int, positions: dict[str, Position] | None = None
) -> list[TrainingBatch]:
    with closing(source.batches_from(positions or {})) as batches:
        return list(islice(batches, count))


def same(one: Batch | None, other: Batch | None) -> bool:
    if one is None or other is None:
        return one is other
    names = ("images_B3HW", "target_BHW", "valid_BHW")
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in names)


def test_both_kinds_are_mixed_as_the_recipe_says(
    store: Store, labelled: TrainingShard, pseudo: TrainingShard
) -> None:
    (batch,) = take(supply(store, labelled=[labelled], pseudo=[pseudo]), 1)
    assert batch.labelled is not None
    assert batch.pseudo is not None
    assert (len(batch.labelled), len(batch.pseudo)) == (2, 4)
    assert batch.labelled.images_B3HW.shape == (2, 3, SIZE, SIZE)
    assert batch.pseudo.target_BHW.shape == (4, SIZE, SIZE)


def test_one_kind_alone_fills_the_batch(
    store: Store, labelled: TrainingShard, pseudo: TrainingShard
) -> None:
    (of_teacher,) = take(supply(store, labelled=[labelled]), 1)
    (of_student,) = take(supply(store, pseudo=[pseudo]), 1)
    assert of_teacher.pseudo is None
    assert of_student.labelled is None
    assert len(of_teacher.labelled or ()) == len(of_student.pseudo or ()) == 6


@pytest.mark.parametrize("stop", [1, 6, 13])
def test_going_on_from_a_position_gives_the_rest_and_its_counts(
    store: Store, labelled: TrainingShard, pseudo: TrainingShard, stop: int
) -> None:
    kinds = {"labelled": [labelled], "pseudo": [pseudo]}
    whole = take(supply(store, **kinds), 25)  # 50 of 40 labelled images, 100 of 71 with a label
    first = take(supply(store, **kinds), stop)
    saved = json.loads(json.dumps({k: p.state() for k, p in first[-1].positions.items()}))
    restored = {kind: Position.of(state) for kind, state in saved.items()}
    rest = take(supply(store, threads=1, **kinds), 25 - stop, restored)
    for one, other in zip(whole, first + rest, strict=True):
        assert same(one.labelled, other.labelled)
        assert same(one.pseudo, other.pseudo)
        assert one.positions == other.positions
    counted = merged(position.tally for position in whole[-1].positions.values())
    assert counted["used"] == 25 * 6
    assert counted["skipped"]["decode_failed"] >= 9


def test_ranks_have_batches_of_their_own(store: Store, pseudo: TrainingShard) -> None:
    ranks = [take(supply(store, pseudo=[pseudo], rank=rank, world_size=2), 3) for rank in (0, 1)]
    assert not any(same(a.pseudo, b.pseudo) for a in ranks[0] for b in ranks[1])


def test_crops_and_flips_show_image_and_map_alike(store: Store) -> None:
    """An image whose red says what its map says, at half the resolution: they stay equal."""
    ramp_HW = np.add.outer(np.arange(HEIGHT), 2 * np.arange(WIDTH)).astype(np.float32)
    red = np.rint(255 * ramp_HW / ramp_HW.max()).astype(np.uint8)
    pixels = np.stack([red, red, red], axis=-1).repeat(2, axis=0).repeat(2, axis=1)
    data = _png_of(pixels)
    record = image_record(0, data=data)
    truth = Truth(ramp_HW / ramp_HW.max(), Geometry.DISPARITY_AFFINE_INVARIANT)
    records = [
        replace(record, sample_id=f"{number:032x}", truth=truth, sha256=sha256_hex(data))
        for number in range(12)
    ]
    shard = write_image_shard(store, records, source="ramps", code_version="test")
    source = supply(store, labelled=[TrainingShard(shard.key, 12)], images=12)
    (batch,) = take(source, 1)
    assert batch.labelled is not None
    images_BHW = batch.labelled.images_B3HW[:, 0].float() / 255
    difference = (images_BHW - batch.labelled.target_BHW)[batch.labelled.valid_BHW].abs()
    # Half a pixel of the map is 1.5 of 174 steps; the map is sampled nearest, so one pixel at most.
    assert difference.max() < 4 / 174 + 1 / 255
    leftwards = (
        batch.labelled.target_BHW[:, SIZE // 2, 0] > batch.labelled.target_BHW[:, SIZE // 2, -1]
    )
    assert 0 < leftwards.sum() < 12, "some are flipped, some are not"
    assert len(set(batch.labelled.target_BHW[:, 0, 0].tolist())) > 4, "crops differ"


def _png_of(pixels_HWC: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels_HWC).save(buffer, "PNG")
    return buffer.getvalue()


def test_sky_that_was_seen_is_the_farthest_where_nothing_was_measured(store: Store) -> None:
    depth_HW = np.full((HEIGHT, WIDTH), 5.0, np.float32)
    depth_HW[:, : WIDTH // 2] = 2.0
    depth_HW[: HEIGHT // 2] = np.nan
    truth = Truth(depth_HW, Geometry.DEPTH_METRIC)
    records = [replace(image_record(number), truth=truth) for number in range(6)]
    shard = write_image_shard(store, records, source="outdoors", code_version="test")
    key = _sky(store, shard)
    for sky_key, valid in ((None, 0.5), (key, 1.0)):
        (batch,) = take(supply(store, labelled=[TrainingShard(shard.key, 6, None, sky_key)]), 1)
        assert batch.labelled is not None
        target, known = batch.labelled.target_BHW, batch.labelled.valid_BHW
        assert known.float().mean() == pytest.approx(valid, abs=0.03)
        if sky_key is not None:
            assert (target[:, : SIZE // 2 - 1] == 0).all()
        assert target.max() == 1


def _sky(store: Store, shard: ShardRef) -> str:
    sky_HW = np.zeros((HEIGHT, WIDTH), bool)
    sky_HW[: HEIGHT // 2] = True
    records = read_image_rows(store, shard.key)
    footer = describe_sky(
        source="outdoors",
        shard_id=shard.shard_id,
        image_shard_sha256=shard.sha256,
        segmenter="s",
        segmenter_sha256="0" * 64,
        code_version="test",
    )
    rows = [SkyRow(record.sample_id, record.sha256, sky_HW) for record in records]
    return write_sky_shard(store, rows, key="sky/outdoors/a/b.parquet", footer=footer).key


def test_damage_is_counted_per_kind_and_ends_the_supply(store: Store) -> None:
    shard = image_shard(store, range(500, 540), truth=True, replace={510: b"no picture"})
    source = supply(store, labelled=[TrainingShard(shard.key, 40)], max_damaged=0.03)
    batches = take(source, 20)
    named = batches[-1].positions["labelled"].tally["named"]
    assert [(row["key"], row["reason"]) for row in named] == [(shard.key, "not_an_image")]
    with pytest.raises(ShardCorruptError, match="1 of 40 training rows"):
        take(replace(source, max_damaged=0.02), 20)


def test_pools_are_as_wide_as_their_bytes_allow(
    store: Store, pseudo: TrainingShard, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert pseudo.label_key is not None
    row_bytes = (store.size(pseudo.image_key) + store.size(pseudo.label_key)) / pseudo.rows
    assert pool_blocks(store, [pseudo] * 20) == POOL_BLOCKS[1], "small images"
    monkeypatch.setattr(training_batches, "POOL_BYTES", int(9.5 * 64 * row_bytes))
    assert pool_blocks(store, [pseudo] * 20) == 9
    monkeypatch.setattr(training_batches, "POOL_BYTES", 1)
    assert pool_blocks(store, [pseudo] * 20) == POOL_BLOCKS[0], "still shuffled"
    with pytest.raises(ShardCorruptError, match=r"gone\.parquet"):
        pool_blocks(store, [TrainingShard("sources/a/gone.parquet", 5)])


def test_batches_on_the_cpu_are_not_pinned(store: Store, labelled: TrainingShard) -> None:
    (batch,) = take(supply(store, labelled=[labelled]), 1)
    assert batch.labelled is not None
    assert not batch.labelled.images_B3HW.is_pinned()
    assert batch.positions["labelled"].cursor == Cursor(0, 6)
