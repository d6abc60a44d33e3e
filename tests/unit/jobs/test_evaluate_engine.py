"""An engine without Ray: each image gets the score that it would get alone."""

import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jobs import evaluate_engine
from jobs import evaluate_scoring as scoring
from jobs.evaluate_engine import EvaluationEngine, EvaluationJob, EvaluationTask, StoppedError
from jobs.evaluate_models import ModelSpec
from jobs.evaluate_pictures import PictureTask, make_pictures
from jobs.evaluate_scoring import Scoring, scored_images
from jobs.models import ModelLocation
from model.depth_model import load_depth_model
from model.errors import CheckpointError
from model.evaluation import evaluate_image, evaluate_pairs
from model.protocols import protocol
from pipeline.identity import sha256_hex
from pipeline.images import decode_rgb
from pipeline.records import ImageRecord, PointPair, ShardRef
from pipeline.scores import ScorePart, ScoreRow, read_scores
from pipeline.shards import write_image_shard
from pipeline.storage import Store
from tests.factories import HEIGHT, WIDTH, image_record, png, tiny_teacher

RULES = protocol("relative@1")


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> ModelSpec:
    return spec_of(tiny_teacher(tmp_path_factory.mktemp("models") / "teacher"))


def spec_of(folder: Path) -> ModelSpec:
    model = load_depth_model(str(folder), device="cpu")
    return ModelSpec(
        name=folder.name,
        location=ModelLocation("plain", str(folder)),
        sha256=model.sha256,
        side=42,
        precision="fp32",
    )


def records() -> list[ImageRecord]:
    """Images of two sizes, in turn, with truth of the factory's size."""
    wide = [image_record(index, truth=True) for index in range(6)]
    tall = [
        image_record(index, data=png(index, width=48, height=64), truth=True)
        for index in range(6, 10)
    ]
    return [wide[0], tall[0], wide[1], wide[2], tall[1], *wide[3:], *tall[2:]]


def task_for(
    shard: ShardRef, spec: ModelSpec, *, rules=RULES, upsampling: str = "bilinear", group: int = 0
) -> EvaluationTask:
    scoring = Scoring(protocol=rules, upsampling=upsampling)
    part = ScorePart(
        source=shard.source,
        shard_id=shard.shard_id,
        image_shard_sha256=shard.sha256,
        group=group,
        model_sha256=spec.sha256,
        settings=scoring.as_dict(),
    )
    return EvaluationTask(model=spec, scoring=scoring, shard=shard, part=part, rows=shard.rows)


def engine_on(store: Store, *, batch_size: int = 4) -> EvaluationEngine:
    return EvaluationEngine(EvaluationJob(store=store, batch_size=batch_size), device="cpu")


def put(store: Store, rows: list[ImageRecord]) -> ShardRef:
    return write_image_shard(store, rows, source="pictures", code_version="test")


@pytest.mark.usefixtures("one_thread")
def test_a_batch_gives_what_its_images_give_alone(tmp_path, spec):
    store = Store(str(tmp_path))
    shard = put(store, records())
    together = engine_on(store, batch_size=4).score(task_for(shard, spec)).scores.rows
    model = load_depth_model(str(spec.location.value), device="cpu")
    assert [row.sample_id for row in together] == [each.sample_id for each in records()]
    for row, record in zip(together, records(), strict=True):
        assert record.truth is not None and record.data is not None
        map_HW = model.forward(model.prepare(decode_rgb(record.data))[None])[0].numpy()
        alone = evaluate_image(
            map_HW,
            record.truth.values_HW,
            geometry=model.geometry,
            truth_geometry="depth_metric",
            protocol=RULES,
        )
        assert row.valid_pixels == alone.valid_pixels == HEIGHT * WIDTH
        for space, names in alone.metrics.items():
            for name, value in names.items():
                assert row.metrics[f"{space}/{name}"] == pytest.approx(value, rel=1e-4)


@pytest.mark.usefixtures("one_thread")
def test_the_same_part_gives_the_same_numbers_whatever_came_before(tmp_path, spec):
    store = Store(str(tmp_path))
    shard = put(store, [image_record(index, truth=True) for index in range(70)])
    first, second = (task_for(shard, spec, group=group) for group in (0, 1))
    engine = engine_on(store)
    before = [engine.score(first).scores, engine.score(second).scores]
    assert [len(scores.rows) for scores in before] == [64, 6]
    assert engine_on(store).score(second).scores == before[1]
    assert read_scores(store, second.part) == before[1]


