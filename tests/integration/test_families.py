"""Every family of depth networks through `label`, `evaluate` and `predict`, as files on a disk."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jobs.config import IngestConfig, LabelConfig, PredictConfig
from jobs.evaluate import evaluate
from jobs.evaluate_config import EvaluateConfig
from jobs.ingest import ingest
from jobs.label import label
from jobs.predict import predict
from jobs.workspace import open_workspace
from model.depth_model import load_depth_model
from model.geometry import disparity_geometry
from pipeline.depth_codec import decode_disparity
from pipeline.images import decode_rgb
from pipeline.labels import read_label_rows
from pipeline.shards import read_image_rows
from tests.tiny_families import FAMILIES, save_family

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("one_thread")]

# One of each, and of ZoeDepth the one that takes one image at a time; each costs an actor.
LABELLED = (
    "depth_anything",
    "dpt over beit",
    "zoedepth with two heads",
    "depth_pro",
    "glpn",
    "tipsv2_dpt",
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("families")
    return {name: save_family(name, root / name.replace(" ", "-")) for name in FAMILIES}


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A store with three rooms, and how far away everything in them is."""
    where = {"store": str(tmp_path_factory.mktemp("rooms") / "store")}
    uri = "synthetic://rooms?n=3&width=100&height=60"
    ingest(IngestConfig(uri=uri, source="rooms", role="benchmark", **where))
    return where


@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize("name", LABELLED)
def test_labels_are_what_the_model_says_of_each_image(
    folders: dict[str, Path], where: dict[str, Any], name: str
) -> None:
    config = LabelConfig(
        sources=("rooms",),
        teacher=str(folders[name]),
        label_set=name.replace(" ", "-"),
        batch_size=2,  # else looked for with large images, which GLPN takes nearly as they come
        **where,
    )
    assert label(config)["labelled"] == 3
    model = load_depth_model(str(folders[name]), device="cpu")
    with open_workspace(config) as workspace:
        label_set = workspace.catalog.label_set(config.label_set or "")
        (row,) = workspace.catalog.label_shards(label_set.name)
        images = list(read_image_rows(workspace.store, row.shard.key))
        labels = list(read_label_rows(workspace.store, row.key))
    assert label_set.recipe["geometry"] == disparity_geometry(model.geometry)
    for image, record in zip(images, labels, strict=True):
        pixels = decode_rgb(image.data or b"")
        prepared = model.prepare(pixels)
        (expected,) = model.disparity(prepared[None], sizes=[pixels.shape[:2]]).numpy()
        found = decode_disparity(record)
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() <= np.ptp(expected) / 65000


def test_all_are_benchmarked_side_by_side(
    folders: dict[str, Path], where: dict[str, Any], tmp_path: Path
) -> None:
    config = EvaluateConfig(
        models=tuple(map(str, folders.values())),
        benchmark=("relative@1=rooms",),
        actors=0,
        batch_size=2,
        leakage="none",
        pictures=0,
        **where,
    )
    results = evaluate(config)["results"]
    assert len(results) == len(FAMILIES)
    for result in results:
        assert result["images"] == 3
        assert result["metrics"]["disparity"]["rmse"] > 0


@pytest.mark.parametrize("name", FAMILIES)
def test_predict_writes_the_map_at_the_images_size(
    folders: dict[str, Path], tmp_path: Path, name: str
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (60, 100, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    summary = predict(
        PredictConfig(
            model=str(folders[name]),
            images=(str(tmp_path / "a.png"),),
            out=str(tmp_path / "out"),
            store=str(tmp_path / "store"),
            upsampling="bicubic",
        )
    )
    assert summary["geometry"] == FAMILIES[name].geometry
    expected = load_depth_model(str(folders[name]), device="cpu").predict(
        pixels, upsampling="bicubic"
    )
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "a.npy"), expected)
