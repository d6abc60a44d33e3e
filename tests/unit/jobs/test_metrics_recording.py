"""What may be recorded, and where it goes where there is no Ray."""

import math
from collections.abc import Mapping
from typing import Any

import pytest
import ray
from ray.util.metrics import Counter

from jobs.metrics import Metric
from jobs.metrics_recording import RaySink, Recorder


class Heard:
    """A sink that remembers."""

    def __init__(self) -> None:
        self.records: list[tuple[str, float, dict[str, str]]] = []

    def record(self, metric: Metric, value: float, tags: Mapping[str, str]) -> None:
        self.records.append((metric.name, value, dict(tags)))


def test_fixed_tags_go_where_they_belong():
    heard = Heard()
    record = Recorder(heard, verb="label", target="set", label_set="set")
    record.count("factory_labelled_images_total", 7, source="photos")
    record.set("factory_actors", 2, state="ready")
    record.observe("factory_commit_seconds", 0.5)
    assert heard.records == [
        ("factory_labelled_images_total", 7.0, {"label_set": "set", "source": "photos"}),
        ("factory_actors", 2.0, {"verb": "label", "target": "set", "state": "ready"}),
        ("factory_commit_seconds", 0.5, {"label_set": "set"}),
    ]


@pytest.mark.parametrize("name", ["größe", "日本", "half \ud800"])
def test_a_name_that_ray_cannot_take_is_spelt_and_ends_no_run(
    name: str, monkeypatch: pytest.MonkeyPatch
):
    """Ray's own objects, which raise for what is not ASCII; nobody collects what they are told."""
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    sink, taken = RaySink(), []
    monkeypatch.setattr(Counter, "inc", _noted(Counter.inc, taken))
    Recorder(sink, model=name, source="photos").count("factory_evaluated_images_total", 7)
    assert taken == [
        (7.0, {"model": name.encode("ascii", "backslashreplace").decode(), "source": "photos"})
    ]


def _noted(inc: Any, taken: list[Any]) -> Any:
    def noted(self: Counter, value: float, tags: dict[str, str]) -> None:
        inc(self, value, tags)
        taken.append((value, tags))

    return noted


def test_counters_only_grow():
    heard = Heard()
    record = Recorder(heard, label_set="set")
    for amount in (0, -1, 2):
        record.count("factory_actor_seconds_total", amount)
    assert [value for _, value, _ in heard.records] == [2.0]


@pytest.mark.parametrize(
    ("name", "tags"),
    [
        ("factory_labelled_images", {"source": "photos"}),  # no such name
        ("factory_shards", {"source": "photos", "state": "done"}),  # a gauge
        ("factory_labelled_images_total", {}),  # a tag is missing
        ("factory_labelled_images_total", {"source": "photos", "reason": "dark"}),  # one too many
    ],
)
def test_what_is_not_in_the_table_is_refused(name: str, tags: dict[str, str]):
    for sink in (Heard(), None):
        record = Recorder(sink, label_set="set")
        with pytest.raises(ValueError, match=r"factory_|metrics\.py"):
            record.count(name, 0, **tags)


def test_the_end_takes_back_each_gauge_once_and_no_counter():
    heard = Heard()
    record = Recorder(heard, label_set="set", verb="label", target="set")
    record.count("factory_lost_leases_total")
    for images in (5, 3):
        record.set("factory_images_left", images, source="photos")
    record.set("factory_images_left", 1, source="films")
    heard.records.clear()
    record.close()
    taken_back = [
        (name, tags["source"]) for name, value, tags in heard.records if math.isnan(value)
    ]
    assert taken_back == [("factory_images_left", "photos"), ("factory_images_left", "films")]
    assert len(heard.records) == 2
    record.close()
    assert len(heard.records) == 2, "nothing is left to take back"


def test_without_ray_nothing_is_made():
    sink = RaySink()
    Recorder(sink, label_set="set").count("factory_lost_leases_total")
    assert sink._made == {}
