"""Sky on real Ray actors: masks are made once, whoever is killed, and training reads them."""

import io
import os
import shutil
import signal
from contextlib import AbstractContextManager, closing
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from jobs import sky_actors
from jobs.catalog_gc import collect_garbage
from jobs.catalog_rebuild import rebuild_catalog
from jobs.catalog_verify import verify_catalog
from jobs.config import CatalogGcConfig, CatalogRebuildConfig, CatalogVerifyConfig
from jobs.console import Reporter
from jobs.ray_runtime import cluster_resources
from jobs.run_files import RunFiles
from jobs.sky import FILE, find_sky, locate_segmenter
from jobs.sky_actors import SkyEngine, SkyJob, SkyTask
from jobs.train_teacher import train_teacher
from jobs.training_config import TrainTeacherConfig
from jobs.workspace import Workspace, open_workspace
from model.batches import to_target
from pipeline.garbage import UNKNOWN
from pipeline.identity import sha256_hex
from pipeline.ledger import record_source
from pipeline.records import Geometry, ImageHeader, ImageRecord, Truth
from pipeline.shards import write_image_shard
from pipeline.sky_masks import SkyShard, read_sky_rows
from pipeline.storage import Store
from pipeline.training_input import Cursor, TrainingShard, TrainingStream, blocks_of
from tests.catalog_factories import begin_ingest
from tests.factories import image_record
from tests.sky_segmenter import picture_with_sky, save_blue_sky_segmenter

pytestmark = pytest.mark.integration

SOURCE = "outdoors"
SIDE = 64
EDGE = SIDE // 2  # sky above
SHARDS, ROWS = 3, 4
HOLE = slice(20, 44)  # rows and columns without ground truth
MIXED = 4  # rows beside the edge, where the network mixes the scores of both sides


def record(index: int) -> ImageRecord:
    """Sky above; metric depth, but for a square hole half under the sky."""
    pixels = picture_with_sky(SIDE, SIDE)
    pixels[-1, -1] = index  # no two are the same
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    plain = image_record(index, source=SOURCE, data=buffer.getvalue())
    return replace(
        plain,
        header=ImageHeader(SIDE, SIDE, "PNG"),
        truth=Truth(depth_with_hole(), Geometry.DEPTH_METRIC),
    )


