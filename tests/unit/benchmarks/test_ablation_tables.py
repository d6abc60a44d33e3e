"""Aggregation of the ablation's scores, on numbers small enough to work out by hand."""

import math

import numpy as np
import pytest

from benchmarks.ablation_tables import (
    collected,
    complete_seeds,
    difference,
    mean_and_spread,
    table,
)


def result(stage, seed, abs_rel, delta1=None):
    scores = {"abs_rel": abs_rel, "delta1": delta1 or [0.5] * len(abs_rel)}
    return {"stage": stage, "seed": seed, "scores": {"wide": scores}}


def test_mean_over_all_and_spread_over_seeds():
    mean, spread = mean_and_spread([[0.1, 0.3], [0.2, 0.4], [0.3, 0.5]])
    assert mean == pytest.approx(0.3)
    assert spread == pytest.approx(0.1)


def test_an_image_without_a_score_is_left_out_and_one_seed_has_no_spread():
    mean, spread = mean_and_spread([[0.1, math.nan, 0.3]])
    assert mean == pytest.approx(0.2)
    assert math.isnan(spread)


def test_difference_pairs_images():
    above = np.array([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]])
    below = above + np.array([[-0.25, -0.25, 0.5], [-0.75, -0.25, 0.25]])
    found = difference(above, below, lower_is_better=True)
    per_image, per_seed = np.array([-0.5, -0.25, 0.375]), np.array([0.0, -0.25])
    assert found.mean == pytest.approx(per_image.mean())
    assert found.error == pytest.approx(
        max(per_image.std(ddof=1) / math.sqrt(3), per_seed.std(ddof=1) / math.sqrt(2))
    )
    assert found.better == pytest.approx(2 / 3)
    assert found.seeds == 1


def test_better_is_what_the_metric_says():
    above, below = [[0.5, 0.5]], [[0.6, 0.4]]
    up = difference(above, [[0.6, 0.7]], lower_is_better=False)
    assert (up.better, up.seeds) == (1.0, 1)
    assert difference(above, below, lower_is_better=False).better == 0.5


def test_an_image_that_one_row_lacks_is_compared_nowhere():
    found = difference([[1.0, math.nan, 3.0]], [[1.5, 2.0, 2.5]], lower_is_better=True)
    assert found.mean == pytest.approx(0.0)


def test_rows_of_other_images_are_refused():
    with pytest.raises(ValueError, match=r"\(1, 2\) with \(1, 3\)"):
        difference([[1.0, 2.0]], [[1.0, 2.0, 3.0]], lower_is_better=True)


def test_seeds_come_in_order_and_missing_scores_are_nan():
    results = [result("pseudo", 1, [0.3, None]), result("pseudo", 0, [0.1, 0.2])]
    scores = collected(results, "pseudo", "wide", "abs_rel")
    np.testing.assert_array_equal(scores, [[0.1, 0.2], [0.3, np.nan]])


def test_only_complete_seeds_are_in_the_table():
    results = [
        result("labelled", 0, [0.2, 0.4], [0.5, 0.5]),
        result("pseudo", 0, [0.1, 0.2], [0.75, 0.75]),
        result("labelled", 1, [9.0, 9.0]),
    ]
    assert complete_seeds(results, ["labelled", "pseudo"]) == [0]
    lines = list(table(results, "wide", stages=["labelled", "pseudo"]))
    assert lines[0] == "wide: 2 images, seeds 0"
    first, second = (line.split(" | ") for line in lines[4:6])
    assert first[:2] == ["| labelled only", "0.3000"]
    assert second[1:4] == [
        "0.1500",
        "-0.1500 ± 0.0500 (-50.0%)",
        "1 of 1 seeds, 100% of images",
    ]
    assert second[5].startswith("+0.2500")
    assert [row[-1] for row in (first, second)] == ["0.180 |", "0.179 |"]
    assert lines[-1].startswith("Last row less labelled only: AbsRel -0.1500 ± 0.0500 (-50.0%)")