def test_what_cannot_be_predicted_is_skipped_with_the_reason(tmp_path, spec):
    store = Store(str(tmp_path))
    broken = [png(1)[:800], png(2, width=1, height=100_000), png(3)]
    rows = [
        replace(image_record(index, truth=True), data=data, sha256=sha256_hex(data))
        for index, data in enumerate(broken)
    ]
    rows.append(image_record(4))  # nobody knows its depth
    found = engine_on(store).score(task_for(put(store, rows), spec)).scores.rows
    assert [row.skipped for row in found] == ["truncated", "too_large_for_network", None, "no_map"]
    assert [bool(row.metrics) for row in found] == [False, False, True, False]


def test_images_that_the_protocol_leaves_out_are_counted_and_not_decoded(tmp_path, spec):
    store = Store(str(tmp_path))
    rows = [image_record(index, truth=True) for index in range(5)]
    rows[3] = replace(rows[3], data=b"no image", sha256=sha256_hex(b"no image"))
    rules = replace(RULES, only=r"0000[04]\.png$")
    found = engine_on(store).score(task_for(put(store, rows), spec, rules=rules)).scores
    assert ([row.path for row in found.rows], found.left_out) == (["00000.png", "00004.png"], 3)
    assert all(row.metrics for row in found.rows)


def test_references_are_followed(tmp_path, spec):
    store = Store(str(tmp_path / "store"))
    file = tmp_path / "it.png"
    file.write_bytes(png(1))
    inside = image_record(1, truth=True)
    shards = [put(store, [inside]), put(store, [replace(inside, data=None, uri=str(file))])]
    scores = [engine_on(store).score(task_for(shard, spec)).scores for shard in shards]
    assert scores[0] == scores[1]


@pytest.mark.usefixtures("one_thread")
def test_pairs_are_points_of_the_image_and_not_of_the_map(tmp_path, spec):
    """The map of the network is smaller than the image: its last row would lie outside."""
    store = Store(str(tmp_path))
    rng = np.random.default_rng(0)
    pairs = tuple(
        PointPair(*map(int, (HEIGHT - 1 - row, column, row, WIDTH - 1 - column)), closer=1)
        for row, column in rng.integers(0, 20, (40, 2))
    )
    record = replace(image_record(3), points=pairs)
    rules = protocol("da-2k@1")
    (row,) = engine_on(store).score(task_for(put(store, [record]), spec, rules=rules)).scores.rows
    model = load_depth_model(str(spec.location.value), device="cpu")
    alone = evaluate_pairs(
        model.predict(decode_rgb(png(3))),
        pairs,
        geometry=model.geometry,
        sample_id=record.sample_id,
        protocol=rules,
    )
    assert row.metrics["order/pair_accuracy"] == alone.metrics["order"]["pair_accuracy"]
    assert row.valid_pixels == 40


def test_a_point_outside_of_its_image_costs_that_image_alone(tmp_path, spec):
    store = Store(str(tmp_path))
    inside, outside = (
        replace(image_record(index), points=(PointPair(1, 1, row, 5, closer=1),))
        for index, row in enumerate((9, HEIGHT))
    )
    task = task_for(put(store, [inside, outside]), spec, rules=protocol("pairs@1"))
    found = engine_on(store).score(task).scores.rows
    assert [row.skipped for row in found] == [None, "point_outside"]
    assert not found[1].metrics


def test_truths_of_many_pixels_wait_for_each_other(tmp_path, spec, monkeypatch):
    """Each takes 100 times its pixels in memory: how many there are at once is bounded."""
    store = Store(str(tmp_path))
    shard = put(store, [image_record(index, truth=True) for index in range(12)])
    under_way, most = [], []

    def score_row(*given, **more):
        under_way.append(1)
        most.append(len(under_way))
        time.sleep(0.02)
        row = scoring.score_row(*given, **more)
        under_way.pop()
        return row

    monkeypatch.setattr(evaluate_engine, "score_row", score_row)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    job = EvaluationJob(store=store, batch_size=4, threads=4)
    whole = EvaluationEngine(job, device="cpu").score(task_for(shard, spec)).scores
    assert max(most) > 2
    most.clear()
    monkeypatch.setattr(evaluate_engine, "SCORED_PIXELS", HEIGHT * WIDTH - 1)
    monkeypatch.setattr(evaluate_engine, "write_scores", lambda *_, **__: None)
    assert EvaluationEngine(job, device="cpu").score(task_for(shard, spec)).scores == whole
    assert max(most) <= 2  # one that is waited for, and the next


def test_one_model_after_the_other_and_back(tmp_path, spec):
    store = Store(str(tmp_path / "store"))
    shard = put(store, [image_record(index, truth=True) for index in range(3)])
    other = spec_of(tiny_teacher(tmp_path / "other", seed=7))
    engine = engine_on(store)
    rows = [engine.score(task_for(shard, each)).scores.rows for each in (spec, other, spec)]
    assert rows[0] == rows[2] and rows[0][0].metrics != rows[1][0].metrics


