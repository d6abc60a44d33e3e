import dataclasses

import cv2
import numpy as np
import pytest
import torch

from model.evaluation import evaluate_image, summarise
from model.metrics import METRICS
from model.protocols import Crop, protocol

RELATIVE = protocol("relative@1")
RATIOS = ("delta1", "delta2", "delta3", "log10", "silog")


def scene(seed=0, size=(12, 16)):
    """Depth in metres with holes."""
    rng = np.random.default_rng(seed)
    depth = rng.uniform(1, 20, size).astype(np.float32)
    depth[rng.random(size) < 0.3] = np.nan
    return depth


def prediction_for(depth, *, seed=1, noise=0.02):
    """A relative prediction: disparity up to scale and shift, with noise, dense."""
    rng = np.random.default_rng(seed)
    disparity = 1 / np.where(np.isfinite(depth), depth, 5.0)
    return (40 * (disparity + rng.normal(0, noise, depth.shape)) + 11).astype(np.float32)


def evaluate(prediction, truth, protocol=RELATIVE, **changes):
    geometries = {"geometry": "disparity_affine_invariant", "truth_geometry": "depth_metric"}
    return evaluate_image(prediction, truth, **(geometries | changes), protocol=protocol)


def flat(score):
    return np.array([value for names in score.metrics.values() for value in names.values()])


def scores_by_hand(prediction, depth, protocol=RELATIVE):
    """MiDaS's way with numpy alone: lstsq in disparity, clamp at 1/max(depth), compare."""
    mask = np.isfinite(depth)
    truth, values = 1 / depth[mask].astype(np.float64), prediction[mask].astype(np.float64)
    design = np.stack([values, np.ones_like(values)], axis=1)
    aligned = design @ np.linalg.lstsq(design, truth, rcond=None)[0]
    aligned = np.maximum(aligned, 1 / depth[mask].astype(np.float64).max())
    return {
        "disparity": {name: METRICS[name](aligned, truth) for name in protocol.metrics},
        "depth": {name: METRICS[name](1 / aligned, 1 / truth) for name in protocol.metrics},
    }


def test_scores_are_those_of_the_steps_done_by_hand():
    depth = scene()
    prediction = prediction_for(depth, noise=0.2)
    score = evaluate(prediction, depth)
    expected = scores_by_hand(prediction, depth)
    for space in ("disparity", "depth"):
        for name in RELATIVE.metrics:
            assert score.metrics[space][name] == pytest.approx(expected[space][name], rel=1e-9)
    assert score.valid_pixels == np.isfinite(depth).sum()


def test_an_affine_copy_of_the_truth_is_perfect():
    depth = scene()
    score = evaluate(prediction_for(depth, noise=0), depth)
    for space in ("disparity", "depth"):
        assert score.metrics[space]["abs_rel"] == pytest.approx(0, abs=1e-4)
        assert score.metrics[space]["delta1"] == 1
    assert score.affine.scale == pytest.approx(1 / 40, rel=1e-3)


class TestMetric:
    METRIC = protocol("metric@1")

    def test_metres_are_compared_as_they_are(self):
        depth = scene()
        depth[0, :3] = (0.0005, 90, 4)  # outside the limits, outside, inside
        predicted = np.where(np.isfinite(depth), depth, 5) * 1.5
        score = evaluate(predicted, depth, self.METRIC, geometry="depth_metric")
        valid = depth[np.isfinite(depth) & (depth >= 0.001) & (depth <= 80)]
        assert score.valid_pixels == valid.size
        assert score.metrics["depth"]["abs_rel"] == pytest.approx(0.5, rel=1e-5)
        expected = np.sqrt(np.mean((0.5 * valid.astype(np.float64)) ** 2))
        assert score.metrics["depth"]["rmse"] == pytest.approx(expected, rel=1e-5)
        assert score.affine == (1, 0)

    def test_disparity_in_metres_scores_as_its_depth(self):
        depth = scene()
        factors = np.random.default_rng(1).uniform(0.6, 1.5, depth.shape)
        predicted = np.where(np.isfinite(depth), depth, 5) * factors
        scores = [
            evaluate(values, depth, self.METRIC, geometry=geometry)
            for values, geometry in (
                (predicted, "depth_metric"), (1 / predicted, "disparity_metric")
            )
        ]  # fmt: skip
        np.testing.assert_allclose(flat(scores[0]), flat(scores[1]), rtol=1e-5)

    def test_what_has_no_unit_is_refused(self):
        depth = scene()
        with pytest.raises(ValueError, match="aligns nothing"):
            evaluate(prediction_for(depth), depth, self.METRIC)
        with pytest.raises(ValueError, match="limits in metres"):
            evaluate(
                depth,
                depth,
                self.METRIC,
                geometry="depth_metric",
                truth_geometry="depth_scale_invariant",
            )


@pytest.mark.parametrize(("scale", "shift"), [(0.001, 0), (300, 5000), (1, -40)])
def test_scale_and_shift_of_the_prediction_do_not_matter(scale, shift):
    depth = scene()
    prediction = prediction_for(depth).astype(np.float64)
    np.testing.assert_allclose(
        flat(evaluate(scale * prediction + shift, depth)),
        flat(evaluate(prediction, depth)),
        rtol=1e-6,
    )


