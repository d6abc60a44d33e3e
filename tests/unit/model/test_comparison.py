"""Alignments, resizing, crops and limits, through the scores that they lead to."""

import dataclasses

import cv2
import numpy as np
import pytest
import torch

from model.comparison import check_prediction
from model.evaluation import (
    aligned_disparity,
    evaluate_image,
    evaluate_pairs,
    summarise,
    valid_disparity,
)
from model.metrics import METRICS
from model.pairs import shuffled
from model.protocols import Crop, protocol

torch.set_num_threads(1)

RELATIVE = protocol("relative@1")
AFFINE_DEPTH = protocol("affine-depth@1")
MEDIAN = protocol("median-scale@1")
METRIC = protocol("metric@1")
NYU = protocol("nyu-eigen@1")
PAIRS = protocol("pairs@1")

INTERPOLATE = {
    "bilinear": {"mode": "bilinear", "align_corners": False},
    "bilinear_corners": {"mode": "bilinear", "align_corners": True},
    "bicubic": {"mode": "bicubic", "align_corners": False},
}


def scene(seed=0, size=(12, 16), holes=0.3):
    """Depth in metres."""
    rng = np.random.default_rng(seed)
    depth = rng.uniform(1, 9, size)
    depth[rng.random(size) < holes] = np.nan
    return depth


def predicted_depth(truth, seed=1):
    """Depth up to scale and shift, never near 0, dense."""
    factors = np.exp(np.random.default_rng(seed).normal(0, 0.15, truth.shape))
    return 3 * np.where(np.isfinite(truth), truth, 4.0) * factors + 2


def evaluate(prediction, truth, rules, geometry="depth_scale_invariant", **changes):
    known = {"truth_geometry": "depth_metric"} | changes
    return evaluate_image(prediction, truth, geometry=geometry, protocol=rules, **known)


def by_hand(aligned_depth, truth):
    """Every metric of the protocol in depth, at valid pixels."""
    return {name: METRICS[name](aligned_depth, truth) for name in RELATIVE.metrics}


def flat(score):
    return np.array([value for names in score.metrics.values() for value in names.values()])


def torch_resized(values, size, how):
    tensor = torch.from_numpy(values)[None, None].double()
    return torch.nn.functional.interpolate(tensor, size, **INTERPOLATE[how])[0, 0].numpy()


class TestAffineDepth:
    def test_is_least_squares_in_depth(self):
        truth = scene()
        prediction = predicted_depth(truth)
        mask = np.isfinite(truth)
        design = np.stack([prediction[mask], np.ones(mask.sum())], axis=1)
        aligned = design @ np.linalg.lstsq(design, truth[mask], rcond=None)[0]
        aligned = np.clip(aligned, truth[mask].min(), truth[mask].max())
        score = evaluate(prediction, truth, AFFINE_DEPTH)
        assert score.metrics["depth"] == pytest.approx(by_hand(aligned, truth[mask]), rel=1e-9)
        assert set(score.metrics) == {"depth"}
        # In disparity another line is the best.
        other = evaluate(prediction, truth, RELATIVE)
        assert other.metrics["depth"]["rmse"] > 1.01 * score.metrics["depth"]["rmse"]

    def test_scale_and_shift_in_depth_do_not_matter(self):
        truth = scene()
        prediction = predicted_depth(truth)
        np.testing.assert_allclose(
            flat(evaluate(0.2 * prediction + 70, truth, AFFINE_DEPTH)),
            flat(evaluate(prediction, truth, AFFINE_DEPTH)),
            rtol=1e-6,
        )

    def test_depth_that_comes_to_lie_behind_the_camera_is_clipped(self):
        truth = scene(holes=0)
        prediction = 30 + truth
        prediction[0, 2] = 0.1  # 30 m too near
        score = evaluate(prediction, truth, AFFINE_DEPTH)
        assert np.isfinite(flat(score)).all()
        shown = aligned_disparity(
            prediction, truth, geometry="depth_metric", truth_geometry="depth_metric",
            protocol=AFFINE_DEPTH,
        )  # fmt: skip
        assert shown.max() == pytest.approx(1 / truth.min())
        limited = dataclasses.replace(AFFINE_DEPTH, minimum_depth=0.5, maximum_depth=5.0)
        shown = aligned_disparity(
            prediction, truth, geometry="depth_metric", truth_geometry="depth_metric",
            protocol=limited,
        )  # fmt: skip
        assert shown.max() == pytest.approx(1 / 0.5)

    def test_is_resized_in_depth(self):
        truth = scene(size=(24, 30))
        small = predicted_depth(scene(holes=0), seed=5)
        resized = torch_resized(small, truth.shape, "bilinear")
        np.testing.assert_allclose(
            flat(evaluate(small, truth, AFFINE_DEPTH)), flat(evaluate(resized, truth, AFFINE_DEPTH))
        )


