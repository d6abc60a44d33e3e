"""A forecast beside its simulation: where nothing goes wrong the two say the same."""

from dataclasses import replace

import pytest

from jobs.errors import ConfigError
from jobs.forecast import Forecast, Host, Work
from jobs.gpu_kinds import Span
from jobs.plan_simulation import SCENARIOS, simulated_runs
from tests.plan_factories import NETWORK_S, PROBE

ONE = Forecast(PROBE, Host(7, on_gpu=True), NETWORK_S, start_s=40.0)
WORK = Work(2_000_000, 2_000)


def test_a_calm_cluster_takes_what_was_forecast():
    for devices in (1, 8, 64):
        calm, _, _ = simulated_runs(ONE, WORK, [devices])
        expected = ONE.on_devices(devices, WORK)
        # shards differ in length there: the last device ends up to a shard or two later
        spare_h = 3 * WORK.shard_images * ONE.each_s.middle / 3600
        assert calm["hours"] == pytest.approx(expected["hours"], abs=spare_h, rel=0.02)
        assert calm["wasted"] == 0
        assert calm["shards_failed"] == 0


def test_what_goes_wrong_costs_time_and_a_price_follows_from_the_hours():
    slow = replace(ONE, network_s=Span(0.5, 0.5, 0.5))  # long enough for something to happen
    rows = simulated_runs(slow, WORK, [8], per_gpu_hour=(2.5, 1.5))
    assert [row["scenario"] for row in rows] == list(SCENARIOS)
    calm, failures, spot = rows
    assert calm["hours"] < failures["hours"]
    assert spot["hours"] > calm["hours"]
    for row in rows:
        assert row["cost_low"] == pytest.approx(1.5 * row["gpu_hours"])
        assert row["cost_high"] == pytest.approx(2.5 * row["gpu_hours"])
        assert 0 <= row["wasted"] + row["idle"] < 1


def test_a_slow_device_with_large_shards_is_not_taken_for_one_that_hangs():
    """An hour's limit for a shard is what `label` has unless told otherwise; this one takes two."""
    slow = replace(ONE, network_s=Span(7.2, 7.2, 7.2))
    calm, *_ = simulated_runs(slow, Work(10_000, 10), [2])
    assert calm["hours"] == pytest.approx(10, rel=0.3)
    assert calm["shards_failed"] == 0


@pytest.mark.parametrize(("devices", "shards"), [(1_000_000, 1), (1, 10**18)])
def test_what_would_take_hours_is_refused_at_once(devices, shards):
    with pytest.raises(ConfigError, match="at most 4,096 devices and 1,000,000 shards"):
        simulated_runs(ONE, Work(shards, shards), [8, devices])


def test_nothing_to_do_is_not_simulated():
    assert simulated_runs(ONE, Work(0, 0), [1, 8]) == []
