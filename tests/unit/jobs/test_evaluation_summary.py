"""Means, intervals and comparisons of made-up results, held against what can be worked out."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from jobs.evaluation_result import Leaks
from jobs.evaluation_summary import (
    SIGNIFICANT,
    compare_results,
    image_rows,
    summarise_result,
    summarise_results,
)
from model.evaluation import ImageScore
from tests.evaluation_factories import benchmark_result, evaluated, image, scored

ERRORS = tuple(float(each) for each in np.random.default_rng(0).uniform(0.05, 0.2, size=30))


def scaled(factor: float) -> tuple[float, ...]:
    return tuple(factor * error for error in ERRORS)


def of(comparisons, **wanted):
    found = [
        each
        for each in comparisons
        if all(getattr(each, name) == value for name, value in wanted.items())
    ]
    assert len(found) == 1
    return found[0]


def test_the_summary_has_what_the_verb_promises():
    result = benchmark_result("teacher", (0.1, None, 0.3), left_out=4)
    summary = summarise_results([result], [])
    assert summary["model"] == "teacher" and summary["model_sha256"] == result.model.sha256
    [row] = summary["results"]
    assert (row["protocol"], row["version"], row["source"]) == ("relative", 1, "kitti")
    assert (row["images"], row["skipped"]) == (2, {"too_few_valid_pixels": 1})
    assert (row["left_out"], row["valid_pixels"]) == (4, 2000)
    assert row["metrics"]["disparity"]["abs_rel"] == pytest.approx(0.2)
    assert row["rules"]["alignment"] == "affine_disparity"
    assert json.loads(json.dumps(summary, allow_nan=False))["results"][0]["images"] == 2


def test_intervals_are_scipys():
    row = summarise_result(benchmark_result(errors=ERRORS))
    theirs = stats.bootstrap((ERRORS,), np.mean, n_resamples=2000, rng=0).confidence_interval
    assert row["intervals"]["depth"]["abs_rel"] == pytest.approx([*theirs], rel=0.02)
    lone = summarise_result(benchmark_result(errors=(0.1, None)))
    assert lone["intervals"]["depth"]["abs_rel"] is None


def test_a_metric_that_the_truth_leaves_open_has_no_interval():
    unknown = ImageScore(valid_pixels=5, metrics={"depth": {"abs_rel": None, "rmse": 2.0}})
    row = summarise_result(benchmark_result(images=(image(0, unknown), image(1, unknown))))
    assert row["metrics"] == {"depth": {"abs_rel": None, "rmse": 2.0}}
    assert row["intervals"] == {"depth": {"abs_rel": None, "rmse": [2.0, 2.0]}}


def test_a_score_that_is_no_number_is_null_and_not_averaged_away():
    endless = ImageScore(valid_pixels=5, metrics={"depth": {"abs_rel": math.inf}})
    result = benchmark_result(images=(image(0, endless), image(1, scored(0.1))))
    row = summarise_result(result)
    assert row["metrics"]["depth"]["abs_rel"] is None
    assert image_rows(result)[0]["metrics"] == {"depth": {"abs_rel": None}}


def test_every_image_has_a_row_skipped_ones_too():
    rows = image_rows(benchmark_result(errors=(0.1, None)))
    assert [row["skipped"] for row in rows] == [None, "too_few_valid_pixels"]
    assert rows[0]["metrics"]["depth"]["delta1"] == pytest.approx(0.9)
    assert rows[0]["affine"] == [2.0, 0.5] and rows[1]["affine"] is None
    assert rows[0]["path"] == "scene/0000.png"


def test_means_without_the_images_that_were_trained_on():
    result = benchmark_result(errors=(0.1, 0.2, 0.6))
    ids = [each.sample_id for each in result.images]
    leaks = Leaks(checked="near", trained_on=9, exact=(ids[0],), near=(ids[1],))
    row = summarise_result(replace(result, leaks=leaks))
    assert (row["leaks"]["exact"], row["leaks"]["near"]) == (1, 1)
    assert row["without_leaks"]["images"] == 1
    assert row["without_leaks"]["metrics"]["depth"]["abs_rel"] == pytest.approx(0.6)
    assert row["images"] == 3, "the protocol's own number stays"
    clean = summarise_result(replace(result, leaks=Leaks(checked="exact", trained_on=9)))
    assert clean["without_leaks"] is None


def test_every_model_is_compared_with_the_first_of_its_benchmark():
    results = [
        benchmark_result(name, scaled(factor), source=source)
        for name, factor in (("a", 1.0), ("b", 0.5), ("c", 1.5))
        for source in ("kitti", "nyu")
    ]
    comparisons = compare_results(results)
    assert len(comparisons) == 2 * 2 * 6, "models, benchmarks, and three metrics in two spaces"
    assert {each.baseline for each in comparisons} == {"a"}
    better = of(comparisons, model="b", source="nyu", space="depth", metric="abs_rel")
    assert better.difference == pytest.approx(-0.5 * np.mean(ERRORS))
    assert better.interval.low < better.difference < better.interval.high < 0
    assert better.verdict == "better"
    shares = of(comparisons, model="b", source="nyu", space="depth", metric="delta1")
    assert shares.difference > 0 and shares.verdict == "better"
    worse = of(comparisons, model="c", source="kitti", space="depth", metric="delta1")
    assert worse.verdict == "worse"


def test_the_order_of_images_does_not_matter_and_only_common_ones_count():
    first = benchmark_result("a", (0.1, 0.2, None, 0.4))
    second = benchmark_result("b", (0.2, None, 0.3, 0.8))
    turned = replace(second, images=second.images[::-1])
    [there, *_], [here, *_] = compare_results([first, second]), compare_results([first, turned])
    assert there == here
    assert there.images == 2
    assert there.difference == pytest.approx((0.1 + 0.4) / 2)


def test_models_without_a_common_image_are_not_compared():
    assert (
        compare_results([benchmark_result("a", (0.1, None)), benchmark_result("b", (None, 0.1))])
        == []
    )
    assert compare_results([benchmark_result("a")]) == []
    assert compare_results([]) == []


def test_p_values_are_corrected_within_a_metric():
    rng = np.random.default_rng(1)
    results = [
        benchmark_result(name, tuple(np.asarray(ERRORS) + rng.normal(shift, 0.02, size=30)))
        for name, shift in (("a", 0), ("b", 0.008), ("c", 0.012), ("d", 0.0))
    ]
    family = [
        each
        for each in compare_results(results)
        if (each.space, each.metric) == ("depth", "abs_rel")
    ]
    ranked = sorted(family, key=lambda each: each.p_value)
    for rank, each in enumerate(ranked):
        assert each.p_holm >= min(1, (3 - rank) * each.p_value)
        assert (each.verdict == "open") == (each.p_holm >= SIGNIFICANT)
    assert ranked[0].p_holm == pytest.approx(3 * ranked[0].p_value)


def test_a_model_that_was_asked_for_twice_stands_once_among_the_models():
    results = [benchmark_result("a", source="kitti"), benchmark_result("a", source="nyu")]
    assert summarise_results(results, [])["models"] == [
        {
            **{"name": "a", "sha256": evaluated("a").sha256, "family": "depth_anything"},
            **{"geometry": "disparity_affine_invariant", "parameters": 24_800_000, "side": 518},
            **{"precision": "fp32", "licence": "Apache-2.0"},
        }
    ]


def test_nothing_at_all_is_a_summary_too():
    assert summarise_results([], [])["model"] is None
