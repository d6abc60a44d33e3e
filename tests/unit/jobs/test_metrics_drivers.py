"""What a label driver tells of each shard, turn and end; on no clock but the test's."""

import math
from collections.abc import Mapping
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import pytest

from jobs.metrics import METRICS, Metric
from jobs.metrics_drivers import TELL_INTERVAL_S, LabelMetrics
from pipeline.leases import WorkLease
from pipeline.records import LabelManifest, ShardRef
from tests.catalog_factories import sha256


class Port:
    """What a metrics port would say: counters added up, gauges as they are."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, ...], float] = {}

    def record(self, metric: Metric, value: float, tags: Mapping[str, str]) -> None:
        key = (metric.name, *tags.values())
        if metric.kind == "counter":
            self.values[key] = self.values.get(key, 0.0) + value
        elif math.isnan(value):
            self.values.pop(key, None)
        else:
            self.values[key] = value

    def __getitem__(self, key: tuple[str, ...]) -> float:
        return self.values[key]


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def lease(number: int) -> WorkLease:
    key = f"images/{number}"
    shard = ShardRef("photos", f"s{number}", key, 10, 1000, sha256(key))
    return WorkLease("set", shard, "me", 1, 0)


def manifest(number: int, **quarantined: int) -> LabelManifest:
    return LabelManifest(
        "set",
        f"s{number}",
        f"labels/{number}",
        sha256("x"),
        500,
        10,
        10 - sum(quarantined.values()),
        quarantined=quarantined,
        forward_s=2.0,
        stages={"read": 0.5, "decode": 1.5},
    )


def standing(**left: int) -> Any:
    return SimpleNamespace(
        images_left=lambda: left, shards=lambda: {("photos", "pending"): 3, ("photos", "done"): 1}
    )


def pool(ready: int = 1, starting: int = 0, lost: int = 0) -> Any:
    return SimpleNamespace(ready_actors=ready, starting_actors=starting, lost_actors=lost)


def test_a_committed_shard_is_counted_by_source_reason_actor_and_stage() -> None:
    port = Port()
    metrics = LabelMetrics("set", sink=port)
    for number, reasons in ((1, {}), (2, {"dark": 3})):
        metrics.committed(lease(number), manifest(number, **reasons), actor="a", seconds=0.25)
    metrics.committed(lease(3), manifest(3), actor=None, seconds=0.5)
    assert port["factory_labelled_images_total", "set", "photos"] == 27
    assert port["factory_quarantined_images_total", "set", "photos", "dark"] == 3
    assert port["factory_actor_images_total", "set", "a"] == 20
    assert port["factory_actor_images_total", "set", "unknown"] == 10
    stages = {
        key[2]: v for key, v in port.values.items() if key[0] == "factory_stage_seconds_total"
    }
    assert stages == {"read": 1.5, "decode": 4.5, "forward": 6.0}


def test_the_oldest_shard_under_way_has_the_age() -> None:
    port, clock = Port(), Clock()
    metrics = LabelMetrics("set", sink=port, clock=clock)

    def age() -> float:
        metrics.turn(pool(), standing(), 0.0, now=True)
        return port["factory_lease_age_seconds", "set"]

    assert age() == 0.0
    metrics.began("first")
    clock.now += 7
    metrics.began("second")
    clock.now += 1
    assert age() == 8.0
    metrics.ended("first")
    assert age() == 1.0
    metrics.ended("second")
    assert age() == 0.0


def test_turns_tell_now_and_then_and_what_grew_meanwhile_is_counted_once() -> None:
    port, clock = Port(), Clock()
    metrics = LabelMetrics("set", sink=port, clock=clock)
    metrics.turn(pool(0, 2), standing(photos=40), 0.0)
    assert port["factory_actors", "label", "set", "starting"] == 2
    metrics.turn(pool(2, 0, 1), standing(photos=30), 4.0)
    assert port["factory_images_left", "set", "photos"] == 40, "a moment later nothing is told"
    clock.now += TELL_INTERVAL_S
    metrics.turn(pool(2, 0, 1), standing(photos=20), 10.0)
    metrics.turn(pool(2, 0, 1), standing(photos=10), 12.0, now=True)
    assert port["factory_images_left", "set", "photos"] == 10
    assert port["factory_shards", "set", "photos", "pending"] == 3
    assert port["factory_actors", "label", "set", "ready"] == 2
    assert port["factory_actors_lost_total", "label", "set"] == 1
    assert port["factory_actor_seconds_total", "set"] == 12.0


def test_what_went_wrong_is_counted() -> None:
    port = Port()
    metrics = LabelMetrics("set", sink=port)
    metrics.charged(lease(1))
    metrics.lost_lease()
    assert port["factory_failed_attempts_total", "set", "photos"] == 1
    assert port["factory_lost_leases_total", "set"] == 1


def test_the_end_leaves_counters_alone() -> None:
    port = Port()
    metrics = LabelMetrics("set", sink=port)
    metrics.committed(lease(1), manifest(1), actor="a", seconds=0.1)
    metrics.turn(pool(), standing(photos=4), 1.0)
    metrics.close()
    gauges = {metric.name for metric in METRICS if metric.kind == "gauge"}
    left = {name for name, *_ in port.values}
    assert "factory_labelled_images_total" in left
    assert left & gauges == {"factory_driver_end_timestamp_seconds"}


def test_an_end_by_an_error_is_not_told_as_one_in_order() -> None:
    port = Port()
    metrics = LabelMetrics("set", sink=port)
    with pytest.raises(KeyError), closing(metrics):
        raise KeyError
    assert port.values == {}
    with pytest.raises(KeyboardInterrupt), closing(metrics):
        raise KeyboardInterrupt
    assert set(port.values) == {("factory_driver_end_timestamp_seconds", "label", "set")}
