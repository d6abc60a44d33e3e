"""Intervals and p values, held against SciPy's and against what can be counted by hand."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from model import statistics
from model.statistics import bootstrap_interval, holm, paired_difference, sign_flip_p_value


@pytest.mark.parametrize("count", [2, 5, 40, 300])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_the_interval_is_scipys_bca_of_the_same_draws(count, confidence):
    values = np.random.default_rng(count).lognormal(size=count)  # skewed, as errors are
    theirs = stats.bootstrap(
        (values,), np.mean, method="BCa", n_resamples=999, confidence_level=confidence,
        rng=np.random.default_rng(7), vectorized=True,
    ).confidence_interval  # fmt: skip
    ours = bootstrap_interval(values, confidence=confidence, resamples=999, seed=7)
    assert ours == pytest.approx((theirs.low, theirs.high), rel=1e-9)


def test_drawing_in_chunks_changes_nothing(monkeypatch):
    values = np.random.default_rng(1).normal(size=50)
    whole = paired_difference(values, values[::-1])
    monkeypatch.setattr(statistics, "CHUNK", 170)
    assert paired_difference(values, values[::-1]) == whole


def test_the_interval_of_many_normal_values_is_that_of_the_normal_distribution():
    values = np.random.default_rng(0).normal(3, 2, size=4000)
    low, high = bootstrap_interval(values, resamples=4000)
    half = 1.96 * values.std() / math.sqrt(values.size)
    assert low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    draws = np.random.default_rng(2)
    hits = 0
    for seed in range(300):
        low, high = bootstrap_interval(draws.exponential(size=40), resamples=400, seed=seed)
        hits += low <= 1.0 <= high
    assert 0.88 <= hits / 300 <= 0.98


def test_it_follows_a_change_of_unit():
    values = np.random.default_rng(3).gamma(2, size=30)
    low, high = bootstrap_interval(values)
    assert bootstrap_interval(values * 100 - 7) == pytest.approx((low * 100 - 7, high * 100 - 7))


def test_equal_values_have_no_width_and_one_value_no_interval():
    assert bootstrap_interval([0.1] * 9) == (0.1, 0.1)
    assert bootstrap_interval([0.3]) is None
    assert bootstrap_interval([]) is None


@pytest.mark.parametrize("function", [bootstrap_interval, sign_flip_p_value])
def test_what_is_not_finite_is_refused(function):
    for bad in (math.nan, math.inf):
        with pytest.raises(ValueError, match="finite"):
            function([1.0, bad])


@pytest.mark.parametrize("count", [2, 3, 8, 13])
def test_the_exact_p_value_is_scipys(count):
    differences = np.random.default_rng(count).normal(0.4, 1, size=count).round(1)
    theirs = stats.permutation_test(
        (differences, np.zeros(count)), lambda a, b, axis: np.mean(a - b, axis=axis),
        permutation_type="samples", n_resamples=np.inf, vectorized=True,
    ).pvalue  # fmt: skip
    assert sign_flip_p_value(differences) == pytest.approx(theirs)


def test_the_exact_p_value_is_the_share_of_all_patterns():
    tenths = (1, 2, -3, 6)  # which rounding makes unequal: 0.1 + 0.2 - 0.3 is not 0
    sums = [
        abs(sum(sign * each for sign, each in zip(signs, tenths, strict=True)))
        for signs in itertools.product([1, -1], repeat=4)
    ]
    assert sign_flip_p_value(np.divide(tenths, 10)) == sum(each >= 6 for each in sums) / 16
    all_positive = [0.1, 0.2, 0.3, 0.6]
    assert sign_flip_p_value(all_positive) == 2 / 16


def test_random_patterns_come_near_the_exact_p_value():
    differences = np.random.default_rng(5).normal(0.3, 1, size=13)
    exact = sign_flip_p_value(differences)
    drawn = sign_flip_p_value(differences, permutations=4000)
    assert drawn != exact
    assert drawn == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 4000))


def test_a_clear_difference_is_never_impossible_by_chance():
    assert sign_flip_p_value(np.ones(200), permutations=999) == 1 / 1000
    assert sign_flip_p_value(np.zeros(200)) == 1
    assert sign_flip_p_value([5.0]) == 1, "one image shows nothing"


def test_a_comparison_is_second_minus_first_and_turns_with_the_order():
    first, second = np.random.default_rng(6).random((2, 60))
    there, back = paired_difference(first, second), paired_difference(second, first)
    assert there.mean == pytest.approx(second.mean() - first.mean())
    assert back.mean == pytest.approx(-there.mean) and back.p_value == there.p_value
    assert there.interval.low < there.mean < there.interval.high
    assert there.images == 60


def test_a_model_against_itself():
    same = paired_difference([0.1, 0.2, 0.4], [0.1, 0.2, 0.4])
    assert (same.mean, same.interval, same.p_value) == (0, (0, 0), 1)


@pytest.mark.parametrize(("first", "second"), [([1.0], [1.0, 2.0]), ([], [])])
def test_a_comparison_needs_the_same_images(first, second):
    with pytest.raises(ValueError, match="both models"):
        paired_difference(first, second)


def test_holm_is_as_written_down():
    # Four hypotheses: times 4, 3, 2, 1 from the smallest, never below the one before.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([0.04]) == [0.04]
    assert holm([]) == []
