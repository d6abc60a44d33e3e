"""The label engine inline: what it writes is what the teacher says of each image, in order."""

from pathlib import Path

import numpy as np
import pytest
import torch

from jobs.label_engine import LabelEngine, LabelJob, LabelTask
from jobs.label_recipe import LabelRecipe
from jobs.models import ModelLocation
from model.depth_model import load_depth_model
from model.errors import CheckpointError
from pipeline.depth_codec import decode_disparity, error_bound
from pipeline.errors import ShardCorruptError
from pipeline.images import decode_rgb
from pipeline.labels import label_footer, read_label_rows
from pipeline.records import ShardRef
from pipeline.shards import read_image_rows
from pipeline.storage import Store
from tests.factories import image_shard, png, referenced_shard, tiny_teacher

SIZES = ((64, 48), (48, 64), (50, 50), (90, 45))


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(str(tmp_path_factory.mktemp("store")))


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_teacher(tmp_path_factory.mktemp("models") / "teacher")


@pytest.fixture(scope="module")
def shard(store: Store) -> ShardRef:
    """41 images of four sizes; two cannot be decoded."""
    data = {
        index: png(index, width=SIZES[index % 4][0], height=SIZES[index % 4][1])
        for index in range(41)
    }
    data[3], data[30] = b"no image", data[30][: len(data[30]) // 2]
    return image_shard(store, range(41), replace=data)


def recipe(teacher: Path, **changes: str) -> LabelRecipe:
    model = load_depth_model(str(teacher), device="cpu", precision="fp32")
    settings = {
        "teacher_sha256": model.sha256,
        "family": model.family,
        "geometry": "disparity_affine_invariant",
        "side": 42,
        "multiple": 14,
        "resize": "exact",
        "max_distortion": None,
        "precision": "fp32",
        "codec": "jxl-u16",
        "consistency": False,
        **changes,
    }
    return LabelRecipe(**settings)  # type: ignore[arg-type]


def engine(store: Store, teacher: Path, *, batch_size: int = 4, **changes: str) -> LabelEngine:
    job = LabelJob(
        store=store,
        label_set="set",
        teacher="teacher",
        location=ModelLocation("plain", str(teacher)),
        recipe=recipe(teacher, **changes),
        code_version="test",
        batch_size=batch_size,
        threads=2,
    )
    return LabelEngine(job, device="cpu")


def test_each_label_is_the_teachers_map_of_its_own_image(
    store: Store, teacher: Path, shard: ShardRef
) -> None:
    manifest = engine(store, teacher).label(LabelTask(shard, "0001-a"))
    assert (manifest.rows, manifest.labelled) == (41, 39)
    assert sum(manifest.quarantined.values()) == 2
    model = load_depth_model(str(teacher), device="cpu", precision="fp32", side=42)
    images = list(read_image_rows(store, shard.key))
    labels = list(read_label_rows(store, manifest.key))
    assert [row.sample_id for row in labels] == [row.sample_id for row in images]
    assert [index for index, row in enumerate(labels) if row.status == "quarantined"] == [3, 30]
    for image, label in zip(images, labels, strict=True):
        if label.status == "quarantined":
            assert label.reason
            continue
        assert image.data is not None
        alone = model.disparity(model.prepare(decode_rgb(image.data))[None])[0].numpy()
        assert label.minimum is not None
        assert label.maximum is not None
        # A batch of one and a batch of four may differ in the last bits of a float.
        bound = error_bound(label.minimum, label.maximum) + 1e-4 * abs(label.maximum)
        assert np.abs(decode_disparity(label) - alone).max() <= bound


def test_the_same_shard_gives_the_same_bytes(store: Store, teacher: Path, shard: ShardRef) -> None:
    first, second = (
        engine(store, teacher).label(LabelTask(shard, attempt)) for attempt in ("0002-a", "0002-b")
    )
    assert first.sha256 == second.sha256


def test_the_footer_says_how_the_labels_were_made(
    store: Store, teacher: Path, shard: ShardRef
) -> None:
    manifest = engine(store, teacher).label(LabelTask(shard, "0003-a"))
    footer = label_footer(store, manifest.key)
    assert footer["recipe_hash"] == recipe(teacher).digest()
    assert footer["image_shard_sha256"] == shard.sha256
    assert recipe(teacher).digest() != recipe(teacher, codec="jxl-u12").digest()


def test_twelve_bits_are_smaller(store: Store, teacher: Path, shard: ShardRef) -> None:
    sixteen = engine(store, teacher).label(LabelTask(shard, "0004-a"))
    twelve = engine(store, teacher, codec="jxl-u12").label(LabelTask(shard, "0004-b"))
    assert twelve.bytes < sixteen.bytes


def test_other_weights_than_the_recipes_are_refused(store: Store, teacher: Path) -> None:
    with pytest.raises(CheckpointError, match="was opened with"):
        engine(store, teacher, teacher_sha256="f" * 64)


def test_a_teacher_that_says_nan_quarantines_its_images(
    store: Store, teacher: Path, shard: ShardRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = engine(store, teacher)
    monkeypatch.setattr(
        broken._model, "disparity", lambda images: torch.full(images.shape[:3], torch.nan)
    )
    manifest = broken.label(LabelTask(shard, "0005-a"))
    assert manifest.labelled == 0
    assert manifest.quarantined["non_finite_output"] == 39


def test_images_that_are_only_referred_to_get_the_same_labels(
    store: Store, teacher: Path, tmp_path: Path
) -> None:
    copied, referred = image_shard(store, range(6)), referenced_shard(store, tmp_path, range(6))
    labeller = engine(store, teacher)
    keys = [
        labeller.label(LabelTask(shard, f"0006-{name}")).key
        for name, shard in (("copied", copied), ("referred", referred))
    ]
    labels = [[row.disparity for row in read_label_rows(store, key)] for key in keys]
    assert labels[0] == labels[1]
    assert all(labels[0])


def test_a_file_that_is_no_longer_the_one_ingested_is_never_labelled(
    store: Store, teacher: Path, tmp_path: Path
) -> None:
    shard = referenced_shard(store, tmp_path, range(20, 24))
    (tmp_path / "00022.png").write_bytes(png(99))
    with pytest.raises(ShardCorruptError, match=r"00022\.png"):
        engine(store, teacher).label(LabelTask(shard, "0007-a"))
