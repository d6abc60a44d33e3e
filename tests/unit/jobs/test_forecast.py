"""The arithmetic of a forecast, against figures worked out by hand."""

from dataclasses import replace

import pytest

from jobs.forecast import Host, Probe, Work, costs, forecast, on_devices

PROBE = Probe(
    images=64,
    refused=1,
    sizes=3,
    batch_size=8,
    forward_s=0.01,
    forward_low_s=0.008,
    forward_high_s=0.02,
    host_s=0.03,
    image_bytes=200_000.0,
    label_bytes=150_000.0,
    shard_bytes=4_000,
)
WORK = Work(images=3_600_000, shards=3_600)
GPU = Host(threads=6, on_gpu=True)


def test_a_gpu_with_enough_threads_is_as_fast_as_its_network() -> None:
    one = forecast(PROBE, WORK, GPU)
    assert one["images_per_s"] == pytest.approx(100)
    assert (one["images_per_s_low"], one["images_per_s_high"]) == pytest.approx((50, 125))
    assert one["device_hours"] == pytest.approx(10)
    assert one["threads_needed"] == pytest.approx(3)
    assert one["read_mb_per_s"] == pytest.approx(20)
    assert one["limited_by"] == "network"
    assert one["bytes_per_label"] == 150_000
    assert one["bytes"] == 3_600_000 * 150_000 + 3_600 * 4_000


def test_too_few_threads_decide_the_rate() -> None:
    one = forecast(PROBE, WORK, Host(threads=2, on_gpu=True))
    assert one["limited_by"] == "threads"
    assert one["images_per_s"] == pytest.approx(2 / 0.03)
    assert one["images_per_s_high"] == pytest.approx(2 / 0.03), "the network is not what is slow"
    assert one["threads_needed"] == pytest.approx(3)


def test_on_a_cpu_decoding_takes_from_the_network() -> None:
    one = forecast(PROBE, WORK, Host(threads=2, on_gpu=False))
    assert one["images_per_s"] == pytest.approx(1 / (0.01 + 0.03 / 2))
    assert one["limited_by"] == "network"


def test_devices_share_the_hours_and_not_the_cost() -> None:
    one = forecast(PROBE, WORK, GPU)
    eight = on_devices(one, 8, WORK)
    assert eight["hours"] == pytest.approx(10 / 8)
    assert (eight["hours_low"], eight["hours_high"]) == pytest.approx((1, 2.5))
    assert eight["time"] == "1 h 15 min"
    assert eight["images_per_s"] == pytest.approx(800)
    assert eight["read_mb_per_s"] == pytest.approx(160)


def test_more_devices_than_shards_do_not_help() -> None:
    work = replace(WORK, shards=4)
    one = forecast(PROBE, work, GPU)
    assert on_devices(one, 64, work)["hours"] == on_devices(one, 4, work)["hours"]


def test_nothing_to_do_takes_nothing() -> None:
    nothing = Work(0, 0)
    one = forecast(PROBE, nothing, GPU)
    assert (one["device_hours"], one["bytes"]) == (0, 0)
    assert on_devices(one, 8, nothing)["hours"] == 0


def test_costs_are_hours_and_gigabytes_times_their_price() -> None:
    one = forecast(PROBE, WORK, GPU)
    assert costs(one, per_gpu_hour=None, per_gb_month=None) == {}
    assert costs(one, per_gpu_hour=3.5, per_gb_month=0.02) == {
        "cost": pytest.approx(35),
        "cost_per_month": pytest.approx(540.0144 * 0.02),
    }
