"""What a picture of an error says is the error."""

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from jobs.colour import TOO_FAR, TOO_NEAR, UNKNOWN
from jobs.evaluation_figures import error_limit, error_of, figure
from model.evaluation import ImageScore
from tests.evaluation_factories import benchmark_result, picture


def pixels(shown) -> np.ndarray:
    data = base64.b64decode(shown.source.partition("base64,")[2])
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


def test_errors_are_signed_shares_of_the_truth():
    truth = np.array([[1.0, 2.0, 0.0, np.nan, -1.0]])
    found = error_of(np.full((1, 5), 1.5), truth, relative=True)
    np.testing.assert_allclose(found, [[0.5, -0.25, np.nan, np.nan, np.nan]])
    found = error_of(np.full((1, 5), 1.5), truth, relative=False)
    np.testing.assert_allclose(found, [[0.5, -0.5, 1.5, np.nan, 2.5]])


@pytest.mark.parametrize(
    ("error", "limit"), [(0.03, 0.05), (0.18, 0.2), (0.7, 1.0), (0.0, 0.01), (7.0, 1.0)]
)
def test_the_scale_is_the_next_round_number(error, limit):
    assert error_limit(np.full((9, 9), -error)) == pytest.approx(limit)


def test_a_few_wild_pixels_and_unknown_ones_do_not_set_the_scale():
    errors = np.full(100, 0.04)
    errors[:3] = 1e6
    errors[3:9] = np.nan
    assert error_limit(errors) == pytest.approx(0.05)
    assert error_limit(np.array([np.nan])) == 1.0


def shown(truth, aligned, **score):
    result = benchmark_result()
    one = picture(result.images[0])
    scored = replace(one.scored, score=replace(one.scored.score, **score)) if score else one.scored
    made = replace(
        one,
        scored=scored,
        image_HWC=np.zeros((*aligned.shape, 3), np.uint8),
        truth_HW=truth,
        aligned_HW=aligned,
    )
    return figure(made, result)


def test_too_near_is_red_too_far_is_blue_and_unknown_is_grey():
    truth = np.full((64, 96), 1.0, np.float32)
    aligned = truth.copy()
    aligned[:, :32], aligned[:, 64:] = 1.5, 0.5
    truth[:16] = np.nan
    made = shown(truth, aligned)
    assert [each.label for each in made.pictures] == [
        "image", "truth", "prediction, aligned", "error, ±50%",
    ]  # fmt: skip
    error = pixels(made.pictures[3])
    for column, colour in ((12, TOO_NEAR), (48, (255, 255, 255)), (84, TOO_FAR)):
        assert np.abs(error[40, column] - colour).max() < 12
        assert np.abs(error[4, column] - UNKNOWN).max() < 12


def test_truth_and_prediction_have_the_same_colours():
    truth = np.linspace(1, 2, 64 * 64, dtype=np.float32).reshape(64, 64)
    made = shown(truth, truth + 0.5)
    seen, predicted = (pixels(each) for each in made.pictures[1:3])
    assert np.abs(seen[60] - predicted[28]).max() < 15, "both are 1.95 there"


def test_truth_with_an_unknown_zero_has_errors_of_its_range():
    truth = np.linspace(0, 1, 64 * 64, dtype=np.float32).reshape(64, 64)
    metrics = {"disparity": {"abs_rel": None, "rmse": 0.1}}
    made = shown(truth, truth + 0.1, metrics=metrics)
    assert made.pictures[3].label == "error, ±10% of the range"


def test_pairs_have_no_map_to_be_held_against():
    made = shown(None, np.random.default_rng(0).random((32, 48)).astype(np.float32))
    assert [each.label for each in made.pictures] == ["image", "prediction"]


def test_truth_without_a_pixel_is_shown_as_none():
    empty = np.full((8, 8), np.nan, np.float32)
    assert len(shown(empty, np.ones((8, 8), np.float32)).pictures) == 2


def test_the_scores_stand_below():
    made = figure(picture(benchmark_result().images[1]), benchmark_result())
    assert made.title == "scene/0001.png"
    assert made.facts.startswith("disparity abs_rel 0.2000 · disparity delta1 0.8000")
    assert made.facts.endswith("scale 2, shift 0.5")
    assert shown(None, np.ones((4, 4), np.float32), metrics={}).facts.startswith("scale")


def test_a_score_without_anything_is_no_reason_to_fail():
    result = benchmark_result()
    bare = replace(picture(result.images[0]).scored, score=ImageScore(skipped="x"))
    assert figure(replace(picture(result.images[0]), scored=bare), result).facts == ""
