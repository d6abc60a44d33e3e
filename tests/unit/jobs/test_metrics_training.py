"""What a run's log makes of steps, checkpoints and ends."""

import math
from collections.abc import Mapping
from typing import Any

import pytest

from jobs.metrics import Metric
from jobs.metrics_drivers import TELL_INTERVAL_S
from jobs.metrics_training import RayMetrics
from jobs.models import ModelLocation
from jobs.training_job import TrainingJob
from model.recipes import V1, override
from pipeline.storage import Store
from pipeline.training_input import TrainingShard


class Port:
    """What a metrics port would say, by name and the last tag."""

    def __init__(self) -> None:
        self.counts: dict[tuple[str, str], float] = {}
        self.gauges: dict[tuple[str, str], float] = {}

    def record(self, metric: Metric, value: float, tags: Mapping[str, str]) -> None:
        key = (metric.name.removeprefix("factory_training_"), list(tags.values())[-1])
        if metric.kind == "counter":
            self.counts[key] = self.counts.get(key, 0.0) + value
        elif math.isnan(value):
            del self.gauges[key]
        else:
            self.gauges[key] = value


@pytest.fixture
def port() -> Port:
    return Port()


def follow(port: Port, *, workers: int = 1, **changes: Any) -> tuple[RayMetrics, list[float]]:
    """The log of a run, and the clock it goes by."""
    settings: dict[str, Any] = {
        "run_id": "student-1",
        "name": "m",
        "store": Store("memory://nothing"),
        "encoder": ModelLocation("plain", "scratch:tiny"),
        "recipe": override(V1, batch_size=6),
        "labelled": (TrainingShard("a", 10),),
        "pseudo": (),
        "steps": 100,
        "images_per_pass": 6,
        "seed": 0,
        "precision": "fp32",
        "checkpoint_steps": 3,
        "threads": 1,
        **changes,
    }
    clock = [0.0]
    return RayMetrics(TrainingJob(**settings), workers, port, lambda: clock[0]), clock


def step(loss: float, **more: float) -> dict[str, float]:
    return {"loss": loss, "step_s": 1.0, "learning_rate_encoder": 1e-5, **more}


def test_a_step_is_told_at_once_and_then_means_of_some_seconds(port: Port) -> None:
    log, clock = follow(port)
    log.log(1, step(4.0, labelled=3.0, gradient_norm=9.0))
    assert port.gauges["loss", "total"] == 4.0
    assert port.gauges["loss", "labelled"] == 3.0
    assert port.gauges["step", "m"] == 1
    assert port.gauges["steps", "m"] == 100
    assert port.gauges["learning_rate", "encoder"] == 1e-5
    log.log(2, step(2.0))
    assert port.gauges["loss", "total"] == 4.0
    clock[0] += TELL_INTERVAL_S
    log.log(3, step(1.0, feature=0.5))
    assert port.gauges["loss", "total"] == 1.5
    assert port.gauges["loss", "feature"] == 0.5, "a term that begins later"
    assert port.gauges["step", "m"] == 3
    assert {term for name, term in port.gauges if name == "loss"} == {
        "total",
        "labelled",
        "feature",
    }


def test_data_wait_is_a_share_of_the_time_not_of_the_steps(port: Port) -> None:
    log, _ = follow(port)
    log.log(1, step(1.0))
    for number, (seconds, share) in enumerate([(9.0, 0.0), (1.0, 1.0)], start=2):
        log.log(number, step(1.0) | {"step_s": seconds, "data_wait_share": share})
    log.flush()
    assert port.gauges["data_wait_ratio", "m"] == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {"labelled": 6}),
        ({"accumulate": 2, "workers": 3}, {"labelled": 36}),
        ({"labelled": (), "pseudo": (TrainingShard("b", 10),)}, {"pseudo": 6}),
        ({"pseudo": (TrainingShard("b", 10),)}, {"labelled": 2, "pseudo": 4}),
    ],
)
def test_images_are_those_of_all_workers_by_kind(
    port: Port, changes: dict[str, Any], expected: dict[str, int]
) -> None:
    log, _ = follow(port, **changes)
    for number in range(1, 6):
        log.log(number, step(1.0))
    log.close()
    assert [name for name, _ in port.gauges] == ["factory_driver_end_timestamp_seconds"]
    counted = {kind: count for (name, kind), count in port.counts.items() if name == "images_total"}
    assert counted == {kind: 5 * images for kind, images in expected.items()}


def test_scores_of_a_checkpoint_are_no_step(port: Port) -> None:
    log, _ = follow(port)
    log.log(3, {"validation/loss": 0.25, "validation/delta1": 0.9})
    assert port.gauges == {("validation", "loss"): 0.25, ("validation", "delta1"): 0.9}
    assert port.counts == {}


def test_an_end_takes_back_all_but_what_was_counted(port: Port) -> None:
    log, _ = follow(port)
    log.log(1, step(1.0))
    log.log(2, step(2.0))
    log.not_finite()
    log.close(failed=True)
    assert port.gauges == {}
    assert port.counts == {("images_total", "labelled"): 12.0, ("not_finite_total", "m"): 1.0}
