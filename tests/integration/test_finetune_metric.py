"""`factory finetune-metric` on a real Ray Train: from a relative model to metres, and onwards."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModelForDepthEstimation

from jobs.config import LabelConfig, PredictConfig
from jobs.errors import ConfigError
from jobs.evaluate import evaluate
from jobs.evaluate_config import EvaluateConfig
from jobs.finetune_metric import finetune_metric
from jobs.label import label
from jobs.predict import predict
from jobs.training_config import FinetuneMetricConfig
from jobs.workspace import open_workspace
from model.depth_model import load_depth_model
from model.errors import CheckpointError
from pipeline.labels import read_label_rows
from pipeline.lineage import lineage
from pipeline.records import Geometry, Truth
from pipeline.shards import write_image_shard
from tests.catalog_factories import begin_ingest
from tests.factories import image_record, tiny_teacher
from tests.line import ingest_rendered

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("ray_session")]

SIZE = 42


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A store with labelled scenes and a relative student."""
    folder = tmp_path_factory.mktemp("metric")
    where = {"store": str(folder / "store")}
    ingest_rendered("rendered", n=24, seed=0, role="labelled", **where)
    ingest_rendered("held-out", n=8, seed=1, role="benchmark", **where)
    student = load_depth_model(str(tiny_teacher(folder / "student")), device="cpu")
    with open_workspace(config(where)) as workspace:
        workspace.catalog.register_model(
            "student",
            uri=student.reference,
            sha256=student.sha256,
            family=student.family,
            geometry=student.geometry,
            kind="student",
        )
    return where


def config(where: dict[str, Any], **changes: Any) -> FinetuneMetricConfig:
    given: dict[str, Any] = {
        "labelled": ("rendered",),
        "init": "student",
        "max_depth": 20,
        "name": "metric",
        "steps": 3,
        "size": SIZE,
        "batch_size": 4,
        "learning_rate": 1e-4,
    }
    return FinetuneMetricConfig(**given | where | changes)


def test_a_student_becomes_a_metric_model_that_everything_else_takes(
    where: dict[str, Any], tmp_path: Path
) -> None:
    made = finetune_metric(config(where))
    assert (made["model"], made["steps"]) == ("metric", 3)
    with open_workspace(config(where)) as workspace:
        model = workspace.catalog.model("metric")
        assert (model.kind, model.geometry) == ("metric", "depth_metric")
        made_from = {(node["kind"], node["name"]) for node in lineage_of("metric", workspace)}
        assert {("model", "student"), ("source", "rendered")} <= made_from
        saved = workspace.store.local_path(made["checkpoint"])

    ours = load_depth_model(str(saved), device="cpu")
    theirs = AutoModelForDepthEstimation.from_pretrained(saved)
    assert (theirs.config.depth_estimation_type, theirs.config.max_depth) == ("metric", 20)
    image = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    with torch.no_grad():
        pixels = ours.preprocessing.normalise(torch.from_numpy(image[None]))
        depth = theirs(pixel_values=pixels).predicted_depth[0].numpy()
    np.testing.assert_allclose(ours.predict(image), depth, rtol=1e-5)

    scored = evaluate(EvaluateConfig(models=("metric",), benchmark=("metric@1=held-out",), **where))
    (result,) = scored["results"]
    assert (result["protocol"], result["images"]) == ("metric", 8)
    assert 0 < result["metrics"]["depth"]["abs_rel"] < 20
    with pytest.raises(ConfigError, match="student predicts disparity_affine_invariant"):
        evaluate(EvaluateConfig(models=("student",), benchmark=("metric@1=held-out",), **where))

    Image.fromarray(image).save(tmp_path / "image.png")
    predict(
        PredictConfig(
            model="metric", images=(str(tmp_path / "image.png"),), out=str(tmp_path / "o"), **where
        )
    )
    (array,) = (tmp_path / "o").rglob("*.npy")
    np.testing.assert_allclose(np.load(array), depth, rtol=1e-5)

    label(LabelConfig(sources=("held-out",), teacher="metric", label_set="metres", **where))
    with open_workspace(config(where)) as workspace:
        (shard,) = workspace.catalog.label_shards("metres")
        geometries = {row.geometry for row in read_label_rows(workspace.store, shard.key)}
    assert geometries == {"disparity_metric"}


def lineage_of(name: str, workspace: Any) -> list[dict[str, Any]]:
    found = [lineage(workspace.catalog, name)]
    for node in found:
        found += node.get("from", ())
    return found


def test_wrong_use_is_refused_before_anything_starts(where: dict[str, Any], tmp_path: Path) -> None:
    with open_workspace(config(where)) as workspace:
        catalog, store = workspace.catalog, workspace.store
        record = image_record(0)
        relative = Truth(np.ones((48, 64), np.float32), Geometry.DISPARITY_AFFINE_INVARIANT)
        catalog.register_source("relative", role="labelled", uri="/there", layout="pairs")
        lease = begin_ingest(catalog, "relative")
        shard = write_image_shard(
            store, [replace(record, truth=relative)], source="relative", code_version="test"
        )
        catalog.commit_image_shard(lease, shard, dropped={})
        before = len(catalog.runs())
    refused: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"labelled": ("rendered", "relative")}, ConfigError, "'relative' has .*disparity_affine"),
        ({"labelled": ()}, ConfigError, "at least one --labelled"),
        ({"max_depth": 0}, ConfigError, "max_depth must be at least 1"),
        ({"override": ("taken_over=head",)}, ConfigError, "taken_over must be one of"),
        ({"init": str(tmp_path)}, CheckpointError, str(tmp_path)),
    ]
    for changes, error, why in refused:
        with pytest.raises(error, match=why):
            finetune_metric(config(where, name="never", **changes))
    with open_workspace(config(where)) as workspace:
        assert len(workspace.catalog.runs()) == before