class TestMedianScale:
    def test_is_the_ratio_of_the_medians_in_depth(self):
        truth = scene()
        prediction = predicted_depth(truth)
        mask = np.isfinite(truth)
        scale = np.median(truth[mask]) / np.median(prediction[mask])
        aligned = np.minimum(scale * prediction[mask], truth[mask].max())
        score = evaluate(prediction, truth, MEDIAN)
        assert score.affine == pytest.approx((scale, 0))
        assert score.metrics["depth"] == pytest.approx(by_hand(aligned, truth[mask]), rel=1e-9)

    @pytest.mark.parametrize(
        ("predicted_m", "maximum_depth", "counts_as_m"),
        [(1.0, None, 1.0), (8.0, None, 4.0), (8.0, 10.0, 8.0), (80.0, 10.0, 10.0)],
    )
    def test_only_what_is_too_far_is_clipped(self, predicted_m, maximum_depth, counts_as_m):
        """At the cap, without one at the farthest truth; what is near stays as near as it is."""
        truth = np.full((4, 4), 4.0, np.float32)
        prediction = truth.copy()
        prediction[1, 2] = predicted_m
        rules = dataclasses.replace(MEDIAN, maximum_depth=maximum_depth)
        score = evaluate(prediction, truth, rules)
        assert score.metrics["depth"]["rmse"] == pytest.approx(abs(counts_as_m - 4) / 4)

    def test_a_factor_does_not_matter_and_a_shift_does(self):
        truth = scene()
        prediction = predicted_depth(truth)
        plain = flat(evaluate(prediction, truth, MEDIAN))
        np.testing.assert_allclose(flat(evaluate(0.03 * prediction, truth, MEDIAN)), plain)
        assert not np.allclose(flat(evaluate(prediction + 20, truth, MEDIAN)), plain, rtol=0.05)

    def test_disparity_in_metres_is_the_same_prediction(self):
        truth = scene()
        prediction = predicted_depth(truth)
        np.testing.assert_allclose(
            flat(evaluate(1 / prediction, truth, MEDIAN, "disparity_metric")),
            flat(evaluate(prediction, truth, MEDIAN)),
        )

    def test_truth_up_to_a_factor_will_do(self):
        truth = scene()
        prediction = predicted_depth(truth)
        metric = evaluate(prediction, truth, MEDIAN).metrics["depth"]
        scaled = evaluate(prediction, 90 * truth, MEDIAN, truth_geometry="depth_scale_invariant")
        assert scaled.metrics["depth"]["rmse"] is None
        assert scaled.metrics["depth"]["abs_rel"] == pytest.approx(metric["abs_rel"])

    def test_overshoot_of_bicubic_leaves_depth(self):
        """From 1 m to 1 km: cubic disparity falls below 0 beside the step."""
        step = np.full((8, 8), 1000.0)
        step[:, 4:] = 1.0
        truth = np.full((32, 32), 2.0)
        truth[:, :16] = 40.0
        assert torch_resized(1 / step, (32, 32), "bicubic").min() < 0
        score = evaluate(step, truth, MEDIAN, upsampling="bicubic")
        assert score.skipped is None
        assert np.isfinite(flat(score)).all()


@pytest.mark.parametrize("rules", [AFFINE_DEPTH, MEDIAN], ids=lambda rules: rules.name)
def test_alignment_in_depth_refuses_disparity_up_to_a_shift(rules):
    truth = scene()
    with pytest.raises(ValueError, match="aligns in depth, but the prediction"):
        evaluate(truth, truth, rules, "disparity_affine_invariant")
    with pytest.raises(ValueError, match="aligns in depth, but the truth"):
        evaluate(truth, truth, rules, truth_geometry="disparity_affine_invariant")


@pytest.mark.parametrize("rules", [AFFINE_DEPTH, MEDIAN], ids=lambda rules: rules.name)
def test_a_prediction_infinitely_far_at_a_valid_pixel_cannot_be_aligned_in_depth(rules):
    truth = scene(holes=0)
    disparity = 1 / predicted_depth(truth)
    disparity[3, 3] = 0
    assert evaluate(disparity, truth, rules, "disparity_metric").skipped == "prediction_not_finite"
    truth[3, 3] = np.nan
    assert evaluate(disparity, truth, rules, "disparity_metric").skipped is None