def depth_with_hole() -> NDArray[np.float32]:
    depth_HW = np.linspace(1, 9, SIDE * SIDE, dtype=np.float32).reshape(SIDE, SIDE)
    depth_HW[HOLE, HOLE] = np.nan
    return depth_HW


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A store with a labelled source of three shards."""
    where = {"store": str(tmp_path_factory.mktemp("sky") / "store")}
    with opened(where) as workspace:
        catalog = workspace.catalog
        catalog.register_source(SOURCE, role="labelled", uri="/x", layout="images")
        lease = begin_ingest(catalog, SOURCE)
        for number in range(SHARDS):
            records = [record(index) for index in range(number * ROWS, (number + 1) * ROWS)]
            shard = write_image_shard(workspace.store, records, source=SOURCE, code_version="test")
            catalog.commit_image_shard(lease, shard, dropped={})
        catalog.finish_ingest(lease, {})
        record_source(workspace.store, catalog, SOURCE)
    return where


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_blue_sky_segmenter(tmp_path_factory.mktemp("segmenter")))


def opened(where: dict[str, Any]) -> AbstractContextManager[Workspace]:
    return open_workspace(TrainTeacherConfig(name="x", encoder="x", **where))


def deadly_engine(markers: Path) -> type[SkyEngine]:
    """An engine whose process is killed when it has written its first object, once in all.

    Made in a function, so that it travels to the actors by value.
    """

    class DeadlyEngine(SkyEngine):
        def label(self, task: SkyTask) -> SkyShard:
            shard = super().label(task)
            try:
                (markers / "killed").touch(exist_ok=False)
            except FileExistsError:
                return shard
            os.kill(os.getpid(), signal.SIGKILL)
            raise AssertionError("unreachable")

    return DeadlyEngine


@pytest.fixture(scope="module")
def masks(
    ray_session: None,
    where: dict[str, Any],
    segmenter: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, bytes]:
    """The objects of masks, by key; the actor that made the first one was killed."""
    markers = tmp_path_factory.mktemp("markers")
    with opened(where) as workspace, pytest.MonkeyPatch.context() as patched:
        patched.setattr(sky_actors, "SkyEngine", deadly_engine(markers))
        located = locate_segmenter(segmenter, workspace)
        found = find_sky(
            located,
            workspace.catalog.pin_snapshot(labelled=[SOURCE], pseudo=[]),
            RunFiles(workspace.store, "elsewhere"),
            resources=cluster_resources(),
            reporter=Reporter.silent(),
        )
        assert (markers / "killed").exists()
        assert found.made == len(found.shards) == SHARDS
        return {key: workspace.store.get(key) for key in workspace.store.list("sky")}


def test_a_killed_actor_loses_no_mask_and_makes_none_twice(
    where: dict[str, Any], masks: dict[str, bytes]
) -> None:
    assert len(masks) == SHARDS
    with opened(where) as workspace:
        for key in masks:
            assert len(list(read_sky_rows(workspace.store, key))) == ROWS


def test_training_finds_the_masks_and_pins_them(
    where: dict[str, Any], segmenter: str, masks: dict[str, bytes]
) -> None:
    trained = train_teacher(
        TrainTeacherConfig(
            labelled=(SOURCE,),
            name="teacher",
            encoder="scratch:tiny",
            sky_segmenter=segmenter,
            size=42,
            batch_size=4,
            steps=1,
            **where,
        )
    )
    assert (trained["sky"]["shards_made"], trained["sky"]["shards_found"]) == (0, SHARDS)
    assert trained["sky"]["share"] == pytest.approx(0.5, abs=0.1)
    with opened(where) as workspace:
        assert {key: workspace.store.get(key) for key in workspace.store.list("sky")} == masks
        pinned = RunFiles(workspace.store, trained["run"]).read_json(FILE)
        assert pinned is not None
        assert pinned["masks"] == {key: sha256_hex(data) for key, data in masks.items()}


def test_sky_fills_holes_and_nothing_else(where: dict[str, Any], masks: dict[str, bytes]) -> None:
    """In the hole, what training compares with is 0 under the sky and nothing on the ground.

    Sky is disparity 0, so the rest lies between that and the nearest value.
    """
    keys = {Path(key).name: key for key in masks}
    with opened(where) as workspace:
        shards = [
            TrainingShard(shard.key, shard.rows, sky_key=keys[Path(shard.key).name])
            for shard in workspace.catalog.image_shards(SOURCE)
        ]
        stream = TrainingStream(
            store=workspace.store,
            blocks=blocks_of(shards),
            prepare=lambda row, _: to_target(
                row.truth.values_HW, row.truth.geometry, sky_HW=row.truth.sky_HW
            ),
            seed=0,
        )
        with closing(stream.rows_from(Cursor())) as rows:
            targets = [drawn.value for drawn in islice(rows, SHARDS * ROWS)]
    disparity_HW = 1 / depth_with_hole()
    has_value = np.isfinite(disparity_HW)
    wanted = disparity_HW[has_value] / disparity_HW[has_value].max()
    for filled_HW in targets:
        np.testing.assert_allclose(filled_HW[has_value], wanted, rtol=1e-6)
        hole_HW = filled_HW[HOLE, HOLE]
        assert (hole_HW[: EDGE - HOLE.start - MIXED] == 0).all()
        assert np.isnan(hole_HW[EDGE - HOLE.start + MIXED :]).all()


def test_upkeep_knows_masks(tmp_path: Path, where: dict[str, Any], segmenter: str) -> None:
    """Those of committed shards stay, those of nobody's go, and a rebuild passes over them."""
    store = tmp_path / "store"
    shutil.copytree(where["store"], store)
    with opened({"store": str(store)}) as workspace:
        located = locate_segmenter(segmenter, workspace)
        assert located is not None
        engine = SkyEngine(SkyJob(workspace.store, located, "test", threads=1), device="cpu")
        shard, *_ = workspace.catalog.image_shards(SOURCE)
        task = SkyTask(SOURCE, shard.shard_id, shard.key, shard.sha256, shard.rows)
        kept = engine.label(task).key
        left_over = engine.label(replace(task, shard_id="s0123")).key
        other = "sky/elsewhere/ab12/s0123.parquet"
        workspace.store.put(other, b"masks of a source that this catalog does not know")
    config = {"store": str(store)}
    assert verify_catalog(CatalogVerifyConfig(**config))["problems"] == []
    done = collect_garbage(CatalogGcConfig(**config))
    assert done["removed"]["sky_masks"] == sum(done["removed"].values()) == 1
    reasons = {each["folder"]: each["reason"] for each in done["kept"]}
    assert reasons["sky/elsewhere"] == UNKNOWN
    assert f"sky/{SOURCE}" not in reasons
    keys = set(Store(str(store)).list("sky"))
    assert {kept, other} <= keys and left_over not in keys
    for file in store.glob("catalog.sqlite*"):
        file.unlink()
    rebuilt = rebuild_catalog(CatalogRebuildConfig(**config))
    assert rebuilt["image_shards"] == SHARDS
    assert not any(each["key"].startswith("sky/") for each in rebuilt["skipped"])