def test_ratio_metrics_are_the_same_in_both_spaces_clipped_pixels_included():
    depth = scene()
    prediction = prediction_for(depth, noise=0.3)
    score = evaluate(prediction, depth)
    aligned = score.affine(prediction[np.isfinite(depth)])
    assert (aligned <= 0).any(), "the case must contain what clipping is for"
    for name in RATIOS:
        assert score.metrics["depth"][name] == pytest.approx(score.metrics["disparity"][name])


def test_no_predicted_depth_lies_beyond_the_farthest_truth():
    depth = np.array([[1.0, 2.0, 4.0, 8.0, 10.0]] * 4)
    prediction = (
        -1 / depth + np.arange(20).reshape(4, 5) * 1e-3
    )  # nearer means farther: all clipped
    score = evaluate(prediction, depth)
    assert np.isfinite(flat(score)).all()
    assert score.metrics["depth"]["rmse"] <= 9


def test_metric_depth_and_its_disparity_are_the_same_prediction():
    depth = scene()
    predicted = np.where(np.isfinite(depth), depth, 3.0) * 1.7 + 0.4
    of_depth = evaluate(predicted, depth, geometry="depth_metric")
    of_disparity = evaluate(1 / predicted, depth, geometry="disparity_metric")
    np.testing.assert_allclose(flat(of_depth), flat(of_disparity), rtol=1e-5)
    wrong = evaluate(predicted, depth, geometry="disparity_metric")
    assert wrong.metrics["depth"]["abs_rel"] > 2 * of_depth.metrics["depth"]["abs_rel"]


def test_truth_as_disparity_is_the_same_truth():
    depth = scene()
    prediction = prediction_for(depth)
    as_disparity = evaluate(prediction, 1 / depth, truth_geometry="disparity_metric")
    np.testing.assert_allclose(flat(as_disparity), flat(evaluate(prediction, depth)), rtol=1e-5)


def test_infinitely_far_truth_is_not_scored():
    depth = scene()
    prediction = prediction_for(depth)
    disparity = 1 / depth
    expected = evaluate(prediction, disparity, truth_geometry="disparity_metric")
    disparity[np.isnan(disparity)] = 0.0
    found = evaluate(prediction, disparity, truth_geometry="disparity_metric")
    assert found.valid_pixels == expected.valid_pixels
    np.testing.assert_array_equal(flat(found), flat(expected))


def test_truth_without_a_scale_has_no_rmse_and_the_same_ratios():
    depth = scene()
    prediction = prediction_for(depth)
    metric = evaluate(prediction, depth)
    for factor in (1.0, 0.013):
        score = evaluate(prediction, factor * depth, truth_geometry="depth_scale_invariant")
        for space in ("disparity", "depth"):
            assert score.metrics[space]["rmse"] is None
            for name in ("abs_rel", *RATIOS):
                expected = metric.metrics[space][name]
                assert score.metrics[space][name] == pytest.approx(expected, rel=1e-4)


def test_affine_invariant_truth_has_an_rmse_in_disparity_alone():
    disparity = 1 / scene()
    prediction = prediction_for(1 / disparity)
    found = []
    for scale, shift in ((1, 0), (500, -30)):
        truth = scale * disparity + shift
        score = evaluate(prediction, truth, truth_geometry="disparity_affine_invariant")
        values = {(s, n): v for s, names in score.metrics.items() for n, v in names.items()}
        found.append(values.pop(("disparity", "rmse")))
        assert set(values.values()) == {None}
    assert found[0] == pytest.approx(found[1], rel=1e-4)
    mask = np.isfinite(disparity)
    unit = (disparity - disparity[mask].min()) / np.ptp(disparity[mask])
    slope, offset = np.polyfit(prediction[mask].astype(float), unit[mask].astype(float), 1)
    residual = slope * prediction[mask] + offset - unit[mask]
    assert found[0] == pytest.approx(np.sqrt((residual**2).mean()), rel=1e-4)


def test_a_prediction_of_another_size_is_resized_like_torch_does_without_aligned_corners():
    depth = scene(size=(24, 36))
    small = cv2.resize(prediction_for(depth), (20, 14), interpolation=cv2.INTER_AREA)
    resized = torch.nn.functional.interpolate(
        torch.from_numpy(small)[None, None].double(),
        depth.shape,
        mode="bilinear",
        align_corners=False,
    )[0, 0].numpy()
    np.testing.assert_allclose(
        flat(evaluate(small, depth)), flat(evaluate(resized, depth)), rtol=1e-6
    )