def test_what_a_protocol_can_score_is_known_before_any_image():
    check_prediction("disparity_affine_invariant", RELATIVE)
    check_prediction("depth_metric", METRIC)
    check_prediction("disparity_affine_invariant", PAIRS)
    for geometry, rules in (
        ("depth_scale_invariant", METRIC),
        ("disparity_affine_invariant", MEDIAN),
        ("disparity", RELATIVE),
    ):
        with pytest.raises(ValueError, match=geometry):
            check_prediction(geometry, rules)


class TestUpsampling:
    @pytest.mark.parametrize("how", INTERPOLATE)
    @pytest.mark.parametrize("size", [(24, 36), (9, 40), (7, 11)])
    def test_each_way_is_that_of_torch(self, how, size):
        truth = scene(size=size, holes=0.1)
        small = np.random.default_rng(4).uniform(1, 50, (10, 14)).astype(np.float32)
        score = evaluate(small, truth, RELATIVE, "disparity_affine_invariant", upsampling=how)
        resized = torch_resized(small, size, how)
        expected = evaluate(resized, truth, RELATIVE, "disparity_affine_invariant")
        np.testing.assert_allclose(flat(score), flat(expected), rtol=1e-9)

    @pytest.mark.parametrize("how", INTERPOLATE)
    def test_the_protocol_has_a_way_of_its_own(self, how):
        truth = scene(size=(24, 36))
        small = predicted_depth(scene(holes=0))
        rules = dataclasses.replace(RELATIVE, interpolation=how)
        np.testing.assert_array_equal(
            flat(evaluate(small, truth, rules)),
            flat(evaluate(small, truth, RELATIVE, upsampling=how)),
        )

    def test_the_three_ways_differ_and_nothing_else_is_known(self):
        truth = scene(size=(24, 36))
        small = predicted_depth(scene(holes=0))
        found = {flat(evaluate(small, truth, RELATIVE, upsampling=how))[0] for how in INTERPOLATE}
        assert len(found) == 3
        with pytest.raises(ValueError, match="upsampling must be one of"):
            evaluate(small, truth, RELATIVE, upsampling="nearest")

    def test_cubic_below_zero_is_clipped_as_the_protocol_clips(self):
        near = np.full((8, 8), 0.001)
        near[:, 4:] = 1.0
        truth = np.full((32, 32), 50.0)
        truth[:, 16:] = 1.0
        assert torch_resized(near, (32, 32), "bicubic").min() < 0
        score = evaluate(near, truth, METRIC, "disparity_metric", upsampling="bicubic")
        assert np.isfinite(flat(score)).all()
        shown = aligned_disparity(
            near, truth, geometry="disparity_metric", truth_geometry="depth_metric",
            protocol=METRIC, upsampling="bicubic",
        )  # fmt: skip
        assert shown.min() == pytest.approx(1 / 80)


class TestShownMaps:
    def test_are_what_is_scored(self):
        truth = scene()
        prediction = 1 / predicted_depth(truth, seed=3)
        known = {"geometry": "disparity_affine_invariant", "truth_geometry": "depth_metric"}
        aligned = aligned_disparity(prediction, truth, **known, protocol=RELATIVE)
        expected = valid_disparity(truth, geometry="depth_metric", protocol=RELATIVE)
        assert aligned.dtype == np.float32 and np.isfinite(aligned).all()
        np.testing.assert_array_equal(np.isfinite(expected), np.isfinite(truth))
        score = evaluate_image(prediction, truth, **known, protocol=RELATIVE)
        mask = np.isfinite(truth)
        for name in RELATIVE.metrics:
            found = METRICS[name](aligned[mask], expected[mask])
            assert found == pytest.approx(score.metrics["disparity"][name], rel=1e-4, abs=1e-6)

    def test_truth_of_unknown_scale_and_shift_is_shown_from_zero_to_one(self):
        disparity = 1 / scene() * 300 - 40
        known = {"geometry": "disparity_affine_invariant"}
        prediction = np.where(np.isfinite(disparity), disparity, 0.0)
        shown = valid_disparity(disparity, geometry="disparity_affine_invariant", protocol=RELATIVE)
        assert (np.nanmin(shown), np.nanmax(shown)) == (0, 1)
        aligned = aligned_disparity(
            prediction, disparity, **known, truth_geometry="disparity_affine_invariant",
            protocol=RELATIVE,
        )  # fmt: skip
        np.testing.assert_allclose(
            aligned[np.isfinite(shown)], shown[np.isfinite(shown)], atol=1e-6
        )

    def test_a_skipped_image_has_none(self):
        empty = np.full((5, 5), np.nan)
        known = {"geometry": "depth_metric", "truth_geometry": "depth_metric"}
        assert aligned_disparity(np.ones((5, 5)), empty, **known, protocol=RELATIVE) is None


