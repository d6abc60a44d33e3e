"""The arithmetic of a forecast, against figures worked out by hand."""

from dataclasses import replace

import pytest

from jobs.forecast import Forecast, Host, Work
from tests.plan_factories import NETWORK_S, PROBE

WORK = Work(images=3_600_000, shards=3_600)
GPU = Host(threads=6, on_gpu=True)
ONE = Forecast(PROBE, GPU, NETWORK_S)


def test_a_gpu_with_enough_threads_is_as_fast_as_its_network():
    rates = ONE.rates(WORK)
    assert rates["images_per_s"] == pytest.approx(100)
    assert (rates["images_per_s_low"], rates["images_per_s_high"]) == pytest.approx((50, 125))
    assert rates["device_hours"] == pytest.approx(10)
    assert (rates["device_hours_low"], rates["device_hours_high"]) == pytest.approx((8, 20))
    assert rates["threads_needed"] == pytest.approx(3)
    assert rates["limited_by"] == "network"
    assert rates["bytes_per_label"] == 150_000
    assert rates["bytes"] == 3_600_000 * 150_000 + 3_600 * 4_000
    assert rates["bytes_to_read"] == 3_600_000 * 200_000


@pytest.mark.parametrize(
    ("probe", "threads", "stage", "rate"),
    [
        (PROBE, 2, "threads", 2 / 0.03),
        (replace(PROBE, read_s=0.05), 6, "read", 2 / 0.05),
        (replace(PROBE, write_s=0.04), 6, "write", 2 / 0.04),
    ],
    ids=["too few threads", "a slow store to read from", "a slow store to write to"],
)
def test_what_is_slowest_decides_the_rate(probe, threads, stage, rate):
    one = Forecast(probe, Host(threads, on_gpu=True), NETWORK_S)
    rates = one.rates(WORK)
    assert rates["limited_by"] == stage
    assert rates["images_per_s"] == pytest.approx(rate)
    assert rates["images_per_s_high"] == pytest.approx(rate), "the network is not what is slow"
    assert rates["threads_needed"] == pytest.approx(3)
    alone = {row["stage"]: row["images_per_s"] for row in one.stages()}
    if stage in alone:
        assert alone[stage] == pytest.approx(rate)


CPU = Host(threads=2, on_gpu=False)


def test_on_a_cpu_all_stages_share_the_cores():
    rates = Forecast(PROBE, CPU, NETWORK_S).rates(WORK)
    host_s = 0.018 + 0.012 + 0.001
    assert rates["images_per_s"] == pytest.approx(1 / (0.01 + host_s / 2))
    assert rates["limited_by"] == "network"


def test_a_cpu_computes_while_it_waits_for_the_store():
    before = Forecast(PROBE, CPU, NETWORK_S).rates(WORK)
    waiting = Forecast(replace(PROBE, read_s=0.05), CPU, NETWORK_S).rates(WORK)
    assert waiting["images_per_s"] == before["images_per_s"], "25 ms of 25.5: two shards at a time"
    slow = Forecast(replace(PROBE, read_s=0.2), CPU, NETWORK_S).rates(WORK)
    assert slow["images_per_s"] == pytest.approx(2 / 0.2)
    assert slow["limited_by"] == "read"


def test_each_stage_alone():
    stages = {row["stage"]: row for row in ONE.stages()}
    assert list(stages) == ["read", "decode", "network", "encode", "write"]
    assert stages["decode"]["images_per_s"] == pytest.approx(6 / 0.018)
    assert stages["decode"]["threads_needed"] == pytest.approx(1.8)
    assert stages["read"]["images_per_s"] == pytest.approx(2 / 0.002), "two shards at a time"
    assert stages["read"]["mb_per_s"] == pytest.approx(20)
    assert stages["write"]["mb_per_s"] == pytest.approx(15)
    assert stages["network"]["threads"] is None


def test_devices_share_the_time():
    eight = ONE.on_devices(8, WORK)
    last_shard_s = 1000 * 0.001  # its writing, which nothing else hides
    assert eight["hours"] == pytest.approx(10 / 8 + last_shard_s / 3600)
    assert (eight["hours_low"], eight["hours_high"]) == pytest.approx((1, 2.5), rel=1e-3)
    assert eight["time"] == "1 h 15 min"
    assert eight["images_per_s"] == pytest.approx(800)
    assert eight["read_mb_per_s"] == pytest.approx(160)
    assert eight["write_mb_per_s"] == pytest.approx(120)
    assert eight["at_work"] == pytest.approx(1, rel=1e-3)


def test_all_devices_are_paid_for_until_the_end():
    row = ONE.on_devices(8, WORK, per_gpu_hour=(2.5, 1.5))
    assert row["gpu_hours"] == pytest.approx(8 * row["hours"])
    assert row["cost_low"] == pytest.approx(1.5 * 8 * row["hours_low"])
    assert row["cost_high"] == pytest.approx(2.5 * 8 * row["hours_high"])
    same = ONE.on_devices(8, WORK, per_gpu_hour=(2.0,))
    assert same["cost_high"] / same["cost_low"] == pytest.approx(
        row["hours_high"] / row["hours_low"]
    )
    assert "cost_low" not in ONE.on_devices(8, WORK)


def test_the_start_is_waited_for_once():
    slow = replace(ONE, start_s=600.0)
    assert slow.wall_s(8, WORK) - ONE.wall_s(8, WORK) == pytest.approx(600)


def test_shards_are_not_shared_at_the_end():
    """Ten shards of 1,000 images at 100 a second: the fourth round has one shard for 3 devices."""
    work = Work(10_000, 10)
    row = ONE.on_devices(3, work)
    assert 3600 * row["hours"] == pytest.approx(4 * 10 + 1)
    assert row["at_work"] == pytest.approx(100 / (3 * 41))
    assert 3600 * ONE.on_devices(1, work)["hours"] == pytest.approx(10 * 10 + 1)


def test_more_devices_than_shards_cost_and_do_not_help():
    few = Work(4_000, 4)
    four, many = (ONE.on_devices(count, few) for count in (4, 64))
    assert many["hours"] == four["hours"]
    assert many["images_per_s"] == four["images_per_s"]
    assert many["gpu_hours"] == pytest.approx(16 * four["gpu_hours"])


def test_nothing_to_do_takes_nothing():
    nothing = Work(0, 0)
    one = replace(ONE, start_s=60.0)
    rates = one.rates(nothing)
    assert (rates["device_hours"], rates["bytes"]) == (0, 0)
    row = one.on_devices(8, nothing, per_gpu_hour=(1.0,))
    assert (row["hours"], row["cost_high"], row["at_work"]) == (0, 0, None)
