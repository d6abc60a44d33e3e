import math

import numpy as np
import pytest

from model import metrics
from model.boundaries import boundary_f1
from model.metrics import HIGHER_IS_BETTER, METRICS
from model.pairs import PAIR_METRICS

# Worked by hand: ratios p/t are 2, 1 and 1/2.
PREDICTION = [2.0, 4.0, 4.0]
TRUTH = [1.0, 4.0, 8.0]
LN2 = math.log(2)

BY_HAND = {
    "abs_rel": (1 + 0 + 0.5) / 3,
    "sq_rel": (1 / 1 + 0 + 16 / 8) / 3,
    "rmse": math.sqrt((1 + 0 + 16) / 3),
    "rmse_log": math.sqrt(2 * LN2**2 / 3),
    "log10": 2 * math.log10(2) / 3,
    "silog": 100 * math.sqrt(2 * LN2**2 / 3),  # the mean of ln 2, 0, −ln 2 is 0
    "delta1": 1 / 3,
    "delta2": 1 / 3,
    "delta3": 1 / 3,
}


def random_pair(seed=0, size=(6, 8)):
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0.5, 20, size)
    return truth * np.exp(rng.normal(0, 0.3, size)), truth


@pytest.mark.parametrize("name", METRICS)
def test_values_worked_by_hand(name):
    assert METRICS[name](PREDICTION, TRUTH) == pytest.approx(BY_HAND[name], rel=1e-12)


@pytest.mark.parametrize("name", METRICS)
def test_a_perfect_prediction_has_the_best_score(name):
    _, truth = random_pair()
    assert METRICS[name](truth, truth) == (1.0 if name.startswith("delta") else 0.0)


def test_silog_is_the_formula_with_lambda_one_and_not_one_half():
    prediction, truth = random_pair()
    error = np.log(prediction / truth) + 0.2
    with_one = 100 * math.sqrt((error**2).mean() - error.mean() ** 2)
    with_half = 100 * math.sqrt((error**2).mean() - 0.5 * error.mean() ** 2)
    found = metrics.silog(truth * np.exp(error), truth)
    assert found == pytest.approx(with_one, rel=1e-9)
    assert found != pytest.approx(with_half, rel=1e-3)


def test_silog_ignores_a_common_factor_and_rmse_log_does_not():
    prediction, truth = random_pair()
    assert metrics.silog(3 * prediction, truth) == pytest.approx(metrics.silog(prediction, truth))
    assert metrics.rmse_log(3 * prediction, truth) > metrics.rmse_log(prediction, truth)


@pytest.mark.parametrize("name", sorted(metrics.SYMMETRIC & METRICS.keys()))
def test_ratio_metrics_are_the_same_in_disparity(name):
    assert metrics.SYMMETRIC & METRICS.keys() == METRICS.keys() - {"abs_rel", "sq_rel", "rmse"}
    prediction, truth = random_pair()
    assert METRICS[name](1 / prediction, 1 / truth) == pytest.approx(
        METRICS[name](prediction, truth)
    )


@pytest.mark.parametrize("name", METRICS)
def test_a_common_change_of_unit_matters_only_to_metrics_with_a_unit(name):
    prediction, truth = random_pair()
    unit = {"rmse": 1000.0, "sq_rel": 1000.0}.get(name, 1.0)
    changed = METRICS[name](1000 * prediction, 1000 * truth)
    assert changed == pytest.approx(unit * METRICS[name](prediction, truth))


def test_delta_thresholds_are_powers_of_five_quarters_and_strict():
    for power, metric in enumerate((metrics.delta1, metrics.delta2, metrics.delta3), start=1):
        edge = 1.25**power
        assert metric([edge, edge * 0.999, 1 / (edge * 0.999), edge * 1.001], [1.0] * 4) == 0.5


@pytest.mark.parametrize("name", METRICS)
def test_what_cannot_be_scored_is_an_error(name):
    metric = METRICS[name]
    with pytest.raises(ValueError, match="at least one"):
        metric([], [])
    with pytest.raises(ValueError, match=r"\(2,\).*\(1,\)"):
        metric([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="finite"):
        metric([1.0, np.nan], [1.0, 1.0])
    if name != "rmse":
        with pytest.raises(ValueError, match="above 0"):
            metric([-1.0], [-1.0])


def test_half_precision_input_is_computed_in_float64():
    prediction = np.full(100_000, 300, np.float16)
    assert metrics.rmse(prediction, np.full(100_000, 1, np.float16)) == 299.0


def test_where_better_is_follows_from_what_a_perfect_prediction_has():
    _, truth = random_pair()
    off = truth * np.where(np.arange(8) < 4, 3.0, 1.0)
    cliff = np.where(np.arange(8) < 4, 1.0, 2.0) * np.ones((6, 1))
    better = {name for name, metric in METRICS.items() if metric(truth, truth) > metric(off, truth)}
    better |= {name for name, metric in PAIR_METRICS.items() if metric([1], [1]) > metric([2], [1])}
    if boundary_f1(cliff, cliff) > boundary_f1(np.ones_like(cliff), cliff):
        better.add("boundary_f1")
    assert better == HIGHER_IS_BETTER