class TestFlipped:
    def test_a_prediction_that_runs_against_the_truth_is_seen(self):
        truth = scene()
        depth = np.where(np.isfinite(truth), truth, 4.0)
        right = evaluate(1 / depth, truth, RELATIVE, "disparity_affine_invariant")
        wrong = evaluate(depth, truth, RELATIVE, "disparity_affine_invariant")
        flat_one = evaluate(np.ones_like(depth), truth, RELATIVE, "disparity_affine_invariant")
        assert wrong.affine.scale < 0 < right.affine.scale
        assert [score.is_flipped for score in (right, wrong, flat_one)] == [False, True, False]
        skipped = evaluate(depth, np.full_like(truth, np.nan), RELATIVE)
        assert [score.is_flat for score in (right, wrong, flat_one)] == [False, False, True]
        counts = summarise([right, wrong, flat_one, wrong, skipped])
        assert (counts["flipped"], counts["flat"]) == (2, 1)


class TestPairs:
    NOTED = ((0, 0, 5, 7, 1), (2, 3, 1, 1, 2), (5, 0, 0, 7, 1))

    def evaluate(self, prediction, pairs=NOTED, geometry="disparity_affine_invariant", **changes):
        known = {"sample_id": "a", "protocol": PAIRS} | changes
        return evaluate_pairs(prediction, pairs, geometry=geometry, **known)

    def test_says_how_often_the_nearer_point_is_named(self):
        disparity = np.zeros((6, 8))
        disparity[0, 0], disparity[1, 1], disparity[5, 0], disparity[0, 7] = 2, 3, 1, 4
        score = self.evaluate(disparity)
        assert score.metrics == {"order": pytest.approx({"pair_accuracy": 2 / 3, "whdr": 1 / 3})}
        assert (score.valid_pixels, score.affine) == (3, None)

    def test_depth_answers_the_other_way_round(self):
        depth = np.random.default_rng(0).uniform(1, 5, (6, 8))
        of_depth = self.evaluate(depth, geometry="depth_metric").metrics
        assert of_depth == self.evaluate(1 / depth).metrics
        wrong = self.evaluate(depth).metrics["order"]
        assert wrong["pair_accuracy"] == pytest.approx(1 - of_depth["order"]["pair_accuracy"])

    def test_a_constant_is_wrong_and_the_order_is_that_of_the_sample(self):
        assert self.evaluate(np.ones((6, 8))).metrics["order"]["pair_accuracy"] == 0
        assert shuffled(self.NOTED, sample_id="a") == shuffled(self.NOTED, sample_id="a")

    @pytest.mark.parametrize("how", INTERPOLATE)
    def test_points_are_looked_up_at_the_size_of_the_image(self, how):
        rng = np.random.default_rng(2)
        small, points = rng.random((5, 6)), rng.integers(0, 30, (40, 4))
        pairs = [(*map(int, each), 1) for each in points]
        score = self.evaluate(small, pairs, size=(30, 31), upsampling=how)
        large = torch_resized(small, (30, 31), how)
        nearer = [large[a, b] > large[c, d] for a, b, c, d, _ in pairs]
        assert score.metrics["order"]["pair_accuracy"] == pytest.approx(np.mean(nearer))

    def test_equality_belongs_to_the_protocol(self):
        disparity = np.full((6, 8), 1.0)
        disparity[0, 0] = 1.05
        [pair] = self.NOTED[:1]
        assert self.evaluate(disparity, [pair]).metrics["order"]["whdr"] == 0
        coarse = dataclasses.replace(PAIRS, equality=0.1)
        score = self.evaluate(disparity, [pair, (*pair[:4], 0)], protocol=coarse)
        assert score.metrics["order"]["whdr"] == 0.5

    def test_what_cannot_be_scored_says_why(self):
        broken = np.ones((6, 8))
        broken[0, 7] = np.nan
        assert self.evaluate(broken).skipped == "prediction_not_finite"
        assert self.evaluate(broken, self.NOTED[:2]).skipped is None
        assert self.evaluate(broken, []).skipped == "no_pairs"
        assert self.evaluate(np.ones((3, 3))).skipped == "point_outside"
        with pytest.raises(ValueError, match="scores maps"):
            self.evaluate(broken, protocol=RELATIVE)
        with pytest.raises(ValueError, match="scores pairs"):
            evaluate(broken, broken, PAIRS, "depth_metric")