def test_caps_bound_the_truth_and_the_prediction():
    capped = dataclasses.replace(RELATIVE, minimum_depth=2.0, maximum_depth=10.0)
    depth = scene()
    prediction = prediction_for(depth, noise=0.3)
    score = evaluate(prediction, depth, capped)
    inside = np.isfinite(depth) & (depth >= 2) & (depth <= 10)
    assert score.valid_pixels == inside.sum()
    truth, values = 1 / depth[inside].astype(float), prediction[inside].astype(float)
    aligned = np.clip(np.polyval(np.polyfit(values, truth, 1), values), 0.1, 0.5)
    expected = np.mean(np.abs(1 / aligned - 1 / truth) * truth)
    assert score.metrics["depth"]["abs_rel"] == pytest.approx(expected, rel=1e-6)
    with pytest.raises(ValueError, match="depth_scale_invariant"):
        evaluate(prediction, depth, capped, truth_geometry="depth_scale_invariant")


@pytest.mark.parametrize(("predicted_m", "counts_as_m"), [(0.1, 2.0), (50.0, 10.0), (5.0, 5.0)])
def test_what_is_predicted_beyond_a_limit_counts_as_the_limit(predicted_m, counts_as_m):
    limits = {"minimum_depth": 2.0, "maximum_depth": 10.0}
    capped = dataclasses.replace(protocol("metric@1"), **limits)
    truth = np.full((4, 4), 4.0, np.float32)
    score = evaluate(np.full_like(truth, predicted_m), truth, capped, geometry="depth_metric")
    assert score.metrics["depth"]["rmse"] == pytest.approx(abs(counts_as_m - 4))


def test_a_crop_leaves_the_rest_out():
    cropped = dataclasses.replace(RELATIVE, crop=Crop(0.25, 0.75, 0.5, 1.0))
    depth = scene()
    prediction = prediction_for(depth)
    cut = (slice(3, 9), slice(8, 16))
    np.testing.assert_allclose(
        flat(evaluate(prediction, depth, cropped)), flat(evaluate(prediction[cut], depth[cut]))
    )


def test_images_that_cannot_be_scored_say_why():
    depth = scene()
    prediction = prediction_for(depth)
    empty = np.full_like(depth, np.nan)
    assert evaluate(prediction, empty).skipped == "too_few_valid_pixels"
    few = empty.copy()
    few[0, :9] = 3.0
    assert evaluate(prediction, few).skipped == "too_few_valid_pixels"
    few[0, 9] = 3.0
    assert evaluate(prediction, few).skipped is None
    level = evaluate(prediction, few, truth_geometry="disparity_affine_invariant")
    assert level.skipped == "flat_truth"
    bad = prediction.copy()
    bad[np.isfinite(depth)] = np.nan
    assert evaluate(bad, depth).skipped == "prediction_not_finite"
    assert evaluate(bad, depth).metrics == {}


def test_a_prediction_that_is_not_finite_where_nobody_looks_is_scored():
    depth = scene()
    prediction = prediction_for(depth)
    expected = flat(evaluate(prediction, depth))
    prediction[~np.isfinite(depth)] = np.nan
    np.testing.assert_array_equal(flat(evaluate(prediction, depth)), expected)


def test_a_constant_prediction_is_scored_as_the_mean_disparity():
    depth = scene()
    score = evaluate(np.zeros_like(depth), depth)
    truth = 1 / depth[np.isfinite(depth)].astype(float)
    assert score.metrics["disparity"]["rmse"] == pytest.approx(truth.std(), rel=1e-6)


def test_arguments_are_left_alone():
    depth = scene()
    prediction = prediction_for(depth)
    copies = prediction.copy(), depth.copy()
    evaluate(prediction, depth)
    np.testing.assert_array_equal(prediction, copies[0])
    np.testing.assert_array_equal(depth, copies[1])


def test_the_summary_of_two_images_is_the_mean_of_two_whatever_their_sizes():
    small, large = scene(seed=1, size=(6, 6)), scene(seed=2, size=(40, 30))
    scores = [evaluate(prediction_for(depth, noise=0.1), depth) for depth in (small, large)]
    summary = summarise(iter(scores))
    assert summary["images"] == 2
    assert summary["valid_pixels"] == sum(score.valid_pixels for score in scores)
    for space in ("disparity", "depth"):
        for name in RELATIVE.metrics:
            both = [score.metrics[space][name] for score in scores]
            assert summary["metrics"][space][name] == pytest.approx(sum(both) / 2, rel=1e-12)


def test_the_summary_counts_what_was_skipped_and_does_not_average_it():
    depth = scene()
    good = evaluate(prediction_for(depth), depth)
    empty = evaluate(prediction_for(depth), np.full_like(depth, np.nan))
    summary = summarise([empty, good, empty])
    assert summary["skipped"] == {"too_few_valid_pixels": 2}
    assert summary["images"] == 1
    assert summary["metrics"] == summarise([good])["metrics"]
    assert summarise([empty]) == {
        "images": 0,
        "valid_pixels": 0,
        "skipped": {"too_few_valid_pixels": 1},
        "flipped": 0,
        "flat": 0,
        "metrics": {},
    }


def test_a_metric_no_image_has_is_none_in_the_summary():
    disparity = 1 / scene()
    score = evaluate(
        prediction_for(1 / disparity), disparity, truth_geometry="disparity_affine_invariant"
    )
    summary = summarise([score])
    assert summary["metrics"]["depth"]["abs_rel"] is None
    assert summary["metrics"]["disparity"]["rmse"] is not None
