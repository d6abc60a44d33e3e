"""What is shown small: valid truth stays to be seen, and points lie where they were asked about."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from jobs.evaluate_pictures import PictureTask, make_pictures, shrunk_truth
from jobs.evaluate_scoring import Scoring, score_of
from jobs.evaluation_result import ScoredImage
from model.protocols import protocol
from pipeline.records import PointPair
from pipeline.shards import write_image_shard
from pipeline.storage import Store
from tests.factories import image_record, png


def test_every_cell_with_a_value_shows_one_of_its_own():
    rng = np.random.default_rng(0)
    values_HW = np.where(rng.random((375, 1242)) < 0.03, rng.random((375, 1242)), np.nan)
    values_HW = values_HW.astype(np.float32)
    size = (155, 512)
    shown = shrunk_truth(values_HW, size)
    rows, columns = np.nonzero(np.isfinite(values_HW))
    cells = {
        (row * size[0] // 375, column * size[1] // 1242)
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True)
    }
    assert {tuple(cell) for cell in np.argwhere(np.isfinite(shown)).tolist()} == cells
    assert np.isin(shown[np.isfinite(shown)], values_HW).all()


@pytest.mark.parametrize("size", [(4, 6), (8, 12), (3, 2)])
def test_a_ramp_stays_a_ramp_at_any_size(size):
    ramp_HW = np.add.outer(np.arange(4.0), 10 * np.arange(6.0)).astype(np.float32)
    shown = shrunk_truth(ramp_HW, size)
    assert shown.shape == size and np.isfinite(shown).all()
    assert (np.diff(shown, axis=0) >= 0).all() and (np.diff(shown, axis=1) >= 0).all()
    if size == (4, 6):
        assert np.array_equal(shown, ramp_HW)


def test_pairs_are_marked_at_their_places_right_or_wrong_as_scored(tmp_path):
    """In an image of twice the shown size, whose prediction grows nearer from left to right."""
    height, width = 600, 1024
    rng = np.random.default_rng(3)
    ends = rng.integers(0, (height, width, height, width), (9, 4)).tolist()
    pairs = tuple(PointPair(*each, closer=1 + number % 2) for number, each in enumerate(ends))
    record = replace(image_record(5, data=png(5, width=width, height=height)), points=pairs)
    store = Store(str(tmp_path))
    shard = write_image_shard(store, [record], source="photos", code_version="1")
    slope_HW = np.repeat(np.arange(1.0, 65.0, dtype=np.float32)[None], 38, axis=0)
    geometry = "disparity_affine_invariant"
    engine = cast(Any, SimpleNamespace(predict=lambda model, record: (slope_HW, geometry)))
    scoring = Scoring(protocol=protocol("pairs@1"), upsampling="bilinear")
    score = score_of(record, slope_HW, geometry=geometry, scoring=scoring)
    scored = ScoredImage(
        sample_id=record.sample_id,
        sha256=record.sha256,
        path=record.path,
        shard_id=shard.shard_id,
        score=score,
    )
    task = PictureTask(
        model=cast(Any, None), scoring=scoring, shard_key=shard.key, images=(scored,)
    )
    (picture,) = make_pictures(engine, store, task).made
    assert picture.image_HWC.shape == (300, 512, 3)
    expected = set()
    for row1, column1, row2, column2, closer in pairs:
        near, far = ((row1, column1), (row2, column2))[:: 1 if closer == 1 else -1]
        halves = [tuple(each // 2 for each in point) for point in (near, far)]
        expected.add((*halves, near[1] > far[1]))
    found = {(pair.near, pair.far, pair.is_right) for pair in picture.pairs}
    assert found == expected and len({right for *_, right in found}) == 2
    share = sum(pair.is_right for pair in picture.pairs) / len(pairs)
    assert score.metrics["order"]["pair_accuracy"] == pytest.approx(share)