def test_a_crop_of_the_native_size_is_scored_to_the_pixel():
    depth = np.full((480, 640), 3.0)
    depth[44], depth[471], depth[:, 40], depth[:, 601] = 99, 99, 99, 99  # beyond the cap, outside
    score = evaluate(depth, depth, NYU)
    assert score.valid_pixels == (471 - 45) * (601 - 41)
    depth[45, 41] = 99
    assert evaluate(depth, depth, NYU).valid_pixels == (471 - 45) * (601 - 41) - 1


def test_metrics_with_a_unit_are_open_where_the_truth_has_none():
    truth = scene()
    rules = dataclasses.replace(RELATIVE, metrics=("sq_rel", "rmse", "rmse_log"))
    score = evaluate(
        predicted_depth(truth), truth, rules, truth_geometry="depth_scale_invariant"
    ).metrics["depth"]
    assert (score["sq_rel"], score["rmse"]) == (None, None)
    assert score["rmse_log"] > 0


def test_boundaries_are_those_of_the_aligned_prediction():
    truth = np.full((20, 20), 6.0)
    truth[5:15, 5:15] = 2.0
    prediction = 900 / truth + 3000  # disparity whose shift hides every ratio
    score = evaluate(prediction, truth, protocol("boundaries@1"), "disparity_affine_invariant")
    assert score.metrics == {"depth": {"boundary_f1": pytest.approx(1)}}
    unknown = evaluate(
        prediction, 1 / truth, protocol("boundaries@1"), "disparity_affine_invariant",
        truth_geometry="disparity_affine_invariant",
    )  # fmt: skip
    assert unknown.metrics == {"depth": {"boundary_f1": None}}


@pytest.mark.parametrize("of", [None, (12, 16)])
def test_crops_given_as_shares_or_pixels_are_one_thing(of):
    crop = Crop(0.25, 0.75, 0.5, 1.0) if of is None else Crop(3, 9, 8, 16, of=of)
    assert crop.slices(12, 16) == (slice(3, 9), slice(8, 16))
    assert crop.slices(24, 48) == (slice(6, 18), slice(24, 48))


@pytest.mark.parametrize("name", ["0000000005", "0000000050"])
def test_real_kitti_as_the_loop_of_self_supervised_methods(shared_data, name):
    """monodepth2's evaluation loop, written out: mask, crop, median, clip, errors."""
    depth = cv2.imread(str(shared_data / "depth/kitti" / f"{name}_depth.png"), cv2.IMREAD_UNCHANGED)
    truth = depth.astype(np.float32) / 256
    height, width = truth.shape
    network = np.add.outer(np.linspace(0.02, 0.3, 96), 0.05 * np.sin(np.arange(320) / 40) + 0.06)
    shares = (0.40810811, 0.99189189, 0.03594771, 0.96405229)
    crop = (np.array(shares) * (height, height, width, width)).astype(np.int32)
    inside = np.zeros_like(truth, bool)
    inside[crop[0] : crop[1], crop[2] : crop[3]] = True
    mask = (truth > 1e-3) & (truth < 80) & inside
    predicted = 1 / torch_resized(network, truth.shape, "bilinear")[mask]
    gt = truth[mask].astype(np.float64)
    predicted = np.clip(predicted * np.median(gt) / np.median(predicted), 1e-3, 80)
    ratio = np.maximum(gt / predicted, predicted / gt)
    expected = {
        "abs_rel": np.mean(np.abs(gt - predicted) / gt),
        "sq_rel": np.mean((gt - predicted) ** 2 / gt),
        "rmse": np.sqrt(np.mean((gt - predicted) ** 2)),
        "rmse_log": np.sqrt(np.mean((np.log(gt) - np.log(predicted)) ** 2)),
        "delta1": np.mean(ratio < 1.25),
    }
    score = evaluate(
        network, np.where(depth > 0, truth, np.nan), protocol("kitti-median"), "disparity_metric"
    )
    assert score.valid_pixels == mask.sum() > 1000
    found = {key: score.metrics["depth"][key] for key in expected}
    assert found == pytest.approx(expected, rel=1e-6)
