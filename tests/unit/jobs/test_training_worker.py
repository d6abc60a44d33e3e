"""One training worker without Ray: what it learns from, what it leaves, and how it goes on."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import pipeline as hf_pipeline

from jobs import training_state, training_worker
from jobs.models import ModelLocation
from jobs.run_files import RunFiles
from jobs.training_job import TrainingJob
from jobs.training_worker import run_training
from model import monitors
from model.encoders import load_encoder
from model.errors import NonFiniteLossError, ScaleDriftError
from model.metric_recipe import V2_METRIC
from model.recipes import V1, V2, override
from model.training import TIMINGS
from pipeline.errors import ShardCorruptError, StorageError
from pipeline.label_filter import LabelFilter
from pipeline.storage import Store
from pipeline.training_input import TrainingShard
from tests.factories import image_shard, label_shard, tiny_teacher

STEPS = 6


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(str(tmp_path_factory.mktemp("store")))


@pytest.fixture(scope="module")
def shards(store: Store) -> dict[str, tuple[TrainingShard, ...]]:
    with_truth = image_shard(store, range(20), truth=True)
    unlabelled = image_shard(store, range(100, 130))
    labels = label_shard(store, unlabelled, quarantined=lambda index: index == 7)
    return {
        "labelled": (TrainingShard(with_truth.key, 20),),
        "pseudo": (TrainingShard(unlabelled.key, 30, labels),),
    }


def job(store: Store, run_id: str, shards: dict[str, Any], **changes: Any) -> TrainingJob:
    settings: dict[str, Any] = {
        "run_id": run_id,
        "name": run_id,
        "store": store,
        "encoder": ModelLocation("plain", "scratch:tiny"),
        "recipe": override(V1, size=42, batch_size=6, learning_rate=1e-4),
        "steps": STEPS,
        "images_per_pass": 6,
        "seed": 0,
        "precision": "fp32",
        "checkpoint_steps": 3,
        "threads": 2,
        **shards,
        **changes,
    }
    return TrainingJob(**settings)


def rows(store: Store, run_id: str) -> list[dict[str, float]]:
    """All that was logged, without what a clock had a part in."""
    return [
        {name: value for name, value in row.items() if name not in TIMINGS}
        for row in RunFiles(store, run_id).metrics()
    ]


def result(store: Store, run_id: str) -> dict[str, Any]:
    found = RunFiles(store, run_id).read_json("result.json")
    assert found is not None
    return found


def test_a_student_is_trained_saved_and_read_by_transformers(
    store: Store, shards: dict[str, Any]
) -> None:
    run_training(job(store, "student", shards))
    result = RunFiles(store, "student").read_json("result.json")
    assert result is not None
    assert result["step"] == STEPS
    assert result["labelled"] > 0
    assert result["pseudo"] > 0
    assert "feature" not in result, "an encoder from scratch has nothing to be aligned with"
    assert set(result["skipped"]) <= {"decode_failed"}
    assert (Path(store.uri) / "runs/student/tensorboard").is_dir()
    folder = store.local_path("models/student")
    assert hf_pipeline("depth-estimation", model=str(folder)).model.config.model_type == (
        "depth_anything"
    )


def test_a_pretrained_encoder_brings_the_feature_loss(
    store: Store, shards: dict[str, Any], tmp_path: Path
) -> None:
    load_encoder("scratch:tiny", image_size=42, seed=5).network.save_pretrained(tmp_path / "dino")
    encoder = ModelLocation("plain", str(tmp_path / "dino"))
    run_training(job(store, "aligned", shards, encoder=encoder, steps=2))
    result = RunFiles(store, "aligned").read_json("result.json")
    assert result is not None
    assert 0 <= result["feature"] <= 2
    parts = [result[name] for name in ("labelled", "pseudo", "feature")]
    assert result["loss"] == pytest.approx(sum(parts) / 3, rel=1e-5)


def test_a_teacher_needs_no_pseudo_labels(store: Store, shards: dict[str, Any]) -> None:
    run_training(job(store, "teacher", shards | {"pseudo": ()}, steps=2))
    result = RunFiles(store, "teacher").read_json("result.json")
    assert result is not None
    assert "pseudo" not in result
    assert result["loss"] == pytest.approx(result["labelled"])


def test_a_killed_run_goes_on_as_if_nothing_had_happened(
    store: Store, shards: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {
        "images_per_pass": 3,
        "accumulate": 2,
        "ema": 0.9,
        "validation": shards["labelled"],
        "validation_images": 3,
    }
    run_training(job(store, "straight", shards, **options))
    with monkeypatch.context() as patch:
        patch.setattr(training_worker, "fit", dies_after(5))
        with pytest.raises(KeyboardInterrupt):
            run_training(job(store, "killed", shards, **options))
    assert RunFiles(store, "killed").read_json("result.json") is None
    assert [row["step"] for row in rows(store, "killed")] == [1, 2, 3, 4, 5], "until it died"
    run_training(job(store, "killed", shards, **options))
    assert rows(store, "killed") == rows(store, "straight")
    assert [row["step"] for row in rows(store, "killed")] == list(range(1, STEPS + 1))
    assert weights(store, "killed") == weights(store, "straight")
    assert result(store, "killed")["skipped"] == result(store, "straight")["skipped"]


def weights(store: Store, name: str) -> bytes:
    return (Path(store.uri) / "models" / name / "model.safetensors").read_bytes()


def test_scores_and_pictures_are_there_at_checkpoints(store: Store, shards: dict[str, Any]) -> None:
    watched = shards | {"pseudo": (), "validation": shards["labelled"]}
    run_training(job(store, "watched", watched, validation_images=3, preview_steps=4))
    scored = {row["step"]: row for row in rows(store, "watched") if "validation/loss" in row}
    assert list(scored) == [3, 6]
    best = min(scored, key=lambda step: scored[step]["validation/loss"])
    assert result(store, "watched")["best"] == {
        "step": best,
        "score": pytest.approx(scored[best]["validation/loss"]),
    }
    assert result(store, "watched")["validation/abs_rel"] > 0
    pictures = list(store.list("runs/watched/previews"))
    assert [Path(key).stem for key in pictures] == ["000000004", "000000006"]
    with Image.open(Path(store.uri) / pictures[0]) as picture:
        assert picture.size == (3 * 42 + 2 * 4, 4 * 42 + 3 * 4)
    told = RunFiles(store, "watched").read_json("progress.json")
    assert told is not None
    assert (told["step"], told["steps"], told["seconds_left"]) == (STEPS, STEPS, 0)
    assert told["validation"] == scored[6]["validation/loss"]


def test_without_validation_the_training_loss_picks_the_best_and_shows_its_own_images(
    store: Store, shards: dict[str, Any]
) -> None:
    run_training(job(store, "unwatched", shards, preview_steps=6))
    losses = [row["loss"] for row in rows(store, "unwatched")]
    means = {3: sum(losses[:3]) / 3, 6: sum(losses[3:]) / 3}
    best = min(means, key=lambda step: means[step])
    assert result(store, "unwatched")["best"] == {
        "step": best,
        "score": pytest.approx(means[best]),
    }
    (picture,) = store.list("runs/unwatched/previews")
    with Image.open(Path(store.uri) / picture) as opened:
        assert opened.size[1] == 4 * 42 + 3 * 4, "two labelled images, two pseudo-labelled ones"


def test_average_and_looks_take_no_part_in_training(store: Store, shards: dict[str, Any]) -> None:
    plain = job(store, "plain", shards | {"pseudo": ()}, steps=3)
    run_training(plain)
    seen = replace(plain, run_id="seen", name="seen", ema=0.99, checkpoint_steps=1)
    run_training(replace(seen, validation=shards["labelled"], preview_steps=1))
    assert [row["loss"] for row in rows(store, "plain")] == [
        row["loss"] for row in rows(store, "seen")
    ]
    assert weights(store, "plain") != weights(store, "seen"), "the average is saved"


def test_a_student_of_pseudo_labels_alone_learns_from_one_image_at_a_time(
    store: Store, shards: dict[str, Any], tmp_path: Path
) -> None:
    load_encoder("scratch:tiny", image_size=42, seed=5).network.save_pretrained(tmp_path / "dino")
    alone: dict[str, Any] = {
        "labelled": (),
        "encoder": ModelLocation("plain", str(tmp_path / "dino")),
        "recipe": override(V2, size=42, batch_size=1),
        "images_per_pass": 1,
    }
    run_training(job(store, "alone", shards | alone, steps=1))
    assert "feature" in result(store, "alone")


def test_a_metric_model_is_scored_in_metres(
    store: Store, shards: dict[str, Any], tmp_path: Path
) -> None:
    recipe = override(V2_METRIC, size=42, batch_size=4, max_depth=20)
    start = ModelLocation("plain", str(tiny_teacher(tmp_path / "relative")))
    metres: dict[str, Any] = {"encoder": start, "recipe": recipe, "images_per_pass": 4, "steps": 2}
    watched = {"labelled": shards["labelled"], "pseudo": (), "validation": shards["labelled"]}
    run_training(job(store, "metric", watched, **metres))
    found = result(store, "metric")
    assert "validation/loss" not in found
    assert found["best"] == {"step": 2, "score": pytest.approx(found["validation/abs_rel"])}
    assert list(store.list("runs/metric/previews"))


def test_predictions_that_drift_end_the_run_by_name(
    store: Store, shards: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitors, "LARGEST", 1e-9)
    monkeypatch.setattr(training_state, "ScaleMonitor", lambda: monitors.ScaleMonitor(patience=2))
    with pytest.raises(ScaleDriftError, match="huge since step 1"):
        run_training(job(store, "drifting", shards))
    assert [row["step"] for row in rows(store, "drifting")] == [1], "the step before is on record"


def test_what_is_damaged_is_counted_and_named(store: Store, shards: dict[str, Any]) -> None:
    broken = image_shard(store, range(200, 220), truth=True, replace={205: b"no image"})
    mixed = {"labelled": (TrainingShard(broken.key, 20),), "pseudo": ()}
    run_training(job(store, "damaged", mixed, max_damaged=0.5, threads=1))
    found = result(store, "damaged")
    assert sum(found["damaged"].values()) >= 1
    named = found["damaged_first"][0]
    assert named["key"] == broken.key
    assert named["reason"] in found["damaged"]


def dies_after(step: int) -> Any:
    """The real loop, interrupted after a step that is no checkpoint."""
    real = training_worker.fit

    def fit(*arguments: Any, on_step: Any, **options: Any) -> Any:
        def then_die(done: int, metrics: dict[str, float]) -> None:
            on_step(done, metrics)
            if done == step:
                raise KeyboardInterrupt

        return real(*arguments, on_step=then_die, **options)

    return fit


def test_a_checkpoint_of_another_recipe_is_refused(store: Store, shards: dict[str, Any]) -> None:
    run_training(job(store, "other", shards, steps=3))
    changed = override(V1, size=42, batch_size=6, learning_rate=1e-4, feature_margin=0.5)
    with pytest.raises(ValueError, match=r"feature_margin was 0\.85, is 0\.5"):
        run_training(job(store, "other", shards, steps=3, recipe=changed))


def test_a_checkpoint_of_a_run_of_another_length_is_refused(
    store: Store, shards: dict[str, Any]
) -> None:
    run_training(job(store, "short", shards, steps=2))
    with pytest.raises(ValueError, match="steps was 2, is 4"):
        run_training(job(store, "short", shards, steps=4))


def test_a_checkpoint_of_another_filter_is_refused(store: Store, shards: dict[str, Any]) -> None:
    run_training(job(store, "unfiltered", shards, steps=3))
    choosy = LabelFilter(max_flat=0.5)
    with pytest.raises(ValueError, match=r"max_flat was None, is 0\.5"):
        run_training(job(store, "unfiltered", shards, steps=3, label_filter=choosy))


def test_labels_that_cannot_answer_the_filter_end_the_run_by_name(
    store: Store, shards: dict[str, Any]
) -> None:
    choosy = LabelFilter(max_flat=0.5)
    with pytest.raises(ShardCorruptError, match="says nothing of its quality"):
        run_training(job(store, "unanswered", shards, label_filter=choosy))


def test_a_loss_that_is_not_a_number_ends_the_run_before_the_step(
    store: Store, shards: dict[str, Any]
) -> None:
    reckless = override(V1, size=42, batch_size=6, learning_rate=1e30)
    with pytest.raises(NonFiniteLossError, match="step"):
        run_training(job(store, "reckless", shards, recipe=reckless))
    assert RunFiles(store, "reckless").read_json("result.json") is None


def test_a_store_that_is_away_does_not_hide_why_a_run_ends(
    store: Store, shards: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were it hidden, the run would be started again, and end the same way."""

    def away(*_: Any) -> None:
        raise StorageError("away")

    monkeypatch.setattr(RunFiles, "write_metrics", away)
    reckless = override(V1, size=42, batch_size=6, learning_rate=1e30)
    with pytest.raises(NonFiniteLossError, match="step"):
        run_training(job(store, "unheard", shards, recipe=reckless))


def test_a_tracker_is_told_the_steps_of_the_run(
    store: Store, shards: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    told: dict[str, Any] = {}
    monkeypatch.setattr(training_worker, "WandbLog", lambda project, **run: told.update(run))
    followed = job(store, "followed", shards, wandb="depth")
    files = RunFiles(store, "followed")
    list(training_worker._trackers(followed, files, tmp_path, going_on=False))
    assert told["config"]["steps"] == STEPS, "not the recipe's 0, which says that passes count"
    assert told["config"]["feature_margin"] == V1.feature_margin