def test_other_weights_than_the_driver_found_are_refused(tmp_path, spec):
    store = Store(str(tmp_path))
    shard = put(store, [image_record(0, truth=True)])
    engine = engine_on(store)
    with pytest.raises(CheckpointError, match="the driver found"):
        engine.score(task_for(shard, replace(spec, sha256="0" * 64)))
    assert engine.score(task_for(shard, spec)).scores.rows[0].skipped is None


def test_the_first_batch_warms_up_and_is_not_counted(tmp_path, spec):
    store = Store(str(tmp_path))
    shard = put(store, [image_record(index, truth=True) for index in range(6)])
    engine = engine_on(store, batch_size=4)
    first, second = (engine.score(task_for(shard, spec)) for _ in range(2))
    assert (first.forward_images, second.forward_images) == (2, 6)
    assert 0 < first.forward_s < 60
    # Beside its rate stands that a CPU is not the network's alone.
    assert str(first.device).startswith("cpu") and "also decoding" in str(first.device)


def test_it_says_how_far_it_is_and_stops_after_a_batch(tmp_path, spec):
    store = Store(str(tmp_path))
    rows = [image_record(index, truth=True) for index in range(30)]
    rows[1] = replace(rows[1], data=b"none", sha256=sha256_hex(b"none"))
    task = task_for(put(store, rows), spec)
    advanced: list[int] = []
    engine = engine_on(store, batch_size=2)
    engine.score(task, advance=advanced.append)
    assert sum(advanced) == 30 and max(advanced) <= 2

    def stop_soon(images: int) -> None:
        advanced.append(images)
        engine.stop()

    advanced.clear()
    store.delete(task.part.key)
    with pytest.raises(StoppedError):
        engine.score(task, advance=stop_soon)
    assert 0 < sum(advanced) < 30 and not store.exists(task.part.key)


@pytest.mark.usefixtures("one_thread")
def test_pictures_show_what_was_scored(tmp_path, spec):
    store = Store(str(tmp_path))
    data = png(1, width=1100, height=600)
    record = replace(image_record(1, truth=True), data=data, sha256=sha256_hex(data))
    shard = put(store, [image_record(0, truth=True), record])
    task = task_for(shard, spec)
    engine = engine_on(store)
    images = scored_images(engine.score(task).scores.rows, shard_id=shard.shard_id)
    wanted = PictureTask(model=spec, scoring=task.scoring, shard_key=shard.key, images=(images[1],))
    (picture,) = make_pictures(engine, store, wanted).made
    assert picture.scored == images[1]
    assert picture.image_HWC.shape == (279, 512, 3)
    assert picture.truth_HW is not None and record.truth is not None
    assert picture.truth_HW.shape == picture.aligned_HW.shape == (279, 512)
    # Both are disparity in the truth's unit: a ramp of 1 to 3 metres.
    assert picture.truth_HW.max() == pytest.approx(1.0, rel=0.02)
    assert picture.truth_HW.min() == pytest.approx(1 / 3, rel=0.02)
    assert 0.3 < float(picture.aligned_HW.mean()) < 1.1


def test_a_picture_that_fails_costs_no_other(tmp_path, spec):
    store = Store(str(tmp_path / "store"))
    file = tmp_path / "it.png"
    file.write_bytes(png(0))
    gone = replace(image_record(0, truth=True), data=None, uri=str(file))
    shard = put(store, [gone, image_record(1, truth=True)])
    task = task_for(shard, spec)
    engine = engine_on(store)
    images = tuple(scored_images(engine.score(task).scores.rows, shard_id=shard.shard_id))
    wanted = PictureTask(model=spec, scoring=task.scoring, shard_key=shard.key, images=images)
    file.unlink()
    done = make_pictures(engine, store, wanted)
    assert [each.scored for each in done.made] == [images[1]]
    (why,) = done.missing
    assert why.startswith("00000.png: FileNotFoundError")
    store.delete(shard.key)
    assert make_pictures(engine, store, wanted).made == []


def test_scores_survive_the_way_through_rows():
    row = ScoreRow(
        sample_id="a",
        sha256="b",
        path="c",
        valid_pixels=3,
        scale=-2.0,
        shift=0.5,
        metrics={"depth/abs_rel": 0.25, "depth/rmse": None},
    )
    (image,) = scored_images([row], shard_id="s1")
    assert image.score.metrics == {"depth": {"abs_rel": 0.25, "rmse": None}}
    assert image.score.affine == (-2.0, 0.5)
    assert (image.path, image.shard_id, image.score.skipped) == ("c", "s1", None)
